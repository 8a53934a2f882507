"""The first of some records of text that cannot be parsed, and what pyarrow says of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from penstock.core.errors import DecodeError
from penstock.pipes._record_ends import RecordEnds

__all__ = ["bounds_of", "damage", "first_fault", "reason"]


def bounds_of(ends: RecordEnds, data: bytes) -> list[int]:
    """Return where records begin and end: each begins where the one ahead of it ends."""
    found = [0, *ends.all(data).tolist()]
    return found if found[-1] == len(data) else [*found, len(data)]


def first_fault(
    data: bytes, bounds: list[int], first: int, attempt: Callable[[bytes], Any], *, ahead: bool = False
) -> int | None:
    """Return the number of the first record at fault from ``first`` on, None where there is none.

    Twice as many records are tried each time, then half as many: that takes as long as parsing those ahead of it a few
    times. With ``ahead`` each attempt has all records from the first one on: those that have to fit to each other.
    """

    def fails(low: int, high: int) -> bool:
        try:
            attempt(data[bounds[first if ahead else low] : bounds[high]])
        except damage():
            return True
        return False

    low, step, count = first, 1, len(bounds) - 1
    while low < count and not fails(low, high := min(low + step, count)):
        low, step = high, 2 * step
    if low == count:
        return None
    high = min(low + step, count)
    while high - low > 1:
        middle = (low + high) // 2
        if fails(low, middle):
            high = middle
        else:
            low = middle
    return low


def damage() -> tuple[type[Exception], ...]:
    """Return how pyarrow says that text is not what it should be."""
    import pyarrow as pa

    return pa.ArrowInvalid, UnicodeDecodeError, DecodeError


def reason(error: Exception) -> str:
    """Return what pyarrow says of a record; the number that it has in what was parsed would mislead."""
    said = re.sub(r"Row #\d+: | in row \d+( of the batch)?", "", str(error).strip())
    if re.search("conversion error|changed from|couldn't parse", said):
        said += "; its type is that of the first block of the first file, unless `schema` gives another"
    if "unexpected field" in said:
        said += ": a key that the first block of the first file has not; name `columns`, or give its type in `schema`"
    return said
