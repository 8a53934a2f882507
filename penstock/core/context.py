"""Where a stream runs: which seed and epoch, which share of the work, which process."""

from __future__ import annotations

import contextvars
import dataclasses
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from penstock.core.bad import HOLE, BadSamples, GuardedData, Lossy, without_holes
from penstock.core.errors import GraphError, StateError
from penstock.core.pipe import iterates_itself
from penstock.core.seeds import hash_key
from penstock.core.stream import State, Stream
from penstock.core.walk import describe

if TYPE_CHECKING:
    from penstock.core.calls import Calls
    from penstock.core.feed import Feed
    from penstock.core.pipe import IterDataPipe, Pipe
    from penstock.core.trace import Trace
    from penstock.core.walk import Names
    from penstock.core.witness import Finding

__all__ = ["Context", "Dispatch", "Outlet", "Share", "WorkerInfo", "current_context"]

T = TypeVar("T")


@dataclass(frozen=True)
class WorkerInfo:
    """Which worker of how many this process is (torchdata's two fields, and the rank)."""

    num_workers: int = 1
    worker_id: int = 0
    rank: int = 0
    world_size: int = 1


@dataclass(frozen=True)
class Share:
    """What part of the work a stream does: chunks ``index``, ``index + count``, ... of ``chunk`` items each.

    Blocks and lanes differ only in what the division means. With blocks, ``chunk`` is what one batch is made of and the
    state of any worker serves all of them; with lanes, ``chunk`` is 1 and each lane has a state of its own.

    Attributes:
        lane: the lane that a stream belongs to, None with blocks.
        first: chunks ahead of this one have been delivered, wherever the stream is restored from (blocks only).
        local: the indices that live in this process, and share one pre-shard stream.
        feeds: those pre-shard streams, by sharding point and pass.
        max_skew: how many rounds one local lane may read ahead of another one over a shared stream.
        taken: tells how many chunks the only share of all has given, where somebody counts them anyway.
        ahead: what the point ahead of this one deals out, where there are two: to ranks at the first, and to the lanes
            of a rank at the second.
    """

    count: int = 1
    index: int = 0
    chunk: int = 1
    lane: int | None = None
    first: int = 0
    local: tuple[int, ...] = (0,)
    feeds: MutableMapping[tuple[Any, ...], Feed[Any]] = field(default_factory=dict, compare=False)
    max_skew: int = 256
    taken: Callable[[], int] | None = field(default=None, compare=False)
    ahead: Share | None = None

    @property
    def stride(self) -> tuple[int, int]:
        """How far the places of a lane's items are apart where each step counts for itself, and the first one."""
        if self.lane is None:
            return 1, 0
        return self.count * (self.ahead.count if self.ahead is not None else 1), self.lane

    def alone(self) -> Share:
        """Return the share of a stream that has nothing in common with others of its process."""
        ahead = None if self.ahead is None else self.ahead.alone()
        return dataclasses.replace(self, local=(self.index,), feeds={}, taken=None, ahead=ahead)


@dataclass(frozen=True)
class Outlet:
    """What stands behind the last pipe of a worker's graph.

    A batch that ``pipe`` makes leaves the process at once, so its arrays may be made by ``empty`` where the consumer
    will see them; and they need become tensors only there, so the worker does without torch.
    """

    pipe: str
    empty: Callable[..., Any]


class Dispatch(Protocol):
    """Where lanes get what another process reads for them."""

    def join(
        self,
        feed: tuple[str, Any],
        share: Share,
        start: tuple[int, State],
        alone: Callable[[tuple[int, State]], tuple[Stream[Any], Callable[[], tuple[int, State]]]],
    ) -> tuple[Stream[Any], Callable[[], tuple[int, State]]]:
        """Return the stream of a lane of a feed, and what tells its position; ``alone`` reads without that process."""
        ...

    def ready(self) -> None:
        """Say that every stream that this process reads from the start has been built."""
        ...


