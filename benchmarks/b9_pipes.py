"""B9: what one more pipe costs an item, against torch's DataPipes: a pass with it, less a pass without it.

And what `prefetch(10)` costs, against torchdata's.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from time import perf_counter, process_time
from typing import Any

from benchmarks._pair import Side
from benchmarks._side import expect, torchdata_09

PIPES = ("map", "filter", "shuffle", "sharding_filter", "fork, zip")
UNIT = "M items/s"


def groups(quick: bool) -> list[list[Side]]:
    pipes = [
        [
            Side(f"penstock {pipe}", UNIT, penstock_pipe, {"size": 200_000 if quick else 1_000_000, "pipe": pipe}),
            Side(f"torch {pipe}", UNIT, torch_pipe, {"size": 50_000 if quick else 200_000, "pipe": pipe}, peer=True),
        ]
        for pipe in PIPES
    ]
    prefetch = [
        Side("penstock prefetch", "µs", penstock_prefetch, {"size": 50_000 if quick else 500_000}),
        Side("torchdata prefetch", "µs", torchdata_prefetch, {"size": 5_000 if quick else 20_000}, peer=True),
    ]
    return [*pipes, prefetch]


def penstock_pipe(size: int, pipe: str) -> Iterator[float]:
    from penstock.pipes import IterableWrapper

    return _rates(size, IterableWrapper(range(size), deepcopy=False), pipe)


def torch_pipe(size: int, pipe: str) -> Iterator[float]:
    from torch.utils.data.datapipes.iter import IterableWrapper

    return _rates(size, IterableWrapper(range(size), deepcopy=False), pipe)


def penstock_prefetch(size: int) -> Iterator[float]:
    from penstock.pipes import IterableWrapper

    return _prefetch(size, IterableWrapper(range(size), deepcopy=False))


def torchdata_prefetch(size: int) -> Iterator[float]:
    torchdata_09()
    from torchdata.datapipes.iter import (  # type: ignore[import-not-found, unused-ignore]  # only the peers have it
        IterableWrapper,
    )

    return _prefetch(size, IterableWrapper(range(size), deepcopy=False))


def _rates(size: int, source: Any, pipe: str) -> Iterator[float]:
    """Items per second of CPU time that the pipe takes."""
    warnings.simplefilter("ignore")
    graph = _graph(source, pipe)
    expect(sum(1 for _ in graph), size, "items")  # and warm-up
    expect(sum(1 for _ in source), size, "items")
    while True:
        yield size / 1e6 / max(_s(process_time, graph, size) - _s(process_time, source, size), 1e-9)


def _graph(source: Any, pipe: str) -> Any:
    if pipe == "map":
        return source.map(same)
    if pipe == "filter":
        return source.filter(yes)
    if pipe == "shuffle":
        return source.shuffle()
    if pipe == "sharding_filter":
        return source.sharding_filter()
    a, b = source.fork(2)
    return a.zip(b)


def _prefetch(size: int, source: Any) -> Iterator[float]:
    """Microseconds an item that prefetch takes more than its source."""
    graph = source.prefetch(10)
    expect(list(graph) == list(range(size)), True, "the items")
    while True:
        yield (_s(perf_counter, graph, size) - _s(perf_counter, source, size)) / size * 1e6


def same(item: int) -> int:
    return item


def yes(item: int) -> bool:
    return True


def _s(clock: Callable[[], float], items: Any, size: int) -> float:
    start_s = clock()
    expect(sum(1 for _ in items), size, "items")
    return clock() - start_s
