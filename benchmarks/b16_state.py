"""B16: what states cost: how long `state_dict()` takes, how large it is for a lane, and what asking for it costs a run.

A run that does not keep its state cannot be had: the counts and places are what the pipes run on. What they cost is in
B1's row against C iterators by hand and B2's against a bare ring, which keep none. Here the runs of B1 and B3 are read
with a state taken every 100 batches, beside the same runs that never ask.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import partial
from statistics import median
from typing import Any

from benchmarks import b1_pipeline, b3_small_dicts
from benchmarks._pair import Side
from benchmarks._side import expect, rates

LANES, EVERY = 8, 100


def groups(quick: bool) -> list[list[Side]]:
    items = 50_000 if quick else 500_000
    return [
        [Side("state_dict", "ms", cost, {"what": "ms", "items": items})],
        [Side("state of a lane", "KB", cost, {"what": "KB", "items": items})],
        *(
            [
                Side(f"{bench}, {how}", "batches/s", rounds, {"bench": bench, "asked": how == "asked", "items": items})
                for how in ("asked", "never asked")
            ]
            for bench in ("B1", "B3")
        ),
    ]


def cost(what: str, items: int) -> Iterator[float]:
    """The median of a hundred states, in the middle of an epoch of shuffled lanes on 2 workers."""
    from penstock import DataLoader2, MultiProcessingReadingService
    from penstock.pipes import IterableWrapper

    pipe = IterableWrapper(range(items), deepcopy=False).shuffle().sharding_filter().filter(b1_pipeline.not_by_three)
    pipe = pipe.shuffle(buffer_size=1_000).batch(32)
    with DataLoader2(pipe, reading_service=MultiProcessingReadingService(2, lanes=LANES)) as loader:
        while True:
            took_s, sizes = [], []
            for number, _ in enumerate(loader):
                if 200 < number <= 300:
                    begin_s = time.perf_counter()
                    state = loader.state_dict()
                    took_s.append(time.perf_counter() - begin_s)
                    sizes.append(len(json.dumps(state)) / LANES / 1024)
            expect(len(took_s), 100, "states")
            yield median(took_s) * 1e3 if what == "ms" else max(sizes)


def rounds(bench: str, asked: bool, items: int) -> Iterator[float]:
    """Batches a second of a loader over the graph of B1 in process, or of B3 on 2 workers."""
    from penstock import DataLoader2, MultiProcessingReadingService
    from penstock.pipes import IterableWrapper

    source: Any = IterableWrapper(range(items), deepcopy=False)
    if bench == "B1":
        pipe = source.map(b1_pipeline.add_one).filter(b1_pipeline.not_by_three)
        pipe = pipe.shuffle(buffer_size=b1_pipeline.WINDOW).sharding_filter().batch(b1_pipeline.BATCH)
        loader: Any = DataLoader2(pipe)
    else:
        pipe = source.sharding_filter().map(partial(b3_small_dicts.pick, b3_small_dicts.samples()))
        pipe = pipe.batch(b3_small_dicts.BATCH).collate()
        loader = DataLoader2(pipe, reading_service=MultiProcessingReadingService(2))

    def epoch() -> float:
        count = 0
        for _ in loader:
            count += 1
            if asked and count % EVERY == 0:
                expect(loader.state_dict()["delivered"], count, "delivered")
        return count

    try:
        yield from rates(epoch)
    finally:
        loader.shutdown()
