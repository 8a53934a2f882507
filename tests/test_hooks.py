"""worker_init_fn and worker_reset_fn, as torchdata's programs use them; workers that die while they start or end."""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from penstock import (
    DataLoader2,
    InProcessReadingService,
    IterableWrapper,
    MultiProcessingReadingService,
    SequenceWrapper,
    StateError,
    WorkerDied,
)
from penstock.core.walk import walk
from penstock.graph import apply_sharding
from penstock.pipes.sharding import SHARDING_PRIORITIES
from running import within

pytestmark = pytest.mark.usefixtures("no_leftovers")
METHODS = ["forkserver", "spawn", "fork"]


def service(workers: int = 2, **options: Any) -> MultiProcessingReadingService:
    return MultiProcessingReadingService(workers, **options)


def divide(datapipe: Any, info: Any) -> Any:
    """As torchdata's own test has it."""
    datapipe = datapipe.sharding_filter()
    apply_sharding(datapipe, info.num_workers, info.worker_id, SHARDING_PRIORITIES.MULTIPROCESSING)
    return datapipe


def same_seed(datapipe: Any, info: Any, seed_generator: Any) -> Any:
    seed_generator.seed(123)
    for pipe in walk(datapipe):
        if hasattr(pipe, "set_seed"):
            pipe.set_seed(seed_generator.generate_shared_seed())
    return datapipe


def trip(state: Any) -> Any:
    return json.loads(json.dumps(state, allow_nan=False))


def notes(error: BaseException) -> str:
    return "\n".join(getattr(error, "__notes__", ()))


# --------------------------------------------------------------------------------- an init function that divides


@pytest.mark.parametrize("method", METHODS)
def test_torchdatas_worker_functions_give_each_item_once_and_each_epoch_alike(method: str) -> None:
    pipe = IterableWrapper(range(100)).batch(2).shuffle()
    options = {"worker_init_fn": divide, "worker_reset_fn": same_seed, "multiprocessing_context": method}
    with DataLoader2(pipe, reading_service=service(**options)) as dl:
        epochs = [list(dl) for _ in range(3)]
        dl.seed(5)
        epochs += [list(dl), list(dl)]
    assert sorted(itertools.chain.from_iterable(epochs[0])) == list(range(100))
    assert all(epoch == epochs[0] for epoch in epochs)
    assert epochs[0] != sorted(epochs[0])


@pytest.mark.parametrize("divides", ["by itself", "by a sharding_filter"])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_what_an_init_function_divides_is_restored_at_any_index(divides: str, workers: int) -> None:
    def point(datapipe: Any, info: Any) -> Any:
        return datapipe.sharding_filter()

    init = divide if divides == "by itself" else point
    pipe = IterableWrapper(range(17)).shuffle(buffer_size=6)
    with DataLoader2(pipe, reading_service=service(workers, worker_init_fn=init)) as dl:
        dl.seed(3)
        rows = list(dl)
        assert sorted(rows) == list(range(17))
        for stop in (0, 1, 8, 16, 17):
            dl.seed(3)
            it = iter(dl)
            head = [next(it) for _ in range(stop)]
            dl.load_state_dict(trip(dl.state_dict()))
            assert head + list(dl) == rows


def test_a_graph_divided_by_hand_refuses_a_state_of_another_number_of_workers() -> None:
    pipe = IterableWrapper(range(17)).shuffle(buffer_size=6)
    with DataLoader2(pipe, reading_service=service(2, worker_init_fn=divide)) as dl:
        it = iter(dl)
        next(it)
        state = trip(dl.state_dict())
    with DataLoader2(pipe, reading_service=service(3, worker_init_fn=divide)) as dl:
        dl.load_state_dict(state)
        with pytest.raises(StateError, match="divides the graph among 3 workers, and the state was saved by 2"):
            list(dl)


def test_a_graph_that_an_init_function_leaves_undivided_is_told_so(capfd: pytest.CaptureFixture[str]) -> None:
    with DataLoader2(
        IterableWrapper(range(4)).map(lambda x: x), reading_service=service(2, worker_init_fn=lambda graph, info: None)
    ) as dl:
        assert sorted(dl) == [0, 0, 1, 1, 2, 2, 3, 3]
    told = capfd.readouterr().err
    assert told.count("has no sharding point, also after worker_init_fn") == 1 and "map(<lambda>)" in told


# ------------------------------------------------------------------------------------------------- seeds of pipes

