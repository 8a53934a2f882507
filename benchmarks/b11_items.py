"""B11: what a small item costs on its way from 2 workers, and how long an item of a slow pipe takes to arrive."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from benchmarks._pair import Side
from benchmarks._side import expect

WORKERS = 2
# How many items a worker may be ahead. With the default of 20, as torchdata has it, a worker and the loop wait for each
# other's wake-up after every 10 items, which costs more than the items themselves (7 to 9 µs an item on 2 cores).
AHEAD = 100
ITEM_S = 0.01


def groups(quick: bool) -> list[list[Side]]:
    return [
        [
            Side("penstock", "µs", penstock, {"size": 50_000 if quick else 500_000, "ahead": AHEAD}),
            Side("penstock, default", "µs", penstock, {"size": 50_000 if quick else 500_000, "ahead": 20}),
            Side("torch DataLoader", "µs", torch_loader, {"size": 5_000 if quick else 20_000}, peer=True),
        ],
        [Side("slow pipe", "ms", slow_pipe, {"size": 60 if quick else 300})],
    ]


def penstock(size: int, ahead: int) -> Iterator[float]:
    from penstock import DataLoader2, MultiProcessingReadingService
    from penstock.pipes import IterableWrapper

    pipe = IterableWrapper(range(size), deepcopy=False).sharding_filter()
    service = MultiProcessingReadingService(WORKERS, worker_prefetch_cnt=ahead // 2, main_prefetch_cnt=ahead // 2)
    return _rounds(DataLoader2(pipe, reading_service=service), size)


def torch_loader(size: int) -> Iterator[float]:
    from torch.utils.data import DataLoader

    loader: Any = DataLoader(
        range(size), batch_size=None, num_workers=WORKERS, multiprocessing_context="fork", persistent_workers=True
    )
    return _rounds(loader, size)


def slow_pipe(size: int) -> Iterator[float]:
    """Milliseconds from when an item of 10 ms was made until the loop has it: the 90th percentile."""
    from penstock import DataLoader2, MultiProcessingReadingService
    from penstock.pipes import IterableWrapper

    pipe = IterableWrapper(range(size)).sharding_filter().map(slow)
    loader: Any = DataLoader2(pipe, reading_service=MultiProcessingReadingService(1))
    while True:
        late_s = sorted(time.monotonic() - made_s for made_s in loader)
        expect(len(late_s), size, "items")
        yield late_s[len(late_s) * 9 // 10] * 1e3


def slow(item: int) -> float:
    time.sleep(ITEM_S)
    return time.monotonic()


def _rounds(loader: Any, size: int) -> Iterator[float]:
    expect(sorted(loader) == list(range(size)), True, "the items")  # and warm-up
    while True:
        start_s = time.perf_counter()
        expect(sum(1 for _ in loader), size, "items")
        yield (time.perf_counter() - start_s) / size * 1e6
