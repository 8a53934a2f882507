"""penstock convert: the same samples in every format, and on where it was stopped."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from decimal import Decimal
from itertools import permutations
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
import zarr

from penstock.cli import main
from penstock.cli.convert import _Progress
from penstock.cli.formats import FORMATS, find
from penstock.pipes import IterableWrapper
from penstock.stores import SquirrelStore

ROWS = [{"i": i, "x": i / 4, "name": f"row {i}, é"} for i in range(25)]


def write_rows(folder: Path, format: str) -> str:
    """Write `ROWS` by way of MessagePack, which has a word for all of them."""
    SquirrelStore(str(folder / "first"), "msgpack").write(ROWS, shard_samples=7)
    target = str(folder / f"begin-{format}")
    assert main(["convert", str(folder / "first"), target, "--to", format, "--shard-samples", "10"]) == 0
    return target


def read(url: str, format: str | None = None) -> list[dict[str, Any]]:
    rows = [dict(row) for row in find(url, format).pipe()]
    return [{k: v.item() if isinstance(v, np.generic) else v for k, v in row.items()} for row in rows]


@pytest.mark.parametrize(("begin", "end"), [*permutations(FORMATS, 2)])
def test_samples_are_the_same_in_every_format(tmp_path: Path, begin: str, end: str) -> None:
    source = write_rows(tmp_path, begin)
    assert read(source) == ROWS
    target = str(tmp_path / f"out-{end}")
    assert main(["convert", source, target, "--shard-samples", "4"]) == 0
    assert read(target) == ROWS == read(target, end)
    assert not (Path(target) / "_convert.json").exists()
    if end == "lance":
        assert len(lance.dataset(target).get_fragments()) == 7
    elif end != "zarr":
        assert len(os.listdir(target)) == 7


@pytest.mark.parametrize("format", ["arrow", "lance", "messagepack", "jsonl", "parquet", "zarr"])
def test_arrays_keep_their_shape_and_type(tmp_path: Path, format: str) -> None:
    rows = [{"image": np.full((2, 3), i, "uint8"), "y": np.float32(i)} for i in range(6)]
    SquirrelStore(str(tmp_path / "first"), "msgpack").set(rows, key="a")
    for source, target, to in (("first", "middle", format), ("middle", "last", "messagepack")):
        command = ["convert", str(tmp_path / source), str(tmp_path / target), "--to", to, "--shard-samples", "4"]
        assert main([*command, *(["--from", format] if source == "middle" else [])]) == 0
    found = [
        sample for key in ("00000", "00001") for sample in SquirrelStore(str(tmp_path / "last"), "msgpack").get(key)
    ]
    assert [row["y"] for row in found] == [row["y"] for row in rows]
    for row, expected in zip(found, rows, strict=True):
        np.testing.assert_array_equal(row["image"], expected["image"])
        assert row["image"].dtype == np.uint8


def test_a_csv_file_gets_types_and_a_pattern_many_files(tmp_path: Path) -> None:
    for part in range(2):
        (tmp_path / f"{part}.csv").write_text("a,b,c\n1,x,\n2,y,0.5\n")
    assert main(["convert", str(tmp_path / "*.csv"), str(tmp_path / "out.jsonl"), "--compression", "zstd"]) == 0
    assert (tmp_path / "out.jsonl" / "00000.zst").exists()
    assert read(str(tmp_path / "out.jsonl")) == [{"a": 1, "b": "x", "c": None}, {"a": 2, "b": "y", "c": 0.5}] * 2


TABLE = pa.table(
    {
        "i": pa.array([1, None, 3, 4], pa.int16()),
        "f": pa.array([0.5, 1, None, 2], pa.float32()),
        "at": pa.array([1, 2, None, 10**18], pa.timestamp("ns")),
        "price": pa.array([Decimal("1.50"), None, Decimal("2.25"), Decimal(0)]),
        "word": pa.array(["a", "b", None, "a"]).dictionary_encode(),
        "bytes": [b"\x00", None, b"", b"x"],
        "ragged": pa.array([[1], [], None, [2, 3]], pa.list_(pa.uint8())),
        "box": [{"x": 1, "y": None}, None, {"x": 2, "y": "b"}, {"x": 3, "y": "c"}],
        "vector": pa.array([[1, 2], [3, 4], [5, 6], [7, 8]], pa.list_(pa.float16(), 2)),
        "image": pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(24, dtype="uint8").reshape(4, 2, 3)),
    }
)


@pytest.mark.parametrize(("begin", "end"), [*permutations(("arrow", "lance", "parquet"), 2)])
def test_tables_keep_every_type_and_null(tmp_path: Path, begin: str, end: str) -> None:
    pq.write_table(TABLE, tmp_path / "in.parquet", row_group_size=3)
    source = str(tmp_path / "in.parquet")
    if begin != "parquet":
        assert main(["convert", source, str(tmp_path / f"between-{begin}"), "--shard-samples", "3"]) == 0
        source = str(tmp_path / f"between-{begin}")
    target = str(tmp_path / f"out.{end}")
    assert main(["convert", source, target, "--shard-samples", "2"]) == 0
    files = IterableWrapper(find(target).urls)
    batches = {"arrow": files.read_arrow, "lance": files.read_lance, "parquet": files.read_parquet}[end](as_="arrow")
    found = pa.Table.from_batches(list(batches))
    assert found.column_names == TABLE.column_names
    for name in TABLE.column_names:
        assert found[name].type == TABLE[name].type, name
        assert found[name].to_pylist() == TABLE[name].to_pylist(), name


def test_rows_of_tables_have_none_for_null_and_arrays_for_tensors(tmp_path: Path) -> None:
    table = TABLE.drop_columns(["at", "price"])  # of which MessagePack has no word
    pyarrow.feather.write_feather(table, tmp_path / "in.feather")
    assert main(["convert", str(tmp_path / "in.feather"), str(tmp_path / "out"), "--to", "messagepack"]) == 0
    rows = read(str(tmp_path / "out"))
    image = np.stack([row.pop("image") for row in rows])
    assert np.array_equal(image, np.arange(24).reshape(4, 2, 3)) and image.dtype == np.uint8
    assert rows == table.drop_columns(["image"]).to_pylist()


@pytest.mark.parametrize("end", ["arrow", "lance", "parquet", "zarr"])
def test_numbers_of_arrays_keep_their_width(tmp_path: Path, end: str) -> None:
    arrays = {"i": np.arange(5, dtype="int16"), "f": np.arange(5, dtype="float32"), "v": np.eye(5, 3, dtype="float32")}
    np.savez(tmp_path / "in.npz", **arrays)
    for name, target in (("in.npz", f"out-{end}"), (f"out-{end}", "again-zarr" if end != "zarr" else "again-parquet")):
        assert main(["convert", str(tmp_path / name), str(tmp_path / target), "--shard-samples", "2"]) == 0
        rows = list(find(str(tmp_path / target)).pipe())
        assert [row["i"] for row in rows] == list(range(5))
        assert np.array_equal([row["v"] for row in rows], arrays["v"])
    if end == "zarr":
        schema = pq.read_schema(tmp_path / "again-parquet" / "part-00000.parquet")
        assert (schema.field("i").type, schema.field("f").type) == (pa.int16(), pa.float32())
    else:
        root = zarr.open_group(str(tmp_path / "again-zarr"))
        assert {name: root[name].dtype for name in arrays} == {name: data.dtype for name, data in arrays.items()}


def dies(at: int) -> Any:
    """Return what notes shards, until one is to be noted."""
    note = _Progress.note

    def noted(self: _Progress, *arguments: Any) -> None:
        if self.shards == at:
            raise KeyboardInterrupt
        note(self, *arguments)

    return noted


def convert(folder: Path, rows: list[dict[str, Any]], target: str, shard_samples: int = 2) -> int:
    """Convert samples, which may have arrays in them."""
    SquirrelStore(str(folder / "rows"), "msgpack").set(rows, key="a")
    source = [str(folder / "rows"), "--from", "messagepack"]
    return main(["convert", *source, target, "--shard-samples", str(shard_samples)])


# A value of the first shards, and one of a later one that these cannot hold as it is.
LOSSES = {
    "a number for a boolean": (True, 5),
    "a text for a boolean": (True, "true"),
    "a number for a text": ("4", 4),
    "a text for a number": (4, "4"),
    "a float for an integer": (1, 1.5),
    "nan for an integer": (1, float("nan")),
    "too large": (np.uint8(1), 300),
    "too large for any": (1, 2**63),
    "too small": (np.uint64(1), -1),
    "rounded": (np.float32(1), 0.1),
    "an integer that is rounded": (0.5, 2**53 + 1),
    "infinite": (np.float32(1), 1e300),
    "finer": (np.datetime64(1, "s"), np.datetime64(1, "ns")),
    "longer": ([1, 2], np.array([1, 2, 3])),
    "rounded in a list": (np.array([0, 1], "float32"), np.array([0.1, 1])),
    "another shape": (np.zeros((2, 3)), np.zeros((3, 2))),
    "a number for a list": ([1], 2),
    "another type in a list": ([True], [5]),
}


@pytest.mark.filterwarnings("ignore:Object at _convert.json")  # which lies in a group that is begun
@pytest.mark.parametrize("end", ["arrow", "lance", "parquet", "zarr"])
@pytest.mark.parametrize("name", LOSSES)
def test_a_later_shard_loses_nothing(tmp_path: Path, name: str, end: str, capsys: Any) -> None:
    first, later = LOSSES[name]
    target = str(tmp_path / f"out-{end}")
    status = convert(tmp_path, [{"x": first}, {"x": first}, {"x": later}], target)
    if name == "longer" and end != "zarr" and isinstance(first, list):  # lists of any length are of one type
        assert status == 0 and [row["x"] for row in read(target)] == [first, first, list(later)]
        return
    assert status == 1 and "column 'x'" in capsys.readouterr().err
    assert len(read(target)) == 2 and (Path(target) / "_convert.json").exists()
    assert convert(tmp_path, [{"x": first}, {"x": first}, {"x": later}], target) == 1, "also when it goes on"


@pytest.mark.parametrize("end", ["arrow", "lance", "parquet", "zarr"])
@pytest.mark.parametrize(
    ("first", "later"),
    [(0.5, 2), (1, 2.0), (float("nan"), 1), (0.5, float("nan")), (np.int64(1), np.uint8(2)), (2**63, 1), ("a", "")],
)
def test_a_later_shard_has_the_type_of_the_first_one(tmp_path: Path, first: Any, later: Any, end: str) -> None:
    target = str(tmp_path / f"out-{end}")
    assert convert(tmp_path, [{"x": first}, {"x": first}, {"x": later}], target) == 0
    np.testing.assert_array_equal([row["x"] for row in read(target)], [first, first, later])
    assert {type(row["x"]) for row in read(target)} == {type(read(target)[0]["x"])}


STRUCTS = {
    "a new field": ({"a": 1}, {"a": 1, "b": 2}),
    "a new field in a list": ([{"a": 1}], [{"a": 1, "b": 2}]),
    "a field of another kind": ({"a": True}, {"a": 5}),
}


@pytest.mark.parametrize("end", ["arrow", "lance", "parquet"])
@pytest.mark.parametrize("name", STRUCTS)
def test_no_field_of_a_struct_is_left_out(tmp_path: Path, name: str, end: str, capsys: Any) -> None:
    first, later = STRUCTS[name]
    target = str(tmp_path / f"out-{end}")
    assert convert(tmp_path, [{"s": first}, {"s": first}, {"s": later}], target) == 1
    assert "column 's'" in capsys.readouterr().err
    assert convert(tmp_path, [{"s": first}, {"s": later}], str(tmp_path / f"whole-{end}")) == (
        1 if "kind" in name else 0
    )


@pytest.mark.filterwarnings("ignore:Object at _convert.json")  # which lies in a group that is begun
@pytest.mark.parametrize("end", ["arrow", "lance", "parquet", "zarr"])
@pytest.mark.parametrize(("first", "later"), [("xy", "x"), ("x", "xy"), ("x", "y")])
def test_all_shards_have_the_same_columns(tmp_path: Path, first: str, later: str, end: str, capsys: Any) -> None:
    rows = [dict.fromkeys(names, 1) for names in (first, first, later)]
    assert convert(tmp_path, rows, str(tmp_path / f"out-{end}")) == 1
    assert "shard 1 has the columns" in capsys.readouterr().err
    assert read(str(tmp_path / f"out-{end}")) == rows[:2]


WITHIN = {
    "booleans and numbers": [True, 5],
    "numbers and texts": [1, "a"],
    "numbers and texts in lists": [[1, "a"], [2, "b"]],
    "an integer that is rounded": [0.5, 2**53 + 1],
    "integers of 65 bits": [-1, 2**63],
    "integers of 71 bits": [1, 2**70],
}


@pytest.mark.parametrize("end", ["arrow", "parquet", "zarr"])
@pytest.mark.parametrize("name", WITHIN)
def test_a_column_has_values_of_one_type(tmp_path: Path, name: str, end: str, capsys: Any) -> None:
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"x": value}) + "\n" for value in WITHIN[name]))
    assert main(["convert", str(tmp_path / "in.jsonl"), str(tmp_path / f"out-{end}")]) == 1
    assert "column 'x'" in capsys.readouterr().err


@pytest.mark.parametrize("end", ["arrow", "lance", "parquet", "zarr"])
def test_integers_beyond_an_int64_are_unsigned(tmp_path: Path, end: str) -> None:
    target = str(tmp_path / f"out-{end}")
    assert convert(tmp_path, [{"x": 1}, {"x": 2**64 - 1}], target) == 0
    assert read(target) == [{"x": 1}, {"x": 2**64 - 1}]


def test_a_zarr_group_may_have_rows_without_values(tmp_path: Path) -> None:
    assert convert(tmp_path, [{"x": []}] * 3, str(tmp_path / "out.zarr")) == 0
    assert zarr.open_group(str(tmp_path / "out.zarr"))["x"].shape == (3, 0)


def test_a_zarr_shard_that_was_written_and_not_noted_is_there_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note, target = _Progress.note, str(tmp_path / "out.zarr")
    for at in (0, 0, 1, 2):
        monkeypatch.setattr(_Progress, "note", note)
        monkeypatch.setattr(_Progress, "note", dies(at))
        with pytest.raises(KeyboardInterrupt):
            convert(tmp_path, [{"x": i, "y": f"{i}"} for i in range(5)], target)
    monkeypatch.setattr(_Progress, "note", note)
    assert convert(tmp_path, [{"x": i, "y": f"{i}"} for i in range(5)], target) == 0
    assert read(target) == [{"x": i, "y": f"{i}"} for i in range(5)]


@pytest.mark.parametrize("end", ["arrow", "lance", "parquet", "zarr"])
def test_arrays_of_texts_are_lists(tmp_path: Path, end: str) -> None:
    texts = np.array([["a", "b"], ["c", "d"]])
    assert convert(tmp_path, [{"x": texts}] * 3, str(tmp_path / f"out-{end}")) == 0
    assert convert(tmp_path, [{"x": texts[None]}] * 3, str(tmp_path / f"deep-{end}")) == 0
    for row in find(str(tmp_path / f"out-{end}")).pipe():
        assert np.array(row["x"]).tolist() == texts.tolist()
    for row in find(str(tmp_path / f"deep-{end}")).pipe():
        assert np.array(row["x"]).tolist() == [texts.tolist()]


@pytest.mark.parametrize("dtype", ["bool", "uint8"])
@pytest.mark.parametrize("end", ["jsonl", "messagepack", "parquet"])
def test_a_null_among_tensors_is_none(tmp_path: Path, dtype: str, end: str) -> None:
    arrays = np.arange(12).reshape(2, 2, 3).astype(dtype)
    made = pa.FixedShapeTensorArray.from_numpy_ndarray(arrays)
    pq.write_table(pa.table({"t": made.take(pa.array([0, None, 1]))}), tmp_path / "in.parquet")
    assert main(["convert", str(tmp_path / "in.parquet"), str(tmp_path / "out"), "--to", end]) == 0
    first, none, second = (row["t"] for row in find(str(tmp_path / "out")).pipe())
    assert none is None and first.dtype == second.dtype == dtype
    assert np.array_equal(first, arrays[0]) and np.array_equal(second, arrays[1])


def test_tables_of_arrow_lie_in_memory_as_lance_needs_them(tmp_path: Path) -> None:
    prices = pa.array([Decimal(i) for i in range(7)], pa.decimal128(20, 2))
    table = pa.table({"i": range(7), "d": prices, "v": pa.array(["x" * 20] * 7, pa.string_view())})
    for name in ("d", "v"):
        one = table.select(["i", name])
        with pa.ipc.new_file(tmp_path / "in.arrow", one.schema) as writer:
            writer.write_table(one)
        target = str(tmp_path / f"{name}.lance")
        assert main(["convert", str(tmp_path / "in.arrow"), target, "--shard-samples", "3"]) == 0
        assert read(target) == one.to_pylist()


REFUSED = {
    "months": pa.array([(1, 2, 3)], pa.month_day_nano_interval()),
    "runs": pa.RunEndEncodedArray.from_arrays([1], [5]),
    "union": pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])]),
}


@pytest.mark.parametrize("end", ["lance", "parquet"])
@pytest.mark.parametrize("name", REFUSED)
def test_a_type_that_a_target_lacks_is_named(tmp_path: Path, name: str, end: str, capsys: Any) -> None:
    table = pa.table({"i": [1], "x": REFUSED[name]})
    with pa.ipc.new_file(tmp_path / "in.arrow", table.schema) as writer:
        writer.write_table(table)
    assert main(["convert", str(tmp_path / "in.arrow"), str(tmp_path / f"out-{end}")]) == 1
    err = capsys.readouterr().err
    assert f"out-{end}" in err and "column 'x'" in err


EMPTY = pa.table(
    {"i": pa.array([], pa.int16()), "v": pa.array([], pa.list_(pa.float32(), 2)), "s": pa.array([], "str")}
)


@pytest.mark.parametrize("end", FORMATS)
@pytest.mark.parametrize("begin", ["a.arrow", "a.csv", "a.lance", "a.npz", "a.parquet", "a.zarr"])
def test_a_source_without_rows_has_columns(tmp_path: Path, begin: str, end: str, capsys: Any) -> None:
    source, target = str(tmp_path / begin), str(tmp_path / f"out-{end}")
    if begin == "a.arrow":
        pyarrow.feather.write_feather(EMPTY, source)
    elif begin == "a.csv":
        (tmp_path / begin).write_text("i,v,s\n")
    elif begin == "a.lance":
        lance.write_dataset(EMPTY, source)
    elif begin == "a.npz":
        np.savez(source, i=np.zeros(0, "int16"), v=np.zeros((0, 2), "float32"), s=np.zeros((0, 2, 2)))
    elif begin == "a.parquet":
        pq.write_table(EMPTY, source)
    else:
        assert main(["convert", arrow_of(tmp_path), source]) == 0
    status = main(["convert", source, target])
    if (begin, end) == ("a.csv", "zarr"):  # nothing tells a type
        assert status == 1 and "zarr has no column of null" in capsys.readouterr().err
        return
    assert status == 0 and read(target) == []
    if end not in ("jsonl", "messagepack"):
        assert main(["head", target]) == 0
        shown = capsys.readouterr().out
        assert all(f"\n{name} " in shown for name in "ivs")
    assert main(["convert", source, target]) == 1 and "complete" in capsys.readouterr().err


def arrow_of(folder: Path) -> str:
    pyarrow.feather.write_feather(EMPTY, folder / "empty.feather")
    return str(folder / "empty.feather")


@pytest.mark.parametrize("end", FORMATS)
def test_a_zarr_array_is_a_column(tmp_path: Path, end: str) -> None:
    zarr.create_array(str(tmp_path / "x.zarr"), data=np.arange(5))
    assert main(["convert", str(tmp_path / "x.zarr"), str(tmp_path / f"out-{end}")]) == 0
    assert read(str(tmp_path / f"out-{end}")) == [{"x": i} for i in range(5)]


@pytest.mark.parametrize("format", [[], ["--from", "lance"]])
def test_a_pattern_may_stand_for_several_data_sets(tmp_path: Path, format: list[str]) -> None:
    for part in range(2):
        lance.write_dataset(pa.table({"x": [2 * part, 2 * part + 1]}), str(tmp_path / f"{part}.lance"))
    assert main(["convert", str(tmp_path / "*.lance"), str(tmp_path / "out.jsonl"), *format]) == 0
    assert read(str(tmp_path / "out.jsonl")) == [{"x": i} for i in range(4)]


def test_a_pattern_leaves_out_folders_beside_files(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"x": 1}\n')
    (tmp_path / "a-folder").mkdir()
    assert main(["convert", str(tmp_path / "a*"), str(tmp_path / "out.csv")]) == 0
    assert read(str(tmp_path / "out.csv")) == [{"x": 1}]


DAMAGED = {
    "cut.csv.gz": gzip.compress(b"a,b\n1,2\n" * 1000)[:-20],
    "junk.csv.gz": b"no gzip at all",
    "latin.csv": b"a,\xe9\n1,2\n",
    "empty.csv": b"",
    "empty.parquet": b"",
    "cut.parquet": b"PAR1 and no more",
    "cut.arrow": b"ARROW1\0\0 and no more",
    "cut.arrows": b"\xff\xff\xff\xff\x10",
    "bad.zarr/zarr.json": b"{",
}


@pytest.mark.parametrize("command", ["convert", "head"])
@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, command: str, capsys: Any) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(DAMAGED[name])
    source = name.partition("/")[0]
    target = [str(tmp_path / "out.jsonl")] if command == "convert" else []
    assert main([command, str(tmp_path / source), *target]) == 1
    assert source in capsys.readouterr().err


@pytest.mark.parametrize("end", ["arrow", "lance", "parquet"])
def test_shards_have_the_types_of_the_first_one(tmp_path: Path, end: str, capsys: Any) -> None:
    lines = ['{"x": 0.5, "y": 1}', '{"x": 1, "y": null}', '{"x": null, "y": "a"}']
    for count, status in ((2, 0), (3, 1)):
        (tmp_path / "in.jsonl").write_text("\n".join(lines[:count]))
        target = str(tmp_path / f"{count}-{end}")
        command = ["convert", str(tmp_path / "in.jsonl"), target, "--shard-samples", "1"]
        assert main(command) == status
        if status:
            assert "column 'y' is string in shard 2, and int64 in the first one" in capsys.readouterr().err
            assert main(command) == 1, "also where another run has written the first one"
            assert "column 'y' is string in shard 2" in capsys.readouterr().err
        else:
            assert read(target) == [{"x": 0.5, "y": 1}, {"x": 1.0, "y": None}]


def test_a_lance_shard_that_was_written_and_not_noted_is_there_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in.jsonl").write_text("".join(f'{{"i": {i}}}\n' for i in range(9)))
    command = ["convert", str(tmp_path / "in.jsonl"), str(tmp_path / "out.lance"), "--shard-samples", "2"]
    note = _Progress.note

    for at in (0, 0, 1, 3, 3, 4):
        monkeypatch.setattr(_Progress, "note", note)
        monkeypatch.setattr(_Progress, "note", dies(at))
        with pytest.raises(KeyboardInterrupt):
            main(command)
    monkeypatch.setattr(_Progress, "note", note)
    assert main(command) == 0
    assert [row["i"] for row in read(str(tmp_path / "out.lance"))] == list(range(9))
    assert len(lance.dataset(str(tmp_path / "out.lance")).get_fragments()) == 5


def test_a_lance_data_set_that_others_wrote_to_is_refused(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "in.jsonl").write_text('{"i": 1}\n{"i": 2}\n{"i": \n')
    target = str(tmp_path / "out.lance")
    command = ["convert", str(tmp_path / "in.jsonl"), target, "--shard-samples", "1"]
    assert main(command) == 1
    lance.write_dataset(pa.table({"i": [7, 8, 9]}), target, mode="overwrite")
    lance.dataset(target).cleanup_old_versions(timedelta(0))
    (tmp_path / "in.jsonl").write_text('{"i": 1}\n{"i": 2}\n{"i": 3}\n')
    assert main(command) == 1
    assert "no version has as many" in capsys.readouterr().err
    assert main([*command, "--restart"]) == 0
    assert [row["i"] for row in read(target)] == [1, 2, 3]


def test_npy_files_are_a_source(tmp_path: Path) -> None:
    (tmp_path / "columns").mkdir()
    for name in ("x", "y"):
        np.save(tmp_path / "columns" / f"{name}.npy", np.arange(5) * (1 if name == "x" else 2))
    assert main(["convert", str(tmp_path / "columns"), str(tmp_path / "out.csv")]) == 0
    assert read(str(tmp_path / "out.csv")) == [{"x": i, "y": 2 * i} for i in range(5)]


SLOW = """
import sys, time
from penstock.cli import _sinks, main
write = _sinks._Shards.write
def slowly(self, *arguments):
    time.sleep(0.05)
    write(self, *arguments)
