"""What runs. A stream is an iterator with a place in it that can be saved.

The iterator may be anything, and for steps that hold nothing between two items it is the fastest thing that Python
has: a generator expression around the user's function, a C iterator elsewhere. No step counts items in Python: a
list's iterator tells its own position (`operator.length_hint`), and `counted` counts in C.

A step that holds items (a parsed file, a shuffle window) remembers the state of its source at an *anchor* and how far
it has gone since. Restoring rebuilds from the anchor and steps over what was already given.

User functions run inside generator expressions and not inside `map` and `filter`. That costs about 8 ns an item
(106 against 114 ns with a Python function) and turns a StopIteration raised by the function into a RuntimeError;
with `map` it would end the data in silence, and on the last item nobody could tell.
"""

from __future__ import annotations

import operator
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import compress, islice, repeat
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

if TYPE_CHECKING:
    from penstock.core.pipe import MapDataPipe

__all__ = ["State", "Stream", "close", "consume", "counted", "sequence_stream"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

# Plain JSON values; None is the start. A pipe's own part is tagged with the pipe's name: {"shuffle": [...]}.
State: TypeAlias = Any


class Stream(Generic[T_co]):
    """A running step.

    Attributes:
        it: yields the items. Where ``data`` is set it yields indices into it instead (see `Context.build`).
        state: tells where the stream stands after the last item that ``it`` yielded. Asked only between two items.
        skip: passes over n items, in constant time where the source allows. Acts on ``it`` in place.
        places: makes an iterator over the global positions of the items to come, from where the stream was built; each
            step that asks keeps its own in step with ``it``. None where each step may count for itself.
        data: the MapDataPipe that indices point into, while no step has looked at an item yet.
    """

    __slots__ = ("__weakref__", "_closers", "data", "it", "places", "skip", "state")

    def __init__(
        self,
        it: Iterator[T_co],
        state: Callable[[], State],
        *,
        skip: Callable[[int], None] | None = None,
        places: Callable[[], Iterator[int]] | None = None,
        data: MapDataPipe[Any] | None = None,
        closers: Iterable[Any] = (),  # with a `close`: streams, files, and generators (whose type often says Iterator)
    ) -> None:
        self.it = it
        self.state = state
        self.skip = skip or (lambda n: consume(it, n))
        self.places = places
        self.data = data
        self._closers = tuple(closers)

    def close(self) -> None:
        """Stop what the stream started: generators, files, threads. Closing twice does nothing."""
        closers, self._closers = self._closers, ()
        for closer in closers:
            close(closer)

    def onward(self, it: Iterator[T], **changes: Any) -> Stream[T]:
        """Return a stream one step further on, whose state is this one's: for steps that hold nothing."""
        closers = (it, self) if hasattr(it, "close") else (self,)
        return Stream(it, changes.pop("state", self.state), closers=closers, **changes)


def close(closer: Any) -> None:
    """Close a generator, or what else can be closed; one that another thread runs right now is left to that."""
    try:
        closer.close()
    except ValueError as error:
        if "already executing" not in str(error):
            raise


def consume(it: Iterator[Any], n: int) -> None:
    """Take ``n`` items from ``it``, at C speed."""
    deque(islice(it, n), maxlen=0)


def counted(it: Iterator[T], start: int = 0) -> tuple[Iterator[T], Callable[[], int]]:
    """Return ``it`` again, and a function that tells how many items it has given, ``start`` included.

    The count lives in C: `compress` takes one tick for each item, and a `repeat` knows how many ticks are left
    (10 ns an item; `enumerate` and a Python counter cost 40).
    """
    ticks = repeat(True, sys.maxsize)
    return compress(it, ticks), lambda: start + sys.maxsize - operator.length_hint(ticks)


# From Python 3.12 on, `__setstate__` of a range's iterator counts from where it stands, and not from the start.
_RANGES_STEP_ON = sys.version_info >= (3, 12)


def sequence_stream(items: Sequence[T], start: int = 0, wrap: Callable[[int], State] | None = None) -> Stream[T]:
    """Return a stream over a sequence whose iterator knows its place (list, tuple, range, str, numpy array)."""
    it: Any = iter(items)
    size = len(items)
    if start:
        it.__setstate__(start)
    from_here = _RANGES_STEP_ON and isinstance(items, range)

    def position() -> int:
        return size - operator.length_hint(it)

    def skip(n: int) -> None:
        here = position()
        target = min(size, here + n)
        it.__setstate__(target - here if from_here else target)

    return Stream(it, (lambda: wrap(position())) if wrap else position, skip=skip)
