"""CSV and JSON lines as batches of columns: any block is found again, and a record at fault is named and alone lost."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import pickle
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain, product
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
import zstandard
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock import (
    BadSamples,
    DataLoader2,
    DecodeError,
    InProcessReadingService,
    MultiProcessingReadingService,
    ThreadingReadingService,
)
from penstock.pipes import IterableWrapper
from penstock.pipes._record_ends import RecordEnds
from penstock.serialization.columns import Conversion
from running import restores_at_every_index

KINDS = ("csv", "jsonl")
ROWS = [{"x": i, "y": i / 2 + 0.25, "s": f"s{i}"} for i in range(23)]


def text(kind: str, rows: list[dict[str, Any]]) -> bytes:
    if kind == "jsonl":
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def write(path: Path, kind: str, rows: list[dict[str, Any]] | bytes = ROWS) -> str:
    path.write_bytes(rows if isinstance(rows, bytes) else text(kind, rows))
    return str(path)


def pipe(kind: str, *urls: Any, **options: Any) -> Any:
    source = IterableWrapper([url if isinstance(url, tuple) else str(url) for url in urls])
    return getattr(source, f"read_{kind}_columns")(**options)


def column(batches: Any, name: str = "x") -> list[Any]:
    return list(chain.from_iterable(_values(batch[name]) for batch in batches))


def _values(values: Any) -> list[Any]:
    return values if isinstance(values, list) else values.tolist()


class Counting(MemoryFileSystem):
    """A file system in memory that notes which bytes are asked for, and can fail."""

    protocol = "texts"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    requests: ClassVar[list[tuple[int, int]]] = []
    failing: ClassVar[list[Exception]] = []

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.removeprefix("texts://"))

    def cat_file(self, path: str, start: Any = None, end: Any = None, **options: Any) -> Any:
        if self.failing:
            raise self.failing.pop()
        self.requests.append((start, end))
        return super().cat_file(path, start, end, **options)


@pytest.fixture
def counted() -> Iterator[type[Counting]]:
    fsspec.register_implementation("texts", Counting, clobber=True)
    for kept in (Counting.store, Counting.requests, Counting.failing):
        kept.clear()
    yield Counting
    Counting.store.clear()


def put(name: str, data: bytes) -> str:
    fsspec.filesystem("texts").pipe(f"/{name}", data)
    return f"texts://{name}"


# What a batch is


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("as_", ["numpy", "torch", "arrow"])
def test_batches_have_the_rows_of_the_files_in_order(tmp_path: Path, kind: str, as_: str) -> None:
    urls = [write(tmp_path / "a", kind, ROWS[:11]), write(tmp_path / "b", kind, ROWS[11:])]
    batches = list(pipe(kind, *urls, as_=as_, batch_size=4))
    assert {type(batch["x"]) for batch in batches} == {
        {"numpy": np.ndarray, "torch": torch.Tensor, "arrow": pa.Int64Array}[as_]
    }
    assert [len(batch["x"]) for batch in batches] == [4, 4, 3, 4, 4, 4]
    found = [batch.to_pydict() if as_ == "arrow" else batch for batch in batches]
    assert [column(found, name) for name in "xys"] == [[row[name] for row in ROWS] for name in "xys"]


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_columns_asked_for_are_given_and_rows_that_pass(tmp_path: Path, kind: str) -> None:
    url = write(tmp_path / "a", kind)
    for condition in (pc.field("s") > "s5", [("s", ">", "s5")]):
        batches = list(pipe(kind, url, columns=["y", "x"], filter=condition, block_bytes=50))
        assert all(list(batch) == ["y", "x"] for batch in batches)
        assert column(batches) == [6, 7, 8, 9]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("block_bytes", [1, 30, 64, 1000])
def test_a_block_ends_where_a_record_does(tmp_path: Path, kind: str, block_bytes: int) -> None:
    url = write(tmp_path / "a", kind)
    batches = list(pipe(kind, url, block_bytes=block_bytes))
    assert column(batches, "s") == [row["s"] for row in ROWS]
    assert len(batches) == {1: 23, 1000: 1}.get(block_bytes, len(batches))


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_gives_types_and_the_rest_is_found(tmp_path: Path, kind: str) -> None:
    url = write(tmp_path / "a", kind)
    for schema in ({"x": pa.float32()}, pa.schema({"x": pa.float32()})):
        batch = next(iter(pipe(kind, url, schema=schema, as_="torch")))
        assert batch["x"].dtype == torch.float32
        assert batch["y"].dtype == torch.float64


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (["1", "18446744073709551615"], "uint64"),
        (["9223372036854775807", "-5"], "int64"),
        (["9223372036854775808"], "uint64"),
        (["-1", "18446744073709551615"], "float64"),
        (["1.5", "18446744073709551615"], "float64"),
        (["1e19", "2"], "float64"),
        (["18446744073709551616"], "float64"),
    ],
)
def test_integers_that_an_int64_cannot_hold_stay_integers(
    tmp_path: Path, kind: str, values: list[str], dtype: str
) -> None:
    line = "{}" if kind == "csv" else '{{"x": {}}}'
    text = "\n".join([*(["x"] if kind == "csv" else []), *map(line.format, values)])
    (batch,) = pipe(kind, write(tmp_path / "a", kind, text.encode()))
    assert batch["x"].dtype == dtype
    if dtype != "float64":
        assert batch["x"].tolist() == list(map(int, values))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"batch_size": 0}, ValueError),
        ({"block_bytes": 0}, ValueError),
        ({"columns": []}, ValueError),
        ({"as_": "pandas"}, ValueError),
        ({"schema": 3}, TypeError),
        ({"schema": {"x": "int64"}}, TypeError),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_parameter_is_refused_when_the_pipe_is_made(kind: str, options: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        pipe(kind, "a", **options)


@pytest.mark.parametrize("options", [{"names": []}, {"delimiter": "ab"}, {"quote": "\n"}, {"convert": {"x": 1}}])
def test_a_wrong_parameter_of_csv_is_refused(options: Any) -> None:
    with pytest.raises(ValueError):
        pipe("csv", "a", **options)


# How CSV is written


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (b"x,s\r\n1,a\r\n2,b\r\n", {}),
        (b"x,s\r1,a\r2,b\r", {}),
        (b"\xef\xbb\xbfx,s\n1,a\n2,b", {}),
        (b'\xef\xbb\xbf"x",s\n1,a\n2,b', {}),
        (b"\n\nx,s\n\n1,a\n\n2,b\n\n", {}),
        (b"1,a\n2,b\n", {"names": ["x", "s"]}),
        (b"\xef\xbb\xbf1,a\n2,b\n", {"names": ["x", "s"]}),
        (b"x;s\n1;a\n2;b\n", {"delimiter": ";"}),
        (b"x\ts\n1\t'a'\n2\tb\n", {"delimiter": "\t", "quote": "'"}),
        (b"x,s\n1,a\n2,b\n", {"quote": None}),
    ],
)
@pytest.mark.parametrize("block_bytes", [1, 5, 1000])
def test_csv_of_many_writers_is_read(tmp_path: Path, data: bytes, options: Any, block_bytes: int) -> None:
    batches = list(pipe("csv", write(tmp_path / "a", "csv", data), block_bytes=block_bytes, **options))
    assert (column(batches), column(batches, "s")) == ([1, 2], ["a", "b"])


@pytest.mark.parametrize("block_bytes", [1, 1000])
@pytest.mark.parametrize(
    ("data", "options", "rows"),
    [
        (b"id\n \n \n", {}, [(" ",), (" ",)]),
        (b"id\n\n\r\n \n\n", {}, [(" ",)]),
        (b"a\tb\n\t\n\t\n", {"delimiter": "\t", "schema": {"a": pa.string(), "b": pa.string()}}, [("", "")] * 2),
        (
            b" \t \n\t\n",
            {"delimiter": "\t", "names": ["a", "b"], "convert": {"null_values": []}},
            [(" ",) * 2, ("",) * 2],
        ),
    ],
)
def test_a_record_of_spaces_is_one(tmp_path: Path, data: bytes, options: Any, rows: Any, block_bytes: int) -> None:
    batches = list(pipe("csv", write(tmp_path / "a", "csv", data), block_bytes=block_bytes, **options))
    assert [row for batch in batches for row in zip(*batch.values(), strict=True)] == rows


@pytest.mark.parametrize("block_bytes", [1, 5, 1000])
@pytest.mark.parametrize(
    "data",
    [
        b'{"x":1}\r\n{"x":2}\r\n',
        b'{"x":1}\r{"x":2}',
        b'{"x":1}\r{"x":2}\n\r\n',
        b'\n  {"x":1} \r\n\n \t\n{"x":2}\t\n \n',
        b'\xef\xbb\xbf \n{"x":1}\n{"x":2}',
    ],
)
def test_json_lines_of_many_writers_are_read(tmp_path: Path, data: bytes, block_bytes: int) -> None:
    assert column(pipe("jsonl", write(tmp_path / "a", "jsonl", data), block_bytes=block_bytes)) == [1, 2]


CELLS = st.text(alphabet='ab", \n;é', max_size=6)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=12),
    always=st.booleans(),
    block_bytes=st.integers(1, 80),
)
def test_quoted_values_are_whole_wherever_a_block_would_end(
    tmp_path: Path, rows: list[tuple[str, str]], always: bool, block_bytes: int
) -> None:
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL if always else csv.QUOTE_MINIMAL, lineterminator="\n").writerows(rows)
    options: Any = {"names": ["a", "b"], "schema": {"a": pa.string(), "b": pa.string()}}
    batches = list(
        pipe("csv", write(tmp_path / "a", "csv", out.getvalue().encode()), block_bytes=block_bytes, **options)
    )
    assert list(zip(column(batches, "a"), column(batches, "b"), strict=True)) == rows


@settings(max_examples=300, deadline=None)
@given(data=st.text(alphabet='a",\n', max_size=40).map(str.encode))
def test_records_end_where_pyarrows_parser_sees_it(data: bytes) -> None:
    """Also where quotes stand as no writer would put them. It says how many values a record should have."""
    ends = [0, *RecordEnds(",", '"').all(data).tolist()]
    inside = False
    at_start, found, place = True, [0], 0
    while place < len(data):
        here = data[place : place + 1]
        if inside and data[place : place + 2] == b'""':
            place += 1
        elif here == b'"' and (inside or at_start):
            inside, at_start = not inside, False
        elif not inside:
            at_start = here in (b",", b"\n")
            if here == b"\n":
                found.append(place + 1)
        place += 1
    assert ends == found
    assert RecordEnds(",", '"').last(data) == found[-1]
    assert not len(data) or RecordEnds(",", '"').is_open(data) == inside


def test_what_pyarrow_takes_for_null_can_be_said(tmp_path: Path) -> None:
    url = write(tmp_path / "a", "csv", b"x,s\n1,a\n?,b\n")
    read = pipe("csv", url, convert={"null_values": ["?"]}, conversion=Conversion(nulls=-1))
    assert column(read) == [1, -1]


# The types of the first block


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("again", [False, True])
def test_a_later_value_of_another_type_is_an_error_that_says_what_to_do(tmp_path: Path, kind: str, again: bool) -> None:
    rows = [*ROWS, {"x": "many", "y": 0.5, "s": "s"}]
    urls = [write(tmp_path / "a", kind)] if again else []
    bad = write(tmp_path / "bad", kind, rows[20:] if again else rows)
    line = (5 if again else 25) - (kind == "jsonl")
    with pytest.raises(DecodeError, match=rf"bad: line {line}: .*`schema`"):
        list(pipe(kind, *urls, bad, block_bytes=100))
    if kind == "csv":
        read = pipe(kind, *urls, bad, block_bytes=100, schema={"x": pa.string()})
        assert column(read)[-1] == "many"


@pytest.mark.parametrize("kind", KINDS)
def test_a_float_behind_integers_is_an_error_and_no_column_of_another_type(tmp_path: Path, kind: str) -> None:
    rows = [{"x": i} for i in range(50)] + [{"x": 1.5}]
    url = write(tmp_path / "a", kind, rows)
    with pytest.raises(DecodeError, match="line"):
        list(pipe(kind, url, block_bytes=64))
    assert column(pipe(kind, url, block_bytes=64, schema={"x": pa.float64()}))[-1] == 1.5


@pytest.mark.parametrize("kind", KINDS)
def test_the_types_of_the_first_file_hold_for_all_and_in_every_worker(tmp_path: Path, kind: str) -> None:
    first = write(tmp_path / "a", kind, [{"x": i / 2} for i in range(5)])
    others = [write(tmp_path / f"{i}", kind, [{"x": i}]) for i in range(4)]
    made = pipe(kind, first, *others)
    assert {batch["x"].dtype for batch in made} == {np.dtype("float64")}
    sharded = getattr(IterableWrapper([first, *others]).sharding_filter(), f"read_{kind}_columns")()
    for service in (MultiProcessingReadingService(2), ThreadingReadingService(2)):
        with DataLoader2(sharded, reading_service=service) as loader:
            batches = list(loader)
    assert {str(batch["x"].dtype) for batch in batches} == {"float64"}
    assert sorted(column(batches)) == sorted(column(made))


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_at_fault_does_not_keep_those_behind_it_from_telling_types(tmp_path: Path, kind: str) -> None:
    lines = text(kind, [{"x": x, "y": 0} for x in (0, 1, 2, 3.5)]).splitlines(keepends=True)
    lines[2:2] = [b"what is this\n"] * 3
    made = pipe(kind, write(tmp_path / "a", kind, b"".join(lines)))
    with DataLoader2(made, bad_samples=BadSamples("skip")) as loader:
        assert column(loader) == [0, 1, 2, 3.5]
        assert loader.stats()["skipped"] == 3
    hopeless = write(tmp_path / "b", kind, b"a,b\n" + b"what, is, this\n" * 50)
    with pytest.raises(DecodeError, match="b: line"):
        list(pipe(kind, hopeless))


@pytest.mark.parametrize("names", [b"x,s\n", b"x,s", b'x,"s"', b"x,s\r\n\r\n", b"\xef\xbb\xbf\nx,s"])
def test_a_file_that_has_only_names_tells_no_types(tmp_path: Path, names: bytes) -> None:
    empty = write(tmp_path / "empty", "csv", names)
    full = write(tmp_path / "full", "csv", b"x,s\n1,a\n")
    other = write(tmp_path / "other", "csv", b"x,z\n")
    for urls in ([empty, full], [full, empty], [empty, full, empty]):
        assert column(pipe("csv", *urls)) == [1]
        assert column(IterableWrapper(urls).map(str).read_csv_columns()) == [1]
    assert list(pipe("csv", empty)) == []
    with pytest.raises(DecodeError, match="other has other columns"):
        list(pipe("csv", full, other))


def test_columns_of_another_order_are_the_same_columns(tmp_path: Path) -> None:
    urls = [write(tmp_path / "a", "csv", b"x,s\n1,a\n"), write(tmp_path / "b", "csv", b"s,x\nb,2\n")]
    assert [list(batch) for batch in pipe("csv", *urls)] == [["x", "s"]] * 2
    assert column(pipe("csv", *urls), "s") == ["a", "b"]


def test_a_key_that_the_first_block_lacks_is_an_error_unless_columns_are_named(tmp_path: Path) -> None:
    url = write(tmp_path / "a", "jsonl", [*ROWS, {"x": 23, "y": 0.5, "s": "s", "new": 1}])
    with pytest.raises(DecodeError, match=r"a: line 24: .*name `columns`"):
        list(pipe("jsonl", url, block_bytes=200))
    assert column(pipe("jsonl", url, columns=["x"], block_bytes=200))[-1] == 23
    given = pipe("jsonl", url, block_bytes=200, schema={"new": pa.int64()}, conversion=Conversion(nulls={"new": -1}))
    assert column(given, "new") == [-1] * 23 + [1]


@pytest.mark.parametrize("columns", [None, ["x"]])
def test_a_key_within_an_object_is_not_left_out_in_silence(tmp_path: Path, columns: Any) -> None:
    url = write(tmp_path / "a", "jsonl", [{"x": {"a": 1}, "y": 0}] * 20 + [{"x": {"a": 1, "b": 2}, "y": 0}])
    with pytest.raises(DecodeError, match="a: line 21"):
        list(pipe("jsonl", url, columns=columns, block_bytes=100))
    assert column(pipe("jsonl", url, columns=["y"], block_bytes=100), "y") == [0] * 21


def test_nested_values_and_missing_keys(tmp_path: Path) -> None:
    url = write(tmp_path / "a", "jsonl", [{"x": [1, 2], "y": {"z": 1}}, {"x": [], "y": {"z": 2}}, {"x": [3]}])
    (batch,) = pipe("jsonl", url, conversion=Conversion(nulls=-1))
    assert [row.tolist() for row in batch["x"]] == [[1, 2], [], [3]]
    assert batch["y"]["z"].tolist() == [1, 2, -1]
    with pytest.raises(DecodeError, match="null"):
        list(pipe("jsonl", url))


# Where it is


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", ["", ".gz", ".bz2", ".zst"])
@pytest.mark.parametrize("place", ["local", "memory"])
def test_files_are_decompressed_by_their_names(tmp_path: Path, kind: str, suffix: str, place: str) -> None:
    pack: Any = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".zst": zstandard.compress}[suffix]
    url = write(tmp_path / f"a{suffix}", kind, pack(text(kind, ROWS)))
    if place == "memory":
        fsspec.filesystem("memory").pipe(f"/texts/{kind}{suffix}", Path(url).read_bytes())
        url = f"memory://texts/{kind}{suffix}"
    made = pipe(kind, url, batch_size=3, block_bytes=100)
    assert column(made) == list(range(23))
    restores_at_every_index(made)


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_knows_no_ranges_is_read_from_any_place(tmp_path: Path, kind: str) -> None:
    write(tmp_path / "a", kind)
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            made = pipe(kind, f"http://127.0.0.1:{server.server_port}/a", batch_size=4, block_bytes=100)
            restores_at_every_index(made)
            assert column(made) == list(range(23))
        finally:
            server.shutdown()
            thread.join()


def test_what_a_lister_finds_is_read(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"{number}.csv", "csv", ROWS[number * 5 : number * 5 + 5])
    listed = IterableWrapper([f"file://{tmp_path}"]).list_files_by_fsspec("*.csv")
    assert column(listed.read_csv_columns()) == list(range(15))


@pytest.mark.parametrize("kind", KINDS)
def test_restoring_reads_its_own_block_and_the_first(counted: Any, kind: str) -> None:
    rows = [{"x": i, "s": "word" * 5} for i in range(20_000)]
    url = put("a", text(kind, rows))
    size = len(counted.store["/a"].getvalue())
    made = pipe(kind, url, batch_size=100, block_bytes=1 << 14)
    assert column(made) == list(range(20_000))
    assert sum(stop - start for start, stop in counted.requests) < 1.2 * size, "each byte is asked for once"
    first: Any = iter(made)
    for _ in range(150):
        next(first)
    state = first.state_dict()
    counted.requests.clear()
    second: Any = iter(made)
    second.load_state_dict(json.loads(json.dumps(state)))
    assert next(second)["x"].tolist() == next(first)["x"].tolist()
    assert sum(stop - start for start, stop in counted.requests) < 5 * (1 << 14)


def test_a_read_that_fails_is_tried_again_where_the_policy_says_so(counted: Any) -> None:
    made = pipe("csv", put("a", text("csv", ROWS)))
    counted.failing += [ConnectionError("gone")]
    with DataLoader2(made, bad_samples=BadSamples(retries=2, backoff_s=0.001)) as loader:
        assert column(loader) == list(range(23))
        assert loader.stats()["retried"] == 1


# Exact places


@pytest.mark.parametrize("kind", KINDS)
def test_it_resumes_at_every_index(tmp_path: Path, kind: str) -> None:
    urls = [write(tmp_path / "a", kind, ROWS[:11]), write(tmp_path / "b", kind, ROWS[11:])]
    restores_at_every_index(pipe(kind, *urls, batch_size=2, block_bytes=90))
    restores_at_every_index(pipe(kind, *urls, batch_size=2, block_bytes=90, filter=[("x", "!=", 3)]).rebatch(4))


def test_it_resumes_within_quoted_values_of_many_lines(tmp_path: Path) -> None:
    rows = [{"x": i, "s": "a\n" * (i % 4) + 'q"' * (i % 3)} for i in range(20)]
    made = pipe("csv", write(tmp_path / "a", "csv", rows), batch_size=2, block_bytes=30)
    assert column(made, "s") == [row["s"] for row in rows]
    restores_at_every_index(made)


@pytest.mark.parametrize("kind", KINDS)
def test_files_are_dealt_to_workers(tmp_path: Path, kind: str) -> None:
    urls = [write(tmp_path / str(i), kind, ROWS[i * 4 : i * 4 + 4]) for i in range(5)]
    made = getattr(IterableWrapper(urls).shuffle().sharding_filter(), f"read_{kind}_columns")(batch_size=3)
    assert pickle.loads(pickle.dumps(made)).columns is None
    for service in (InProcessReadingService(), MultiProcessingReadingService(2), ThreadingReadingService(2)):
        with DataLoader2(made, reading_service=service) as loader:
            assert sorted(column(loader)) == list(range(20))


# Damage

DAMAGE = {
    ("csv", "too few values"): (b"9\n", "Expected 3 columns, got 1"),
    ("csv", "too many values"): (b"9,1.5,s,s\n", "Expected 3 columns, got 4"),
    ("csv", "no number"): (b"many,1.5,s\n", "invalid value 'many'"),
    ("csv", "no UTF-8"): (b"9,1.5,\xff\xfe\n", "UTF8"),
    ("csv", "a null"): (b",1.5,s\n", r"column 'x' \(int64\) has a null; say"),
    ("jsonl", "no JSON"): (b'{"x": 9, "y": \n', ""),
    ("jsonl", "no object"): (b"[1, 2]\n", ""),
    ("jsonl", "a null for an object"): (b" null\n", "a line is no object"),
    ("jsonl", "two objects"): (b'{"x": 9, "y": 1.5, "s": "s"}' * 2 + b"\n", "more than one object on a line"),
    ("jsonl", "a null"): (b'{"x": null, "y": 1.5, "s": "s"}\n', r"column 'x' \(int64\) has a null; say"),
    ("jsonl", "no key"): (b'{"x": 9, "y": 1.5}\n', r"column 's' \(string\) has a null; say"),
    ("jsonl", "text"): (b"what is this\n", ""),
    ("jsonl", "no number"): (b'{"x": "many", "y": 1.5, "s": "s"}\n', "changed from number to string"),
    ("jsonl", "no UTF-8"): (b'{"x": 9, "y": 1.5, "s": "\xff"}\n', "[Uu][Tt][Ff]-?8"),
    ("jsonl", "a key twice"): (b'{"x": 9, "x": 9, "y": 1.5, "s": "s"}\n', "twice"),
}


@pytest.mark.parametrize(("kind", "what"), DAMAGE)
@pytest.mark.parametrize("at", [0, pytest.param(7, marks=pytest.mark.slow), 22, 23])
@pytest.mark.parametrize("block_bytes", [100, 1 << 20])
def test_a_record_at_fault_is_named_and_it_alone_is_skipped(
    tmp_path: Path, kind: str, what: str, at: int, block_bytes: int
) -> None:
    record, reason = DAMAGE[kind, what]
    lines = text(kind, ROWS).splitlines(keepends=True)
    place = at + (kind == "csv")
    lines.insert(place, record)
    url = write(tmp_path / "bad.txt", kind, b"".join(lines))
    good = write(tmp_path / "good", kind)
    made = pipe(kind, good, url, good, batch_size=4, block_bytes=block_bytes)
    with pytest.raises(DecodeError, match=rf"bad\.txt: line {place + 1}: .*{reason}"):
        list(made)
    letters = tmp_path / "letters.jsonl"
    with DataLoader2(made, bad_samples=BadSamples("skip", dead_letter=str(letters))) as loader:
        assert column(loader) == list(range(23)) * 3
        assert loader.stats()["skipped"] == 1
    (letter,) = map(json.loads, letters.read_text().splitlines())
    source, start, stop = letter["source"]
    assert source == url
    assert Path(url).read_bytes()[start or len(lines[0]) * (kind == "csv") : stop] == record
    restores_at_every_index(pipe(kind, good, good, batch_size=4, block_bytes=block_bytes))


# Some of these end the process if pyarrow gets to see them.
NO_OBJECTS = [b"null\n", b"null", b" null\r\n", b"null null\n", b'{"x": 9} null\n', b'null {"x": 9}\n', b"[null]\n"]


@pytest.mark.parametrize("block_bytes", [1, 20, 1000])
@pytest.mark.parametrize("record", [*NO_OBJECTS, b'{"x":\n', b'9}{"x": 9}\n', b'{"x": 9}\r9\n'])
def test_an_object_is_a_line_whatever_the_block(tmp_path: Path, record: bytes, block_bytes: int) -> None:
    data = b'{"x": 0, "s": "null"}\n{"x": 1, "s": "}"}\n' + record
    made = pipe("jsonl", write(tmp_path / "a", "jsonl", data), columns=["x"], block_bytes=block_bytes)
    with pytest.raises(DecodeError, match=r"a: line 3: (a line is no object|more than one object)"):
        list(made)
    with DataLoader2(made, bad_samples=BadSamples("skip")) as loader:
        assert column(loader)[:2] == [0, 1]
    with pytest.raises(DecodeError, match="only: line 1: "):
        list(pipe("jsonl", write(tmp_path / "only", "jsonl", record), columns=["x"], block_bytes=block_bytes))


@pytest.mark.parametrize("block_bytes", [1, 60, 1000])
def test_an_object_over_several_lines_is_as_many_faults(tmp_path: Path, block_bytes: int) -> None:
    data = b'{"x": 0}\n{"x": \n1}\n{\n"x": 2\n}\n{"x": 3}\n'
    made = pipe("jsonl", write(tmp_path / "a", "jsonl", data), block_bytes=block_bytes)
    with DataLoader2(made, bad_samples=BadSamples("skip")) as loader:
        assert column(loader) == [0, 3]
        assert loader.stats()["skipped"] == 5


NULLS = [{"id": i, "x": None if i in (7, 20) else i, "s": f"s{i}"} for i in range(40)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("as_", ["numpy", "torch"])
@pytest.mark.parametrize("block_bytes", [150, 1 << 20])
@pytest.mark.parametrize(
    ("options", "lost"),
    [
        ({}, {7, 20}),
        ({"columns": ["x", "id"]}, {7, 20}),
        ({"filter": [("id", "!=", 20)]}, {7}),
        ({"filter": pc.field("x").is_valid()}, set()),
        ({"filter": pc.field("x").is_null() | (pc.field("x") >= 0), "columns": ["id"]}, set()),
        ({"columns": ["id", "s"]}, set()),
        ({"conversion": Conversion(nulls={"s": ""})}, {7, 20}),
        ({"conversion": Conversion(nulls={"x": -1})}, set()),
        ({"conversion": Conversion(nulls="mask")}, set()),
    ],
)
def test_a_null_is_a_fault_of_its_record_only_where_it_would_be_given(
    tmp_path: Path, kind: str, as_: Any, block_bytes: int, options: Any, lost: set[int]
) -> None:
    url = write(tmp_path / "a", kind, NULLS)
    made = pipe(kind, url, as_=as_, batch_size=6, block_bytes=block_bytes, **options)
    left_out = {"20": {20}, "is_valid": {7, 20}}
    gone = next((ids for said, ids in left_out.items() if said in str(options.get("filter"))), set())
    with DataLoader2(made, bad_samples=BadSamples("skip")) as loader:
        assert column(loader, "id") == [i for i in range(40) if i not in lost | gone]
        assert loader.stats()["skipped"] == len(lost)
    if lost:
        with pytest.raises(DecodeError, match=f"a: line {8 + (kind == 'csv')}: column 'x' .*has a null; say"):
            list(made)


@pytest.mark.parametrize(
    ("nulls", "lost"),
    [
        ("error", {2, 3, 4, 5, 6}),
        (-1, set()),
        ("mask", {3}),
        ({"l": -1}, {5, 6}),
        ({"l": -1, "o": {"k": 0}}, set()),
        ({"l": -1, "o": {"k": "error"}}, {5, 6}),
    ],
)
def test_a_null_within_a_value_is_a_fault_of_its_record(tmp_path: Path, nulls: Any, lost: set[int]) -> None:
    rows = [{"id": i, "l": [i, 1], "o": {"k": i}} for i in range(8)]
    rows[2]["l"], rows[3]["l"], rows[5]["o"], rows[6]["o"] = None, [1, None], {"k": None}, {}
    del rows[4]["l"]
    made = pipe("jsonl", write(tmp_path / "a", "jsonl", rows), conversion=Conversion(nulls=nulls))
    with DataLoader2(made, bad_samples=BadSamples("skip")) as loader:
        assert column(loader, "id") == [i for i in range(8) if i not in lost]
        assert loader.stats()["skipped"] == len(lost)


def test_arrow_has_nulls(tmp_path: Path) -> None:
    for kind in KINDS:
        (batch,) = pipe(kind, write(tmp_path / kind, kind, NULLS), as_="arrow")
        assert batch["x"].to_pylist() == [row["x"] for row in NULLS]


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_dead_letter_names_can_be_read_again(tmp_path: Path, kind: str) -> None:
    lines = text(kind, ROWS).splitlines(keepends=True)
    spans = [sum(map(len, lines[: 1 + i])) for i in (0, 3, 7)]
    url = write(tmp_path / "a", kind)
    first = kind == "jsonl"
    made = pipe(kind, (url, spans[1], spans[2]), (url, 0, spans[0]), block_bytes=40)
    assert column(made) == [*range(3 + first, 7 + first), *range(first)]


@pytest.mark.parametrize(("kind", "what"), [("csv", "too few values"), ("jsonl", "text"), *product(KINDS, ["a null"])])
def test_it_resumes_between_records_at_fault(tmp_path: Path, kind: str, what: str) -> None:
    lines = text(kind, ROWS).splitlines(keepends=True)
    for place in (20, 12, 12, 5, 1):
        lines.insert(place, DAMAGE[kind, what][0])
    url = write(tmp_path / "a", kind, b"".join(lines))
    made = pipe(kind, url, url, batch_size=2, block_bytes=150)
    policy = BadSamples("skip")
    with DataLoader2(made, bad_samples=policy) as loader:
        whole, states = [], []
        for batch in loader:
            whole.append(_values(batch["x"]))
            states.append(json.loads(json.dumps(loader.state_dict())))
        assert sum(whole, []) == list(range(23)) * 2
        assert loader.stats()["skipped"] == 10
    for number, state in enumerate(states):
        with DataLoader2(made, bad_samples=policy) as loader:
            loader.load_state_dict(state)
            assert [_values(batch["x"]) for batch in loader] == whole[number + 1 :]
            assert loader.stats()["skipped"] == 10


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "how", ["empty", "blank", "a mark", "a mark, blank", "cut gzip", "no gzip", "column", "missing"]
)
def test_a_damaged_file_is_named_and_can_be_skipped(tmp_path: Path, kind: str, how: str) -> None:
    good = write(tmp_path / "good", kind)
    path = tmp_path / ("bad.gz" if "gzip" in how else "bad.txt")
    data = gzip.compress(text(kind, ROWS * 1000), 0)
    contents = {
        "empty": b"",
        "blank": b"\n\n",
        "a mark": b"\xef\xbb\xbf",
        "a mark, blank": b"\xef\xbb\xbf\r\n\n",
        "cut gzip": data[: len(data) // 2],
        "no gzip": b"text" * 20,
        "column": text(kind, [{"s": "a"}]),
    }
    if how in contents:
        path.write_bytes(contents[how])
    columns = ["x"] if kind == "csv" or how != "column" else None
    made = pipe(kind, good, path, good, columns=columns, block_bytes=1 << 12)
    error = FileNotFoundError if how == "missing" else DecodeError
    with pytest.raises(error, match=r"bad\."):
        list(made)
    with DataLoader2(made, bad_samples=BadSamples("skip")) as loader:
        found = column(loader)
        assert loader.stats()["skipped"] == 1
    assert found[:23] == found[-23:] == list(range(23))
    if how == "cut gzip":
        assert len(found) > 200, "what came ahead of the damage is given"


def test_a_quote_that_is_not_closed_is_named(tmp_path: Path) -> None:
    url = write(tmp_path / "bad", "csv", text("csv", ROWS) + b'23,1.5,"never\nclosed\n')
    for block_bytes in (50, 1 << 20):
        with pytest.raises(DecodeError, match="bad: line 25: a quoted value is not closed"):
            list(pipe("csv", url, block_bytes=block_bytes))


def test_a_column_of_the_schema_that_is_not_there_is_named(tmp_path: Path) -> None:
    url = write(tmp_path / "a", "csv")
    with pytest.raises(DecodeError, match="'nope'"):
        list(pipe("csv", url, schema={"nope": pa.int64()}))
    for kind in KINDS:
        with pytest.raises(DecodeError, match="no column 'nope'"):
            list(pipe(kind, write(tmp_path / kind, kind), columns=["nope"]))
