"""What a worker has made and not yet sent: small items that were made quickly travel together.

A message costs as much as dozens of small items, so they are sent in bundles. But nobody waits for a bundle to fill:

- an item that took long to make is sent at once, with what waits: the next one may take as long;
- what has waited for `_WAIT_S` goes with the item behind it, and if that one is slow, a second thread sends it;
- before the worker waits for the main process, everything goes.

Batches of columns wait for others as long as the main process has some of this worker's to take, and for `_QUICK_S`
where they are made in less: joined (see `penstock.transport.together`) they cost a fraction, up to `_JOINED_BYTES`.
Where the loop waits for every batch the workers set the pace, and it loses that time once, not for each message.
They also come in bursts, as what is read is read by blocks of many. So that the loop has some left while the next block
is being made, a worker may be further ahead with them, up to `_AHEAD_BYTES`.

The second thread cannot ask the graph where it stands, as that is in the middle of an item; so what it sends has no
state, and the main process counts how far it is behind the last one that it knows.
"""

from __future__ import annotations

import reprlib
import threading
from collections.abc import Callable, Iterable
from time import perf_counter, sleep
from typing import Any, Protocol

from penstock.core.errors import TransportError
from penstock.core.pipe import Pipe
from penstock.core.walk import walk
from penstock.transport.together import is_batch, together
from penstock.transport.wire import Disconnected

__all__ = ["BUNDLE", "ENDED", "FAILED", "LOST", "Carrier", "Outbox"]

# The kinds of messages: a lane, which has ended, and what pipes say (findings of `penstock.core.witness`, reports of
# `penstock.pipes._tally`); an exception; [(lane, item), ...] or those joined, {lane: the state behind its last item},
# and what pipes say; nothing, the dispatching process is gone.
ENDED, FAILED, BUNDLE, LOST = range(4)

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 120

_WAIT_S = 3e-4
_SLOW_S = 2e-4
_BYTES = 32 << 10
_QUICK_S, _JOINED_BYTES, _LARGEST_JOINED, _AHEAD_BYTES = 2e-2, 1 << 20, 128 << 10, 8 << 20
_LOOK_S = 2e-2  # how long the second thread waits for the main process to take something, and looks around
# A state that takes longer than this (one of a step that holds thousands of items) is sent only so often that it takes
# this share of the time.
_CHEAP_S, _STATES_SHARE = 5e-5, 0.05


class Carrier(Protocol):
    """What takes bundles to the loop: a worker's socket, or a thread's queue.

    Attributes:
        copies: whether what arrives is made again there, so that it may be sent in another form.
    """

    copies: bool

    def send(self, kind: int, epoch: int, content: Any, *, count: int = 1, beside: bool = False) -> int:
        """Send a message of ``count`` items and return its bytes; ``beside`` says that another thread is at work."""
        ...

    def is_ahead(self, wait_s: float = 0.0) -> bool:
        """Whether the loop has yet to take something that was sent: now, or once it has taken something more."""
        ...


