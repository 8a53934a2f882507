"""Zarr: rows of arrays and groups of both versions, each chunk read once, by any number of workers, from any place."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import numcodecs
import numpy as np
import pytest
import zarr
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st

from object_store import s3_server, storage_options
from penstock import (
    BadSamples,
    DataLoader2,
    DecodeError,
    MissingExtra,
    MultiProcessingReadingService,
    StateError,
    ThreadingReadingService,
)
from penstock.pipes import IterableWrapper
from penstock.pipes._zarr_column import Kept
from penstock.testing import faults, plain
from running import context, restores_at_every_index, run, trip

VERSIONS = [2, 3]
X = np.arange(23 * 3, dtype=np.int32).reshape(23, 3)


def read(*urls: Any, **options: Any) -> list[Any]:
    return list(IterableWrapper([str(url) for url in urls]).read_zarr(**options))


def array(path: Any, data: Any = X, chunks: Any = (4, 3), **options: Any) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr warns when it writes dtypes for which version 3 has no specification
        zarr.create_array(str(path), data=np.asarray(data), chunks=chunks, **options)
    return str(path)


def group(path: Any, version: int = 3, **arrays: Any) -> str:
    """A group of arrays, each given as its data and its chunk's length."""
    made = zarr.create_group(str(path), zarr_format=version)
    for name, (data, chunk) in arrays.items():
        made.create_array(name, data=np.asarray(data), chunks=(chunk, *np.asarray(data).shape[1:]))
    return str(path)


class Counting(MemoryFileSystem):
    """A file system in memory that counts what is read of each file."""

    protocol = "counted"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    reads: ClassVar[Counter[str]] = Counter()
    failing: ClassVar[dict[str, Exception]] = {}

    def cat_file(self, path: str, start: Any = None, end: Any = None, **options: Any) -> Any:
        if self.exists(path):
            self.reads["/" + path.rpartition("://")[2].lstrip("/")] += 1
        for name in [name for name in self.failing if path.endswith(name)]:
            raise self.failing.pop(name)
        return super().cat_file(path, start, end, **options)

    def chunk_reads(self) -> dict[str, int]:
        return {path: n for path, n in self.reads.items() if "/c/" in path}


@pytest.fixture
def counted() -> Iterator[Any]:
    fsspec.register_implementation("counted", Counting, clobber=True)
    Counting.store.clear()
    Counting.failing.clear()
    fs = fsspec.filesystem("counted")
    yield fs
    Counting.store.clear()


# What a row is


