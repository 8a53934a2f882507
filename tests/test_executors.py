"""Functions that run elsewhere: in threads, in processes, on a dask cluster, in an executor of the user's."""

from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from penstock import (
    BadSamples,
    DataLoader2,
    InProcessReadingService,
    IterableWrapper,
    MultiProcessingReadingService,
    StateError,
    ThreadingReadingService,
)
from penstock.iterstream import IterableSource
from penstock.testing import faults
from penstock.testing.leftovers import no_leftovers
from running import context, restores_at_every_index, run, trip, within

WORKERS: dict[str, Callable[[], Any]] = {
    "processes": lambda: MultiProcessingReadingService(2),
    "threads": lambda: ThreadingReadingService(2),
}


def wrap(n: int) -> IterableWrapper[int]:
    return IterableWrapper(range(n))


def settled(value: Callable[[], Any], expected: Any) -> bool:
    """Whether a value becomes what it should be, and stays so."""
    deadline = time.monotonic() + 5
    while value() != expected and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.05)
    return bool(value() == expected)


class Busy(Executor):
    """An executor that runs nothing before it is told to, and then what it is told to."""

    def __init__(self) -> None:
        self.tasks: list[tuple[Future[Any], Callable[[], Any]]] = []
        self.closed = False

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.tasks.append((future, partial(fn, *args, **kwargs)))
        return future

    def run(self, *numbers: int) -> None:
        for number in numbers:
            future, call = self.tasks[number]
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except Exception as error:
                    future.set_exception(error)

    def run_when_there(self, number: int) -> None:
        deadline = time.monotonic() + 20
        while len(self.tasks) <= number and time.monotonic() < deadline:
            time.sleep(0.001)
        self.run(number)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self.closed = True


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        yield client


@pytest.fixture(scope="module")
def pool() -> Iterator[Any]:
    """Two processes for the whole module, of the tests' own."""
    import multiprocessing

    with ProcessPoolExecutor(2, multiprocessing.get_context("forkserver")) as pool:
        pool.submit(int).result(60)
        yield pool


EXECUTORS = [
    "threads",
    "processes",
    "a thread pool",
    "a process pool",
    "a function",
    "a class",
    "dask",
    "dask's executor",
]


