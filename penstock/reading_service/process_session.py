"""The worker processes of one loader: starting them, ending them, and saying how one died."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import socket
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from penstock.core.context import WorkerInfo
from penstock.core.errors import WorkerDied
from penstock.core.pipe import IterDataPipe
from penstock.core.plan import plan
from penstock.core.walk import walk
from penstock.reading_service.base import Epoch, Place, Run, Session
from penstock.reading_service.process import Launcher, Process, launcher
from penstock.reading_service.process_epoch import ProcessEpoch
from penstock.reading_service.worker import DISPATCHER
from penstock.transport.arena import Arena, default_budget
from penstock.transport.payload import payload_file
from penstock.transport.receiver import Receiver
from penstock.transport.wire import Disconnected

if TYPE_CHECKING:
    from penstock.reading_service.processes import MultiProcessingReadingService

__all__ = ["ProcessSession", "Worker"]

_GRACE_S = 0.3  # how long a worker may take to end by itself; one that is in a function then is killed
_PROBE_S = 1.0  # how long it may take to start a worker and run the batch that killed one again


@dataclass
class Worker:
    """One worker, as the main process holds it."""

    number: int
    process: Process
    receiver: Receiver


class ProcessSession(Session):
    """The workers of one loader. They live over all of its epochs."""

    def __init__(self, graph: IterDataPipe[Any], service: MultiProcessingReadingService, place: Place) -> None:
        self.plan = plan(graph)
        self._service = service
        self.place = place
        self.num_workers = service.num_workers
        streams = service.num_workers * place.world_size
        self.lanes = streams if self.plan.kind == "whole" else service.lanes or streams
        self._payload: tuple[IterDataPipe[Any], dict[str, Any]] = (
            graph,
            {
                "ahead": max(1, service.worker_prefetch_cnt + service.main_prefetch_cnt),
                "init_fn": service.worker_init_fn,
                "reset_fn": service.worker_reset_fn,
            },
        )
        self._launcher: Launcher | None = None
        self._graph_fd = -1
        self.everyone: list[Worker] = []
        self._epochs = 0
        self._broken = False
        self._share_bytes = 0  # of shared memory, for each worker
        self.max_restarts = service.max_restarts
        self.restarts = 0
        self.workers: list[Worker] = []
        self.dispatcher: Worker | None = None
        self._finalizer: weakref.finalize[Any, Any] | None = None
        self._start()

    def _start(self) -> None:
        service = self._service
        budget = service.buffer_bytes or default_budget()
        self._launcher = launcher(service.multiprocessing_context)
        self.everyone, self.workers, self.dispatcher = [], [], None
        self._finalizer = weakref.finalize(self, _close, os.getpid(), self.everyone, self._launcher)
        self._share_bytes = budget // service.num_workers
        try:
            with self._graph():
                for number in range(service.num_workers):
                    self.everyone.append(self._launch(number, self._share_bytes))
                self.workers = self.everyone[:]
                if any(getattr(pipe, "dispatches", False) for pipe in walk(self._payload[0])):
                    self.dispatcher = self._launch(DISPATCHER, 1 << 20)
                    self.everyone.append(self.dispatcher)
                    for worker in self.workers:
                        self._connect(worker)
        except BaseException:
            self.close()
            raise

    @contextmanager
    def _graph(self) -> Iterator[None]:
        """Have the graph in a file, for workers that start meanwhile. A forked one has it in memory."""
        fork = self._service.multiprocessing_context == "fork"
        self._graph_fd = os.open(os.devnull, os.O_RDONLY) if fork else payload_file(self._payload)
        try:
            yield
        finally:
            os.close(self._graph_fd)

    def _launch(self, number: int, size: int) -> Worker:
        assert self._launcher is not None
        mine, theirs = socket.socketpair()
        arena_fd = Arena.create(size)
        try:
            with theirs:
                arena = Arena(arena_fd)
                process = self._launcher.start((theirs.fileno(), arena_fd, self._graph_fd), self._payload)
        except BaseException:
            mine.close()
            raise
        finally:
            os.close(arena_fd)
        ahead: int = self._payload[1]["ahead"]
        receiver = Receiver(mine, arena, max(1, ahead // 2))
        place = self.place
        receiver.command("hello", WorkerInfo(self._service.num_workers, number, place.rank, place.world_size))
        return Worker(number, process, receiver)

    def _connect(self, worker: Worker) -> None:
        """Connect a worker with the dispatching process."""
        assert self.dispatcher is not None
        ends = socket.socketpair()
        arena_fd = Arena.create(self._share_bytes)
        self.dispatcher.receiver.command("connect", fds=(ends[0].fileno(), arena_fd))
        worker.receiver.command("dispatch", 0, fds=(ends[1].fileno(), arena_fd))
        os.close(arena_fd)
        for end in ends:
            end.close()

    def replaced(self, worker: Worker) -> Worker:
        """Start another worker in the place of one that is gone."""
        worker.process.kill()  # it may have closed its socket only
        how, where = _ended(worker.process.exitcode(1.0)), worker.receiver.recorded()
        worker.receiver.close()
        with self._graph():
            new = self._launch(worker.number, self._share_bytes)
        self.workers[worker.number] = new
        self.everyone[self.everyone.index(worker)] = new
        if self.dispatcher is not None:
            self._connect(new)
        self.restarts += 1
        logging.getLogger("penstock").warning(
            "worker %d (pid %d) %s in %s; another one (pid %d) goes on from its last item",
            *(worker.number, worker.process.pid, how, where, new.process.pid),
        )
        return new

    def epoch(self, run: Run) -> Epoch:
        if self._broken:
            self.close()
            self._start()
            self._broken = False
        self._epochs += 1
        return ProcessEpoch(self, run, self._epochs)

    def break_(self) -> None:
        """Say that a socket may have been left in the middle of a message: the next epoch gets new workers."""
        self._broken = True

    def raised(self, content: bytes, run: Run, lane: int) -> BaseException:
        """Return the exception that a worker sent."""
        function, arguments = pickle.loads(content)
        error: BaseException = function(*arguments)
        if isinstance(error, WorkerDied) and self.dispatcher is not None:  # the worker saw it die, and knows no more
            return self.died(self.dispatcher, run, lane)
        return error

    def died(self, worker: Worker, run: Run, lane: int) -> WorkerDied:
        """Return the error for a worker that closed its socket."""
        self._broken = True
        code = worker.process.exitcode(1.0)
        how = _ended(code)
        where, again = worker.receiver.recorded(), None
        if worker is self.dispatcher:
            message = f"the dispatching process (pid {worker.process.pid}) {how}; it was in {where}"
            return WorkerDied(message, worker.process.pid, code)
        try:
            again = self._probe(worker.number, run, lane)
        except Exception as error:  # the report must not fail over the detail
            where += f" (running the batch again failed: {error})"
        if again is not None:
            where = f"{again}; it died there again when the batch was run a second time"
        return WorkerDied(
            f"worker {worker.number} (pid {worker.process.pid}) {how}; it was in {where}", worker.process.pid, code
        )

    def _probe(self, number: int, run: Run, lane: int) -> str | None:
        """Run the next item again, traced, in a process of its own; return the pipe in which that dies.

        With lanes, ``lane`` is whose item is wanted.
        """
        until = time.monotonic() + _PROBE_S
        helper = ProcessSession.__new__(ProcessSession)
        helper._service, helper._payload, helper.place = self._service, self._payload, self.place
        helper._launcher, helper.everyone = launcher(self._service.multiprocessing_context), []
        finalizer = weakref.finalize(helper, _close, os.getpid(), helper.everyone, helper._launcher)
        try:
            with helper._graph():
                worker = helper._launch(number, 64 << 20)
            helper.everyone.append(worker)
            worker.receiver.command("trace", 1, run, lane)
            try:
                worker.receiver.receive(1, max(0.1, until - time.monotonic()))
            except Disconnected:
                return worker.receiver.recorded()
            return None
        finally:
            finalizer()

    def close(self) -> None:
        if self._finalizer is not None:
            self._finalizer()


def _ended(code: int | None) -> str:
    """Say in words how a process ended."""
    if code is None:
        return "closed its connection, and is still running"
    return (
        f"was killed by signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"ended with exit code {code}"
    )


def _close(pid: int, workers: list[Worker], launcher: Launcher) -> None:
    """End all workers: a closed socket asks them to, and who does not is killed."""
    if os.getpid() != pid:  # a fork of the trainer: they are not its own
        return
    for worker in workers:
        worker.receiver.close()
    deadline = time.monotonic() + _GRACE_S
    for worker in workers:
        if worker.process.exitcode(max(0.0, deadline - time.monotonic())) is None:
            worker.process.kill()
    for worker in workers:
        worker.process.exitcode(5.0)
    workers.clear()
    launcher.close()
