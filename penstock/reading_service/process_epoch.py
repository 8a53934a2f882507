"""An epoch on workers, processes or threads: their items, in the order that graph, seed and epoch define."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any, Protocol

from penstock.reading_service.base import Epoch, Run
from penstock.reading_service.outbox import BUNDLE, FAILED
from penstock.transport.wire import Disconnected

__all__ = ["ProcessEpoch", "Workers"]

_LOOK_EVERY_S = 5.0  # how often a wait makes sure that the worker is alive


class Workers(Protocol):
    """What an epoch needs of the session that owns the workers.

    Attributes:
        num_workers: how many run lanes.
        workers: those, in order, each with a ``number``, a ``receiver`` (this end of the way to it), and a ``process``
            that tells its exit code.
        everyone: those, and the dispatching process.
        dispatcher: that, or None.
        max_restarts: how many workers may be replaced in an epoch.
    """

    num_workers: int
    max_restarts: int
    workers: Any
    everyone: Any
    dispatcher: Any

    def raised(self, content: Any, run: Run, lane: int) -> BaseException:
        """Return the exception that a worker sent."""
        ...

    def died(self, worker: Any, run: Run, lane: int) -> BaseException:
        """Return the error for a worker that is gone."""
        ...

    def replaced(self, worker: Any) -> Any:
        """Start another worker in the place of one that is gone, and return it."""
        ...

    def break_(self) -> None:
        """Note that a message may have been left half read."""
        ...


class ProcessEpoch(Epoch):
    """Takes items from the workers, in the order that the graph, the seed and the epoch define."""

    def __init__(self, session: Workers, run: Run, number: int) -> None:
        self._session = session
        self._number = number
        start = run.progress
        self._blocks = start.kind == "blocks"
        count = session.num_workers
        # With blocks, a worker's lane is its own number, whatever the topology of the run that saved the state.
        lanes = count if self._blocks else start.lanes
        self.progress = dataclasses.replace(
            start, lanes=lanes, states=dict(start.states), ended=list(start.ended), behind=dict(start.behind)
        )
        self._run = Run(run.seed, run.epoch, self.progress)
        self._pid = os.getpid()
        self._order = [lane for lane in range(lanes) if lane not in start.ended]
        first = start.next % lanes if self._blocks else start.next
        self._at = next((i for i, lane in enumerate(self._order) if lane >= first), 0)
        self._closed = False
        self._bundles: list[_Bundle] = [_Bundle((), {}) for _ in session.workers]
        self._restarts = 0
        self._delivered = [0] * count  # items of each worker
        self._died: dict[int, int] = {}  # how many it had delivered when a worker with that number died last
        if session.dispatcher is not None:
            session.dispatcher.receiver.command("epoch", number, self._run)
        for worker in session.workers:
            self._begin(worker)

    def __next__(self) -> Any:
        order, progress = self._order, self.progress
        while order and not self._closed:
            lane = order[self._at]
            bundle = self._bundles[lane % len(self._bundles)]
            if not bundle.left and not self._receive(lane):
                continue
            bundle = self._bundles[lane % len(self._bundles)]
            bundle.left -= 1
            item = bundle.items.pop()[1]
            key = "0" if self._blocks else str(lane)
            progress.behind[key] = progress.behind.get(key, 0) + 1
            if self._blocks:
                progress.next += 1
            else:
                progress.next = lane + 1 if lane + 1 < progress.lanes else 0
            self._delivered[lane % len(self._bundles)] += 1
            if not bundle.left:
                for of, state in bundle.states.items():
                    self._stands(of, state)
            self._at = self._at + 1 if self._at + 1 < len(order) else 0
            return item
        self._closed = True
        raise StopIteration

    def _stands(self, lane: int, state: Any) -> None:
        key = "0" if self._blocks else str(lane)
        self.progress.states[key] = state
        self.progress.behind.pop(key, None)

    def _receive(self, lane: int) -> bool:
        """Get the next bundle of the worker that has a lane; tell whether there is one, or the lane has ended."""
        if os.getpid() != self._pid:
            raise RuntimeError("a forked process cannot read from the workers of the process that it was forked from")
        session = self._session
        worker = session.workers[lane % session.num_workers]
        try:
            while (message := worker.receiver.receive(self._number, _LOOK_EVERY_S)) is None:
                if worker.process.exitcode(0) is not None:
                    raise Disconnected
        except Disconnected:
            self._replace(worker, lane)
            return False
        except BaseException:
            session.break_()
            self._closed = True
            raise
        if message.kind == BUNDLE:
            self._bundles[worker.number] = _Bundle(*message.content)
            return True
        if message.kind == FAILED:
            self._closed = True
            raise session.raised(message.content, self._run, lane)
        self._ended(message.content)
        return False

    def _replace(self, worker: Any, lane: int) -> None:
        """Let another worker go on behind the last item that a dead one delivered.

        All that it had made and not delivered is made again; so an item that killed two workers in a row is an error.
        """
        session, count = self._session, self._delivered
        again = self._died.get(worker.number) == count[worker.number]
        if again or self._restarts >= session.max_restarts:
            self._closed = True
            raise session.died(worker, self._now(), lane) from None
        self._died[worker.number] = count[worker.number]
        self._restarts += 1
        try:
            self._begin(session.replaced(worker))
        except BaseException:
            session.break_()
            self._closed = True
            raise

    def _begin(self, worker: Any) -> None:
        local = tuple(lane for lane in self._order if lane % self._session.num_workers == worker.number)
        worker.receiver.command("epoch", self._number, self._now(), local)

    def _now(self) -> Run:
        """Return the rest of the epoch."""
        return Run(self._run.seed, self._run.epoch, self.progress)

    def _ended(self, lane: int) -> None:
        if self._blocks:  # whoever has no block left says that there is none
            self._order.clear()
            return
        self._order.remove(lane)
        self.progress.ended.append(lane)
        self.progress.next = lane + 1 if lane + 1 < self.progress.lanes else 0
        if self._at >= len(self._order):
            self._at = 0

    def close(self) -> None:
        if self._closed or os.getpid() != self._pid:
            return
        self._closed = True
        for worker in self._session.everyone:
            worker.receiver.command("stop", self._number)


class _Bundle:
    """Items of one worker on their way to the loop, and what is known of its lanes behind the last of them."""

    def __init__(self, items: Sequence[tuple[int, Any]], states: dict[int, Any]) -> None:
        self.items = list(reversed(items))
        self.left = len(items)
        self.states = states
