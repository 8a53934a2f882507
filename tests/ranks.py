"""Ranks of a real gloo process group: processes that live over many tests, since each imports torch."""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import cloudpickle

_TIMEOUT_S = 120


@dataclass
class Outcome:
    """What a function came to on one rank: what it returned, or how its error reads, with the notes."""

    value: Any = None
    error: str | None = None


class Ranks:
    """Processes that can be the ranks of a group. Those of a run that failed are replaced by new ones."""

    def __init__(self) -> None:
        self._ranks: list[tuple[subprocess.Popen[bytes], Connection]] = []
        atexit.register(self.close)

    def run(self, world: int, function: Callable[..., Any], *arguments: Any) -> list[Outcome]:
        """Call ``function(rank, *arguments)`` on each of ``world`` ranks."""
        while len(self._ranks) < world:
            self._ranks.append(_started())
        with tempfile.TemporaryDirectory() as folder:
            job = cloudpickle.dumps((f"{folder}/store", world, function, arguments))
            for rank, (_, link) in enumerate(self._ranks[:world]):
                link.send((rank, job))
            outcomes = [self._outcome(link) for _, link in self._ranks[:world]]
        if any(outcome.error is not None for outcome in outcomes):  # gloo may not get over it
            for process, link in self._ranks[:world]:
                process.kill()
                process.wait()
                link.close()
            del self._ranks[:world]
        return outcomes

    def values(self, world: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Call a function on each rank, and return what it returns there. No rank may fail."""
        outcomes = self.run(world, function, *arguments)
        errors = [outcome.error for outcome in outcomes]
        assert not any(errors), "\n\n".join(f"rank {rank}: {error}" for rank, error in enumerate(errors) if error)
        return [outcome.value for outcome in outcomes]

    def _outcome(self, link: Connection) -> Outcome:
        if not link.poll(_TIMEOUT_S):
            return Outcome(error="the rank did not come to an end")
        try:
            outcome: Outcome = cloudpickle.loads(link.recv_bytes())
        except (EOFError, ConnectionResetError):
            return Outcome(error="the rank died")
        return outcome

    def close(self) -> None:
        for process, link in self._ranks:
            process.kill()
            process.wait()
            link.close()
        self._ranks.clear()


def _started() -> tuple[subprocess.Popen[bytes], Connection]:
    mine, theirs = socket.socketpair()
    with theirs:
        folder = os.path.dirname(__file__)
        process = subprocess.Popen(
            [sys.executable, "-c", f"import ranks; ranks.serve({theirs.fileno()})"],
            pass_fds=[theirs.fileno()],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([folder, os.path.dirname(folder)])},
        )
    return process, Connection(mine.detach())


def serve(fd: int) -> None:
    """Be a rank, again and again."""
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    link = Connection(fd)
    while True:
        try:
            rank, job = link.recv()
        except EOFError:
            return
        store, world, function, arguments = cloudpickle.loads(job)
        dist.init_process_group("gloo", store=dist.FileStore(store, world), rank=rank, world_size=world)
        try:
            outcome = Outcome(function(rank, *arguments))
        except BaseException as error:
            notes = getattr(error, "__notes__", ())
            outcome = Outcome(error="\n".join([f"{type(error).__name__}: {error}", *notes]))
        link.send_bytes(cloudpickle.dumps(outcome))
        if outcome.error is None:
            dist.barrier()
            dist.destroy_process_group()


ranks = Ranks()
