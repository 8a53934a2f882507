"""ArrayTable: the rows of npy and zarr arrays by number."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from penstock.core.errors import DecodeError
from penstock.core.pipe import MapDataPipe
from penstock.pipes._alike import Rows, check_like
from penstock.pipes._batches import as_columns, ready_for_tensors, rows_of, selected, taken, tensors
from penstock.pipes._npy_rows import NpyRows, npy_opener
from penstock.pipes._span_pipes import check_batches
from penstock.pipes._table_columns import check_columns
from penstock.pipes._tensors_later import as_tensors_later
from penstock.pipes._zarr_column import Kept
from penstock.pipes._zarr_rows import ZarrRows
from penstock.pipes._zarr_store import is_group, is_zarr, open_node
from penstock.pipes.map._groups import Groups

__all__ = ["ArrayTable"]


class ArrayTable(MapDataPipe[dict[str, Any]]):
    """The rows of arrays, by number: ``table[i]`` is a dict, ``table.take(numbers)`` a batch of columns.

    The arrays are zarr's, or those of ``.npy`` and ``.npz`` files. `shuffle` over the table is a permutation of all
    rows, and ``take_rows(batch_size)`` behind that makes batches of columns::

        ArrayTable({"x": "x.npy", "y": "y.npy"}).shuffle().sharding_filter().take_rows(128)

    Local files, unless they are compressed, are mapped into memory: a row is read where it lies, and the system keeps
    what is asked for often. Of zarr, of other files and from other places, the span of rows that a row lies in is read
    (a chunk, as a rule), and kept while there is room in ``cache_bytes``. Where they don't fit, shuffle spans and
    windows: ``list_zarr_chunks().shuffle()`` or ``list_npy_rows().shuffle()``, and ``shuffle_rows``.

    Args:
        sources: a zarr array or group, a ``.npy`` or ``.npz`` file, a folder of ``.npy`` files, or a dict of columns'
            names and ``.npy`` files, at paths or URLs of any kind that fsspec knows; or a list of these, of which the
            rows follow upon each other. What they are is asked when the length is.
        columns: read only these, and give them in this order; all unless given.
        as_: what a batch is made of: ``numpy`` or ``torch``; a row has their values.
        column: the name of the column that one array by itself becomes; that of its first file unless given.
        storage_options: fsspec's, for the connection.
        cache_bytes: how much memory spans may take, in each process; the last one is kept in any case.

    Raises:
        ValueError: ``columns`` is empty or has a name twice; no such form; no sources.
        IndexError: (when asked) no such row.
        DecodeError: (when asked) names the file, the array, and what is wrong, as with ``read_npy`` and ``read_zarr``.

    Example:
        >>> import os, tempfile
        >>> import numpy as np
        >>> path = os.path.join(tempfile.mkdtemp(), "x.npy")
        >>> np.save(path, np.arange(6).reshape(3, 2))
        >>> table = ArrayTable(path, as_="torch")
        >>> len(table), table[1], table.take([2, 0])
        (3, {'x': tensor([2, 3])}, {'x': tensor([[4, 5],
                [0, 1]])})
    """

    def __init__(
        self,
        sources: Any,
        columns: Sequence[str] | None = None,
        *,
        as_: Literal["numpy", "torch"] = "numpy",
        column: str | None = None,
        storage_options: Mapping[str, Any] | None = None,
        cache_bytes: int = 256 << 20,
    ) -> None:
        check_batches(None, as_)
        one = isinstance(sources, (str, os.PathLike, Mapping))
        self.tables = [sources] if one else list(sources)
        if not self.tables:
            raise ValueError("sources must name at least one array, got none")
        self.columns = check_columns(columns)
        self.as_ = as_
        self.column = column
        self.storage_options = dict(storage_options or {})
        self._groups = Groups(_Spans(self.tables, self.columns, column, self.storage_options), cache_bytes)

    def __len__(self) -> int:
        return int(self._groups.starts()[-1])

    def __getitem__(self, index: Any) -> dict[str, Any]:
        return next(rows_of(self.take([index])))

    def __getitems__(self, indices: Sequence[Any]) -> list[dict[str, Any]]:
        return list(rows_of(self.take(indices)))

    def take(self, indices: Sequence[Any]) -> dict[str, Any]:
        """Return rows as a batch of columns, in the order of their numbers; below 0 they count from the end."""
        batch: dict[str, Any] = self._groups.take(indices)
        return tensors(batch) if self.as_ == "torch" else batch

    @property
    def makes_tensors(self) -> bool:
        """Whether a batch has tensors."""
        return self.as_ == "torch"

    def take_for_later(self, indices: Sequence[Any]) -> dict[str, Any]:
        """Return rows as arrays that become the tensors of ``take`` where they arrive."""
        return as_tensors_later(ready_for_tensors(self._groups.take(indices)))

    def holds(self) -> Any:
        return len(self)


class _Spans:
    """The rows of some arrays: all of those that are mapped, the spans of others."""

    def __init__(
        self, tables: list[Any], columns: list[str] | None, column: str | None, options: dict[str, Any]
    ) -> None:
        self._made_of = tables, columns, column, options
        self._rows: list[Rows] = []

    def __reduce__(self) -> tuple[Any, ...]:
        return _Spans, self._made_of

    def groups(self) -> Iterator[tuple[Any, int]]:
        tables, columns, column, options = self._made_of
        opened, kept = npy_opener(columns, column, None, options), Kept()
        self._rows = []
        for number, table in enumerate(tables):
            rows = _zarr_rows(table, columns, options, kept) or opened(table)[1]
            self._rows.append(rows)
            check_like(rows, self._rows[0])
            span = max(rows.length, 1) if _mapped(rows) is not None else rows.span
            for start in range(0, rows.length, span):
                stop = min(start + span, rows.length)
                yield (number, start, stop), stop - start

    def decode(self, group: tuple[int, int, int]) -> tuple[Any, int]:
        number, start, stop = group
        rows = self._rows[number]
        mapped = _mapped(rows)
        if mapped is not None:
            return self._named(mapped), 0
        batch = self._named(rows.read(start, stop))
        return batch, _size_of(batch)

    def none(self) -> Any:
        import numpy as np

        rows = self._rows[0]
        return taken(self._named(rows.read(0, 0)), np.zeros(0, np.int64))

    def _named(self, found: Any) -> dict[str, Any]:
        _, columns, column, _ = self._made_of
        first = self._rows[0].name
        if isinstance(found, dict) and self._rows[0].names is None:
            (found,) = found.values()
        batch = as_columns(found, column or first)
        try:
            return batch if columns is None else selected(batch, columns)
        except KeyError as error:
            raise DecodeError(f"{self._rows[0].url}: {error.args[0]}") from error


def _mapped(rows: Rows) -> dict[str, Any] | None:
    return rows.mapped() if isinstance(rows, NpyRows) else None


def _zarr_rows(table: Any, columns: Sequence[str] | None, options: Mapping[str, Any], kept: Kept) -> ZarrRows | None:
    """Return the rows of a zarr array or group; None where none is there."""
    if not isinstance(table, (str, os.PathLike)) or str(table).endswith((".npy", ".npz")):
        return None
    url = os.fspath(table)
    if not is_zarr(url, options):
        return None
    node = open_node(url, options)
    return ZarrRows(url, node, columns if is_group(node) else None, None, kept)


def _size_of(batch: Any) -> int:
    return sum(_size_of(column) if isinstance(column, dict) else column.nbytes for column in batch.values())
