"""Monitors with what people log to: wandb offline, mlflow's file store, TensorBoard's event files, each read back."""

from __future__ import annotations

import importlib
import struct
import warnings
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock import DataLoader2, IterableWrapper, MultiProcessingReadingService
from penstock.monitor import acceptable_name, to_tensorboard
from penstock.pipes._sinks import distinct_prefixes

IOPS, THROUGHPUT = "IOPS number/s", "throughput MB/s"
BEFORE, AFTER = "(before async_map) ", "(after async_map) "


def times_two(x: Any) -> Any:
    return x * 2


def samples(count: int) -> Any:
    return IterableWrapper([np.random.rand(10, 10) for _ in range(count)])


def monitored_twice(callback: Any, count: int, **options: Any) -> Any:
    """The graph of Squirrel's page on monitoring, where the part ahead of a pool of threads runs in another thread."""
    pipe = samples(count).monitor(callback, prefix=BEFORE, **options).threadpool_map(times_two, max_workers=2)
    return pipe.monitor(callback, prefix=AFTER, **options).batch(5)


def imported(name: str) -> Any:
    """A library of somebody else's, whose import may warn of what it likes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name)


# -- names


@pytest.mark.parametrize(
    ("name", "accepted"),
    [
        ("IOPS number/s", "IOPS number/s"),
        ("(before async_map) IOPS number/s", "before async_map IOPS number/s"),
        ("train/a-b_c.d IOPS number/s", "train/a-b_c.d IOPS number/s"),
        ("/train//x/./y/../IOPS number/s", "train/x/y/IOPS number/s"),
        ("..IOPS number/s", "IOPS number/s"),
        ("träning: IOPS number/s", "träning: IOPS number/s"),
        ("[a] {b} 50% IOPS number/s", "a b 50 IOPS number/s"),
        ("(", ""),
    ],
)
def test_what_mlflow_refuses_in_a_name_is_left_out(name: str, accepted: str) -> None:
    assert acceptable_name(name, "mlflow") == accepted
    assert acceptable_name(name, "wandb") == acceptable_name(name, "tensorboard") == name
    if accepted:
        validation = imported("mlflow.utils.validation")
        validation._validate_metric_name(accepted)


def test_an_unknown_sink_is_refused_and_a_long_name_cut() -> None:
    with pytest.raises(ValueError, match="sink must be"):
        acceptable_name("x", "excel")
    assert len(acceptable_name("x" * 300)) == 200


def test_prefixes_that_would_become_the_same_are_told_apart() -> None:
    assert distinct_prefixes(["(a) ", "a ", "[a] ", "a ", ""]) == {"a ": "a ", "": "", "(a) ": "a 2 ", "[a] ": "a 3 "}
    assert distinct_prefixes(["(", ")"]) == {"(": "", ")": "2 "}


# -- mlflow


@pytest.fixture
def mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    module = imported("mlflow")
    before = module.get_tracking_uri()
    module.set_tracking_uri((tmp_path / "mlruns").as_uri())
    yield module
    while module.active_run():
        module.end_run()
    module.set_tracking_uri(before)


def history(mlflow: Any, run: Any) -> dict[str, list[float]]:
    """Every metric of a run, read back from the files."""
    client = mlflow.MlflowClient()
    found = client.get_run(run.info.run_id).data.metrics
    return {name: [metric.value for metric in client.get_metric_history(run.info.run_id, name)] for name in found}


def test_the_pages_example_logs_to_mlflow_under_names_that_it_takes(mlflow: Any) -> None:
    with mlflow.start_run() as run:
        assert len(list(monitored_twice(mlflow.log_metrics, 40))) == 8
    found = history(mlflow, run)
    assert found.keys() == {f"{place} async_map {name}" for place in ("before", "after") for name in (IOPS, THROUGHPUT)}
    assert all(len(values) == 36 and min(values) >= 0 for values in found.values())
    assert min(found[f"after async_map {IOPS}"]) > 0
    assert len(mlflow.search_runs(search_all_experiments=True, output_format="list")) == 1, (
        "no thread began another run"
    )


def test_another_thread_logs_to_mlflows_run_without_reading_it_each_time(
    mlflow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.store.tracking.file_store import FileStore

    def read(*args: Any) -> None:
        raise AssertionError("with a file store, to read a run is to read all that was logged")

    logged = [partial(mlflow.log_metrics, step=7), mlflow.log_metrics]
    options: list[dict[str, Any]] = [{"timestamp": 5}, {"step": 8, "synchronous": True}]
    with mlflow.start_run() as run, monkeypatch.context() as patch:
        patch.setattr(FileStore, "get_run", read)
        for log, prefix, kw in zip(logged, "ab", options, strict=True):
            pipe = IterableWrapper(range(3)).monitor(log, prefix, window_size=1, **kw)
            assert list(pipe.threadpool_map(times_two, max_workers=1)) == [0, 2, 4]
    client = mlflow.MlflowClient()
    first, second = (client.get_metric_history(run.info.run_id, f"{prefix}{IOPS}") for prefix in "ab")
    assert [(metric.step, metric.timestamp) for metric in first] == [(7, 5)] * 3
    assert [metric.step for metric in second] == [8] * 3
    assert all(run.info.start_time <= metric.timestamp for metric in second)


def test_mlflow_gets_what_was_given_for_it_and_each_prefix_its_own_name(mlflow: Any) -> None:
    pipe = IterableWrapper(range(3)).monitor(mlflow.log_metrics, "(a) ", window_size=1, step=7)
    pipe = pipe.monitor(partial(mlflow.log_metrics, step=8), "a ", window_size=1)
    with mlflow.start_run() as run:
        assert list(pipe) == [0, 1, 2]
    assert {name: len(values) for name, values in history(mlflow, run).items()} == {
        f"{prefix}{name}": 3 for prefix in ("a ", "a 2 ") for name in (IOPS, THROUGHPUT)
    }
    client = mlflow.MlflowClient()
    assert {metric.step for metric in client.get_metric_history(run.info.run_id, f"a 2 {IOPS}")} == {7}
    assert {metric.step for metric in client.get_metric_history(run.info.run_id, f"a {IOPS}")} == {8}


def test_mlflow_in_another_thread_logs_to_the_run_that_was_given(mlflow: Any) -> None:
    other = mlflow.MlflowClient().create_run("0")
    pipe = IterableWrapper(range(5)).monitor(mlflow.log_metrics, run_id=other.info.run_id).prefetch(2)
    with mlflow.start_run() as run:
        list(pipe)
    assert not history(mlflow, run)
    assert history(mlflow, other).keys() == {IOPS, THROUGHPUT}


def test_workers_are_logged_to_the_main_processes_run(mlflow: Any) -> None:
    pipe = IterableWrapper(range(100)).sharding_filter().monitor(mlflow.log_metrics, BEFORE).batch(5)
    with mlflow.start_run() as run, DataLoader2(pipe, reading_service=MultiProcessingReadingService(2)) as dl:
        for _ in range(2):
            assert len(list(dl)) == 20
    found = history(mlflow, run)
    assert {name: len(values) for name, values in found.items()} == {
        f"before async_map {IOPS}": 2, f"before async_map {THROUGHPUT}": 2,
    }  # fmt: skip


# -- wandb


@pytest.fixture
def wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("DIR", "CACHE_DIR", "CONFIG_DIR", "DATA_DIR"):
        monkeypatch.setenv(f"WANDB_{name}", str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    module = imported("wandb")
    yield module
    module.teardown()


def logged(wandb: Any, path: str) -> list[dict[str, str]]:
    """The rows of an offline run that has ended: its file is a LevelDB log (behind 7 bytes) of protocol buffers."""
    wandb.teardown()  # until then, the process that writes the file may not have written all
    pb2 = importlib.import_module("wandb.proto.wandb_internal_pb2")
    data, at, whole, rows = Path(path).read_bytes(), 7, b"", []
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a record in one part, or the last part of one
            record, whole = pb2.Record.FromString(whole), b""
            if record.HasField("history"):
                rows.append({item.key or item.nested_key[0]: item.value_json for item in record.history.item})
    return rows


def test_the_pages_example_logs_to_wandb_under_its_own_names(wandb: Any) -> None:
    with wandb.init() as run:
        assert len(list(monitored_twice(wandb.log, 40))) == 8
        summary, path = dict(run.summary), run.settings.sync_file
    names = {f"{prefix}{name}" for prefix in (BEFORE, AFTER) for name in (IOPS, THROUGHPUT)}
    assert names < summary.keys()
    rows = logged(wandb, path)
    assert sum(f"{BEFORE}{IOPS}" in row for row in rows) == sum(f"{AFTER}{THROUGHPUT}" in row for row in rows) == 36
    assert all(float(row[f"{AFTER}{IOPS}"]) > 0 for row in rows if f"{AFTER}{IOPS}" in row)
    assert len(rows) == 72


def test_the_pages_first_example_leaves_early_too(wandb: Any) -> None:
    with wandb.init() as run:
        it = samples(100).map(times_two).monitor(wandb.log).batch(5)
        assert len(list(islice(it, 4))) == 4
        path = run.settings.sync_file
    assert len(logged(wandb, path)) == 16


def test_workers_are_logged_to_the_main_processes_wandb_run(wandb: Any) -> None:
    with wandb.init() as run:
        pipe = samples(100).sharding_filter().monitor(wandb.log, BEFORE).batch(5)
        with DataLoader2(pipe, reading_service=MultiProcessingReadingService(2)) as dl:
            assert len(list(dl)) == 20
        path = run.settings.sync_file
    (row,) = logged(wandb, path)
    assert float(row[f"{BEFORE}{IOPS}"]) > 0


# -- TensorBoard


@pytest.fixture
def board(tmp_path: Path) -> Any:
    """A directory of event files, and what reads it."""
    accumulator = imported("tensorboard.backend.event_processing.event_accumulator")
    writers = imported("torch.utils.tensorboard")

    def read() -> dict[str, list[tuple[int, float]]]:
        events = accumulator.EventAccumulator(str(tmp_path))
        events.Reload()
        return {tag: [(each.step, each.value) for each in events.Scalars(tag)] for tag in events.Tags()["scalars"]}

    return writers.SummaryWriter(str(tmp_path)), read


def test_tensorboards_event_files_have_each_call_as_a_step(board: Any) -> None:
    writer, read = board
    with writer:
        assert len(list(monitored_twice(to_tensorboard(writer), 40))) == 8
    found = read()
    assert found.keys() == {f"{prefix}{name}" for prefix in (BEFORE, AFTER) for name in (IOPS, THROUGHPUT)}
    for values in found.values():
        assert [step for step, _ in values] == list(range(36))
    assert min(value for _, value in found[f"{AFTER}{IOPS}"]) > 0


def test_a_step_can_be_given_and_workers_write_in_the_main_process(board: Any) -> None:
    writer, read = board
    with writer:
        pipe = IterableWrapper(range(100)).sharding_filter().monitor(to_tensorboard(writer), step=12)
        with DataLoader2(pipe, reading_service=MultiProcessingReadingService(2)) as dl:
            assert len(list(dl)) == 100
    assert [step for step, _ in read()[IOPS]] == [12]
