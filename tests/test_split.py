"""A pipe that cannot be replicated, and all behind it, stays in the main process; the rest runs on the workers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from penstock import DataLoader2, GraphError, MultiProcessingReadingService
from penstock.pipes import IterableWrapper, IterDataPipe

pytestmark = pytest.mark.usefixtures("no_leftovers")


class Here(IterDataPipe[Any]):
    """A user's pipe that must run in the main process, and says in which process it runs."""

    def __init__(self, source_datapipe: IterDataPipe[Any]) -> None:
        self.source_datapipe = source_datapipe

    def is_replicable(self) -> bool:
        return False

    def __iter__(self) -> Iterator[Any]:
        for item in self.source_datapipe:
            yield item, os.getpid()


def there(x: int) -> tuple[int, int]:
    return x, os.getpid()


def graph() -> Any:
    part = IterableWrapper(range(60)).shuffle(buffer_size=20).sharding_filter().map(lambda x: x + 1)
    return Here(part).map(lambda pair: pair[0]).shuffle(buffer_size=10).batch(3)


def test_each_part_runs_where_it_must() -> None:
    pipe = Here(IterableWrapper(range(40)).sharding_filter().map(there))
    with DataLoader2(pipe, reading_service=MultiProcessingReadingService(2)) as dl:
        items = list(dl)
    assert [x for (x, _), _ in items] == list(range(40))
    assert {pid for _, pid in items} == {os.getpid()}
    workers = {pid for (_, pid), _ in items}
    assert len(workers) == 2 and os.getpid() not in workers


def test_the_order_is_that_of_one_process_and_epochs_differ() -> None:
    found = []
    for workers in (0, 1, 2):
        service = MultiProcessingReadingService(workers) if workers else None
        with DataLoader2(graph(), reading_service=service) as dl:
            dl.seed(3)
            found.append([list(dl), list(dl)])
    assert found[0] == found[1] == found[2]
    first, second = found[0]
    assert first != second
    assert sorted(x for batch in first for x in batch) == list(range(1, 61))


def test_every_place_restores_on_any_number_of_workers() -> None:
    with DataLoader2(graph(), reading_service=MultiProcessingReadingService(2)) as dl:
        dl.seed(3)
        items, states = [], [json.loads(json.dumps(dl.state_dict()))]
        for item in dl:
            items.append(item)
            states.append(json.loads(json.dumps(dl.state_dict())))
        following = list(dl)
    for workers in (0, 1, 2):
        service = MultiProcessingReadingService(workers) if workers else None
        with DataLoader2(graph(), reading_service=service) as dl:
            for k in range(1, len(items), 6):
                dl.load_state_dict(states[k])
                assert list(dl) == items[k:]
            assert list(dl) == following


def test_a_cycle_in_the_main_process_reads_the_workers_again() -> None:
    pipe = Here(IterableWrapper(range(10)).sharding_filter()).cycle(3)
    with DataLoader2(pipe, reading_service=MultiProcessingReadingService(2)) as dl:
        assert [x for x, _ in dl] == list(range(10)) * 3


def test_a_graph_that_stays_here_as_a_whole_needs_no_workers() -> None:
    class Source(IterDataPipe[int]):
        def is_replicable(self) -> bool:
            return False

        def __iter__(self) -> Iterator[int]:
            return iter([os.getpid()] * 3)

    with DataLoader2(Source().map(lambda x: x), reading_service=MultiProcessingReadingService(2)) as dl:
        assert list(dl) == [os.getpid()] * 3


def test_two_branches_for_workers_are_refused() -> None:
    a = IterableWrapper(range(4)).sharding_filter()
    pipe = Here(a.map(str)).zip(IterableWrapper(range(4)).sharding_filter().map(float))
    with pytest.raises(GraphError, match=r"one branch.*map.*and.*map"):
        DataLoader2(pipe, reading_service=MultiProcessingReadingService(2))


def test_an_error_on_a_worker_and_one_here_both_arrive() -> None:
    for pipe in (
        Here(IterableWrapper(range(9)).sharding_filter().map(lambda x: 1 // (5 - x))),
        Here(IterableWrapper(range(9)).sharding_filter()).map(lambda pair: 1 // (5 - pair[0])),
    ):
        with DataLoader2(pipe, reading_service=MultiProcessingReadingService(2)) as dl:
            for _ in range(2):
                with pytest.raises(ZeroDivisionError):
                    list(dl)
