"""How many items an epoch has, over all lanes."""

from __future__ import annotations

from typing import Any

from penstock.core.pipe import IterDataPipe, Pipe, no_length
from penstock.core.plan import plan
from penstock.core.walk import walk
from penstock.pipes.full_sync import FullSync
from penstock.pipes.sharding import ShardingFilter
from penstock.reading_service.base import Place

__all__ = ["graph_length"]


def graph_length(root: IterDataPipe[Any], lanes: int | None, workers: int, place: Place) -> int:
    """Return how many items a rank gives of a graph: with lanes the sum of its own, undivided once for each worker.

    TypeError where a pipe cannot tell.
    """
    longest = isinstance(root, FullSync) and root.policy == "longest"
    if isinstance(root, FullSync):
        root = root.datapipe
    kind, ranks = plan(root).kind, place.world_size
    if kind == "blocks":
        return -(-len(root) // ranks) if longest else len(root) // ranks
    if kind == "whole":
        return len(root) * workers
    lanes = lanes or workers * ranks
    of_ranks = [0] * ranks
    for lane in range(lanes):
        of_ranks[lane % ranks] += len(_one_lane(root, lanes, lane))
    return max(of_ranks) if longest else min(of_ranks)


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
