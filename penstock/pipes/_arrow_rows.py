"""Rows of Arrow's arrays: pyarrow takes none of views of text and of runs, which are made plain for it, and back."""

from __future__ import annotations

from typing import Any

__all__ = ["arrow_rows", "plain"]


def arrow_rows(data: Any, indices: Any) -> Any:
    """Return the rows of an array or a record batch at ``indices``, an array of int64, in their own types."""
    import pyarrow as pa

    numbers = pa.array(indices)
    try:
        return data.take(numbers)
    except pa.ArrowNotImplementedError:
        if isinstance(data, pa.RecordBatch):
            columns = [arrow_rows(column, indices) for column in data.columns]
            return pa.RecordBatch.from_arrays(columns, schema=data.schema)
        if _plain(data.type) == data.type:
            raise
        return _as_kind(plain(data).take(numbers), data.type)


def plain(column: Any) -> Any:
    """Return an array whose rows can be taken and compared: itself, unless it has views of text, or runs."""
    return _as_kind(column, _plain(column.type))


def _plain(kind: Any) -> Any:
    import pyarrow as pa

    types = pa.types
    if types.is_run_end_encoded(kind):
        return _plain(kind.value_type)
    if types.is_string_view(kind):
        return pa.large_string()
    if types.is_binary_view(kind):
        return pa.large_binary()
    if types.is_struct(kind):
        return pa.struct([field.with_type(_plain(field.type)) for field in kind])
    if types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_plain(kind.value_type)))
    if types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(_plain(kind.value_type)))
    return kind


def _as_kind(column: Any, kind: Any) -> Any:
    import pyarrow.compute as pc
    import pyarrow.types as types

    if column.type == kind:
        return column
    if types.is_run_end_encoded(column.type):
        return _as_kind(pc.run_end_decode(column), kind)
    if types.is_run_end_encoded(kind):
        return pc.run_end_encode(_as_kind(column, kind.value_type), run_end_type=kind.run_end_type)
    return column.cast(kind)
