"""Which parts of a graph may run many times, in the manner of torchdata: for services that were written with it.

A pipe that is not *replicable* must run once: one whose ``is_replicable()`` says False, with all that reads from it;
and one at which items are dealt out (`sharding_round_robin_dispatch`), with all that it reads from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from penstock.core.context import Context
from penstock.core.pipe import IterDataPipe, Pipe
from penstock.core.stream import State, Stream
from penstock.graph.traverse import DataPipeGraph, get_all_graph_pipes, traverse_dps

__all__ = [
    "find_lca_non_replicable_dp",
    "find_lca_round_robin_sharding_dp",
    "find_non_dispatching_branches",
    "find_replicable_branches",
]


class _DummyIterDataPipe(IterDataPipe[Any]):
    """Stands where a part of a graph was cut out that runs elsewhere. It has no items of its own."""

    def build(self, ctx: Context, state: State = None) -> Stream[Any]:
        return Stream(iter(()), lambda: None)


def find_lca_round_robin_sharding_dp(graph: DataPipeGraph) -> Pipe | None:
    """Return the first pipe that has every dispatching pipe upstream, or is the only one; None where there is none.

    What branches share a source with a dispatching pipe's must run where that one runs, so these count as well.
    """
    return _join(graph, _dispatches)


def find_lca_non_replicable_dp(graph: DataPipeGraph) -> Pipe | None:
    """Return the first pipe that has upstream, or is, every pipe that must run once; None where there is none.

    Example:
        >>> from penstock.graph import find_lca_non_replicable_dp, traverse_dps
        >>> from penstock.pipes import IterableWrapper
        >>> once = IterableWrapper([1]).sharding_round_robin_dispatch()
        >>> find_lca_non_replicable_dp(traverse_dps(once.map(str)))
        ShardingRoundRobinDispatcher
    """
    return _join(graph, lambda pipe: _dispatches(pipe) or not _is_replicable(pipe))


def find_non_dispatching_branches(graph: DataPipeGraph) -> list[Pipe]:
    """Return the last pipe of each branch in which nothing was cut out (and has a placeholder)."""
    return _branches(graph, lambda pipe: isinstance(pipe, _DummyIterDataPipe))


def find_replicable_branches(graph: DataPipeGraph) -> list[Pipe]:
    """Return the last pipe of each branch that may run many times.

    Example:
        >>> from penstock.graph import find_replicable_branches, traverse_dps
        >>> from penstock.pipes import IterableWrapper, IterDataPipe
        >>> class Once(IterDataPipe):
        ...     def __init__(self, source):
        ...         self.source = source
        ...     def is_replicable(self):
        ...         return False
        ...     def __iter__(self):
        ...         yield from self.source
        >>> find_replicable_branches(traverse_dps(Once(IterableWrapper([1]).map(str)).batch(2)))
        [Mapper]
    """
    return _branches(graph, lambda pipe: isinstance(pipe, _DummyIterDataPipe) or not _is_replicable(pipe))


def _dispatches(pipe: Pipe) -> bool:
    return bool(getattr(pipe, "dispatches", False))


def _is_replicable(pipe: Pipe) -> bool:
    ask: Any = getattr(pipe, "is_replicable", None)
    return ask is None or bool(ask())


def _join(graph: DataPipeGraph, is_one: Callable[[Pipe], bool]) -> Pipe | None:
    """Return the lowest pipe under which all are of which ``is_one`` is true, with all that these read from."""
    once = {
        id(upstream)
        for pipe in get_all_graph_pipes(graph)
        if is_one(pipe)
        for upstream in get_all_graph_pipes(traverse_dps(pipe))
    }
    found: dict[int, Pipe | None] = {}

    def visit(key: int, pipe: Pipe, below: DataPipeGraph) -> Pipe | None:
        if key not in found:
            met = [lower for source in below.items() if (lower := visit(source[0], *source[1])) is not None]
            several = len({id(lower) for lower in met}) > 1
            found[key] = pipe if key in once or several else (met[0] if met else None)
        return found[key]

    ((key, (pipe, below)),) = graph.items()
    return visit(key, pipe, below)


def _branches(graph: DataPipeGraph, cut: Callable[[Pipe], bool]) -> list[Pipe]:
    """Return the highest pipes that are not cut and have no cut upstream, and none of the other ones either."""
    whole: dict[int, bool] = {}
    found: dict[int, tuple[Pipe, DataPipeGraph]] = {}

    def is_whole(key: int, pipe: Pipe, below: DataPipeGraph) -> bool:
        if key not in whole:
            whole[key] = not any([cut(pipe), *(not is_whole(source, *entry) for source, entry in below.items())])
        return whole[key]

    stack = list(graph.items())
    visited: set[int] = set()
    while stack:
        key, (pipe, below) = stack.pop()
        if key in visited:
            continue
        visited.add(key)
        if is_whole(key, pipe, below):
            found[key] = (pipe, below)
        else:
            stack.extend(reversed(below.items()))
    # A child of a fork whose main pipe is a branch is no branch: the main pipe cannot run twice.
    return [pipe for pipe, below in found.values() if not any(id(low) in found for low in get_all_graph_pipes(below))]
