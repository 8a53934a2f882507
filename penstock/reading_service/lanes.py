"""The lanes of one process, or its blocks: several streams over one graph, read in rounds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple, Protocol

from penstock.core.bad import with_losses
from penstock.core.calls import Calls
from penstock.core.context import Context, Dispatch, Outlet, Share, WorkerInfo
from penstock.core.pipe import IterDataPipe
from penstock.core.plan import Plan
from penstock.core.seeds import hash_key, seed_globals
from penstock.core.stream import State, Stream
from penstock.core.trace import Trace, explain
from penstock.core.walk import names, runs_functions, walk
from penstock.core.witness import Finding
from penstock.reading_service.base import Place, Progress, Run, turns

__all__ = ["END", "Delivery", "Making", "begun", "catch_up", "lane_context", "own_lanes", "read_lanes"]


class _End:
    """Stands for the end of a lane."""


END = _End()

# A state is kept every so many items of a lane, for the run that explains an error; less often where it takes long.
_ANCHOR_EVERY, _ANCHOR_AT_MOST = 16, 1 << 16
_CHEAP_S = 2e-5


class Delivery(NamedTuple):
    """An item, the lane it is from, and what tells the lane's state after it, until the next delivery is asked for."""

    lane: int
    tell: Callable[[], State]
    item: Any


class Making(Protocol):
    """Tells which item is being made, for who looks from another thread."""

    def place(self) -> str: ...


def own_lanes(progress: Progress, worker: WorkerInfo) -> tuple[int, ...]:
    """Return the lanes of one worker; with blocks its one share."""
    among = _among_all(worker)
    return (among.rank,) if progress.kind == "blocks" else tuple(among.lanes(progress.lanes))


