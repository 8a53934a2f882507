"""Graphs of which a part must stay in the main process: a pipe that says `is_replicable() == False`, and all behind it.

What stands ahead of such a pipe runs where the service runs graphs. In its place the main process has a source that
reads from there, and whose state is the progress of that reading::

    service's part: ... -> sharding_filter -> batch            main process: (service's items) -> user's pipe -> shuffle
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from penstock.core.context import Context, Share, WorkerInfo
from penstock.core.errors import GraphError, StateError
from penstock.core.iterate import drive
from penstock.core.pipe import IterDataPipe, Pipe
from penstock.core.plan import Plan
from penstock.core.seeds import hash_key
from penstock.core.stream import State, Stream, close
from penstock.core.walk import describe, names, walk
from penstock.reading_service.base import Epoch, Place, Progress, Run, Session, first_progress
from penstock.reading_service.lanes import begun, catch_up

__all__ = ["SplitSession", "replicable_part", "session_of"]


def replicable_part(root: Pipe) -> Pipe | None:
    """Return the part of a graph that the service may run; None if the main process must run all of it.

    Raises:
        GraphError: there are several such parts, and so no order in which to read them.
    """
    stays = _staying(root)
    parts = {id(p): p for pipe in walk(root) if id(pipe) in stays for p in pipe.sources if id(p) not in stays}
    if len(parts) > 1:
        raise GraphError(
            "a graph that stays in the main process in part may read one branch from the workers, and this one reads "
            + " and ".join(map(describe, parts.values()))
        )
    return next(iter(parts.values()), None) if stays else root


def _staying(root: Pipe) -> set[int]:
    """Return which pipes stay in the main process."""
    stays: set[int] = set()
    for pipe in walk(root):
        replicable = getattr(pipe, "is_replicable", None)
        if any(id(source) in stays for source in pipe.sources) or (replicable is not None and not replicable()):
            stays.add(id(pipe))
    return stays


def session_of(root: IterDataPipe[Any], place: Place, start: Callable[[IterDataPipe[Any]], Session]) -> Session:
    """Return a session that runs what it may as ``start`` does, and the rest here."""
    part = replicable_part(root)
    if part is root:
        return start(root)
    return SplitSession(root, part, place, start(part) if isinstance(part, IterDataPipe) else None)


class SplitSession(Session):
    """The main process's part of a graph, over the session that runs the other part. It is one lane of each rank."""

    def __init__(self, root: IterDataPipe[Any], part: Pipe | None, place: Place, inner: Session | None) -> None:
        self.plan = Plan("whole")
        self.place = place
        self.lanes = place.world_size
        self.inner = inner
        stays = _staying(root)
        made: dict[int, Pipe] = {} if part is None else {id(part): _Items().named(part._name or "items")}
        for pipe in walk(root):
            if id(pipe) in stays:
                made[id(pipe)] = pipe.with_sources(*(made[id(source)] for source in pipe.sources))
        self._root: Any = made[id(root)]

    @property
    def restarts(self) -> int:  # type: ignore[override]  # a field elsewhere
        return 0 if self.inner is None else self.inner.restarts

    def epoch(self, run: Run) -> Epoch:
        if run.progress.lanes != self.lanes:
            raise StateError(
                f"the state is of {run.progress.lanes} ranks, and a part of the graph runs in the main process of each "
                f"rank ({describe(self._root)}): it cannot go on with {self.lanes}"
            )
        return _SplitEpoch(self._root, self.inner, run, self.place)

    def close(self) -> None:
        if self.inner is not None:
            self.inner.close()


class _Items(IterDataPipe[Any]):
    """What the other part yields."""

    def build(self, ctx: Context, state: State = None) -> Stream[Any]:
        name = ctx.name(self)
        epoch: Epoch = ctx.shared[_Items](ctx, ctx.own(self, state))
        return Stream(epoch, lambda: {name: epoch.progress.saved()}, closers=(epoch,))


class _SplitEpoch(Epoch):
    def __init__(self, root: IterDataPipe[Any], inner: Session | None, run: Run, place: Place) -> None:
        self._inner = inner
        self._reading: Epoch | None = None
        self._ranks = place.world_size
        worker = WorkerInfo(rank=place.rank, world_size=place.world_size)
        ctx = Context(
            names(root),
            seed=run.seed,
            epoch=run.epoch,
            share=Share(),
            worker=worker,
            shared={_Items: self._begin},
            bad=run.bad,
        )
        self._run = run
        self._start = start = run.progress.of([place.rank])
        self.lane, self._key = place.rank, str(place.rank)
        self._given = start.given.get(self._key, 0)
        self._ended = self._key in start.ended
        self._stream = begun(root, ctx, start, place.rank)
        catch_up(self._stream, ctx, start, place.rank)
        self._items = drive(root, ctx, self._stream, "batch")

    def _begin(self, ctx: Context, progress: Any) -> Epoch:
        """Begin to read the other part; in each pass of a ``cycle`` anew."""
        assert self._inner is not None
        seed = hash_key(ctx.seed, ctx.passes)[0] if ctx.passes else ctx.seed
        fresh = first_progress(self._inner.plan, self._inner.lanes, self._ranks)
        start = Progress(**progress) if progress else fresh
        if self._reading is not None:
            self._reading.close()
        self._reading = self._inner.epoch(replace(self._run, seed=seed, progress=start))
        self.witness = None if ctx.passes else self._reading.witness  # ranks may be in different passes
        return self._reading

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
        given = {self._key: self._given}
        if self._ended:
            return replace(self._start, states={}, given=given, ended={self._key: True})
        return replace(self._start, states={self._key: self._stream.state()}, given=given)

    def close(self) -> None:
        close(self._items)
        self._stream.close()
        if self._reading is not None:
            self._reading.close()
