"""Errors: the user's exception says where it came from, a dead worker says how it died, and the next epoch works."""

from __future__ import annotations

import os
import pathlib
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from penstock import (
    DataLoader2,
    DecodeError,
    IterableWrapper,
    MultiProcessingReadingService,
    TransportError,
    WorkerDied,
)
from running import within

pytestmark = pytest.mark.usefixtures("no_leftovers")
METHODS = ["forkserver", "spawn", "fork"]


def service(workers: int = 2, **options: Any) -> MultiProcessingReadingService:
    return MultiProcessingReadingService(num_workers=workers, **options)


def line() -> int:
    return sys._getframe(1).f_lineno


def notes(error: BaseException) -> str:
    return "\n".join(getattr(error, "__notes__", []))


@pytest.fixture
def flag(tmp_path: Any) -> str:
    """A file that a worker makes once, so that the second epoch goes well."""
    return str(tmp_path / "done")


@pytest.mark.parametrize(("method", "bad"), [("forkserver", 0), ("spawn", 13), ("fork", 31)])
def test_a_users_exception_names_pipe_item_and_worker(method: str, bad: int) -> None:
    def fails(x: int) -> int:
        if x == bad:
            raise KeyError(f"no {x}")
        return x

    pipe = IterableWrapper(range(32)).sharding_filter()
    made = line() + 1
    pipe = pipe.map(fails, name="decode").batch(4)
    with DataLoader2(pipe, reading_service=service(multiprocessing_context=method)) as dl:
        got = []
        with pytest.raises(KeyError) as caught:
            for batch in dl:
                got.append(batch)
        assert len(got) == bad // 4 and caught.value.args == (f"no {bad}",)
        said = notes(caught.value)
        assert f"pipe 'decode': map(fails) at {__file__}:{made}" in said
        assert re.search(rf"\b{bad % 4} of batch {bad // 4} \(rank 0, worker {bad // 4 % 2}\): {bad}\b", said), said
        assert "in the worker:" in said and "in fails" in said


def test_two_maps_of_one_function_are_told_apart() -> None:
    def half(x: int) -> float:
        return 1 / (x - 3)

    pipe = IterableWrapper([1, 2, 10]).sharding_filter().map(half).map(lambda x: 3.0 if x > 0 else x).map(half)
    with DataLoader2(pipe, reading_service=service()) as dl, pytest.raises(ZeroDivisionError) as caught:
        list(dl)
    assert "pipe 'map:2'" in notes(caught.value) and "3.0" in notes(caught.value)


def test_an_error_in_lanes_is_named_as_well() -> None:
    def fails(x: int) -> int:
        if x == 21:
            raise OverflowError(x)
        return x

    pipe = IterableWrapper(range(40)).shuffle().sharding_filter().filter(lambda x: True).map(fails).batch(3)
    with DataLoader2(pipe, reading_service=service(lanes=4)) as dl:
        dl.seed(1)
        with pytest.raises(OverflowError) as caught:
            list(dl)
    assert "pipe 'map'" in notes(caught.value) and ": 21" in notes(caught.value)


def test_the_loader_goes_on_after_an_error(flag: str) -> None:
    def fails_once(x: int) -> int:
        import os

        if x == 7 and not os.path.exists(flag):
            open(flag, "w").close()
            raise ValueError("once")
        return x

    with DataLoader2(IterableWrapper(range(20)).sharding_filter().map(fails_once), reading_service=service()) as dl:
        it = iter(dl)
        got = []
        with pytest.raises(ValueError, match="once"):
            for x in it:
                got.append(x)
        assert got == list(range(7))
        state = dl.state_dict()
        assert list(dl) == list(range(20))
        dl.load_state_dict(state)
        assert list(dl) == list(range(7, 20)), "the state behind an error is that of the last batch"


class Odd(Exception):
    def __init__(self, *, path: str, why: int) -> None:
        super().__init__(f"{path}: {why}")
        self.path, self.why = path, why


def test_exceptions_with_odd_constructors_keep_type_and_fields() -> None:
    class Local(Odd):
        pass

    def fails(x: int) -> int:
        raise (Odd if x else Local)(path="p", why=3)

    for item, kind in ((1, Odd), (0, Local)):
        pipe = IterableWrapper([item]).sharding_filter().map(fails)
        with DataLoader2(pipe, reading_service=service()) as dl, pytest.raises(Odd, match="p: 3") as caught:
            list(dl)
        assert type(caught.value) is kind and (caught.value.path, caught.value.why) == ("p", 3)


