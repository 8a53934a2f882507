"""Shuffler (``shuffle``): windows of a stream, each in a random order."""

from __future__ import annotations

import operator
import time
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from operator import itemgetter
from typing import Any, TypeVar

from penstock.core.context import Context
from penstock.core.errors import StateError
from penstock.core.pipe import IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.seeds import hash_key, philox
from penstock.core.stream import State, Stream
from penstock.pipes._shuffling import Shuffling, shuffle_key
from penstock.pipes.batcher import UnBatcher

T = TypeVar("T")

# While one window drains, the next one is pulled in steps, so that there is no gap at a window's end. A step should
# take about this long: a slow source is pulled item by item, or nearly so, and a fast one pays nothing for it (steps
# of 16 cost a map-filter-shuffle-batch chain 12%).
_STEP_S = 1e-4
_SMALLEST_STEP, _LARGEST_STEP = 8, 1024


@functional_datapipe("shuffle")
class Shuffler(Shuffling, IterDataPipe[T]):
    """Shuffle a stream window by window (functional name: ``shuffle``).

    A window is ``buffer_size`` consecutive items. An item therefore moves by less than two windows; shuffle the files
    as well where that is too little. A MapDataPipe has a `shuffle` of its own, over everything and without memory.

    Args:
        datapipe: the source.
        buffer_size: items per window, at least 1.
        initial: items in the first window, so that it is soon full; ``buffer_size`` unless given.
        unbatch_level: unbatch the source by so many levels first.

    State: the source's state ahead of the window, the window's number and size, and how many of its items have been
    given.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> sorted(IterableWrapper(range(5)).shuffle())
        [0, 1, 2, 3, 4]
    """

    def __init__(
        self,
        datapipe: IterDataPipe[T],
        *,
        buffer_size: int = 10000,
        unbatch_level: int = 0,
        initial: int | None = None,
    ) -> None:
        datapipe = check_source(self, datapipe)
        if buffer_size < 1:
            raise AssertionError(f"buffer_size should be larger than 0, got {buffer_size}")
        self.datapipe: IterDataPipe[T] = UnBatcher(datapipe, unbatch_level) if unbatch_level else datapipe
        if initial is not None and not 1 <= initial <= buffer_size:
            raise ValueError(f"initial must be from 1 to buffer_size={buffer_size}, got {initial}")
        self.buffer_size = buffer_size
        self.initial = initial

    def __len__(self) -> int:
        return len(self.datapipe)

    def build(self, ctx: Context, state: State = None) -> Stream[T]:
        if not self._enabled:
            return ctx.build(self.datapipe, state, indices=True, holes=True)
        name = ctx.name(self)
        saved = ctx.own(self, state)
        anchor, window, given, size = saved or (None, 0, 0, None)
        up = ctx.build(self.datapipe, anchor, indices=True, holes=True)
        if saved is None:  # also the start is a place: what a cache repeats is not what its source would give now
            anchor = up.state()
        key = shuffle_key(self, ctx)
        here: tuple[Any, int, int, Iterator[T]] | None = None

        def pieces() -> Iterator[Iterator[T]]:
            nonlocal here
            start, first, number = anchor, given, window
            began = time.perf_counter()
            filled = list(islice(up.it, (self.initial if number == 0 else None) or self.buffer_size))
            step = _step(time.perf_counter() - began, len(filled))
            if size is not None and len(filled) != size:
                raise StateError(
                    f"{name!r} cannot be restored: its window had {size} items when the state was saved, and now "
                    f"{len(filled)}; something upstream of it is not deterministic"
                )
            while filled:
                upcoming: list[T] = []
                behind = up.state()
                items: Any = iter(_permuted(filled, key, number))
                items.__setstate__(first)
                here = (start, number, len(filled), items)
                for _ in range((len(filled) - first - 1) // step):
                    yield islice(items, step)
                    upcoming.extend(islice(up.it, step))
                yield items
                # At most a step is left to pull here, except behind a restored window, which began in its middle.
                upcoming.extend(islice(up.it, self.buffer_size - len(upcoming)))
                filled, start, first, number = upcoming, behind, 0, number + 1

        def tell() -> State:
            if here is None:
                return {name: saved or [anchor, 0, 0, None]}
            start, number, total, items = here
            return {name: [start, number, total - operator.length_hint(items), total]}

        running = pieces()
        return Stream(chain.from_iterable(running), tell, data=up.data, closers=(running, up))


def _step(seconds: float, count: int) -> int:
    """Return how many items to pull at once, from a source that took so long for so many."""
    fitting = int(_STEP_S * count / seconds) if seconds else _LARGEST_STEP
    return max(_SMALLEST_STEP, min(_LARGEST_STEP, fitting))


def _permuted(items: list[Any], key: tuple[int, int], number: int) -> Sequence[Any]:
    if len(items) < 2:
        return items
    order = philox(hash_key(key, number)).permutation(len(items)).tolist()
    return itemgetter(*order)(items)  # type: ignore[no-any-return]  # a tuple, as there are two or more