DATA = {
    "int32": X,
    "scalars": np.arange(5.0),
    "datetime64": np.arange(5).astype("datetime64[s]"),
    "timedelta64": np.arange(5).astype("timedelta64[ms]"),
    "bool": np.arange(5) > 2,
    "complex64": np.arange(5).astype(np.complex64),
    "float16, 3 axes": np.arange(24, dtype=np.float16).reshape(6, 2, 2),
    "big-endian": np.arange(5, dtype=">i4"),
    "bytes": np.array([b"a", b"bc", b"def"]),
    "unicode": np.array(["a", "été", "x"]),
    "no rows": np.zeros((0, 3)),
    "empty rows": np.zeros((5, 0)),
    "records": np.array([(1, 2.5), (3, 4.5), (5, 6.5)], dtype=[("a", "i4"), ("b", "f8")]),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("data", DATA.values(), ids=DATA)
def test_rows_are_those_of_the_array(tmp_path: Path, data: Any, version: int) -> None:
    chunks = tuple(max(1, min(2, n)) for n in data.shape)
    rows = read(array(tmp_path / "a", data, chunks, zarr_format=version))
    assert len(rows) == len(data)
    for row, expected in zip(rows, data, strict=True):
        assert np.array_equal(row, expected)
        assert np.asarray(row).dtype == np.asarray(expected).dtype or version == 3  # that keeps no byte order
        assert not isinstance(row, np.ndarray) or row.flags.writeable


@pytest.mark.parametrize("version", VERSIONS)
def test_strings_of_any_length_are_rows(tmp_path: Path, version: int) -> None:
    made = zarr.create_array(str(tmp_path / "a"), shape=(3,), chunks=(2,), dtype=str, zarr_format=version)
    made[:] = np.array(["", "längere", "x" * 100], dtype=object)
    pipe = IterableWrapper([str(tmp_path / "a")]).list_zarr_chunks().read_zarr()
    assert list(pipe) == ["", "längere", "x" * 100]
    with DataLoader2(pipe.sharding_filter(), reading_service=MultiProcessingReadingService(2)) as loader:
        assert list(loader) == ["", "längere", "x" * 100]


def test_a_row_that_is_written_into_changes_no_other(tmp_path: Path) -> None:
    labels = np.arange(23)
    pipe = IterableWrapper([group(tmp_path / "g", x=(X, 4), label=(labels, 23))]).list_zarr_chunks().repeat(2)
    expected = [*range(23), *range(23)]
    found = []
    for chunk in pipe.read_zarr(chunks=True):
        found += chunk["label"].tolist()
        chunk["label"][:] = -1
        chunk["x"][:] = -1
    assert sorted(found) == sorted(expected)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_was_never_written_is_the_fill_value(tmp_path: Path, version: int) -> None:
    options: Any = {"shape": (6, 2), "chunks": (2, 2), "dtype": "float32", "zarr_format": version}
    made = zarr.create_array(str(tmp_path / "a"), fill_value=np.nan, **options)
    made[2:4] = 1
    assert np.array_equal(read(tmp_path / "a"), made[:], equal_nan=True)
    zarr.create_array(str(tmp_path / "b"), fill_value=7, shards=(4, 2) if version == 3 else None, **options)
    assert np.array_equal(read(tmp_path / "b"), np.full((6, 2), 7))


def test_an_array_without_an_axis_is_one_row_and_in_a_group_stands_in_each(tmp_path: Path) -> None:
    url = group(tmp_path / "g", x=(X, 4))
    zarr.open_group(url).create_array("scale", data=np.array(0.5))
    assert read(f"{url}/scale") == [0.5]
    assert [row["scale"] for row in read(url)] == [0.5] * 23


@pytest.mark.parametrize("version", VERSIONS)
def test_a_group_gives_dicts_of_the_arrays_that_are_named_or_of_all(tmp_path: Path, version: int) -> None:
    url = group(tmp_path / "g", version, y=(-X, 4), x=(X, 5))
    group(f"{url}/deep", version, z=(2 * X, 7))
    rows = read(url)
    assert [list(row) for row in rows] == [["x", "y"]] * 23
    assert np.array_equal([row["x"] for row in rows], X)
    assert np.array_equal([row["y"] for row in rows], -X)
    (row, *_), named = read(url, arrays=["deep/z", "y"]), [*read(url, arrays=["deep/z"])]
    assert list(row) == ["deep/z", "y"]
    assert np.array_equal([row["deep/z"] for row in named], 2 * X)


def test_chunks_are_arrays_or_dicts_of_them(tmp_path: Path) -> None:
    url = group(tmp_path / "g", x=(X, 4), y=(-X, 4))
    assert [len(chunk) for chunk in read(f"{url}/x", chunks=True)] == [4, 4, 4, 4, 4, 3]
    chunks = read(url, chunks=True)
    assert np.array_equal(np.concatenate([chunk["y"] for chunk in chunks]), -X)
    assert [len(chunk["x"]) for chunk in read(url, chunks=True, span=10)] == [10, 10, 3]


@pytest.mark.parametrize("as_", ["numpy", "torch"])
def test_batches_of_columns_are_cut_from_spans(tmp_path: Path, as_: Any) -> None:
    url = group(tmp_path / "g", x=(X, 10), y=(np.arange(23), 23))
    batches = read(url, batch_size=4, as_=as_)
    assert [len(batch["x"]) for batch in batches] == [4, 4, 2, 4, 4, 2, 3]
    assert sum((batch["y"].tolist() for batch in batches), []) == list(range(23))
    assert isinstance(batches[0]["x"], np.ndarray) == (as_ == "numpy")
    for batch in batches:
        batch["x"][:] = 0  # it may be written into
    assert [len(batch["y"]) for batch in read(url, as_=as_)] == [10, 10, 3]
    spans = IterableWrapper([url]).list_zarr_chunks()
    assert len(spans.read_zarr(batch_size=4)) == 7 and len(spans.read_zarr(as_=as_)) == 3
    rebatched = spans.shuffle().read_zarr(["y"], as_=as_).shuffle_rows(20).rebatch(5)
    assert [len(batch["y"]) for batch in rebatched] == [5] * 4 + [3]
    assert sorted(int(row["y"]) for row in rebatched.rows()) == list(range(23))


def test_an_array_is_one_column_and_one_with_fields_several(tmp_path: Path) -> None:
    urls = [array(tmp_path / f"a{i}.zarr") for i in range(2)]
    assert [list(batch) for batch in read(*urls, as_="numpy")] == [["a0"]] * 12, "one table has one name for it"
    assert [list(batch) for batch in read(*urls, as_="numpy", column="x")] == [["x"]] * 12
    records = array(tmp_path / "r", DATA["records"], (2,))
    batches = read(records, batch_size=2, as_="torch")
    assert [{name: column.tolist() for name, column in batch.items()} for batch in batches] == [
        {"a": [1, 3], "b": [2.5, 4.5]},
        {"a": [5], "b": [6.5]},
    ]
    text = zarr.create_array(str(tmp_path / "t"), shape=(3,), chunks=(2,), dtype=str)
    text[:] = np.array(["", "längere", "x"], dtype=object)
    assert [batch["t"] for batch in read(tmp_path / "t", as_="torch")] == [["", "längere"], ["x"]]


def test_batches_restore_at_every_index(tmp_path: Path) -> None:
    url = group(tmp_path / "g", x=(X, 5), y=(np.arange(23), 4))
    restores_at_every_index(IterableWrapper([url, url]).read_zarr(batch_size=3))
    restores_at_every_index(
        IterableWrapper([url]).list_zarr_chunks(span=7).shuffle().read_zarr(batch_size=2).rebatch(3)
    )


def test_groups_that_differ_are_named_where_their_columns_are_asked_for(tmp_path: Path) -> None:
    first, other = group(tmp_path / "a", x=(X, 5)), group(tmp_path / "b", x=(X.astype("f8"), 5), y=(X, 5))
    with pytest.raises(DecodeError, match=r"b has other columns than .*a, the first: 'x' as float64\[3\].*'y' as well"):
        read(first, other, as_="numpy")
    assert len(read(first, other)) == 46
    for options in ({"chunks": True, "batch_size": 2}, {"batch_size": 0}, {"as_": "arrow"}):
        with pytest.raises(ValueError, match="chunks gives|batch_size must|as_ must"):
            read(first, **options)


def test_open_zarr_gives_what_zarr_opens_and_read_zarr_takes_it(tmp_path: Path) -> None:
    url, single = group(tmp_path / "g", x=(X, 4)), array(tmp_path / "a")
    opened = IterableWrapper([url, single]).open_zarr()
    assert len(opened) == 2
    (first, root), (second, data) = opened
    assert (first, second) == (url, single)
    assert isinstance(root, zarr.Group) and np.array_equal(root["x"][:], X)
    assert isinstance(data, zarr.Array) and np.array_equal(pickle.loads(pickle.dumps(data))[:], X)
    with pytest.raises(ValueError, match="read-only"):
        data[0] = 1
    rows = list(opened.read_zarr())
    assert np.array_equal([row["x"] for row in rows[:23]], X) and np.array_equal(rows[23:], X)
    assert list(opened.list_zarr_chunks()) == list(IterableWrapper([url, single]).list_zarr_chunks())


# Where it is


@pytest.mark.parametrize("version", VERSIONS)
def test_arrays_are_read_through_fsspec(tmp_path: Path, version: int) -> None:
    array(tmp_path / "a", zarr_format=version)
    zarr.create_array("memory://some/a", data=X, chunks=(4, 3), zarr_format=version, overwrite=True)
    shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "a")
    packed = f"zip://::{tmp_path}/packed.zip"
    for url in (f"file://{tmp_path}/a", "memory://some/a", f"simplecache::file://{tmp_path}/a", packed):
        assert np.array_equal(read(url), X), url
    cached = {"protocol": "simplecache", "target_protocol": "file", "cache_storage": str(tmp_path / "cache")}
    assert np.array_equal(read(tmp_path / "a", storage_options=cached), X)
    assert os.listdir(tmp_path / "cache")
    fsspec.filesystem("memory").rm("/some", recursive=True)


