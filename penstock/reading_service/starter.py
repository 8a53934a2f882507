"""Starting a loader's workers, and connecting them."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from penstock.core.context import WorkerInfo
from penstock.reading_service.base import Place
from penstock.reading_service.process import Launcher, Process, launcher
from penstock.transport.arena import Arena
from penstock.transport.payload import payload_file
from penstock.transport.receiver import Receiver

__all__ = ["STARTING", "Starter", "Worker"]

STARTING = "starting"  # what the record says of a worker that has written nothing yet


@dataclass
class Worker:
    """One worker, as the main process holds it. ``hung``: it gave nothing for too long."""

    number: int
    process: Process
    receiver: Receiver
    hung: bool = False


class Starter:
    """Starts workers that are alike.

    Args:
        method: the start method.
        payload: the graph, and the options of a worker.
        num_workers: how many run lanes.
        place: which rank this is.
    """

    def __init__(self, method: str, payload: tuple[Any, dict[str, Any]], num_workers: int, place: Place) -> None:
        self.launcher: Launcher = launcher(method)
        self._method = method
        self._payload = payload
        self._num_workers = num_workers
        self._place = place
        self._graph_fd = -1

    def another(self, num_workers: int | None = None) -> Starter:
        """Return one like this, with a launcher of its own; perhaps for another number of workers."""
        return Starter(self._method, self._payload, num_workers or self._num_workers, self._place)

    @contextmanager
    def graph(self) -> Iterator[None]:
        """Have the graph in a file, for workers that start meanwhile. A forked one has it in memory."""
        self._graph_fd = os.open(os.devnull, os.O_RDONLY) if self._method == "fork" else payload_file(self._payload)
        try:
            yield
        finally:
            os.close(self._graph_fd)

    def launch(self, number: int, size_bytes: int) -> Worker:
        """Start a worker with so much shared memory. Called within `graph`."""
        mine, theirs = socket.socketpair()
        arena_fd = Arena.create(size_bytes)
        try:
            with theirs:
                arena = Arena(arena_fd)
                arena.record(STARTING)
                process = self.launcher.start((theirs.fileno(), arena_fd, self._graph_fd), self._payload)
        except BaseException:
            mine.close()
            raise
        finally:
            os.close(arena_fd)
        ahead: int = self._payload[1]["ahead"]
        receiver = Receiver(mine, arena, max(1, ahead // 2))
        place = self._place
        receiver.command("hello", WorkerInfo(self._num_workers, number, place.rank, place.world_size))
        return Worker(number, process, receiver)

    def connect(self, dispatcher: Worker, worker: Worker, size_bytes: int) -> None:
        """Connect a worker with the dispatching process.

        Where that one is gone, the worker gets an end whose other one is closed, and will say so. A worker that is
        gone, or does not listen, is ended: the epoch replaces it in its turn.
        """
        ends = socket.socketpair()
        arena_fd = Arena.create(size_bytes)
        try:
            try:
                dispatcher.receiver.command("connect", fds=(ends[0].fileno(), arena_fd))
            except OSError:
                pass
            try:
                worker.receiver.command("dispatch", 0, fds=(ends[1].fileno(), arena_fd))
            except OSError:
                worker.process.kill()
        finally:
            os.close(arena_fd)
            for end in ends:
                end.close()
