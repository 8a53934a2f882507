"""InProcessReadingService: the graph runs where the loop is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from penstock.core.context import WorkerInfo
from penstock.core.iterate import drive
from penstock.core.pipe import IterDataPipe
from penstock.core.plan import Plan, plan
from penstock.core.stream import State
from penstock.pipes.prefetcher import Prefetcher
from penstock.reading_service.base import Epoch, Progress, ReadingService, Run, Session
from penstock.reading_service.hooks import initialized, reset
from penstock.reading_service.lanes import END, begun, catch_up, lane_context, read_lanes
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
        lanes: how many lanes a graph has that does not divide into blocks; 1 unless given, or set by a restored state.

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
        if lanes is not None and lanes < 1:
            raise ValueError(f"lanes must be at least 1, got {lanes}")
        self.prefetch_cnt = prefetch_cnt
        self.init_fn = init_fn
        self.reset_fn = reset_fn
        self.lanes = lanes

    def adapt(self, graph: IterDataPipe[Any]) -> IterDataPipe[Any]:
        return prepared(graph, sharded=False)

    def start(self, graph: IterDataPipe[Any]) -> Session:
        return _InProcessSession(graph, self)


class _InProcessSession(Session):
    def __init__(self, graph: IterDataPipe[Any], service: InProcessReadingService) -> None:
        self._service = service
        if service.init_fn is not None:
            graph = initialized(service.init_fn, prepared(graph, sharded=False), WorkerInfo(), "init_fn")
        self._graph = graph
        self.plan = plan(graph)
        self.lanes = 1 if self.plan.kind == "whole" else service.lanes or 1

    def epoch(self, run: Run) -> Epoch:
        graph = reset(self._service.reset_fn, self._graph, WorkerInfo(), run, "reset_fn")
        division = self.plan if graph is self._graph else plan(graph)
        if self._service.prefetch_cnt:
            graph = Prefetcher(graph, self._service.prefetch_cnt).named("prefetch of the service")
        if run.progress.kind == "blocks" or run.progress.lanes == 1:
            return _OneStream(graph, division, run)
        return _ManyLanes(graph, division, run)

    def close(self) -> None:
        pass


class _OneStream(Epoch):
    """One stream over the whole graph: nothing stands between it and the loop."""

    def __init__(self, graph: IterDataPipe[Any], division: Plan, run: Run) -> None:
        progress = run.progress
        self._ended = 0 in progress.ended
        self._kind = progress.kind
        self._first = progress.next
        run = Run(run.seed, run.epoch, dataclasses.replace(progress, lanes=1))
        ctx = lane_context(graph, division, run, 0, (0,), worker=WorkerInfo())
        self._stream = begun(graph, ctx, run.progress, 0)
        catch_up(self._stream, run.progress, 0)
        self._items = drive(graph, ctx, self._stream, "batch", self._first)
        self._given = 0

    def __next__(self) -> Any:
        if self._ended:
            raise StopIteration
        item = next(self._items)
        self._given += 1
        return item

    @property
    def progress(self) -> Progress:  # type: ignore[override]  # computed only when somebody asks
        blocks = self._kind == "blocks"
        number = self._first + self._given if blocks else 0
        return Progress(self._kind, 1, number, {"0": self._stream.state()}, [0] if self._ended else [])

    def close(self) -> None:
        self._items.close()  # type: ignore[attr-defined]  # a generator
        self._stream.close()


class _ManyLanes(Epoch):
    """Several lanes, read in rounds."""

    def __init__(self, graph: IterDataPipe[Any], division: Plan, run: Run) -> None:
        start = run.progress
        self._progress = dataclasses.replace(
            start, states=dict(start.states), ended=list(start.ended), behind=dict(start.behind)
        )
        self._told: dict[int, Callable[[], State]] = {}
        self._items: Iterator[Any] = read_lanes(graph, division, run, tuple(range(start.lanes)), worker=WorkerInfo())

    def __next__(self) -> Any:
        for lane, tell, item in self._items:
            self._progress.next = (lane + 1) % self._progress.lanes
            if item is not END:
                self._told[lane] = tell
                return item
            self._told.pop(lane, None)
            self._progress.ended.append(lane)
        raise StopIteration

    @property
    def progress(self) -> Progress:  # type: ignore[override]  # the states are asked for only when somebody wants them
        for lane, tell in self._told.items():
            self._progress.states[str(lane)] = tell()
            self._progress.behind.pop(str(lane), None)
        return self._progress

    def close(self) -> None:
        self._items.close()  # type: ignore[attr-defined]  # a generator
