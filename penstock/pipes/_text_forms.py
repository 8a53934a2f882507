"""What files of text are made of, CSV or JSON lines, as `penstock.pipes._text_files` sees it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from penstock.pipes._record_ends import RecordEnds

__all__ = ["TextForm", "as_batch", "check_block_bytes", "fields_of", "types_found", "types_of"]


class TextForm(Protocol):
    """What text is made of: CSV, or JSON lines.

    Attributes:
        ends: finds where records end.
        has_head: whether the first record names the columns.
        blank: the bytes of which a line is made that is no record.
    """

    @property
    def ends(self) -> RecordEnds: ...

    @property
    def has_head(self) -> bool: ...

    @property
    def blank(self) -> bytes: ...

    def names(self, head: bytes) -> list[str] | None:
        """Return the names of the columns, None where each record says its own; ``head`` is the record that names."""
        ...

    def guess(self, data: bytes, names: Sequence[str] | None) -> Any:
        """Return the schema of some records, with the types that the user gave."""
        ...

    def parse(self, data: bytes, schema: Any, names: Sequence[str]) -> Any:
        """Return some columns of some records, a `pyarrow.RecordBatch`; None where there are no rows."""
        ...


def types_of(schema: Any) -> dict[str, Any]:
    """Return the types that a user gives, by column: a `pyarrow.Schema`, or a dict. TypeError for anything else."""
    if schema is None:
        return {}
    found = dict(zip(schema.names, schema.types, strict=True)) if hasattr(schema, "names") else schema
    if not isinstance(found, Mapping) or not all(hasattr(kind, "num_fields") for kind in found.values()):
        raise TypeError(f"schema must be a pyarrow.Schema, or a dict of pyarrow's types by column, got {schema!r:.200}")
    return dict(found)


def check_block_bytes(block_bytes: int) -> int:
    """Return the size of blocks. ValueError for one below 1."""
    if block_bytes < 1:
        raise ValueError(f"block_bytes must be at least 1, got {block_bytes}")
    return block_bytes


def as_batch(table: Any, names: Sequence[str]) -> Any:
    """Return a table's columns as one record batch, None where it has no rows."""
    batches = table.select(names).combine_chunks().to_batches()
    return batches[0] if batches and batches[0].num_rows else None


def types_found(table: Any, given: Collection[str], read: Callable[[dict[str, Any]], Any]) -> list[tuple[str, Any]]:
    """Return the names and types of a table's columns. Integers that an int64 cannot hold are uint64, if that can.

    pyarrow makes them floats, which are not exact.

    Args:
        table: as pyarrow read it.
        given: columns whose types the user gave.
        read: reads it again, with other types.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    found = []
    for name, column in zip(table.schema.names, table.columns, strict=True):
        kind = column.type
        if kind == pa.float64() and name not in given and (pc.max(column).as_py() or 0) >= 1 << 63:
            with suppress(pa.ArrowException):
                kind = read({name: pa.uint64()}).schema.field(name).type
        found.append((name, kind))
    return found


def fields_of(schema: Any, names: Sequence[str], first: Any = None) -> Any:
    """Return the fields of some columns: of the first schema that has one of the name."""
    import pyarrow as pa

    def field(name: str) -> Any:
        there = schema if first is None or name not in first.names else first
        return there.field(there.names.index(name))

    return pa.schema([field(name) for name in names])