@pytest.fixture(params=EXECUTORS)
def executor(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "a thread pool":
        with ThreadPoolExecutor(2) as threads:
            yield threads
    elif request.param == "a process pool":
        yield request.getfixturevalue("pool")
    elif request.param == "a function":
        yield lambda: ThreadPoolExecutor(2)
    elif request.param == "a class":
        yield ThreadPoolExecutor
    elif request.param == "dask":
        yield request.getfixturevalue("client")
    elif request.param == "dask's executor":
        yield request.getfixturevalue("client").get_executor()
    else:
        yield request.param


# ----------------------------------------------------------------------------------------------------- any executor


def negative(x: int) -> int:
    return -x


@pytest.mark.parametrize("ordered", [True, False])
def test_every_item_comes_once_and_in_order_where_that_is_asked_for(executor: Any, ordered: bool) -> None:
    pipe = wrap(30).async_map(negative, buffer=4, max_workers=2, executor=executor, ordered=ordered)
    assert len(pipe) == 30
    found = list(pipe)
    assert sorted(found) == sorted(-x for x in range(30))
    assert not ordered or found == [-x for x in range(30)]
    assert list(wrap(0).async_map(negative, executor=executor, ordered=ordered)) == []


@pytest.mark.parametrize("ordered", [True, False])
def test_an_error_keeps_its_type_and_names_the_pipe_and_ends_the_stream(executor: Any, ordered: bool) -> None:
    it: Any = iter(wrap(30).async_map(inverse, 4, 2, executor, ordered=ordered))
    if ordered:
        assert [next(it) for _ in range(5)] == [inverse(x) for x in range(5)]
    with pytest.raises(ZeroDivisionError) as raised:
        list(it)
    notes = "\n".join(raised.value.__notes__)
    assert "raised in pipe 'async_map'" in notes and "test_executors.py" in notes
    assert list(it) == []


def inverse(x: int) -> float:
    return 1 / (5 - x)


def test_a_stop_iteration_is_an_error_and_not_the_end(executor: Any) -> None:
    for ordered in (True, False):
        with pytest.raises(RuntimeError, match="StopIteration"):
            list(wrap(4).async_map(stops, executor=executor, ordered=ordered))


def stops(x: int) -> int:
    raise StopIteration


def test_bad_samples_are_skipped_in_it(executor: Any) -> None:
    for ordered in (True, False):
        pipe = wrap(12).async_map(inverse, 4, 2, executor, ordered=ordered)
        with DataLoader2(pipe.batch(3), bad_samples=BadSamples("skip")) as dl:
            found = list(dl)
            assert sorted(x for batch in found for x in batch) == sorted(inverse(x) for x in range(12) if x != 5)
            assert dl.stats()["skipped"] == 1
            assert not ordered or [len(batch) for batch in found] == [3, 2, 3, 3]


def test_it_restores_at_every_index(executor: Any) -> None:
    pipe = wrap(5).shuffle(buffer_size=3).async_map(negative, 2, 2, executor)
    restores = [-x for x in range(5)]
    ctx = context(pipe)
    stream = ctx.build(pipe)
    states, items = [trip(stream.state())], []
    for item in stream.it:
        items.append(item)
        states.append(trip(stream.state()))
    assert sorted(items) == sorted(restores)
    for i, state in enumerate(states):
        again = context(pipe).build(pipe, state)
        assert trip(again.state()) == state
        assert list(again.it) == items[i:]
        again.close()


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_what_a_stream_starts_ends_with_it(executor: str) -> None:
    list(wrap(3).async_map(negative, executor=executor))  # what an import opens once
    for ordered in (True, False):
        with no_leftovers():
            pipe = wrap(300).async_map(negative, 20, 2, executor, ordered=ordered)
            assert len(list(pipe)) == 300
            it: Any = iter(pipe)
            next(it)
            it.close()
            it = iter(pipe)
            next(it)
            del it
            with pytest.raises(ZeroDivisionError):
                list(wrap(300).async_map(inverse, 20, 2, executor, ordered=ordered))


def test_what_is_no_executor_is_refused_when_the_pipe_is_made() -> None:
    for executor in ("thread", 3, [1]):
        with pytest.raises(ValueError, match="executor must be 'threads', 'processes'"):
            wrap(3).async_map(str, executor=executor)
    with pytest.raises(ValueError, match="buffer must be at least 1, got 0"):
        wrap(3).async_map(str, 0)
    with pytest.raises(ValueError, match="max_workers must be at least 1, got 0"):
        wrap(3).async_map(str, max_workers=0)


# -------------------------------------------------------------------------------------------- executors of the user's


@pytest.mark.parametrize("ordered", [True, False])
def test_an_executor_that_is_given_stays_open_and_one_that_is_made_is_closed(ordered: bool) -> None:
    with ThreadPoolExecutor(2) as threads:
        for _ in range(2):
            assert len(list(wrap(9).async_map(negative, executor=threads, ordered=ordered))) == 9
        assert threads.submit(int).result() == 0
    made: list[ThreadPoolExecutor] = []

    def make() -> Any:
        made.append(ThreadPoolExecutor(2))
        return made[-1]

    pipe = wrap(50).async_map(negative, 8, executor=make, ordered=ordered)
    list(pipe)
    it: Any = iter(pipe)
    next(it)
    it.close()
    assert len(made) == 2
    for executor in made:
        with pytest.raises(RuntimeError, match="after shutdown"):
            executor.submit(int)


@pytest.mark.parametrize("ordered", [True, False])
def test_a_stream_that_is_never_read_makes_no_executor(ordered: bool) -> None:
    made: list[int] = []
    pipe = wrap(5).async_map(negative, executor=lambda: made.append(1), ordered=ordered)
    it: Any = iter(pipe)
    it.load_state_dict(it.state_dict())
    it.close()
    assert made == []


@pytest.mark.parametrize("ordered", [True, False])
def test_leaving_returns_at_once_and_cancels_what_has_not_begun(ordered: bool) -> None:
    busy = Busy()
    it: Any = iter(wrap(100).async_map(negative, 10, executor=busy, ordered=ordered))
    taken = threading.Thread(target=lambda: next(it))
    taken.start()
    ahead = 11 if ordered else 10  # in order, the consumer holds one as well
    assert settled(lambda: len(busy.tasks), ahead)
    busy.run(0, 1)
    taken.join(20)
    assert settled(lambda: len(busy.tasks), ahead)
    busy.tasks[2][0].set_running_or_notify_cancel()
    began = time.monotonic()
    it.close()
    assert within(1, since=began)
    states = [future._state for future, _ in busy.tasks]
    assert states[:3] == ["FINISHED", "FINISHED", "RUNNING"]
    assert set(states[3:]) == {"CANCELLED"}
    assert not busy.closed


@pytest.mark.parametrize("ordered", [True, False])
def test_leaving_early_runs_no_more_than_what_had_begun(ordered: bool, no_leftovers: None) -> None:
    begun: list[int] = []
    release = threading.Event()

    def slow(x: int) -> int:
        begun.append(x)
        if x:
            release.wait(20)
        return x

    with ThreadPoolExecutor(2) as threads:
        for executor in ("threads", threads):
            begun.clear()
            release.clear()
            it: Any = iter(wrap(100).async_map(slow, 50, 2, executor, ordered=ordered))
            assert next(it) == 0
            assert settled(lambda: len(begun), 3)
            it.close()
            release.set()
            time.sleep(0.1)
            assert sorted(begun) == [0, 1, 2]


def test_a_result_that_comes_just_when_the_wait_ends_is_no_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    class Late(Future[Any]):
        def result(self, timeout: float | None = None) -> Any:
            if timeout is not None:
                raise TimeoutError
            return super().result()

    class Inline(Busy):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            future = Late()
            try:
                future.set_result(fn(*args, **kwargs))
            except Exception as error:
                future.set_exception(error)
            return future

    assert list(wrap(3).async_map(negative, executor=Inline())) == [0, -1, -2]

    def late(x: int) -> int:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        list(wrap(3).async_map(late, executor=Inline()))


@pytest.mark.parametrize("ordered", [True, False])
def test_an_executor_that_was_shut_down_is_an_error(ordered: bool) -> None:
    threads = ThreadPoolExecutor(1)
    threads.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        list(wrap(3).async_map(negative, executor=threads, ordered=ordered))


# ------------------------------------------------------------------------------------------------------ as completed


def test_what_is_done_first_comes_first() -> None:
    busy = Busy()
    it: Any = iter(wrap(6).async_map(negative, 3, executor=busy, ordered=False))
    found: list[int] = []
    reader = threading.Thread(target=lambda: found.extend(it))
    reader.start()
    assert settled(lambda: len(busy.tasks), 3)
    for number, expected in ((2, [-2]), (0, [-2, 0]), (3, [-2, 0, -3]), (1, [-2, 0, -3, -1])):
        busy.run(number)
        assert settled(lambda: list(found), expected)
    busy.run(5, 4)
    reader.join(20)
    assert found == [-2, 0, -3, -1, -5, -4]


def test_a_slow_item_holds_up_nothing_but_what_is_eight_buffers_behind_it() -> None:
    busy = Busy()
    pipe = wrap(100).async_map(negative, 2, executor=busy, ordered=False)
    stream = context(pipe).build(pipe)
    found: list[int] = []
    reader = threading.Thread(target=lambda: found.extend(stream.it))
    reader.start()
    for number in range(1, 16):  # the first hangs
        busy.run_when_there(number)
    assert settled(lambda: len(found), 15)
    assert len(busy.tasks) == 16
    assert len(str(stream.state())) < 200
    for number in (0, *range(16, 100)):
        busy.run_when_there(number)
    reader.join(20)
    assert sorted(found) == sorted(-x for x in range(100))


@pytest.mark.parametrize("buffer", [1, 3, 20])
@pytest.mark.parametrize("source", ["plain", "shuffled", "flatmap"])
def test_nothing_is_lost_or_doubled_as_completed_wherever_it_is_saved(buffer: int, source: str) -> None:
    pipe: Any = wrap(60)
    if source == "shuffled":
        pipe = pipe.shuffle(buffer_size=7)
    elif source == "flatmap":
        pipe = wrap(20).flatmap(lambda x: [3 * x, 3 * x + 1, 3 * x + 2])
    rng = random.Random(buffer)
    delays = [rng.choice([0, 0, 0, 0.002]) for _ in range(60)]
    pipe = pipe.async_map(lambda x: time.sleep(delays[x]) or x, buffer, 4, ordered=False)
    stream = context(pipe).build(pipe)
    states, items = [trip(stream.state())], []
    for item in stream.it:
        items.append(item)
        states.append(trip(stream.state()))
    assert sorted(items) == list(range(60))
    for i, state in enumerate(states):
        restored = context(pipe).build(pipe, state)
        assert trip(restored.state()) == state
        head = list(islice(restored.it, 4))
        again = context(pipe).build(pipe, trip(restored.state()))
        rest = list(again.it)
        assert sorted(items[:i] + head + rest) == list(range(60)), f"from {i} on"
        assert sorted(items[:i] + head + list(restored.it)) == list(range(60))


def test_a_source_that_ends_sooner_than_it_did_is_a_state_error() -> None:
    pipe = wrap(9).async_map(negative, ordered=False)
    restored = context(pipe).build(pipe, {"async_map": [None, 9, [2]]})
    with pytest.raises(StateError, match="its source ends ahead of items that were delivered"):
        list(restored.it)


def test_the_state_of_the_source_is_asked_for_once_in_a_while_as_completed() -> None:
    pipe = wrap(1000).shuffle(buffer_size=10).async_map(negative, 4, ordered=False)
    asked = 0
    ctx = context(pipe)
    build = type(pipe.datapipe).build

    def counted(self: Any, *arguments: Any) -> Any:
        stream = build(self, *arguments)
        tell = stream.state

        def note() -> Any:
            nonlocal asked
            asked += 1
            return tell()

        stream.state = note
        return stream

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(pipe.datapipe), "build", counted)
        assert len(list(ctx.build(pipe).it)) == 1000
    assert asked <= 1000 / 16 + 2


