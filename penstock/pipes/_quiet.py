"""A lane that reads on and on without a result is named: a filter behind the sharding point may pass nothing of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import TypeVar

__all__ = ["watched"]

T = TypeVar("T")

# Looked at every so many items, so that what runs for each of them is C (6 ns); named behind so many, or so long.
_LOOK_EVERY, _QUIET_ITEMS, _QUIET_S = 1024, 1 << 16, 30.0


def watched(it: Iterator[T], lane: int, point: str, given: Callable[[], int]) -> Iterator[T]:
    """Return the same items; warn once where many of them pass and the lane's graph gives nothing.

    Args:
        it: what the sharding point deals to the lane.
        lane: its number.
        point: the name of the sharding point.
        given: tells how many items the lane has given at its end, or another number that changes with each.
    """

    def runs() -> Iterator[Iterator[T]]:
        before, read, since_s = given(), 0, 0.0
        for item in it:
            yield chain((item,), islice(it, _LOOK_EVERY - 1))
            now, now_s = given(), time.monotonic()
            if now != before or not read:
                before, read, since_s = now, _LOOK_EVERY, now_s
                continue
            read += _LOOK_EVERY
            if read >= _QUIET_ITEMS or now_s - since_s > _QUIET_S:
                logging.getLogger("penstock").warning(
                    "lane %d has read about %d items from %r without giving any, and reads on: what stands behind that "
                    "pipe passes nothing of this lane (a filter that follows the lanes' stride does this; shuffle "
                    "ahead of the point, or change lanes=)",
                    *(lane, read, point),
                )
                yield it
                return

    return chain.from_iterable(runs())
