"""Running a graph in this process: what ``for item in pipe`` does."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Iterator
from itertools import islice
from time import perf_counter
from typing import Any, Generic, TypeVar

from penstock.core.context import Context, Share, WorkerInfo, current_context
from penstock.core.errors import StateError
from penstock.core.pipe import IterDataPipe, Pipe
from penstock.core.plan import Plan, plan
from penstock.core.seeds import draw_seed
from penstock.core.sharing import Child
from penstock.core.stream import State, Stream
from penstock.core.trace import explain
from penstock.core.walk import names

__all__ = ["PipeIterator", "drive", "torch_worker_info"]

T = TypeVar("T")

# A state is kept every so many root items, for the run that explains an error: 16, or as many more as it takes for the
# states to cost so small a share of the time. Most take 2 microseconds; one of a step that holds 10,000 items takes
# 1,500. That run begins at such a state, so it takes up to a thousand times as long as one.
_ANCHOR_EVERY, _ANCHOR_AT_MOST = 16, 1 << 16
_ANCHOR_SHARE = 0.001


def drive(
    root: IterDataPipe[T], ctx: Context, stream: Stream[T], what: str = "item", first: int = 0, step: int = 1
) -> Iterator[T]:
    """Yield the items of a root stream; an exception leaves with notes that say where it came from.

    ``what`` is the notes' word for an item, ``first`` the number of the one that comes next, and ``step`` how far its
    number is from the one behind it.
    """
    it = stream.it
    number = first
    every = _ANCHOR_EVERY
    while True:
        began = perf_counter()
        anchor = stream.state()
        told = perf_counter()
        try:
            for item in it:
                yield item
                break
            else:
                return
            yield from islice(it, every - 1)
        except Exception as error:
            explain(error, root, ctx, anchor, number, every, what, step=step)
            raise
        number += every * step
        if told - began > _ANCHOR_SHARE * (perf_counter() - told):
            every = min(2 * every, _ANCHOR_AT_MOST)


class PipeIterator(Generic[T]):
    """One run over a pipe. Any number of them run side by side, and none changes the pipe.

    ``state_dict()`` and ``load_state_dict()`` save and restore its place, exact to the item.
    """

    def __init__(self, pipe: IterDataPipe[T]) -> None:
        self._pipe = pipe
        self._ctx = _ambient_context(pipe)
        self._begin(None)

    def _begin(self, state: State) -> None:
        # Only a class without an ``__iter__`` of its own comes here, or one that calls ``super().__iter__()``.
        self._stream = self._ctx.build(self._pipe, state, own=False)
        self._items = drive(self._pipe, self._ctx, self._stream)
        # Whoever drops the iterator closes its files and threads at once, also where a cycle holds the stream.
        self._stop = weakref.finalize(self, self._stream.close)
        self._stop.atexit = False

    def __iter__(self) -> PipeIterator[T]:
        return self

    def __next__(self) -> T:
        return next(self._items)

    def state_dict(self) -> dict[str, Any]:
        """Return the place after the last item, as plain JSON values."""
        return {"seed": self._ctx.seed, "epoch": self._ctx.epoch, "state": self._stream.state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a place that `state_dict` returned, of any run over the same graph."""
        from dataclasses import replace

        if not {"seed", "epoch", "state"} <= set(state_dict):
            raise StateError(f"not a state of a pipe's iterator: {sorted(state_dict)}")
        self.close()
        self._ctx = replace(self._ctx, seed=state_dict["seed"], epoch=state_dict["epoch"], shared={})
        if "_iterations" in vars(self._pipe):  # in a worker of torch's: the epoch behind this one is another
            self._pipe._iterations = state_dict["epoch"] + 1  # type: ignore[attr-defined]
        self._begin(state_dict["state"])

    def close(self) -> None:
        """Stop what the run started. Dropping the iterator does the same."""
        self._items.close()  # type: ignore[attr-defined]  # a generator
        self._stop()


def _ambient_context(pipe: IterDataPipe[Any]) -> Context:
    """Return the context of a run that no service arranges.

    Inside a running stream (a pipe that `Pipe.sources` cannot see) it is that stream's own; inside a worker of torch's
    DataLoader the worker takes its share, with a seed that all workers of the epoch agree on.
    """
    running = current_context.get()
    named = names(pipe)
    if running is not None:
        from dataclasses import replace

        share = running.share
        if share is not None:  # its points are its own, also where they have the names of the running graph's
            share = share.alone()
        return replace(running, names=named, share=share, shared={}, witness=None, report=None, trace=None)
    info = torch_worker_info()
    if info is None:
        return Context(named, seed=_agreed_seed(named.pipes), share=Share(), plain=True)
    passes = vars(pipe).get("_iterations", 0)  # a persistent worker keeps its seed, so epochs are counted here
    pipe._iterations = passes + 1  # type: ignore[attr-defined]  # nothing but this function knows it
    division = Plan("lanes") if any(each.splits_itself for each in named.pipes) else plan(pipe)
    share = Share(
        info.num_workers,
        info.id,
        division.chunk,
        lane=None if division.kind == "blocks" else info.id,
        local=(info.id,),
    )
    worker = WorkerInfo(info.num_workers, info.id)
    seed = getattr(info, "seed", info.id) - info.id  # one that stands for torch's may have none
    return Context(named, seed=seed, epoch=passes, share=share, worker=worker, plain=True)


def _agreed_seed(pipes: list[Pipe]) -> int:
    """Return the seed of a plain run: that of the same run over the other children, where it reads only some."""
    mains = {id(pipe.main_datapipe): pipe.main_datapipe for pipe in pipes if isinstance(pipe, Child)}
    for main in mains.values():
        mine = {pipe.index for pipe in pipes if isinstance(pipe, Child) and pipe.main_datapipe is main}
        if len(mine) < main.num_instances:
            return main.turns.seed(mine)
    return draw_seed()


def torch_worker_info() -> Any:
    """Return what torch's DataLoader says of the worker that this process is; None in no worker of one."""
    torch_data: Any = sys.modules.get("torch.utils.data")
    return torch_data.get_worker_info() if torch_data is not None else None
