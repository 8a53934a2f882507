"""The lanes of one process, or its blocks: several streams over one graph, read in rounds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from penstock.core.context import Context, Outlet, Share, WorkerInfo
from penstock.core.pipe import IterDataPipe
from penstock.core.plan import Plan
from penstock.core.seeds import hash_key, seed_globals
from penstock.core.stream import State, Stream
from penstock.core.trace import Trace, explain
from penstock.core.walk import names
from penstock.reading_service.base import Progress, Run

__all__ = ["END", "Delivery", "lane_context", "read_lanes", "start_of"]


class _End:
    """Stands for the end of a lane."""


END = _End()


class Delivery(NamedTuple):
    """An item, the lane it is from, and the lane's state after it."""

    lane: int
    state: State
    item: Any


def lane_context(
    root: IterDataPipe[Any],
    plan: Plan,
    run: Run,
    lane: int,
    local: tuple[int, ...],
    *,
    worker: WorkerInfo,
    outlet: Outlet | None = None,
    feeds: dict[Any, Any] | None = None,
) -> Context:
    """Return the context of one lane; with blocks, ``lane`` is the worker's number among ``run.progress.lanes``."""
    share = Share(
        run.progress.lanes,
        lane,
        plan.chunk,
        lane=None if plan.kind == "blocks" else lane,
        local=local,
        feeds={} if feeds is None else feeds,
    )
    return Context(names(root), seed=run.seed, epoch=run.epoch, share=share, worker=worker, outlet=outlet)


def start_of(progress: Progress, lane: int) -> State:
    """Return the state at which a lane begins."""
    return progress.states.get("0" if progress.kind == "blocks" else str(lane))


def read_lanes(
    root: IterDataPipe[Any],
    plan: Plan,
    run: Run,
    local: tuple[int, ...],
    *,
    worker: WorkerInfo,
    outlet: Outlet | None = None,
    own_globals: bool = False,
    record: Callable[[str], None] | None = None,
    before_item: Callable[[], None] = lambda: None,
) -> Iterator[Delivery]:
    """Yield the items of the lanes in ``local``, in rounds; a lane's last delivery has `END` for an item.

    Args:
        root: the graph.
        plan: how it divides.
        run: the epoch, and where to begin.
        local: the lanes that this process owns; with blocks, its one number.
        worker: which process this is.
        outlet: what the root may write its batches into.
        own_globals: seed ``random``, ``numpy.random`` and torch: for each block, or once with lanes.
        record: run traced, and call this with the name of each pipe that is entered.
        before_item: called ahead of each item; may raise to leave.
    """
    progress = run.progress
    alive = tuple(lane for lane in local if lane not in progress.ended)
    feeds: dict[Any, Any] = {}
    contexts: dict[int, Context] = {}
    streams: dict[int, Stream[Any]] = {}
    blocks = progress.kind == "blocks"
    counts = dict.fromkeys(alive, 0)
    try:
        for lane in alive:
            ctx = lane_context(root, plan, run, lane, alive, worker=worker, outlet=outlet, feeds=feeds)
            if record is not None:
                ctx = dataclasses.replace(ctx, trace=Trace(record))
            contexts[lane] = ctx
            streams[lane] = ctx.build(root, start_of(progress, lane))
        if own_globals and not blocks:
            seed_globals(hash_key(run.seed, run.epoch, "globals", worker.rank, worker.worker_id))
        lanes = progress.lanes
        block = progress.next + (alive[0] - progress.next) % lanes if blocks and alive else 0
        states = {lane: stream.state() for lane, stream in streams.items()}
        queue = [lane for lane in alive if blocks or lane >= progress.next]
        order = list(alive)
        while order:
            for lane in queue:
                before_item()
                if own_globals and blocks:
                    seed_globals(hash_key(run.seed, run.epoch, "globals", block))
                stream = streams[lane]
                try:
                    for item in stream.it:  # noqa: B007  # used behind the loop: this takes one item, or sees the end
                        break
                    else:
                        stream.close()
                        order.remove(lane)
                        yield Delivery(lane, states.pop(lane), END)
                        continue
                except Exception as error:
                    number = block if blocks else counts[lane]
                    if record is None:
                        explain(error, root, contexts[lane], states[lane], number, 1, "batch" if blocks else "item")
                    raise
                states[lane] = state = stream.state()
                counts[lane] += 1
                block += lanes
                yield Delivery(lane, state, item)
                del item
            queue = list(order)
    finally:
        for stream in streams.values():
            stream.close()
