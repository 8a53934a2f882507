"""LanceTable: the rows of a Lance data set by number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from penstock.core.errors import DecodeError
from penstock.core.pipe import MapDataPipe
from penstock.pipes._batches import rows_of
from penstock.pipes._condition import Condition
from penstock.pipes._lance import LanceData
from penstock.pipes._table_columns import FORMS
from penstock.pipes._tensors_later import to_leave
from penstock.pipes.lance_reader import as_filter, checked
from penstock.pipes.map._lance_rows import LanceRows

if TYPE_CHECKING:
    from penstock.serialization.columns import Conversion

__all__ = ["LanceTable"]


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
        self.version = self.data.version  # also so that a state, which has it, fits no other
        self._rows = LanceRows(self.data, self.columns, as_filter(self.condition), with_row_id)

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
        """Return rows as arrays that become the tensors of ``take`` where they arrive."""
        return self._made(to_leave(self._conversion(), torch=True), self.take_arrow(indices))

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