class Outbox:
    """Collects a worker's items. The main thread adds to it; a second one sends what waits too long.

    Where some pipe of the graph gives its items in any order, each goes at once, with the state behind it: from an
    earlier state nobody can count up to it.

    Attributes:
        limit: how many items a worker may be ahead of the loop.

    Args:
        sender: what takes bundles to the loop.
        limit: how many items a worker may be ahead.
        small: how many it may be of batches that are small enough.
    """

    def __init__(self, sender: Carrier, limit: int, small: int = 0) -> None:
        self._sender = sender
        self._each = False
        self._limits = limit, max(limit, small)
        self.limit = limit
        self._lock = threading.Lock()
        self._waiting: list[tuple[int, Any]] = []
        self._tells: dict[int, Callable[[], Any]] = {}
        self._seen: list[Any] = []
        self._epoch = 0
        self._most = 1  # items in a bundle, by their size so far
        self._joins = False  # whether they are batches that are better sent together
        self._alone = 0  # how many more go one by one
        self._next_states = 0.0  # when states may be asked for again
        self._since = 0.0  # when the first one that waits was made
        self._began = 0.0  # when the item that is being made was begun
        self._wake = threading.Semaphore(0)
        self._watched = self._closed = False
        threading.Thread(target=self._watch, name="penstock-outbox", daemon=True).start()

    def begin(self, epoch: int, graph: Pipe, *, careful: bool = False) -> None:
        """Forget what waits: an epoch of that graph begins.

        Where a worker was lost, as many items as may have waited with that one go one by one (``careful``): if this one
        is lost at the same place, nothing that it has made is lost with it, and the next one begins right there.
        """
        self._each = any(pipe.in_any_order for pipe in walk(graph))
        self._alone = max(self._limits) // 2 + 1 if careful else 0
        with self._lock:
            self._waiting, self._tells, self._seen, self._epoch, self._most = [], {}, [], epoch, 1
            self._joins, self.limit = False, self._limits[0]
        self._began = perf_counter()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, lane: int, tell: Callable[[], Any], item: Any) -> None:
        """Take an item; send it, and what waits, unless it can wait."""
        now = perf_counter()
        took = now - self._began
        self._began = now
        with self._lock:
            if not self._waiting:
                self._since = now
            self._waiting.append((lane, item))
            self._tells[lane] = tell
        if self._alone:
            self._alone -= 1
            self.flush()
        elif self._each or len(self._waiting) >= self._most or self._is_late(took, now - self._since):
            self.flush()
        elif not self._watched:
            self._watched = True
            self._wake.release()

    def _is_late(self, took_s: float, waited_s: float) -> bool:
        if self._joins:
            return max(took_s, waited_s) > _QUICK_S and not self._sender.is_ahead()
        return took_s > _SLOW_S or waited_s > _WAIT_S

    def hear(self, said: Any) -> None:
        """Take what goes with the next bundle."""
        self._seen.append(said)

    def resume(self) -> None:
        """Note that making items goes on behind a wait."""
        self._began = perf_counter()

    def flush(self, *, states: bool = True, ended: int | None = None) -> None:
        """Send what waits, and the states behind it: of the lanes that stand between two items."""
        with self._lock:
            if self._waiting:
                lanes = {lane for lane, _ in self._waiting} - {ended} if states else ()
                self._send(self._states(lanes))

    def end(self, lane: int) -> None:
        """Send what waits, and that a lane has ended."""
        self.flush(ended=lane)
        self._sender.send(ENDED, self._epoch, (lane, self._said()))

    def _said(self) -> list[Any]:
        seen, self._seen = self._seen, []
        return seen

    def _states(self, lanes: Iterable[int]) -> dict[int, Any]:
        """Return the lanes' states, or none while the last ones are too fresh for what they cost."""
        began = perf_counter()
        if began < self._next_states and not self._each:
            return {}
        states = {lane: self._tells[lane]() for lane in lanes}
        now = perf_counter()
        self._next_states = now + (now - began - _CHEAP_S) / _STATES_SHARE
        return states

    def _send(self, states: dict[int, Any], *, beside: bool = False) -> None:
        entries, self._waiting = self._waiting, []
        seen = self._said()
        content = (together(entries) if self._sender.copies else entries, states, seen)
        try:
            size = self._sender.send(BUNDLE, self._epoch, content, count=len(entries), beside=beside)
        except TransportError:
            self._send_alone(entries, beside)
            raise
        each = size // len(entries)
        small = self._sender.copies and each <= _LARGEST_JOINED
        self._joins = small and (content[0] is not entries or is_batch(entries[0][1]))
        few, many = self._limits
        self.limit = max(few, min(many, _AHEAD_BYTES // each)) if self._joins else few
        # At most half of them, so that a bundle can be on its way while another one is made.
        self._most = max(1, min(self.limit // 2, (_JOINED_BYTES if self._joins else _BYTES) // each))

    def _send_alone(self, entries: list[tuple[int, Any]], beside: bool) -> None:
        """Send items one by one, to find the one that cannot be sent."""
        for i, entry in enumerate(entries):
            try:
                self._sender.send(BUNDLE, self._epoch, ([entry], {}, []), beside=beside)
            except TransportError as error:
                error.add_note(f"penstock: the item is {_short.repr(entry[1])}")
                self._waiting = entries[i:] if beside else []  # the main thread is the one to complain
                raise

    def close(self) -> None:
        """End the second thread. What waits is not sent."""
        self._closed = True
        self._wake.release()

    def _watch(self) -> None:
        while True:
            self._wake.acquire()
            try:
                while not self._closed and self._waits():
                    since = self._since
                    sleep(max(0.0, since + (_QUICK_S if self._joins else _WAIT_S) - perf_counter()))
                    while self._since == since and self._waiting and self._joins and self._sender.is_ahead(_LOOK_S):
                        pass
                    with self._lock:
                        if self._waiting and self._since == since:
                            self._send({}, beside=True)
            except TransportError:
                self._watched = False
            except Disconnected:
                return
            if self._closed:
                return

    def _waits(self) -> bool:
        """Whether something waits. If nothing does, whoever adds something wakes the second thread again."""
        with self._lock:
            self._watched = bool(self._waiting)
            return self._watched
