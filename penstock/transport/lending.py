"""Slots that a consumer may look into for as long as it likes.

    free ──take──> filled ──send──> received ──lend──> lent ──last view gone──> returned ──ack──> free
                                        └──copied, where too much is lent already──────────┘
                                                         lent ──fork──> retired ──fork ended──> returned

The worker owns ``free`` and ``filled``; the main process the rest. A slot is lent as a numpy array; whatever is made
from it (arrays, tensors, slices of them) keeps that array alive, and its finalizer says when all of them are gone. A
finalizer runs inside the garbage collector, in any thread, so it only puts the slot on a queue.

A fork of the main process shares the arena with it, and must be able to go on reading what was lent: such slots are
retired for as long as the fork or a descendant of it lives (all of them hold the writing end of a pipe, so its end
tells). Its own finalizers do nothing.
"""

from __future__ import annotations

import functools
import os
import queue
import select
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from penstock.transport.arena import Arena

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Lender"]

# Where more than this share of an arena is lent, batches are copied on delivery, so that the worker keeps its slots.
_LENT_AT_MOST = 0.5

_lenders: weakref.WeakSet[Lender] = weakref.WeakSet()


class Lender:
    """Lends the slots of one arena."""

    def __init__(self, arena: Arena) -> None:
        _watch_forks()
        self._arena = arena
        self._returned: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._lent: dict[int, int] = {}
        self._retired: list[tuple[_Fork, set[int]]] = []
        self._waiting: set[int] = set()  # come back, but a fork may look into them
        self._bytes = 0
        self._pid = os.getpid()
        self.lock = threading.Lock()
        _lenders.add(self)

    def view(self, offset: int, size: int) -> NDArray[np.uint8]:
        """Return the bytes of a slot: the slot itself if it can be spared, else a copy (and the slot is returned)."""
        import numpy as np

        base: NDArray[np.uint8] = np.frombuffer(self._arena.map, np.uint8, size, offset)
        with self.lock:
            if self._bytes + size > self._arena.size * _LENT_AT_MOST:
                copied = base.copy()
                self._returned.put(offset)
                return copied
            self._lent[offset] = size
            self._bytes += size
        finalizer = weakref.finalize(base, _give_back, self._returned, offset, self._pid)
        finalizer.atexit = False
        return base

    def discard(self, offset: int) -> None:
        """Return a slot that nobody looked into."""
        self._returned.put(offset)

    def returned(self) -> list[int]:
        """Return the slots that have come back since the last call."""
        slots: list[int] = []
        if self._returned.empty() and not self._retired:
            return slots
        with self.lock:
            self._retired = [(fork, offsets) for fork, offsets in self._retired if fork.lives()]
            seen: set[int] = set().union(*(offsets for _, offsets in self._retired))
            slots += self._waiting - seen
            self._waiting &= seen
            while True:
                try:
                    offset = self._returned.get_nowait()
                except queue.Empty:
                    return slots
                self._bytes -= self._lent.pop(offset, 0)
                if offset in seen:
                    self._waiting.add(offset)
                else:
                    slots.append(offset)

    def retire(self, fork: _Fork) -> None:
        """Do not use again what is lent now until ``fork`` has ended: it sees it."""
        seen = {*self._lent, *self._waiting}
        if seen and os.getpid() == self._pid:
            self._retired.append((fork, seen))


class _Fork:
    """A process that is being forked off this one."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        self._poll = select.poll()
        self._poll.register(self._read, select.POLLIN)
        self._close_read = weakref.finalize(self, os.close, self._read)
        self._close_read.atexit = False

    def parent(self) -> None:
        os.close(self._write)

    def child(self) -> None:
        self._close_read()  # and the writing end stays open until the process ends

    def lives(self) -> bool:
        """Tell whether the fork, or one of its own, still runs."""
        return not self._poll.poll(0)


def _give_back(returned: queue.SimpleQueue[int], offset: int, pid: int) -> None:
    if os.getpid() == pid:
        returned.put(offset)


@functools.cache
def _watch_forks() -> None:
    held: list[Any] = []
    forks: list[_Fork] = []

    def before() -> None:
        lenders = list(_lenders)
        if not lenders:
            return
        fork = _Fork()
        forks.append(fork)
        for lender in lenders:
            lender.lock.acquire()
            held.append(lender.lock)
            lender.retire(fork)

    def after(what: Callable[[_Fork], None]) -> None:
        while held:
            held.pop().release()
        while forks:
            what(forks.pop())

    os.register_at_fork(
        before=before, after_in_parent=lambda: after(_Fork.parent), after_in_child=lambda: after(_Fork.child)
    )
