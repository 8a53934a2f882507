"""B16: what states cost: how long `state_dict()` takes, how large it is for a lane, and what they cost a run.

The runs are those of B1 to B3. What keeping costs is what a run that is never asked takes longer than one that keeps no
state. The library has no such run, so some functions of it are replaced for that: nothing is counted at the sharding
point, workers send no states, none are kept to explain an error from, and nothing is digested. What is left are places
that the pipes run on anyway. And a run that is asked every 100 batches (of B1 that is a thousand times a second) takes
turns with one that never is, and with one that keeps none.

A round's number is by how much the first run takes longer. Both are epochs of the same loader and workers, so that they
differ in nothing else, and it is the median over pairs of them, since what the machine itself gives changes by the
second.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

from benchmarks import b1_pipeline, b2_transport, b3_small_dicts
from benchmarks._pair import Side
from benchmarks._side import expect

LANES, EVERY = 8, 100
PAIRS = 20
BATCHES = {"B1": 10_000, "B2": 200, "B3": 3_000}  # as many as theirs, or nearly: an epoch's first 16 cost more
KEPT, ASKED = "kept, and none kept", "asked, and never asked"
PAIRED = (KEPT, ASKED, "asked, and none kept")


def groups(quick: bool) -> list[list[Side]]:
    items = 50_000 if quick else 500_000
    return [
        [Side("state_dict", "ms", cost, {"what": "ms", "items": items})],
        [Side("state of a lane", "KB", cost, {"what": "KB", "items": items})],
        *(
            [Side(f"{bench}: {what}", "% longer", rounds, {"bench": bench, "what": what, "quick": quick})]
            for bench in BATCHES
            for what in PAIRED
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


def rounds(bench: str, what: str, quick: bool) -> Iterator[float]:
    """By how much an epoch takes longer whose states are kept, or asked for every 100 batches."""
    batches, pairs = BATCHES[bench], 2 if quick else PAIRS
    with tempfile.TemporaryDirectory() as folder, loader(bench, batches, f"{folder}/none") as run:

        def epoch_s(first: bool) -> float:
            keep(first or what == ASKED, f"{folder}/none")
            ask = first and what != KEPT
            begin_s = time.perf_counter()
            count = 0
            for _ in run:
                count += 1
                if count % EVERY == 0 and ask:
                    expect(run.state_dict()["delivered"], count, "delivered")
            took_s = time.perf_counter() - begin_s
            expect(count, batches, "batches")
            return took_s

        epoch_s(True)
        while True:
            ratios = []
            for pair in range(pairs):
                took_s = {first: epoch_s(first) for first in ((True, False) if pair % 2 else (False, True))}
                ratios.append(took_s[True] / took_s[False])
            yield (median(ratios) - 1) * 100


def loader(bench: str, batches: int, none: str) -> Any:
    """Return a loader over the graph of B1 in process, or of B2 or B3 on 2 workers, which look at ``none``."""
    from penstock import DataLoader2, MultiProcessingReadingService

    if bench == "B1":
        return DataLoader2(b1_pipeline.graph(batches * b1_pipeline.BATCH * 3 // 2))
    graph = b2_transport.graph(batches, "uint8") if bench == "B2" else b3_small_dicts.graph(batches)
    service = MultiProcessingReadingService(2, worker_reset_fn=partial(look, none))
    return DataLoader2(graph, reading_service=service)


def keep(yes: bool, none: str) -> None:
    """Keep states in the epochs to come, or none: here, and in workers, which look whether there is such a file."""
    Path(none).unlink(missing_ok=True)
    if not yes:
        Path(none).touch()
    look(none)


def look(none: str, *_: Any) -> None:
    patch.stopall()
    if Path(none).exists():
        for target, instead in INSTEAD.items():
            patch(target, instead).start()


def uncounted(it: Iterator[Any], start: int = 0) -> tuple[Iterator[Any], Callable[[], int]]:
    return it, lambda: start


INSTEAD = {
    "penstock.core.strides.counted": uncounted,
    "penstock.core.iterate._ANCHOR_EVERY": sys.maxsize,
    "penstock.loader2.iterator.folded": lambda digest, item: digest,
    "penstock.reading_service.lanes._ANCHOR_EVERY": sys.maxsize,
    "penstock.reading_service.outbox.Outbox._states": lambda outbox, lanes: {},
}