_sinks._Shards.write = slowly
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGINT])
def test_it_goes_on_where_it_was_killed(tmp_path: Path, sig: signal.Signals) -> None:
    (tmp_path / "in.jsonl").write_text("".join(f'{{"i": {i}}}\n' for i in range(400)))
    command = [
        "convert",
        str(tmp_path / "in.jsonl"),
        str(tmp_path / "out"),
        "--to",
        "messagepack",
        "--shard-samples",
        "10",
    ]
    running = subprocess.Popen([sys.executable, "-c", SLOW, *command], stderr=subprocess.DEVNULL)
    while len(list((tmp_path / "out").glob("*.gz"))) < 5:
        assert running.poll() is None
        time.sleep(0.01)
    running.send_signal(sig)
    running.wait()
    shards = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.gz")}
    assert 5 <= len(shards) < 40
    (tmp_path / "out" / "00006.gz.0123.part").write_bytes(b"half of a shard")
    assert main([*command[:-1], "11"]) == 1  # the same, but for its shards
    assert main(command) == 0
    assert [row["i"] for row in read(str(tmp_path / "out"))] == list(range(400))
    again = [path for path, when in shards.items() if path.stat().st_mtime_ns != when]
    assert len(again) <= 1  # the one that was written and not yet noted
    assert len(list((tmp_path / "out").iterdir())) == 40