SHUFFLES: dict[str, Callable[[], Any]] = {
    "shuffle": lambda: IterableWrapper(range(30)).shuffle(),
    "shuffle of a map pipe": lambda: SequenceWrapper(range(30)).shuffle(),
    "in_batch_shuffle": lambda: IterableWrapper(range(30)).batch(15).in_batch_shuffle().unbatch(),
    "shuffled_flatmap": lambda: IterableWrapper(range(30)).batch(3).shuffled_flatmap(),
}


@pytest.mark.parametrize("name", SHUFFLES)
def test_a_seed_set_in_each_epoch_repeats_and_a_seed_set_once_does_not(name: str) -> None:
    with DataLoader2(SHUFFLES[name](), reading_service=InProcessReadingService(reset_fn=same_seed)) as dl:
        dl.seed(1)
        first, second = list(dl), list(dl)
        dl.seed(2)
        assert first == second == list(dl), "set in each epoch"
        assert sorted(first) == list(range(30)) != first

    once = SHUFFLES[name]()
    for pipe in walk(once):
        if hasattr(pipe, "set_seed"):
            assert pipe.set_seed(9) is pipe
    runs = []
    for seed in (1, 2):
        with DataLoader2(once) as dl:
            dl.seed(seed)
            runs.append([list(dl), list(dl)])
    assert runs[0] == runs[1], "whatever the run's seed is"
    assert runs[0][0] != runs[0][1], "and epochs differ"


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.filterwarnings("ignore:num_workers is 0")
def test_an_epoch_whose_seed_is_set_is_restored_in_a_later_epoch(workers: int) -> None:
    pipe = IterableWrapper(range(20)).shuffle(buffer_size=6).sharding_filter()
    with DataLoader2(pipe, reading_service=service(workers, worker_reset_fn=same_seed)) as dl:
        dl.seed(1)
        list(dl)
        it = iter(dl)
        head = [next(it) for _ in range(8)]
        state = trip(dl.state_dict())
        rows = head + list(it)
    with DataLoader2(pipe, reading_service=service(2, worker_reset_fn=same_seed)) as dl:
        dl.load_state_dict(state)
        assert list(dl) == rows[8:]
        assert list(dl) == rows


def test_seeds_that_a_reset_function_draws_differ_from_epoch_to_epoch_and_repeat_with_the_run() -> None:
    def draw(datapipe: Any, info: Any, seeds: Any) -> Any:
        shared, own = seeds.generate_shared_seed(), seeds.generate_seed()
        return datapipe.map(lambda x: (info.worker_id, shared, own))

    with DataLoader2(IterableWrapper(range(4)).sharding_filter(), reading_service=service(worker_reset_fn=draw)) as dl:
        runs = []
        for _ in range(2):
            dl.seed(1)
            runs.append([list(dl), list(dl)])
    assert runs[0] == runs[1] and runs[0][0] != runs[0][1]
    (_, shared_0, own_0), (_, shared_1, own_1) = runs[0][0][:2]
    assert shared_0 == shared_1 and own_0 != own_1


# ------------------------------------------------------------------------------------------- functions that go wrong


