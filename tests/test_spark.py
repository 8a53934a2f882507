"""Spark: real jobs of a local session write shards, which pipes read, and map over them."""

from __future__ import annotations

import datetime
import importlib.util
import json
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock import DataLoader2, IterableWrapper, MultiProcessingReadingService
from penstock.core.errors import DecodeError, GraphError, MissingExtra
from penstock.integrations import spark
from penstock.integrations._staging import staged
from penstock.integrations.spark import map_shards, read_shards, shard_files, write_shards
from penstock.testing import plain
from running import restores_at_every_index

FORMATS = ["msgpack", "jsonl", "parquet"]

if importlib.util.find_spec("pyspark") is None:
    pytest.skip("needs pyspark", allow_module_level=True)
if not spark._has_java():
    pytest.skip("needs Java, which Spark runs on", allow_module_level=True)


@pytest.fixture(scope="module")
def session() -> Iterator[Any]:
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        builder: Any = SparkSession.builder
        session = (
            builder.master("local[2,2]")  # two cores; a task may fail once
            .config("spark.ui.enabled", "false")
            .config("spark.log.level", "OFF")
            .config("spark.driver.memory", "512m")
            .config("spark.sql.shuffle.partitions", "2")
            .getOrCreate()
        )
        yield session
        gateway = session.sparkContext._gateway
        session.stop()
        gateway.shutdown()
        gateway.proc.stdin.close()  # Java ends with it
        gateway.proc.wait(30)
        SparkContext._gateway = SparkContext._jvm = None


@pytest.fixture
def url(tmp_path: Path) -> str:
    return str(tmp_path / "shards")


def numbers(session: Any, count: int = 10, partitions: int = 3) -> Any:
    return session.sparkContext.parallelize([{"x": x} for x in range(count)], partitions)


def files_of(url: str) -> list[str]:
    return sorted(str(path.relative_to(url)) for path in Path(url).rglob("*"))


def xs(samples: Any) -> list[int]:
    return [sample["x"] for sample in samples]


# ------------------------------------------------------------------------------------------------------------ writing


@pytest.mark.parametrize("format", FORMATS)
def test_each_partition_becomes_a_shard_and_is_read_back_in_order(session: Any, url: str, format: str) -> None:
    shards = write_shards(numbers(session), url, format=format)
    names = [f"part-{i:05d}.{format}" for i in range(3)]
    assert files_of(url) == ["_shards.json", *names]
    assert [(shard.name, shard.samples) for shard in shards] == list(zip(names, (3, 3, 4), strict=True))
    assert all(shard.size_bytes == os.path.getsize(f"{url}/{shard.name}") for shard in shards)
    assert [os.path.basename(path) for path in shard_files(url, format=format)] == names
    assert list(read_shards(url, format=format)) == [{"x": x} for x in range(10)]
    assert json.loads(Path(url, "_shards.json").read_text())["samples"] == 10


ROW = {"x": 1, "text": "ä\n", "none": None, "list": [1.5, 2.5], "map": {"a": 1}, "nested": {"p": [{"q": True}]}}


@pytest.mark.parametrize("format", FORMATS)
def test_rows_of_a_data_frame_become_dicts(session: Any, url: str, format: str) -> None:
    schema = (
        "x long, text string, none string, list array<double>, map map<string,long>, "
        "nested struct<p: array<struct<q: boolean>>>"
    )
    write_shards(session.createDataFrame([ROW] * 5, schema), url, format=format)
    assert list(read_shards(url, format=format)) == [ROW] * 5


def test_msgpack_keeps_arrays_and_bytes(session: Any, url: str) -> None:
    samples = [
        {"x": np.full((i % 3, 2), i, dtype), "b": bytes([i]), "s": np.float32(i), "in": [{"y": np.arange(i)}]}
        for i, dtype in enumerate(["u1", "i8", "f2", ">f4", "c8", "?", "U3", "M8[s]"])
    ]
    write_shards(session.sparkContext.parallelize(samples, 3), url)
    found = list(read_shards(url))
    assert len(found) == len(samples)
    for mine, theirs in zip(found, samples, strict=True):
        assert mine["x"].dtype == theirs["x"].dtype and mine["x"].flags.writeable  # type: ignore[attr-defined]
        assert type(mine["s"]) is np.float32
        assert plain(mine) == plain(theirs)


