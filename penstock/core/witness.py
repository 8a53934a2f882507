"""Whether all who divide a stream divide the same one.

What stands ahead of a sharding point runs in every worker of every rank: each takes its own chunks and passes over the
others. Where the streams differ (a shuffle by the worker's own ``random``, a set, a folder that changes), items are
lost and given twice, and nobody sees it. So each stream looks at the first item of some chunks, whoever they belong to,
and says what it saw, and how many items it found; what all have said must agree::

    chunk      0  1  2  3  4  5  6  7  8  ...  16  ...  k * 64 * count  ...
    looked at  x  x  x     x           x       x        x

Of an item counts what says which one it is: texts, bytes, integers, and how they are nested. Floats, arrays and images
do not: an augmentation ahead of the point may differ from worker to worker, and loses nothing.
"""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from penstock.core.bad import HOLE, Lossy
from penstock.core.errors import DifferentData
from penstock.core.seeds import kept_globals

if TYPE_CHECKING:
    from penstock.core.context import Share
    from penstock.core.stream import Stream

__all__ = ["Finding", "Watch", "Witness"]

_NEVER: Final = 1 << 62
_EVERY: Final = 64  # chunks of its own that a stream takes for one that it looks at
_KEPT: Final = 256  # items of each stream that are remembered
_ENTRIES, _CHARACTERS, _DEPTH = 16, 256, 4


class Finding(NamedTuple):
    """What one stream has found.

    Attributes:
        stream: which: the point's name, the pass, and the group where there are several.
        least: so many items there are at least.
        most: and so many at most.
        digest: of the last of ``least`` items; None if that was not looked at.
    """

    stream: tuple[Any, ...]
    least: int
    most: int = _NEVER
    digest: int | None = None


class Watch:
    """Says which chunk a stream looks at next, and tells what it saw.

    Args:
        tell: takes what is seen; None if nobody wants to know.
        stream: which one it is.
        share: how it is dealt.
        chunk: the first one that it may look at.
        functions: whether functions of the user's make its items, which may draw from the global random generators.

    Attributes:
        next: the chunk to look at.
    """

    def __init__(
        self,
        tell: Callable[[Finding], object] | None,
        stream: tuple[Any, ...],
        share: Share,
        chunk: int,
        functions: bool = True,
    ) -> None:
        self._tell = tell
        self._stream = stream
        self._items = share.chunk
        self._kept = kept_globals if functions else nullcontext
        self._every = _EVERY * share.count
        self.next = _NEVER if tell is None else self._looked_at(chunk)

    def _looked_at(self, chunk: int) -> int:
        """Return the first chunk at or behind one that is looked at."""
        power = 1 << (chunk - 1).bit_length() if chunk > 0 else 0
        return min(power, -(-chunk // self._every) * self._every)

    def saw(self, item: Any) -> None:
        """Tell of the first item of the chunk that was to be looked at."""
        assert self._tell is not None
        if item is not HOLE and type(item) is not Lossy:  # it may have failed here, and not elsewhere
            self._tell(Finding(self._stream, self.next * self._items + 1, digest=_digest(item)))
        self.next = self._looked_at(self.next + 1)

    def look(self, up: Stream[Any]) -> bool:
        """Take the first item of a chunk that is another's; tell whether there is one."""
        with self._kept():
            for item in up.it:
                self.saw(item)
                return True
        return False

    def ended(self, least: int, most: int) -> None:
        """Tell how many items there were."""
        if self._tell is not None:
            self._tell(Finding(self._stream, least, most))


class Witness:
    """What is known of the streams of one epoch."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._streams: dict[tuple[Any, ...], _Known] = {}

    def hear(self, said: Finding, by: str) -> None:
        """Take what one of those who divide a stream says of it.

        Raises:
            DifferentData: another one has said something else.
        """
        with self._lock:
            known = self._streams.setdefault(said.stream, _Known())
            known.hear(said, by)

    def mark(self, *, whole: bool) -> tuple[int, int, int]:
        """Return what is quickly compared: a digest, how many items there are at least, and how many at most.

        Those who know the same have the same digest; where there are several streams, so must the numbers be. The
        digest is of the first item of each stream, or of the ``whole`` of what is known.
        """
        with self._lock:
            known = sorted(self._streams.items(), key=repr)
            marks = [(stream, each.digests(None if whole else 1)) for stream, each in known]
            bounds = [each.bounds for _, each in known]
        alone = len(bounds) == 1
        digest = zlib.crc32(repr((marks, None if alone else bounds)).encode())
        return (digest, *(bounds[0] if alone else (0, _NEVER)))

    def said(self) -> list[Finding]:
        """Return what is known, for others to hear."""
        with self._lock:
            return [each for stream, known in self._streams.items() for each in known.said(stream)]


class _Known:
    """What is known of one stream, and by whom."""

    def __init__(self) -> None:
        self._least: tuple[int, str] = (0, "")
        self._most: tuple[int, str] = (_NEVER, "")
        self._digests: dict[int, tuple[int, str]] = {}

    def hear(self, said: Finding, by: str) -> None:
        point = said.stream[0]
        self._least = max(self._least, (said.least, by), key=lambda bound: bound[0])
        self._most = min(self._most, (said.most, by), key=lambda bound: bound[0])
        if self._least[0] > self._most[0]:
            raise DifferentData(
                f"{self._least[1]} found at least {self._least[0]} items ahead of {point!r}, and {self._most[1]} at "
                f"most {self._most[0]}. {_ADVICE}"
            )
        if said.digest is None:
            return
        digest, other = self._digests.setdefault(said.least, (said.digest, by))
        if digest != said.digest:
            raise DifferentData(
                f"{other} and {by} found different items ahead of {point!r}: their item {said.least - 1} is not the "
                f"same. {_ADVICE}"
            )
        if len(self._digests) > _KEPT:
            for place in list(self._digests)[: _KEPT // 2]:
                del self._digests[place]

    @property
    def bounds(self) -> tuple[int, int]:
        return self._least[0], self._most[0]

    def digests(self, count: int | None) -> list[tuple[int, int]]:
        return [(place, digest) for place, (digest, _) in sorted(self._digests.items())[:count]]

    def said(self, stream: tuple[Any, ...]) -> Iterator[Finding]:
        yield Finding(stream, *self.bounds)
        for place, (digest, _) in self._digests.items():
            yield Finding(stream, place, digest=digest)


_ADVICE = (
    "Each takes a share of a sequence of its own, so items are lost and given twice. Give an order to what has none (a "
    "set, a listing), draw random numbers from the loader's seed (shuffle, random_map), and let what must differ stand "
    "behind the sharding point"
)


def _digest(item: Any) -> int:
    return zlib.crc32(_identity(item, _DEPTH))


def _identity(value: Any, depth: int) -> bytes:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, (int, type(None))):
        return repr(value).encode()
    if isinstance(value, str):
        return value[:_CHARACTERS].encode(errors="replace")
    if isinstance(value, bytes):
        return value[:_CHARACTERS]
    if depth and isinstance(value, dict):
        value = [part for pair in list(value.items())[:_ENTRIES] for part in pair]
    if depth and isinstance(value, (list, tuple)):
        return b"[%d" % len(value) + b",".join(_identity(part, depth - 1) for part in value[:_ENTRIES])
    return type(value).__name__.encode()
