"""A later shard's columns with the types of the first one: where they hold each value as it is, and nowhere else.

Arrow's casts are more lenient than that: a float of 64 bits is rounded to 32, a number is true, text that looks like a
number becomes one, and of a struct the fields are left out that the other has not. So only types of one kind are cast,
and the result is cast back and compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["aligned"]


def aligned(table: pa.Table, schema: pa.Schema, number: int) -> pa.Table:
    """Return a table with the columns and types of the first shard. TypeError where a value would be another."""
    import pyarrow as pa

    if sorted(table.schema.names) != sorted(schema.names):
        raise TypeError(
            f"shard {number} has the columns {table.schema.names}, and the first one has {schema.names}, as all must"
        )
    columns = []
    for field in schema:
        column = table.column(field.name)
        try:
            columns.append(column if column.type == field.type else _cast(column, field.type))
        except (pa.ArrowException, ValueError) as error:
            raise TypeError(
                f"column {field.name!r} is {column.type} in shard {number}, and {field.type} in the first one, which "
                f"cannot hold it ({error}); a larger --shard-samples lets the first one show more of its values"
            ) from error
    return pa.Table.from_arrays(columns, schema=schema)


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if reason := next(_conflicts(column.type, kind), None):
        raise ValueError(reason)
    made = column.cast(kind)
    if not all(_same(old, new) for old, new in zip(column.chunks, made.chunks, strict=True)):
        raise ValueError("some values would be others")
    return made


def _conflicts(old: pa.DataType, new: pa.DataType) -> Iterator[str]:
    """Yield what says that values of one type are none of another, whatever they are."""
    import pyarrow.types as types

    if old == new or types.is_null(old):
        return
    if types.is_struct(old) and types.is_struct(new):
        for field in old:
            if new.get_field_index(field.name) < 0:
                yield f"there is no field {field.name!r}"
            else:
                yield from _conflicts(field.type, new.field(field.name).type)
    elif _is_list(old) and _is_list(new):
        yield from _conflicts(old.value_type, new.value_type)
    elif (kind := _kind(old)) != _kind(new) or not kind:
        yield f"{old} is no {new}"


def _is_list(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _kind(kind: pa.DataType) -> str:
    """Return what values of a type are, however long or fine; nothing where only one type is like it."""
    import pyarrow.types as types

    if types.is_dictionary(kind):  # which a target may have written as the values
        return _kind(kind.value_type)
    if types.is_timestamp(kind):
        return f"timestamp {kind.tz}"
    kinds = {
        "number": types.is_integer(kind) or types.is_floating(kind),
        "decimal": types.is_decimal(kind),
        "text": str(kind) in ("string", "large_string", "string_view"),
        "bytes": str(kind) in ("binary", "large_binary", "binary_view"),
        "date": types.is_date(kind),
        "time": types.is_time(kind),
        "duration": types.is_duration(kind),
    }
    return next((name for name, is_one in kinds.items() if is_one), "")


def _same(old: Any, new: Any) -> bool:
    """Tell whether the values of an array are those of another one, which was cast from it."""
    import pyarrow.types as types

    if old.type == new.type or types.is_null(old.type):
        return True
    if types.is_struct(old.type):
        return all(_same(old.field(field.name), new.field(field.name)) for field in old.type)
    if _is_list(old.type):
        return _same(old.flatten(), new.flatten())
    old, new = (array.dictionary_decode() if types.is_dictionary(array.type) else array for array in (old, new))
    return bool(_bits(new.cast(old.type)).equals(_bits(old)))


def _bits(array: Any) -> Any:
    """Return floats as their bits: NaN is equal to itself then, and -0.0 is not 0.0."""
    import pyarrow as pa

    return array.view(f"uint{array.type.bit_width}") if pa.types.is_floating(array.type) else array