def test_a_protocol_that_lacks_its_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacks(*_: Any, **__: Any) -> Any:
        raise ImportError("Install s3fs")

    monkeypatch.setattr("zarr.storage.FsspecStore.from_url", lacks)
    with pytest.raises(MissingExtra, match="penstock\\[s3\\]"):
        read("s3://data/a")


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, Any]]:
    """The storage options of a server that speaks S3's protocol, with a bucket ``data``."""
    with s3_server() as url:
        yield storage_options(url)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("version", VERSIONS)
def test_arrays_in_s3_are_read_in_this_process_and_in_workers(s3: dict[str, Any], version: int) -> None:
    url = f"s3://data/v{version}"
    root = zarr.open_group(url, mode="w", storage_options=s3, zarr_format=version)
    root.create_array("x", data=X, chunks=(4, 3))
    root.create_array("y", data=-X, chunks=(4, 3))
    spans = IterableWrapper([url]).list_zarr_chunks(storage_options=s3)
    pipe = spans.sharding_filter().read_zarr(storage_options=s3).batch(3)
    expected = [plain(batch) for batch in pipe]
    assert sum(map(len, expected)) == 23
    rows = read(url, storage_options=s3)
    assert np.array_equal([row["y"] for row in rows], -X)
    for service in (SERVICES["forkserver"], SERVICES["fork"]):
        assert sum(map(len, loaded(pipe, service()))) == 23
    with pytest.raises(DecodeError, match="s3://data/none"):
        read("s3://data/none", storage_options=s3)


