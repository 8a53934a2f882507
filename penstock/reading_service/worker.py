"""What a worker process does: it waits for an epoch, runs its lanes, and sends what they yield.

One thread runs the graph and talks to the main process. Others end the process when the trainer has died, send what
waits too long, and write down what the first one is doing, for the message in case the worker dies.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from penstock.core.context import Outlet, WorkerInfo
from penstock.core.errors import StateError, TransportError
from penstock.core.pipe import IterDataPipe
from penstock.core.plan import plan
from penstock.core.walk import describe, names
from penstock.reading_service.base import Run
from penstock.reading_service.dispatch import Dispatch, DispatcherLost
from penstock.reading_service.dispatcher import Dispatcher
from penstock.reading_service.hooks import initialized, is_divided, reset
from penstock.reading_service.lanes import END, Making, own_lanes, read_lanes
from penstock.reading_service.outbox import FAILED, LOST, Outbox
from penstock.reading_service.recorder import Recorder, watched_calls
from penstock.transport.arena import Arena
from penstock.transport.codec import encode_error
from penstock.transport.payload import load_payload
from penstock.transport.receiver import Receiver
from penstock.transport.sender import Sender
from penstock.transport.wire import Disconnected

__all__ = ["DISPATCHER", "main", "run"]

DISPATCHER = -1  # the number by which the dispatching process knows itself


_GRACE_S = 1.0  # how long a worker may still tidy up once its socket is closed


class _Cancelled(BaseException):
    """The main process has given another command. It passes through the pipes, and nothing explains it."""


def main(trainer: int, sock_fd: int, arena_fd: int, graph_fd: int) -> None:
    """Be a worker, in a process made for it. Does not return."""
    code = 1
    try:
        run(trainer, sock_fd, arena_fd, None, graph_fd)
        code = 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run(trainer: int, sock_fd: int, arena_fd: int, payload: Any, graph_fd: int | None = None) -> None:
    """Serve until the main process closes its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sock = socket.socket(fileno=os.dup(sock_fd))
    arena = Arena(arena_fd)
    os.close(sock_fd)
    os.close(arena_fd)
    arena.record("starting")
    _end_with(trainer, sock)
    sender = Sender(sock, arena)
    try:
        try:
            if graph_fd is not None:
                payload = load_payload(graph_fd)
                os.close(graph_fd)
            sender.wait_until(lambda: sender.commands)
            _, info = sender.commands.popleft()  # ("hello", ...)
            role: _Worker | Dispatcher
            if info.worker_id == DISPATCHER:
                role = Dispatcher(sender, arena, info, *payload)
            else:
                role = _Worker(sender, arena, info, *payload)
        except Exception as error:
            _refuse(sender, encode_error(error, _remote(error)))
        role.serve()
    except Disconnected:
        pass
    finally:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)  # and not closed, as the outbox's thread may be about to use it


def _refuse(sender: Sender, failure: bytes) -> None:
    """Answer every epoch with the error that kept the worker from starting."""
    while True:
        while sender.commands:
            name, number, *_ = sender.commands.popleft()
            if name in ("epoch", "trace"):
                sender.send(FAILED, number, failure)
        sender.wait_until(lambda: sender.commands)


