"""Columns that become tensors only where they arrive, so that the worker that reads them need not load torch.

That holds for what a worker's last step makes (see `Outlet`), and for columns that are one array of a type that numpy
has too: importing torch takes a worker seconds and 150 MB.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from penstock.core.context import Context
from penstock.core.pipe import Pipe
from penstock.core.tensors import Deferred

if TYPE_CHECKING:
    from penstock.serialization.columns import Conversion

__all__ = ["as_tensors_later", "leaves_from", "to_arrays_or_torch"]


def leaves_from(ctx: Context, pipe: Pipe) -> bool:
    """Whether what a pipe gives leaves this process at once."""
    return ctx.outlet is not None and ctx.outlet.pipe == ctx.name(pipe)


def to_arrays_or_torch(conversion: Conversion) -> Callable[[Any], dict[str, Any]]:
    """Return what makes of a record batch arrays that become its tensors, or its tensors where that takes torch."""

    @lru_cache(4)
    def is_plain(schema: Any) -> bool:
        encoded = b"huggingface" in (schema.metadata or {})  # where bytes may be images
        return all(_is_plain(field, encoded) for field in schema)

    def convert(batch: Any) -> dict[str, Any]:
        if not is_plain(batch.schema):
            return conversion.to_torch(batch)
        return {name: _counted(column) for name, column in conversion.to_numpy(batch).items()}

    return convert


def as_tensors_later(batch: dict[str, Any]) -> dict[str, Any]:
    """Return a batch whose arrays will be tensors when it arrives."""
    import numpy as np

    return {name: Deferred(column) if isinstance(column, np.ndarray) else column for name, column in batch.items()}


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
