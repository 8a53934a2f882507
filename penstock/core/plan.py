"""How a graph divides at its sharding point: into blocks or into lanes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from penstock.core.pipe import OTHER, IterDataPipe, Pipe
from penstock.core.walk import walk

__all__ = ["Plan", "plan", "samples_per_item"]


@dataclass(frozen=True)
class Plan:
    """What a service must know about a graph before it divides it.

    Attributes:
        kind: ``blocks`` where whole batches are dealt out, ``lanes`` where the streams behind the point are
            independent, ``whole`` where nothing divides the graph.
        chunk: how many items at the sharding point make one item of the root (blocks only).
        because: the pipe that made it lanes.
        nested: there are two points on a path: the first divides among ranks, the second among the lanes of each.
    """

    kind: Literal["blocks", "lanes", "whole"]
    chunk: int = 1
    because: Pipe | None = None
    nested: bool = False


def plan(root: Pipe) -> Plan:
    """Tell how the graph divides.

    Blocks need exactly one sharding point, on every path to the root, with only unary steps of a known arity behind it.
    """
    points = [pipe for pipe in walk(root) if pipe.is_sharding_point]
    if not points:
        return Plan("whole")
    if len(points) > 1:
        nested = any(pipe is not point and pipe.is_sharding_point for point in points for pipe in walk(point))
        return Plan("lanes", because=points[1], nested=nested)
    pipe, chunk = root, 1
    while pipe is not points[0]:
        # A MapDataPipe beside the source is a table in which items are looked up: items do not come from it.
        sources = [source for source in pipe.sources if isinstance(source, IterDataPipe)]
        if len(sources) != 1 or pipe.arity == OTHER:
            return Plan("lanes", because=pipe)
        chunk *= pipe.arity
        pipe = sources[0]
    # A point that the user wrote divides by itself (`apply_sharding`), item by item: every lane needs its own stream.
    own = getattr(type(pipe), "deals_chunks", False)
    return Plan("blocks", chunk) if own else Plan("lanes", because=pipe)


def samples_per_item(root: Pipe) -> int:
    """Return how many samples an item of a graph stands for: the product of its batch sizes, from the root up."""
    pipe, samples = root, 1
    while pipe.arity != OTHER:
        samples *= pipe.arity
        sources = [source for source in pipe.sources if isinstance(source, IterDataPipe)]
        if len(sources) != 1:
            break
        pipe = sources[0]
    return samples