@pytest.mark.parametrize("where", WORKERS)
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("executor", ["threads", "processes", "a function"])
def test_it_runs_on_workers(where: str, ordered: bool, executor: Any) -> None:
    made = (lambda: ThreadPoolExecutor(2)) if executor == "a function" else executor
    pipe = wrap(24).shuffle().sharding_filter().async_map(negative, 4, 2, made, ordered=ordered).batch(2)
    with DataLoader2(pipe, reading_service=WORKERS[where]()) as dl:
        dl.seed(3)
        epochs = [[x for batch in dl for x in batch] for _ in range(2)]
        assert all(sorted(epoch) == sorted(-x for x in range(24)) for epoch in epochs)
        head = [x for batch in islice(dl, 5) for x in batch]
        state = trip(dl.state_dict())
    with DataLoader2(pipe, reading_service=InProcessReadingService()) as dl:
        dl.load_state_dict(state)
        assert sorted(head + [x for batch in dl for x in batch]) == sorted(-x for x in range(24))
    if ordered:
        with DataLoader2(pipe) as dl:
            dl.seed(3)
            assert [x for batch in dl for x in batch] == epochs[0]


def test_an_executor_cannot_be_sent_to_workers_and_the_error_says_so() -> None:
    with ThreadPoolExecutor(1) as threads:
        pipe = wrap(4).sharding_filter().async_map(negative, executor=threads)
        with (
            DataLoader2(pipe, reading_service=MultiProcessingReadingService(1)) as dl,
            pytest.raises(TypeError, match="cannot pickle the executor of async_map"),
        ):
            list(dl)


