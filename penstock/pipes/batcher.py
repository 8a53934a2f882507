"""Batcher (``batch``) and UnBatcher (``unbatch``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, TypeVar

from penstock.core.bad import gathered
from penstock.core.chunk import DataChunk
from penstock.core.context import Context
from penstock.core.pipe import IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.pipes._nested import nested

T = TypeVar("T")


@functional_datapipe("batch")
class Batcher(IterDataPipe[DataChunk[T]]):
    """Gather items into lists of ``batch_size`` (functional name: ``batch``).

    The last batch may be shorter. Over a MapDataPipe a batch is fetched with one ``__getitems__``.

    Args:
        datapipe: the source.
        batch_size: items per batch, at least 1.
        drop_last: leave out a short last batch.
        wrapper_class: what makes a list of items a batch.

    State: none of its own.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper(range(5)).batch(2))
        [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self,
        datapipe: IterDataPipe[T],
        batch_size: int,
        drop_last: bool = False,
        wrapper_class: Callable[[Any], Any] = DataChunk,
    ) -> None:
        datapipe = check_source(self, datapipe)
        if batch_size < 1:
            raise AssertionError(f"Batch size is required to be larger than 0! Got {batch_size}")
        self.datapipe = datapipe
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.wrapper_class = wrapper_class
        self.arity = batch_size

    def __len__(self) -> int:
        return len(self.datapipe) // self.batch_size if self.drop_last else -(-len(self.datapipe) // self.batch_size)

    def build(self, ctx: Context, state: State = None) -> Stream[DataChunk[T]]:
        up = ctx.build(self.datapipe, state, indices=True, holes=True)
        it, size, wrap = up.it, self.batch_size, self.wrapper_class
        batches: Iterator[Any]
        if up.data is not None:
            fetch = up.data.__getitems__
            indices: Iterator[list[Any]] = iter(lambda: list(islice(it, size)), [])
            if self.drop_last:
                indices = (batch for batch in indices if len(batch) == size)
            if ctx.bad is not None:
                batches = (gathered(fetch(batch), wrap) for batch in indices)
            else:
                batches = (wrap(fetch(batch)) for batch in indices)
        else:
            batches = iter(lambda: DataChunk(islice(it, size)), [])
            if self.drop_last:
                batches = (batch for batch in batches if len(batch) == size)
            if ctx.bad is not None:
                batches = (gathered(batch, wrap) for batch in batches)
            elif wrap is not DataChunk:
                batches = (wrap(batch) for batch in batches)
        places = None
        if (inner := up.places) is not None:
            places = lambda: (place // size for place in islice(inner(), 0, None, size))  # noqa: E731
        return up.onward(batches, skip=lambda n: up.skip(n * size), places=places)


@functional_datapipe("unbatch")
class UnBatcher(IterDataPipe[Any]):
    """Undo batching: yields the items of lists one by one (functional name: ``unbatch``).

    Args:
        datapipe: the source, of lists.
        unbatch_level: how many levels of nested lists to take away; -1 for all.

    State: the state ahead of the list that is being read, and how many of its items have been given.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper([[1, 2], [3]]).unbatch())
        [1, 2, 3]
        >>> list(IterableWrapper([[[1], [2]], [[3]]]).unbatch(unbatch_level=-1))
        [1, 2, 3]
    """

    def __init__(self, datapipe: IterDataPipe[Any], unbatch_level: int = 1) -> None:
        datapipe = check_source(self, datapipe)
        if unbatch_level < -1:
            raise ValueError(f"unbatch_level must be -1 or >= 0, got {unbatch_level}")
        self.datapipe = datapipe
        self.unbatch_level = unbatch_level

    def build(self, ctx: Context, state: State = None) -> Stream[Any]:
        return nested(self, self.datapipe, lambda item: _flat(item, self.unbatch_level), ctx, state)


def _flat(item: Any, level: int) -> Iterator[Any]:
    if level == 0:
        yield item
    elif level == -1:
        if isinstance(item, list):
            for inner in item:
                yield from _flat(inner, -1)
        else:
            yield item
    elif isinstance(item, list):
        for inner in item:
            yield from _flat(inner, level - 1)
    else:
        raise IndexError("unbatch_level exceeds the depth of the DataPipe")
