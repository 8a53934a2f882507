"""An epoch on workers, processes or threads: their items, in the order that graph, seed and epoch define."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from penstock.core.bad import HOLE, Lossy
from penstock.core.calls import Killer
from penstock.core.errors import DifferentData
from penstock.core.pipe import IterDataPipe
from penstock.core.witness import Finding, Witness
from penstock.pipes._gathered import Gathered
from penstock.reading_service.base import Epoch, Place, Run, turns
from penstock.reading_service.outbox import BUNDLE, FAILED, LOST
from penstock.transport.together import apart
from penstock.transport.wire import Disconnected

__all__ = ["ProcessEpoch", "Workers"]

_LAST_WORDS_S = 1.0  # how long the end of an epoch waits, at most, for what other workers say of theirs
_LOOK_EVERY_S = 0.1  # how often a wait makes sure that the worker is alive, and the epoch still wanted


class Workers(Protocol):
    """What an epoch needs of the session that owns the workers.

    Attributes:
        graph: what they run.
        place: which rank this is.
        num_workers: how many run lanes.
        workers: those, in order, each with a ``number``, a ``receiver`` (this end of the way to it), and a ``process``
            that tells its exit code.
        everyone: those, and the dispatching process.
        dispatcher: that, or None.
        max_restarts: how many workers may be replaced in an epoch.
        timeout_s: for how long one may give nothing while the loop waits for it; None for ever.
    """

    graph: IterDataPipe[Any]
    place: Place
    num_workers: int
    max_restarts: int
    timeout_s: float | None
    workers: Any
    everyone: Any
    dispatcher: Any

    def raised(self, content: Any, run: Run, lane: int) -> BaseException:
        """Return the exception that a worker sent."""
        ...

    def died(self, worker: Any, run: Run, lane: int | None) -> BaseException:
        """Return the error for a worker that is gone."""
        ...

    def killer(self, worker: Any) -> Killer | None:
        """Return the call that a worker was in when it died, or began to hang; None where it has not told."""
        ...

    def hung(self, worker: Any) -> Any:
        """Return whose fault it is that a worker gave nothing for too long: its own, or that of one it waits for."""
        ...

    def replaced(self, worker: Any) -> None:
        """Start another worker, or dispatching process, in the place of one that is gone or hangs."""
        ...

    def next_number(self) -> int:
        """Return a number for the messages of an epoch, or of one that begins again."""
        ...

    def break_(self) -> None:
        """Note that a message may have been left half read."""
        ...


class ProcessEpoch(Epoch):
    """Takes items from the workers, in the order that the graph, the seed and the epoch define."""

    witness: Witness

    def __init__(self, session: Workers, run: Run, number: int) -> None:
        self._session = session
        self._number = number
        start, place, count = run.progress, session.place, session.num_workers
        self._blocks = start.kind == "blocks"
        self._world = place.world_size
        mine = place.lanes(start.lanes)
        self.progress = start.of(mine).copy()
        self._run = replace(run, progress=self.progress)
        self._pid = os.getpid()
        if self._blocks:  # the turns are the workers'
            first = place.first_block(start.next) // self._world
            self._order = [(first + i) % count for i in range(count)]
        else:
            self._order = start.alive(mine)
        self._turns = turns(self._order, start.given)
        self._turn: int | None = next(self._turns, None)
        self._closed = False
        self._lock = threading.Lock()  # a thread that reads ahead may wait for a worker while another one closes
        self._bundles: list[_Bundle] = [_Bundle((), {}) for _ in session.workers]
        self._restarts = 0
        self._delivered = [0] * count  # items of each worker
        self.witness = Witness()
        self._monitors = Gathered(session.graph)
        self._died: dict[int, int] = {}  # how many it had delivered when a worker with that number died last
        self._suspects: dict[int, Killer] = {}  # and the call that it was in, if that is known
        self._begin_all()

    def __next__(self) -> Any:
        progress, turn = self.progress, self._turn
        while turn is not None and not self._closed:
            number = self._worker_of(turn)
            bundle = self._bundles[number]
            if not bundle.left:
                if not self._receive(turn):
                    turn = self._turn
                    continue
                bundle = self._bundles[number]
            bundle.left -= 1
            item = bundle.items.pop()[1]
            if self._blocks:
                progress.next += self._world
            else:
                key = str(turn)
                progress.given[key] = progress.given.get(key, 0) + 1
                progress.behind[key] = progress.behind.get(key, 0) + 1
            self._delivered[number] += 1
            if not bundle.left:
                for lane, state in bundle.states.items():
                    self._stands(lane, state)
            self.lane = turn
            self._turn = next(self._turns, None)
            return item
        if turn is None:
            self._monitors.end()
        self._closed = True
        raise StopIteration

    def _worker_of(self, turn: int) -> int:
        return turn if self._blocks else turn // self._world % len(self._bundles)

    def _stands(self, lane: int, state: Any) -> None:
        key = "0" if self._blocks else str(lane)
        self.progress.states[key] = state
        self.progress.behind.pop(key, None)

    def _receive(self, lane: int) -> bool:
        """Get the next bundle of the worker whose turn it is; tell whether there is one, or the lane has ended."""
        if os.getpid() != self._pid:
            raise RuntimeError("a forked process cannot read from the workers of the process that it was forked from")
        with self._lock:
            return not self._closed and self._receive_from(lane)

    def _receive_from(self, lane: int) -> bool:
        session = self._session
        worker = session.workers[self._worker_of(lane)]
        began, limit = time.monotonic(), session.timeout_s
        try:
            while (message := worker.receiver.receive(self._number, _LOOK_EVERY_S)) is None:
                if self._closed:
                    return False
                if worker.process.exitcode(0) is not None:
                    raise Disconnected
                if limit is not None and time.monotonic() - began > limit:
                    worker = session.hung(worker)
                    raise Disconnected
        except Disconnected:
            self._replace(worker, lane)
            return False
        except BaseException:
            session.break_()
            self._closed = True
            raise
        if message.kind == BUNDLE:
            items, states, said = message.content
            self._bundles[worker.number] = _Bundle(apart(items), states)
            self._hear(worker, said)
            return True
        if message.kind == LOST:
            self._replace(session.dispatcher, lane)
            return False
        if message.kind == FAILED:
            self._closed = True
            raise session.raised(message.content, self._run, lane)
        ended, said = message.content
        self._ended(ended)
        self._hear(worker, said)
        if self._blocks:
            self._hear_others(worker)
        return False

    def _hear_others(self, worker: Any) -> None:
        """Hear what the other workers find at their ends, which are near where this one has ended.

        With blocks the first to end ends the epoch: whoever has found more items would not be heard.
        """
        deadline = time.monotonic() + _LAST_WORDS_S
        for other in self._session.workers:
            while other is not worker and (left := deadline - time.monotonic()) > 0:
                try:
                    message = other.receiver.receive(self._number, left)
                except Disconnected:  # it has delivered all that was wanted of it
                    break
                if message is None or message.kind in (FAILED, LOST):
                    break
                self._hear(other, message.content[-1])
                if message.kind != BUNDLE:
                    break

    def _hear(self, worker: Any, said: Sequence[Any]) -> None:
        """Compare what a worker has found ahead of the sharding points with the others, and count what it reports.

        Whatever a monitor's callback raises, the epoch can go on behind it.
        """
        for each in said:
            if type(each) is not Finding:
                self._monitors.take(each)
                continue
            try:
                self.witness.hear(each, f"worker {worker.number} of rank {self._session.place.rank}")
            except DifferentData:
                self._closed = True
                self._session.break_()
                raise

    def _replace(self, worker: Any, lane: int) -> None:
        """Let another worker go on behind the last item that a dead one delivered.

        All that it had made and not delivered is made again; so an item that killed two workers in a row is an error,
        or a bad sample if the policy says so. Where it is the dispatching process, all workers go back to their last
        delivered items: what is on its way from them has been made of what nobody can deal out again from there.
        """
        session = self._session
        dispatches = worker is session.dispatcher
        delivered = sum(self._delivered) if dispatches else self._delivered[worker.number]
        again = self._died.get(worker.number) == delivered
        killer = self._killer(worker, again) if self._skips() else None
        lost: BaseException | None = None  # what is passed over as a block, where that is allowed
        if killer is not None:
            self._run = replace(self._run, killers=(*self._run.killers, killer))
        elif again or self._restarts >= session.max_restarts:
            lost = session.died(worker, self._now(), lane if again else None)
            if not (again and self._skips() and self._blocks and not dispatches):
                self._closed = True
                session.break_()
                if not again:
                    lost.add_note(
                        f"penstock: {self._restarts} replaced in this epoch; max_restarts={session.max_restarts}"
                    )
                raise lost from None
        self._died[worker.number] = delivered
        self._restarts += 1
        try:
            session.replaced(worker)
            if dispatches:
                self._number = session.next_number()
                self._begin_all(careful=True)
            elif lost is not None:
                self._begin_behind(session.workers[worker.number], lost)
            else:
                self._begin(session.workers[worker.number], careful=True)
        except BaseException:
            session.break_()
            self._closed = True
            raise

    def _skips(self) -> bool:
        """Whether what killed two workers may be left out."""
        bad = self._run.bad
        return bad is not None and bad.action == "skip" and self._restarts < self._session.max_restarts

    def _killer(self, worker: Any, again: bool) -> Killer | None:
        """Return the call that has ended two processes, where the second one has written down what it called.

        It is the second one if nothing was delivered between the two; or, as a dispatching process may die far ahead of
        what is being delivered, if it had called the same as the one before it.
        """
        found = self._session.killer(worker)
        before = self._suspects.pop(worker.number, None)
        if found is None:
            return None
        self._suspects[worker.number] = found
        again = again or (before is not None and (before.pipe, before.mark) == (found.pipe, found.mark))
        known = any((each.pipe, each.mark) == (found.pipe, found.mark) for each in self._run.killers)
        return found if again and not known else None

    def _begin_behind(self, worker: Any, error: BaseException) -> None:
        """Leave out the block in which two workers died, nobody knows of what: a hole stands in its place.

        Lanes have nothing like it: behind a lane's item nobody comes without making it.
        """
        block = self._session.place.first_block(self.progress.next)
        place = {"rank": self._session.place.rank, "worker": worker.number, "epoch": self._run.epoch, "batch": block}
        loss = {"source": f"batch {block}", "place": place, "error": f"{type(error).__name__}: {error}"}
        self.progress.next += self._world  # for the worker
        self._begin(worker, careful=True)
        self.progress.next -= self._world
        self._bundles[worker.number] = _Bundle([(0, Lossy(HOLE, [loss]))], {})

    def _begin_all(self, *, careful: bool = False) -> None:
        """Begin on all of them; ``careful`` says that the dispatching process was lost here."""
        session = self._session
        if session.dispatcher is not None:
            session.dispatcher.receiver.command("epoch", self._number, replace(self._now(), careful=careful))
        for worker in session.workers:
            self._begin(worker)

    def _begin(self, worker: Any, *, careful: bool = False) -> None:
        self._bundles[worker.number] = _Bundle((), {})
        worker.receiver.command("epoch", self._number, replace(self._now(), careful=careful))

    def _now(self) -> Run:
        """Return the rest of the epoch."""
        return replace(self._run, progress=self.progress)

    def _ended(self, lane: int) -> None:
        if self._blocks:  # whoever has no block left says that there is none
            self._turn = None
            return
        key = str(lane)
        self._order.remove(lane)
        self.progress.ended[key] = True
        self.progress.states.pop(key, None)
        self.progress.behind.pop(key, None)
        self._turn = next(self._turns, None)

    def close(self) -> None:
        if self._closed or os.getpid() != self._pid:
            return
        self._closed = True  # ends the wait of a thread that is in `_receive`
        with self._lock:
            for worker in self._session.everyone:
                worker.receiver.command("stop", self._number)


class _Bundle:
    """Items of one worker on their way to the loop, and what is known of its lanes behind the last of them."""

    def __init__(self, items: Sequence[tuple[int, Any]], states: dict[int, Any]) -> None:
        self.items = list(reversed(items))
        self.left = len(items)
        self.states = states
