"""ThreadingReadingService: the order, states and errors of the other services, in threads of this process."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from penstock import DataLoader2, InProcessReadingService, MultiProcessingReadingService
from penstock.pipes import IterableWrapper
from penstock.reading_service import ThreadingReadingService
from running import within

pytestmark = pytest.mark.usefixtures("no_leftovers")


def blocks() -> Any:
    return IterableWrapper(range(120)).shuffle(buffer_size=30).sharding_filter().map(lambda x: x + 1).batch(4)


def drawn() -> Any:
    pipe = IterableWrapper(range(120)).shuffle(buffer_size=30).sharding_filter()
    return pipe.random_map(lambda x, rng: (x, float(rng.random()))).batch(4)


def lanes() -> Any:
    return IterableWrapper(range(120)).shuffle(buffer_size=30).sharding_filter().filter(lambda x: x % 3).batch(4)


def forked() -> Any:
    a, b = IterableWrapper(range(60)).sharding_filter().fork(2)
    return a.zip(b.map(str).prefetch(3))


GRAPHS: dict[str, Callable[[], Any]] = {"blocks": blocks, "drawn": drawn, "lanes": lanes, "forked": forked}


def epochs(graph: Any, service: Any) -> list[list[Any]]:
    with DataLoader2(graph, reading_service=service) as dl:
        dl.seed(5)
        return [list(dl), list(dl)]


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_order_is_that_of_the_other_services(name: str, workers: int) -> None:
    found = epochs(GRAPHS[name](), ThreadingReadingService(workers, lanes=3))
    assert found == epochs(GRAPHS[name](), InProcessReadingService(lanes=3))
    assert found == epochs(GRAPHS[name](), MultiProcessingReadingService(2, lanes=3))


@pytest.mark.parametrize("name", GRAPHS)
def test_a_state_goes_from_threads_to_any_service_and_back(name: str) -> None:
    def services() -> list[Any]:
        return [None, ThreadingReadingService(1), ThreadingReadingService(3), MultiProcessingReadingService(2)]

    for saving in (ThreadingReadingService(2, lanes=3), MultiProcessingReadingService(2, lanes=3)):
        with DataLoader2(GRAPHS[name](), reading_service=saving) as dl:
            dl.seed(5)
            items, states = [], [json.loads(json.dumps(dl.state_dict()))]
            for item in dl:
                items.append(item)
                states.append(json.loads(json.dumps(dl.state_dict())))
        for service in services():
            with DataLoader2(GRAPHS[name](), reading_service=service) as dl:
                for k in (1, len(items) // 2, len(items) - 1):
                    dl.load_state_dict(states[k])
                    assert list(dl) == items[k:]


def test_the_graph_runs_in_the_threads_and_is_not_copied() -> None:
    seen: set[str] = set()
    held = threading.Lock()  # cannot be pickled

    def note(x: int) -> int:
        with held:
            seen.add(threading.current_thread().name)
        time.sleep(0.002)
        return x

    pipe = IterableWrapper(range(40)).sharding_filter().map(note)
    with DataLoader2(pipe, reading_service=ThreadingReadingService(2)) as dl:
        assert list(dl) == list(range(40))
    assert seen == {"penstock-worker-0", "penstock-worker-1"}


def test_an_error_has_its_own_type_and_its_cause_and_names_the_pipe() -> None:
    def fails(x: int) -> int:
        try:
            return 1 // (7 - x)
        except ZeroDivisionError as error:
            raise LookupError(x) from error

    pipe = IterableWrapper(range(20)).sharding_filter().map(fails)
    with DataLoader2(pipe, reading_service=ThreadingReadingService(2)) as dl:
        for _ in range(2):
            got = []
            with pytest.raises(LookupError) as caught:
                for item in dl:
                    got.append(item)
            assert got == [1 // (7 - x) for x in range(7)]
            assert isinstance(caught.value.__cause__, ZeroDivisionError)
            assert "raised in pipe 'map'" in "\n".join(caught.value.__notes__)


def test_how_far_a_thread_runs_ahead_is_bounded() -> None:
    made: list[int] = []

    def make(x: int) -> int:
        made.append(x)
        return x

    pipe = IterableWrapper(range(500)).sharding_filter().map(make)
    with DataLoader2(pipe, reading_service=ThreadingReadingService(2, prefetch_cnt=5)) as dl:
        it = iter(dl)
        for taken in (1, 20):
            for _ in range(taken):
                next(it)
            time.sleep(0.2)
        assert 21 <= len(made) <= 21 + 2 * 5 + 2


def test_leaving_early_does_not_wait_for_a_busy_thread() -> None:
    def slow(x: int) -> int:
        time.sleep(1.0 if x > 3 else 0.0)
        return x

    pipe = IterableWrapper(range(50)).sharding_filter().map(slow)
    with DataLoader2(pipe, reading_service=ThreadingReadingService(2)) as dl:
        assert next(iter(dl)) == 0
        began = time.monotonic()
        dl.shutdown()
        assert within(0.8, since=began)


def test_an_epoch_begins_anew_behind_one_that_was_left() -> None:
    with DataLoader2(blocks(), reading_service=ThreadingReadingService(2)) as dl:
        dl.seed(1)
        whole = list(dl)
        for taken in (0, 1, 9):
            dl.seed(1)
            it = iter(dl)
            assert [next(it) for _ in range(taken)] == whole[:taken]
        dl.seed(1)
        assert list(dl) == whole


def test_a_loader_that_is_dropped_ends_its_threads() -> None:
    dl = DataLoader2(blocks(), reading_service=ThreadingReadingService(2))
    next(iter(dl))
    del dl  # no_leftovers counts


def test_functions_that_let_go_of_the_lock_run_side_by_side() -> None:
    inside, most = 0, 0
    lock = threading.Lock()

    def sleeps(x: int) -> int:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(0.01)
        with lock:
            inside -= 1
        return x

    pipe = IterableWrapper(range(40)).sharding_filter().map(sleeps)
    with DataLoader2(pipe, reading_service=ThreadingReadingService(4)) as dl:
        assert list(dl) == list(range(40))
    assert most == 4


@pytest.mark.parametrize(("arguments", "options"), [((0,), {}), ((1, -1), {}), ((1,), {"lanes": 0})])
def test_wrong_numbers_are_refused(arguments: tuple[int, ...], options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must"):
        ThreadingReadingService(*arguments, **options)
