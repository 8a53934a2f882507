"""A source whose items can be fetched again, for steps that hold some of them.

A step that holds items for an unforeseeable time (a group that fills slowly, a class that comes rarely, a join that
waits for its other half) cannot keep one anchor: the oldest item that it holds may be any distance behind. So its
source is read over a tape, which numbers the items and keeps the source's state every `_EVERY` of them, for as long
as an item of that stretch is held::

    number   0 . . . . 32 . . . . 64 . . . . 96 . . . . 128 . .|
    held       x  x                            x              the source stands here
    kept     state                      state           state

A state names, for each stretch that has a held item, the source's state at its start and which of its items are held:
a number whose bit d stands for the item at distance d. Restoring visits these stretches and fetches the items again.
For each of them it reads a few hundred items at most, wherever in the epoch it stands: stretches that lie close
together are read through in one go.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Any, Generic, TypeVar

from penstock.core.errors import StateError
from penstock.core.stream import State, Stream, counted

__all__ = ["Tape", "held_numbers"]

T = TypeVar("T")

# One `state()` of a source costs about a microsecond, so this is under 0.1 us an item.
_EVERY = 32
# Over a shorter way, reading on is cheaper than building the source anew (which may open a file).
_WORTH_A_JUMP = 4 * _EVERY
_END: Any = object()


class Tape(Generic[T]):
    """A numbered source.

    Args:
        name: of the step, for errors.
        build: builds the source from a state of it.
        saved: what `save` once returned, for every reader of the tape; the one that is furthest behind sets the place.
            None for a reader at the start.
        held: tells the numbers of the items that the step holds now, and of the places that it will save.
        room: tells how many more items may be read behind so many, or the error for a source that has one more.

    Attributes:
        it: yields the items, once `fetch` has been called.
    """

    def __init__(
        self,
        name: str,
        build: Callable[[State], Stream[T]],
        saved: Iterable[Any],
        held: Callable[[], Iterable[int]],
        room: Callable[[int], int | Exception] = lambda number: sys.maxsize,
    ) -> None:
        self._name = name
        self._build = build
        self._held = held
        self._room = room
        places = [place or [0, 0, None, []] for place in saved]
        self._wanted = {number for place in places for number in held_numbers(place)}
        self._begin = min(number for number, _, _, _ in places)
        known = {a: s for _, _, _, stretches in places for a, s, _ in stretches}
        known.update((a, s) for _, a, s, _ in places)
        self._at = sorted(known)  # where states are kept, and which
        self._states = [known[a] for a in self._at]
        self._limit = 2 * len(self._at) + 8
        # The first stream is built now: what divides the work upstream must know its readers before it runs.
        first = self._stretch(min(self._wanted, default=self._begin))
        self._place = self._at[first]
        self._up = build(self._states[first])
        if self._states[first] is None:  # also the start is a place: what a cache repeats is not what comes now
            self._states[first] = self._up.state()
        begin = self._begin
        self._count: Callable[[], int] = lambda: begin
        self.it: Iterator[T] = iter(())

    @property
    def number(self) -> int:
        """How many items have been read; the number of the one that comes next."""
        return self._count()

    def fetch(self) -> dict[int, T]:
        """Fetch the held items again, by number, and make `it` ready. Called once, before anything is read."""
        found: dict[int, T] = {}
        for number in sorted(self._wanted):
            self._move(number)
            item = next(self._up.it, _END)
            if item is _END:
                raise StateError(
                    f"{self._name!r} cannot be restored: its source ends ahead of an item that it held when the state "
                    "was saved; something upstream of it is not deterministic"
                )
            found[number] = item
            self._place += 1
        self._move(self._begin)
        items, self._count = counted(self._up.it, self._begin)
        self.it = chain.from_iterable(self._pieces(items))
        return found

    def save(self, held: Iterable[int] = (), number: int | None = None) -> Any:
        """Return a place (that of the tape unless given) and where held items are, as plain JSON values."""
        number = self.number if number is None else number
        last = self._stretch(number)
        kept: list[list[Any]] = []
        start = end = 0  # of the stretch that the item before was in
        bits = 0
        for one in sorted(held):
            if one >= end:
                if bits:
                    kept[-1][2] = bits
                i = self._stretch(one)
                start, bits = self._at[i], 0
                end = self._at[i + 1] if i + 1 < len(self._at) else sys.maxsize
                kept.append([start, self._states[i], 0])
            bits |= 1 << (one - start)
        if bits:
            kept[-1][2] = bits
        return [number, self._at[last], self._states[last], kept]

    def close(self) -> None:
        """Close the source."""
        self._up.close()

    def _stretch(self, number: int) -> int:
        return bisect_right(self._at, number) - 1

    def _move(self, number: int) -> None:
        """Let the source stand at ``number``: read on, or build it anew."""
        i = self._stretch(number)
        if self._place > number or self._at[i] - self._place > _WORTH_A_JUMP:
            self._up.close()
            self._up, self._place = self._build(self._states[i]), self._at[i]
        self._up.skip(number - self._place)
        self._place = number

    def _pieces(self, items: Iterator[T]) -> Iterator[Iterator[T]]:
        while True:
            before = self.number
            if before >= self._at[-1] + _EVERY:
                if len(self._at) >= self._limit:
                    self._prune()
                self._at.append(before)
                self._states.append(self._up.state())
            room = self._room(before)
            if isinstance(room, Exception):
                if next(items, _END) is _END:
                    return
                raise room
            size = min(self._at[-1] + _EVERY - before, room)
            yield islice(items, size)
            if self.number - before < size:
                return

    def _prune(self) -> None:
        """Forget the states of stretches from which nothing is held any more."""
        wanted = sorted({self._stretch(number) for number in self._held()} | {len(self._at) - 1})
        self._at = [self._at[i] for i in wanted]
        self._states = [self._states[i] for i in wanted]
        self._limit = 2 * len(self._at) + 8


def held_numbers(place: Any) -> list[int]:
    """Return the numbers of the items that were held when `Tape.save` returned this place, in order."""
    return [start + d for start, _, bits in place[3] for d in range(bits.bit_length()) if bits >> d & 1]
