"""The dispatching process: one reader for all workers, in the order of one process, and nobody waits for a laggard."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psutil
import pytest

from penstock import DataLoader2, GraphError, MultiProcessingReadingService, WorkerDied
from penstock.pipes import IterableWrapper
from penstock.testing import faults
from running import within

pytestmark = pytest.mark.usefixtures("no_leftovers")

METHODS = ("forkserver", "spawn", "fork")


def source(count: int = 120) -> Any:
    return IterableWrapper(range(count)).shuffle(buffer_size=30)


def blocks() -> Any:
    return source().sharding_round_robin_dispatch().map(lambda x: x + 1).batch(4)


def lanes() -> Any:
    return source().sharding_round_robin_dispatch().filter(lambda x: x % 3).batch(4)


def cycled() -> Any:
    return source(40).sharding_round_robin_dispatch().cycle(3).filter(lambda x: x % 3)


def two() -> Any:
    a, b = source(60).fork(2)
    return a.sharding_round_robin_dispatch().zip(b.map(str).sharding_round_robin_dispatch())


def beside() -> Any:
    return source(60).sharding_round_robin_dispatch().zip(source(60).sharding_filter())


GRAPHS: dict[str, Callable[[], Any]] = {
    "blocks": blocks,
    "lanes": lanes,
    "cycled": cycled,
    "two": two,
    "beside": beside,
}


def epochs(graph: Any, workers: int, count: int = 2, **options: Any) -> list[list[Any]]:
    from penstock import InProcessReadingService

    service = (
        MultiProcessingReadingService(workers, lanes=3, **options) if workers else InProcessReadingService(lanes=3)
    )
    with DataLoader2(graph, reading_service=service) as dl:
        dl.seed(5)
        return [list(dl) for _ in range(count)]


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_order_is_that_of_one_process(name: str, workers: int) -> None:
    assert epochs(GRAPHS[name](), workers) == epochs(GRAPHS[name](), 0)


@pytest.mark.parametrize("method", METHODS)
def test_what_stands_ahead_of_it_runs_once_in_a_process_of_its_own(method: str) -> None:
    def ahead(x: int) -> tuple[int, int]:
        return x, os.getpid()

    def behind(item: tuple[int, int]) -> tuple[int, int, int]:
        return (*item, os.getpid())

    graph = IterableWrapper(range(60)).map(ahead).sharding_round_robin_dispatch().map(behind)
    [items] = epochs(graph, 3, 1, multiprocessing_context=method)
    assert [x for x, _, _ in items] == list(range(60))
    readers, workers = {pid for _, pid, _ in items}, {pid for _, _, pid in items}
    assert len(readers) == 1 and len(workers) == 3
    assert not readers & (workers | {os.getpid()})


@pytest.mark.parametrize("name", GRAPHS)
def test_a_state_continues_on_any_number_of_workers(name: str) -> None:
    with DataLoader2(GRAPHS[name](), reading_service=MultiProcessingReadingService(2, lanes=3)) as dl:
        dl.seed(5)
        items, states = [], [json.loads(json.dumps(dl.state_dict()))]
        for item in dl:
            items.append(item)
            states.append(json.loads(json.dumps(dl.state_dict())))
    for workers in (0, 1, 3):
        service = MultiProcessingReadingService(workers) if workers else None
        with DataLoader2(GRAPHS[name](), reading_service=service) as dl:
            for k in range(1, len(items), max(1, len(items) // 5)):
                dl.load_state_dict(states[k])
                assert list(dl) == items[k:], f"from item {k} on {workers} workers"


def test_a_lane_that_lags_is_left_to_read_by_itself() -> None:
    def slow_seven(x: int) -> bool:  # lane 1 of 2 gets the odd numbers, and gives hardly anything
        return x % 2 == 0 or x % 1001 == 0

    graph = IterableWrapper(range(20_000)).sharding_round_robin_dispatch().filter(slow_seven).batch(10)
    service = MultiProcessingReadingService(2)
    with DataLoader2(graph, reading_service=service) as dl:
        found = sorted(x for batch in dl for x in batch)
    assert found == [x for x in range(20_000) if slow_seven(x)]


def test_an_error_ahead_of_it_has_its_own_type_and_names_its_pipe() -> None:
    graph = IterableWrapper(range(20)).map(lambda x: 1 // (12 - x)).sharding_round_robin_dispatch().batch(2)
    with DataLoader2(graph, reading_service=MultiProcessingReadingService(2)) as dl:
        for _ in range(2):
            with pytest.raises(ZeroDivisionError) as caught:
                list(dl)
            notes = "\n".join(caught.value.__notes__)
            assert "raised in pipe 'map'" in notes and "in the dispatching process" in notes


def _dispatcher(dl: Any) -> psutil.Process:
    return psutil.Process(dl._session.dispatcher.process.pid)


@pytest.mark.parametrize("method", METHODS)
def test_a_dispatching_process_that_is_killed_is_told_in_time_and_the_next_epoch_works(method: str) -> None:
    graph = IterableWrapper(range(200)).map(lambda x: (time.sleep(0.005), x)[1]).sharding_round_robin_dispatch()
    service = MultiProcessingReadingService(2, multiprocessing_context=method, max_restarts=0)
    with DataLoader2(graph, reading_service=service) as dl:
        it = iter(dl)
        next(it)
        killed = _dispatcher(dl).pid
        os.kill(killed, signal.SIGKILL)
        began = time.monotonic()
        with pytest.raises(WorkerDied, match="dispatching process .*SIGKILL") as caught:
            for _ in it:
                pass
        assert within(2.0, since=began)
        assert caught.value.pid == killed
        assert list(dl) == list(range(200))


@pytest.mark.parametrize("name", GRAPHS)
def test_a_dispatching_process_that_is_killed_is_replaced_and_the_sequence_does_not_change(name: str) -> None:
    expected = epochs(GRAPHS[name](), 0)
    moments = random.Random(name)
    service = MultiProcessingReadingService(2, lanes=3, max_restarts=8)  # a late kill shows in the next epoch
    with DataLoader2(GRAPHS[name](), reading_service=service) as dl:
        dl.seed(5)
        for items in expected:
            at, got = moments.sample(range(8, len(items), 8), 2), []
            for number, item in enumerate(dl):
                got.append(item)
                if number in at:
                    session: Any = dl._session
                    for victim in (session.dispatcher, session.workers[number % 2]):
                        with suppress(ProcessLookupError):  # the one before has not been missed yet
                            os.kill(victim.process.pid, signal.SIGKILL)
            assert got == items


@pytest.mark.parametrize("how", ["kill", "hang"])
def test_a_fault_ahead_of_it_costs_one_dispatching_process(how: str) -> None:
    fault = getattr(faults, how)(at=57)
    graph = IterableWrapper(range(120)).map(fault).sharding_round_robin_dispatch().batch(4)
    with DataLoader2(graph, reading_service=MultiProcessingReadingService(2, worker_timeout_s=2.0)) as dl:
        it = iter(dl)
        first = _dispatcher(dl).pid
        assert [x for batch in it for x in batch] == list(range(120))
        assert dl.stats()["restarts"] == 1 and _dispatcher(dl).pid != first


@pytest.mark.parametrize(("how", "said"), [("kill", "SIGKILL"), ("hang", "gave nothing for 1 s")])
def test_an_item_that_ends_it_each_time_is_named_with_its_pipe(how: str, said: str) -> None:
    fault = getattr(faults, how)(at=57, times=None)
    graph = IterableWrapper(range(120)).map(fault, name="read").sharding_round_robin_dispatch().batch(4)
    service = MultiProcessingReadingService(2, worker_timeout_s=1.0)
    with DataLoader2(graph, reading_service=service) as dl:
        with pytest.raises(WorkerDied, match=rf"the dispatching process .*{re.escape(said)}.*'read'") as caught:
            list(dl)
        assert ("on 57" in str(caught.value)) == (how == "kill")


def _stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)  # with all threads, also the one that writes down what goes on


@pytest.mark.parametrize("how", ["hang", "stop"])
def test_a_worker_behind_it_that_hangs_is_the_one_to_be_replaced(how: str) -> None:
    fault = faults.hang(at=57) if how == "hang" else faults.Fault(_stop, at=57)
    source = IterableWrapper(range(120)).map(faults.slow(at=lambda x: x < 60, seconds=0.01))  # workers wait for it
    graph = source.sharding_round_robin_dispatch().map(fault).batch(4)
    service = MultiProcessingReadingService(2, worker_timeout_s=1.0)
    with DataLoader2(graph, reading_service=service) as dl:
        it = iter(dl)
        first = _dispatcher(dl).pid
        assert [x for batch in it for x in batch] == list(range(120))
        assert dl.stats()["restarts"] == 1 and _dispatcher(dl).pid == first


def test_leaving_an_epoch_does_not_wait_for_it() -> None:
    graph = (
        IterableWrapper(range(50)).map(lambda x: (time.sleep(0.2 if x else 0), x)[1]).sharding_round_robin_dispatch()
    )
    with DataLoader2(graph, reading_service=MultiProcessingReadingService(2)) as dl:
        for _ in dl:
            break
        began = time.monotonic()
        dl.shutdown()
        assert within(2.0, since=began)


def test_another_epoch_begins_where_one_was_left() -> None:
    with DataLoader2(blocks(), reading_service=MultiProcessingReadingService(2)) as dl:
        dl.seed(1)
        whole = list(dl)
        for taken in (0, 1, 7, 29):
            dl.seed(1)
            it = iter(dl)
            assert [next(it) for _ in range(taken)] == whole[:taken]
        dl.seed(1)
        assert list(dl) == whole


@pytest.mark.parametrize("ahead", [True, False])
def test_a_sharding_filter_on_its_path_divides_nothing(ahead: bool) -> None:
    graph = source().sharding_filter() if ahead else source()
    graph = graph.sharding_round_robin_dispatch()
    graph = graph if ahead else graph.map(lambda x: x).sharding_filter()
    for workers in (0, 2):
        [items] = epochs(graph, workers, 1)
        assert sorted(items) == list(range(120))


def test_two_sharding_filters_on_one_path_are_refused() -> None:
    graph = source().sharding_filter().map(str).sharding_filter()
    for service in (None, MultiProcessingReadingService(2)):
        with pytest.raises(GraphError, match="Sharding twice on a single pipeline"):
            DataLoader2(graph, reading_service=service)


def test_large_items_come_through() -> None:
    import numpy as np

    graph = IterableWrapper(range(12)).map(lambda x: np.full(200_000, x)).sharding_round_robin_dispatch()
    with DataLoader2(graph, reading_service=MultiProcessingReadingService(2)) as dl:
        for number, array in enumerate(dl):
            assert array.shape == (200_000,) and (array == number).all()