def test_partitions_without_samples_become_no_shards_and_nothing_at_all_is_complete(session: Any, url: str) -> None:
    write_shards(numbers(session, 3, 8), url)
    assert xs(read_shards(url)) == [0, 1, 2]
    assert len(list(shard_files(url))) == 3
    assert write_shards(numbers(session, 0, 2), url + "2") == []
    assert list(read_shards(url + "2")) == []


def test_shards_are_cut_where_a_partition_has_more_samples_than_one_may_have(session: Any, url: str) -> None:
    shards = write_shards(numbers(session, 10, 2), url, samples_per_shard=2)
    assert [(s.name, s.samples) for s in shards] == [
        (f"part-{part:05d}-{number:05d}.msgpack", n) for part in range(2) for number, n in enumerate((2, 2, 1))
    ]
    assert xs(read_shards(url)) == list(range(10))


def test_data_is_shuffled_into_so_many_shards_on_request(session: Any, url: str) -> None:
    frame = session.range(40).withColumnRenamed("id", "x")
    for number, data in enumerate((frame, numbers(session, 40))):
        write_shards(data, f"{url}{number}", num_shards=5)
        assert len(list(shard_files(f"{url}{number}"))) <= 5
        assert sorted(xs(read_shards(f"{url}{number}"))) == list(range(40))


def test_fn_is_any_graph_of_pipes_and_runs_in_the_tasks(session: Any, url: str) -> None:
    me = os.getpid()

    def fn(pipe: Any) -> Any:
        return pipe.filter(lambda s: s["x"] % 2).map(lambda s: {**s, "there": os.getpid() != me}).batch(2).unbatch()

    shards = write_shards(numbers(session), url, fn=fn)
    assert list(read_shards(url)) == [{"x": x, "there": True} for x in (1, 3, 5, 7, 9)]
    assert sum(shard.samples for shard in shards) == 5


@pytest.mark.parametrize("kind", ["pipe", "loader", "generator"])
def test_a_pipe_runs_here_and_is_written_in_pieces(session: Any, url: str, kind: str) -> None:
    made: list[int] = []
    pipe = IterableWrapper(range(11)).map(lambda x: made.append(x) or {"x": x})  # type: ignore[func-returns-value]
    data: Any = {"pipe": pipe, "loader": DataLoader2(pipe), "generator": (sample for sample in pipe)}[kind]
    shards = write_shards(data, url, samples_per_shard=2, fn=lambda p: p.filter(lambda s: s["x"] != 4), session=session)
    assert made == list(range(11))
    assert [shard.samples for shard in shards] == [2, 2, 1, 2, 2, 1]
    assert xs(read_shards(url)) == [x for x in range(11) if x != 4]


def test_a_pipe_is_not_read_further_ahead_than_two_pieces_for_each_core(session: Any, url: str) -> None:
    most = 0
    written = Path(url + "-log")
    written.write_text("")

    def source() -> Iterator[dict[str, int]]:
        nonlocal most
        for x in range(60):
            most = max(most, x - len(written.read_text()))
            yield {"x": x}

    def log(sample: Any) -> Any:
        with open(written, "a") as file:
            file.write(".")
        return sample

    write_shards(source(), url, samples_per_shard=3, fn=lambda pipe: pipe.map(log), session=session)
    assert xs(read_shards(url)) == list(range(60))
    cores = session.sparkContext.defaultParallelism
    assert most <= 3 * 3 * cores  # one group is written, one waits, and one is being made