def test_an_undecodable_file_says_where(tmp_path: Any) -> None:
    (tmp_path / "a.csv").write_bytes(b"a,b\n\xff\xfe,1\n")
    pipe = IterableWrapper([str(tmp_path / "a.csv")]).sharding_filter().open_files(encoding="utf-8").readlines()
    with DataLoader2(pipe, reading_service=service()) as dl, pytest.raises(DecodeError, match="a.csv.*0xff"):
        list(dl)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.filterwarnings("ignore:num_workers is 0")
def test_a_stop_iteration_is_an_error_and_not_an_end(workers: int) -> None:
    def stops(x: int) -> int:
        if x == 5:
            raise StopIteration
        return x

    for end in (lambda p: p.map(stops), lambda p: p.filter(stops), lambda p: p.batch(2).collate(lambda b: stops(b[0]))):
        pipe = end(IterableWrapper(range(1, 10)).sharding_filter())
        with DataLoader2(pipe, reading_service=service(workers)) as dl, pytest.raises(RuntimeError, match="StopIter"):
            list(dl)


@pytest.mark.parametrize("method", ["forkserver", "fork"])
def test_an_item_that_cannot_be_sent_says_so(method: str) -> None:
    def lock(x: int) -> Any:
        import threading

        return {"lock": threading.Lock()} if x == 3 else x

    pipe = IterableWrapper(range(6)).sharding_filter().map(lock)
    with DataLoader2(pipe, reading_service=service(multiprocessing_context=method)) as dl:
        with pytest.raises(TransportError, match="item cannot be sent.*lock") as caught:
            list(dl)
        assert "{'lock': <unlocked" in notes(caught.value) and "map(lock)" in notes(caught.value)


def test_a_graph_that_cannot_be_pickled_says_so_and_starts_nothing() -> None:
    held = threading.Lock()
    pipe = IterableWrapper(range(3)).sharding_filter().map(lambda x: (held, x))
    dl = DataLoader2(pipe, reading_service=service())
    with pytest.raises(TypeError, match="lock") as caught:
        list(dl)
    assert "pickled" in notes(caught.value)
    dl.shutdown()


def test_an_item_that_cannot_be_loaded_is_an_error_and_the_next_epoch_works(flag: str) -> None:
    class Bad:
        def __init__(self, x: int) -> None:
            self.x = x

        def __reduce__(self) -> Any:
            def load(x: int) -> int:
                raise ArithmeticError(f"cannot load {x}")

            return load, (self.x,)

    def make(x: int) -> Any:
        import os

        if x == 4 and not os.path.exists(flag):
            open(flag, "w").close()
            return Bad(x)
        return x

    with DataLoader2(IterableWrapper(range(9)).sharding_filter().map(make), reading_service=service()) as dl:
        with pytest.raises(ArithmeticError, match="cannot load 4"):
            list(dl)
        assert list(dl) == list(range(9))


# ------------------------------------------------------------------------------------------------------ dead workers


def dies(how: str, flag: str, at: int) -> Callable[[int], int]:
    def die(x: int) -> int:
        import os
        import signal
        import time

        if x == at and not os.path.exists(flag):
            with open(flag, "w") as file:
                file.write(str(os.getpid()))
            if how == "exit":
                os._exit(7)
            if how == "sleep":
                time.sleep(60)
            os.kill(os.getpid(), getattr(signal, how))
        time.sleep(1e-3)  # what is made quickly waits a moment for company
        return x

    return die


@pytest.mark.parametrize(
    ("method", "how", "said", "code"),
    [
        ("forkserver", "exit", "exit code 7", 7),
        ("spawn", "exit", "exit code 7", 7),
        ("fork", "SIGKILL", "signal 9 (SIGKILL)", -9),
        ("forkserver", "SIGSEGV", "signal 11 (SIGSEGV)", -11),
    ],
)
def test_a_dead_worker_is_told_in_time_and_the_next_epoch_works(
    method: str, how: str, said: str, code: int, flag: str
) -> None:
    pipe = IterableWrapper(range(20)).sharding_filter().map(dies(how, flag, 9))
    with DataLoader2(pipe, reading_service=service(multiprocessing_context=method, max_restarts=0)) as dl:
        it = iter(dl)
        got = [next(it)]
        began = time.monotonic()
        with pytest.raises(WorkerDied) as caught:
            for x in it:
                got.append(x)
        assert within(2.0, since=began)
        assert got == list(range(9)), "what was sent before is delivered first"
        pid = int(pathlib.Path(flag).read_text())
        assert caught.value.pid == pid and caught.value.exitcode == code
        assert f"pid {pid}" in str(caught.value) and said in str(caught.value)
        assert list(dl) == list(range(20))