# Each chunk once


def test_a_chunk_is_read_once_however_many_rows_are_asked_for(counted: Any) -> None:
    zarr.create_array("counted://a", data=X, chunks=(4, 2))
    counted.reads.clear()
    assert np.array_equal(read("counted://a"), X)
    assert counted.chunk_reads() == {f"/a/c/{i}/{j}": 1 for i in range(6) for j in range(2)}


@pytest.mark.parametrize("chunks", [(4, 5), (5, 4), (4, 23), (23, 4), (1, 7), (7, 1), (9, 2), (10, 11)])
@pytest.mark.parametrize("span", [None, 1, 3])
def test_arrays_with_other_chunks_are_read_once_too(counted: Any, chunks: tuple[int, int], span: int | None) -> None:
    root = zarr.open_group("counted://g", mode="w")
    for name, chunk in zip("xy", chunks, strict=True):
        root.create_array(name, data=X if name == "x" else X[:, 0] + 1, chunks=(chunk, 3)[: 2 if name == "x" else 1])
    counted.reads.clear()
    for pipe in (
        IterableWrapper(["counted://g"]).read_zarr(span=span),
        IterableWrapper(["counted://g"]).list_zarr_chunks(span=span).read_zarr(),
    ):
        counted.reads.clear()
        rows = list(pipe)
        assert np.array_equal([row["x"] for row in rows], X)
        assert np.array_equal([row["y"] for row in rows], X[:, 0] + 1)
        once = {
            f"/g/{n}/c/{i}{j}": 1 for n, c, j in zip("xy", chunks, ("/0", ""), strict=True) for i in range(-(-23 // c))
        }
        assert counted.chunk_reads() == once


def test_a_long_chunk_of_small_rows_is_read_once_in_any_order_and_leaves_the_spans_short(counted: Any) -> None:
    root = zarr.open_group("counted://g", mode="w")
    root.create_array("image", data=np.zeros((60, 8, 8)), chunks=(4, 8, 8))
    root.create_array("label", data=np.arange(60), chunks=(60,))
    spans = IterableWrapper(["counted://g"]).list_zarr_chunks()
    assert len(spans) == 15
    counted.reads.clear()
    assert sorted(int(row["label"]) for row in spans.shuffle().read_zarr()) == list(range(60))
    assert set(counted.chunk_reads().values()) == {1}


def test_what_is_kept_of_chunks_is_bounded_and_enough_for_neighbours(
    counted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = 0
    put = Kept.put

    def noted(self: Kept, *args: Any) -> None:
        nonlocal kept
        put(self, *args)
        kept = max(kept, len(self._chunks))

    monkeypatch.setattr(Kept, "put", noted)
    monkeypatch.setattr("penstock.pipes._zarr_column._KEPT_BYTES", 1)
    root = zarr.open_group("counted://g", mode="w")
    for name, chunk in (("x", 5), ("y", 7), ("z", 9)):
        root.create_array(name, data=X + 1, chunks=(chunk, 3))
    counted.reads.clear()
    rows = list(IterableWrapper(["counted://g"]).read_zarr(span=4))
    assert np.array_equal([row["z"] for row in rows], X + 1)
    assert set(counted.chunk_reads().values()) == {1}
    assert kept <= 6


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_spans_in_any_order_give_the_rows_that_they_name(data: st.DataObject, tmp_path_factory: Any) -> None:
    n = data.draw(st.integers(1, 30))
    chunks = data.draw(st.lists(st.integers(1, 35), min_size=1, max_size=3))
    bound = st.integers(0, n)
    spans = [sorted(span) for span in data.draw(st.lists(st.tuples(bound, bound), min_size=1, max_size=6))]
    url = group(
        tmp_path_factory.mktemp("g"), **{f"a{i}": (np.arange(n) * 3 + i, chunk) for i, chunk in enumerate(chunks)}
    )
    rows = list(IterableWrapper([(url, *span) for span in spans]).read_zarr())
    assert [[int(x) for x in row.values()] for row in rows] == [
        [3 * row + i for i in range(len(chunks))] for start, stop in spans for row in range(start, stop)
    ]


def test_a_shard_is_read_in_one_request(counted: Any) -> None:
    zarr.create_array("counted://a", data=X, chunks=(2, 3), shards=(8, 3))
    spans = IterableWrapper(["counted://a"]).list_zarr_chunks()
    assert [span[1:] for span in spans] == [(0, 8), (8, 16), (16, 23)]
    counted.reads.clear()
    assert np.array_equal(list(spans.read_zarr()), X)
    whole = {path: n for path, n in counted.chunk_reads().items() if path != "/a/c/2/0"}
    assert whole == {"/a/c/0/0": 1, "/a/c/1/0": 1}
    assert counted.reads["/a/c/2/0"] <= 1 + 4  # the array ends in this one: its index, and the chunks that it has


def test_of_a_large_shard_as_many_chunks_are_read_at_a_time_as_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = array(tmp_path / "a", X, (2, 3), shards=(8, 3))
    monkeypatch.setattr("penstock.pipes._zarr_column._SHARD_BYTES", X.itemsize * 3 * 5)
    spans = IterableWrapper([url]).list_zarr_chunks()
    assert [span[1:] for span in spans][:3] == [(0, 4), (4, 8), (8, 12)]
    assert np.array_equal(list(spans.read_zarr()), X)


# From any place


def graphs(folder: Path) -> dict[str, Any]:
    url = group(folder / "g", x=(X, 4), y=(X[:, 0], 5))
    other = array(folder / "a", X + 100, (6, 3))
    one = lambda: IterableWrapper([url])  # noqa: E731
    return {
        "rows": one().read_zarr(),
        "urls": IterableWrapper([f"{url}/x", other, f"{url}/y"]).read_zarr(),
        "chunks": one().read_zarr(chunks=True, span=5),
        "spans": one().list_zarr_chunks(span=3).shuffle().read_zarr(),
        "chunks of spans": one().list_zarr_chunks(span=3).shuffle().read_zarr(chunks=True),
        "shuffled": one().list_zarr_chunks(span=7).shuffle().sharding_filter().read_zarr().shuffle(buffer_size=5),
        "opened": one().open_zarr().read_zarr(),
        "listed": one().list_zarr_chunks(span=3),
    }


GRAPHS = ["rows", "urls", "chunks", "spans", "chunks of spans", "shuffled", "opened", "listed"]


@pytest.mark.parametrize("kind", GRAPHS)
def test_it_resumes_at_every_index(tmp_path: Path, kind: str) -> None:
    graph = graphs(tmp_path)[kind]
    assert len(restores_at_every_index(graph)) == {"urls": 69, "chunks": 5, "chunks of spans": 8, "listed": 8}.get(
        kind, 23
    )


def test_restoring_reads_one_chunk_again(counted: Any) -> None:
    zarr.create_array("counted://a", data=X, chunks=(4, 3))
    pipe = IterableWrapper(["counted://a"]).read_zarr()
    stream = context(pipe).build(pipe)
    for _ in range(14):
        next(stream.it)
    state = trip(stream.state())
    counted.reads.clear()
    again = context(pipe).build(pipe, state)
    assert np.array_equal(next(again.it), X[14])
    assert counted.chunk_reads() == {"/a/c/3/0": 1}


def test_a_state_of_another_array_is_refused(tmp_path: Path) -> None:
    made = zarr.open_array(array(tmp_path / "a"), mode="a")
    rows, spans = (
        IterableWrapper([str(tmp_path / "a")]).read_zarr(),
        IterableWrapper([str(tmp_path / "a")]).list_zarr_chunks(),
    )
    streams = [context(pipe).build(pipe) for pipe in (rows, spans)]
    for stream, n in zip(streams, (20, 3), strict=True):
        for _ in range(n):
            next(stream.it)
    states = [trip(stream.state()) for stream in streams]
    made.resize((10, 3))
    with pytest.raises(StateError, match="rows up to 10 to read, and its saved place is 20"):
        next(context(rows).build(rows, states[0]).it)
    with pytest.raises(StateError, match="has 10 rows in spans of 4, and had 23"):
        next(context(spans).build(spans, states[1]).it)


# By anyone


def loaded(graph: Any, service: Any) -> list[Any]:
    with DataLoader2(graph, reading_service=service) as loader:
        loader.seed(3)
        return [plain(item) for item in loader]


SERVICES = {
    "threads": lambda: ThreadingReadingService(2),
    "forkserver": lambda: MultiProcessingReadingService(2),
    "spawn": lambda: MultiProcessingReadingService(2, multiprocessing_context="spawn"),
    "fork": lambda: MultiProcessingReadingService(2, multiprocessing_context="fork"),
}


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
@pytest.mark.parametrize("division", ["blocks", "lanes"])
def test_each_row_comes_once_from_every_service(tmp_path: Path, service: Any, division: str) -> None:
    url = group(tmp_path / "g", 2 if division == "lanes" else 3, x=(X, 2), y=(X[:, 0], 3))
    assert len(read(url)) == 23, "zarr's thread runs in this process ahead of a fork"
    spans = IterableWrapper([url]).list_zarr_chunks(span=2).shuffle()
    if division == "blocks":
        graph: Any = spans.read_zarr().sharding_filter().batch(3)
        assert loaded(graph, service()) == loaded(graph, None)
    else:
        graph = spans.sharding_filter().read_zarr().batch(3)
    rows = [row for batch in loaded(graph, service()) for row in batch]
    assert sorted(row["y"] for row in rows) == X[:, 0].tolist()
    assert all(row["x"][0] == row["y"] for row in rows)


@pytest.mark.parametrize("count", [2, 3])
def test_the_chunks_are_dealt_and_each_is_read_by_one_worker(counted: Any, count: int) -> None:
    zarr.create_array("counted://a", data=X, chunks=(4, 3))
    graph = IterableWrapper(["counted://a"]).list_zarr_chunks().shuffle().sharding_filter().read_zarr()
    counted.reads.clear()
    rows = [row for index in range(count) for row in run(graph, count=count, index=index)]
    assert sorted(rows) == X.tolist()
    assert counted.chunk_reads() == {f"/a/c/{i}/0": 1 for i in range(6)}


def test_a_loop_with_workers_goes_on_from_its_state(tmp_path: Path) -> None:
    url = group(tmp_path / "g", x=(X, 2), y=(X[:, 0], 3))
    graph = IterableWrapper([url]).list_zarr_chunks(span=2).shuffle().sharding_filter().read_zarr()
    whole = loaded(graph, MultiProcessingReadingService(2))
    with DataLoader2(graph, reading_service=MultiProcessingReadingService(2)) as loader:
        loader.seed(3)
        it = iter(loader)
        taken = [plain(next(it)) for _ in range(9)]
        state = trip(loader.state_dict())
    with DataLoader2(graph, reading_service=ThreadingReadingService(2)) as loader:
        loader.load_state_dict(state)
        assert taken + [plain(item) for item in loader] == whole


def test_a_killed_worker_costs_no_row(tmp_path: Path) -> None:
    url = array(tmp_path / "a", X, (4, 3))
    spans = IterableWrapper([url]).list_zarr_chunks().shuffle().sharding_filter()
    whole = loaded(spans.read_zarr(), MultiProcessingReadingService(2))
    killed = spans.read_zarr().map(faults.kill(at=lambda row: row[0] == 30))
    with DataLoader2(killed, reading_service=MultiProcessingReadingService(2)) as loader:
        loader.seed(3)
        assert [plain(item) for item in loader] == whole
        assert loader.stats()["restarts"] == 1


# Lengths


def test_lengths_are_known_where_the_urls_are(tmp_path: Path) -> None:
    urls = IterableWrapper([group(tmp_path / "g", x=(X, 4)), array(tmp_path / "a", X, (6, 3))])
    assert (len(urls.read_zarr()), len(urls.read_zarr(chunks=True)), len(urls.list_zarr_chunks())) == (46, 10, 10)
    assert len(urls.list_zarr_chunks().read_zarr()) == 46
    assert len(urls.list_zarr_chunks(span=2).read_zarr(chunks=True)) == 24
    for pipe in (urls.filter(bool).read_zarr(), IterableWrapper([str(tmp_path / "none")]).read_zarr()):
        with pytest.raises(TypeError, match="valid length"):
            len(pipe)


# What is wrong


def damage(path: Path, kind: str) -> None:
    good = path.read_bytes()
    middle = len(good) // 2
    flipped = good[:middle] + bytes([good[middle] ^ 255]) + good[middle + 1 :]
    path.write_bytes({"truncated": good[:-5], "empty": b"", "flipped": flipped, "junk": b"\xff" * len(good)}[kind])


STORED: dict[str, Any] = {
    "blosc, version 2": (2, "2.0", {}),
    "zstd, version 2": (2, "2.0", {"compressors": numcodecs.Zstd()}),
    "zstd": (3, "c/2/0", {}),
    "blosc": (3, "c/2/0", {"compressors": zarr.codecs.BloscCodec()}),
    "gzip": (3, "c/2/0", {"compressors": zarr.codecs.GzipCodec()}),
    "crc32c": (3, "c/2/0", {"compressors": zarr.codecs.Crc32cCodec()}),
    "plain": (3, "c/2/0", {"compressors": None}),
    "shards": (3, "c/1/0", {"shards": (8, 500)}),
}


@pytest.mark.parametrize("kind", ["truncated", "empty", "flipped", "junk"])
@pytest.mark.parametrize("stored", STORED)
def test_a_bad_chunk_is_named(tmp_path: Path, stored: str, kind: str) -> None:
    version, chunk, options = STORED[stored]
    if (kind == "flipped" and stored not in ("gzip", "crc32c")) or (kind == "junk" and stored == "plain"):
        return  # no checksum tells
    data = np.random.default_rng(0).random((23, 500))
    url = group(tmp_path / "g", version)
    zarr.open_group(url).create_array("y", data=data, chunks=(4, 500), **options)
    damage(Path(url) / "y" / chunk, kind)
    it = iter(IterableWrapper([url]).read_zarr())
    for _ in range(8):
        next(it)
    with pytest.raises(DecodeError, match=rf"^{url}: array 'y', chunk {chunk} \(rows 8 to") as raised:
        next(it)
    assert "penstock: raised in pipe 'read_zarr'" in "".join(raised.value.__notes__)


def test_of_several_chunks_the_bad_one_is_named(tmp_path: Path) -> None:
    url = array(tmp_path / "a", X, (4, 1))
    damage(tmp_path / "a/c/1/2", "junk")
    with pytest.raises(DecodeError, match=rf"^{url}: chunk c/1/2 \(rows 0 to 12\)"):
        read(url, span=12)


METADATA = {
    "none": None,
    "torn": '{"zarr_format": 3',
    "a list": "[]",
    "without a type": '{"zarr_format": 3, "node_type": "array"}',
    "of an unknown type": '{"zarr_format": 3, "node_type": "array", "shape": [3], "data_type": "nope"}',
    "empty": "",
}


@pytest.mark.parametrize("text", METADATA.values(), ids=METADATA)
def test_bad_metadata_are_named(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "zarr.json").write_text(text)
    for pipe in (IterableWrapper([str(tmp_path)]).read_zarr(), IterableWrapper([str(tmp_path)]).open_zarr()):
        with pytest.raises(DecodeError, match=str(tmp_path)):
            list(pipe)


@pytest.mark.parametrize("codec", ["filters", "compressor"])
@pytest.mark.parametrize("dtype", ["|O", "<i8"])
def test_nothing_is_unpickled(tmp_path: Path, codec: str, dtype: str) -> None:
    pickled: Any = {"id": "pickle", "protocol": 5}
    meta = {"zarr_format": 2, "shape": [4], "chunks": [2], "dtype": dtype, "fill_value": 0, "order": "C"}
    codecs = (
        {"filters": [pickled], "compressor": None} if codec == "filters" else {"filters": None, "compressor": pickled}
    )
    (tmp_path / "g/x").mkdir(parents=True)
    (tmp_path / "g/.zgroup").write_text('{"zarr_format": 2}')
    (tmp_path / "g/x/.zarray").write_text(json.dumps({**meta, **codecs}))
    for i in range(2):
        (tmp_path / f"g/x/{i}").write_bytes(pickle.dumps(Bomb()))
    for url in ("g", "g/x"):
        with pytest.raises(DecodeError, match="nothing is unpickled"):
            read(tmp_path / url)


class Bomb:
    def __reduce__(self) -> Any:
        return os._exit, (1,)


def test_a_group_that_makes_no_samples_says_why(tmp_path: Path) -> None:
    url = group(tmp_path / "g", x=(X, 4), y=(X[:5], 4))
    group(f"{url}/deep", z=(X, 4))
    with pytest.raises(DecodeError, match="must have one length, but these have {'x': 23, 'y': 5}"):
        read(url)
    with pytest.raises(DecodeError, match="the group has no array 'w'"):
        read(url, arrays=["w"])
    with pytest.raises(DecodeError, match="'deep' is a group"):
        read(url, arrays=["deep"])
    with pytest.raises(DecodeError, match="the group has no arrays"):
        read(group(tmp_path / "empty"))
    with pytest.raises(DecodeError, match="is an array and no group"):
        read(f"{url}/x", arrays=["x"])
    with pytest.raises(DecodeError, match="has 23 rows, and rows 20 to 24 are asked for"):
        list(IterableWrapper([(f"{url}/x", 20, 24)]).read_zarr())


def test_parameters_are_checked_when_a_pipe_is_made() -> None:
    urls = IterableWrapper(["a"])
    for make in (urls.read_zarr, urls.list_zarr_chunks):
        with pytest.raises(TypeError, match="list of names, got 'x'"):
            make("x")
        with pytest.raises(ValueError, match="names that differ, at least one"):
            make(["x", "x"])
        with pytest.raises(ValueError, match="span must be at least 1, got 0"):
            make(span=0)
    for pipe in (IterableWrapper([1]).read_zarr(), IterableWrapper([1]).open_zarr()):
        with pytest.raises(TypeError, match="a URL or path"):
            list(pipe)


@pytest.mark.parametrize("service", [None, *SERVICES.values()], ids=["in process", *SERVICES])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_bad_chunk_can_be_skipped_and_is_read_again_from_the_dead_letter(tmp_path: Path, service: Any) -> None:
    url = array(tmp_path / "a", X, (4, 3))
    path = tmp_path / "a/c/2/0"
    good = path.read_bytes()
    damage(path, "junk")
    letters = tmp_path / "letters.jsonl"
    for graph in (
        IterableWrapper([url]).read_zarr().sharding_filter().batch(4),
        IterableWrapper([url]).list_zarr_chunks().sharding_filter().read_zarr().batch(4),
    ):
        letters.unlink(missing_ok=True)
        bad = BadSamples("skip", dead_letter=str(letters))
        with DataLoader2(graph, reading_service=service and service(), bad_samples=bad) as loader:
            found = sorted(row for batch in loader for row in plain(batch))
            assert loader.stats()["skipped"] == 1
        assert found == X[:8].tolist() + X[12:].tolist()
        (letter,) = [json.loads(line) for line in letters.read_text().splitlines()]
        assert letter["source"] == [url, 8, 12]
        assert "chunk c/2/0" in letter["error"]
    path.write_bytes(good)
    lost = IterableWrapper([str(letters)]).open_files().parse_jsonl().map(lambda letter: letter["source"])
    assert np.array_equal(list(lost.read_zarr()), X[8:12])


def test_it_resumes_at_every_index_past_a_chunk_that_is_skipped(tmp_path: Path) -> None:
    url = array(tmp_path / "a", X, (4, 3))
    damage(tmp_path / "a/c/2/0", "junk")
    graph = IterableWrapper([url]).read_zarr()
    with DataLoader2(graph, bad_samples=BadSamples("skip")) as loader:
        loader.seed(1)
        states, rows = [], []
        for row in loader:
            rows.append(plain(row))
            states.append(trip(loader.state_dict()))
    assert rows == X[:8].tolist() + X[12:].tolist()
    for i, state in enumerate(states, 1):
        with DataLoader2(graph, bad_samples=BadSamples("skip")) as loader:
            loader.load_state_dict(state)
            if i < len(rows):  # a state behind the last begins the next epoch
                assert [plain(row) for row in loader] == rows[i:]


def test_a_url_that_cannot_be_opened_can_be_skipped(tmp_path: Path) -> None:
    urls = IterableWrapper([str(tmp_path / "none"), array(tmp_path / "a"), str(tmp_path / "none")])
    for graph in (urls.read_zarr(), urls.list_zarr_chunks().read_zarr()):
        with DataLoader2(graph.batch(5), bad_samples=BadSamples("skip")) as loader:
            assert [row for batch in loader for row in plain(batch)] == X.tolist()
            assert loader.stats()["skipped"] == 2


def test_an_error_of_input_keeps_its_type_and_is_tried_again(counted: Any) -> None:
    zarr.create_array("counted://a", data=X, chunks=(4, 3))
    counted.failing["a/c/2/0"] = PermissionError("not now")
    with pytest.raises(PermissionError, match="not now") as raised:
        read("counted://a")
    assert "reading c/2/0" in "".join(raised.value.__notes__)
    counted.failing["a/c/2/0"] = PermissionError("not now")
    bad = BadSamples("skip", retries=1, backoff_s=0.001)
    with DataLoader2(IterableWrapper(["counted://a"]).read_zarr().batch(5), bad_samples=bad) as loader:
        assert [row for batch in loader for row in plain(batch)] == X.tolist()
        assert loader.stats()["skipped"] == 0 and loader.stats()["retried"] == 1


def test_the_page_about_zarr_runs_as_one_script(tmp_path: Path) -> None:
    text = (Path(__file__).parents[1] / "docs/zarr.md").read_text()
    script = tmp_path / "page.py"
    script.write_text("\n".join(re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)))
    done = subprocess.run(
        [sys.executable, "-W", "error", script], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
