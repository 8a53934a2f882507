"""Parquet and Arrow files: batches of columns, each row group read once, from any place, by any service."""

from __future__ import annotations

import pickle
import re
from collections import Counter
from collections.abc import Iterator
from itertools import chain, product
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem

from object_store import s3_server, storage_options
from penstock import (
    BadSamples,
    DataLoader2,
    DecodeError,
    InProcessReadingService,
    MultiProcessingReadingService,
    StateError,
    ThreadingReadingService,
)
from penstock.pipes import IterableWrapper
from penstock.transport.codec import encode
from running import restores_at_every_index

TABLE = pa.table({
    "x": np.arange(23),
    "y": np.arange(23, dtype=np.float32) / 2,
    "s": [f"s{i}" for i in range(23)],
})  # fmt: skip
READS = ("numpy", "torch", "arrow")


def write(path: Any, table: Any = TABLE, group: int = 5, **options: Any) -> str:
    pq.write_table(table, str(path), row_group_size=group, **options)
    return str(path)


def two_files(tmp_path: Path) -> list[str]:
    return [write(tmp_path / "a.parquet", TABLE[:11]), write(tmp_path / "b.parquet", TABLE[11:])]


def read(*urls: Any, **options: Any) -> list[Any]:
    return list(IterableWrapper([str(url) for url in urls]).read_parquet(**options))


def column(batches: Any, name: str = "x") -> list[Any]:
    return list(chain.from_iterable(batch[name].tolist() for batch in batches))


class Counting(MemoryFileSystem):
    """A file system in memory that counts the bytes that are read of each file, and can fail."""

    protocol = "tables"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    requests: ClassVar[list[tuple[str, int, int]]] = []
    failing: ClassVar[list[Exception]] = []

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.removeprefix("tables://"))

    def cat_file(self, path: str, start: Any = None, end: Any = None, **options: Any) -> Any:
        if self.failing:
            raise self.failing.pop()
        self.requests.append((path, start, end))
        return super().cat_file(path, start, end, **options)


@pytest.fixture
def counted() -> Iterator[type[Counting]]:
    fsspec.register_implementation("tables", Counting, clobber=True)
    for kept in (Counting.store, Counting.requests, Counting.failing):
        kept.clear()
    yield Counting
    Counting.store.clear()


def put(name: str, table: Any, **options: Any) -> str:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    fsspec.filesystem("tables").pipe(f"/{name}", sink.getvalue().to_pybytes())
    return f"tables://{name}"


# What a batch is


@pytest.mark.parametrize("as_", READS)
def test_batches_have_the_rows_of_the_files_in_order(tmp_path: Path, as_: str) -> None:
    batches = read(*two_files(tmp_path), as_=as_, batch_size=3)
    kinds = {"numpy": np.ndarray, "torch": torch.Tensor, "arrow": pa.Int64Array}
    assert {type(batch["x"]) for batch in batches} == {kinds[as_]}
    assert column(batches) == list(range(23))
    assert [len(batch["x"]) for batch in batches] == [3, 2, 3, 2, 1, 3, 2, 3, 2, 2]


def test_a_batch_is_a_row_group_unless_a_size_is_given(tmp_path: Path) -> None:
    assert [len(batch["x"]) for batch in read(write(tmp_path / "a"))] == [5, 5, 5, 5, 3]


@pytest.mark.parametrize("as_", ["numpy", "torch"])
def test_what_is_written_into_a_batch_is_in_no_other(tmp_path: Path, as_: Any) -> None:
    pipe = IterableWrapper([write(tmp_path / "a", group=23)]).read_parquet(["x", "y"], batch_size=4, as_=as_)
    found = []
    for batch in pipe:
        found += batch["x"].tolist()
        batch["x"][:] = -1
    assert found == list(range(23))


@pytest.mark.parametrize("as_", READS)
def test_only_the_columns_asked_for_are_given_in_their_order(tmp_path: Path, as_: Any) -> None:
    for batch in read(write(tmp_path / "a"), columns=["s", "x"], as_=as_):
        assert (batch.schema.names if as_ == "arrow" else list(batch)) == ["s", "x"]