def _among_all(worker: WorkerInfo) -> Place:
    """Return a worker's place among the workers of all ranks: what is dealt goes round the ranks first."""
    return Place(worker.rank + worker.world_size * worker.worker_id, worker.world_size * worker.num_workers)


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
    given: Callable[[], int] | None = None,
    witness: Callable[[Finding], object] | None = None,
    report: Callable[[Any], object] | None = None,
    calls: Calls | None = None,
) -> Context:
    """Return the context of one lane; with blocks, of one worker's share (see `own_lanes`)."""
    progress, feeds = run.progress, {} if feeds is None else feeds
    if progress.kind == "blocks":
        share = Share(_among_all(worker).world_size, lane, plan.chunk, first=progress.next, local=local, feeds=feeds)
    elif progress.groups:
        groups, group = progress.groups, lane % progress.groups
        first = Share(groups, group, lane=group, local=tuple(sorted({each % groups for each in local})), feeds=feeds)
        mine = tuple(each // groups for each in local if each % groups == group)
        share = Share(progress.lanes // groups, lane // groups, lane=lane, local=mine, feeds=feeds, ahead=first)
    else:
        share = Share(progress.lanes, lane, lane=lane, local=local, feeds=feeds)
    return Context(
        names(root),
        seed=run.seed,
        epoch=run.epoch,
        share=share,
        worker=worker,
        outlet=outlet,
        bad=run.bad,
        given=given,
        witness=witness,
        report=report,
        calls=calls,
    )


def begun(root: IterDataPipe[Any], ctx: Context, progress: Progress, lane: int) -> Stream[Any]:
    """Return the stream of a lane where its state says."""
    state = progress.states.get("0" if progress.kind == "blocks" else str(lane))
    stream: Stream[Any] = ctx.build(root, state, holes=True)
    if ctx.bad is not None:
        stream.it = with_losses(stream.it, ctx.loose)
    return stream


def catch_up(stream: Stream[Any], ctx: Context, progress: Progress, lane: int) -> None:
    """Pass over the items of a lane that were given since its state was taken; for blocks see `Share.first`."""
    behind = progress.behind.get(str(lane), 0)
    if behind:
        stream.skip(behind)
        ctx.loose.losses.clear()  # they have been counted, with the items


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
    before_item: Callable[[Making], None] = lambda making: None,
    dispatch: Dispatch | None = None,
    witness: Callable[[Finding], object] | None = None,
    report: Callable[[Any], object] | None = None,
    calls: Calls | None = None,
) -> Iterator[Delivery]:
    """Yield the items of the lanes in ``local``, in rounds; a lane's last delivery has `END` for an item.

    Args:
        root: the graph.
        plan: how it divides.
        run: the epoch, and where to begin.
        local: the lanes that this worker owns; with blocks its one share (see `own_lanes`).
        worker: which process this is.
        outlet: what the root may write its batches into.
        own_globals: seed ``random``, ``numpy.random`` and torch, where the graph has a function that could use them:
            for each block, or once with lanes.
        record: run traced, and call this with the name of each pipe that is entered.
        before_item: called ahead of each item, with what tells its place; may raise to leave.
        dispatch: the way to the dispatching process, if there is one.
        witness: takes what is seen of the streams ahead of sharding points.
        report: takes what pipes count for those of their names in the main process.
        calls: what watches the calls of functions, behind a worker that was lost.
    """
    progress = run.progress
    alive = tuple(progress.alive(local))
    feeds: dict[Any, Any] = {}
    contexts: dict[int, Context] = {}
    streams: dict[int, Stream[Any]] = {}
    anchors: dict[int, _Anchor] = {}
    blocks = progress.kind == "blocks"
    own_globals = own_globals and any(map(runs_functions, walk(root)))

    def given(lane: int) -> int:
        anchor = anchors.get(lane)
        return anchor.number + anchor.given * anchor.step if anchor is not None else -1

    try:
        for lane in alive:
            ctx = lane_context(
                root, plan, run, lane, alive,
                worker=worker, outlet=outlet, feeds=feeds, given=partial(given, lane), witness=witness, report=report,
                calls=calls,
            )  # fmt: skip
            if record is not None:
                ctx = dataclasses.replace(ctx, trace=Trace(record))
            elif dispatch is not None:
                ctx = dataclasses.replace(ctx, dispatch=dispatch)
            contexts[lane] = ctx
            streams[lane] = begun(root, ctx, progress, lane)
        if dispatch is not None:
            dispatch.ready()
        for lane in alive:
            catch_up(streams[lane], contexts[lane], progress, lane)
        if own_globals and not blocks:
            seed_globals(hash_key(run.seed, run.epoch, "globals", worker.rank, worker.worker_id))
        among = _among_all(worker)
        step, block = (among.world_size, among.first_block(progress.next)) if blocks else (1, 0)
        anchors = {
            lane: _Anchor(stream.state, None if blocks else lane, block or progress.given.get(str(lane), 0), step)
            for lane, stream in streams.items()
        }
        order = list(alive)

        def seed_block(number: int) -> None:
            if own_globals and blocks:
                seed_globals(hash_key(run.seed, run.epoch, "globals", number))

        for lane in turns(order, progress.given):
            stream, anchor = streams[lane], anchors[lane]
            before_item(anchor)
            seed_block(block)
            if anchor.given >= anchor.every:
                anchor.tell()
            try:
                for item in stream.it:  # noqa: B007  # used behind the loop: this takes one item, or sees the end
                    break
                else:
                    stream.close()
                    order.remove(lane)
                    yield Delivery(lane, anchor.last, END)
                    continue
            except Exception as error:
                if record is None:
                    what = "batch" if blocks else "item"
                    ctx, limit = contexts[lane], anchor.given + 1
                    explain(
                        error, root, ctx, anchor.state, anchor.number, limit, what,
                        step=anchor.step, before_item=seed_block,
                    )  # fmt: skip
                raise
            anchor.given += 1
            block += step
            yield Delivery(lane, anchor.tell, item)
            del item
    finally:
        for stream in streams.values():
            stream.close()


class _Anchor:
    """A lane's state, not far behind: for who asks, and for the run that explains an error."""

    def __init__(self, state: Callable[[], State], lane: int | None, number: int, step: int) -> None:
        self._tell = state
        self.lane = lane  # None with blocks
        self.number = number  # of the item that comes next behind `state`
        self.step = step
        self.given = 0  # items since
        self.every = _ANCHOR_EVERY
        self.state = state()

    def tell(self) -> State:
        """Return the state after the last item. Asked between two items."""
        self.number += self.given * self.step
        self.given = 0
        began = perf_counter()
        self.state = self._tell()
        if perf_counter() - began > _CHEAP_S:
            self.every = min(2 * self.every, _ANCHOR_AT_MOST)
        return self.state

    def place(self) -> str:
        """Say which item is being made. Any thread may ask."""
        number = self.number + self.given * self.step
        return f"batch {number}" if self.lane is None else f"item {number} of lane {self.lane}"

    def last(self) -> State:
        """Return a state that was told before: behind a lane's end there is none."""
        return self.state