# -------------------------------------------------------------------------------------------------------- processes


def test_a_lambda_and_what_it_holds_goes_to_processes_once(tmp_path: Path) -> None:
    table = np.arange(100_000)
    packed: list[int] = []

    class Heavy:
        def __reduce__(self) -> Any:
            packed.append(1)
            return Heavy, ()

    heavy = Heavy()
    me = os.getpid()
    pipe = wrap(20).async_map(lambda x: (int(table[x]), os.getpid() != me, heavy is None), 4, 2, "processes")
    assert list(pipe) == [(x, True, False) for x in range(20)]
    assert packed == [1]


@pytest.mark.parametrize("ordered", [True, False])
def test_a_process_that_dies_is_an_error_and_no_hang(ordered: bool) -> None:
    def die(x: int) -> int:
        if x == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    list(wrap(1).async_map(negative, executor="processes"))  # multiprocessing's helpers stay
    with no_leftovers():
        try:
            list(wrap(50).async_map(die, 10, 2, "processes", ordered=ordered))
        except BrokenProcessPool as error:
            notes = "\n".join(error.__notes__)
    # It was run again to find out, and not in this process.
    assert "raised in pipe 'async_map'" in notes and notes.endswith(": 3")
    with ProcessPoolExecutor(1) as pool, pytest.raises(BrokenProcessPool):
        list(wrap(50).async_map(die, 10, executor=pool, ordered=ordered))


