"""What ``in_memory_cache`` keeps, and the reading of a pass that may be kept (the essay is in `memory_cache`)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeAlias, TypeVar

from penstock.core.context import Context
from penstock.core.stream import State, Stream, counted
from penstock.pipes._sizes import size_bytes

__all__ = ["Filling", "Kept", "Memory", "Origin", "Place", "Reading"]

T = TypeVar("T")

# One `state()` of a source costs about a microsecond, so this is under 0.1 us an item.
_EVERY = 32

Origin: TypeAlias = list[Any]  # [seed, epoch, passes] of a pass, as plain JSON values
Place: TypeAlias = tuple[int, State, int]  # the number of an item, the source's state ahead of it, how far behind it


@dataclass(frozen=True)
class Kept:
    """A pass that came to its end: its first items, and the source's states ahead of every 32nd of them.

    ``count`` is how many items the whole pass has.
    """

    items: list[Any]
    states: list[State]
    count: int
    size_bytes: int

    def place(self, number: int) -> Place:
        """Return the place ahead of an item."""
        i = min(number // _EVERY, len(self.states) - 1)
        return i * _EVERY, self.states[i], number - i * _EVERY


class Memory:
    """All that one pipe keeps: a `Held` for each share of the work. Pickles empty."""

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.held: dict[Any, Held] = {}
        self._used = 0
        self._lock = threading.Lock()  # lanes behind which a `prefetch` stands are read by threads of their own

    def __reduce__(self) -> tuple[Any, ...]:
        return Memory, (self.limit,)

    def of(self, ctx: Context) -> Held:
        """Return what is held for the share of a context, the same one for every epoch and pass."""
        share = ctx.share
        key = None if share is None else (share.count, share.index, share.chunk, share.lane)
        return self.held.setdefault(key, Held(self))

    def take(self, size: int) -> bool:
        """Set so many bytes aside; return False where they do not fit."""
        with self._lock:
            if self.limit is not None and self._used + size > self.limit:
                return False
            self._used += size
            return True

    def give_back(self, size: int) -> None:
        """Undo `take`."""
        with self._lock:
            self._used -= size


class Held:
    """What is held for one share: which pass is the original, None as long as there is none, and what is kept of it."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.origin: Origin | None = None
        self.kept: Kept | None = None

    def meet(self, origin: Origin, *, repeated: bool) -> None:
        """Learn from a state: it is of a pass that repeats ``origin``, or of one that may become the original."""
        if self.origin != origin:
            self.origin = origin if repeated else None
            if self.kept is not None:
                self.memory.give_back(self.kept.size_bytes)
                self.kept = None


class Filling:
    """Keeps the items of a pass that is being read, as far as they fit."""

    def __init__(self, held: Held, origin: Origin) -> None:
        self._held = held
        self._origin = origin
        self._items: list[Any] = []
        self._states: list[State] = []
        self._size = 0
        self._full = False

    def begin(self, number: int, state: State) -> None:
        """Keep the state ahead of an item. A pass that does not begin at its start can't be kept."""
        self._full = self._full or number != len(self._items)
        if not self._full:
            self._states.append(state)

    def keep(self, items: Iterator[T]) -> Iterator[T]:
        """Yield items, and keep them."""
        if self._full:
            return items
        return self._keep(items)

    def _keep(self, items: Iterator[T]) -> Iterator[T]:
        memory = self._held.memory
        for item in items:
            if not self._full:
                size = size_bytes(item) if memory.limit is not None else 0
                if memory.take(size):
                    self._items.append(item)
                    self._size += size
                else:
                    self._full = True
            yield item

    def end(self, count: int) -> None:
        """The pass has come to its end: it is the original, unless there is one."""
        held = self._held
        if held.origin is None:
            held.origin = self._origin
        if self._states and held.kept is None and held.origin == self._origin:
            held.kept = Kept(self._items, self._states, count, self._size)
            self._size = 0

    def stop(self) -> None:
        """Give back what is not kept after all."""
        size, self._size = self._size, 0
        self._held.memory.give_back(size)


class Reading(Generic[T]):
    """A pass that reads the source, in pieces of 32 items, with the source's state ahead of each piece."""

    def __init__(self, up: Stream[T], start: Place, filling: Filling | None = None) -> None:
        self._up = up
        self._start = start
        self._filling = filling
        self._place: list[Any] = []  # number and state of the piece that is being read, and what counts items

    def pieces(self) -> Iterator[Iterator[T]]:
        """Yield the items, in pieces."""
        number, state, distance = self._start
        up, filling = self._up, self._filling
        try:
            up.skip(distance)
            items, count = counted(up.it, number + distance)
            if filling is not None:
                filling.begin(number + distance, state)
            while True:
                here = count()
                if here >= number + _EVERY:
                    number, state = here, up.state()
                    if filling is not None:
                        filling.begin(number, state)
                self._place = [number, state, count]
                wanted = number + _EVERY - here
                piece = islice(items, wanted)
                yield piece if filling is None else filling.keep(piece)
                if count() - here < wanted:
                    break
            if filling is not None:
                filling.end(count())
        finally:
            if filling is not None:
                filling.stop()

    def place(self) -> Place | None:
        """Return where it stands, None ahead of the first item."""
        if not self._place:
            return None
        number, state, count = self._place
        return number, state, count() - number

    def close(self) -> None:
        """Close the source."""
        self._up.close()