def test_leaving_with_an_error_stops_the_pipe_and_leaves_nothing(session: Any, url: str) -> None:
    threads = threading.active_count()

    def fail(x: int) -> Any:
        return {"x": 6 // (5 - x)}

    with pytest.raises(ZeroDivisionError):
        write_shards(IterableWrapper(range(9)).map(fail), url, samples_per_shard=1, session=session)
    assert files_of(url) == []
    assert threading.active_count() <= threads + 1  # Spark's own


def test_without_a_session_it_is_the_active_one(session: Any, url: str) -> None:
    write_shards(IterableWrapper([{"x": 1}]), url)
    assert xs(read_shards(url)) == [1]


# ------------------------------------------------------------------------------------ tasks that fail, or run twice


def test_an_attempt_that_fails_leaves_nothing_and_the_next_one_counts(session: Any, url: str) -> None:
    def fn(pipe: Any) -> Any:
        from pyspark import TaskContext

        task: Any = TaskContext.get()
        if task.attemptNumber() == 0 and task.partitionId() == 1:
            return pipe.map(lambda s: s if s["x"] != 5 else 1 // 0)
        return pipe

    write_shards(numbers(session), url, fn=fn)
    assert xs(read_shards(url)) == list(range(10))
    assert files_of(url) == ["_shards.json", *(f"part-{i:05d}.msgpack" for i in range(3))]
    write_shards(numbers(session), url + "2", fn=fn, samples_per_shard=2)
    assert xs(read_shards(url + "2")) == list(range(10))


def test_a_job_that_fails_says_where_and_leaves_nothing(session: Any, url: str) -> None:
    def fn(pipe: Any) -> Any:
        return pipe.map(lambda s: 1 // (s["x"] - 4), name="broken")

    write_shards(numbers(session), url + "2")
    for job in (
        lambda: write_shards(IterableWrapper([{"x": x} for x in range(9)]), url, fn=fn, session=session),
        lambda: map_shards(url + "2", fn, url, session=session),
    ):
        with pytest.raises(Exception, match="ZeroDivisionError") as raised:
            job()
        assert "raised in pipe 'broken'" in str(raised.value) and "{'x': 4}" in str(raised.value)
        assert files_of(url) == []
    with pytest.raises(Exception, match="ZeroDivisionError"):
        write_shards(numbers(session), url, fn=fn)
    assert files_of(url) == []
    with pytest.raises(FileNotFoundError, match="nobody has said that all of it is there"):
        list(read_shards(url))
    write_shards(numbers(session), url)
    assert xs(read_shards(url)) == list(range(10))


def test_of_several_attempts_that_end_well_the_one_that_counts_is_the_one_that_spark_took(url: str) -> None:
    with staged(url, "msgpack", None, overwrite=False) as (staging, publish):
        first, second = (staging.write(0, [{"x": x}]) for x in (1, 2))
        assert first[0].path != second[0].path
        publish(first)
    assert xs(read_shards(url)) == [1]
    assert files_of(url) == ["_shards.json", "part-00000.msgpack"]


def test_random_steps_differ_by_partition_and_a_second_attempt_repeats_them(session: Any, url: str) -> None:
    def fn(pipe: Any) -> Any:
        return pipe.random_map(lambda s, rng: {"x": float(rng.random())})

    found = []
    for number, seed in enumerate((0, 0, 1)):
        write_shards(numbers(session), f"{url}{number}", fn=fn, seed=seed)
        found.append(xs(read_shards(f"{url}{number}")))
    assert found[0] == found[1] != found[2]
    assert len(set(found[0] + found[2])) == 20


@pytest.mark.parametrize(
    ("format", "sample", "message"),
    [
        ("msgpack", {"x": datetime.date(2020, 1, 1)}, "MessagePack has no datetime.date"),
        ("msgpack", {"x": np.array([object()])}, "nothing here is pickled"),
        ("jsonl", {"x": np.arange(3)}, "JSON has no numpy.ndarray"),
        ("jsonl", {"x": float("nan")}, "not JSON compliant"),
        ("parquet", [1], "a row of a table is a dict"),
        ("parquet", {"x": 1, "y": 2}, "row 1 has the columns"),
        ("parquet", {"x": "text"}, "with type str"),
    ],
)
def test_a_sample_that_a_format_does_not_have_is_an_error_and_leaves_nothing(
    url: str, format: str, sample: Any, message: str
) -> None:
    with staged(url, format, None, overwrite=False) as (staging, _):
        with pytest.raises((TypeError, ValueError), match=message) as raised:
            staging.write(0, [{"x": 1}, sample])
        assert format == "parquet" or "writing sample 1 of a shard" in raised.value.__notes__[0]
        assert os.listdir(staging.folder) == []
    assert files_of(url) == []


# -------------------------------------------------------------------------------------------- folders that have files


def test_a_folder_with_shards_is_replaced_on_request_only(session: Any, url: str) -> None:
    write_shards(numbers(session, 10, 5), url)
    with pytest.raises(FileExistsError, match=r"has 6 files already, '_shards.json' .*overwrite=True"):
        write_shards(numbers(session, 4, 2), url)
    assert xs(read_shards(url)) == list(range(10))
    write_shards(numbers(session, 4, 2), url, format="jsonl", overwrite=True)
    assert xs(read_shards(url, format="jsonl")) == list(range(4))
    assert files_of(url) == ["_shards.json", "part-00000.jsonl", "part-00001.jsonl"]
    with pytest.raises(Exception, match="ZeroDivisionError"):
        write_shards(numbers(session), url, fn=lambda pipe: pipe.map(lambda s: 1 // 0), overwrite=True)
    assert xs(read_shards(url, format="jsonl")) == list(range(4))


def test_files_that_are_no_shards_are_never_mixed_with_them_nor_removed(session: Any, url: str) -> None:
    Path(url).mkdir()
    Path(url, "notes.txt").write_text("")
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match="notes.txt"):
            write_shards(numbers(session), url, overwrite=overwrite)
    assert files_of(url) == ["notes.txt"]


def add_to(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "part-00001.msgpack").unlink(), "part-00001.msgpack is missing, with 3 samples"),
        (
            lambda folder: add_to(folder / "part-00001.msgpack"),
            r"part-00001.msgpack has 13 bytes, and 12 by _shards",
        ),
        (lambda folder: (folder / "part-00009.msgpack").write_bytes(b""), "part-00009.msgpack is there, and not in"),
        (lambda folder: (folder / "_shards.json").write_text("{"), "_shards.json cannot be read"),
        (lambda folder: (folder / "_shards.json").write_text("{}"), "_shards.json cannot be read"),
        (lambda folder: (folder / "_shards.json").write_text('{"version": 2}'), "has version 2, and 1 is known here"),
    ],
)
def test_a_folder_that_is_not_what_it_says_is_an_error(
    session: Any, url: str, damage: Callable[[Path], Any], message: str
) -> None:
    write_shards(numbers(session), url)
    damage(Path(url))
    with pytest.raises(DecodeError, match=message):
        list(read_shards(url))


def test_a_folder_that_nobody_has_called_complete_is_an_error_and_a_pipe_of_its_paths_is_not(
    session: Any, url: str
) -> None:
    write_shards(numbers(session), url)
    Path(url, "_shards.json").unlink()
    with pytest.raises(FileNotFoundError, match="neither _shards.json nor _SUCCESS"):
        list(shard_files(url))
    paths = IterableWrapper(sorted(str(path) for path in Path(url).glob("part-*")))
    assert xs(read_shards(paths)) == list(range(10))
    with pytest.raises(FileNotFoundError):
        list(shard_files(url + "-missing"))


def test_another_format_is_an_error_that_names_it(session: Any, url: str) -> None:
    write_shards(numbers(session), url, format="jsonl")
    with pytest.raises(GraphError, match="to be read by format='jsonl'"):
        list(read_shards(url))
    with pytest.raises(GraphError, match="to be read by format='jsonl'"):
        list(read_shards(shard_files(url, format="jsonl"), format="parquet"))
    for call in (shard_files, read_shards):
        with pytest.raises(ValueError, match="format must be one of msgpack, jsonl, parquet"):
            call(url, format="csv")
    for arguments in ({"format": "csv"}, {"num_shards": 0}, {"samples_per_shard": 0}):
        with pytest.raises(ValueError, match=r"format|at least 1"):
            write_shards(numbers(session), url + "2", **arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="num_shards is for data that Spark has"):
        write_shards(IterableWrapper([1]), url + "2", num_shards=2)


# ------------------------------------------------------------------------------------------------------------ reading


@pytest.mark.parametrize("format", FORMATS)
def test_reading_restores_at_every_index(session: Any, url: str, format: str) -> None:
    write_shards(numbers(session), url, format=format)
    assert xs(restores_at_every_index(read_shards(url, format=format))) == list(range(10))
    pipe = read_shards(shard_files(url, format=format).shuffle().sharding_filter(), format=format)
    assert sorted(xs(restores_at_every_index(pipe.shuffle(buffer_size=3)))) == list(range(10))


def test_another_folder_is_a_state_error(session: Any, url: str) -> None:
    from penstock.core.errors import StateError

    write_shards(numbers(session), url)
    it: Any = iter(read_shards(url))
    assert len(list(islice(it, 5))) == 5  # in the second file
    state = it.state_dict()
    write_shards(numbers(session, 10, 2), url, overwrite=True)
    with pytest.raises(StateError, match="lists other files"):
        again: Any = iter(read_shards(url))
        again.load_state_dict(state)
        next(again)


@pytest.mark.parametrize("format", FORMATS)
def test_workers_read_each_sample_once(session: Any, url: str, format: str) -> None:
    write_shards(numbers(session, 30, 5), url, format=format)
    pipe = read_shards(shard_files(url, format=format).shuffle().sharding_filter(), format=format)
    with DataLoader2(pipe, reading_service=MultiProcessingReadingService(2)) as loader:
        loader.seed(1)
        epochs = [xs(loader) for _ in range(2)]
        head = xs(islice(loader, 7))
        state = loader.state_dict()
    assert epochs[0] != epochs[1]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(30))
    with DataLoader2(pipe) as alone:
        alone.load_state_dict(state)
        assert sorted(head + xs(alone)) == list(range(30))