@dataclass(frozen=True)
class Context:
    """All that a stream may know beside its pipe.

    Attributes:
        names: the name of each pipe of the graph, by identity, and the pipes.
        seed: of the run. Hashed together with the epoch, so seed 1, epoch 0 has nothing of seed 0, epoch 1.
        epoch: of the run.
        share: what the sharding point deals out to this stream; None ahead of the point.
        passes: which pass of each ``cycle`` around it a stream is in.
        worker: which process this is.
        store: what outlives an epoch, per process and pipe name.
        shared: what several streams of one run have in common: the source of a fork's children.
        dispatch: who deals what stands ahead of a dispatching pipe, in a worker beside a dispatching process.
        thread: whose thread steps the stream: the name of the pipe that works ahead, None for the consumer's.
        outlet: the memory that the graph's last step may write batches into; None in process.
        given: tells how many items the lane has given, or another number that changes with each; None if nobody can.
        witness: takes what is seen of the streams ahead of sharding points, which others divide as well; None if nobody
            compares it.
        report: takes what a pipe of a worker counts for the pipe of its name in the main process; None outside workers.
        trace: set while a failed batch is run again to find out which pipe and item it was.
        bad: what to do with samples that fail; None raises.
        calls: what watches the calls of functions, and what is known to kill; None if nobody has died.
        plain: no service arranges the run.
        loose: what was lost ahead of steps that know no holes, until the next item of the root takes it along.
    """

    names: Names
    seed: int = 0
    epoch: int = 0
    share: Share | None = None
    passes: tuple[tuple[str, int], ...] = ()
    worker: WorkerInfo = WorkerInfo()
    store: dict[str, Any] = field(default_factory=dict, compare=False)
    shared: MutableMapping[Any, Any] = field(default_factory=dict, compare=False)
    dispatch: Dispatch | None = None
    thread: str | None = None
    outlet: Outlet | None = None
    given: Callable[[], int] | None = None
    witness: Callable[[Finding], object] | None = None
    report: Callable[[Any], object] | None = None
    trace: Trace | None = None
    bad: BadSamples | None = None
    calls: Calls | None = None
    plain: bool = False
    loose: Lossy = field(default_factory=lambda: Lossy(HOLE), compare=False)

    def build(
        self,
        pipe: IterDataPipe[T],
        state: State = None,
        *,
        indices: bool = False,
        holes: bool = False,
        own: bool = True,
    ) -> Stream[T]:
        """Build the stream of a source pipe.

        Args:
            pipe: the source.
            state: where it should stand.
            indices: the caller can work on the indices of a MapDataPipe (`Stream.data`) and need not see items.
            holes: the caller passes holes on (see `penstock.core.bad`); from others they are kept away.
            own: run an ``__iter__`` of the user's own, where a subclass has one.
        """
        if own and iterates_itself(type(pipe)):
            from penstock.core.user import user_stream

            stream: Stream[T] = user_stream(pipe, self, state)
        else:
            stream = pipe.build(self, state)
        data: Any = stream.data
        if data is not None and self.bad is not None and type(data) is not GuardedData:
            data = GuardedData(data, self.guarded(pipe, data.__getitem__))
            stream.data = data
        if data is not None and not indices:
            stream = stream.onward((data[i] for i in stream.it), skip=stream.skip, places=stream.places)
        if self.bad is not None and not holes and stream.data is None:
            stream = stream.onward(without_holes(stream.it, self.loose))
        if self.trace is not None:
            self.trace.watch(stream, pipe, self.name(pipe))
        return stream

    def each(self, pipe: Pipe, source: IterDataPipe[Any], state: State, fn: Callable[[Any], Any]) -> Stream[Any]:
        """Return the stream of ``fn(x)`` for each item x of a source, for a pipe that holds nothing."""
        up, fn = self.build(source, state, holes=True), self.guarded(pipe, fn)
        return up.onward((fn(x) for x in up.it), skip=up.skip, places=up.places)

    def guarded(self, pipe: Pipe, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Return a pipe's function of an item as it is to be called: so that a sample may fail, where it may."""
        if self.bad is None:
            return fn
        if self.calls is not None:
            fn = self.calls.watched(self.name(pipe), describe(pipe), fn)
        return self.bad.guarded(fn, self.place(pipe))

    def place(self, pipe: Pipe) -> dict[str, Any]:
        """Return where a pipe runs, for who reads of a sample that failed there."""
        lane = self.share.lane if self.share is not None else None
        worker = {"rank": self.worker.rank, "worker": self.worker.worker_id}
        return {"pipe": self.name(pipe), "epoch": self.epoch, **worker, **({} if lane is None else {"lane": lane})}

    def name(self, pipe: Pipe) -> str:
        """Return the pipe's name in the graph."""
        try:
            return self.names[id(pipe)]
        except KeyError:
            raise GraphError(f"{pipe!r} is not part of the graph that runs; was it made while the graph ran?") from None

    def own(self, pipe: Pipe, state: State) -> Any:
        """Return the pipe's own part of a state, None at the start. StateError if the state is another pipe's."""
        if state is None:
            return None
        name = self.name(pipe)
        if not isinstance(state, dict) or name not in state:
            there = ", ".join(map(repr, state)) if isinstance(state, dict) else repr(state)
            raise StateError(f"the state has {there} where the graph has {name!r}: was it saved by another graph?")
        return state[name]

    def key(self, pipe: Pipe) -> tuple[int, int]:
        """Return the Philox key of a pipe: from seed, epoch, pass and name, and the lane behind a sharding point."""
        lane = (self.share.lane or 0) if self.share is not None else 0
        return hash_key(self.seed, self.epoch, self.passes, lane, self.name(pipe))

    def ahead_of_point(self) -> Context:
        """Return the context of what stands ahead of the sharding point: the same in every worker.

        What is lost there, and not passed on in its place, is counted by one of them.
        """
        counts = self.share is None or 0 in self.share.local
        ahead = None if self.share is None else self.share.ahead
        return dataclasses.replace(self, share=ahead, loose=self.loose if counts else Lossy(HOLE))

    def in_thread(self, pipe: Pipe) -> Context:
        """Return the context of what a pipe steps ahead of what it gives, in a thread of its own as a rule."""
        return dataclasses.replace(self, thread=self.name(pipe))

    def in_pass(self, cycle: str, number: int) -> Context:
        """Return the context of one pass of a ``cycle``. The first is no different from a run without it."""
        return dataclasses.replace(self, passes=(*self.passes, (cycle, number))) if number else self


# Serves pipes that `Pipe.sources` cannot see (one hidden in a closure): they run in the context of whoever runs them.
current_context: contextvars.ContextVar[Context | None] = contextvars.ContextVar("penstock_context", default=None)
