"""What happens to a graph first: what is no pipe becomes one, names, frozen listings, a word about sharding points."""

from __future__ import annotations

import warnings
from typing import Any

from penstock.core.errors import GraphError
from penstock.core.pipe import IterDataPipe, MapDataPipe, Pipe, as_source
from penstock.core.plan import plan
from penstock.core.walk import describe, names, walk
from penstock.pipes.map.to_iter import MapToIterConverter
from penstock.pipes.map.wrapper import SequenceWrapper
from penstock.pipes.sharding import SHARDING_PRIORITIES, ShardingFilter
from penstock.pipes.wrapper import IterableWrapper
from penstock.reading_service.split import replicable_part

__all__ = ["as_pipe", "prepared"]


def as_pipe(data: Any) -> Pipe:
    """Return a pipe as it is, and a torch ``Dataset``, ``IterableDataset`` or DataPipe wrapped. Nothing is copied."""
    data = as_source(data)
    if isinstance(data, Pipe):
        return data
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        return SequenceWrapper(data, deepcopy=False)
    if hasattr(data, "__iter__"):
        return IterableWrapper(data, deepcopy=False)
    raise TypeError(f"a DataPipe or a torch Dataset is expected, but got {type(data).__name__}")


def prepared(graph: Pipe, *, sharded: bool, quiet: bool = False) -> IterDataPipe[Any]:
    """Return a copy of the graph in which every pipe has its name, and no two processes would see different sources.

    Args:
        graph: the user's graph. A MapDataPipe at its end is iterated by index and, if ``sharded``, divided as torch
            divides datasets.
        sharded: the work will be divided; duplicates are worth a warning.
        quiet: but not here.
    """
    named = names(graph)
    inert = _inert_points(graph)
    new: dict[int, Pipe] = {}
    for pipe in walk(graph):
        if id(pipe) in inert:
            new[id(pipe)] = new[id(pipe.sources[0])]
            continue
        copied = pipe.with_sources(*(new[id(source)] for source in pipe.sources)).frozen()
        if isinstance(copied, ShardingFilter) and copied.is_applied:
            copied = copied.kept()
        new[id(pipe)] = copied.named(named[id(pipe)])
    root = new[id(graph)]
    if isinstance(root, MapDataPipe):
        root = MapToIterConverter(root).named("to_iter_datapipe")
        if sharded:
            root = ShardingFilter(root).named("sharding_filter")
    if not isinstance(root, IterDataPipe):
        raise TypeError(f"a DataPipe is expected, but got {type(graph).__name__}")
    part = replicable_part(root)
    division = plan(root if part is None else part)
    if part is None:
        return root
    if sharded and not quiet and division.kind == "whole":
        warnings.warn(
            f"the graph that ends in {describe(graph)} has no sharding point: every worker yields every item. "
            "Add .sharding_filter() as early as possible, behind a .shuffle()",
            stacklevel=5,
        )
    if division.because is not None:
        import logging

        logging.getLogger("penstock").info(
            "%s makes the graph divide into lanes: its order depends on `lanes=`", describe(division.because)
        )
    return root


def _inert_points(graph: Pipe) -> set[int]:
    """Return the sharding points that divide nothing: those on one path with a dispatching pipe, which divides there.

    Raises:
        GraphError: two points on one path, neither of which dispatches: each would give its share of the other's share.
            Unless the first divides among ranks, and the second among workers.
    """
    inert: set[int] = set()
    ahead: dict[int, list[Pipe]] = {}  # the points ahead of each pipe
    for pipe in walk(graph):
        before = list({id(p): p for source in pipe.sources for p in ahead[id(source)]}.values())
        ahead[id(pipe)] = before
        if not pipe.is_sharding_point:
            continue
        ahead[id(pipe)] = [*before, pipe]
        for other in before:
            if not (_dispatches(pipe) or _dispatches(other) or _by_rank_then_worker(other, pipe)):
                raise GraphError(
                    "Sharding twice on a single pipeline is likely unintended and will cause data loss: "
                    f"{describe(other)} stands ahead of {describe(pipe)}"
                )
            if _dispatches(pipe) or _dispatches(other):
                inert |= {id(p) for p in (pipe, other) if not _dispatches(p)}
    return inert


def _by_rank_then_worker(first: Pipe, second: Pipe) -> bool:
    groups = [getattr(point, "sharding_group_filter", None) for point in (first, second)]
    return groups == [SHARDING_PRIORITIES.DISTRIBUTED, SHARDING_PRIORITIES.MULTIPROCESSING]


def _dispatches(pipe: Pipe) -> bool:
    return getattr(pipe, "dispatches", False)
