"""What the dispatching process reads once, and keeps for each lane (see `penstock.reading_service.dispatcher`)."""

from __future__ import annotations

import os
from collections import deque
from dataclasses import replace
from itertools import islice
from typing import Any, Final

from penstock.core.bad import carrying
from penstock.core.context import Context, Share
from penstock.core.pipe import IterDataPipe
from penstock.core.witness import Watch
from penstock.transport.codec import encode_error
from penstock.transport.sender import Sender

__all__ = ["ON_THE_WAY", "DealtFeed", "DealtLane"]

ON_THE_WAY: Final = 64  # chunks of one lane that its worker has not taken
_UNREAD: Final = 2  # messages that a worker has not read: few enough for a socket to hold them, so nobody waits to send


class DealtLane:
    """A lane of a feed, and the worker that reads it."""

    def __init__(self, first: int) -> None:
        self.sender: Sender | None = None  # None: it has not opened the feed yet
        self.first = first  # the first chunk that it wants
        self.waiting: deque[tuple[int, list[Any], Any]] = deque()  # chunk, items, the source's state behind it
        self.ahead: tuple[int, Any] = (first, None)  # a place from where the first that waits can be read again
        self.sent = self.taken = 0
        self.done = False

    @property
    def hungry(self) -> bool:
        sender = self.sender
        ready = sender is not None and not self.done
        return ready and self.sent - self.taken < ON_THE_WAY and sender.ahead < _UNREAD  # type: ignore[union-attr]


class DealtFeed:
    """The source of one dispatching pipe, in one pass, read for all of its lanes."""

    def __init__(self, owner: IterDataPipe[Any], ctx: Context, share: Share) -> None:
        (pipe,) = owner.sources
        assert isinstance(pipe, IterDataPipe)
        self.owner = owner
        self.pipe = pipe
        self.seen: deque[Any] = deque()  # what pipes say; those that work ahead do in threads of their own
        self.ctx = replace(ctx, report=self.seen.append)
        self.share = share
        self.lanes: dict[int, DealtLane] = {}
        self.starts: list[tuple[int, Any]] = []
        self.stream: Any = None
        self.next, self.behind = 0, None  # the chunk that the source gives next, and its state ahead of that
        self.watch: Watch | None = None  # where there are other ranks to see the same
        self.ended = False
        self.error: bytes | None = None

    def begin(self) -> None:
        """Build the source at the place of the lane that is furthest behind."""
        self.next, self.behind = min(self.starts, key=lambda start: start[0])
        try:
            self.stream = self.ctx.build(self.pipe, self.behind, holes=True)
            if self.ctx.worker.world_size > 1:
                self.watch = Watch(
                    self.seen.append, (self.ctx.name(self.owner), self.ctx.passes), self.share, self.next
                )
        except Exception as error:
            self._fail(error)

    def read(self) -> int | None:
        """Read a chunk, for whichever lane it is; return that lane if it has too many now."""
        number, ahead = self.next, self.behind
        try:
            items = list(islice(self.stream.it, self.share.chunk))
            self.ended = len(items) < self.share.chunk
            self._look(items)
            if not items:
                return None
            items[-1] = carrying(items[-1], self.ctx.loose)
            self.next, self.behind = number + 1, self.stream.state()
        except Exception as error:
            self._fail(error)
            return None
        index = number % self.share.count
        if index % self.ctx.worker.world_size != self.ctx.worker.rank:
            return None
        lane = self.lanes.setdefault(index, DealtLane(number))  # one that has not come yet is waited for
        if lane.done or number < lane.first:
            return None
        if not lane.waiting:
            lane.ahead = (number, ahead)
        lane.waiting.append((number, items, self.behind))
        return index if len(lane.waiting) > self.share.max_skew else None

    def _look(self, items: list[Any]) -> None:
        if self.watch is not None:
            if items and self.watch.next == self.next:
                self.watch.saw(items[0])
            if self.ended:
                found = self.next * self.share.chunk + len(items)
                self.watch.ended(found, found)

    def said(self) -> list[Any]:
        """Return what pipes have said, and nobody has been told."""
        return [self.seen.popleft() for _ in range(len(self.seen))]

    def place(self) -> str:
        """Say which chunk is being read."""
        return f"{'item' if self.share.chunk == 1 else 'chunk'} {self.next} ahead of {self.ctx.name(self.owner)!r}"

    def close(self) -> None:
        """Close the source."""
        if self.stream is not None:
            self.stream.close()

    def _fail(self, error: Exception) -> None:
        where = f"penstock: in the dispatching process (pid {os.getpid()}), ahead of {self.ctx.name(self.pipe)!r}"
        self.error, self.ended = encode_error(error, where), True
