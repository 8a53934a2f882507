"""A worker that is killed at any moment changes nothing: not the sequence, and nothing is left over.

Each run starts a loader on a graph, kills a random process of it with SIGKILL at a random moment, and compares both of
its epochs with those of one process. `make test` has 20 such runs, `make test-all` 100 more.
"""

from __future__ import annotations

import functools
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from penstock import DataLoader2, MultiProcessingReadingService
from penstock.pipes import IterableWrapper
from penstock.testing import faults, no_leftovers, plain
from running import within

COUNT = 160
LANES = 3


def drawing(x: int) -> tuple[int, float, float]:
    """Draws from the global generators, as augmentations do."""
    import numpy as np

    time.sleep(0.001)
    return x, random.random(), float(np.random.random())


def big(x: int) -> Any:
    """An array that goes through a slot, told from every other in each of its parts."""
    import numpy as np

    return np.full(100_000, x, np.int64)


def summed(arrays: list[Any]) -> list[tuple[int, int, int]]:
    return [(int(a.min()), int(a.max()), int(a.sum())) for a in arrays]


def shuffled() -> Any:
    return IterableWrapper(range(COUNT)).shuffle(buffer_size=40)


def blocks() -> Any:
    return shuffled().sharding_filter().map(drawing).batch(4)


def arrays() -> Any:
    return shuffled().sharding_filter().map(big).batch(4)


def lanes() -> Any:
    def two(x: int) -> list[int]:
        time.sleep(0.001)
        return [x, -x] if x % 5 else []

    return (
        shuffled().sharding_filter().filter(lambda x: x % 3).flatmap(two).random_map(lambda x, rng: (x, rng.random()))
    )


def dispatched() -> Any:
    pipe = shuffled().map(lambda x: (time.sleep(0.0005), x)[1]).sharding_round_robin_dispatch()
    return pipe.map(drawing).batch(4)


def dispatched_lanes() -> Any:
    pipe = shuffled().map(lambda x: (time.sleep(0.0005), x)[1]).sharding_round_robin_dispatch()
    return pipe.filter(lambda x: (time.sleep(0.0005), x % 3)[1]).batch(4)


@dataclass(frozen=True)
class Moment:
    """When to kill, and whom.

    Attributes:
        graph: which graph runs.
        within_s: between which delays behind the start of the epoch, or (with ``at_close``) behind asking for the end.
        dispatcher: whether the dispatching process is the victim; a worker otherwise.
        at_close: the loader is shut down in the middle of an epoch, and the kill comes then.
    """

    graph: Callable[[], Any]
    within_s: tuple[float, float]
    dispatcher: bool = False
    at_close: bool = False


MOMENTS = {
    "at the start": Moment(blocks, (0.0, 0.02)),
    "in a function": Moment(blocks, (0.03, 0.12)),
    "in a lane": Moment(lanes, (0.02, 0.12)),
    "while a slot is written": Moment(arrays, (0.0, 0.08)),
    "behind the dispatcher": Moment(dispatched, (0.0, 0.12)),
    "the dispatcher": Moment(dispatched, (0.0, 0.12), dispatcher=True),
    "the dispatcher of lanes": Moment(dispatched_lanes, (0.0, 0.12), dispatcher=True),
    "at close": Moment(arrays, (0.0, 0.01), at_close=True),
    "at close of a dispatcher": Moment(dispatched, (0.0, 0.01), dispatcher=True, at_close=True),
}


@functools.cache
def expected(graph: Callable[[], Any]) -> list[list[Any]]:
    """Both epochs, undisturbed."""
    with DataLoader2(graph(), reading_service=MultiProcessingReadingService(2, lanes=LANES)) as dl:
        dl.seed(7)
        return [taken(dl), taken(dl)]


def taken(dl: Any) -> list[Any]:
    """An epoch's items, each looked at as it comes, so that slots come back."""
    return [summed(item) if hasattr(item[0], "sum") else plain(item) for item in dl]


@contextmanager
def killing(pid: int, delay_s: float) -> Iterator[None]:
    """Kill a process so long from now."""

    def kill() -> None:
        time.sleep(delay_s)
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:  # it has ended
            pass

    thread = threading.Thread(target=kill, name="killer")
    thread.start()
    try:
        yield
    finally:
        thread.join()


def one_run(moment: Moment, rng: random.Random) -> int:
    """Kill once, and compare; return how many were replaced."""
    workers = rng.choice([2, 2, 3])
    service = MultiProcessingReadingService(workers, lanes=LANES)
    first, second = expected(moment.graph)
    with no_leftovers():
        dl = DataLoader2(moment.graph(), reading_service=service)
        dl.seed(7)
        it = iter(dl)
        session: Any = dl._session
        victim = session.dispatcher if moment.dispatcher else rng.choice(session.workers)
        with killing(victim.process.pid, rng.uniform(*moment.within_s)):
            if moment.at_close:
                few = rng.randrange(10)
                assert taken(next(it) for _ in range(few)) == first[:few]
                dl.shutdown()
                restarts = 0
            else:
                assert taken(it) == first
        if not moment.at_close:
            assert taken(dl) == second, "the epoch behind it"
            restarts = dl.stats()["restarts"]
            dl.shutdown()
        del it, session, dl
    return restarts


def runs(count: int, seed: str) -> None:
    rng = random.Random(seed)
    order = [name for _ in range(-(-count // len(MOMENTS))) for name in rng.sample(sorted(MOMENTS), len(MOMENTS))]
    replaced = 0
    for number, name in enumerate(order[:count]):
        try:
            replaced += one_run(MOMENTS[name], rng)
        except BaseException as error:
            error.add_note(f"in run {number}, {name}")
            raise
    print(f"{count} runs, {replaced} replaced")
    assert replaced > count / 3, "too few of the kills came in time to matter"


def test_20_kills_at_random_moments_change_nothing() -> None:
    runs(20, "quick")


@pytest.mark.slow
@pytest.mark.parametrize("part", range(5))
def test_100_kills_at_random_moments_change_nothing(part: int) -> None:
    runs(20, f"part {part}")


@pytest.mark.slow
@pytest.mark.parametrize("at", [0, 77, 159])
def test_torchs_generator_survives_a_kill(at: int) -> None:
    import torch  # not within the function: a worker can seed only what it has loaded

    def drawing(x: int) -> tuple[int, float, float]:
        return x, random.random(), float(torch.rand(()))

    def epoch(function: Any) -> tuple[list[Any], int]:
        pipe = shuffled().sharding_filter().map(function).batch(4)
        with no_leftovers(), DataLoader2(pipe, reading_service=MultiProcessingReadingService(2)) as dl:
            dl.seed(7)
            return list(dl), dl.stats()["restarts"]

    items, _ = epoch(drawing)
    assert epoch(faults.kill(at=at, fn=drawing)) == (items, 1)


@pytest.mark.parametrize("dispatcher", [False, True], ids=["worker", "dispatcher"])
def test_a_replacement_takes_less_than_a_second(dispatcher: bool) -> None:
    pipe = IterableWrapper(range(100)).sharding_round_robin_dispatch().map(lambda x: x)
    service = MultiProcessingReadingService(2, worker_prefetch_cnt=1, main_prefetch_cnt=0)
    with no_leftovers(), DataLoader2(pipe, reading_service=service) as dl:
        it = iter(dl)
        next(it)
        session: Any = dl._session
        os.kill((session.dispatcher if dispatcher else session.workers[1]).process.pid, signal.SIGKILL)
        began = time.monotonic()
        assert list(it) == list(range(1, 100))
        assert within(1.0, since=began)
        del it, session
