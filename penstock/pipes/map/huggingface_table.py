"""HuggingFaceTable: the rows of a Hugging Face `Dataset` by number."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from penstock.core.pipe import MapDataPipe
from penstock.pipes._batches import row_numbers, rows_of
from penstock.pipes._huggingface import check_dataset, is_streamed, on_disk
from penstock.pipes._table_columns import FORMS, check_columns, wanted_schema
from penstock.pipes._tensors_later import to_leave

if TYPE_CHECKING:
    from penstock.serialization.columns import Conversion

__all__ = ["HuggingFaceTable", "converting"]


class HuggingFaceTable(MapDataPipe[dict[str, Any]]):
    """The rows of a Hugging Face ``Dataset``, by number: ``table[i]`` is a dict, ``table.take(numbers)`` a batch.

    `shuffle` over it is a permutation of all rows, and ``take_rows(batch_size)`` behind that makes batches of columns::

        HuggingFaceTable(dataset).shuffle().sharding_filter().take_rows(128)

    What ``select``, ``filter``, ``sort`` and ``shuffle`` of the data set have made of its rows is respected, and
    nothing is copied but the rows that are asked for. What its features say is respected by the conversion: images are
    decoded, unless ``Conversion(images="encoded")``. A format (``with_format``, ``set_transform``) changes nothing.

    A data set of files travels to workers as their names. One in memory (``from_dict``, say) travels once, into memory
    that all workers share.

    Args:
        dataset: a ``datasets.Dataset``, a ``DatasetDict`` with ``split=``, or the folder that ``save_to_disk`` wrote.
        columns: give only these, in this order; all unless given.
        as_: what a batch is: ``numpy``, ``torch`` or ``arrow``; a row has numpy's or torch's values, or Python's.
        conversion: what becomes of each of Arrow's types, and of nulls, which are an error unless it says otherwise.
        split: which of several splits.

    Raises:
        ValueError: ``columns`` is empty, has a name twice or one that is not there; no such form; several splits, and
            none of them is chosen.
        TypeError: the data set has no rows by number: `from_huggingface` reads an ``IterableDataset``.
        IndexError: (when asked) no such row.
        MissingExtra: (when asked) datasets is not installed.

    Example:
        >>> from datasets import Dataset
        >>> data = Dataset.from_dict({"x": [1, 2, 3], "y": list("abc")}).select([2, 0])
        >>> table = HuggingFaceTable(data, as_="torch")
        >>> len(table), table[0]["y"], table.take([1, 0])
        (2, 'c', {'x': tensor([1, 3]), 'y': ['a', 'c']})
    """

    def __init__(
        self,
        dataset: Any,
        columns: Sequence[str] | None = None,
        *,
        as_: Literal["numpy", "torch", "arrow"] = "numpy",
        conversion: Conversion | None = None,
        split: str | None = None,
    ) -> None:
        if as_ not in FORMS:
            raise ValueError(f"as_ must be one of {', '.join(FORMS)}, got {as_!r}")
        self.columns = check_columns(columns)
        self.dataset = check_dataset(dataset, split, self.columns)
        if is_streamed(self.dataset):
            raise TypeError("an IterableDataset has no rows by number; from_huggingface reads it from its start")
        self.as_ = as_
        self.conversion = conversion
        self.split = split
        self._rows = _Rows(self.dataset, split if isinstance(self.dataset, str) else None, self.columns)

    def __len__(self) -> int:
        return int(self._rows.table.count)

    def __getitem__(self, index: Any) -> dict[str, Any]:
        return next(rows_of(self.take([index])))

    def __getitems__(self, indices: Sequence[Any]) -> list[dict[str, Any]]:
        return list(rows_of(self.take(indices)))

    def take(self, indices: Sequence[Any]) -> Any:
        """Return rows as a batch of columns, in the order of their numbers; below 0 they count from the end."""
        return converting(self.as_, self.conversion)(self._rows.table.take(indices))

    @property
    def makes_tensors(self) -> bool:
        """Whether a batch has tensors."""
        return self.as_ == "torch"

    def take_for_later(self, indices: Sequence[Any]) -> dict[str, Any]:
        """Return rows as arrays that become the tensors of ``take`` where they arrive."""
        from penstock.serialization.columns import Conversion

        return to_leave(self.conversion or Conversion(), torch=True)(self._rows.table.take(indices))

    def holds(self) -> Any:
        return len(self)


def converting(as_: str, conversion: Conversion | None) -> Callable[[Any], Any]:
    """Return the function that makes a record batch what is asked for."""
    from penstock.serialization.columns import Conversion

    made = conversion or Conversion()
    forms: dict[str, Callable[[Any], Any]] = {"numpy": made.to_numpy, "torch": made.to_torch}
    return forms.get(as_, lambda batch: batch)


class _Rows:
    """A data set, and what has been found out of its tables. Any thread may ask; a copy begins without."""

    def __init__(self, dataset: Any, split: str | None, columns: list[str] | None) -> None:
        self._made_of = dataset, split, columns
        self._lock = threading.Lock()
        self._table: _Table | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _Rows, self._made_of

    def __deepcopy__(self, memo: Any) -> _Rows:
        return _Rows(*self._made_of)  # nothing changes a data set

    @property
    def table(self) -> _Table:
        with self._lock:
            if self._table is None:
                dataset, split, columns = self._made_of
                what = dataset if isinstance(dataset, str) else "the data set"
                self._table = _Table(on_disk(dataset, split) if isinstance(dataset, str) else dataset, what, columns)
            return self._table


class _Table:
    """A data set in Arrow's format, which it reads by ranges and by numbers, wherever its rows lie."""

    def __init__(self, dataset: Any, what: str, columns: list[str] | None) -> None:
        import pyarrow as pa

        # Its features are in the metadata; a table that has been through `cast` may have older ones.
        said = pa.schema(list(dataset.data.schema), dataset.features.arrow_schema.metadata)
        self._schema = wanted_schema(what, said, columns)
        self._rows = dataset.select_columns(self._schema.names).with_format("arrow")
        self.count = len(dataset)

    def take(self, indices: Sequence[Any]) -> Any:
        """Return rows as a record batch."""
        import pyarrow as pa

        rows = row_numbers(indices, self.count)
        if not len(rows):
            return pa.RecordBatch.from_pylist([], self._schema)
        is_range = isinstance(indices, range) and indices.step == 1 and rows[-1] - rows[0] == len(rows) - 1
        table = self._rows[int(rows[0]) : int(rows[-1]) + 1] if is_range else self._rows[rows]
        (batch,) = table.combine_chunks().to_batches()
        return pa.RecordBatch.from_arrays(batch.columns, schema=self._schema)