def test_a_worker_that_is_killed_takes_the_processes_of_its_pool_with_it() -> None:
    graph = wrap(40).sharding_filter().async_map(lambda x: (x, os.getpid()), 4, 2, "processes")
    graph = graph.map(faults.kill(lambda pair: pair[0] == 21))
    with DataLoader2(graph, reading_service=MultiProcessingReadingService(1, max_restarts=1)) as dl:
        found = list(dl)
        assert [x for x, _ in found] == list(range(40)) and dl.stats()["restarts"] == 1
    pids, began = {pid for _, pid in found}, time.monotonic()
    assert len(pids) >= 2
    while any(map(psutil.pid_exists, pids)):
        assert within(10, since=began)
        time.sleep(0.02)


@pytest.mark.parametrize("ordered", [True, False])
def test_leaving_processes_waits_for_nothing_and_ends_them(ordered: bool) -> None:
    list(wrap(1).async_map(negative, executor="processes"))  # multiprocessing's helpers stay
    with no_leftovers():
        it: Any = iter(wrap(9).async_map(lambda x: time.sleep(60 * bool(x)) or x, 4, 2, "processes", ordered=ordered))
        assert next(it) == 0
        began = time.monotonic()
        it.close()
        assert within(2, since=began)


def test_a_program_that_does_not_guard_its_main_module_fails_and_does_not_hang(tmp_path: Path) -> None:
    program = tmp_path / "unguarded.py"
    program.write_text(
        "from penstock.pipes import IterableWrapper\n"
        "print(list(IterableWrapper(range(4)).async_map(lambda x: -x, max_workers=1, executor='processes')))\n"
    )
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "BrokenProcessPool" in done.stderr


def test_a_program_ends_though_a_call_in_a_process_hangs(tmp_path: Path) -> None:
    program = tmp_path / "guarded.py"
    program.write_text(
        "import time\n"
        "from penstock.pipes import IterableWrapper\n"
        "if __name__ == '__main__':\n"
        "    pipe = IterableWrapper(range(9)).async_map(\n"
        "        lambda x: time.sleep(100) if x else x, max_workers=2, executor='processes')\n"
        "    for x in pipe:\n"
        "        break\n"
        "    del pipe\n"
        "    print('left', flush=True)\n"
    )
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "left\n"


# -------------------------------------------------------------------------------------------------------------- dask


