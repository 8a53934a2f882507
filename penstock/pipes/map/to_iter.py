"""MapToIterConverter (``to_iter_datapipe``)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from penstock.core.context import Context
from penstock.core.pipe import IterDataPipe, MapDataPipe, as_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream, sequence_stream

T = TypeVar("T")


@functional_datapipe("to_iter_datapipe", on=MapDataPipe)
class MapToIterConverter(IterDataPipe[T]):
    """Yield ``datapipe[i]`` for every index (functional name: ``to_iter_datapipe``, on MapDataPipes).

    Steps behind it work on the indices up to the first one that looks at an item.

    Args:
        datapipe: the source.
        indices: the indices or keys, in order; ``range(len(datapipe))`` unless given.

    State: how many items have been given.

    Example:
        >>> from penstock.pipes.map import SequenceWrapper
        >>> list(SequenceWrapper("abc").to_iter_datapipe([2, 0]))
        ['c', 'a']
    """

    def __init__(self, datapipe: MapDataPipe[T], indices: Iterable[Any] | None = None) -> None:
        datapipe = as_source(datapipe)
        if not isinstance(datapipe, MapDataPipe):
            raise TypeError(f"MapToIterConverter can only apply on MapDataPipe, but found {type(datapipe)}")
        self.datapipe = datapipe
        self.indices = None if indices is None else list(indices)

    def __len__(self) -> int:
        return len(self.datapipe) if self.indices is None else len(self.indices)

    def build(self, ctx: Context, state: State = None) -> Stream[T]:
        name = ctx.name(self)
        indices = range(len(self.datapipe)) if self.indices is None else self.indices
        cells: Stream[Any] = sequence_stream(indices, ctx.own(self, state) or 0, lambda n: {name: n} if n else None)
        cells.data = self.datapipe
        return cells
