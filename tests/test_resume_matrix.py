"""Stopped behind any batch of an epoch, on any service, and resumed on another: the rest, and the next epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from penstock import (
    DataLoader2,
    DistributedReadingService,
    InProcessReadingService,
    MultiProcessingReadingService,
    SequentialReadingService,
    ThreadingReadingService,
)
from penstock.pipes import IterableWrapper
from ranks import ranks
from running import trip

LANES, BATCHES, SEED = 6, 200, 11
SERVICES: dict[str, Callable[[], Any]] = {
    "in process": lambda: InProcessReadingService(lanes=LANES),
    "threads": lambda: ThreadingReadingService(2, lanes=LANES),
    "processes": lambda: MultiProcessingReadingService(2, lanes=LANES),
    "three processes": lambda: MultiProcessingReadingService(3, lanes=LANES),
}


def blocks() -> Any:
    pipe = IterableWrapper(range(3 * BATCHES)).shuffle(buffer_size=50).sharding_filter()
    return pipe.random_map(lambda x, rng: (x, round(rng.random(), 9))).prefetch(3).batch(3)


def lanes() -> Any:
    pipe = IterableWrapper(range(3 * BATCHES)).shuffle(buffer_size=50).sharding_filter()
    return pipe.flatmap(lambda x: [x, -x] if x % 2 else [x]).shuffle(buffer_size=7).batch(4)


GRAPHS = {"blocks": blocks, "lanes": lanes}


def stops(every: int) -> range:
    return range(1, BATCHES, every)


def check(graph: str, stopped_on: str, every: int) -> None:
    with DataLoader2(GRAPHS[graph](), reading_service=SERVICES["in process"]()) as dl:
        dl.seed(SEED)
        rows, following = list(dl), list(dl)
    states = {}
    with DataLoader2(GRAPHS[graph](), reading_service=SERVICES[stopped_on]()) as dl:
        dl.seed(SEED)
        for number, row in enumerate(dl, 1):
            assert row == rows[number - 1]
            if number in stops(every):
                states[number] = trip(dl.state_dict())
    assert len(states) == len(stops(every))
    for name, service in SERVICES.items():
        if name == stopped_on:
            continue
        with DataLoader2(GRAPHS[graph](), reading_service=service()) as dl:
            for number, state in states.items():
                dl.load_state_dict(state)
                assert list(dl) == rows[number:], (name, number)
            assert list(dl) == following, name


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("stopped_on", SERVICES)
def test_the_rest_and_the_next_epoch_are_what_they_would_have_been(graph: str, stopped_on: str) -> None:
    check(graph, stopped_on, 23)


@pytest.mark.slow
@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("stopped_on", SERVICES)
def test_behind_every_third_batch(graph: str, stopped_on: str) -> None:
    check(graph, stopped_on, 3)


# ------------------------------------------------------------------------------------------------------- with ranks


def of_rank(rank: int, graph: str, workers: int, every: int) -> Any:
    """An epoch, the states of all ranks behind some of its steps, and the next one."""
    inner: Any = MultiProcessingReadingService(workers, lanes=LANES) if workers else SERVICES["in process"]()
    service = SequentialReadingService(DistributedReadingService(timeout=30), inner)
    rows, states = [], {}
    with DataLoader2(GRAPHS[graph](), reading_service=service) as dl:
        dl.seed(SEED)
        for number, row in enumerate(dl, 1):
            rows.append(row)
            if number % every == 1:
                states[number] = trip(dl.gather_state())
        return rows, states, list(dl)


def rest_of_rank(rank: int, graph: str, workers: int, states: dict[int, Any]) -> Any:
    inner: Any = MultiProcessingReadingService(workers) if workers else InProcessReadingService()
    service = SequentialReadingService(DistributedReadingService(timeout=30), inner)
    with DataLoader2(GRAPHS[graph](), reading_service=service) as dl:
        found = {}
        for number, state in states.items():
            dl.load_state_dict(state)
            found[number] = list(dl)
        return found, list(dl)


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize(
    ("first", "second"),
    [((2, 2), (2, 0)), ((2, 0), (1, 2)), ((1, 2), (2, 1)), pytest.param((3, 1), (2, 1), marks=pytest.mark.slow)],
)
def test_with_ranks(graph: str, first: tuple[int, int], second: tuple[int, int]) -> None:
    begun = ranks.values(first[0], of_rank, graph, first[1], 19)
    states = begun[0][1]
    resumed = ranks.values(second[0], rest_of_rank, graph, second[1], states)
    with DataLoader2(GRAPHS[graph](), reading_service=SERVICES["in process"]()) as dl:
        dl.seed(SEED)
        whole, following = list(dl), list(dl)
    for number in states:
        done = [row for rows, _, _ in begun for row in rows[:number]]
        rest = [row for found, _ in resumed for row in found[number]]
        assert not set(map(str, done)) & set(map(str, rest)), "nothing comes twice"
        left = set(map(str, whole)) - set(map(str, done)) - set(map(str, rest))
        assert set(map(str, done + rest)) <= set(map(str, whole))
        if graph == "blocks":
            assert len(left) < second[0], "only the last, partial round is dropped"
        elif second[0] == 1:
            assert not left
        if first[0] == second[0]:
            for (rows, _, _), (found, _) in zip(begun, resumed, strict=True):
                assert rows[number:] == found[number], "the same ranks give the same"
    for rows in (*(after for _, _, after in begun), *(after for _, after in resumed)):
        assert set(map(str, rows)) <= set(map(str, following))