@pytest.mark.parametrize(
    "condition",
    [
        pc.field("y") >= 6,
        [("y", ">=", 6)],
        [[("y", ">=", 6), ("x", "<", 100)], [("x", ">", 1000)]],
        (pc.field("y") >= 6) & (pc.field("s") != "none"),
    ],
    ids=str,
)
@pytest.mark.parametrize("as_", READS)
def test_a_filter_gives_the_rows_that_pass_also_by_columns_that_are_not_given(
    tmp_path: Path, condition: Any, as_: Any
) -> None:
    batches = read(*two_files(tmp_path), columns=["x"], filter=condition, as_=as_)
    assert column(batches) == list(range(12, 23))
    assert all((batch.schema.names if as_ == "arrow" else list(batch)) == ["x"] for batch in batches)


def test_a_filter_that_lets_nothing_pass_gives_no_batches(tmp_path: Path) -> None:
    assert read(*two_files(tmp_path), filter=[("x", "in", [])]) == []


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"batch_size": 0}, ValueError),
        ({"columns": []}, ValueError),
        ({"columns": ["x", "x"]}, ValueError),
        ({"columns": "x"}, TypeError),
        ({"as_": "pandas"}, ValueError),
        ({"filter": "x > 3"}, TypeError),
        ({"filter": [("x", 3)]}, TypeError),
        ({"filter": [("x", "like", 3)]}, ValueError),
    ],
)
def test_a_wrong_parameter_is_refused_when_the_pipe_is_made(options: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        IterableWrapper(["a"]).read_parquet(**options)


def test_a_source_item_that_is_no_path_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="path or URL"):
        list(IterableWrapper([3]).read_parquet())


def test_the_functional_methods_of_the_pipe_are_not_hidden_by_its_parameters(tmp_path: Path) -> None:
    pipe = IterableWrapper([write(tmp_path / "a")]).read_parquet(filter=[("x", ">", 0)])
    assert len(list(pipe.filter(lambda batch: len(batch["x"]) > 3))) == 4


# What is read


def test_each_row_group_is_read_once_with_one_request_for_columns_that_lie_together(counted: Any) -> None:
    wide = pa.table({f"c{i}": np.random.default_rng(i).random(3000) for i in range(8)})
    url = put("a", wide, row_group_size=1000, use_dictionary=False)
    size = len(counted.store["/a"].getvalue())
    for pipe in (
        IterableWrapper([url]).read_parquet(batch_size=100),
        IterableWrapper([url]).list_row_groups().read_parquet(batch_size=100),
    ):
        counted.requests.clear()
        assert sum(len(batch["c0"]) for batch in pipe) == 3000
        groups = [(start, end) for _, start, end in counted.requests if end is not None and end < size]
        assert len(groups) == 3, counted.requests
        assert sum(stop - start for start, stop in groups) < size


def test_columns_that_are_not_asked_for_are_not_read(counted: Any) -> None:
    wide = pa.table({f"c{i}": np.random.default_rng(i).random(200_000) for i in range(3)})
    url = put("a", wide, row_group_size=100_000, use_dictionary=False)
    assert sum(len(batch["c1"]) for batch in read(url, columns=["c1"])) == 200_000
    total = sum(stop - start for _, start, stop in counted.requests)
    assert total < 0.4 * len(counted.store["/a"].getvalue())


def test_row_groups_that_statistics_rule_out_are_not_read(counted: Any) -> None:
    table = pa.table({"x": np.arange(300_000), "y": np.random.default_rng(0).random(300_000)})
    url = put("a", table, row_group_size=100_000, use_dictionary=False)
    assert column(read(url, filter=pc.field("x") >= 299_000)) == list(range(299_000, 300_000))
    assert sum(stop - start for _, start, stop in counted.requests) < 0.5 * len(counted.store["/a"].getvalue())
    listed = list(IterableWrapper([url]).list_row_groups(filter=[("x", ">=", 299_000)]))
    assert [(first, stop) for _, first, stop in listed] == [(2, 3)]


def test_restoring_reads_no_row_group_but_its_own(counted: Any) -> None:
    table = pa.table({"x": np.random.default_rng(0).random(300_000)})
    pipe = IterableWrapper([put("a", table, row_group_size=100_000, use_dictionary=False)]).read_parquet(
        batch_size=1000
    )
    first: Any = iter(pipe)
    for _ in range(150):
        next(first)
    state = first.state_dict()
    counted.requests.clear()
    second: Any = iter(pipe)
    second.load_state_dict(state)
    assert np.array_equal(next(second)["x"], next(first)["x"])
    size = len(counted.store["/a"].getvalue())
    assert sum(stop - start for _, start, stop in counted.requests) < 0.7 * size


