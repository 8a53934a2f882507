"""Metrics: what `monitor` measures is right, it slows and changes nothing, and the sinks that people use take it."""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
import pytest

from penstock import (
    BadSamples,
    DataLoader2,
    InProcessReadingService,
    IterableWrapper,
    ThreadingReadingService,
)
from penstock.core.context import Context
from penstock.core.trace import Trace
from penstock.core.walk import names
from penstock.graph import fingerprint
from penstock.monitor import (
    MetricsConf,
    getsize,
    metrics_iops,
    metrics_throughput,
    monitor_,
)
from penstock.pipes import _passing
from penstock.pipes._metrics import _rounded, item_bytes

IOPS, THROUGHPUT = "IOPS number/s", "throughput MB/s"
MB = 1 << 20


class Clock:
    """A clock that stands, unless it is told to go on."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def after(self, seconds: float) -> Callable[[Any], Any]:
        """A function for ``map`` that takes so long."""

        def wait(item: Any) -> Any:
            self.now += seconds
            return item

        return wait


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    artificial = Clock()
    monkeypatch.setattr(_passing, "perf_counter", artificial)
    return artificial


def array(megabytes: int) -> np.ndarray[Any, Any]:
    return np.zeros(megabytes << 20, np.uint8)


# -- for each item, over a window


def test_a_rate_is_that_of_the_windows_items_over_their_time(clock: Clock) -> None:
    calls: list[dict[str, float]] = []
    delays = [1.0, 1.0, 2.0, 4.0, 1.0]
    items = [array(n) for n in (1, 2, 3, 4, 5)]
    source = IterableWrapper(list(zip(delays, items, strict=True)), deepcopy=False)
    pipe = source.map(lambda x: clock.after(x[0])(x[1])).monitor(calls.append, window_size=2)
    assert len(list(pipe)) == 5
    assert calls == [
        {IOPS: 2 / 2, THROUGHPUT: 3 / 2},
        {IOPS: round(2 / 3, 2), THROUGHPUT: round(5 / 3, 2)},
        {IOPS: round(2 / 6, 2), THROUGHPUT: round(7 / 6, 2)},
        {IOPS: 2 / 5, THROUGHPUT: 9 / 5},
    ]


@pytest.mark.parametrize("window", [1, 2, 5, 10, 11])
def test_there_is_a_call_for_each_item_from_the_first_full_window_on(window: int, clock: Clock) -> None:
    calls: list[dict[str, float]] = []
    pipe = IterableWrapper(range(10)).map(clock.after(0.5)).monitor(calls.append, window_size=window)
    seen = [(item, len(calls)) for item in pipe]
    assert seen == [(i, max(0, i + 2 - window)) for i in range(10)], "ahead of the item's delivery"
    assert all(call[IOPS] == 2.0 for call in calls)


def test_the_default_window_is_five_and_arguments_come_in_squirrels_order(clock: Clock) -> None:
    calls: list[Any] = []

    def callback(metrics: dict[str, float], **kw: Any) -> None:
        calls.append((metrics, kw))

    source = IterableWrapper([array(1)] * 5).map(clock.after(0.1))
    list(source.monitor(callback, step=3))
    list(source.monitor(callback, "(a) ", MetricsConf(iops=False), 5))
    assert calls == [({IOPS: 10.0, THROUGHPUT: 10.0}, {"step": 3}), ({f"(a) {IOPS}": 0, f"(a) {THROUGHPUT}": 10.0}, {})]


@pytest.mark.parametrize(("unit", "size"), [("bytes", 1), ("KB", 1 << 10), ("MB", 1 << 20), ("GB", 1 << 30)])
def test_throughput_has_the_unit_that_was_asked_for(unit: str, size: int, clock: Clock) -> None:
    calls: list[dict[str, float]] = []
    conf = MetricsConf(throughput_unit=unit)
    list(IterableWrapper([array(96)]).map(clock.after(0.5)).monitor(calls.append, None, conf, 1))
    assert calls == [{IOPS: 2.0, f"throughput {unit}/s": round(192 * MB / size, 2)}]


def test_an_unknown_unit_means_bytes_and_is_warned_of_once(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    calls: list[dict[str, float]] = []
    conf = MetricsConf(throughput_unit="TB")
    list(IterableWrapper([array(1)] * 3).map(clock.after(1)).monitor(calls.append, None, conf, 1))
    assert calls == [{IOPS: 1.0, "throughput bytes/s": float(MB)}] * 3
    assert [record.getMessage().split(";")[0] for record in caplog.records] == ["'TB' is no unit of throughput"]


@pytest.mark.parametrize("options", [{"window_size": 1}, {"every_s": 1.0}])
@pytest.mark.parametrize(("iops", "throughput"), [(True, True), (True, False), (False, True), (False, False)])
def test_a_metric_that_is_switched_off_is_there_and_zero(
    iops: bool, throughput: bool, options: dict[str, Any], clock: Clock
) -> None:
    calls: list[dict[str, float]] = []
    conf = MetricsConf(iops=iops, throughput=throughput)
    list(IterableWrapper([array(3)]).map(clock.after(1)).monitor(calls.append, metrics_conf=conf, **options))
    assert calls == [{IOPS: 1.0 * iops, THROUGHPUT: 3.0 * throughput}] * (iops or throughput)


def test_a_clock_that_stands_gives_a_finite_rate(clock: Clock) -> None:
    calls: list[dict[str, float]] = []
    list(IterableWrapper([1, 2]).monitor(calls.append, window_size=1))
    assert [np.isfinite(call[IOPS]) and call[IOPS] > 1e6 for call in calls] == [True, True]


def test_the_function_over_an_iterable_reports_as_the_pipe_does(clock: Clock) -> None:
    calls: list[Any] = []
    items = iter([array(1)] * 4)
    it = monitor_(map(clock.after(0.25), items), lambda m, step: calls.append((m, step)), "p ", window_size=2, step=7)
    assert len(list(islice(it, 2))) == 2
    assert len(list(items)) == 2, "it reads nothing ahead"
    assert calls == [({f"p {IOPS}": 4.0, f"p {THROUGHPUT}": 4.0}, 7)]
    assert list(monitor_("ab", calls.append, None, MetricsConf(False, False))) == ["a", "b"]
    with pytest.raises(ValueError, match="window_size"):
        monitor_([1], calls.append, window_size=0)


def test_the_quick_rounding_is_pythons() -> None:
    numbers = np.random.default_rng(3)
    values = [*(numbers.random(2000) * 10.0 ** numbers.integers(-3, 14, 2000)), *numbers.integers(0, 9999, 2000) / 8]
    assert [_rounded(float(value)) for value in values] == [round(float(value), 2) for value in values]


def test_sizes_are_squirrels_and_arrays_in_a_record_count_by_their_data() -> None:
    record = {"image": np.zeros((64, 64, 3), np.uint8), "label": 3}
    for item in (1, "text", b"bytes", [1, 2], {"a": 1}, (1, {"b": None}), np.zeros(7)):
        assert getsize(item) == item_bytes(item) == (56 if isinstance(item, np.ndarray) else len(pickle.dumps(item)))
    assert getsize(record) == len(pickle.dumps(record))
    for item in (record, list(record.values()), tuple(record.values())):
        assert len(pickle.dumps(item)) * 0.98 < item_bytes(item) < len(pickle.dumps(item))
    assert metrics_iops(10, 3) == 3.33
    assert metrics_throughput(3 * MB, 2) == 1.5 * MB
    assert metrics_throughput(3 * MB, 2, "MB") == 1.5


# -- every so many seconds


def test_calls_come_every_so_many_seconds_and_cover_each_item_once(clock: Clock) -> None:
    calls: list[tuple[float, dict[str, float]]] = []
    pipe = IterableWrapper(range(1000)).map(clock.after(0.01))
    pipe = pipe.map(lambda _: some).monitor(lambda metrics: calls.append((clock.now, metrics)), every_s=2.0)
    some = array(1)
    assert len(list(pipe)) == 1000
    assert [round(at - 100, 2) for at, _ in calls] == [2.0, 4.0, 6.0, 8.0, 10.0]
    assert all(metrics == {IOPS: 100.0, THROUGHPUT: 100.0} for _, metrics in calls)


def test_a_source_of_an_item_a_minute_is_reported_each_minute(clock: Clock) -> None:
    looked: list[float] = []
    waits = [1e-5] * 20_000 + [60.0] * 500
    pipe = IterableWrapper(waits).map(lambda s: clock.after(s)(s))
    list(pipe.monitor(lambda metrics: looked.append(clock.now), every_s=1))
    # The piece in which it grew slow, a millisecond of quick items, is seen through; from there on each item is one.
    assert 500 - len(looked) <= 200
    assert (np.round(np.diff(looked) / 60) == 1).all()


def test_a_run_that_is_shorter_makes_one_call_at_its_end(clock: Clock) -> None:
    calls: list[dict[str, float]] = []
    pipe = IterableWrapper(range(10)).map(clock.after(0.01)).monitor(calls.append, every_s=60)
    list(pipe)
    assert [call[IOPS] for call in calls] == [100.0]
    for _ in islice(iter(pipe), 5):
        pass
    assert len(calls) == 1, "one that is left makes none"
    list(IterableWrapper([]).monitor(calls.append, every_s=60))
    assert len(calls) == 1, "nor does an empty one"


def test_sizes_of_samples_are_taken_in_a_hundredth_of_the_time(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[Any] = []

    def costly(item: Any) -> int:
        clock.now += 0.05
        measured.append(item)
        return MB

    monkeypatch.setattr("penstock.pipes.monitor.item_bytes", costly)
    calls: list[dict[str, float]] = []
    list(IterableWrapper(range(1000)).map(clock.after(0.1)).monitor(calls.append, every_s=10))
    assert 10 <= len(measured) <= 25
    assert all(call[THROUGHPUT] == call[IOPS] for call in calls), "each item has a megabyte"


def test_a_stream_of_a_million_items_a_second_is_hardly_slowed() -> None:
    size = 300_000

    def seconds(pipe: Any) -> float:
        began = time.process_time()
        for _ in pipe:
            pass
        return time.process_time() - began

    source = IterableWrapper(range(size), deepcopy=False)
    monitored = source.monitor(lambda metrics: None, every_s=60)
    costs = [seconds(monitored) - seconds(source) for _ in range(7)]
    assert min(costs) / size < 1e-7, "nothing is done in Python for an item"


# -- it changes nothing


@pytest.mark.parametrize("options", [{"window_size": 2}, {"every_s": 1e-9}])
def test_the_state_is_its_sources_and_a_run_goes_on_from_the_middle(options: dict[str, Any]) -> None:
    calls: list[dict[str, float]] = []
    plain = IterableWrapper(range(20)).shuffle(buffer_size=5).enumerate()
    pipe = plain.monitor(calls.append, **options)
    for at in range(20):
        it: Any = iter(pipe)
        head = list(islice(it, at))
        state = json.loads(json.dumps(it.state_dict()))
        rest = list(it)
        other: Any = iter(plain)
        other.load_state_dict(state)
        assert list(other) == rest, "the state serves the graph without it"
        again: Any = iter(pipe)
        again.load_state_dict(state)
        assert list(again) == rest
        assert len(head) + len(rest) == 20
    assert fingerprint(pipe).keys() == fingerprint(plain).keys()
    assert len(pipe) == 20


@pytest.mark.parametrize("options", [{"window_size": 1}, {"every_s": 1e-9}])
def test_places_pass_and_blocks_stay_blocks(options: dict[str, Any]) -> None:
    calls: list[dict[str, float]] = []
    pipe = IterableWrapper(range(12)).sharding_filter().monitor(calls.append, **options).enumerate().batch(2)
    with DataLoader2(pipe, reading_service=ThreadingReadingService(2)) as dl:
        assert list(dl) == [[(i, i), (i + 1, i + 1)] for i in range(0, 12, 2)]
        assert dl.stats()["division"] == "blocks"


@pytest.mark.parametrize("options", [{"window_size": 1}, {"every_s": 1e-9}])
def test_holes_pass_and_are_not_counted(options: dict[str, Any], clock: Clock) -> None:
    calls: list[dict[str, float]] = []
    pipe = IterableWrapper(["1", "x", "2", "y", "3"]).map(int).map(clock.after(1)).monitor(calls.append, **options)
    with DataLoader2(pipe.batch(2), bad_samples=BadSamples("skip")) as dl:
        assert list(dl) == [[1], [2], [3]]
        assert dl.stats()["skipped"] == 2
    assert [call[IOPS] for call in calls] == [1.0, 1.0, 1.0]


def test_a_run_that_explains_an_error_reports_nothing() -> None:
    pipe = IterableWrapper(range(3)).monitor(list.append, window_size=1)
    stream = Context(names(pipe), trace=Trace()).build(pipe)
    assert list(stream.it) == [0, 1, 2]


def test_several_monitors_in_one_stream_do_not_know_of_each_other(clock: Clock) -> None:
    first: list[dict[str, float]] = []
    second: list[dict[str, float]] = []
    pipe = IterableWrapper(range(8)).map(clock.after(1)).monitor(first.append, "a ", window_size=2)
    pipe = pipe.batch(2).map(clock.after(2)).monitor(second.append, "b ", window_size=2)
    list(pipe)
    assert len(first) == 7
    assert [call[f"b {IOPS}"] for call in second] == [0.25, 0.25, 0.25] == [2 / 8] * 3
    assert {call[f"a {IOPS}"] for call in first} == {1.0, 0.5}


@pytest.mark.usefixtures("no_leftovers")
def test_a_loop_may_be_left_at_any_item() -> None:
    for options in ({"window_size": 1}, {"every_s": 1e-9}):
        for at in range(4):
            calls: list[dict[str, float]] = []
            it: Any = iter(IterableWrapper(range(4)).monitor(calls.append, **options))
            assert list(islice(it, at)) == list(range(at))
            it.close()
            it.close()


def fails(metrics: dict[str, float]) -> None:
    raise KeyError("full")


@pytest.mark.parametrize(
    "service", [InProcessReadingService(), InProcessReadingService(lanes=2), ThreadingReadingService(1)]
)
@pytest.mark.parametrize("options", [{"window_size": 1}, {"every_s": 1e-6}])
def test_an_error_of_the_callback_names_the_pipe_and_nothing_else(options: dict[str, Any], service: Any) -> None:
    pipe = IterableWrapper(range(200)).sharding_filter().monitor(fails, **options).filter(bool)
    with DataLoader2(pipe, reading_service=service) as dl, pytest.raises(KeyError, match="full") as caught:
        list(dl)
    (note,) = caught.value.__notes__
    assert note.startswith("penstock: raised in pipe 'monitor': monitor(fails) at ")
    assert "test_monitoring.py" in note


def test_an_item_that_cannot_be_pickled_is_named_with_the_way_out() -> None:
    pipe = IterableWrapper([1, 2], deepcopy=False).map(lambda x: (y for y in [x])).monitor(fails)
    with pytest.raises(TypeError, match="pickle") as caught:
        list(pipe)
    assert "raised in pipe 'monitor'" in caught.value.__notes__[0]
    assert "MetricsConf(throughput=False)" in caught.value.__notes__[0]


def test_parameters_are_checked_when_the_pipe_is_made() -> None:
    source = IterableWrapper([1])
    for wrong in ({"window_size": 0}, {"window_size": -1}, {"every_s": 0}, {"every_s": -1.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            source.monitor(print, **wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="callback"):
        source.monitor("wandb")  # type: ignore[arg-type]