@pytest.mark.parametrize(("format", "options"), [("parquet", {}), ("jsonl", {}), ("jsonl", {"compression": "gzip"})])
def test_a_table_that_spark_wrote_is_read_back(session: Any, url: str, format: str, options: dict[str, str]) -> None:
    frame = session.createDataFrame([{**ROW, "x": x} for x in range(10)], "x long, text string, map map<string,long>")
    writer = frame.repartition(3).write
    (writer.parquet if format == "parquet" else writer.json)(url, **options)
    assert "_SUCCESS" in files_of(url) and any(name.endswith(".crc") for name in files_of(url))
    assert len(list(shard_files(url, format=format))) == 3
    found = list(read_shards(url, format=format))
    assert sorted(found, key=lambda row: row["x"]) == [{"x": x, "text": "ä\n", "map": {"a": 1}} for x in range(10)]


def test_a_table_with_partitions_in_folders_is_refused(session: Any, url: str) -> None:
    frame = session.range(4).withColumnRenamed("id", "x")
    frame.withColumn("y", frame.x % 2).write.partitionBy("y").parquet(url)
    with pytest.raises(GraphError, match="a table with partitions has columns in its folders' names"):
        list(read_shards(url, format="parquet"))
    write_shards(session.read.parquet(url), url + "2")
    assert sorted((row["x"], row["y"]) for row in read_shards(url + "2")) == [(x, x % 2) for x in range(4)]


