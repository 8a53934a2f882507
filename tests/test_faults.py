"""The faults of `penstock.testing` act where they should, as often as they should, in any process."""

from __future__ import annotations

import gc
import gzip
import os
import signal
import time
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from penstock import DataLoader2, MultiProcessingReadingService, WorkerDied
from penstock.pipes import IterableWrapper
from penstock.testing import faults

pytestmark = pytest.mark.usefixtures("no_leftovers")


def loader(pipe: Any, **options: Any) -> DataLoader2[Any]:
    return DataLoader2(pipe, reading_service=MultiProcessingReadingService(2, **options))


def numbers() -> Any:
    return IterableWrapper(range(40)).sharding_filter()


@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
@pytest.mark.parametrize("times", [1, 2])
def test_a_kill_is_counted_over_the_workers_that_it_kills(times: int, method: str) -> None:
    fault = faults.kill(at=lambda x: x in (5, 22), times=times)
    with loader(numbers().map(fault), multiprocessing_context=method) as dl:
        assert list(dl) == list(range(40))
        assert dl.stats()["restarts"] == fault.count == times


def test_a_kill_without_a_limit_ends_the_epoch_and_is_named() -> None:
    with (
        loader(numbers().map(faults.kill(at=17, times=None)), max_restarts=20) as dl,
        pytest.raises(WorkerDied, match=r"SIGKILL.*map\(kill\) at .* on 17"),
    ):
        list(dl)


@pytest.mark.parametrize("sig", [signal.SIGSEGV, signal.SIGABRT])
def test_any_signal_will_do(sig: int) -> None:
    with loader(numbers().map(faults.kill(at=17, sig=sig)), max_restarts=0) as dl:
        with pytest.raises(WorkerDied, match=signal.Signals(sig).name):
            list(dl)
        assert list(dl) == list(range(40))


def test_a_hang_ends_when_the_worker_is_replaced() -> None:
    with loader(numbers().map(faults.hang(at=17)), worker_timeout_s=1.0) as dl:
        assert list(dl) == list(range(40))
        assert dl.stats()["restarts"] == 1


def test_slow_items_are_as_slow_as_they_should_be_each_time() -> None:
    fault = faults.slow(at=lambda x: x < 3, seconds=0.05)
    for _ in range(2):
        began = time.monotonic()
        assert list(IterableWrapper(range(10)).map(fault)) == list(range(10))
        assert time.monotonic() - began >= 0.15
    assert fault.count == 6


def test_a_function_raises_where_it_is_told_to_and_works_otherwise() -> None:
    pipe = numbers().map(faults.fail(at=17, fn=str, error=KeyError("gone")))
    with loader(pipe) as dl:
        with pytest.raises(KeyError, match="gone"):
            list(dl)
        assert list(dl) == [str(x) for x in range(40)]


def test_an_error_that_comes_twice_names_the_pipe_and_the_item() -> None:
    with loader(numbers().map(faults.fail(at=17, times=2), name="decode")) as dl:
        with pytest.raises(OSError, match="made for a test") as raised:
            list(dl)
        assert "in pipe 'decode'" in (notes := "\n".join(raised.value.__notes__)) and "17" in notes
        assert list(dl) == list(range(40))


def test_a_copy_counts_along_and_the_folder_goes_with_the_fault() -> None:
    fault = faults.fail(at=1, times=2)
    folder, copy = fault._folder, cloudpickle.loads(cloudpickle.dumps(fault))
    for one in (fault, copy):
        with pytest.raises(OSError, match="made for a test"):
            one(1)
    assert fault(1) == copy(1) == 1 and fault.count == copy.count == 2
    del copy, one
    gc.collect()
    assert os.path.isdir(folder)
    del fault
    gc.collect()
    assert not os.path.exists(folder)


def test_how_often_must_make_sense() -> None:
    with pytest.raises(ValueError, match="times must be at least 1"):
        faults.kill(at=1, times=0)


def test_a_file_that_was_cut_is_not_read_as_a_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(bytes(range(256)) * 100))
    size = path.stat().st_size
    faults.truncate(path, -10)
    assert path.stat().st_size == size - 10
    with pytest.raises(EOFError):
        gzip.decompress(path.read_bytes())
    faults.truncate(path, 3)
    assert path.stat().st_size == 3
    for at in (4, -4):
        with pytest.raises(ValueError, match="has 3 bytes"):
            faults.truncate(path, at)
