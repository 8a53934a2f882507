"""Steps by number (skip_steps, at), states of changed graphs (strict), and the length of an epoch."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from penstock import (
    DataLoader2,
    DistributedReadingService,
    GraphError,
    InProcessReadingService,
    MultiProcessingReadingService,
    SequenceWrapper,
    SequentialReadingService,
    StateError,
    ThreadingReadingService,
)
from penstock.pipes import IterableWrapper
from penstock.state.digest import folded
from ranks import ranks
from running import trip

SERVICES: dict[str, Any] = {
    "in process": InProcessReadingService,
    "processes": lambda: MultiProcessingReadingService(2, lanes=2),
    "threads": lambda: ThreadingReadingService(2, lanes=2),
}


def blocks(size: int = 60) -> Any:
    return IterableWrapper(range(size)).shuffle(buffer_size=9).sharding_filter().batch(3)


def lanes(size: int = 60) -> Any:
    return IterableWrapper(range(size)).shuffle(buffer_size=9).sharding_filter().filter(lambda x: x % 5).batch(3)


def whole(graph: Any, service: Any) -> list[Any]:
    with DataLoader2(graph, reading_service=service) as dl:
        dl.seed(2)
        return list(dl)


@pytest.mark.parametrize("graph", [blocks, lanes])
@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.usefixtures("no_leftovers")
def test_steps_are_passed_over_and_the_others_keep_their_numbers(graph: Any, service: str) -> None:
    rows = whole(graph(), SERVICES[service]())
    with DataLoader2(graph(), reading_service=SERVICES[service]()) as dl:
        dl.seed(2)
        dl.skip_steps(3, 6)
        dl.skip_steps(8, 9)
        assert list(dl) == rows[:3] + rows[6:8] + rows[9:]
        assert len([x for row in dl for x in row]) == len([x for row in rows for x in row]), "the next epoch is whole"
        # Behind a state, and inside a running epoch.
        dl.seed(2)
        it = iter(dl)
        assert [next(it) for _ in range(4)] == rows[:4]
        state = trip(dl.state_dict())
        dl.skip_steps(4, 7)
        assert next(it) == rows[7] and dl.stats()["delivered"] == 8
        behind = trip(dl.state_dict())
        assert list(it) == rows[8:]
        dl.load_state_dict(state)
        dl.skip_steps(5, 6)
        assert list(dl) == rows[4:5] + rows[6:]
        dl.load_state_dict(behind)
        assert list(dl) == rows[8:]
        dl.seed(2)
        dl.skip_steps(0, 2)
        dl.skip_steps(len(rows) - 1, 10_000)
        assert list(dl) == rows[2:-1]


def test_steps_that_have_been_delivered_cannot_be_skipped() -> None:
    with DataLoader2(blocks()) as dl:
        it = iter(dl)
        next(it)
        for begin, end in [(0, 3), (4, 2)]:
            with pytest.raises(ValueError, match="1 steps have been delivered"):
                dl.skip_steps(begin, end)


def test_steps_to_skip_are_the_next_epochs_where_the_last_one_was_left() -> None:
    rows = whole(blocks(), InProcessReadingService())
    with DataLoader2(blocks()) as dl:
        dl.seed(2)
        for _ in dl:
            break
        dl.seed(2)
        dl.skip_steps(0, 3)
        assert list(dl) == rows[3:]


def noisy(x: int) -> tuple[int, float]:
    return x, random.random()


@pytest.mark.parametrize("service", SERVICES)
def test_a_past_batch_is_made_again(service: str) -> None:
    graph = SequenceWrapper(range(40)).shuffle().sharding_filter().random_map(lambda x, rng: (x, rng.random())).batch(4)
    with DataLoader2(graph, reading_service=SERVICES[service]()) as dl:
        dl.seed(2)
        it = iter(dl)
        rows = [next(it) for _ in range(6)]
        state = random.getstate()
        assert [dl.at(step) for step in range(6)] == rows
        assert random.getstate() == state
        rows += list(it)
        assert [dl.at(step) for step in range(10)] == rows, "also behind its end"
        for step in (10, -1):
            with pytest.raises(IndexError, match="step"):
                dl.at(step)


def test_a_past_batch_has_the_numbers_that_the_worker_drew() -> None:
    graph = IterableWrapper(range(24)).sharding_filter().map(noisy).batch(3)
    with DataLoader2(graph, reading_service=MultiProcessingReadingService(2)) as dl:
        rows = list(dl)
        assert [dl.at(step) for step in range(8)] == rows


def test_where_no_step_can_be_made_again_the_error_says_why() -> None:
    with DataLoader2(blocks()) as dl, pytest.raises(RuntimeError, match="no epoch has begun"):
        dl.at(0)
    for graph, options, why in [
        (lanes(), {}, "filter"),
        (blocks(), {"worker_reset_fn": lambda pipe, info, seeds: pipe}, "a function of yours"),
    ]:
        with DataLoader2(graph, reading_service=MultiProcessingReadingService(1, **options)) as dl:
            next(iter(dl))
            with pytest.raises(GraphError, match=why):
                dl.at(0)


def test_ranks_skip_and_make_again_their_own_steps() -> None:
    def of_rank(rank: int) -> Any:
        service = SequentialReadingService(DistributedReadingService(timeout=20), MultiProcessingReadingService(2))
        with DataLoader2(blocks(), reading_service=service) as dl:
            dl.seed(2)
            dl.skip_steps(2, 5)
            rows = list(dl)
            return rows, [dl.at(step) for step in range(10)], len(dl)

    rows = whole(blocks(), InProcessReadingService())
    for rank, (seen, again, length) in enumerate(ranks.values(2, of_rank)):
        mine = rows[rank::2]
        assert seen == mine[:2] + mine[5:] and again == mine and length == 10


# ------------------------------------------------------------------------------------------------------------- strict


def stopped(graph: Any, after: int = 4) -> dict[str, Any]:
    with DataLoader2(graph) as dl:
        dl.seed(2)
        it = iter(dl)
        for _ in range(after):
            next(it)
        state: dict[str, Any] = trip(dl.state_dict())
        return state


def test_a_state_of_a_changed_graph_is_taken_where_it_fits() -> None:
    rows = whole(blocks(), InProcessReadingService())
    with DataLoader2(blocks().map(len)) as dl:
        with pytest.raises(StateError, match="map"):
            dl.load_state_dict(stopped(blocks()))
        with pytest.warns(UserWarning, match="its place in the epoch is taken: the graph has 'map'"):
            dl.load_state_dict(stopped(blocks()), strict=False)
        assert list(dl) == [3] * (len(rows) - 4)


@pytest.mark.parametrize(
    "changed",
    [
        lambda: IterableWrapper(range(60)).shuffle(buffer_size=9).sharding_filter().batch(4),
        lambda: IterableWrapper(range(60)).shuffle(buffer_size=10).sharding_filter().batch(3),
        lambda: IterableWrapper(range(60)).sharding_filter().batch(3),
        lanes,
    ],
)
def test_where_the_place_does_not_fit_the_epoch_begins_anew(changed: Any) -> None:
    with DataLoader2(changed()) as dl:
        with pytest.warns(UserWarning, match="its epoch begins anew"):
            dl.load_state_dict(stopped(blocks()), strict=False)
        assert list(dl) == whole(changed(), InProcessReadingService())


def drawn(size: int, *, shuffle: bool = True) -> Any:
    table = SequenceWrapper(range(size))
    return (table.shuffle() if shuffle else table.to_iter_datapipe()).sharding_filter().batch(3)


@pytest.mark.parametrize("size", [50, 70])
def test_a_place_in_a_permutation_is_no_place_in_that_of_other_data(size: int) -> None:
    says = f"the state is of other data: 'shuffle' had 60 items to put in order when it was saved, and {size} now"
    with DataLoader2(drawn(size)) as dl:
        with pytest.raises(StateError, match=says):
            dl.load_state_dict(stopped(drawn(60)))
        with pytest.warns(UserWarning, match="of other data, and its epoch begins anew"):
            dl.load_state_dict(stopped(drawn(60)), strict=False)
        assert sorted(x for row in dl for x in row) == list(range(size))


def test_between_two_epochs_data_may_grow_and_without_an_order_it_may_at_any_time() -> None:
    with DataLoader2(drawn(60)) as dl:
        list(dl)
        state = trip(dl.state_dict())
    with DataLoader2(drawn(70)) as dl:
        dl.load_state_dict(state)
        assert sorted(x for row in dl for x in row) == list(range(70))
    with DataLoader2(drawn(70, shuffle=False)) as dl:
        dl.load_state_dict(stopped(drawn(60, shuffle=False)))
        assert [x for row in dl for x in row] == list(range(12, 70))


# ------------------------------------------------------------------------------------------------------------- digest


@pytest.mark.parametrize("service", SERVICES)
def test_runs_that_deliver_the_same_have_the_same_digest_also_behind_a_resume(service: str) -> None:
    def digest(graph: Any, stop: int | None = None) -> int:
        with DataLoader2(graph, reading_service=SERVICES[service]()) as dl:
            dl.seed(2)
            it = iter(dl)
            for _ in range(stop or 0):
                next(it)
            if stop is not None:
                dl.load_state_dict(trip(dl.state_dict()))
                it = iter(dl)
            list(it)
            found: int = dl.stats()["digest"]
            return found

    whole = digest(blocks(600))
    assert whole == digest(blocks(600)) == digest(blocks(600), 7) == digest(blocks(600), 100)
    assert whole != digest(blocks(600).map(sorted)) != 0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.arange(6), np.arange(6)[::-1]),
        (np.arange(6), np.arange(6.0)),
        (np.arange(6), np.arange(6).reshape(2, 3)),
        (torch.arange(6), torch.arange(1, 7)),
        ({"a": 1}, {"a": 2}),
        ({"a": [np.zeros(3)]}, {"a": [np.ones(3)]}),
        ("abc", "abd"),
        (b"abc", b"abd"),
        ([1, [2, 3]], [[1, 2], 3]),
        (None, 0),
    ],
)
def test_a_digest_tells_batches_apart(one: Any, other: Any) -> None:
    assert folded(0, one) == folded(0, one) != folded(0, other)
    assert folded(folded(0, one), other) != folded(folded(0, other), one)