def test_equal_items_are_tasks_of_their_own_on_dask(client: Any) -> None:
    def draw(x: int) -> float:
        return float(np.random.default_rng().random())

    pipes = [
        IterableWrapper([1] * 6).async_map(draw, executor=client),
        IterableWrapper([1] * 6).async_map(draw, executor=client, ordered=False),
        IterableWrapper([1] * 6).async_map(draw, executor=client.get_executor()),
        IterableSource([1] * 6).dask_map(draw).materialize_dask(),
    ]
    for pipe in pipes:
        assert len(set(pipe)) == 6


def test_work_is_done_on_the_cluster(client: Any) -> None:
    me = os.getpid()
    pids = set(wrap(20).async_map(lambda x: time.sleep(0.01) or os.getpid(), executor=client))
    assert pids == set(client.run(os.getpid).values()) and me not in pids


def test_dask_map_moves_no_data_before_materialize_dask(client: Any) -> None:
    from dask.delayed import Delayed

    me = os.getpid()
    lazy = IterableSource([1, 2, 3]).dask_map(lambda x, by: (x * by, os.getpid()), by=10)
    assert all(isinstance(item, Delayed) for item in lazy)
    found = lazy.dask_map(lambda pair: (pair[0] + 1, pair[1], os.getpid())).materialize_dask().collect()
    assert [value for value, *_ in found] == [11, 21, 31]
    assert all(me not in pids for _, *pids in found)


def test_dask_map_restores_at_every_index_and_without_a_cluster() -> None:
    pytest.importorskip("dask")
    pipe = IterableSource(range(6)).dask_map(negative).materialize_dask(buffer=2)
    assert restores_at_every_index(pipe) == [-x for x in range(6)]


def test_leaving_cancels_what_has_not_begun_on_the_cluster(client: Any, tmp_path: Path) -> None:
    def slow(x: int) -> int:
        (tmp_path / str(x)).touch()
        time.sleep(0.3 * bool(x))
        return x

    for ordered in (True, False):
        for file in tmp_path.iterdir():
            file.unlink()
        it: Any = iter(wrap(100).async_map(slow, 50, executor=client, ordered=ordered))
        next(it)
        began = time.monotonic()
        it.close()
        assert within(2, since=began)
        time.sleep(1)
        assert len(list(tmp_path.iterdir())) <= 10
        assert client.submit(int, pure=False).result(30) == 0  # it stays open


def test_a_function_makes_a_client_for_each_stream_and_it_is_closed_behind_it(client: Any) -> None:
    from distributed import Client

    address = client.cluster.scheduler_address
    made: list[Any] = []

    def make() -> Any:
        made.append(Client(address, set_as_default=False))
        return made[-1]

    assert list(wrap(4).async_map(negative, executor=make)) == [0, -1, -2, -3]
    assert [each.status for each in made] == ["closed"]
    assert client.submit(int, pure=False).result(30) == 0  # the cluster goes on


def test_a_client_that_is_closed_while_it_is_used_is_an_error(client: Any) -> None:
    from distributed import Client

    with Client(client.cluster.scheduler_address, set_as_default=False) as own:
        it: Any = iter(wrap(50).async_map(lambda x: time.sleep(0.05) or x, 4, executor=own))
        next(it)
        own.close()
        with pytest.raises(Exception, match=r"(?i)cancel|clos|not running"):
            list(it)
    gc.collect()


# ------------------------------------------------------------------------------------------------------------- numba


def test_numba_map_gives_what_map_gives() -> None:
    pytest.importorskip("numba")
    assert list(wrap(5).numba_map(lambda x: {"x": x})) == [{"x": x} for x in range(5)]
    assert list(wrap(0).numba_map(negative)) == []
    assert len(wrap(5).numba_map(negative)) == 5
    assert restores_at_every_index(wrap(9).shuffle(buffer_size=3).numba_map(negative).batch(2))


def test_numba_map_on_workers_and_with_bad_samples() -> None:
    pytest.importorskip("numba")
    pipe = wrap(12).sharding_filter().numba_map(inverse).batch(3)
    with DataLoader2(pipe, bad_samples=BadSamples("skip")) as dl:
        expected = list(dl)
    with DataLoader2(pipe, bad_samples=BadSamples("skip"), reading_service=MultiProcessingReadingService(2)) as dl:
        assert list(dl) == expected
    assert [len(batch) for batch in expected] == [3, 2, 3, 3]


