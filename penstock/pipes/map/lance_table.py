"""LanceTable: the rows of a Lance data set by number."""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from penstock.core.errors import DecodeError
from penstock.core.pipe import MapDataPipe
from penstock.pipes._batches import rows_of
from penstock.pipes._condition import Condition
from penstock.pipes._lance import LanceData, naming_lance, projected
from penstock.pipes._table_reader import FORMS
from penstock.pipes._tensors_later import to_arrays_or_torch
from penstock.pipes.lance_reader import as_filter, checked

if TYPE_CHECKING:
    from penstock.serialization.columns import Conversion

__all__ = ["LanceTable"]

# Taking 16,384 rows in one go, sorted, is 3 times as fast, a row, as 128 at a time.
_AT_ONCE_ROWS: Final = 16_384
_AT_ONCE_BYTES: Final = 16 << 20
_NEAR: Final = 2  # up to here, reading rows that are not wanted costs less than naming those that are


class LanceTable(MapDataPipe[dict[str, Any]]):
    """The rows of a Lance data set, by number: ``table[i]`` is a dict, ``table.take(numbers)`` a batch of columns.

    `shuffle` over it is a permutation of all rows, and ``take_rows(batch_size)`` behind that makes batches of columns::

        LanceTable(uri).shuffle().sharding_filter().take_rows(128)

    It is pinned: whatever is written to the data set later, all processes that read the table see the version that
    there was when it was made.

    Args:
        dataset: a path or URI, or an opened `lance.LanceDataset`.
        columns: read only these, and give them in this order; or a dict of names and expressions of SQL; all unless
            given.
        filter: only the rows for which this holds: SQL, a `pyarrow.compute.Expression`, or a list of (column, op,
            value). Their places are found once, when the length is first asked for, and take 8 bytes each.
        version: a number or a tag; the latest one unless given.
        with_row_id: give Lance's ``_rowid`` as well, a uint64.
        as_: what a batch is: ``numpy``, ``torch`` or ``arrow``; a row has numpy's or torch's values, or Python's.
        storage_options: of the connection, as Lance has them.
        conversion: what becomes of each of Arrow's types, and of nulls, which are an error unless it says otherwise.

    Raises:
        ValueError: ``columns`` is empty or has a name twice; no such form or operator.
        MissingExtra: pylance is not installed: ``pip install 'penstock[lance]'``.
        FileNotFoundError: there is no such data set, or no such version of it.
        DecodeError: there is no such column; (when asked) it names the data set and what is wrong.
        ForkedProcess: (when asked) this process was forked from one that has Lance loaded.
        IndexError: (when asked) no such row.

    Example:
        >>> import os, tempfile
        >>> import lance, pyarrow
        >>> path = os.path.join(tempfile.mkdtemp(), "a.lance")
        >>> _ = lance.write_dataset(pyarrow.table({"x": [1, 2, 3], "y": list("abc")}), path)
        >>> table = LanceTable(path, as_="torch")
        >>> len(table), table[2]["y"], table.take([2, 0])
        (3, 'c', {'x': tensor([3, 1]), 'y': ['c', 'a']})
        >>> LanceTable(path, {"twice": "x * 2"}, filter="x > 1").take([0, 1])
        {'twice': array([4, 6])}
    """

    def __init__(
        self,
        dataset: Any,
        columns: Sequence[str] | Mapping[str, str] | None = None,
        filter: Condition | str | None = None,
        *,
        version: int | str | None = None,
        with_row_id: bool = False,
        as_: Literal["numpy", "torch", "arrow"] = "numpy",
        storage_options: dict[str, Any] | None = None,
        conversion: Conversion | None = None,
    ) -> None:
        if as_ not in FORMS:
            raise ValueError(f"as_ must be one of {', '.join(FORMS)}, got {as_!r}")
        self.columns, self.condition = checked(columns, filter)
        self.filtered = filter is not None
        self.extents: list[tuple[int, int, int]] | None = None
        self.with_row_id = with_row_id
        self.as_ = as_
        self.conversion = conversion
        options = {"storage_options": storage_options} if storage_options else {}
        self.data = dataset if isinstance(dataset, LanceData) else LanceData(dataset, version, options)
        self._rows = _Rows(self.data, self.columns, as_filter(self.condition), with_row_id)

    @property
    def schema(self) -> Any:
        """Of the columns that are read, a `pyarrow.Schema`."""
        return self._rows.schema

    @property
    def rows_at_once(self) -> int:
        """How many rows are taken in one go at best; 0 while none has been seen."""
        return self._rows.at_once

    def __len__(self) -> int:
        return self._rows.count

    def __getitem__(self, index: Any) -> dict[str, Any]:
        return next(rows_of(self.take([index])))

    def __getitems__(self, indices: Sequence[Any]) -> list[dict[str, Any]]:
        return list(rows_of(self.take(indices)))

    def take(self, indices: Any) -> Any:
        """Return rows as a batch of columns, in the order of their numbers; below 0 they count from the end."""
        batch = self.take_arrow(indices)
        return batch if self.as_ == "arrow" else self.converted(batch)

    @property
    def makes_tensors(self) -> bool:
        """Whether a batch has tensors."""
        return self.as_ == "torch"

    def take_for_later(self, indices: Any) -> dict[str, Any]:
        """Return rows as arrays that are to become the tensors of ``take``."""
        return self._made(to_arrays_or_torch(self._conversion()), self.take_arrow(indices))

    def converted(self, batch: Any) -> dict[str, Any]:
        """Return a record batch as arrays or tensors by column."""
        conversion = self._conversion()
        return self._made(conversion.to_torch if self.makes_tensors else conversion.to_numpy, batch)

    def _conversion(self) -> Conversion:
        from penstock.serialization.columns import Conversion

        return self.conversion or Conversion()

    def _made(self, convert: Callable[[Any], dict[str, Any]], batch: Any) -> dict[str, Any]:
        try:
            return convert(batch)
        except ValueError as error:  # a null, an image that cannot be decoded
            raise DecodeError(f"{self.data.uri}: {error}") from error

    def take_arrow(self, indices: Any) -> Any:
        """Return rows as a `pyarrow.RecordBatch`."""
        return self._rows.take(indices)

    def fragment_rows(self) -> list[tuple[int, int, int]]:
        """Return of each fragment its id, the number of its first row, and that of the first one behind it."""
        return self._rows.fragment_rows() if self.extents is None else self.extents

    def holds(self) -> Any:
        return [len(self), self.data.version]


