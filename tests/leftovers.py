"""What a piece of code leaves behind in this process: children, threads, descriptors, shared memory."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections import Counter
from multiprocessing import forkserver, resource_tracker

import psutil

# What counts as shared memory among the lines of /proc/self/maps: anonymous files, and named ones.
SHARED_MEMORY = ("memfd:penstock", "/dev/shm/")


def census() -> Counter[str]:
    """Everything that could be left over, each as a line that a person can read."""
    return Counter([*_children(), *_threads(), *_descriptors(), *_shared_memory()])


def leftovers(before: Counter[str], *, within_s: float = 3.0) -> list[str]:
    """What there is now and was not `before`; waits up to `within_s` for what ends by itself a moment later."""
    deadline = time.monotonic() + within_s
    while True:
        gc.collect()  # a stream that was dropped in a cycle closes when it is collected
        more = sorted((census() - before).elements())
        if not more or time.monotonic() > deadline:
            return more
        time.sleep(0.02)


def _children() -> list[str]:
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.pid not in _helper_pids():
                found.append(f"process {process.pid} ({process.status()}): {' '.join(process.cmdline())[:200]}")
        except psutil.NoSuchProcess:
            continue
    return found


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


def _helper_pids() -> set[int | None]:
    server, tracker = forkserver._forkserver, resource_tracker._resource_tracker  # type: ignore[attr-defined]
    return {server._forkserver_pid, tracker._pid}


def _helper_fds() -> set[int | None]:
    server, tracker = forkserver._forkserver, resource_tracker._resource_tracker  # type: ignore[attr-defined]
    return {server._forkserver_alive_fd, tracker._fd}
