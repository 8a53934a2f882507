"""Nulls that are an error, found where text is parsed: there the record that has one can be named, and lost alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from penstock.pipes._condition import as_expression

if TYPE_CHECKING:
    from penstock.pipes._table_reader import TableReader

__all__ = ["null_check"]


def null_check(pipe: TableReader) -> Callable[[Any], None]:
    """Return what raises DecodeError for a record batch that the pipe would not convert, for a null in it.

    Neither a row that the filter leaves out counts, nor a column that only the filter looks at.
    """
    from penstock.serialization._arrow_nulls import for_column
    from penstock.serialization.columns import Conversion

    conversion = pipe.conversion or Conversion()

    def in_doubt(batch: Any) -> list[str]:
        names = pipe.columns or batch.schema.names
        return [name for name in names if _may_be_refused(batch.column(name), for_column(conversion.nulls, name))]

    def check(batch: Any) -> None:
        import pyarrow as pa

        names = in_doubt(batch)
        if names and pipe.condition is not None:
            try:
                batch = batch.filter(as_expression(pipe.condition))
            except pa.ArrowNotImplementedError:  # views of text: converting them tells of a null, though not the record
                return
            names = in_doubt(batch)
        if names:
            conversion.to_numpy(batch, names=names)

    return check if pipe.as_ != "arrow" else lambda batch: None


def _may_be_refused(array: Any, policy: Any) -> bool:
    """Whether a column has a null that may be an error. In one of lists or objects only a conversion tells for sure."""
    if isinstance(policy, (int, float)):  # which takes the place of any null
        return False
    is_error = isinstance(policy, str) and policy == "error"
    return (is_error or array.type.num_fields > 0) and _has_null(array)


def _has_null(array: Any) -> bool:
    import pyarrow.types as types

    if array.null_count:
        return True
    if types.is_struct(array.type):
        return any(_has_null(array.field(number)) for number in range(array.type.num_fields))
    return array.type.num_fields > 0 and _has_null(array.values)