def test_a_worker_that_dies_again_at_the_same_item_names_the_pipe() -> None:
    def crash(x: int) -> int:
        import os

        if x == 5:
            os._exit(3)
        return x

    def same(x: int) -> int:
        return x

    pipe = IterableWrapper(range(20)).sharding_filter().map(same).map(crash, name="decode").map(same).batch(2)
    with DataLoader2(pipe, reading_service=service()) as dl:
        began = time.monotonic()
        with pytest.raises(WorkerDied, match=r"exit code 3.*'decode' \(map\(crash\) at .*test_errors.py:\d+\)"):
            list(dl)
        assert within(2.5, since=began)  # and the start of the workers is in it


@pytest.mark.parametrize("method", METHODS)
def test_a_worker_killed_in_its_sleep_names_pid_signal_and_pipe(method: str, flag: str) -> None:
    pipe = IterableWrapper(range(20)).sharding_filter().map(dies("sleep", flag, 3), name="slow").batch(2)
    with DataLoader2(pipe, reading_service=service(multiprocessing_context=method, max_restarts=0)) as dl:
        it = iter(dl)
        assert next(it) == [0, 1]
        while not os.path.exists(flag) or not pathlib.Path(flag).read_text():
            time.sleep(0.01)
        pid = int(pathlib.Path(flag).read_text())
        time.sleep(0.1)  # the record is written 50 times a second
        os.kill(pid, signal.SIGKILL)
        began = time.monotonic()
        with pytest.raises(WorkerDied) as caught:
            next(it)
        assert within(2.0, since=began)
        for word in (f"pid {pid}", "SIGKILL", "'slow'", "map(die)", "test_errors.py"):
            assert word in str(caught.value)
        assert list(dl) == [[i, i + 1] for i in range(0, 20, 2)]


def test_a_killed_fork_server_does_not_hang_the_loader() -> None:
    def slow(x: int) -> int:
        import time

        time.sleep(0.05)
        return x

    with DataLoader2(IterableWrapper(range(40)).sharding_filter().map(slow), reading_service=service()) as dl:
        it = iter(dl)
        next(it)
        assert dl._session is not None
        os.kill(dl._session._starter.launcher._popen.pid, signal.SIGKILL)  # type: ignore[attr-defined]
        assert list(it) == list(range(1, 40)), "the workers do not need it"


# ----------------------------------------------------------------------------------------- the functions of a service


@pytest.mark.parametrize(
    ("which", "method"),
    [("worker_init_fn", "forkserver"), ("worker_init_fn", "spawn"), ("worker_reset_fn", "fork")],
)
def test_a_raising_worker_function_is_an_error_at_once(which: str, method: str) -> None:
    def fails(graph: Any, info: Any, *rest: Any) -> None:
        if info.worker_id == 1:
            raise LookupError("no GPU")

    pipe = IterableWrapper(range(20)).sharding_filter()
    with DataLoader2(pipe, reading_service=service(multiprocessing_context=method, **{which: fails})) as dl:
        began = time.monotonic()
        for _ in range(2):
            with pytest.raises(LookupError, match="no GPU") as caught:
                list(dl)
            assert "in fails" in notes(caught.value)
        assert within(2.0, since=began)


def test_a_graph_that_a_worker_cannot_import_is_an_error_at_once(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_here.py").write_text("def double(x):\n    return 2 * x\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import only_here  # type: ignore[import-not-found]

    pipe = IterableWrapper(range(4)).sharding_filter().map(only_here.double)
    sys.path.remove(str(tmp_path))
    with DataLoader2(pipe, reading_service=service()) as dl, pytest.raises(TransportError, match="only_here"):
        list(dl)
    del sys.modules["only_here"]
