"""Enumerator (``enumerate``)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from penstock.core.context import Context
from penstock.core.pipe import ONE_TO_ONE, IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.pipes._places import placed

T = TypeVar("T")


@functional_datapipe("enumerate")
class Enumerator(IterDataPipe[tuple[int, T]]):
    """Number the items: ``x`` becomes ``(i, x)`` (functional name: ``enumerate``).

    The number is the item's place in the one-process sequence, on whatever worker it lands, as long as each item behind
    the sharding point comes from one item; behind a filter it is unique, and not dense.

    Args:
        source_datapipe: the source.
        starting_index: the first number.

    State: the count, where the sharding point does not know it.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper("ab").enumerate(starting_index=1))
        [(1, 'a'), (2, 'b')]
    """

    arity = ONE_TO_ONE

    def __init__(self, source_datapipe: IterDataPipe[T], starting_index: int = 0) -> None:
        source_datapipe = check_source(self, source_datapipe)
        self.datapipe = source_datapipe
        self.starting_index = starting_index

    def __len__(self) -> int:
        return len(self.datapipe)

    def build(self, ctx: Context, state: State = None) -> Stream[tuple[int, T]]:
        up, places, tell, skip = placed(self, self.datapipe, ctx, state)
        first = self.starting_index
        it: Iterator[tuple[int, T]] = zip((place + first for place in places) if first else places, up.it, strict=False)
        if ctx.bad is not None:
            numbered = ctx.guarded(self, lambda item, place: (place, item))
            it = (numbered(item, place) for place, item in it)
        return up.onward(it, state=tell, skip=skip, places=up.places)