class _Rows:
    """The rows that are wanted of a data set: how many, and where. Any thread may ask."""

    def __init__(self, data: LanceData, columns: Any, condition: Any, with_row_id: bool) -> None:
        self._data, self._columns, self._condition = data, columns, condition
        self._with_row_id = with_row_id
        self.schema = projected(data, columns, with_row_id)
        self._blobs = [name for name in self.schema.names if _is_blob(data.dataset.schema, name)]
        self._lock = threading.RLock()
        self._count: int | None = None
        self._offsets: Any = None  # of the rows that pass, where there is a filter
        self.at_once = 0

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_lock": None, "at_once": 0}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.RLock())

    def __deepcopy__(self, memo: Any) -> _Rows:
        return self

    @property
    def count(self) -> int:
        with self._lock:
            if self._count is None:
                with naming_lance(self._data.uri):
                    if self._condition is None:
                        self._count = int(self._data.dataset.count_rows())
                    else:
                        self._offsets = self._found()
                        self._count = len(self._offsets)
            return self._count

    def fragment_rows(self) -> list[tuple[int, int, int]]:
        import numpy as np

        count = self.count
        with naming_lance(self._data.uri):
            sizes = [fragment.count_rows() for fragment in self._data.fragments]
        bounds = np.concatenate([[0], np.cumsum(sizes)])
        if self._offsets is not None:
            bounds = np.searchsorted(self._offsets, bounds)
        assert bounds[-1] == count
        ends = bounds.tolist()
        ids = (fragment.fragment_id for fragment in self._data.fragments)
        return list(zip(ids, ends[:-1], ends[1:], strict=True))

    def _found(self) -> Any:
        import numpy as np

        scanner = self._data.dataset.scanner(columns=["_rowoffset"], filter=self._condition)
        return scanner.to_table()["_rowoffset"].to_numpy().astype(np.int64)

    def take(self, indices: Any) -> Any:
        import pyarrow as pa

        rows = self._places(indices)
        if not len(rows):
            return pa.RecordBatch.from_pylist([], self.schema)
        with naming_lance(self._data.uri):
            table = self._near(rows) if len(rows) > 1 else self._picked(rows)
            columns = [column.combine_chunks() for column in table.columns]
            batch = pa.RecordBatch.from_arrays(columns, schema=self.schema)
        self.at_once = max(1, min(_AT_ONCE_ROWS, _AT_ONCE_BYTES * len(rows) // max(1, batch.nbytes)))
        return batch

    def _places(self, indices: Any) -> Any:
        """Return where rows are in the data set. IndexError for one that there is not."""
        import numpy as np

        count = self.count
        if isinstance(indices, (range, np.ndarray)):
            rows = np.asarray(indices, np.int64)
        else:
            rows = np.fromiter(map(operator.index, indices), np.int64, len(indices))
        wrong = rows[(rows >= count) | (rows < -count)]
        if len(wrong):
            raise IndexError(f"{self._data.uri} has {count} rows, and number {wrong[0]} is asked for")
        rows = np.where(rows < 0, rows + count, rows)
        return rows if self._offsets is None else self._offsets[rows]

    def _near(self, rows: Any) -> Any:
        """Read all rows between the first and the last, where most of them are wanted."""
        import pyarrow as pa

        first, last = int(rows.min()), int(rows.max())
        if last - first >= _NEAR * len(rows):
            return self._picked(rows)
        table = self._run(first, last - first + 1)
        if last - first + 1 == len(rows) and rows[0] == first and (rows[1:] > rows[:-1]).all():
            return table
        return table.take(pa.array(rows - first))

    def _run(self, first: int, count: int) -> Any:
        """Read rows that follow each other."""
        return self._data.dataset.scanner(
            columns=self._columns,
            offset=first,
            limit=count,
            batch_size=count,
            with_row_id=self._with_row_id,
            blob_handling="all_binary",
        ).to_table()

    def _picked(self, rows: Any) -> Any:
        import pyarrow as pa

        dataset, columns = self._data.dataset, self._columns
        if self._with_row_id:
            names = dataset.schema.names if columns is None else columns
            columns = {**names, "_rowid": "_rowid"} if isinstance(names, dict) else [*names, "_rowid"]
        order = rows.argsort(kind="stable")
        table = dataset.take(rows[order].tolist(), columns=columns).take(pa.array(order.argsort()))
        for name in self._blobs:  # of which it has the places only
            table = table.set_column(
                table.schema.get_field_index(name), self.schema.field(name), [self._read(name, rows)]
            )
        return table

    def _read(self, name: str, rows: Any) -> Any:
        """Return blobs, as an array of bytes."""
        import numpy as np
        import pyarrow as pa

        each, back = np.unique(rows, return_inverse=True)
        files = self._data.dataset.take_blobs(name, indices=each.tolist())
        found = [None if file is None else file.readall() for file in files]
        return pa.array([found[i] for i in back], self.schema.field(name).type)


def _is_blob(schema: Any, name: str) -> bool:
    if name not in schema.names:
        return False
    field = schema.field(name)
    return b"lance-encoding:blob" in (field.metadata or {}) or "lance.blob" in str(field.type)
