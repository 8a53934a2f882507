"""A worker that is lost is replaced, and the sequence is what it would have been."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock import DataLoader2, MultiProcessingReadingService, WorkerDied
from penstock.pipes import IterableWrapper
from penstock.testing import faults
from running import within

pytestmark = pytest.mark.usefixtures("no_leftovers")

METHODS = ("forkserver", "spawn", "fork")


def service(workers: int = 2, **options: Any) -> MultiProcessingReadingService:
    return MultiProcessingReadingService(workers, **options)


def drawing(x: int) -> tuple[int, float, float]:
    """Draws from the global generators, as augmentations do."""
    import numpy as np

    time.sleep(0.001)
    return x, random.random(), float(np.random.random())


def blocks() -> Any:
    return IterableWrapper(range(200)).shuffle(buffer_size=40).sharding_filter().map(drawing).batch(4)


def lanes() -> Any:
    pipe = IterableWrapper(range(200)).shuffle(buffer_size=40).sharding_filter()
    return pipe.filter(lambda x: x % 3).random_map(lambda x, rng: (time.sleep(0.001), x, rng.random())[1:]).batch(4)


def dispatched() -> Any:
    pipe = IterableWrapper(range(200)).shuffle(buffer_size=40).sharding_round_robin_dispatch()
    return pipe.map(lambda x: (time.sleep(0.001), x)[1]).batch(4)


GRAPHS: dict[str, Callable[[], Any]] = {"blocks": blocks, "lanes": lanes, "dispatched": dispatched}


def whole(graph: Any) -> list[Any]:
    with DataLoader2(graph, reading_service=service(lanes=2)) as dl:
        dl.seed(7)
        return [list(dl), list(dl)]


@pytest.mark.parametrize(
    ("name", "method"),
    [
        pytest.param(name, method, marks=[pytest.mark.slow] if method == "spawn" and name != "blocks" else [])
        for name in GRAPHS
        for method in METHODS
    ],
)
def test_a_kill_at_any_moment_changes_nothing(name: str, method: str) -> None:
    graph, moments = GRAPHS[name](), random.Random(f"{name} {method}")
    expected = whole(graph)
    for _ in range(3):
        at, victim = moments.randrange(len(expected[0])), moments.randrange(2)
        with DataLoader2(graph, reading_service=service(multiprocessing_context=method)) as dl:
            dl.seed(7)
            got = []
            for number, item in enumerate(dl):
                got.append(item)
                if number == at:
                    os.kill(dl._session.workers[victim].process.pid, signal.SIGKILL)  # type: ignore[union-attr]
            assert got == expected[0]
            assert list(dl) == expected[1]


@pytest.mark.parametrize("how", ["SIGKILL", "SIGSEGV", "exit"])
def test_a_worker_that_dies_once_in_a_function_is_replaced(how: str, tmp_path: Path, caplog: Any) -> None:
    flag = tmp_path / "died"

    def dies(x: int) -> int:
        if x == 9 and not flag.exists():
            flag.touch()
            if how == "exit":
                os._exit(7)
            os.kill(os.getpid(), getattr(signal, how))
        return x

    pipe = IterableWrapper(range(40)).sharding_filter().map(dies)
    with DataLoader2(pipe, reading_service=service()) as dl:
        assert list(dl) == list(range(40))
        assert dl.stats()["restarts"] == 1
    assert "another one" in caplog.text and "worker 1" in caplog.text


def test_every_worker_may_be_lost_and_the_state_stays_exact() -> None:
    expected = whole(blocks())[0]
    with DataLoader2(blocks(), reading_service=service()) as dl:
        dl.seed(7)
        got, state = [], None
        for number, batch in enumerate(dl):
            got.append(batch)
            if number in (5, 20):
                os.kill(dl._session.workers[number % 2].process.pid, signal.SIGKILL)  # type: ignore[union-attr]
            if number == 30:
                state = json.loads(json.dumps(dl.state_dict()))
        assert got == expected
        dl.load_state_dict(state)
        assert list(dl) == expected[31:]


def test_an_item_that_kills_twice_ends_the_epoch() -> None:
    def crash(x: int) -> int:
        if x == 12:
            os._exit(3)
        return x

    pipe = IterableWrapper(range(40)).sharding_filter().map(crash, name="decode")
    with DataLoader2(pipe, reading_service=service()) as dl:
        got = []
        with pytest.raises(WorkerDied, match=r"exit code 3.*'decode'"):
            for x in dl:
                got.append(x)
        assert got == list(range(len(got))) and len(got) <= 12


def test_max_restarts_is_the_most_of_an_epoch() -> None:
    pipe = IterableWrapper(range(400)).sharding_filter().map(lambda x: (time.sleep(0.002), x)[1])
    with DataLoader2(pipe, reading_service=service(max_restarts=2)) as dl:
        for _ in range(2):
            lost = 0
            with pytest.raises(WorkerDied, match="SIGKILL"):
                for number, _ in enumerate(dl):
                    if number % 50 == 49:
                        os.kill(dl._session.workers[0].process.pid, signal.SIGKILL)  # type: ignore[union-attr]
                        lost += 1
            assert lost == 3
    with pytest.raises(ValueError, match="max_restarts"):
        service(max_restarts=-1)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("at", [0, 21, 39])
def test_a_worker_that_hangs_is_replaced(method: str, at: int, caplog: Any) -> None:
    pipe = IterableWrapper(range(40)).sharding_filter().map(faults.hang(at=at), name="slow")
    limit_s = 4 if method == "spawn" else 1  # more than a worker takes to start, also where much else runs
    options = {"worker_timeout_s": limit_s, "multiprocessing_context": method}
    with DataLoader2(pipe, reading_service=service(**options)) as dl:
        assert list(dl) == list(range(40))
        assert dl.stats()["restarts"] == 1
    assert re.search(
        rf"worker {at % 2} .* gave nothing for {limit_s} s; it was in pipe 'slow' .*, at batch {at}, ", caplog.text
    )


def test_an_item_that_hangs_twice_ends_the_epoch_and_the_next_one_works() -> None:
    fault = faults.hang(at=21, times=2)
    pipe = IterableWrapper(range(40)).sharding_filter().filter(lambda x: True).map(fault, name="slow")
    with DataLoader2(pipe, reading_service=service(worker_timeout_s=1.0)) as dl:
        said = r"worker 1 .* gave nothing for 1 s; it was in pipe 'slow' \(map\(hang\) at .*, at item 10 of lane 1, "
        with pytest.raises(WorkerDied, match=said) as caught:
            list(dl)
        assert re.search(r"0\.\d\d s before; resident memory \d+ MiB$", str(caught.value))
        assert list(dl) == list(range(40))


def test_a_loop_that_takes_its_time_is_no_hang() -> None:
    pipe = IterableWrapper(range(8)).sharding_filter().map(lambda x: (time.sleep(0.1), x)[1])
    with DataLoader2(pipe, reading_service=service(worker_timeout_s=0.8, worker_prefetch_cnt=1)) as dl:
        assert [(x, time.sleep(1.0))[0] if x == 3 else x for x in dl] == list(range(8))
        assert dl.stats()["restarts"] == 0


@pytest.mark.parametrize("timeout_s", [0, -1.0, float("nan")])
def test_the_limit_of_a_wait_is_positive(timeout_s: float) -> None:
    with pytest.raises(ValueError, match="worker_timeout_s must be positive"):
        service(worker_timeout_s=timeout_s)


def test_one_that_is_killed_for_its_memory_can_be_told_by_that(caplog: Any) -> None:
    def greedy(x: int) -> int:
        if x == 7:
            held.append(bytes(range(256)) * (800 << 10))
            time.sleep(0.2)
        return x

    held: list[bytes] = []
    pipe = IterableWrapper(range(20)).sharding_filter().map(greedy).map(faults.kill(at=7))
    with DataLoader2(pipe, reading_service=service()) as dl:
        assert list(dl) == list(range(20))
    memory = re.search(r"SIGKILL\); it was .*; resident memory (\d+) MiB", caplog.text)
    assert memory and int(memory[1]) > 200


def test_the_item_that_kills_twice_is_named() -> None:
    fault = faults.kill(at=lambda x: x == "item 22", times=None)
    graph = IterableWrapper(range(40)).sharding_filter().map("item {}".format).filter(lambda x: True)
    with DataLoader2(graph.map(fault, name="decode").batch(2), reading_service=service(lanes=4)) as dl:
        said = r"SIGKILL.*in pipe 'decode' .* on 'item 22', at item 2 of lane 2; it died there again"
        with pytest.raises(WorkerDied, match=said):
            list(dl)


def test_one_too_many_says_how_many_there_may_be() -> None:
    pipe = IterableWrapper(range(40)).sharding_filter().map(faults.kill(at=lambda x: x in (9, 19), times=None))
    pipe = pipe.map(lambda x: (time.sleep(0.005), x)[1])
    with DataLoader2(pipe, reading_service=service(max_restarts=0)) as dl, pytest.raises(WorkerDied) as caught:
        list(dl)
    assert "max_restarts" in "\n".join(caught.value.__notes__)


def test_replacing_a_worker_takes_less_than_a_second() -> None:
    pipe = IterableWrapper(range(100)).sharding_filter().map(lambda x: x)
    with DataLoader2(pipe, reading_service=service(worker_prefetch_cnt=1, main_prefetch_cnt=0)) as dl:
        it = iter(dl)
        next(it)
        os.kill(dl._session.workers[1].process.pid, signal.SIGKILL)  # type: ignore[union-attr]
        began = time.monotonic()
        rest = list(it)
        assert rest == list(range(1, 100))
        assert within(1.0, since=began)
