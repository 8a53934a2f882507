"""Two sharding points: ranks divide the work at the first, and the workers of each rank its part at the second."""

from __future__ import annotations

from typing import Any

import pytest

from penstock import (
    DataLoader2,
    DistributedReadingService,
    GraphError,
    InProcessReadingService,
    MultiProcessingReadingService,
    SequentialReadingService,
    ThreadingReadingService,
)
from penstock.pipes import IterableWrapper
from penstock.pipes.sharding import SHARDING_PRIORITIES
from ranks import ranks
from running import trip

FIRST, SECOND = SHARDING_PRIORITIES.DISTRIBUTED, SHARDING_PRIORITIES.MULTIPROCESSING


def graph(size: int = 96) -> Any:
    pipe = IterableWrapper(range(size)).shuffle(buffer_size=10).sharding_filter(FIRST)
    pipe = pipe.enumerate().flatmap(lambda pair: [(*pair, part) for part in "ab"]).shuffle(buffer_size=6)
    return pipe.sharding_filter(SECOND).random_map(lambda x, rng: (*x, round(rng.random(), 9))).enumerate()


def service(workers: int, kind: str, lanes: int | None = None) -> Any:
    inner: Any = InProcessReadingService(lanes=lanes)
    if workers:
        several: Any = MultiProcessingReadingService if kind == "processes" else ThreadingReadingService
        inner = several(workers, lanes=lanes)
    return SequentialReadingService(DistributedReadingService(timeout=30), inner)


def run(rank: int, workers: int, kind: str, lanes: int | None, stop: int | None = None, state: Any = None) -> Any:
    with DataLoader2(graph(), reading_service=service(workers, kind, lanes)) as dl:
        dl.seed(3)
        if state is not None:
            dl.load_state_dict(state)
        it = iter(dl)
        seen = [item for _, item in zip(range(stop or 1000), it, strict=False)]
        return seen, trip(dl.gather_state()) if stop else None


def numbers(items: Any) -> set[Any]:
    """Which sample and part each item is."""
    return {(x, part) for _, (_, x, part, _) in items}


WHOLE = {(x, part) for x in range(96) for part in "ab"}


@pytest.mark.parametrize(("world", "workers", "kind"), [(2, 2, "processes"), (2, 3, "threads"), (4, 1, "processes")])
def test_ranks_divide_at_the_first_point_and_workers_at_the_second(world: int, workers: int, kind: str) -> None:
    found = [seen for seen, _ in ranks.values(world, run, workers, kind, 12)]
    assert [len(seen) for seen in found] == [192 // world] * world
    assert set.union(*map(numbers, found)) == WHOLE
    for seen in found:
        assert all((x, "a") in numbers(seen) and (x, "b") in numbers(seen) for x, _ in numbers(seen)), "whole samples"
    assert len({place for seen in found for place, _ in seen}) == 192, "places are unique over ranks and workers"
    assert len({place for seen in found for _, (place, *_) in seen}) == 96
    with_lanes = [seen for seen, _ in ranks.values(world, run, 0, kind, 12)]
    assert with_lanes == found, "the workers do not matter where the lanes are fixed"


@pytest.mark.parametrize(("world", "workers"), [(1, 0), (1, 2), (2, 1), (4, 2)])
def test_what_was_begun_on_two_ranks_goes_on_with_any_number(world: int, workers: int) -> None:
    begun = ranks.values(2, run, 2, "processes", 8, 16)
    rest = [seen for seen, _ in ranks.values(world, run, workers, "processes", None, None, begun[0][1])]
    head = [seen for seen, _ in begun]
    whole = [seen for seen, _ in ranks.values(2, run, 2, "processes", 8)]
    assert [item for seen in whole for item in seen if item in head[0] + head[1]] == head[0] + head[1]
    given = [item for seen in head + rest for item in seen]
    assert sorted(given) == sorted(item for seen in whole for item in seen)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_one_rank_divides_at_the_second_point(workers: int) -> None:
    mp = MultiProcessingReadingService(workers, lanes=3) if workers else InProcessReadingService(lanes=3)
    with DataLoader2(graph(), reading_service=mp) as dl:
        dl.seed(3)
        items = list(dl)
    assert numbers(items) == WHOLE and len(items) == 192


def test_lanes_must_divide_among_the_ranks() -> None:
    for outcome in ranks.run(2, run, 0, "processes", 3):
        assert "needs a multiple of 2 lanes, not 3" in (outcome.error or "")


def test_the_wrong_order_is_refused() -> None:
    pipe = IterableWrapper(range(4)).sharding_filter(SECOND).sharding_filter(FIRST)
    with pytest.raises(GraphError, match="Sharding twice"):
        DataLoader2(pipe)