class OddError(Exception):
    """Needs more than one argument."""

    def __init__(self, code: int, *, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("which", ["worker_init_fn", "worker_reset_fn"])
def test_a_function_that_raises_says_where_in_time(which: str, method: str) -> None:
    def fail(graph: Any, info: Any, *rest: Any) -> None:
        if info.worker_id == 1:
            raise OddError(7, reason="no GPU")

    pipe = IterableWrapper(range(20)).sharding_filter()
    with DataLoader2(pipe, reading_service=service(multiprocessing_context=method, **{which: fail})) as dl:
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(OddError, match="7: no GPU") as caught:
                list(dl)
            assert within(2.0, since=began)
            told = notes(caught.value)
            assert caught.value.code == 7
            assert f"penstock: in {which}" in told and "in fail" in told and "worker 1" in told


@pytest.mark.parametrize("which", ["worker_init_fn", "worker_reset_fn"])
def test_an_epoch_behind_one_whose_function_raised_runs(which: str, tmp_path: Any) -> None:
    flag = tmp_path / "fail"
    flag.touch()

    def fail_once(graph: Any, info: Any, *rest: Any) -> None:
        if flag.exists():
            raise OSError("not yet")

    pipe = IterableWrapper(range(20)).sharding_filter()
    with DataLoader2(pipe, reading_service=service(**{which: fail_once})) as dl:
        with pytest.raises(OSError, match="not yet"):
            list(dl)
        flag.unlink()
        if which == "worker_reset_fn":
            assert list(dl) == list(range(20))
        else:  # the workers have never come to be: the loader says so each time
            with pytest.raises(OSError, match="not yet"):
                list(dl)


@pytest.mark.parametrize(
    ("method", "restarts"),
    [  # {}: others are started first
        *((method, {"max_restarts": 0}) for method in METHODS if method != "spawn"),
        pytest.param("spawn", {"max_restarts": 0}, marks=pytest.mark.slow),
        ("forkserver", {}),
    ],
)
@pytest.mark.parametrize("which", ["worker_init_fn", "worker_reset_fn"])
@pytest.mark.parametrize("how", ["kill", "exit"])
def test_a_worker_that_dies_in_a_function_is_named_in_time(
    which: str, how: str, method: str, restarts: dict[str, int]
) -> None:
    def die(graph: Any, info: Any, *rest: Any) -> None:
        if info.worker_id == 1:
            if how == "exit":
                os._exit(3)
            os.kill(os.getpid(), signal.SIGKILL)

    pipe = IterableWrapper(range(20)).sharding_filter()
    reading_service = service(multiprocessing_context=method, **restarts, **{which: die})
    with DataLoader2(pipe, reading_service=reading_service) as dl:
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(WorkerDied, match=r"worker 1 \(pid \d+\)") as caught:
                list(dl)
            assert within(2.0, since=began)
            assert ("SIGKILL" if how == "kill" else "exit code 3") in str(caught.value)
        began = time.monotonic()
    assert within(2.0, since=began)


def test_a_worker_that_dies_once_in_a_function_is_replaced_in_the_next_epoch(tmp_path: Any) -> None:
    flag = tmp_path / "die"
    flag.touch()

    def die_once(graph: Any, info: Any, *rest: Any) -> None:
        if info.worker_id == 0 and flag.exists():
            flag.unlink()
            os.kill(os.getpid(), signal.SIGKILL)

    pipe = IterableWrapper(range(20)).sharding_filter()
    for which in ("worker_init_fn", "worker_reset_fn"):
        flag.touch()
        with DataLoader2(pipe, reading_service=service(max_restarts=0, **{which: die_once})) as dl:
            with pytest.raises(WorkerDied):
                list(dl)
            assert list(dl) == list(range(20))
        flag.touch()
        with DataLoader2(pipe, reading_service=service(**{which: die_once})) as dl:
            assert list(dl) == list(range(20)), "replaced in the same epoch"


# ----------------------------------------------------------------------------------------------------- shutting down


def slow(seconds: float) -> Any:
    def sleep(x: int) -> int:
        if x >= 4:
            time.sleep(seconds)
        return x

    return IterableWrapper(range(400)).sharding_filter().map(sleep)


@pytest.mark.parametrize("method", METHODS)
def test_shutting_down_is_quick_also_where_workers_are_busy_or_dead(method: str) -> None:
    for seconds, most in ((0.0, 0.5), (10.0, 2.0)):  # the benchmark has the tighter bars, on a quiet machine
        dl = DataLoader2(slow(seconds), reading_service=service(4, multiprocessing_context=method))
        it = iter(dl)
        for _ in range(4):
            next(it)
        time.sleep(0.2)
        assert dl._session is not None
        pids = [worker.process.pid for worker in dl._session.workers]  # type: ignore[attr-defined]  # its own kind
        if seconds == 0.0:
            os.kill(pids[2], signal.SIGKILL)
        began = time.monotonic()
        dl.shutdown()
        assert within(most, since=began)


@pytest.mark.parametrize("method", METHODS)
def test_workers_that_are_killed_in_the_shutdown_do_not_matter(method: str) -> None:
    dl = DataLoader2(slow(10.0), reading_service=service(2, multiprocessing_context=method))
    it = iter(dl)
    next(it)
    assert dl._session is not None
    for worker in dl._session.workers:  # type: ignore[attr-defined]  # its own kind
        os.kill(worker.process.pid, signal.SIGKILL)
    began = time.monotonic()
    dl.shutdown()
    dl.shutdown()
    assert within(1.0, since=began)
    with pytest.raises(RuntimeError, match="shut down"):
        next(it)


@pytest.mark.parametrize("which", ["worker_init_fn", "worker_reset_fn"])
def test_shutting_down_does_not_wait_for_a_function_of_the_start(which: str) -> None:
    def sleep(graph: Any, *rest: Any) -> None:
        time.sleep(10)

    dl = DataLoader2(IterableWrapper(range(4)).sharding_filter(), reading_service=service(**{which: sleep}))
    iter(dl)
    time.sleep(0.5)
    began = time.monotonic()
    dl.shutdown()
    assert within(2.0, since=began)
