"""HuggingFaceReader, and `from_huggingface`, which makes one."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

from penstock.core.context import Context
from penstock.core.errors import DecodeError, StateError
from penstock.core.pipe import IterDataPipe, MapDataPipe, no_length
from penstock.core.stream import State, Stream, counted, sequence_stream
from penstock.pipes._huggingface import check_dataset, is_streamed
from penstock.pipes._table_columns import FORMS, check_columns
from penstock.pipes.map.huggingface_table import HuggingFaceTable, converting

if TYPE_CHECKING:
    from penstock.serialization.columns import Conversion

__all__ = ["HuggingFaceReader", "from_huggingface"]


def from_huggingface(
    dataset: Any,
    columns: Sequence[str] | None = None,
    *,
    batch_size: int = 1024,
    drop_last: bool = False,
    as_: Literal["numpy", "torch", "arrow"] = "numpy",
    conversion: Conversion | None = None,
    split: str | None = None,
) -> HuggingFaceReader:
    """Return the pipe that reads a data set of Hugging Face's as batches of columns: a `HuggingFaceReader`.

    Example:
        >>> from datasets import Dataset
        >>> data = Dataset.from_dict({"text": ["a", "b", "c"], "label": [0, 1, 0]})
        >>> [batch["label"] for batch in from_huggingface(data, columns=["label"], batch_size=2, as_="torch")]
        [tensor([0, 1]), tensor([0])]
    """
    return HuggingFaceReader(
        dataset, columns, batch_size=batch_size, drop_last=drop_last, as_=as_, conversion=conversion, split=split
    )


class HuggingFaceReader(IterDataPipe[Any]):
    """Read a data set of Hugging Face's: yields batches of its columns.

    A batch is a dict of numpy arrays, a dict of tensors, or a `pyarrow.RecordBatch`. Of a ``Dataset`` batch b is the
    rows from ``b * batch_size`` on, as ``select``, ``filter``, ``sort`` and ``shuffle`` have put them. Steps that only
    act on which batches there are (``shuffle``, ``sharding_filter``) do so ahead of reading: each worker reads its own.
    `HuggingFaceTable` shuffles rows. An ``IterableDataset`` is read from its start, in each worker.

    What its features say is respected by the conversion: images are decoded, unless ``Conversion(images="encoded")``. A
    format (``with_format``, ``set_transform``) changes nothing.

    Args:
        dataset: a ``datasets.Dataset`` or ``IterableDataset``, a dict of them with ``split=``, or the folder that
            ``Dataset.save_to_disk`` wrote.
        columns: give only these, in this order; all unless given.
        batch_size: rows per batch, fewer in the last.
        drop_last: leave out a short last batch.
        as_: ``numpy``, ``torch`` or ``arrow``. Arrays and tensors can be written into.
        conversion: what becomes of each of Arrow's types, and of nulls, which are an error unless it says otherwise.
        split: which of several splits.

    Raises:
        ValueError: ``batch_size`` is below 1; ``columns`` is empty, has a name twice or one that is not there; no such
            form; several splits, and none of them is chosen.
        TypeError: it is no data set of Hugging Face's.
        MissingExtra: (when run) datasets is not installed.
        DecodeError: (when run) names the column and what is wrong: a null, an image that cannot be read, batches of an
            ``IterableDataset`` without features that have other types.

    State: the row, and how many there are; restoring reads nothing ahead of it. Of an ``IterableDataset`` its own
    state; where that is not exact (its ``shuffle`` loses its buffer, and ``map`` in batches may lose one) the number of
    batches, which are read again.

    Example:
        >>> from datasets import Dataset
        >>> data = Dataset.from_dict({"x": [1, 2, 3]})
        >>> list(HuggingFaceReader(data, batch_size=2))
        [{'x': array([1, 2])}, {'x': array([3])}]
    """

    def __init__(
        self,
        dataset: Any,
        columns: Sequence[str] | None = None,
        *,
        batch_size: int = 1024,
        drop_last: bool = False,
        as_: Literal["numpy", "torch", "arrow"] = "numpy",
        conversion: Conversion | None = None,
        split: str | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if as_ not in FORMS:
            raise ValueError(f"as_ must be one of {', '.join(FORMS)}, got {as_!r}")
        self.columns = check_columns(columns)
        found = check_dataset(dataset, split, self.columns)
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.as_ = as_
        self.conversion = conversion
        self._data: Any = found
        if not is_streamed(found):
            of_folder = split if isinstance(found, str) else None
            self._data = _Batches(
                HuggingFaceTable(found, columns, as_=as_, conversion=conversion, split=of_folder), batch_size, drop_last
            )

    @property
    def has_rows(self) -> bool:
        return not is_streamed(self._data)

    @property
    def sources(self) -> tuple[()]:
        return ()  # the table is not a step of the graph

    def __len__(self) -> int:
        if is_streamed(self._data):
            raise no_length(self)
        return len(self._data)

    def holds(self) -> Any:
        return None if is_streamed(self._data) else len(self._data)

    def build(self, ctx: Context, state: State = None) -> Stream[Any]:
        name = ctx.name(self)
        saved = ctx.own(self, state)
        if is_streamed(self._data):
            return self._streamed(ctx, name, saved)
        size, rows = self.batch_size, len(self._data.table)
        row, before = saved or (0, rows)
        if before != rows:
            raise StateError(f"{name!r}: the data set has {rows} rows, and had {before} when the state was saved")
        if row % size and row != rows:
            raise StateError(f"{name!r} cannot go on at row {row}, which is within a batch of {size} rows")
        cells: Stream[Any] = sequence_stream(
            range(len(self._data)), -(-row // size), lambda n: {name: [min(n * size, rows), rows]} if n else None
        )
        cells.data = self._data
        return cells

    def _streamed(self, ctx: Context, name: str, saved: Any) -> Stream[Any]:
        given, place, *seen = saved or (0, None)
        types: list[str] = [*seen]  # that the batches have, where no features say so
        rows, is_exact = _own(self._data, self.columns, ctx.epoch)
        tables: Iterator[Any] = rows.iter(self.batch_size, drop_last_batch=self.drop_last)  # which begins when asked
        if place is not None:
            rows.load_state_dict(json.loads(json.dumps(place)))  # it keeps, and changes, what it is given
        elif (there := sum(1 for _ in islice(tables, given))) < given:
            raise StateError(f"{name!r} gave {given} batches when the state was saved, and now only {there}")
        convert = ctx.guarded(self, converting(self.as_, self.conversion))
        features = rows.features
        names = self.columns or (None if features is None else list(features))

        def batches() -> Iterator[Any]:
            of_last = None
            for table in tables:
                batch = _as_batch(table, names, features)
                if features is None and not (of_last is not None and batch.schema.equals(of_last)):
                    of_last, said = batch.schema, _said(batch.schema)
                    if not types:
                        types.append(said)
                    elif types != [said]:
                        raise DecodeError(
                            f"{name!r}: a batch has the columns {said}, and one ahead of it {types[0]}; an "
                            "IterableDataset has one type for each where its features are given"
                        )
                yield convert(batch)

        running = batches()
        it, count = counted(running, given)

        def tell() -> State:
            if not count():
                return None
            if count() == given:  # what it says ahead of its first batch need not be what it was told
                return {name: [given, place, *types]}
            return {name: [count(), json.loads(json.dumps(rows.state_dict())) if is_exact else None, *types]}

        return Stream(it, tell, closers=(running,))


class _Batches(MapDataPipe[Any]):
    """The batches of a table, by number."""

    def __init__(self, table: HuggingFaceTable, batch_size: int, drop_last: bool) -> None:
        self.table = table
        self.batch_size = batch_size
        self.drop_last = drop_last

    def __len__(self) -> int:
        rows = len(self.table)
        return rows // self.batch_size if self.drop_last else -(-rows // self.batch_size)

    def __getitem__(self, index: Any) -> Any:
        start = index * self.batch_size
        return self.table.take(range(start, min(start + self.batch_size, len(self.table))))


def _own(dataset: Any, columns: list[str] | None, epoch: int) -> tuple[Any, bool]:
    """Return an IterableDataset that nobody else reads, of record batches; and whether its state is exact.

    Its parts hold the place of whoever reads them: two streams over one would be in each other's way.
    """
    rows = copy.copy(dataset)
    rows._ex_iterable, kinds = _copied(dataset._ex_iterable)
    shuffled = any("Shuffled" in kind for kind, _ in kinds)
    if columns is not None:
        rows = rows.select_columns(columns)
    rows = rows.with_format("arrow")
    rows.set_epoch(dataset.epoch + (epoch if shuffled else 0))  # it would shuffle shards as well that nobody shuffled
    return rows, not shuffled and not any(batched for _, batched in kinds)


def _copied(part: Any) -> tuple[Any, list[tuple[str, bool]]]:
    """Return a copy of a part of an IterableDataset with all it reads from, and the kinds of them."""
    twin = copy.copy(part)
    kinds = [(type(part).__name__, bool(getattr(part, "batched", False)))]
    if hasattr(part, "ex_iterable"):
        twin.ex_iterable, more = _copied(part.ex_iterable)
        kinds += more
    if hasattr(part, "ex_iterables"):
        both = [_copied(each) for each in part.ex_iterables]
        twin.ex_iterables = [each for each, _ in both]
        kinds += [kind for _, more in both for kind in more]
    return twin, kinds


def _as_batch(table: Any, names: list[str] | None, features: Any) -> Any:
    """Return a table's columns as one record batch, whose metadata say what its features are."""
    if names is not None:
        table = table.select(names)
    if features is not None:
        table = table.replace_schema_metadata(features.arrow_schema.metadata)
    return table.combine_chunks().to_batches()[0]


def _said(schema: Any) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema)