def test_an_error_in_numba_map_is_named_and_ends_the_stream() -> None:
    pytest.importorskip("numba")
    it: Any = iter(wrap(9).numba_map(inverse))
    assert [next(it) for _ in range(5)] == [inverse(x) for x in range(5)]
    with pytest.raises(ZeroDivisionError) as raised:
        next(it)
    assert "raised in pipe 'numba_map'" in "\n".join(raised.value.__notes__)
    assert list(it) == []


def test_a_stop_iteration_in_numba_map_is_an_error() -> None:
    pytest.importorskip("numba")
    with pytest.raises(RuntimeError):
        list(wrap(3).numba_map(stops))


def test_numba_map_can_be_left_and_dropped_at_any_item() -> None:
    pytest.importorskip("numba")
    for taken in range(4):
        it: Any = iter(wrap(9).map(lambda x: [x]).numba_map(lambda x: x))
        assert list(islice(it, taken)) == [[x] for x in range(taken)]
        if taken % 2:
            it.close()
        del it
        gc.collect()


def test_without_numba_or_dask_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.pipes.numba_mapper._loop", None)
    for name, pipe in (
        ("numba", wrap(3).numba_map(negative)),
        ("dask", IterableSource([1]).dask_map(negative)),
    ):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(ImportError, match=rf"pip install 'penstock\[{name}\]'"):
            list(pipe)


def test_a_compiled_function_that_lets_go_of_the_lock_runs_in_threads() -> None:
    numba = pytest.importorskip("numba")
    compiled = numba.njit(nogil=True)(lambda x: x * x)
    assert list(wrap(5).async_map(compiled, max_workers=2)) == [0, 1, 4, 9, 16]


# ----------------------------------------------------------------------------------------------------------- sliding


def windows(items: list[int], size: int, stride: int, least: int, pad: bool) -> list[list[Any]]:
    """What `sliding` is to give."""
    found: list[list[Any]] = [items[i : i + size] for i in range(0, len(items), stride)]
    found = [window for window in found if len(window) >= least]
    return [window + [None] * (size - len(window)) if pad else window for window in found]


@pytest.mark.parametrize("size", [2, 3, 5])
def test_windows_are_those_of_slices_and_restore_at_every_index(size: int) -> None:
    for count in range(8):
        for stride in range(1, size + 1):
            for least in range(1, size + 1):
                for pad in (False, True):
                    pipe = wrap(count).sliding(size, stride, at_least=least, pad=pad)
                    expected = windows(list(range(count)), size, stride, least, pad)
                    assert run(pipe) == expected
                    assert len(pipe) == len(expected)
    for stride in range(1, size + 1):
        restores_at_every_index(wrap(9).shuffle(buffer_size=4).sliding(size, stride, at_least=1))


def test_windows_share_their_items_unless_they_are_copied() -> None:
    source = IterableWrapper([[x] for x in range(4)])
    first, second, *_ = source.sliding(3)
    assert first[1] is second[0]
    first, second, *_ = source.sliding(3, deepcopy=True)
    assert first[1] == second[0] and first[1] is not second[0]


def test_windows_over_what_has_holes_are_of_what_is_left() -> None:
    with DataLoader2(wrap(8).map(inverse).sliding(3), bad_samples=BadSamples("skip")) as dl:
        assert list(dl) == windows_of([inverse(x) for x in range(8) if x != 5], 3)
        assert dl.stats()["skipped"] == 1


def windows_of(items: list[Any], size: int) -> list[Any]:
    return [items[i : i + size] for i in range(len(items) - size + 1)]


@pytest.mark.parametrize("arguments", [(1,), (3, 0), (3, 4)])
def test_sizes_that_do_not_fit_are_refused(arguments: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"window_size|stride"):
        wrap(3).sliding(*arguments)
    with pytest.raises(ValueError, match="at_least must be from 1 to 3"):
        wrap(3).sliding(3, at_least=4)
