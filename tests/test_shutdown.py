"""However a run ends, nothing is left of it: no process, no thread, no descriptor, no shared memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from penstock import DataLoader2, IterableWrapper, MultiProcessingReadingService
from running import within

METHODS = ["forkserver", "spawn", "fork"]
clean = pytest.mark.usefixtures("no_leftovers")


def loader(seconds: float = 0.0, method: str = "forkserver", **options: Any) -> DataLoader2[Any]:
    def make(i: int) -> Any:
        import time

        import numpy as np

        time.sleep(seconds if i > 3 else 0)
        return np.full(20_000, i)

    pipe = IterableWrapper(range(200)).shuffle(buffer_size=4).sharding_filter().map(make).batch(1)
    service = MultiProcessingReadingService(num_workers=2, multiprocessing_context=method, **options)
    return DataLoader2(pipe, reading_service=service)


@clean
@pytest.mark.parametrize("method", METHODS)
def test_a_break_leaves_nothing_and_the_loader_goes_on(method: str) -> None:
    with loader(method=method) as dl:
        for _ in dl:
            break
        assert sum(1 for _ in dl) == 200
        for _ in dl:
            break


@clean
@pytest.mark.parametrize("method", METHODS)
def test_an_exception_in_the_loop_leaves_nothing(method: str) -> None:
    with pytest.raises(ZeroDivisionError), loader(method=method) as dl:
        for _ in dl:
            1 / 0  # noqa: B018


@clean
@pytest.mark.parametrize("method", METHODS)
def test_idle_workers_end_within_half_a_second(method: str) -> None:
    dl = loader(method=method)
    it = iter(dl)
    next(it)
    time.sleep(0.3)  # the workers have run as far ahead as they may
    began = time.monotonic()
    dl.shutdown()
    assert within(0.5, since=began)
    with pytest.raises(RuntimeError, match="shut down"):
        next(it)
    dl.shutdown()


@clean
@pytest.mark.parametrize("method", METHODS)
def test_workers_in_a_long_call_end_within_two_seconds(method: str) -> None:
    dl = loader(10.0, method)
    it = iter(dl)
    next(it)
    time.sleep(0.1)
    began = time.monotonic()
    dl.shutdown()
    assert within(2.0, since=began)


@clean
def test_workers_that_wait_for_room_end_at_once() -> None:
    dl = loader(buffer_bytes=1 << 20)
    kept = [batch for _, batch in zip(range(8), dl, strict=False)]
    time.sleep(0.2)
    began = time.monotonic()
    dl.shutdown()
    assert within(0.5, since=began)
    assert len(kept) == 8
    del kept


@clean
def test_a_loader_that_is_dropped_ends_its_workers() -> None:
    dl = loader()
    it = iter(dl)
    next(it)
    pids = workers_of(dl)
    gone = weakref.ref(dl._session)
    del it, dl
    assert gone() is None, "no cycle keeps it until the garbage collector comes"
    assert not any(map(psutil.pid_exists, pids))


@clean
def test_shutdown_before_the_first_epoch_and_twice() -> None:
    dl = loader()
    dl.shutdown()
    dl.shutdown()
    with pytest.raises(RuntimeError, match="Cannot iterate over the DataLoader as it has already been shut down"):
        iter(dl)


@clean
def test_a_loader_and_its_iterator_may_die_in_any_order() -> None:
    dl = loader()
    it = iter(dl)
    next(it)
    del dl
    assert sum(1 for _ in it) == 199, "an iterator keeps its loader alive"
    del it


@clean
def test_many_sessions_leave_nothing() -> None:
    for i in range(6):
        with loader(method=METHODS[i % 3]) as dl:
            next(iter(dl))


@clean
def test_two_loaders_side_by_side() -> None:
    with loader() as a, loader(method="fork") as b:
        assert [x[0][0] for x in a][:0] == [x[0][0] for x in b][:0]
        assert sum(1 for _ in zip(a, b, strict=True)) == 200


def workers_of(dl: DataLoader2[Any]) -> list[int]:
    return [worker.process.pid for worker in dl._session.workers]  # type: ignore[union-attr]


# ---------------------------------------------------------------------------------------------------- killed trainers

SCRIPT = """
    import os, sys, time
    import numpy as np
    from penstock import DataLoader2, IterableWrapper, MultiProcessingReadingService

    def make(i):
        open(os.path.join(sys.argv[1], str(os.getpid())), "w").close()
        time.sleep(float(sys.argv[3]) if i > 1 else 0)
        return np.full(20_000, i)

    service = MultiProcessingReadingService(num_workers=2, multiprocessing_context=sys.argv[2])
    sys_argv = sys.argv
    with DataLoader2(IterableWrapper(range(100)).sharding_filter().map(make), reading_service=service) as dl:
        for i, batch in enumerate(dl):
            if i == 1:
                print("ready", flush=True)
                if sys.argv[4] == "loop":
                    time.sleep(60)
    """


@pytest.fixture
def trainer(tmp_path: Path) -> Iterator[Any]:
    """Starts the script in a process group of its own; afterwards nothing of it may run."""
    started: list[subprocess.Popen[str]] = []
    pids = tmp_path / "pids"
    pids.mkdir()

    def start(method: str, seconds: float, where: str) -> tuple[subprocess.Popen[str], set[int]]:
        path = tmp_path / "script.py"
        script = textwrap.dedent(SCRIPT).replace("sys.argv[1]", repr(str(pids)))
        path.write_text(script.replace("sys.argv[3]", str(seconds)))
        process = subprocess.Popen(
            [sys.executable, str(path), str(pids), method, str(seconds), where],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.communicate()[1]
        time.sleep(0.2)  # the workers are in their sleep
        family = {child.pid for child in psutil.Process(process.pid).children(recursive=True)}
        assert {int(name) for name in os.listdir(pids)} <= family
        return process, family

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def assert_gone(pids: set[int], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while left := [pid for pid in pids if running(pid)]:
        assert time.monotonic() < deadline, f"still running: {[psutil.Process(pid).cmdline() for pid in left]}"
        time.sleep(0.01)


def running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@clean
@pytest.mark.parametrize("method", METHODS)
def test_a_killed_trainer_takes_its_busy_workers_along(trainer: Any, method: str) -> None:
    process, family = trainer(method, 30.0, "wait")
    process.kill()
    process.wait()
    assert_gone(family, 2.0)


@clean
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("seconds", "where"), [(30.0, "wait"), (0.0, "loop")])
def test_ctrl_c_ends_everything(trainer: Any, method: str, seconds: float, where: str) -> None:
    process, family = trainer(method, seconds, where)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=5)
    assert process.returncode == -signal.SIGINT, stderr
    assert stderr.count("Traceback") == 1 and stderr.strip().endswith("KeyboardInterrupt"), stderr
    assert_gone(family, 0.5)


@clean
def test_ctrl_c_while_workers_start_ends_everything(tmp_path: Path) -> None:
    """The first tenths of a second, in which the helpers import what they need."""
    path = tmp_path / "script.py"
    path.write_text(
        textwrap.dedent(
            """
        import sys
        from penstock import DataLoader2, IterableWrapper, MultiProcessingReadingService
        print("ready", flush=True)
        service = MultiProcessingReadingService(num_workers=2, multiprocessing_context="forkserver")
        with DataLoader2(IterableWrapper(range(10**9)).sharding_filter(), reading_service=service) as dl:
            for x in dl: pass
        """
        )
    )
    for delay_s in (0.05, 0.15, 0.3):
        process = subprocess.Popen(
            [sys.executable, str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            time.sleep(delay_s)
            family = {child.pid for child in psutil.Process(process.pid).children(recursive=True)}
            os.killpg(process.pid, signal.SIGINT)
            _, stderr = process.communicate(timeout=5)
            assert process.returncode != 0 and "KeyboardInterrupt" in stderr
            assert_gone(family, 1.0)
        finally:  # else it would go on for ever where the signal did not end it
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()


@clean
def test_a_program_that_ends_without_shutdown_ends_its_workers(tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text(
        textwrap.dedent(
            """
        from penstock import DataLoader2, IterableWrapper, MultiProcessingReadingService
        pipe = IterableWrapper(range(100)).sharding_filter()
        dl = DataLoader2(pipe, reading_service=MultiProcessingReadingService(2))
        it = iter(dl)
        print(next(it), *[worker.process.pid for worker in dl._session.workers])
        """
        )
    )
    done = subprocess.run([sys.executable, "-W", "error", str(path)], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0 and not done.stderr, done.stderr
    first, *pids = map(int, done.stdout.split())
    assert first == 0
    assert_gone(set(pids), 0.5)
