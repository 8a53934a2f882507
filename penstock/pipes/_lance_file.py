"""A Lance data set as a table that is read by groups: its fragments."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, Final

from penstock.pipes._lance import LanceData, naming_lance, projected

__all__ = ["LanceFile"]

_BLOB_BYTES: Final = 1 << 20  # how large a blob is taken to be: nothing tells ahead
_FEW_BYTES: Final = 32  # the same for what else has no fixed width, where files don't tell their size


class LanceFile:
    """A Lance data set, of which some columns and rows are read.

    Args:
        data: the data set.
        columns: names, or expressions of SQL by name; all columns unless given.
        condition: a `pyarrow.compute.Expression` or SQL, which Lance itself applies.
        with_row_id: read ``_rowid`` as well.
        readahead: how many batches Lance decodes ahead, in its own threads.
    """

    unit = "fragment"

    def __init__(
        self,
        data: LanceData,
        columns: Sequence[str] | Mapping[str, str] | None,
        condition: Any,
        with_row_id: bool,
        readahead: int,
    ) -> None:
        self.footer = self._data = data
        self._columns = dict(columns) if isinstance(columns, Mapping) else columns and list(columns)
        self._condition = condition
        self._with_row_id = with_row_id
        self._readahead = readahead
        self.schema = projected(data, columns, with_row_id)
        self.groups = len(data.fragments)
        self.version = data.version

    def rows(self, group: int) -> int | None:
        if self._condition is not None:
            return None
        with naming_lance(f"{self._data.uri}: fragment {group}"):
            return int(self._data.fragments[group].count_rows())

    def row_bytes(self, group: int) -> int:
        about = self._data.fragments[group].metadata
        stored = sum(file.file_size_bytes or 0 for file in about.files) // max(about.physical_rows, 1)
        return sum(_bytes_of(field, max(stored, _FEW_BYTES)) for field in self.schema)

    def kept(self, expression: Any) -> Collection[int]:
        return range(self.groups)

    def blocks(self, group: int, names: Sequence[str], rows: int) -> Iterator[Any]:
        return self.blocks_from(group, names, rows, 0)

    def blocks_from(self, group: int, names: Sequence[str], rows: int, start: int) -> Iterator[Any]:
        with naming_lance(f"{self._data.uri}: fragment {group}"):
            reader = (
                self._data.fragments[group]
                .scanner(
                    columns=self._columns,
                    filter=self._condition,
                    offset=start or None,
                    batch_size=rows,
                    batch_readahead=self._readahead,
                    with_row_id=self._with_row_id,
                    blob_handling="all_binary",
                )
                .to_reader()
            )
        with closing(reader):
            while True:
                with naming_lance(f"{self._data.uri}: fragment {group}"):
                    batch = next(reader, None)
                if batch is None:
                    return
                yield batch if batch.schema.names == names else batch.select(names)

    def close(self) -> None:
        """Nothing to close: the data set stays open for the next fragment."""


def _bytes_of(field: Any, unknown: int) -> int:
    """Return about how many bytes a value takes."""
    if b"lance-encoding:blob" in (field.metadata or {}) or "blob" in str(field.type):
        return _BLOB_BYTES
    try:
        return int(field.type.bit_width + 7) // 8
    except ValueError:
        import pyarrow.types as types

        if types.is_fixed_size_list(field.type):
            return int(field.type.list_size) * _bytes_of(field.type.value_field, unknown)
        return unknown
