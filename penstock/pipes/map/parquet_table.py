"""ParquetTable: the rows of Parquet files by number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from penstock.core.errors import DecodeError
from penstock.core.pipe import MapDataPipe
from penstock.pipes._batches import joined, rows_of
from penstock.pipes._table_columns import check_columns, check_same, span_of, wanted_schema
from penstock.pipes._table_files import ParquetFile
from penstock.pipes._tensors_later import to_leave
from penstock.pipes.map._groups import Groups

if TYPE_CHECKING:
    from penstock.serialization.columns import Conversion

__all__ = ["ParquetTable"]


class ParquetTable(MapDataPipe[dict[str, Any]]):
    """The rows of Parquet files, by number: ``table[i]`` is a dict, ``table.take(numbers)`` a batch of columns.

    `shuffle` over it is a permutation of all rows, and ``take_rows(batch_size)`` behind that makes batches of columns::

        ParquetTable(paths).shuffle().sharding_filter().take_rows(128)

    Rows are taken with one call for each row group that they lie in. Parquet has no way to a single row: its row group
    is decoded, and kept while there is room in ``cache_bytes``. So this is fast where the columns that are asked for
    fit in there. Where they don't, shuffle row groups and windows: ``list_row_groups().shuffle()`` and
    ``shuffle_rows``.

    Args:
        paths: paths or URLs, of any kind that fsspec knows. Their footers are read when the length is asked for.
        columns: read only these, and give them in this order; all unless given.
        as_: what a batch is: ``numpy``, ``torch`` or ``arrow``; a row has numpy's or torch's values, or Python's.
        storage_options: fsspec's, for the connection.
        conversion: what becomes of each of Arrow's types, and of nulls, which are an error unless it says otherwise.
        cache_bytes: how much memory decoded row groups may take, in each process; the last one is kept in any case.

    Raises:
        ValueError: ``columns`` is empty or has a name twice; no such form.
        IndexError: (when asked) no such row.
        DecodeError: (when asked) names the file, the row group and what is wrong, as with ``read_parquet``; of a null,
            the column and the row of the batch.

    Example:
        >>> import os, tempfile
        >>> import pyarrow, pyarrow.parquet
        >>> path = os.path.join(tempfile.mkdtemp(), "a.parquet")
        >>> pyarrow.parquet.write_table(pyarrow.table({"x": [1, 2, 3], "y": list("abc")}), path, row_group_size=2)
        >>> table = ParquetTable([path], as_="torch")
        >>> len(table), table[2]["y"], table.take([2, 0])
        (3, 'c', {'x': tensor([3, 1]), 'y': ['c', 'a']})
    """

    def __init__(
        self,
        paths: str | Sequence[str],
        columns: Sequence[str] | None = None,
        *,
        as_: Literal["numpy", "torch", "arrow"] = "numpy",
        storage_options: dict[str, Any] | None = None,
        conversion: Conversion | None = None,
        cache_bytes: int = 256 << 20,
    ) -> None:
        if as_ not in ("numpy", "torch", "arrow"):
            raise ValueError(f"as_ must be one of numpy, torch, arrow, got {as_!r}")
        self.paths = [span_of(path)[0] for path in ([paths] if isinstance(paths, str) else paths)]
        self.columns = check_columns(columns)
        self.as_ = as_
        self.storage_options = storage_options or {}
        self.conversion = conversion
        self._groups = Groups(_RowGroups(self.paths, self.columns, self.storage_options), cache_bytes)

    def __len__(self) -> int:
        return int(self._groups.starts()[-1])

    def __getitem__(self, index: Any) -> dict[str, Any]:
        return next(rows_of(self.take([index])))

    def __getitems__(self, indices: Sequence[Any]) -> list[dict[str, Any]]:
        return list(rows_of(self.take(indices)))

    def take(self, indices: Sequence[Any]) -> Any:
        """Return rows as a batch of columns, in the order of their numbers; below 0 they count from the end."""
        batch = self._groups.take(indices)
        if self.as_ == "arrow":
            return batch
        conversion = self._conversion()
        return self._made(conversion.to_torch if self.makes_tensors else conversion.to_numpy, batch)

    @property
    def makes_tensors(self) -> bool:
        """Whether a batch has tensors."""
        return self.as_ == "torch"

    def take_for_later(self, indices: Sequence[Any]) -> dict[str, Any]:
        """Return rows as arrays that become the tensors of ``take`` where they arrive."""
        return self._made(to_leave(self._conversion(), torch=True), self._groups.take(indices))

    def _conversion(self) -> Conversion:
        from penstock.serialization.columns import Conversion

        return self.conversion or Conversion()

    def _made(self, convert: Callable[[Any], dict[str, Any]], batch: Any) -> dict[str, Any]:
        try:
            return convert(batch)
        except ValueError as error:  # a null, an image that cannot be decoded; a batch may be of several files
            files = self.paths[0] if len(self.paths) == 1 else f"one of {self.paths[0]} to {self.paths[-1]}"
            raise DecodeError(f"{files}: {error}") from error

    def holds(self) -> Any:
        return len(self)


class _RowGroups:
    """The row groups of some files."""

    def __init__(self, paths: list[str], columns: list[str] | None, options: dict[str, Any]) -> None:
        self._made_of = paths, columns, options
        self._footers: dict[str, Any] = {}
        self._schema: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _RowGroups, self._made_of

    def groups(self) -> Iterator[tuple[Any, int]]:
        for path in self._made_of[0]:
            file = self._opened(path)
            try:
                self._check(path, file)
                yield from [((path, group), file.rows(group)) for group in range(file.groups)]
            finally:
                file.close()

    def decode(self, group: tuple[str, int]) -> tuple[Any, int]:
        import pyarrow as pa

        path, number = group
        file = self._opened(path)
        try:
            blocks = list(file.blocks(number, self._schema.names, max(file.rows(number), 1)))
        finally:
            file.close()
        batch = pa.RecordBatch.from_arrays(joined(blocks).columns, schema=self._schema)
        return batch, batch.nbytes

    def none(self) -> Any:
        import pyarrow as pa

        return pa.RecordBatch.from_pylist([], self._schema)

    def _opened(self, path: str) -> ParquetFile:
        file = ParquetFile(path, self._made_of[2], lambda read: read, self._footers.get(path))
        self._footers[path] = file.footer
        return file

    def _check(self, path: str, file: ParquetFile) -> None:
        found = wanted_schema(path, file.schema, self._made_of[1])
        if self._schema is None:
            self._schema = found
        check_same(path, found, self._made_of[0][0], self._schema)
