"""ThreadingReadingService: the graph runs in threads of this process.

For functions that let go of the interpreter's lock (decompression, numpy, image decoders, files), threads do what
worker processes do, and nothing has to be copied, pickled or started. For functions in plain Python, use processes; or
a free-threaded Python, which has no such lock (on 3.13t and 2 cores, two threads were 1.8 to 2.2 times as fast as one).

The parts are those of the worker processes, with a queue where they have a socket: each thread runs its lanes, or its
blocks, from a graph that is never changed; the loop takes the items in the same order.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from dataclasses import dataclass
from typing import Any

from penstock.core.context import WorkerInfo
from penstock.core.pipe import IterDataPipe
from penstock.core.plan import plan
from penstock.reading_service.base import (
    ALONE,
    Epoch,
    Place,
    ReadingService,
    Run,
    Session,
    checked_lanes,
    default_lanes,
)
from penstock.reading_service.lanes import END, own_lanes, read_lanes
from penstock.reading_service.outbox import FAILED, Outbox
from penstock.reading_service.prepare import prepared
from penstock.reading_service.process_epoch import ProcessEpoch
from penstock.reading_service.split import session_of
from penstock.transport.wire import Disconnected, Message

__all__ = ["ThreadSession", "ThreadingReadingService"]

_GRACE_S = 0.3  # how long closing waits for threads; one that is in a function ends behind it
_ITEM_BYTES = 64  # nothing is copied, so an item of any size counts as a small one


class ThreadingReadingService(ReadingService):
    """Run the graph in threads of this process, divided at its ``sharding_filter``.

    The sequence of items is that of one process, and of worker processes. Functions share the process: nothing is
    promised of the global random generators, so draw from ``random_map``'s.

    Args:
        num_workers: how many threads, at least 1.
        prefetch_cnt: how many items a thread may be ahead of the loop.
        lanes: how many lanes a graph has that does not divide into blocks; ``num_workers`` for each rank unless given,
            or set by a restored state.

    Example:
        >>> from penstock import DataLoader2
        >>> from penstock.pipes import IterableWrapper
        >>> pipe = IterableWrapper(range(6)).sharding_filter().map(lambda x: x * x).batch(2)
        >>> with DataLoader2(pipe, reading_service=ThreadingReadingService(2)) as dl:
        ...     list(dl)
        [[0, 1], [4, 9], [16, 25]]
    """

    def __init__(self, num_workers: int, prefetch_cnt: int = 20, *, lanes: int | None = None) -> None:
        if num_workers < 1:
            raise ValueError(f"num_workers must be at least 1, got {num_workers}")
        if prefetch_cnt < 0:
            raise ValueError(f"prefetch_cnt must not be negative, got {prefetch_cnt}")
        self.num_workers = num_workers
        self.prefetch_cnt = prefetch_cnt
        self.lanes = checked_lanes(lanes)

    def adapt(self, graph: IterDataPipe[Any], *, divided: bool = False) -> IterDataPipe[Any]:
        return prepared(graph, sharded=True)

    def start(self, graph: IterDataPipe[Any], place: Place = ALONE) -> Session:
        return session_of(graph, place, lambda part: ThreadSession(part, self, place))


class ThreadSession(Session):
    """The threads of one loader. They live over all of its epochs."""

    dispatcher = None
    max_restarts = 0
    timeout_s: float | None = None

    def __init__(self, graph: IterDataPipe[Any], service: ThreadingReadingService, place: Place) -> None:
        self.plan = plan(graph)
        self.graph = graph
        self.place = place
        self.num_workers = service.num_workers
        self.lanes = default_lanes(self.plan, service.lanes, service.num_workers * place.world_size)
        self.workers = [
            _Worker(WorkerInfo(self.num_workers, number, place.rank, place.world_size), graph, service.prefetch_cnt)
            for number in range(service.num_workers)
        ]
        self.everyone = self.workers
        self._epochs = 0
        self._finalizer = weakref.finalize(self, _close, self.workers)

    def epoch(self, run: Run) -> Epoch:
        return ProcessEpoch(self, run, self.next_number())

    def raised(self, content: BaseException, run: Run, lane: int) -> BaseException:
        """Return the exception that a thread sent."""
        return content

    def died(self, worker: Any, run: Run, lane: int | None) -> BaseException:
        """Return the error for a thread that is gone."""
        return RuntimeError(f"{worker.thread.name} ended without a word")

    def killer(self, worker: Any) -> None:
        """None: what kills a thread ends the process."""

    def replaced(self, worker: Any) -> None:
        """Never: a thread does not die alone."""
        raise NotImplementedError

    def hung(self, worker: Any) -> Any:
        """Never: there is no limit."""
        raise NotImplementedError

    def next_number(self) -> int:
        self._epochs += 1
        return self._epochs

    def break_(self) -> None:
        """Nothing: a queue has no messages that could be left half read."""

    def close(self) -> None:
        self._finalizer()


def _close(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.receiver.close()
    deadline = time.monotonic() + _GRACE_S
    for worker in workers:
        worker.thread.join(max(0.0, deadline - time.monotonic()))


class _Channel:
    """Both ends of the way between a thread and the loop."""

    copies = False

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._messages: deque[tuple[Message, int]] = deque()
        self._closed = False
        self._epoch = 0  # the loop's
        self.commands: deque[tuple[Any, ...]] = deque()
        self.ahead = 0  # items that the loop has not taken

    # -- the thread's end

    def is_ahead(self, wait_s: float = 0.0) -> bool:
        with self._changed:
            ahead = self.ahead
            self._changed.wait_for(lambda: self._closed or self.ahead < ahead, wait_s)
            return self.ahead > 0

    def send(self, kind: int, epoch: int, content: Any, *, count: int = 1, beside: bool = False) -> int:
        with self._changed:
            self._messages.append((Message(kind, epoch, content), count))
            self.ahead += count
            self._changed.notify_all()
        return _ITEM_BYTES * count

    def wait(self, limit: int | None) -> None:
        """Wait for a command, or (with a limit) until the loop is near enough."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self.commands or (limit is not None and self.ahead < limit))
            if self._closed:
                raise Disconnected

    # -- the loop's end

    def command(self, *command: Any) -> None:
        with self._changed:
            self.commands.append(command)
            self._changed.notify_all()

    def receive(self, epoch: int, timeout_s: float) -> Message | None:
        with self._changed:
            self._changed.wait_for(lambda: self._messages or self._closed, timeout_s)
            while self._messages:
                message, count = self._messages.popleft()
                self.ahead -= count
                self._changed.notify_all()
                if message.epoch == epoch:
                    return message
            if self._closed:
                raise Disconnected
            return None

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class _Cancelled(Exception):
    """The loop has given another command."""


