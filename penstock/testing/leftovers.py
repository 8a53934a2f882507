"""What a piece of code leaves behind in this process: children, threads, descriptors, shared memory."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from typing import Any

__all__ = ["census", "leftovers", "no_leftovers"]

_WITHIN_S = 3.0

# What counts as shared memory among the lines of /proc/self/maps: anonymous files, and named ones.
SHARED_MEMORY = ("memfd:penstock", "/dev/shm/")


@contextmanager
def no_leftovers() -> Iterator[None]:
    """Raise AssertionError where a piece of code leaves a process, a thread, a descriptor or shared memory behind.

    Processes, descriptors and shared memory are found through ``/proc``; where there is none, only threads are counted.

    Example:
        >>> with no_leftovers():
        ...     _ = sum(range(10))
    """
    before = census()
    yield
    left = leftovers(before)
    assert not left, "left behind:\n  " + "\n  ".join(left)


def census() -> Counter[str]:
    """Return everything that could be left over, each as a line that a person can read."""
    found = _threads()
    if os.path.exists("/proc/self/fd"):
        found += [*_children(os.getpid()), *_descriptors(), *_shared_memory()]
    return Counter(found)


def leftovers(before: Counter[str], *, within_s: float = _WITHIN_S) -> list[str]:
    """Return what there is now and was not ``before``; wait up to ``within_s`` for what ends by itself in a moment."""
    deadline = time.monotonic() + within_s
    while more := sorted((census() - before).elements()):
        if time.monotonic() > deadline:
            break
        gc.collect()  # a stream that was dropped in a cycle closes when it is collected
        time.sleep(0.02)
    return more


def _children(root: int) -> list[str]:
    parents = {int(pid): _parent(pid) for pid in os.listdir("/proc") if pid.isdigit()}
    helpers, family, found = _helper_pids(), {root}, []
    while more := {pid for pid, parent in parents.items() if parent in family} - family - helpers:
        family |= more
        found += [f"process {pid}: {_read(pid, 'cmdline').replace(chr(0), ' ').strip()[:200]}" for pid in more]
    return found


def _parent(pid: str) -> int | None:
    fields = _read(pid, "stat").rpartition(")")[2].split()  # behind the command, which may hold anything
    return int(fields[1]) if fields else None


def _read(pid: int | str, name: str) -> str:
    try:
        with open(f"/proc/{pid}/{name}") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):  # it has ended
        return ""


def _threads() -> list[str]:
    return [f"thread {thread.name} (id {thread.ident})" for thread in threading.enumerate()]


def _descriptors() -> list[str]:
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:  # the one that listed the directory
            continue
        if int(fd) not in _helper_fds():
            found.append(f"descriptor {fd} -> {target}")
    return found


def _shared_memory() -> list[str]:
    with open("/proc/self/maps") as maps:
        shared = [line for line in maps if any(mark in line for mark in SHARED_MEMORY)]
    return [f"mapping {line.split(maxsplit=5)[5].strip()}" for line in shared]


# multiprocessing keeps two helpers for the life of the program, once any code has used them. They are Python's,
# there is one of each, and they end with their parent; so they are no leftovers.


def _helper_pids() -> set[int]:
    server, tracker = _helpers()
    return {pid for pid in (server._forkserver_pid, tracker._pid) if pid is not None}


def _helper_fds() -> set[int | None]:
    server, tracker = _helpers()
    return {server._forkserver_alive_fd, tracker._fd}


def _helpers() -> tuple[Any, Any]:
    private: Any = (forkserver, resource_tracker)  # there is no public way to either
    return private[0]._forkserver, private[1]._resource_tracker