def test_a_read_that_fails_is_tried_again_where_the_policy_says_so(counted: Any) -> None:
    url = put("a", TABLE, row_group_size=5)
    counted.failing += [ConnectionError("gone")]
    with DataLoader2(
        IterableWrapper([url]).read_parquet(), bad_samples=BadSamples(retries=2, backoff_s=0.001)
    ) as loader:
        assert column(loader) == list(range(23))
        assert loader.stats()["retried"] == 1
    counted.failing += [ConnectionError("gone")]
    with pytest.raises(ConnectionError):
        read(url)


def test_files_in_an_object_store_are_read(tmp_path: Path) -> None:
    with s3_server() as url:
        options = storage_options(url)
        fs = fsspec.filesystem("s3", **options)
        fs.put(write(tmp_path / "a", TABLE), "data/a.parquet")
        pipe = IterableWrapper(["s3://data/a.parquet"]).list_row_groups(storage_options=options)
        assert column(pipe.read_parquet(storage_options=options, as_="torch")) == list(range(23))
        fs.rm("data/a.parquet")


def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    for url in (str(tmp_path / "none"), "memory://none.parquet"):
        with pytest.raises(FileNotFoundError, match="none"):
            read(url)


# Spans


def test_spans_are_runs_of_row_groups(tmp_path: Path) -> None:
    path = write(tmp_path / "a")
    pipe = IterableWrapper([path]).list_row_groups(2)
    assert list(pipe) == [(path, 0, 2), (path, 2, 4), (path, 4, 5)]
    assert len(pipe) == 3
    assert column(pipe.read_parquet(batch_size=2)) == list(range(23))
    with pytest.raises(ValueError, match="groups"):
        IterableWrapper([path]).list_row_groups(0)


def test_a_span_that_the_file_has_not_is_named(tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match="has 5 row groups, and 3 to 9 are asked for"):
        list(IterableWrapper([(write(tmp_path / "a"), 3, 9)]).read_parquet())


# Resume, and every service


@pytest.mark.parametrize("condition", [None, [("x", "not in", [3, 4, 12, 13, 14, 15])]], ids=["all", "some"])
@pytest.mark.parametrize("listed", [False, True])
def test_it_resumes_at_every_index(tmp_path: Path, listed: bool, condition: Any) -> None:
    paths: Any = IterableWrapper(two_files(tmp_path))
    source = paths.list_row_groups().shuffle() if listed else paths
    items = restores_at_every_index(source.read_parquet(batch_size=2, filter=condition, as_="arrow"))
    assert sum(map(len, items)) == (23 if condition is None else 17)


SERVICES = {
    "in process": InProcessReadingService,
    "2 workers": lambda: MultiProcessingReadingService(2),
    "3 workers": lambda: MultiProcessingReadingService(3),
    "2 threads": lambda: ThreadingReadingService(2),
}


@pytest.mark.parametrize(("service", "as_"), list(product(SERVICES, READS)))
def test_every_row_comes_once_under_every_service(tmp_path: Path, service: str, as_: Any) -> None:
    pipe = IterableWrapper(two_files(tmp_path)).list_row_groups().shuffle().sharding_filter()
    with DataLoader2(pipe.read_parquet(batch_size=2, as_=as_), reading_service=SERVICES[service]()) as loader:
        loader.seed(1)
        assert sorted(column(loader)) == list(range(23))


@pytest.mark.parametrize("service", SERVICES)
def test_blocks_of_batches_come_in_the_order_of_one_process(tmp_path: Path, service: str) -> None:
    pipe = IterableWrapper(two_files(tmp_path)).read_parquet(batch_size=2).sharding_filter()
    with DataLoader2(pipe.map(lambda batch: batch["x"]), reading_service=SERVICES[service]()) as loader:
        assert list(chain.from_iterable(x.tolist() for x in loader)) == list(range(23))


@pytest.mark.parametrize("service", ["in process", "2 workers"])
def test_a_loader_resumes_at_every_index(tmp_path: Path, service: str) -> None:
    pipe = IterableWrapper(two_files(tmp_path)).list_row_groups().shuffle().sharding_filter().read_parquet(batch_size=3)
    with DataLoader2(pipe, reading_service=SERVICES[service]()) as loader:
        loader.seed(3)
        states, expected = [], []
        for batch in loader:
            expected.append(batch["x"].tolist())
            states.append(loader.state_dict())
    for i in range(0, len(states), 3):
        with DataLoader2(pipe, reading_service=SERVICES[service]()) as loader:
            loader.load_state_dict(states[i])
            assert [batch["x"].tolist() for batch in loader] == expected[i + 1 :]


