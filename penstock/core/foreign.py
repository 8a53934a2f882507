"""torch's own DataPipes as sources.

A torch pipe holds its position, its buffers and its random generators itself, so every stream runs a copy of the torch
graph, as it was when our pipe was made of it. What is inside takes part in the run as far as torch's protocols go:

- ``apply_sharding``: a sharding filter in the torch graph divides the work there. Our pipe is then a sharding point.
- ``set_seed``: each random pipe gets a seed from the run's seed, the epoch and its place in the torch graph. Ahead of
  the torch graph's sharding filters it is the same in every worker.

A torch pipe cannot say where it stands, so it is restored by replay, from the start of the epoch.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from typing import Any

from penstock.core.context import Context
from penstock.core.errors import GraphError, StateError
from penstock.core.pipe import IterDataPipe, MapDataPipe, Pipe
from penstock.core.seeds import hash_key
from penstock.core.stream import State, Stream, counted
from penstock.core.user import _in_context
from penstock.core.walk import describe

__all__ = ["TorchIterDataPipe", "TorchMapDataPipe", "wrapped"]

# Where torch's sources keep their data. It is shared by all copies: torch's IterableWrapper copies it by itself.
_DATA = ("iterable", "sequence")


def wrapped(value: object) -> Pipe | None:
    """Return a pipe that stands for a torch pipe; None where it is none. torch is not imported for that."""
    torch_pipes: Any = sys.modules.get("torch.utils.data.datapipes.datapipe")
    if torch_pipes is None:
        return None
    if isinstance(value, torch_pipes.IterDataPipe):
        return TorchIterDataPipe(value)
    return TorchMapDataPipe(value) if isinstance(value, torch_pipes.MapDataPipe) else None


class TorchIterDataPipe(IterDataPipe[Any]):
    """Yield what a torch ``IterDataPipe`` yields.

    Args:
        torch_datapipe: the end of a torch graph.

    State: how many items it has given; they are replayed.
    """

    def __init__(self, torch_datapipe: Any) -> None:
        self.torch_datapipe = torch_datapipe
        self.torch_type = type(torch_datapipe).__name__
        inside = _torch_graph(torch_datapipe)
        self._divides = any(hasattr(pipe, "apply_sharding") for pipe in inside)
        self.shuffles = any(hasattr(pipe, "set_shuffle") for pipe in inside)  # for lint

    @property
    def is_sharding_point(self) -> bool:
        """Whether the torch graph divides the work."""
        return self._divides

    def __len__(self) -> int:
        return len(self.torch_datapipe)

    def build(self, ctx: Context, state: State = None) -> Stream[Any]:
        """Return a stream over a copy of the torch graph."""
        name = ctx.name(self)
        begun: int = ctx.own(self, state) or 0
        torch_datapipe = _copied(self)
        _share(torch_datapipe, ctx)
        _seed(torch_datapipe, self, ctx)

        def check(done: int) -> None:
            if done < begun:
                raise StateError(f"{name!r} gave {begun} items when the state was saved, and now only {done}")

        run = _in_context(_begun_when_read(torch_datapipe), ctx, begun, check)
        items, given = counted(run, begun)
        return Stream(items, lambda: {name: given()} if given() else None, closers=(run,))


class TorchMapDataPipe(MapDataPipe[Any]):
    """Give what a torch ``MapDataPipe`` gives."""

    def __init__(self, torch_datapipe: Any) -> None:
        self.torch_datapipe = torch_datapipe
        self.torch_type = type(torch_datapipe).__name__

    def __getitem__(self, index: Any) -> Any:
        return self.torch_datapipe[index]

    def __len__(self) -> int:
        return len(self.torch_datapipe)


def _begun_when_read(torch_datapipe: Any) -> Iterator[Any]:
    """Yield the items. ``iter`` makes a torch pipe open things, and draw seeds: that can wait for the first item."""
    yield from torch_datapipe


def _torch_graph(root: Any) -> list[Any]:
    """Return the pipes of a torch graph, each once, the root first: those in attributes, lists, tuples and dicts.

    torch finds them by pickling the graph, which takes as long as its data is big, and fails on lambdas.
    """
    torch_pipes: Any = sys.modules["torch.utils.data.datapipes.datapipe"]
    families = (torch_pipes.IterDataPipe, torch_pipes.MapDataPipe)
    found: dict[int, Any] = {}
    stack: list[tuple[Any, int]] = [(root, 0)]
    while stack:
        value, depth = stack.pop()
        if isinstance(value, families):
            if id(value) not in found:
                found[id(value)] = value
                stack.extend((inner, 0) for inner in reversed(list(vars(value).values())))
        elif depth < 3 and type(value) in (list, tuple, dict) and len(value) < 1000:  # a long one is data
            entries = [*value, *value.values()] if isinstance(value, dict) else value
            stack.extend((inner, depth + 1) for inner in reversed(entries))
    return list(found.values())


def _copied(pipe: TorchIterDataPipe) -> Any:
    inside = _torch_graph(pipe.torch_datapipe)
    kept = {id(pipe) for pipe in inside}
    data = [vars(pipe)[key] for pipe in inside for key in _DATA if key in vars(pipe)]
    shared = {id(value): value for value in data if id(value) not in kept}
    try:
        return copy.deepcopy(pipe.torch_datapipe, shared)
    except TypeError as error:
        raise GraphError(
            f"{describe(pipe)} wraps a torch DataPipe, which cannot be copied ({error}), and each stream runs a copy"
        ) from error


def _share(torch_datapipe: Any, ctx: Context) -> None:
    """Let the torch graph's sharding pipes take this stream's share."""
    if ctx.share is None or ctx.share.count == 1:
        return
    for pipe in _torch_graph(torch_datapipe):
        if hasattr(pipe, "apply_sharding"):
            pipe.apply_sharding(ctx.share.count, ctx.share.index)


def _seed(torch_datapipe: Any, pipe: Pipe, ctx: Context) -> None:
    """Give the torch graph's random pipes their seeds."""
    inside = _torch_graph(torch_datapipe)
    points = [one for one in inside if hasattr(one, "apply_sharding")]
    ahead = {id(upstream) for point in points for upstream in _torch_graph(point)}
    for number, one in enumerate(inside):
        if hasattr(one, "set_seed"):
            where = ctx.ahead_of_point() if id(one) in ahead else ctx
            one.set_seed(hash_key(where.key(pipe), number)[0] >> 1)
