"""Running graphs in a fixed context, saving after every item, and continuing from there."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import cloudpickle

from penstock.core.context import Context, Share, WorkerInfo
from penstock.core.pipe import IterDataPipe
from penstock.core.plan import Plan, plan
from penstock.core.walk import names
from penstock.reading_service.base import Progress, Run, first_progress, turns
from penstock.reading_service.lanes import END, own_lanes, read_lanes
from penstock.testing import plain

SEED, EPOCH = 5, 2


def context(root: IterDataPipe[Any], count: int = 1, index: int = 0, seed: int = SEED, epoch: int = EPOCH) -> Context:
    """The context of one share of ``count``, in blocks or lanes as the graph divides."""
    division = plan(root)
    lane = index if division.kind == "lanes" and count > 1 else None
    share = Share(count, index, division.chunk if count > 1 else 1, lane=lane, local=(index,))
    return Context(names(root), seed=seed, epoch=epoch, share=share)


def run(root: IterDataPipe[Any], **where: int) -> list[Any]:
    """The items of one run in such a context."""
    stream = context(root, **where).build(root)
    try:
        return [plain(item) for item in stream.it]
    finally:
        stream.close()


def trip(state: Any) -> Any:
    """A state as it comes back from a file."""
    return json.loads(json.dumps(state, allow_nan=False))


def copied(root: Any) -> Any:
    """The graph as another process would get it."""
    return cloudpickle.loads(cloudpickle.dumps(root))


def restores_at_every_index(root: IterDataPipe[Any], **where: int) -> list[Any]:
    """Assert that the rest of a run is the same from the state after every item, and return the items."""
    ctx = context(root, **where)
    stream = ctx.build(root)
    states, items = [trip(stream.state())], []
    for item in stream.it:
        items.append(plain(item))
        states.append(trip(stream.state()))
    stream.close()
    fresh = copied(root)
    for i, state in enumerate(states):
        for graph in (root, fresh):
            here = context(graph, **where)
            restored = here.build(graph, state)
            assert trip(restored.state()) == state, f"the state that was restored at {i} is not the one that was saved"
            for item in restored.it:
                assert plain(item) == items[i], f"the first item from {i} on"
                again = here.build(graph, trip(restored.state()))
                assert [plain(item) for item in again.it] == items[i + 1 :], f"the second restart, at {i + 1}"
                again.close()
                break
            rest = [plain(item) for item in restored.it]
            assert rest == items[i + 1 :], f"the rest from {i} on"
            restored.close()
    return items


def merged(
    root: IterDataPipe[Any], workers: int, progress: Progress, seed: int = SEED
) -> Iterator[tuple[Any, Progress]]:
    """Run a graph as ``workers`` processes would; yield what the loader sees: an item, and the progress after it."""
    division = plan(root)
    progress = Progress(**trip(asdict(progress)))
    streams = [_worker(root, division, Run(seed, EPOCH, progress), worker, workers) for worker in range(workers)]
    order = list(range(workers)) if division.kind == "blocks" else progress.alive(range(progress.lanes))
    if division.kind == "blocks":
        order = [(progress.next + i) % workers for i in order]
    for turn in turns(order, progress.given):
        lane, tell, item = next(streams[turn % workers])
        if item is END:
            if division.kind == "blocks":
                return
            order.remove(turn)
            progress.ended[str(lane)] = True
            continue
        if division.kind == "blocks":
            progress.states = {"0": tell()}
            progress.next += 1
        else:
            assert lane == turn
            progress.states[str(lane)] = tell()
            progress.given[str(lane)] += 1
        yield plain(item), Progress(**trip(asdict(progress)))


def _worker(root: IterDataPipe[Any], division: Plan, whole: Run, worker: int, workers: int) -> Iterator[Any]:
    start = Progress(**trip(asdict(whole.progress)))
    info = WorkerInfo(workers, worker)
    run = Run(whole.seed, whole.epoch, start)
    return read_lanes(copied(root), division, run, own_lanes(start, info), worker=info)


def beginning(root: IterDataPipe[Any], lanes: int) -> Progress:
    return first_progress(plan(root), lanes)


def within(limit_s: float, *, since: float) -> bool:
    """Whether no more than ``limit_s`` have passed since a moment of `time.monotonic`.

    The limit is one of an idle machine. On one that is busy it is stretched by as much as starting an interpreter takes
    longer there, which is what most of the time goes into.
    """
    took_s = time.monotonic() - since
    if took_s < limit_s:
        return True
    starts_s = []
    for _ in range(3):
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        starts_s.append(time.monotonic() - began)
    return took_s < limit_s * max(1.0, sorted(starts_s)[1] / _START_S)


_START_S = 0.03  # of a bare interpreter, on an idle machine that is not quick
