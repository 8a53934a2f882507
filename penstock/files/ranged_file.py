"""A file at a URL for readers that seek: a range is one request, and what will be needed is fetched ahead."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable

__all__ = ["RangedFile"]

_TAIL_BYTES = 1 << 16  # of which most footers are
_JOINED_GAP_BYTES = 1 << 18  # reading so much for nothing is cheaper than one more request


class RangedFile(io.RawIOBase):
    """A file of ``size`` bytes, of which ``read(start, stop)`` returns some. Its end is fetched first, and kept.

    Args:
        read: reads a range of bytes.
        size: of the file, in bytes.
    """

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self._read = read
        self._size = size
        self._at = 0
        start = max(size - _TAIL_BYTES, 0)
        self._tail = (start, read(start, size) if size else b"")
        self._kept: list[tuple[int, bytes]] = []

    def fetch(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Fetch ranges that are about to be read, those that lie close together in one go, and forget earlier ones."""
        self._kept = []
        joined: list[list[int]] = []
        for start, stop in sorted(ranges):
            if joined and start - joined[-1][1] <= _JOINED_GAP_BYTES:
                joined[-1][1] = max(joined[-1][1], stop)
            else:
                joined.append([start, stop])
        self._kept = [(start, self._read(start, stop)) for start, stop in joined if start < self._tail[0]]

    def read(self, size: int | None = -1) -> bytes:
        """Return the next bytes, fewer at the end."""
        stop = self._size if size is None or size < 0 else min(self._at + size, self._size)
        start, self._at = self._at, max(self._at, stop)
        if start >= stop:
            return b""
        for begin, data in (self._tail, *self._kept):
            if begin <= start and stop <= begin + len(data):
                return data[start - begin : stop - begin]
        return self._read(start, stop)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, and return it."""
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        """Return the place."""
        return self._at

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def seekable(self) -> bool:
        """Tell that it can seek."""
        return True
