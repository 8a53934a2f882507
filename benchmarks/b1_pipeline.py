"""B1: what an item costs in one process: map, filter, shuffle(10,000), sharding_filter, batch(32) over ints."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from operator import itemgetter
from typing import Any

from benchmarks._pair import Side
from benchmarks._side import expect, rates

BATCH, WINDOW = 32, 10_000
UNIT = "M items/s"


def groups(quick: bool) -> list[list[Side]]:
    args = {"size": 100_000 if quick else 1_000_000}
    return [
        [
            Side("penstock", UNIT, penstock_five_steps, args),
            Side("by hand", UNIT, by_hand, args, peer=True),
            Side("WebDataset", UNIT, webdataset, args, peer=True),
            Side("torchdata.nodes map, batch", UNIT, nodes_map_batch, args, peer=True),
            Side("penstock map, batch", UNIT, penstock_map_batch, args),
            Side("torch datapipes", UNIT, torch_datapipes, args, peer=True),
        ]
    ]


def penstock_five_steps(size: int) -> Iterator[float]:
    pipe = graph(size)
    return _five_steps(size, lambda: pipe)


def graph(size: int) -> Any:
    """The five steps."""
    from penstock.pipes import IterableWrapper

    items = IterableWrapper(range(size), deepcopy=False).map(add_one).filter(not_by_three)
    return items.shuffle(buffer_size=WINDOW).sharding_filter().batch(BATCH)


def penstock_map_batch(size: int) -> Iterator[float]:
    from penstock.pipes import IterableWrapper

    pipe = IterableWrapper(range(size), deepcopy=False).map(add_one).batch(BATCH)
    return _map_batch(size, lambda: pipe)


def torch_datapipes(size: int) -> Iterator[float]:
    from torch.utils.data.datapipes.iter import IterableWrapper

    items = IterableWrapper(range(size), deepcopy=False).map(add_one).filter(not_by_three)
    pipe = items.shuffle(buffer_size=WINDOW).sharding_filter().batch(BATCH)
    return _five_steps(size, lambda: pipe)


def webdataset(size: int) -> Iterator[float]:
    import webdataset as wds  # type: ignore[import-not-found, unused-ignore]  # only the peers' environment has it

    pipe = wds.DataPipeline(
        lambda: iter(range(size)),
        wds.map(add_one),
        wds.select(not_by_three),
        wds.shuffle(WINDOW),
        wds.split_by_worker,
        wds.batched(BATCH, collation_fn=None, partial=True),
    )
    return _five_steps(size, lambda: pipe)


def nodes_map_batch(size: int) -> Iterator[float]:
    from torchdata import nodes  # type: ignore[import-not-found, unused-ignore]  # only the peers' environment has it

    source = nodes.IterableWrapper(range(size))
    loader = nodes.Loader(nodes.Batcher(nodes.Mapper(source, add_one), BATCH, drop_last=False))
    return _map_batch(size, lambda: loader)


def by_hand(size: int) -> Iterator[float]:
    """The fastest chain we know that does the work, without a state, a rank or a worker."""
    import numpy as np

    def batches() -> Iterator[list[int]]:
        items = filter(not_by_three, map(add_one, range(size)))
        random = np.random.default_rng(0)

        def windows() -> Iterator[tuple[int, ...]]:
            while window := list(islice(items, WINDOW)):
                yield itemgetter(*random.permutation(len(window)).tolist())(window)

        shuffled = chain.from_iterable(windows())
        return iter(lambda: list(islice(shuffled, BATCH)), [])

    return _five_steps(size, batches)


def add_one(item: int) -> int:
    return item + 1


def not_by_three(item: int) -> bool:
    return item % 3 != 0


def _five_steps(size: int, batches: Callable[[], Iterable[list[int]]]) -> Iterator[float]:
    wanted = [item for item in range(1, size + 1) if item % 3]
    flat = list(chain.from_iterable(batches()))
    expect(sorted(flat) == wanted, True, "the items, sorted")
    expect(flat != wanted, True, "shuffled")
    return _rounds(size, batches, len(wanted))


def _map_batch(size: int, batches: Callable[[], Iterable[list[int]]]) -> Iterator[float]:
    expect(list(chain.from_iterable(batches())) == list(range(1, size + 1)), True, "the items")
    return _rounds(size, batches, size)


def _rounds(size: int, batches: Callable[[], Iterable[list[int]]], wanted: int) -> Iterator[float]:
    warnings.simplefilter("ignore")

    def work() -> float:
        expect(sum(map(len, batches())), wanted, "items delivered")
        return size / 1e6

    return rates(work)