def test_what_is_there_is_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = write_rows(tmp_path, "jsonl"), str(tmp_path / "out")
    assert main(["convert", source, target, "--to", "csv"]) == 0
    for more in ([], ["--restart"]):
        assert main(["convert", source, target, "--to", "csv", *more]) == 1
        said = capsys.readouterr().err
        assert "complete" in said and ("nothing was written" in said or more)
    assert read(target, "csv") == ROWS


def test_restart_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"i": 1}\n{"i": \n')
    command = ["convert", str(tmp_path / "bad.jsonl"), str(tmp_path / "out"), "--to", "csv", "--shard-samples", "1"]
    assert main(command) == 1
    (tmp_path / "bad.jsonl").write_text('{"i": 5}\n{"i": 6}\n')
    assert main([*command, "--restart"]) == 0
    assert read(str(tmp_path / "out"), "csv") == [{"i": 5}, {"i": 6}]


@pytest.mark.parametrize("format", FORMATS)
def test_urls_of_local_files_are_read_and_written_wherever_one_stands(
    tmp_path: Path, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source, target = f"file://{write_rows(tmp_path, format)}", f"file://{tmp_path}/end"
    assert main(["head", source]) == 0
    assert main(["convert", source, target, "--to", format, "--shard-samples", "10"]) == 0
    assert read(target) == ROWS


MISTAKES = {
    "nothing there": (["nowhere", "out.csv"], "nothing is there"),
    "no format in the name": (["in.jsonl", "out"], "its name tells no format"),
    "no shards": (["in.jsonl", "out.csv", "--shard-samples", "0"], "at least 1"),
    "several formats": (["mixed", "out.csv"], "csv, jsonl"),
    "bytes that are no samples": (["noise", "out.csv"], "neither its name nor its first sample"),
    "a list in a csv": (["lists.jsonl", "out.csv"], "CSV has no list, which column 'x' has"),
    "none in a zarr": (["none.jsonl", "out.zarr"], "zarr has no column of NoneType, which column 'x' is"),
    "lists of other lengths in a zarr": (["ragged.jsonl", "out.zarr"], "rows of several shapes, which column 'x' has"),
    "a null in a zarr": (["null.parquet", "out.zarr"], "zarr has no column with a null, which column 'x' has"),
    "a slash in the name of a zarr": (["slash.jsonl", "out.zarr"], "'a/b'"),
    "a null beside texts in a csv": (["texts.jsonl", "out.csv"], "CSV has no null beside texts, which column 'x' has"),
    "a map in a zarr": (["map.parquet", "out.zarr"], "zarr has no column of dict, which column 'x' is"),
    "times in json": (["times.parquet", "out.jsonl"], "column 'x': JSON has no datetime.date"),
    "times in messagepack": (["times.parquet", "out", "--to", "messagepack"], "column 'x': "),
    "only folders": (["hive", "out.csv"], "there are only folders in it"),
    "no samples": (["empty.jsonl.gz", "out.parquet"], "there are no samples"),
    "files of other formats": (["mixed", "out.csv", "--from", "parquet"], "a.jsonl"),
    "to npy": (["in.jsonl", "out.npy"], "its name tells no format"),
    "a dict in a zarr": (["dicts.jsonl", "out.zarr"], "zarr has no column of dict"),
    "other columns": (["others.jsonl", "out.parquet"], "sample 1 of a shard has the columns"),
    "no dicts": (["numbers.jsonl", "out.parquet"], "a row of a table is a dict"),
    "a bad line": (["bad.jsonl", "out.csv"], "bad.jsonl: line 2"),
    "a bad csv": (["bad.csv", "out.jsonl"], "bad.csv"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_named(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    files = {
        "in.jsonl": '{"i": 1}\n',
        "mixed/a.jsonl": '{"i": 1}\n',
        "mixed/b.csv": "a\n1\n",
        "none.jsonl": '{"x": 1}\n{"x": null}\n',
        "ragged.jsonl": '{"x": [1]}\n{"x": [1, 2]}\n',
        "lists.jsonl": '{"x": [1]}\n',
        "dicts.jsonl": '{"x": {"y": 1}}\n',
        "others.jsonl": '{"x": 1}\n{"y": 1}\n',
        "numbers.jsonl": "1\n",
        "bad.jsonl": '{"x": 1}\n{"x": \n',
        "bad.csv": "a,b\n1\n",
        "slash.jsonl": '{"a/b": 1}\n',
        "texts.jsonl": '{"x": ""}\n{"x": null}\n',
        "noise": "\x01\x02",
    }
    for file, text in files.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(text)
    (tmp_path / "empty.jsonl.gz").write_bytes(gzip.compress(b""))
    pq.write_table(pa.table({"x": [1, None]}), tmp_path / "null.parquet")
    pq.write_table(pa.table({"x": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int32()))}), tmp_path / "map.parquet")
    pq.write_table(pa.table({"i": [1], "x": pa.array([1], pa.date32())}), tmp_path / "times.parquet")
    (tmp_path / "hive" / "year=2020").mkdir(parents=True)
    pq.write_table(pa.table({"x": [1]}), tmp_path / "hive" / "year=2020" / "a.parquet")
    arguments, message = MISTAKES[name]
    assert main(["convert", *arguments]) == 1
    assert message in capsys.readouterr().err
