"""The dispatching process: what stands ahead of `sharding_round_robin_dispatch` runs here, once, and is dealt out.

A worker's lanes open a *feed* each (`Dispatch.join`): which dispatching pipe, in which pass of a `cycle`, which share,
and from which position. The dispatching process reads the source of that pipe once for all of them::

    source -> chunk b -> lane b mod count: waiting, in this process -> on its way, at most `ON_THE_WAY` -> the worker

Each chunk goes with the source's state behind it, so that a lane always knows a position that any other process can
continue from. A lane that takes nothing while `max_skew` chunks wait for it is sent the position of the first of them,
and reads on by itself, from a source of its own: nobody else waits for it. So does a lane that opens a feed at a place
that the feed has passed.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import MutableMapping
from typing import Any

from penstock.core.calls import Calls
from penstock.core.context import Context, Share, WorkerInfo
from penstock.core.pipe import IterDataPipe
from penstock.core.walk import names
from penstock.reading_service.base import Run
from penstock.reading_service.dealt_feed import ON_THE_WAY, DealtFeed, DealtLane
from penstock.reading_service.recorder import Recorder, watched_calls
from penstock.transport.arena import Arena
from penstock.transport.sender import Sender
from penstock.transport.wire import Disconnected

__all__ = ["CHUNKS", "DETACHED", "END", "RAISED", "Dispatcher"]

CHUNKS, DETACHED, END, RAISED = range(4)  # the kinds of messages to a worker


FeedKey = tuple[str, Any]  # the dispatching pipe's name, and the pass


class Dispatcher:
    """The main loop of the dispatching process."""

    def __init__(
        self, sender: Sender, arena: Arena, info: WorkerInfo, graph: IterDataPipe[Any], options: dict[str, Any]
    ) -> None:
        self._main = sender
        self._info = info
        self._recorder = Recorder(arena, graph, "reading")
        self._names = names(graph)
        self._pipes = {self._names[id(pipe)]: pipe for pipe in self._names.pipes}
        self._workers: dict[int, Sender] = {}  # by the descriptor of their socket
        self._poll = select.poll()
        self._poll.register(sender.fileno(), select.POLLIN)
        self._run: Run | None = None
        self._calls: Calls | None = None
        self._epoch = 0
        self._feeds: dict[FeedKey, DealtFeed] = {}
        self._shared: MutableMapping[Any, Any] = {}
        self._ready: set[int] = set()  # the workers that have opened all that they read from the start

    def serve(self) -> None:
        """Serve until the main process closes its end."""
        while True:
            busy = any(
                lane.hungry for feed in self._feeds.values() if self._begun(feed) for lane in feed.lanes.values()
            )
            if not busy:
                self._recorder.waiting("workers")
            ready = self._poll.poll(0 if busy else None)
            self._recorder.working()
            for fd, _ in ready:
                if fd == self._main.fileno():
                    self._main.receive(wait=True)
                    self._obey()
                elif fd in self._workers:
                    self._listen(fd)
            self._deal()

    def _obey(self) -> None:
        """Do what the main process says."""
        while self._main.commands:
            name, *rest = self._main.commands.popleft()
            if name == "connect":
                sock, arena_fd = socket.socket(fileno=self._main.fds.popleft()), self._main.fds.popleft()
                self._workers[sock.fileno()] = Sender(sock, Arena(arena_fd))
                os.close(arena_fd)
                self._poll.register(sock, select.POLLIN)
            elif name == "epoch":
                self._stop()
                self._epoch, self._run = rest[0], rest[1]
                self._calls = watched_calls(rest[1], self._recorder)  # to the end: who knows what has been delivered
            elif name == "stop":
                self._stop()

    def _stop(self) -> None:
        for feed in self._feeds.values():
            feed.close()
        self._feeds.clear()
        if self._calls is not None:
            self._calls.stop()
        self._shared = {}
        self._ready.clear()

    def _listen(self, fd: int) -> None:
        """Do what a worker says."""
        sender = self._workers[fd]
        try:
            sender.receive(wait=True)
        except Disconnected:
            self._lose(sender)
            return
        while sender.commands and fd in self._workers:
            name, epoch, *rest = sender.commands.popleft()
            while epoch > self._epoch:  # the main process has told the worker, and will have told this one
                self._main.receive(wait=True)
                self._obey()
            if epoch < self._epoch:
                continue
            if name == "open":
                self._open(sender, *rest)
            elif name == "ready":
                self._ready.add(fd)
            elif (lane := self._lane(rest[0])) is not None:
                if name == "took":
                    lane.taken += rest[1]
                else:  # "left"
                    lane.done = True
                    lane.waiting.clear()

    def _lose(self, sender: Sender) -> None:
        """Forget a worker that has ended, or died: the main process knows, and may replace it."""
        fd = sender.fileno()
        if fd not in self._workers:
            return
        self._poll.unregister(fd)
        self._workers.pop(fd)
        self._ready.discard(fd)
        for feed in self._feeds.values():
            for index, lane in list(feed.lanes.items()):
                if lane.sender is sender:
                    lane.sender, lane.done = None, True
                    del feed.lanes[index]
        sender.close()

    def _lane(self, key: tuple[FeedKey, int]) -> DealtLane | None:
        feed = self._feeds.get(key[0])
        return None if feed is None else feed.lanes.get(key[1])

    def _open(self, sender: Sender, key: tuple[FeedKey, int], share: Share, start: tuple[int, Any]) -> None:
        (name, passes), index = key
        first = max(share.first, start[0])
        feed = self._feeds.get(key[0])
        if feed is None:
            assert self._run is not None
            owner, run = self._pipes[name], self._run
            assert isinstance(owner, IterDataPipe)
            ctx = Context(
                self._names,
                seed=run.seed,
                epoch=run.epoch,
                passes=passes,
                worker=self._info,
                shared=self._shared,
                bad=run.bad,
                calls=self._calls,
            )
            feed = self._feeds[key[0]] = DealtFeed(owner, ctx, share)
        lane = feed.lanes.get(index)
        kept = lane is not None and lane.first <= first
        # One that is done before it comes has fallen too far behind: nothing is kept for it.
        if (lane is not None and (lane.sender is not None or lane.done)) or (
            feed.stream is not None and first < feed.next and not kept
        ):
            self._tell(sender, DETACHED, (key, start, []))
            return
        if lane is None:
            lane = feed.lanes[index] = DealtLane(first)
        lane.sender, lane.first = sender, first
        while lane.waiting and lane.waiting[0][0] < first:
            number, _, behind = lane.waiting.popleft()
            lane.ahead = (number + 1, behind)
        feed.starts.append(start)

    def _begun(self, feed: DealtFeed) -> bool:
        """Whether a feed runs: it waits until every worker has opened what it reads."""
        return feed.stream is not None or feed.error is not None or self._ready >= set(self._workers)

    def _deal(self) -> None:
        for key, feed in list(self._feeds.items()):
            if not self._begun(feed):
                continue
            if feed.stream is None and feed.error is None:
                self._recorder.making = feed
                feed.begin()
            for index, lane in list(feed.lanes.items()):
                if lane.hungry:
                    self._recorder.making = feed
                    while not lane.waiting and not feed.ended:
                        late = feed.read()
                        if late is not None and late != index:
                            self._detach(key, feed, late)
                    if lane.sender is not None:
                        self._give((key, index), feed, lane)

    def _give(self, key: tuple[FeedKey, int], feed: DealtFeed, lane: DealtLane) -> None:
        """Send a lane what waits for it, or that there is no more."""
        assert lane.sender is not None
        room = ON_THE_WAY - (lane.sent - lane.taken)
        chunks = [lane.waiting.popleft() for _ in range(min(room, len(lane.waiting)))]
        if chunks:
            lane.sent += len(chunks)
            lane.ahead = (chunks[-1][0] + 1, chunks[-1][2])
            self._tell(lane.sender, CHUNKS, (key, chunks, feed.said()))
            return
        lane.done = True
        self._tell(lane.sender, END if feed.error is None else RAISED, (key, feed.error, feed.said()))

    def _tell(self, sender: Sender, kind: int, content: Any) -> None:
        try:
            sender.send(kind, self._epoch, content)
        except Disconnected:
            self._lose(sender)

    def _detach(self, key: FeedKey, feed: DealtFeed, index: int) -> None:
        """Let a lane that lags too far behind read by itself, so that nobody waits for it."""
        lane = feed.lanes[index]
        lane.waiting.clear()
        lane.done = True
        if lane.sender is not None:
            self._tell(lane.sender, DETACHED, ((key, index), lane.ahead, []))
