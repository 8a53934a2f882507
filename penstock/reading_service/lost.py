"""When a worker is lost: which one it is, how that came, and what it was doing."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from typing import Any

from penstock.core.errors import WorkerDied
from penstock.reading_service.base import Run
from penstock.reading_service.process import Launcher
from penstock.reading_service.starter import STARTING, Starter, Worker
from penstock.reading_service.worker import DISPATCHER
from penstock.transport.record import Record
from penstock.transport.wire import Disconnected

__all__ = ["end", "lost", "report", "to_blame"]

_GRACE_S = 0.3  # how long a worker may take to end by itself; one that is in a function then is killed
_PROBE_S = 1.0  # how long it may take to run again what killed a worker
_START_S = 5.0  # and how long the one that does so may take to start, which is not the item's fault
_PROBE_ITEMS = 32  # how many items that may be, where it is not known which one it was


def to_blame(worker: Worker, others: Iterable[Worker], timeout_s: float) -> Worker:
    """Return who hangs, where a worker has given nothing for too long: it may wait for another one.

    A process that is stopped, or in a call that keeps the interpreter's lock, writes down nothing more: that it waited
    is old by then, and counts for nothing.

    Args:
        worker: that worker.
        others: whom it may wait for: the dispatching process and, as that waits for all workers, the others.
        timeout_s: for how long it has given nothing.
    """
    others = list(others)
    if not others or not worker.receiver.recorded().waited(timeout_s / 2):
        return worker
    return next((other for other in others if not other.receiver.recorded().waited(timeout_s / 2)), others[0])


def report(worker: Worker, timeout_s: float | None) -> str:
    """Say how a worker ended, and what it was doing."""
    return f"{_how(worker, timeout_s)}; it was {worker.receiver.recorded()}"


def lost(worker: Worker, timeout_s: float | None, starter: Starter, run: Run, lane: int | None) -> WorkerDied:
    """Return the error for a worker that is not replaced any more.

    Where it has died, what comes next is run again, traced, in a process of its own, to learn in which pipe and on what
    that dies: the next item of ``lane``, or where that is None, some of all that the worker has.
    """
    message, again = report(worker, timeout_s), None
    if not worker.hung:
        try:
            again = _probe(worker.number, starter, run, lane)
        except Exception as error:  # the report must not fail over the detail
            message += f" (running the batch again failed: {error})"
    if again is not None:
        what = f"{again.what}; it died there again when that was run a second time"
        message = f"{_how(worker, timeout_s)}; it was {what}"
    return WorkerDied(message, worker.process.pid, worker.process.exitcode(1.0))


def _how(worker: Worker, timeout_s: float | None) -> str:
    number, pid = worker.number, worker.process.pid
    who = f"worker {number}" if number != DISPATCHER else "the dispatching process"
    how = f"gave nothing for {timeout_s:g} s" if worker.hung else _ended(worker.process.exitcode(1.0))
    return f"{who} (pid {pid}) {how}"


def _ended(code: int | None) -> str:
    """Say in words how a process ended."""
    if code is None:
        return "closed its connection, and is still running"
    return (
        f"was killed by signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"ended with exit code {code}"
    )


def _probe(number: int, starter: Starter, run: Run, lane: int | None) -> Record | None:
    """Run the next item, or some, again; return the record of a process that died of it.

    A dispatching process is ahead of what was delivered: in its place one worker runs all items, as far as it comes.
    """
    whole = number == DISPATCHER
    starter = starter.another(1 if whole else None)
    workers: list[Worker] = []
    try:
        with starter.graph():
            worker = starter.launch(0 if whole else number, 64 << 20)
        workers.append(worker)
        worker.receiver.command("trace", 1, run, None if whole else lane)
        try:
            _await_start(worker)
            until = time.monotonic() + _PROBE_S
            count = 1 if lane is not None else _PROBE_ITEMS
            while worker.receiver.receive(1, max(0.1, until - time.monotonic())) is not None:
                count -= 1
                if time.monotonic() > until or not (whole or count):
                    return None
        except Disconnected:
            return worker.receiver.recorded()
        return None
    finally:
        end(os.getpid(), workers, starter.launcher)


def _await_start(worker: Worker) -> None:
    """Wait until a worker runs, or ends. Its record tells: it writes that down as soon as it has the graph."""
    until = time.monotonic() + _START_S
    while worker.receiver.recorded().what == STARTING and time.monotonic() < until:
        if worker.process.exitcode(0.02) is not None:
            return


def end(pid: int, workers: list[Any], launcher: Launcher) -> None:
    """End all workers of process ``pid``: a closed socket asks them to, and who does not is killed."""
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
