"""Which parts of an arena are free. The worker owns this; the main process only says which slots have come back."""

from __future__ import annotations

import bisect
import mmap

__all__ = ["Slots"]


class Slots:
    """First-fit allocation over ``[begin, end)``, in whole pages.

    First fit gives the lowest free slot, so that a consumer who keeps pace sees the same few slots again and again,
    whose pages are mapped and, if small, in the cache. There are a few dozen slots at most, so a list serves.

    Example:
        >>> slots = Slots(0, 8 * mmap.PAGESIZE)
        >>> a, b = slots.take(100), slots.take(5000)
        >>> slots.give(a)
        >>> slots.take(1) == a
        True
    """

    def __init__(self, begin: int, end: int) -> None:
        self._free = [(begin, end)]  # sorted, never touching
        self._taken: dict[int, int] = {}

    def take(self, size: int) -> int | None:
        """Return the offset of a slot of at least ``size`` bytes, None if there is no such room now."""
        size = max(1, -(-size // mmap.PAGESIZE)) * mmap.PAGESIZE
        for i, (begin, end) in enumerate(self._free):
            if end - begin >= size:
                if begin + size == end:
                    del self._free[i]
                else:
                    self._free[i] = (begin + size, end)
                self._taken[begin] = begin + size
                return begin
        return None

    def give(self, begin: int) -> None:
        """Take a slot back."""
        end = self._taken.pop(begin)
        i = bisect.bisect(self._free, (begin, end))
        if i < len(self._free) and self._free[i][0] == end:
            end = self._free.pop(i)[1]
        if i and self._free[i - 1][1] == begin:
            i -= 1
            begin = self._free.pop(i)[0]
        self._free.insert(i, (begin, end))

    def size_of(self, begin: int) -> int:
        """Return how many bytes a taken slot has."""
        return self._taken[begin] - begin
