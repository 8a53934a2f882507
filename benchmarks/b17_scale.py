"""B17: one worker of 1,024 ranks with 8 workers each, over 100 million items: it passes over what is not its own."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from benchmarks._pair import Side
from benchmarks._side import expect, rates

RANKS, WORKERS, RANK, WORKER = 1024, 8, 700, 5
SIZE, BATCH = 100_000_000, 32


def groups(quick: bool) -> list[list[Side]]:
    args = {"batches": 20 if quick else 300}
    return [[Side(source, "batches/s", rounds, {**args, "source": source}) for source in ("list", "table", "shuffled")]]


def rounds(source: str, batches: int) -> Iterator[float]:
    from penstock.core.context import WorkerInfo
    from penstock.core.plan import plan
    from penstock.pipes import IterableWrapper
    from penstock.pipes.map import SequenceWrapper
    from penstock.reading_service.base import Run, first_progress
    from penstock.reading_service.lanes import own_lanes, read_lanes

    table: Any = SequenceWrapper(range(SIZE), deepcopy=False)
    items: Any = {
        "list": lambda: IterableWrapper(range(SIZE), deepcopy=False),
        "table": table.to_iter_datapipe,
        "shuffled": table.shuffle,
    }[source]()
    root = items.sharding_filter().batch(BATCH)
    division, info = plan(root), WorkerInfo(WORKERS, WORKER, RANK, RANKS)
    start = first_progress(division, RANKS * WORKERS)
    first = (RANK + RANKS * WORKER) * BATCH

    def work() -> float:
        run = Run(5, 0, start)
        reading = read_lanes(root, division, run, own_lanes(start, info), worker=info)
        found = [delivery.item for delivery in islice(reading, batches)]
        expect(len(found), batches, "batches")
        if source != "shuffled":
            expect(found[0], list(range(first, first + BATCH)), "the first batch")
        reading.close()  # type: ignore[attr-defined]  # a generator
        return batches

    return rates(work)
