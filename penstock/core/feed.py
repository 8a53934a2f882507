"""The stream ahead of a sharding point, run once for all lanes of a process.

A process that owns several lanes runs the stream ahead of the point once for all of them, in rounds of ``count``
chunks, and keeps for each round its own lanes' chunks and the state at its start::

    round        lane 0   lane 1   lane 2     (count = 4; lane 3 lives elsewhere)
    7  state      done     done     x           <- base: lane 2 is furthest behind
    8  state      done     x        x
    9  state      x        x        x           <- the newest round that some lane has asked for

A lane that falls more than ``max_skew`` rounds behind gets a stream of its own, rebuilt from the state of its round: a
filter that follows the stride would otherwise make the process hold everything.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from penstock.core.context import Share
from penstock.core.stream import State, Stream
from penstock.core.strides import Position, places, strided
from penstock.core.witness import Watch

if TYPE_CHECKING:
    from penstock.core.pipe import MapDataPipe

__all__ = ["Feed"]

T = TypeVar("T")
START: Final[Position] = (0, None)


class Feed(Generic[T]):
    """The stream ahead of a sharding point, shared by the lanes of one process (see the drawing above)."""

    def __init__(
        self,
        build: Callable[[State], Stream[T]],
        share: Share,
        watching: Callable[[int], Watch],
        on_empty: Callable[[], object],
        rows: bool,
    ) -> None:
        self._build = build
        self._share = share
        self._watching = watching
        self._watch = watching(0)
        self._on_empty = on_empty
        self._starts: dict[int, Position] = {}
        self._next = dict.fromkeys(share.local, 0)  # lane -> the round it takes next
        self._base = 0  # the round at the left end of _rounds
        self._rounds: deque[tuple[Position, dict[int, Any]]] = deque()
        self._detached: dict[int, Position] = {}
        self._up: Stream[T] | None = None
        self._rows = rows  # what the stream gives may be indices
        self._begun: tuple[Position, Stream[T]] | None = None  # a stream that was built ahead, to know
        self._data: MapDataPipe[T] | None = None
        self._ended = False
        self._lock = threading.RLock()  # lanes behind which a `prefetch` stands read in threads of their own

    def admits(self, lane: int, start: Position) -> bool:
        """Tell whether a lane that starts there can be served from this stream."""
        with self._lock:
            new = lane in self._next and lane not in self._starts  # a graph may read the same point twice
            return new and (self._up is None or start[0] >= self._base * self._share.count)

    def join(self, share: Share, start: Position) -> tuple[Stream[T], Callable[[], Position]]:
        """Return the stream and the position of one lane."""
        lane = share.index
        with self._lock:
            self._starts[lane] = start
            self._next[lane] = -(-(start[0] - lane) // share.count)  # the first round whose chunk is at or after start
            if self._rows and self._up is None and self._begun is None:
                self._begun = start, self._build(start[1])
                self._data = self._begun[1].data
        own: list[Callable[[], Position]] = []

        def run() -> Iterator[T]:
            yield from self._shared(lane)
            if lane in self._detached:
                first, state = self._detached[lane]
                stream, tell = strided(self._build(state), share, first, self._watching)
                own.append(tell)
                try:
                    yield from stream.it
                finally:
                    stream.close()

        def position() -> Position:
            with self._lock:
                return own[0]() if own else self._position(lane)

        it = run()
        from_start = partial(places, share, start[0])
        closers = (it, _Leaving(self, lane))
        return Stream(it, position, places=from_start, data=self._data, closers=closers), position

    def leave(self, lane: int) -> None:
        """Forget a lane: nothing is kept for it any more. The last one closes the stream."""
        with self._lock:
            self._next.pop(lane, None)
            self._trim()
            if not self._next:
                self._drop()
                if self._up is not None:
                    self._up.close()
                    self._on_empty()

    def _drop(self) -> None:
        if self._begun is not None:
            self._begun[1].close()
            self._begun = None

    def _shared(self, lane: int) -> Iterator[T]:
        while True:
            with self._lock:
                number = self._next.get(lane)
                if number is None:
                    return
                while number - self._base >= len(self._rounds):
                    if not self._pull(lane):
                        return
                items = self._rounds[number - self._base][1]
                if lane not in items:
                    return
                self._next[lane] = number + 1
                item = items[lane]
                self._trim()
            yield item

    def _pull(self, lane: int) -> bool:
        """Read one more round; tell whether there was one."""
        if self._ended:
            return False
        if self._up is None:
            if any(start != START for start in self._starts.values()):
                for other in set(self._next) - set(self._starts):  # they stand in another pass, and may never come
                    del self._next[other]
            start = min((self._starts.get(other, START) for other in self._next), key=lambda position: position[0])
            self._base = start[0] // self._share.count
            if self._begun is not None and self._begun[0] == start:
                self._up, self._begun = self._begun[1], None
            else:
                self._drop()
                self._up = self._build(start[1])
            self._watch = self._watching(start[0])
        else:
            if len(self._rounds) >= self._share.max_skew:
                self._detach_last(lane)
            start = ((self._base + len(self._rounds)) * self._share.count, self._up.state())
        into = start[0] % self._share.count  # not 0 only for the first round of a resumed feed
        taken = list(islice(self._up.it, self._share.count - into))
        self._look(start[0], taken)
        self._ended = len(taken) < self._share.count - into
        if self._ended:
            self._watch.ended(start[0] + len(taken), start[0] + len(taken))
        mine = {other: taken[other - into] for other in self._share.local if 0 <= other - into < len(taken)}
        self._rounds.append((start, mine))
        return bool(taken)

    def _look(self, first: int, taken: list[T]) -> None:
        while self._watch.next < first + len(taken):
            self._watch.saw(taken[self._watch.next - first])

    def _detach_last(self, ahead: int) -> None:
        """Give the lanes that are furthest behind a stream of their own, from the state of their round."""
        behind = [lane for lane, number in self._next.items() if number == self._base and lane != ahead]
        for lane in behind:
            self._detached[lane] = self._position(lane)
            del self._next[lane]
            import logging

            logging.getLogger("penstock").warning(
                "lane %d is %d rounds behind lane %d and now reads the stream ahead of the sharding point by itself "
                "(a filter behind the point that follows the lanes' stride does this)",
                *(lane, len(self._rounds), ahead),
            )
        self._trim()

    def _position(self, lane: int) -> Position:
        if lane in self._detached:
            return self._detached[lane]
        if self._up is None:
            return self._starts[lane]
        offset = self._next[lane] - self._base
        if offset < len(self._rounds):
            return self._rounds[offset][0]
        if offset > len(self._rounds):  # restored further on than the feed has come, and not read since
            return self._starts[lane]
        return (self._base + len(self._rounds)) * self._share.count, self._up.state()

    def _trim(self) -> None:
        oldest = min(self._next.values(), default=self._base + len(self._rounds))
        while self._rounds and self._base < oldest:
            self._rounds.popleft()
            self._base += 1


class _Leaving:
    """Closes one lane of a feed."""

    def __init__(self, feed: Feed[Any], lane: int) -> None:
        self._feed = feed
        self._lane = lane

    def close(self) -> None:
        self._feed.leave(self._lane)
