"""Monitors on workers: the callback stays in the main process, and is told what all workers pass on together."""

from __future__ import annotations

import os
import pickle
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock import (
    DataLoader2,
    InProcessReadingService,
    IterableWrapper,
    MultiProcessingReadingService,
    ThreadingReadingService,
)
from penstock.monitor import MetricsConf
from penstock.pipes import _gathered
from penstock.pipes._tally import Report, Tally
from penstock.testing import faults

IOPS, THROUGHPUT = "IOPS number/s", "throughput MB/s"


def reports(*spans: tuple[int, float, float], every_s: float = 1.0) -> list[tuple[float, float, float]]:
    """What a tally calls with, for reports of so many items of 10 bytes between two moments."""
    calls: list[tuple[float, float, float]] = []
    tally = Tally(lambda *call: calls.append(call), every_s)
    for items, began, until in spans:
        tally.add(Report("monitor", items, 10.0 * items, began, until))
    tally.end()
    tally.end()
    return calls


def test_what_two_workers_pass_on_is_added_up_over_the_same_time() -> None:
    halves = [(5, n / 2, n / 2 + 0.5) for n in range(4) for _ in range(2)]  # each makes 10 items a second
    assert reports(*halves) == [(15, 150.0, 1.0), (20, 200.0, 1.0)], "the last report of a time may come in the next"
    assert reports((3, 0.25, 0.5), (4, 0.0, 1.5), (1, 1.5, 2.5)) == [(7, 70.0, 1.5), (1, 10.0, 1.0)]
    assert reports((1, 0, 60), (1, 20, 80), (1, 60, 120)) == [(1, 10.0, 60), (1, 10.0, 20), (1, 10.0, 40)]
    assert reports((3, 0.0, 0.25), (3, 0.0, 0.5)) == [(6, 60.0, 0.5)], "one call at the end of a short run"
    assert reports((3, 0.0, 1.25), (3, 1.25, 1.5)) == [(3, 30.0, 1.25)], "and none behind another one"
    assert reports() == []


WORKED_S = 0.002


def worked(item: int) -> Any:
    time.sleep(WORKED_S)
    return np.zeros(1024, np.uint8)


SERVICES = [
    MultiProcessingReadingService(2),
    ThreadingReadingService(2),
    InProcessReadingService(lanes=2),
]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float, float]]:
    """The items, bytes and seconds that each gathered call is about."""
    made: list[tuple[float, float, float]] = []

    def caller(*arguments: Any) -> Any:
        call = real(*arguments)
        return lambda *numbers: (made.append(numbers), call(*numbers))

    real = _gathered.caller
    monkeypatch.setattr(_gathered, "caller", caller)
    return made


@pytest.mark.usefixtures("no_leftovers")
@pytest.mark.parametrize("lanes", [False, True])
@pytest.mark.parametrize("service", SERVICES, ids=lambda service: type(service).__name__)
def test_workers_are_gathered_in_the_main_process(
    service: Any, lanes: bool, counted: list[tuple[float, float, float]]
) -> None:
    calls: list[dict[str, float]] = []
    lock, here = threading.Lock(), (os.getpid(), threading.get_ident())

    def callback(metrics: dict[str, float], step: int) -> None:
        with lock:  # which cannot be pickled
            assert (os.getpid(), threading.get_ident(), step) == (*here, 3)
            calls.append(metrics)

    pipe = IterableWrapper(range(800)).sharding_filter().map(worked)
    pipe = pipe.filter(lambda item: True) if lanes else pipe
    pipe = pipe.monitor(callback, "p ", MetricsConf(throughput_unit="KB"), every_s=0.1, step=3).batch(4)
    with DataLoader2(pipe, reading_service=service) as dl:
        began = time.perf_counter()
        assert sum(map(len, dl)) == 800
        took_s = time.perf_counter() - began
    if counted:
        assert 600 <= sum(items for items, _, _ in counted) <= 800  # what is left at the end makes no call
        assert sum(seconds for _, _, seconds in counted) <= took_s
        assert all(size == 1024 * items and seconds >= 0.1 for items, size, seconds in counted)
    else:
        assert isinstance(service, InProcessReadingService), "one stream needs no gathering"
    assert len(calls) > 2
    assert all(call[f"p {IOPS}"] == pytest.approx(call["p throughput KB/s"], abs=0.01) for call in calls)
    assert all(0 < call[f"p {IOPS}"] < 4 / WORKED_S for call in calls), "two make 2 in that time"


