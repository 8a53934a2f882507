"""A worker's end of the dispatching process: the lanes that read from it."""

from __future__ import annotations

import pickle
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from penstock.core.context import Share
from penstock.core.stream import Stream
from penstock.core.strides import Position, places
from penstock.reading_service.dispatcher import CHUNKS, DETACHED, END, FeedKey
from penstock.transport.receiver import Receiver
from penstock.transport.wire import Disconnected

__all__ = ["Dispatch", "DispatcherLost"]


class DispatcherLost(BaseException):
    """The dispatching process has gone. No fault of a pipe: it passes through them, and nothing explains it."""


class Dispatch:
    """What `Context.dispatch` is in a worker.

    Args:
        receiver: this end of the socket to the dispatching process.
        wait: waits until there is something on a descriptor; may raise, if the main process wants something else.
        hear: takes what pipes in the dispatching process say.
    """

    def __init__(self, receiver: Receiver, wait: Callable[[int], None], hear: Callable[[Any], object]) -> None:
        self._receiver = receiver
        self._wait = wait
        self._hear = hear
        self._epoch = 0
        self._lock = threading.RLock()  # lanes behind which a `prefetch` stands read in threads of their own
        self._arrived: dict[tuple[FeedKey, int], deque[tuple[int, Any]]] = {}

    def begin(self, epoch: int) -> None:
        """Begin an epoch; what is still on its way from another one is dropped."""
        with self._lock:
            self._epoch = epoch
            self._arrived = {}

    def ready(self) -> None:
        """Tell that this worker has opened what it reads from the start."""
        self._receiver.command("ready", self._epoch)

    def join(
        self,
        feed: FeedKey,
        share: Share,
        start: Position,
        alone: Callable[[Position], tuple[Stream[Any], Callable[[], Position]]],
    ) -> tuple[Stream[Any], Callable[[], Position]]:
        """Return the stream and the position of one lane. ``alone`` reads without the dispatching process."""
        key = (feed, share.index)
        with self._lock:
            if key in self._arrived:  # the graph reads the same point twice
                return alone(start)
            self._arrived[key] = deque()
        self._receiver.command("open", self._epoch, key, replace(share, feeds={}), start)
        lane = _Lane(self, key, start, alone)
        it = lane.run()
        return Stream(it, lane.position, places=partial(places, share, start[0]), closers=(it, lane)), lane.position

    def take(self, key: tuple[FeedKey, int]) -> tuple[int, Any]:
        """Wait for a lane's next message."""
        while True:
            with self._lock:
                arrived = self._arrived[key]
                if arrived:
                    return arrived.popleft()
                try:
                    message = self._receiver.receive(self._epoch, 0.0)
                except Disconnected:
                    raise DispatcherLost from None
                if message is not None:
                    of, content, said = message.content
                    for each in said:
                        self._hear(each)
                    self._arrived[of].append((message.kind, content))
                    continue
            self._wait(self._receiver.fileno())

    def took(self, key: tuple[FeedKey, int], count: int) -> None:
        """Tell that a lane has used so many chunks."""
        self._receiver.command("took", self._epoch, key, count)

    def left(self, key: tuple[FeedKey, int], epoch: int) -> None:
        """Tell that a lane wants no more."""
        if epoch == self._epoch:
            self._receiver.command("left", epoch, key)

    @property
    def epoch(self) -> int:
        return self._epoch

    def close(self) -> None:
        """Close this end."""
        self._receiver.close()


class _Lane:
    """One lane, reading."""

    def __init__(
        self,
        dispatch: Dispatch,
        key: tuple[FeedKey, int],
        start: Position,
        alone: Callable[[Position], tuple[Stream[Any], Callable[[], Position]]],
    ) -> None:
        self._dispatch = dispatch
        self._epoch = dispatch.epoch
        self._key = key
        self._at: Position = start
        self._alone = alone
        self._own: tuple[Stream[Any], Callable[[], Position]] | None = None

    def position(self) -> Position:
        return self._at if self._own is None else self._own[1]()

    def run(self) -> Iterator[Any]:
        while True:
            kind, content = self._dispatch.take(self._key)
            if kind == CHUNKS:
                for number, items, behind in content:
                    self._at = (number + 1, behind)
                    yield from items
                self._dispatch.took(self._key, len(content))
            elif kind == END:
                return
            elif kind == DETACHED:
                self._at = (content[0], content[1])
                self._own = self._alone(self._at)
                stream = self._own[0]
                data = stream.data
                yield from stream.it if data is None else (data[index] for index in stream.it)
                return
            else:  # RAISED
                function, arguments = pickle.loads(content)
                raise function(*arguments)

    def close(self) -> None:
        self._dispatch.left(self._key, self._epoch)
        if self._own is not None:
            self._own[0].close()
