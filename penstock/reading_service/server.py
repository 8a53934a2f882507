"""The fork server: a process that has loaded numpy and penstock, and forks workers on request.

It talks over one socket: ``fork`` with three descriptors starts a worker and is answered ``started PID``; ``kill PID``
kills one; ``ended PID CODE`` tells that one has ended. When the socket closes or the trainer dies, it kills what is
left.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket

__all__ = ["main"]


def main(trainer: int, fd: int) -> None:
    """Serve until the trainer closes its end or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the trainer, which ends its workers
    import numpy  # noqa: F401  # loaded once, for all workers

    import penstock.reading_service.worker as worker

    sock = socket.socket(fileno=fd)
    wake_r, wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_w)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    gc.freeze()
    children: set[int] = set()
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    poll.register(wake_r, select.POLLIN)
    trainer_fd = os.pidfd_open(trainer) if hasattr(os, "pidfd_open") else -1
    if trainer_fd >= 0:
        poll.register(trainer_fd, select.POLLIN)
    try:
        while True:
            ready = {ready_fd for ready_fd, _ in poll.poll()}
            if trainer_fd in ready:
                return
            if wake_r in ready:
                os.read(wake_r, 512)
                _reap(children, sock)
            if fd in ready:
                data, fds, _, _ = socket.recv_fds(sock, 4096, 3)
                if not data:
                    return
                if fds:
                    pid = os.fork()
                    if not pid:
                        signal.set_wakeup_fd(-1)
                        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                        sock.close()
                        os.close(wake_r)
                        os.close(wake_w)
                        worker.main(trainer, *fds)  # does not return
                    for worker_fd in fds:
                        os.close(worker_fd)
                    children.add(pid)
                    sock.sendall(f"started {pid}\n".encode())
                else:
                    for line in data.decode().split("\n"):
                        if line.startswith("kill ") and int(line[5:]) in children:
                            os.kill(int(line[5:]), signal.SIGKILL)
    except OSError:
        return  # the trainer is gone
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        for pid in children:
            os.waitpid(pid, 0)
        sock.close()


def _reap(children: set[int], sock: socket.socket) -> None:
    for pid in list(children):
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            children.discard(pid)
            sock.sendall(f"ended {pid} {os.waitstatus_to_exitcode(status)}\n".encode())
