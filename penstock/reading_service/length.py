"""How many items an epoch has, over all lanes."""

from __future__ import annotations

from typing import Any

from penstock.core.pipe import IterDataPipe, Pipe, no_length
from penstock.core.plan import plan
from penstock.core.walk import walk
from penstock.pipes.sharding import ShardingFilter

__all__ = ["graph_length"]


def graph_length(root: IterDataPipe[Any], lanes: int, workers: int) -> int:
    """Return the length of the graph: with lanes the sum of theirs, undivided once for each worker.

    TypeError where a pipe cannot tell.
    """
    kind = plan(root).kind
    if kind == "blocks":
        return len(root)
    if kind == "whole":
        return len(root) * workers
    return sum(len(_one_lane(root, lanes, lane)) for lane in range(lanes))


def _one_lane(root: IterDataPipe[Any], lanes: int, lane: int) -> Any:
    new: dict[int, Pipe] = {}
    for pipe in walk(root):
        copied = pipe.with_sources(*(new[id(source)] for source in pipe.sources))
        if isinstance(copied, ShardingFilter) and copied.is_applied:
            raise no_length(root)
        if isinstance(copied, ShardingFilter):
            copied = copied.named(copied._name or "sharding_filter")
            copied.apply_sharding(lanes, lane)
        new[id(pipe)] = copied
    return new[id(root)]