class _Worker:
    """The state of one worker: its graph, and the epoch that it is told to run."""

    def __init__(
        self, sender: Sender, arena: Arena, info: WorkerInfo, graph: IterDataPipe[Any], options: dict[str, Any]
    ) -> None:
        self._sender = sender
        self._info = info
        self._dispatch: Dispatch | None = None
        self._reset_fn = options["reset_fn"]
        torch = sys.modules.get("torch")
        if torch is not None:
            torch.set_num_threads(1)
        self._graph = graph = initialized(options["init_fn"], graph, info, f"worker_init_fn of worker {info.worker_id}")
        self._outbox = Outbox(sender, options["ahead"], options["small_ahead"])
        self._divided = options["init_fn"] is not None and is_divided(graph, info)
        self._recorder = Recorder(arena, self._graph, "reading")

    def serve(self) -> None:
        """Run what the main process orders."""
        while True:
            self._recorder.waiting("the main process")
            self._sender.wait_until(lambda: self._sender.commands)
            self._recorder.working()
            name, epoch, *rest = self._sender.commands.popleft()
            try:
                if name in ("epoch", "trace"):
                    self._epoch(epoch, *rest, traced=name == "trace")
                elif name == "dispatch":
                    if self._dispatch is not None:  # that process is gone, and this is another one
                        self._dispatch.close()
                    sock, arena_fd = socket.socket(fileno=self._sender.fds.popleft()), self._sender.fds.popleft()
                    self._dispatch = Dispatch(Receiver(sock, Arena(arena_fd), 1), self._wait, self._outbox.hear)
                    os.close(arena_fd)
            except _Cancelled:
                continue
            except Disconnected:
                raise
            except DispatcherLost:
                self._outbox.flush(states=False)
                self._sender.send(LOST, epoch, None)
            except Exception as error:
                self._outbox.flush(states=False)
                self._sender.send(FAILED, epoch, encode_error(error, _remote(error)))

    def _epoch(self, epoch: int, run: Run, lane: int | None = None, *, traced: bool) -> None:
        """Run an epoch; ``lane`` is the one that is wanted, where the others are not."""
        progress, workers = run.progress, self._info.num_workers
        if self._divided and progress.kind == "lanes" and progress.lanes != workers * self._info.world_size:
            raise StateError(
                f"worker_init_fn divides the graph among {workers} workers, and the state was saved by "
                f"{progress.lanes}: restore it on as many, or divide the graph by a sharding_filter of its own"
            )
        if self._divided and progress.kind == "blocks" and progress.states:
            raise StateError(
                "worker_init_fn divides a graph that has a sharding_filter, so a state of one worker is none of "
                "another's: let the service divide it"
            )
        local = own_lanes(progress, self._info)
        if lane is not None and progress.kind == "lanes":
            local = (lane,)
        graph = reset(self._reset_fn, self._graph, self._info, run, f"worker_reset_fn of worker {self._info.worker_id}")
        # A user's class may look at what the class that it extends has made, which then is as it is elsewhere.
        own = type(graph).__module__.startswith("penstock.")
        outlet = Outlet(names(graph)[id(graph)], self._sender.empty) if own else None
        dispatch = self._dispatch
        if dispatch is not None:
            dispatch.begin(epoch)
        calls = watched_calls(run, self._recorder)
        deliveries: Iterator[Any] = read_lanes(
            graph,
            plan(graph),
            run,
            local,
            worker=self._info,
            outlet=outlet,
            own_globals=True,
            record=self._recorder.entered if traced else None,
            before_item=self._before_item,
            dispatch=None if traced else dispatch,
            witness=None if traced else self._outbox.hear,
            report=self._outbox.hear,
            calls=calls,
        )
        outbox = self._outbox
        outbox.begin(epoch, graph, careful=run.careful)
        try:
            for lane, tell, item in deliveries:
                if item is END:
                    outbox.end(lane)
                    continue
                outbox.add(lane, tell, item)
                del item
                if calls is not None:
                    calls.stop()  # the first item is on its way, so who dies from here on has not died here before
        except TransportError as error:
            error.add_note(f"penstock: it was made by {describe(graph)}")
            raise
        finally:
            deliveries.close()  # type: ignore[attr-defined]  # a generator
            if calls is not None:
                calls.stop()

    def _before_item(self, making: Making) -> None:
        """Wait until the main process is near enough; leave where it has something else to do."""
        sender, outbox = self._sender, self._outbox
        self._recorder.making = making
        if sender.ahead + len(outbox) >= outbox.limit:
            outbox.flush()
            sender.receive(wait=False)
            if sender.ahead >= outbox.limit and not sender.commands:
                self._recorder.waiting("the main process")
                sender.wait_until(lambda: sender.ahead < outbox.limit or sender.commands)
                self._recorder.working()
            outbox.resume()
        elif not len(outbox):
            sender.receive(wait=False)
        if sender.commands:
            raise _Cancelled

    def _wait(self, fd: int) -> None:
        """Wait for the dispatching process; leave where the main process has something else to do."""
        sender, recorder = self._sender, self._recorder
        while not sender.commands:
            self._outbox.flush(states=False)
            recorder.waiting("the dispatching process")
            ready = select.select([fd, sender.fileno()], [], [])[0]
            recorder.working()
            if sender.fileno() in ready:
                sender.receive(wait=False)
            if fd in ready:
                self._outbox.resume()
                return
        raise _Cancelled


def _remote(error: BaseException) -> str:
    return "penstock: in the worker:\n" + "".join(traceback.format_tb(error.__traceback__)).rstrip()


def _end_with(trainer: int, sock: socket.socket) -> None:
    """End this process when the trainer dies, whatever this process is doing."""
    poll = select.poll()
    poll.register(sock, 0)  # hang-ups are always reported
    trainer_fd = os.pidfd_open(trainer) if hasattr(os, "pidfd_open") else -1
    if trainer_fd >= 0:
        poll.register(trainer_fd, select.POLLIN)

    def watch() -> None:
        ready = {fd for fd, _ in poll.poll()}
        if trainer_fd not in ready:
            time.sleep(_GRACE_S)
        os._exit(1)

    threading.Thread(target=watch, name="penstock-watch", daemon=True).start()
