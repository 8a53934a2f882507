"""Shuffler (``shuffle``) for MapDataPipes: a true permutation, computed and not stored."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, TypeVar

from penstock.core.context import Context
from penstock.core.permutation import Permutation
from penstock.core.pipe import IterDataPipe, MapDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream, sequence_stream
from penstock.pipes._shuffling import Shuffling, shuffle_key

T = TypeVar("T")

_SMALLEST, _LARGEST = 256, 8192  # indices computed at once: few after a jump, more while reading on


@functional_datapipe("shuffle", on=MapDataPipe)
class Shuffler(Shuffling, IterDataPipe[T]):
    """Yield every item once, in random order (functional name: ``shuffle``, on MapDataPipes).

    The order is a permutation of all indices, computed as it is needed: memory and state do not grow with the data, and
    passing over items costs nothing. Steps behind it work on the indices (sharding, header), up to the first one that
    looks at an item; `batch` fetches each batch with one ``__getitems__``.

    Args:
        datapipe: the source.
        indices: the indices or keys to draw from; ``range(len(datapipe))`` unless given.

    State: how many items have been given.

    Example:
        >>> from penstock.pipes.map import SequenceWrapper
        >>> sorted(SequenceWrapper("abc").shuffle())
        ['a', 'b', 'c']
    """

    is_permutation = True

    def __init__(self, datapipe: MapDataPipe[T], *, indices: Iterable[Any] | None = None) -> None:
        datapipe = check_source(self, datapipe, MapDataPipe)
        self.datapipe = datapipe
        self.indices = None if indices is None else list(indices)

    def __len__(self) -> int:
        return len(self.datapipe) if self.indices is None else len(self.indices)

    def build(self, ctx: Context, state: State = None) -> Stream[T]:
        name = ctx.name(self)
        begin: int = ctx.own(self, state) or 0
        order = None
        if self._enabled:
            key = shuffle_key(self, ctx)
            order = Permutation(len(self), key)
        places = _Run(len(self), begin, order.between if order else lambda low, high: range(low, high))
        pool = self.indices
        it = places.it if pool is None else (pool[place] for place in places.it)
        tell = lambda: {name: places.tell()} if places.tell() else None  # noqa: E731
        return Stream(it, tell, skip=places.skip, data=self.datapipe)


class _Run:
    """The numbers ``between(begin, size)`` yields, in pieces; it can jump ahead."""

    def __init__(self, size: int, begin: int, between: Callable[[int, int], Any]) -> None:
        self._size = size
        self._between = between
        self._next = begin  # where the next piece begins
        self._length = _SMALLEST
        self._piece: Stream[int] = sequence_stream([])
        self._left = 0
        self.it = chain.from_iterable(self._pieces())

    def _pieces(self) -> Iterator[Iterator[int]]:
        while self._next < self._size:
            low, high = self._next, min(self._size, self._next + self._length)
            self._piece = sequence_stream(self._between(low, high))
            self._next = high
            self._length = min(2 * self._length, _LARGEST)
            yield self._piece.it

    def tell(self) -> int:
        return self._next - operator.length_hint(self._piece.it)

    def skip(self, n: int) -> None:
        target = min(self._size, self.tell() + n)
        if target <= self._next:
            self._piece.skip(n)
        else:
            self._piece.skip(self._size)  # to its end
            self._next = target
            self._length = _SMALLEST