def test_a_state_of_a_file_that_has_shrunk_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a")
    pipe = IterableWrapper([path]).read_parquet(batch_size=5)
    it: Any = iter(pipe)
    for _ in range(5):
        next(it)
    write(path, TABLE[:5])
    again: Any = iter(pipe)
    again.load_state_dict(it.state_dict())
    with pytest.raises(StateError, match="it has changed"):
        next(again)


def test_a_pipe_with_an_expression_pickles(tmp_path: Path) -> None:
    pipe = IterableWrapper([write(tmp_path / "a")]).read_parquet(filter=pc.field("x") < 3)
    assert column(pickle.loads(pickle.dumps(pipe))) == [0, 1, 2]


def test_a_slice_of_a_record_batch_travels_without_the_rest() -> None:
    words = pa.array([f"w{i % 7}" for i in range(65_536)]).dictionary_encode()
    batch = pa.record_batch({"x": np.arange(65_536), "s": [str(i) for i in range(65_536)], "d": words})
    part = batch.slice(1000, 100)
    data, buffers = encode(part)
    assert len(data) + sum(memoryview(buffer).nbytes for buffer in buffers) < 10_000
    assert pickle.loads(data, buffers=[bytes(buffer) for buffer in buffers]).equals(part)


# Damage


def _flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes(b ^ 0xFF for b in data[at : at + 8]) + data[at + 8 :]


def damaged(tmp_path: Path, how: str) -> str:
    """A file that cannot be read, beside good ones."""
    path = tmp_path / "bad.parquet"
    data = Path(write(path, write_page_checksum=True)).read_bytes()
    second = pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    if how == "truncated footer":
        path.write_bytes(data[:-20])
    elif how == "flipped bytes":
        path.write_bytes(_flip(data, second + 30))
    elif how == "flipped footer":
        path.write_bytes(_flip(data, len(data) - 60))
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "text":
        path.write_text("id,label\n" * 100)
    elif how == "another type":
        write(path, TABLE.set_column(0, "x", pc.cast(TABLE["x"], pa.int32())))
    elif how == "missing column":
        write(path, TABLE.drop_columns(["x"]))
    elif how == "nulls":
        write(path, TABLE.set_column(0, "x", pa.array([*range(22), None])))
    return str(path)


SAID = {
    "truncated footer": r"bad\.parquet: ",
    "flipped bytes": r"bad\.parquet: row group 1: ",
    "flipped footer": r"bad\.parquet: ",
    "empty": r"bad\.parquet: .*(0 bytes|empty)",
    "text": r"bad\.parquet: .*magic bytes",
    "another type": r"bad\.parquet has other columns than .*a\.parquet.*: 'x' as int32 and not int64",
    "missing column": r"bad\.parquet has (no column 'x'|other columns .*: no 'x')",
    "nulls": r"bad\.parquet: row group 4: .*x.*null",
}


@pytest.mark.parametrize("columns", [None, ["x"]], ids=["all columns", "one column"])
@pytest.mark.parametrize("how", SAID)
def test_a_damaged_file_is_named_and_what_is_wrong(tmp_path: Path, how: str, columns: Any) -> None:
    first, last = two_files(tmp_path)
    with pytest.raises(DecodeError, match=SAID[how]):
        read(first, damaged(tmp_path, how), last, columns=columns)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("how", SAID)