@dataclass(frozen=True)
class _Alive:
    thread: threading.Thread

    def exitcode(self, timeout_s: float) -> int | None:
        return None if self.thread.is_alive() else 0


class _Worker:
    """One thread, and what it runs. It holds no session, so a session that is dropped is collected, and ends it."""

    def __init__(self, info: WorkerInfo, graph: IterDataPipe[Any], prefetch_cnt: int) -> None:
        self.number = info.worker_id
        self.receiver = _Channel()
        self.thread = threading.Thread(
            target=_serve,
            args=(self.receiver, graph, info, max(1, prefetch_cnt)),
            name=f"penstock-worker-{self.number}",
            daemon=True,
        )
        self.process = _Alive(self.thread)
        self.thread.start()


def _serve(channel: _Channel, graph: IterDataPipe[Any], info: WorkerInfo, limit: int) -> None:
    outbox = Outbox(channel, limit)

    def before_item(making: Any) -> None:
        if channel.ahead + len(outbox) >= limit:
            outbox.flush()
            channel.wait(limit)
            outbox.resume()
        if channel.commands:
            raise _Cancelled

    try:
        while True:
            channel.wait(None)
            name, epoch, *rest = channel.commands.popleft()
            if name != "epoch":
                continue
            try:
                (run,) = rest
                local = own_lanes(run.progress, info)
                deliveries = read_lanes(
                    graph,
                    plan(graph),
                    run,
                    local,
                    worker=info,
                    before_item=before_item,
                    witness=outbox.hear,
                    report=outbox.hear,
                )
                _run(outbox, epoch, graph, deliveries)
            except _Cancelled:
                continue
            except Exception as error:
                outbox.flush(states=False)
                channel.send(FAILED, epoch, error)
    except Disconnected:
        pass
    finally:
        outbox.close()


def _run(outbox: Outbox, epoch: int, graph: IterDataPipe[Any], deliveries: Any) -> None:
    outbox.begin(epoch, graph)
    try:
        for lane, tell, item in deliveries:
            if item is END:
                outbox.end(lane)
            else:
                outbox.add(lane, tell, item)
    finally:
        deliveries.close()