@pytest.mark.parametrize("service", SERVICES[:2], ids=lambda service: type(service).__name__)
def test_a_short_epoch_on_workers_makes_one_call_and_so_does_the_next(
    service: Any, counted: list[tuple[float, float, float]]
) -> None:
    calls: list[dict[str, float]] = []
    pipe = IterableWrapper(range(100)).sharding_filter().map(worked).monitor(calls.append).batch(4)
    with DataLoader2(pipe, reading_service=service) as dl:
        for epoch in range(3):
            assert len(calls) == epoch
            assert len(list(dl)) == 25
        for _ in dl:
            break
    assert len(calls) == 3
    assert all(items >= 75 for items, _, _ in counted)


def test_ahead_of_the_sharding_point_each_worker_counts_what_it_reads(
    counted: list[tuple[float, float, float]],
) -> None:
    pipe = IterableWrapper(range(500)).monitor(len).shuffle(buffer_size=50).sharding_filter().map(worked)
    with DataLoader2(pipe, reading_service=ThreadingReadingService(2)) as dl:
        assert len(list(dl)) == 500
    assert 900 <= sum(items for items, _, _ in counted) <= 1000


def test_several_monitors_are_gathered_each_by_its_name() -> None:
    calls: list[str] = []
    pipe = IterableWrapper(range(50)).sharding_filter().monitor(lambda m: calls.extend(m), "a ").batch(2)
    pipe = pipe.monitor(lambda m: calls.extend(m), "b ").monitor(lambda m: calls.extend(m), "c ")
    with DataLoader2(pipe, reading_service=MultiProcessingReadingService(2)) as dl:
        assert len(list(dl)) == 25
    assert sorted(calls) == sorted(f"{prefix} {name}" for prefix in "abc" for name in (IOPS, THROUGHPUT))


def test_a_worker_that_dies_is_gathered_again_as_another_one(counted: list[tuple[float, float, float]]) -> None:
    pipe = IterableWrapper(range(100)).sharding_filter().map(faults.kill(at=51)).map(worked).monitor(len)
    with DataLoader2(pipe, reading_service=MultiProcessingReadingService(2)) as dl:
        assert len(list(dl)) == 100
        assert dl.stats()["restarts"] == 1
    assert 75 <= sum(items for items, _, _ in counted) <= 150


def test_a_callback_that_raises_does_not_end_an_epoch_on_workers() -> None:
    pipe = IterableWrapper(range(100)).sharding_filter().map(worked).monitor(fails, every_s=1e-3)
    with DataLoader2(pipe, reading_service=MultiProcessingReadingService(2)) as dl:
        items, errors, it = 0, [], iter(dl)
        while items < 100:
            try:
                next(it)
                items += 1
            except KeyError as error:
                errors.append(error.__notes__)
    assert len(errors) > 1
    assert all(note.startswith("penstock: raised in pipe 'monitor': monitor(fails)") for (note,) in errors)


def test_a_batch_that_is_made_again_is_not_counted_again() -> None:
    calls: list[dict[str, float]] = []
    pipe = IterableWrapper(range(10)).sharding_filter().monitor(calls.append, window_size=1).batch(2)
    with DataLoader2(pipe) as dl:
        list(dl)
        assert len(calls) == 10
        assert dl.at(3) == [6, 7]
    assert len(calls) == 10


def fails(metrics: dict[str, float]) -> None:
    raise KeyError("full")


def append_to(path: Path, metrics: dict[str, float]) -> None:
    with path.open("a") as file:
        file.write(f"{os.getpid()}\n")


def test_ungathered_workers_call_copies_of_the_callback(tmp_path: Path) -> None:
    path = tmp_path / "calls"
    pipe = IterableWrapper(range(20)).sharding_filter()
    pipe = pipe.monitor(partial(append_to, path), window_size=1, gather=False)
    with DataLoader2(pipe, reading_service=MultiProcessingReadingService(2)) as dl:
        assert len(list(dl)) == 20
    pids = path.read_text().split()
    assert len(pids) >= 20
    assert len(set(pids)) == 2
    assert str(os.getpid()) not in pids


def test_a_copy_of_the_pipe_has_its_callback() -> None:
    pipe = IterableWrapper([1]).monitor(len)
    assert pickle.loads(pickle.dumps(pipe)).callback is len


def test_the_dispatching_process_reports_what_it_reads(counted: list[tuple[float, float, float]]) -> None:
    calls: list[dict[str, float]] = []
    pipe = IterableWrapper(range(600)).map(worked).monitor(calls.append, every_s=0.1).sharding_round_robin_dispatch()
    with DataLoader2(pipe.batch(4), reading_service=MultiProcessingReadingService(2)) as dl:
        assert sum(map(len, dl)) == 600
    assert len(calls) > 1
    assert 300 <= sum(items for items, _, _ in counted) <= 600
