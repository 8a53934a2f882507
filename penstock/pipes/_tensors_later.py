"""Columns that become tensors, or lists of strings, only where they arrive.

That holds for what a worker's last step makes (see `Outlet`). For columns that are one array of a type that numpy has,
too, the worker need not load torch, which takes seconds and 150 MB; and of strings it need not make an object each.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from penstock.core.context import Context
from penstock.core.leaving import Deferred, Words, has_tensor
from penstock.core.pipe import Pipe

if TYPE_CHECKING:
    from penstock.serialization.columns import Conversion

__all__ = ["as_tensors_later", "checked_texts", "leaves_from", "to_leave"]


def leaves_from(ctx: Context, pipe: Pipe) -> bool:
    """Whether what a pipe gives leaves this process at once."""
    return ctx.outlet is not None and ctx.outlet.pipe == ctx.name(pipe)


def to_leave(conversion: Conversion, torch: bool) -> Callable[[Any], dict[str, Any]]:
    """Return what makes a record batch columns that leave this process at once.

    They are those of ``to_numpy`` or ``to_torch`` where they arrive; here they are what is least work.
    """
    whole = conversion.to_torch if torch else conversion.to_numpy
    without_masks = isinstance(conversion.nulls, str) and conversion.nulls == "error"

    @lru_cache(4)
    def is_plain(schema: Any) -> bool:
        encoded = b"huggingface" in (schema.metadata or {})  # where bytes may be images
        return all(_is_plain(field, encoded) for field in schema)

    def convert(batch: Any) -> dict[str, Any]:
        if not is_plain(batch.schema):
            return as_tensors_later(whole(batch)) if torch else whole(batch)
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        words = {name: Words(column) for name, column in columns.items() if without_masks and _has_words(column)}
        words = {name: column for name, column in words.items() if column.is_valid()}  # others are an error, below
        made = conversion.to_numpy(batch, names=[name for name in columns if name not in words])
        if torch:
            made = as_tensors_later({name: _counted(column) for name, column in made.items()})
        return {name: words[name] if name in words else made[name] for name in columns} if words else made

    return convert


def as_tensors_later(batch: dict[str, Any]) -> dict[str, Any]:
    """Return a batch whose arrays will be tensors when it arrives."""
    return {name: Deferred(column) if has_tensor(column) else column for name, column in batch.items()}


def checked_texts(batch: Any) -> Any:
    """Return a record batch whose strings are UTF-8. ValueError for another: who reads files does not look at them."""
    import pyarrow as pa

    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if "string" not in str(column.type) or (_has_words(column) and Words(column).is_valid()):
            continue
        try:
            column.validate(full=True)
        except pa.ArrowInvalid as error:
            raise ValueError(f"column {name!r}: {error}") from error
    return batch


def _has_words(column: Any) -> bool:
    import pyarrow.types as types

    return bool((types.is_string(column.type) or types.is_large_string(column.type)) and not column.null_count)


def _counted(column: Any) -> Any:
    """Return times as the numbers that torch has in their place."""
    return column.view("int64") if getattr(column, "dtype", None) is not None and column.dtype.kind in "Mm" else column


def _is_plain(field: Any, encoded: bool) -> bool:
    """Whether a column becomes one array, of a type that torch has, or a list of texts or bytes."""
    import pyarrow as pa
    import pyarrow.types as types

    kind = field.type
    if b"ARROW:extension:name" in (field.metadata or {}):  # one that this process does not know
        return False
    if isinstance(kind, pa.FixedShapeTensorType):
        kind = kind.value_type
    while types.is_fixed_size_list(kind):
        kind = kind.value_type
        if not types.is_primitive(kind) and not types.is_fixed_size_list(kind):
            return False
    if types.is_binary(kind) or types.is_large_binary(kind):
        return not encoded
    return bool(types.is_primitive(kind) or types.is_string(kind) or types.is_large_string(kind))
