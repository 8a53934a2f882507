"""B12: how long ``shutdown()`` takes in the middle of an epoch, with idle workers and with one in a long call."""

from __future__ import annotations

import time
from collections.abc import Iterator
from time import perf_counter
from typing import TYPE_CHECKING, Any

from benchmarks._pair import Side
from benchmarks._side import expect

if TYPE_CHECKING:
    from penstock import DataLoader2

WORKERS, ITEMS, SLEEP_S = 4, 10_000, 10.0
SETTLE_S = 0.5  # by then the workers are as far ahead as they may be, or in the call


def groups(quick: bool) -> list[list[Side]]:
    return [[Side("shutdown, idle", "s", idle), Side("shutdown, busy", "s", busy)]]


def idle() -> Iterator[float]:
    """Seconds, with every worker waiting until it is asked for more."""
    while True:
        yield shutdown_s(ITEMS)


def busy() -> Iterator[float]:
    """Seconds, with worker 1 in a call that sleeps for 10 s, right behind the batches that were taken."""
    while True:
        yield shutdown_s(WORKERS + 1)


def shutdown_s(sleeping: int) -> float:
    """Take a batch of each worker, wait, shut down; item number ``sleeping`` takes ten seconds."""
    loader = started(sleeping)
    batches = iter(loader)
    expect([next(batches) for _ in range(WORKERS)], [[i] for i in range(WORKERS)], "the first batches")
    time.sleep(SETTLE_S)
    start_s = perf_counter()
    loader.shutdown()
    return perf_counter() - start_s


def started(sleeping: int) -> DataLoader2[Any]:
    from penstock import DataLoader2, IterableWrapper, MultiProcessingReadingService

    def work(item: int) -> int:
        if item == sleeping:
            time.sleep(SLEEP_S)
        return item

    pipe = IterableWrapper(range(ITEMS), deepcopy=False).sharding_filter().map(work).batch(1)
    return DataLoader2(pipe, reading_service=MultiProcessingReadingService(WORKERS))
