"""Which function runs on which item, where a process may die of it; and what is known to kill.

Nothing of this runs until a worker has been lost and its policy is to go on without bad samples (see
`penstock.core.bad`). Then the worker in its place writes down each call of such a function, ahead of it::

    a worker is lost -> the next one writes down each call -> is lost as well: that call is a *killer*
                                                           -> sends its first item: no more is written

From then on the function is not called with that item; what is raised in its place makes it a bad sample like any
other, a hole in its own place. So nothing else moves, in lanes as in blocks.

A killer is known by the pipe and by what the item looks like as bytes. Counting calls would be cheaper, but two
processes that begin at different places of an epoch count differently, and a sample that is left out wrongly is worse
than one that is not recognised: that one kills again, and the error is raised.

A call that is written down takes 13 us more with a small item and 0.4 ms with an image of 150 KB, up to the first item
that is sent. Behind a killer the calls of its pipe take 3 us more, or 0.13 ms, to the end of the epoch.
"""

from __future__ import annotations

import hashlib
import reprlib
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from penstock.core.errors import WorkerDied
from penstock.core.stream import close

__all__ = ["Calls", "Killer"]

_ALONE_S: Final = 10.0  # how long a call may wait for that of another thread: one of the two may wait for the other


@dataclass(frozen=True)
class Killer:
    """A call that has ended two processes.

    Attributes:
        pipe: whose function it was of.
        mark: what it was called with.
        how: how the second one ended, for who reads of it.
    """

    pipe: str
    mark: str
    how: str = ""


class Calls:
    """Watches the calls of the functions of one process.

    One call is written down at a time, so functions in several threads wait for each other: of what runs beside it
    nobody could tell which it was.

    Args:
        killers: what is not to be called again.
        encode: makes bytes of an item, the same in each process.
        record: called ahead of each call with the pipe's name, the item's mark, and words for it; and with empty ones
            behind it. None where nothing is written down.

    Attributes:
        watching: whether calls are written down.
    """

    def __init__(
        self,
        killers: Iterable[Killer],
        encode: Callable[[Any], bytes],
        record: Callable[[str, str, str], None] | None = None,
    ) -> None:
        self.watching = record is not None
        self._killers = tuple(killers)
        self._encode = encode
        self._record = record
        self._lock = threading.RLock()
        self._running: list[tuple[str, str, str]] = []

    def __reduce__(self) -> tuple[Any, ...]:
        """In the processes of a pool nothing is written down: their death is none of the worker's."""
        return Calls, (self._killers, self._encode)

    def watched(self, name: str, where: str, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Return a pipe's function of an item, with what else it takes, as it is to be called."""
        known = self._known(name)
        if not (known or self.watching):
            return fn

        def call(item: Any, *rest: Any) -> Any:
            if not (known or self.watching):
                return fn(item, *rest)
            mark = self._mark(item)
            if mark in known:
                raise WorkerDied(known[mark])
            with self._noted(name, mark, where, item):
                return fn(item, *rest)

        return call

    def watched_run(self, name: str, where: str, item: Any, place: Any, items: Iterator[Any]) -> Iterator[Any]:
        """Yield the items that a pipe makes of one. What kills among them leaves those ahead of it as they are.

        Args:
            name: the pipe's.
            where: what that does, and where it was made.
            item: what it makes them of.
            place: where in the item it began.
            items: what it makes.
        """
        known = self._known(name)
        number, element = 0, self._mark((item, place)) if known or self.watching else ""
        try:
            while known or self.watching:
                mark = f"{element}+{number}" if element else ""
                if mark in known:
                    raise WorkerDied(known[mark])
                with self._noted(name, mark, where, item):
                    for made in items:  # noqa: B007  # used behind the loop: this takes one item, or sees the end
                        break
                    else:
                        return
                number += 1
                yield made
            yield from items
        finally:
            if hasattr(items, "close"):
                close(items)

    def stop(self) -> None:
        """Write down no more."""
        if self.watching:
            self.watching = False
            self._say("", "", "")

    def _known(self, name: str) -> dict[str, str]:
        return {killer.mark: killer.how for killer in self._killers if killer.pipe == name}

    def _mark(self, item: Any) -> str:
        """Return what tells an item from others; nothing for one that has no bytes, or other ones each time."""
        try:
            return hashlib.blake2b(self._encode(item), digest_size=16).hexdigest()
        except Exception:  # whatever an item's own functions raise here is none of the user's business
            return ""

    @contextmanager
    def _noted(self, name: str, mark: str, where: str, item: Any) -> Iterator[None]:
        if not self.watching:
            yield
            return
        if not self._lock.acquire(timeout=_ALONE_S):
            self.stop()
            yield
            return
        try:
            self._running.append((name, mark, f"in pipe {name!r} ({where}) on {_short.repr(item)}"))
            self._say(*self._running[-1])
            try:
                yield
            finally:
                self._running.pop()
                self._say(*(self._running[-1] if self._running and self.watching else ("", "", "")))
        finally:
            self._lock.release()

    def _say(self, name: str, mark: str, what: str) -> None:
        if self._record is not None:
            self._record(name, mark, what)


_short = reprlib.Repr()
_short.maxstring = _short.maxother = 120
