"""How many items pass, and of what size: the two ways in which `monitor` looks at a clock.

As Squirrel has it, there is a call for each item, over a window of the last few (`windowed`): that takes a clock, a
size and a call for each. With ``every_s``, or in a worker, nothing runs in Python for an item (`in_pieces`). Items pass
in pieces, counted in C, and between two pieces there is time for a look at the clock, and for the size of an item::

    source: |x|xx|xxxx|xxxxxxxx|xxxxxxxx|x|x|x|     a piece takes a millisecond, or is one item
             ^ the clock, and a size     ^ from here on the source is slow

A piece is twice as long as the one ahead of it, until it takes a millisecond, and as short as it must be at once where
it took longer. So a stream of a million items a second looks at the clock a thousand times, and one of an item a minute
at each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from time import perf_counter
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from penstock.core.bad import HOLE, Lossy
from penstock.core.stream import counted
from penstock.pipes._tally import Report

__all__ = ["Call", "Holes", "Out", "Sizes", "in_pieces", "windowed"]

T = TypeVar("T")

Call: TypeAlias = Callable[[float, float, float], object]  # with a number of items, their bytes, and the seconds

_PIECE_S: Final = 1e-3
_LONGEST: Final = 1 << 16
_SIZES_SHARE: Final = 0.01  # of the time, for the sizes of samples


def windowed(items: Iterable[T], call: Call, window: int, size_of: Callable[[Any], int] | None) -> Iterator[T]:
    """Yield items, and call back ahead of each, over the last ``window``, once there are so many.

    The time of a window begins where the item ahead of it came, or where the first one was asked for: ``window`` items
    in as many intervals.
    """
    clock = perf_counter
    times, sizes, total = deque([clock()], window), deque[int](), 0
    for item in items:
        value: Any = item.value if type(item) is Lossy else item  # type: ignore[attr-defined]  # a Lossy has it
        if value is HOLE:
            yield item
            continue
        now = clock()
        if size_of is not None:
            size = size_of(value)
            sizes.append(size)
            total += size
        if len(times) == window:
            call(window, total, now - times[0])
            total -= sizes.popleft() if sizes else 0
        times.append(now)
        yield item


class Out(NamedTuple):
    """Where a stream says what has passed, after how many seconds, given how long it has run, and that it has ended."""

    pipe: str
    tell: Callable[[Report], object]
    pause_s: Callable[[float], float]
    end: Callable[[], object] = lambda: None


class Sizes:
    """What an item takes on average, by samples. None are taken where ``size_of`` is None."""

    def __init__(self, size_of: Callable[[Any], int] | None) -> None:
        self._size_of = size_of
        self._count = self._bytes = 0
        self._mean = 0.0
        self._spent_s = 0.0

    def wants(self, ran_s: float) -> bool:
        """Whether there is time for another sample, in a stream that has run for so long."""
        return self._size_of is not None and self._spent_s <= _SIZES_SHARE * ran_s

    def take(self, item: Any) -> None:
        """Take an item for a sample."""
        value = _value(item)
        if value is HOLE or self._size_of is None:
            return
        began = perf_counter()
        self._bytes += self._size_of(value)
        self._count += 1
        self._spent_s += perf_counter() - began

    def mean(self) -> float:
        """Return the mean of the samples since it was asked last; the one before where there are none."""
        if self._count:
            self._mean = self._bytes / self._count
            self._count = self._bytes = 0
        return self._mean


def in_pieces(items: Iterator[T], sizes: Sizes, out: Out, holes: Holes | None) -> Iterator[Iterable[T]]:
    """Yield items in pieces, and tell what has passed."""
    clock = perf_counter
    it, count = counted(items)
    began = told = now = clock()
    passed = 0
    made = length = step = 1

    def report() -> Report:
        nonlocal passed
        number = count() - passed - (holes.count if holes is not None else 0)
        passed += number
        return Report(out.pipe, number, number * sizes.mean(), told, now)

    while made == length:  # a shorter piece is the last one
        length, before, looked = step, count(), now
        left = length
        if sizes.wants(now - began):
            for item in it:
                sizes.take(item)
                yield (item,)
                break
            else:
                break
            left -= 1
        yield islice(it, left)
        now, made = clock(), count() - before
        if now - told >= out.pause_s(now - began):
            out.tell(report())
            told = now
        took_s = now - looked
        step = max(1, int(made * _PIECE_S / took_s)) if took_s > _PIECE_S else min(2 * step, _LONGEST)
    now = clock()
    if (last := report()).items:
        out.tell(last)
    out.end()


class Holes:
    """Passes items on, and counts those that are none."""

    def __init__(self, items: Iterator[Any]) -> None:
        self.count = 0
        self.it = self._run(items)

    def _run(self, items: Iterator[Any]) -> Iterator[Any]:
        for item in items:
            self.count += _value(item) is HOLE
            yield item


def _value(item: Any) -> Any:
    return item.value if type(item) is Lossy else item