def test_shards_are_read_from_any_url_that_fsspec_knows() -> None:
    import fsspec

    fs = fsspec.filesystem("memory")
    with staged("memory://spark/shards", "jsonl", 2, overwrite=False) as (staging, publish):
        publish(staging.write(7, ({"x": x} for x in range(3))))
    assert [path.rpartition("/")[2] for path in fs.find("/spark/shards")] == [
        "_shards.json",
        "part-00007-00000.jsonl",
        "part-00007-00001.jsonl",
    ]
    first = next(iter(shard_files("memory://spark/shards", format="jsonl")))
    assert first == "memory:///spark/shards/part-00007-00000.jsonl"
    assert xs(read_shards("memory://spark/shards", format="jsonl")) == [0, 1, 2]


# ------------------------------------------------------------------------------------------------------------ mapping


def test_a_job_maps_each_shard_to_a_shard(session: Any, url: str) -> None:
    write_shards(numbers(session, 12, 4), url)
    out = url + "-out"
    shards = map_shards(url, lambda pipe: pipe.map(lambda s: {"y": [s["x"], np.arange(2)]}), out, session=session)
    assert [shard.samples for shard in shards] == [3] * 4
    assert plain(list(read_shards(out))) == [{"y": [x, [0, 1]]} for x in range(12)]
    with pytest.raises(FileExistsError):
        map_shards(url, lambda pipe: pipe, out, session=session)