def test_a_damaged_file_can_be_skipped_and_of_a_good_one_only_the_bad_row_group(
    tmp_path: Path, how: str, workers: int
) -> None:
    first, last = two_files(tmp_path)
    letters = tmp_path / "letters"
    pipe = IterableWrapper([first, damaged(tmp_path, how), last]).sharding_filter().read_parquet(["x"], batch_size=5)
    policy = BadSamples("skip", dead_letter=str(letters))
    service = MultiProcessingReadingService(workers) if workers else None
    with DataLoader2(pipe, reading_service=service, bad_samples=policy) as loader:
        found = Counter(column(loader))
        assert loader.stats()["skipped"] == 1
    kept = {"flipped bytes": {*range(5), *range(10, 23)}, "nulls": set(range(20))}.get(how, set())
    assert found == Counter(range(23)) + Counter(kept)
    assert re.search("bad.parquet", letters.read_text())


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("how", ["truncated footer", "empty"])
def test_the_first_file_of_a_list_may_be_the_damaged_one(tmp_path: Path, how: str, workers: int) -> None:
    pipe = IterableWrapper([damaged(tmp_path, how), *two_files(tmp_path)]).sharding_filter().read_parquet(["x"])
    service = MultiProcessingReadingService(workers) if workers else None
    with DataLoader2(pipe, reading_service=service, bad_samples=BadSamples("skip")) as loader:
        assert sorted(column(loader)) == list(range(23))
        assert loader.stats()["skipped"] == 1


@pytest.mark.parametrize("how", ["flipped bytes", "another type"])
def test_what_was_skipped_stays_skipped_from_every_index(tmp_path: Path, how: str) -> None:
    first, last = two_files(tmp_path)
    pipe = IterableWrapper([first, damaged(tmp_path, how), last]).read_parquet(["x"], batch_size=5)
    policy = BadSamples("skip")
    with DataLoader2(pipe, bad_samples=policy) as loader:
        states, expected = [loader.state_dict()], []
        for batch in loader:
            expected.append(batch["x"].tolist())
            states.append(loader.state_dict())
    for i, state in enumerate(states[1:-1], 1):
        with DataLoader2(pipe, bad_samples=policy) as loader:
            loader.load_state_dict(state)
            assert [batch["x"].tolist() for batch in loader] == expected[i:]


def test_the_first_file_is_asked_again_after_a_restart(tmp_path: Path) -> None:
    first, last = two_files(tmp_path)
    other = damaged(tmp_path, "another type")
    pipe = IterableWrapper([first, other, other, last]).read_parquet(["x"], batch_size=100)
    it: Any = iter(pipe)
    next(it), next(it), next(it)
    again: Any = iter(pipe)
    again.load_state_dict(it.state_dict())
    for run_ in (it, again):
        with pytest.raises(DecodeError, match="other columns"):
            next(run_)


@pytest.mark.parametrize("service", SERVICES)
def test_which_file_is_the_first_does_not_depend_on_who_reads(tmp_path: Path, service: str) -> None:
    first, last = two_files(tmp_path)
    other = damaged(tmp_path, "another type")
    pipe = IterableWrapper([first, last, other, other]).list_row_groups().shuffle().sharding_filter()
    loader = DataLoader2(pipe.read_parquet(["x"]), reading_service=SERVICES[service](), bad_samples=BadSamples("skip"))
    with loader:
        for seed in range(3):
            loader.seed(seed)
            assert sorted(column(loader)) == list(range(23))


def test_columns_in_another_order_are_the_same_columns(tmp_path: Path) -> None:
    a, b = two_files(tmp_path)
    write(b, TABLE[11:].select(["s", "y", "x"]).replace_schema_metadata({"made": "otherwise"}))
    batches = read(a, b, as_="arrow")
    assert {batch.schema for batch in batches} == {batches[0].schema}
    assert column(batches) == list(range(23))


def test_a_filter_that_does_not_fit_the_columns_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a")
    for condition in ([("z", ">", 3)], [("s", ">", 3)], pc.field("z") > pc.field("x")):
        with pytest.raises(DecodeError, match="the filter"):
            read(path, filter=condition)


def test_a_file_without_rows_gives_no_batches(tmp_path: Path) -> None:
    empty = write(tmp_path / "none", TABLE[:0])
    assert column(read(empty, *two_files(tmp_path))) == list(range(23))


def test_large_column_chunks_are_read_in_pieces(tmp_path: Path) -> None:
    data = np.random.default_rng(0).random(1_500_000)
    path = write(tmp_path / "a", pa.table({"x": data}), group=len(data), use_dictionary=False, compression="none")
    before = pa.total_allocated_bytes()
    largest = 0
    found = []
    for batch in IterableWrapper([path]).read_parquet(as_="arrow", batch_size=10_000):
        largest = max(largest, pa.total_allocated_bytes() - before)
        found.append(batch["x"].to_numpy().copy())
    assert np.array_equal(np.concatenate(found), data)
    assert largest < 4 << 20
