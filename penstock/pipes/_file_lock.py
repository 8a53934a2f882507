"""A lock between processes: an advisory ``flock`` on ``<path>.lock``.

The kernel drops it when its process dies, so there are no stale locks, whatever is killed. The file is removed by who
holds it, so no lock file is left over either. That takes a second look: between opening the file and getting the lock,
the one who held it may have removed the file, and then the lock is one on a file that nobody else will find::

    open --flock--> held --same file as under the name?--> locked
      ^                         | no: somebody removed it
      '-------------------------'

A process that has to wait does so in `flock`, in a thread (it knows no timeout), and not by asking again and again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["locked"]


@contextmanager
def locked(path: str, timeout_s: float, done: Callable[[], bool]) -> Iterator[None]:
    """Hold the lock of ``path``.

    Args:
        path: what the lock is for. Its folder is made if need be.
        timeout_s: how long to wait for another process.
        done: tells that there is nothing left to do; then nothing is locked. Asked again whenever a holder has gone.

    Raises:
        TimeoutError: another process holds it for longer.
    """
    import time

    deadline = time.monotonic() + timeout_s
    name = f"{path}.lock"
    os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
    while True:
        fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        if not _flock(fd, deadline - time.monotonic()):
            raise TimeoutError(
                f"OnDiskCache Exception: expected {path} to be written by another process, which holds {name}, but it "
                f"is not ready in {timeout_s:g} seconds. Raise the timeout of end_caching(), or end that process"
            )
        if _is_under(fd, name):
            break
        os.close(fd)
        if done():
            yield
            return
    try:
        yield
    finally:
        os.unlink(name)  # while it is held: whoever waits for it looks again
        os.close(fd)


def _is_under(fd: int, name: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(name))
    except FileNotFoundError:
        return False


def _flock(fd: int, timeout_s: float) -> bool:
    """Get the lock of an open file; return False where it takes too long. Without the lock, the file gets closed."""
    import fcntl

    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        pass
    except BaseException:
        os.close(fd)
        raise
    answered = threading.Event()
    turn = threading.Lock()
    failure: list[OSError] = []
    held = wanted = True

    def wait() -> None:
        nonlocal held
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
        except OSError as error:
            failure.append(error)
        with turn:
            held = wanted and not failure
            if not held:
                os.close(fd)
            answered.set()

    threading.Thread(target=wait, name="penstock-file-lock", daemon=True).start()
    left = True
    try:
        answered.wait(max(0.0, timeout_s))
        left = False
    finally:
        with turn:  # from here on, a lock that comes late is for the thread to release
            wanted = False
            if left and answered.is_set() and held:  # interrupted, with the lock in hand
                os.close(fd)
    if failure:
        raise failure[0]
    return answered.is_set() and held
