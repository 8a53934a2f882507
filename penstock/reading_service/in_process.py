"""InProcessReadingService: the graph runs where the loop is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from penstock.core.context import WorkerInfo
from penstock.core.iterate import drive
from penstock.core.pipe import IterDataPipe
from penstock.core.plan import Plan, plan
from penstock.core.stream import State, close
from penstock.core.witness import Witness
from penstock.pipes._gathered import Gathered
from penstock.pipes.prefetcher import Prefetcher
from penstock.reading_service.base import (
    ALONE,
    Epoch,
    Place,
    Progress,
    ReadingService,
    Run,
    Session,
    checked_lanes,
    default_lanes,
)
from penstock.reading_service.hooks import initialized, reset
from penstock.reading_service.lanes import END, begun, catch_up, lane_context, own_lanes, read_lanes
from penstock.reading_service.prepare import prepared

if TYPE_CHECKING:
    from penstock.core.seed_generator import SeedGenerator

__all__ = ["InProcessReadingService"]


class InProcessReadingService(ReadingService):
    """Run the graph in this process, in this thread unless it works ahead.

    The sequence of items is the one that worker processes would give.

    Args:
        prefetch_cnt: how many items a thread may be ahead of the loop; 0 does without it.
        init_fn: called once, with a copy of the graph and a `WorkerInfo`; may return another graph.
        reset_fn: called ahead of each epoch, with the graph, a `WorkerInfo` and a `SeedGenerator`; may return the graph
            that this epoch runs.
        lanes: how many lanes a graph has that does not divide into blocks; one for each rank unless given, or set by a
            restored state.

    Example:
        >>> from penstock import DataLoader2
        >>> from penstock.pipes import IterableWrapper
        >>> with DataLoader2(IterableWrapper([1, 2]), reading_service=InProcessReadingService()) as dl:
        ...     list(dl)
        [1, 2]
    """

    def __init__(
        self,
        prefetch_cnt: int = 0,
        init_fn: Callable[[Any, WorkerInfo], Any] | None = None,
        reset_fn: Callable[[Any, WorkerInfo, SeedGenerator], Any] | None = None,
        *,
        lanes: int | None = None,
    ) -> None:
        if prefetch_cnt < 0:
            raise ValueError(f"prefetch_cnt must not be negative, got {prefetch_cnt}")
        self.prefetch_cnt = prefetch_cnt
        self.init_fn = init_fn
        self.reset_fn = reset_fn
        self.lanes = checked_lanes(lanes)

    def adapt(self, graph: IterDataPipe[Any], *, divided: bool = False) -> IterDataPipe[Any]:
        return prepared(graph, sharded=divided)

    def start(self, graph: IterDataPipe[Any], place: Place = ALONE) -> Session:
        return _InProcessSession(graph, self, place)


class _InProcessSession(Session):
    def __init__(self, graph: IterDataPipe[Any], service: InProcessReadingService, place: Place) -> None:
        self._service = service
        self._worker = WorkerInfo(rank=place.rank, world_size=place.world_size)
        if service.init_fn is not None:
            graph = initialized(service.init_fn, prepared(graph, sharded=False), self._worker, "init_fn")
        self._graph = graph
        self.plan = plan(graph)
        self.lanes = default_lanes(self.plan, service.lanes, place.world_size)

    def epoch(self, run: Run) -> Epoch:
        graph = reset(self._service.reset_fn, self._graph, self._worker, run, "reset_fn")
        division = self.plan if graph is self._graph else plan(graph)
        if self._service.prefetch_cnt:
            graph = Prefetcher(graph, self._service.prefetch_cnt).named("prefetch of the service")
        local = own_lanes(run.progress, self._worker)
        kind = _OneStream if len(local) == 1 else _ManyLanes
        return kind(graph, division, run, local, self._worker)

    def close(self) -> None:
        pass


class _OneStream(Epoch):
    """One stream over the whole graph: nothing stands between it and the loop."""

    def __init__(
        self, graph: IterDataPipe[Any], division: Plan, run: Run, local: tuple[int, ...], worker: WorkerInfo
    ) -> None:
        self._start = start = run.progress.of(local)
        self.lane = lane = local[0]
        self._key = str(lane)
        self._step = worker.world_size
        self._ended = self._key in start.ended
        self._given = 0
        self.witness = Witness()
        ctx = lane_context(
            graph, division, run, lane, local,
            worker=worker, given=lambda: self._given, witness=partial(self.witness.hear, by=f"rank {worker.rank}"),
        )  # fmt: skip
        if start.kind == "blocks" and self._step == 1:
            assert ctx.share is not None
            ctx = replace(ctx, share=replace(ctx.share, taken=lambda: self._given))
        self._stream = begun(graph, ctx, start, lane)
        catch_up(self._stream, ctx, start, lane)
        first = Place(worker.rank, self._step).first_block(start.next) if start.kind == "blocks" else 0
        self._items = drive(graph, ctx, self._stream, "batch", first, self._step if start.kind == "blocks" else 1)

    def __next__(self) -> Any:
        if self._ended:
            raise StopIteration
        for item in self._items:
            self._given += 1
            return item
        self._ended = True
        raise StopIteration

    @property
    def progress(self) -> Progress:  # type: ignore[override]  # computed only when somebody asks
        start, key = self._start, self._key
        if start.kind == "blocks":
            states = {"0": self._stream.state()}
            return Progress("blocks", start.lanes, start.next + self._given * self._step, states)
        given = {key: start.given.get(key, 0) + self._given}
        if self._ended:
            return Progress("lanes", start.lanes, given=given, ended={key: True})
        return Progress("lanes", start.lanes, states={key: self._stream.state()}, given=given)

    def close(self) -> None:
        close(self._items)
        self._stream.close()


class _ManyLanes(Epoch):
    """Several lanes, read in rounds."""

    def __init__(
        self, graph: IterDataPipe[Any], division: Plan, run: Run, local: tuple[int, ...], worker: WorkerInfo
    ) -> None:
        self._progress = run.progress.of(local)
        self._told: dict[str, Callable[[], State]] = {}
        self.witness = Witness()
        self._monitors = Gathered(graph)
        self._items: Iterator[Any] = read_lanes(
            graph, division, run, local,
            worker=worker, witness=partial(self.witness.hear, by=f"rank {worker.rank}"), report=self._monitors.take,
        )  # fmt: skip

    def __next__(self) -> Any:
        for lane, tell, item in self._items:
            key = str(lane)
            if item is not END:
                self._told[key], self.lane = tell, lane
                self._progress.given[key] = self._progress.given.get(key, 0) + 1
                return item
            self._told.pop(key, None)
            self._progress.ended[key] = True
        self._monitors.end()
        raise StopIteration

    @property
    def progress(self) -> Progress:  # type: ignore[override]  # the states are asked for only when somebody wants them
        for key, tell in self._told.items():
            self._progress.states[key] = tell()
            self._progress.behind.pop(key, None)
        return self._progress

    def close(self) -> None:
        close(self._items)