def test_shards_of_which_nothing_is_left_are_left_out_and_a_folder_can_be_mapped_onto_itself(
    session: Any, url: str
) -> None:
    write_shards(numbers(session, 12, 4), url)
    shards = map_shards(url, lambda pipe: pipe.filter(lambda s: s["x"] > 7), url, overwrite=True, session=session)
    assert [(shard.name, shard.samples) for shard in shards] == [("part-00002.msgpack", 1), ("part-00003.msgpack", 3)]
    assert xs(read_shards(url)) == [8, 9, 10, 11]
    assert map_shards(url, lambda pipe: pipe.header(0), url, overwrite=True, session=session) == []
    assert map_shards(url, lambda pipe: pipe, url, overwrite=True, session=session) == []


def test_a_table_is_mapped_to_shards_of_another_format(session: Any, url: str) -> None:
    session.range(6).withColumnRenamed("id", "x").repartition(2).write.parquet(url)
    out = url + "-out"
    map_shards(url, lambda pipe: pipe.batch(2).unbatch(), out, format="parquet", out_format="msgpack", session=session)
    assert sorted(xs(read_shards(out))) == list(range(6))


def test_a_fn_that_returns_no_pipe_is_an_error(session: Any, url: str) -> None:
    write_shards(numbers(session), url)
    with pytest.raises(Exception, match="fn must return a DataPipe, got list"):
        map_shards(url, lambda pipe: list(pipe), url + "-out", session=session)  # type: ignore[arg-type,return-value]


def test_the_documentation_runs_as_it_is_printed(session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[1] / "docs/spark.md").read_text()
    monkeypatch.chdir(tmp_path)
    page = page.replace('"table"', repr(str(tmp_path / "table")))  # Java stays where it was started
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    assert len(blocks) == 5
    exec("\n".join(blocks), {"__name__": "__main__"})
    assert plain(next(iter(read_shards("features")))) == {"number": 0, "feature": [0, 0, 0]}


# ----------------------------------------------------------------------------------------------- what may be missing


def test_without_pyspark_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setitem(sys.modules, "pyspark", None)
    with pytest.raises(MissingExtra, match=r"pip install 'penstock\[spark\]'"):
        write_shards(IterableWrapper([1]), url)
    assert not os.path.exists(url)


def test_without_java_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from pyspark.sql import SparkSession

    def fails(builder: Any) -> None:
        raise RuntimeError("Java gateway process exited before sending its port number.")

    monkeypatch.setattr(SparkSession, "getActiveSession", lambda: None)
    monkeypatch.setattr(SparkSession.Builder, "getOrCreate", fails)
    monkeypatch.setenv("JAVA_HOME", "/nowhere")
    with pytest.raises(RuntimeError, match="Spark needs a Java runtime"):
        spark._context(None)
    monkeypatch.delenv("JAVA_HOME")
    with pytest.raises(RuntimeError, match="gateway"):
        spark._context(None)
