"""Starting worker processes, and ending them: fork server, spawn, fork.

Python's multiprocessing is not used. Its spawn and forkserver import the user's main module in every worker, which runs
unguarded scripts again and loads torch for nothing; and its resource tracker, queues and semaphores outlive a killed
trainer. A worker here is a bare interpreter that gets three descriptors and ends when its trainer does.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from typing import Any, Protocol

from penstock.core.errors import WorkerDied

__all__ = ["ForkLauncher", "Launcher", "Process", "ServerLauncher", "SpawnLauncher", "launcher"]


class Process(Protocol):
    """A worker process, seen from the trainer."""

    pid: int

    def exitcode(self, timeout_s: float) -> int | None:
        """Wait for the end; return the exit code (minus the number of a signal), None if still running."""
        ...

    def kill(self) -> None:
        """End it at once, if it has not ended."""
        ...


class Launcher(Protocol):
    """Starts workers. ``fds`` are the worker's socket, arena and graph; ``close`` ends what the launcher started."""

    def start(self, fds: tuple[int, int, int], graph: Any) -> Process: ...

    def close(self) -> None: ...


def launcher(method: str) -> Launcher:
    """Return the launcher of a start method."""
    if method == "forkserver":
        return ServerLauncher()
    if method == "spawn":
        return SpawnLauncher()
    if method == "fork":
        return ForkLauncher()
    raise AssertionError(f"multiprocessing_context must be one of fork, forkserver, spawn, but got {method!r}")


def python_command(module: str, *arguments: int) -> list[str]:
    """Return the command that calls ``main`` of a module of ours in a new interpreter with this one's import path."""
    # Ctrl-C goes to the whole process group, and may come before our code has been imported.
    deaf = "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN)"
    code = f"{deaf}; sys.path[:] = {sys.path!r}; from {module} import main; main({', '.join(map(str, arguments))})"
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # what multiprocessing uses too
    return [sys.executable, *flags, "-c", code]


def child_environment() -> dict[str, str]:
    """Return the environment of workers: as torch does, one thread for numeric libraries unless the user chose."""
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return {**threads, **os.environ}


class _Child:
    """A process that this one started and can wait for."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen
        self.pid = popen.pid

    def exitcode(self, timeout_s: float) -> int | None:
        try:
            return self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        self._popen.kill()


class SpawnLauncher:
    """A new interpreter for each worker."""

    def start(self, fds: tuple[int, int, int], graph: Any) -> Process:
        command = python_command("penstock.reading_service.worker", os.getpid(), *fds)
        return _Child(subprocess.Popen(command, pass_fds=fds, env=child_environment(), stdin=subprocess.DEVNULL))

    def close(self) -> None:
        pass


class _Forked:
    """A process that this one forked."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None

    def exitcode(self, timeout_s: float) -> int | None:
        deadline = time.monotonic() + timeout_s
        pidfd = os.pidfd_open(self.pid) if self._code is None and hasattr(os, "pidfd_open") else None
        try:
            while self._code is None:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    self._code = os.waitstatus_to_exitcode(status)
                    break
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                select.select([pidfd] if pidfd is not None else [], [], [], left if pidfd is not None else 0.01)
        except ChildProcessError:  # somebody else has waited for it: the code is lost
            self._code = 255
        finally:
            if pidfd is not None:
                os.close(pidfd)
        return self._code

    def kill(self) -> None:
        if self._code is None:
            os.kill(self.pid, signal.SIGKILL)


class ForkLauncher:
    """A copy of this process for each worker: quick, and unsafe beside threads. The graph is not pickled."""

    def __init__(self) -> None:
        self._others: list[int] = []

    def start(self, fds: tuple[int, int, int], graph: Any) -> Process:
        trainer = os.getpid()
        pid = os.fork()
        if pid:
            return _Forked(pid)
        code = 1
        try:
            from penstock.reading_service.worker import run

            run(trainer, fds[0], fds[1], graph)
            code = 0
        finally:
            os._exit(code)

    def close(self) -> None:
        pass


class _Served:
    """A process that the fork server forked."""

    def __init__(self, server: ServerLauncher, pid: int) -> None:
        self._server = server
        self.pid = pid

    def exitcode(self, timeout_s: float) -> int | None:
        return self._server.exitcode(self.pid, timeout_s)

    def kill(self) -> None:
        self._server.kill(self.pid)


class ServerLauncher:
    """One small interpreter that has loaded what workers need, and forks them.

    The server answers a request with the pid, and later tells each child's exit status; only a parent can learn it.
    """

    def __init__(self) -> None:
        mine, theirs = socket.socketpair()
        self._sock = mine
        self._codes: dict[int, int] = {}
        self._inbox = ""
        self._started: list[int] = []
        with theirs:
            command = python_command("penstock.reading_service.server", os.getpid(), theirs.fileno())
            self._popen = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], env=child_environment(), stdin=subprocess.DEVNULL
            )

    def start(self, fds: tuple[int, int, int], graph: Any) -> Process:
        socket.send_fds(self._sock, [b"fork"], list(fds))
        before = len(self._started)
        deadline = time.monotonic() + 60
        while len(self._started) == before:
            if not self._read(deadline - time.monotonic()):
                code = self._popen.poll()
                raise WorkerDied(f"the fork server (pid {self._popen.pid}) did not start a worker: exit code {code}")
        return _Served(self, self._started[-1])

    def exitcode(self, pid: int, timeout_s: float) -> int | None:
        """Wait for a child of the server."""
        deadline = time.monotonic() + timeout_s
        while pid not in self._codes and self._read(deadline - time.monotonic()):
            pass
        return self._codes.get(pid)

    def kill(self, pid: int) -> None:
        """Kill a child, through the server: only its parent can be sure that the pid is still its own."""
        try:
            self._sock.sendall(f"kill {pid}\n".encode())
        except OSError:  # the server is gone, and took its children along
            pass

    def close(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_RDWR)  # a fork of this process may hold the socket too
        except OSError:  # the server is gone
            pass
        self._sock.close()
        try:
            self._popen.wait(5)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()

    def _read(self, timeout_s: float) -> bool:
        """Take in what the server says; False if it says nothing in time, or has ended."""
        if not select.select([self._sock], [], [], max(0.0, timeout_s))[0]:
            return False
        try:
            data = self._sock.recv(4096)
        except ConnectionResetError:
            data = b""
        if not data:
            return False
        *lines, self._inbox = (self._inbox + data.decode()).split("\n")
        for line in lines:
            what, *numbers = line.split()
            if what == "started":
                self._started.append(int(numbers[0]))
            else:
                self._codes[int(numbers[0])] = int(numbers[1])
        return True
