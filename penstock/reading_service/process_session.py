"""The worker processes of one loader: they are started, replaced where one is lost, and ended."""

from __future__ import annotations

import logging
import os
import pickle
import weakref
from typing import TYPE_CHECKING, Any

from penstock.core.calls import Killer
from penstock.core.errors import WorkerDied
from penstock.core.pipe import IterDataPipe
from penstock.core.plan import plan
from penstock.core.walk import walk
from penstock.pipes._gathered import without_callbacks
from penstock.reading_service.base import Epoch, Place, Run, Session, default_lanes
from penstock.reading_service.lost import end, lost, report, to_blame
from penstock.reading_service.process_epoch import ProcessEpoch
from penstock.reading_service.starter import Starter, Worker
from penstock.reading_service.worker import DISPATCHER
from penstock.transport.arena import default_budget

if TYPE_CHECKING:
    from penstock.reading_service.processes import MultiProcessingReadingService

__all__ = ["ProcessSession"]

_DISPATCHER_BYTES = 1 << 20  # of shared memory towards the main process, which gets no items from it


class ProcessSession(Session):
    """The workers of one loader. They live over all of its epochs."""

    def __init__(self, graph: IterDataPipe[Any], service: MultiProcessingReadingService, place: Place) -> None:
        self.plan = plan(graph)
        self.graph = graph
        self._service = service
        self.place = place
        self.num_workers = service.num_workers
        self.lanes = default_lanes(self.plan, service.lanes, service.num_workers * place.world_size)
        self._payload: tuple[IterDataPipe[Any], dict[str, Any]] = (
            without_callbacks(graph),
            {
                "ahead": max(1, service.worker_prefetch_cnt + service.main_prefetch_cnt),
                "small_ahead": service.small_prefetch_cnt,
                "init_fn": service.worker_init_fn,
                "reset_fn": service.worker_reset_fn,
            },
        )
        self.everyone: list[Worker] = []
        self._epochs = 0
        self._broken = False
        self._share_bytes = 0  # of shared memory, for each worker
        self.max_restarts = service.max_restarts
        self.timeout_s = service.worker_timeout_s
        self.restarts = 0
        self.workers: list[Worker] = []
        self.dispatcher: Worker | None = None
        self._finalizer: weakref.finalize[Any, Any] | None = None
        self._start()

    def _start(self) -> None:
        service = self._service
        budget = service.buffer_bytes or default_budget()
        starter = Starter(service.multiprocessing_context, self._payload, service.num_workers, self.place)
        self._starter = starter
        self.everyone, self.workers, self.dispatcher = [], [], None
        self._finalizer = weakref.finalize(self, end, os.getpid(), self.everyone, starter.launcher)
        self._share_bytes = budget // service.num_workers
        try:
            with starter.graph():
                for number in range(service.num_workers):
                    self.everyone.append(starter.launch(number, self._share_bytes))
                self.workers = self.everyone[:]
                if any(getattr(pipe, "dispatches", False) for pipe in walk(self._payload[0])):
                    self.dispatcher = starter.launch(DISPATCHER, _DISPATCHER_BYTES)
                    self.everyone.append(self.dispatcher)
                    for worker in self.workers:
                        starter.connect(self.dispatcher, worker, self._share_bytes)
        except BaseException:
            self.close()
            raise

    def replaced(self, worker: Worker) -> None:
        """Start another worker, or dispatching process, in the place of one that is gone or hangs."""
        worker.process.kill()  # it may have closed its socket only
        worker.process.exitcode(1.0)
        said = report(worker, self.timeout_s)
        worker.receiver.close()
        starter, dispatches = self._starter, worker is self.dispatcher
        with starter.graph():
            new = starter.launch(worker.number, _DISPATCHER_BYTES if dispatches else self._share_bytes)
        self.everyone[self.everyone.index(worker)] = new
        if dispatches:
            self.dispatcher = new
        else:
            self.workers[worker.number] = new
        if self.dispatcher is not None:
            for each in self.workers if dispatches else [new]:
                starter.connect(self.dispatcher, each, self._share_bytes)
        self.restarts += 1
        logging.getLogger("penstock").warning(
            "%s; another one (pid %d) goes on from %s",
            *(said, new.process.pid, "what was delivered last" if dispatches else "its last item"),
        )

    def epoch(self, run: Run) -> Epoch:
        if self._broken:
            self.close()
            self._start()
            self._broken = False
        return ProcessEpoch(self, run, self.next_number())

    def next_number(self) -> int:
        self._epochs += 1
        return self._epochs

    def break_(self) -> None:
        """Say that a socket may have been left in the middle of a message: the next epoch gets new workers."""
        self._broken = True

    def raised(self, content: bytes, run: Run, lane: int) -> BaseException:
        """Return the exception that a worker sent."""
        function, arguments = pickle.loads(content)
        error: BaseException = function(*arguments)
        return error

    def hung(self, worker: Worker) -> Worker:
        """Return whose fault it is that a worker has given nothing for too long."""
        dispatcher = self.dispatcher
        others = [] if dispatcher is None else [dispatcher, *(each for each in self.workers if each is not worker)]
        assert self.timeout_s is not None
        hung = to_blame(worker, others, self.timeout_s)
        hung.hung = True
        return hung

    def killer(self, worker: Worker) -> Killer | None:
        """Return the call that a worker was in when it died, or began to hang; None where it has not told."""
        worker.process.kill()
        pipe, mark = worker.receiver.recorded().call
        return Killer(pipe, mark, report(worker, self.timeout_s)) if mark else None

    def died(self, worker: Worker, run: Run, lane: int | None) -> WorkerDied:
        """Return the error for a worker that is gone, or hangs, and was lost there before."""
        worker.process.kill()
        return lost(worker, self.timeout_s, self._starter, run, lane)

    def close(self) -> None:
        if self._finalizer is not None:
            self._finalizer()
