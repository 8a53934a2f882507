"""penstock head: the format, schema, counts, size and first rows of whatever can be read."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import fsspec
import lance
import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
import zarr

from penstock.cli import main
from penstock.cli.formats import READABLE
from penstock.stores import SquirrelStore

N = 12
ROWS = [{"id": i, "price": i / 4 if i % 3 else None, "name": f"row {i}"} for i in range(N)]
TABLE = pa.Table.from_pylist(ROWS).append_column(
    "image", pa.FixedShapeTensorArray.from_numpy_ndarray(np.zeros((N, 2, 3), "uint8"))
)
SCHEMA = ["id int64", "price double", "name string", "image uint8[2, 3]"]
FIRST = ["id price name image", "0 None row 0 uint8[2, 3]", "1 0.25 row 1 uint8[2, 3]"]


def parquet(folder: Path) -> str:
    for name in ("a", "b"):
        (folder / "parts").mkdir(exist_ok=True)
        pq.write_table(TABLE, folder / "parts" / f"{name}.parquet", row_group_size=5)
    return str(folder / "parts")


def arrow(folder: Path) -> str:
    pyarrow.feather.write_feather(TABLE, folder / "a.feather", chunksize=5)
    return str(folder / "a.feather")


def lance_(folder: Path) -> str:
    lance.write_dataset(TABLE, str(folder / "a.lance"), max_rows_per_file=5)
    return str(folder / "a.lance")


def zarr_(folder: Path) -> str:
    group = zarr.create_group(str(folder / "a.zarr"))
    group.create_array("x", data=np.zeros((N, 4), "float32"), chunks=(2, 4), shards=(4, 4))
    group.create_array("y", data=np.arange(N), chunks=(N,))
    return str(folder / "a.zarr")


def npy(folder: Path) -> str:
    (folder / "columns").mkdir()
    np.save(folder / "columns" / "x.npy", np.zeros((N, 4), "float16"))
    np.save(folder / "columns" / "y.npy", np.arange(N))
    return str(folder / "columns")


def csv(folder: Path) -> str:
    (folder / "a.csv").write_text("id,name\n0,x\n1,y\n")
    return str(folder / "a.csv")


def jsonl(folder: Path) -> str:
    (folder / "a.jsonl").write_text('{"id": 0, "tags": null}\n{"id": 1, "tags": ["a", "b"], "s": "two\\nlines"}\n')
    return str(folder / "a.jsonl")


def messagepack(folder: Path) -> str:
    rows = [{"id": i, "v": np.zeros(3, "float32"), "b": b"x" * 1234} for i in range(7)]
    SquirrelStore(str(folder / "store"), "msgpack").write(rows, shard_samples=3)
    return str(folder / "store")


def tar(folder: Path) -> str:
    with tarfile.open(folder / "a.tar", "w") as file:
        for name in ("0.cls", "0.txt", "1.cls", "1.txt"):
            info = tarfile.TarInfo(name)
            info.size = 2
            file.addfile(info, io.BytesIO(b"hi"))
    return str(folder / "a.tar")


def files(folder: Path) -> str:
    (folder / "images" / "cat").mkdir(parents=True)
    for name in ("1.png", "2.png"):
        (folder / "images" / "cat" / name).write_bytes(b"\x89PNG" + bytes(1000))
    return str(folder / "images")


# How to make one of each format, and the lines that must be there, of which the spaces do not count.
EXPECTED: dict[str, tuple[Callable[[Path], str], list[str]]] = {
    "arrow": (arrow, ["format arrow", "rows 12", "files 1", "record batches 3", *SCHEMA, *FIRST]),
    "csv": (csv, ["format csv", "rows 2", "files 1", "size 16 B", "id int64", "name string", "id name", "0 x", "1 y"]),
    "files": (files, ["format files", "rows 2", "files 2", "size 2.0 kB (2,008 bytes)", "path str", "data bytes"]),
    "jsonl": (jsonl, ["format jsonl", "rows 2", "shards 1", "with an index 0", "id int", "tags list", "s str"]),
    "lance": (lance_, ["format lance", "rows 12", "fragments 3", "version 1", *SCHEMA, *FIRST]),
    "messagepack": (
        messagepack,
        [
            *("format messagepack", "rows 7", "shards 3", "with an index 3", "id int", "v float32[3]", "b bytes"),
            *("id v b", "0 float32[3] b'xxxxxxxxxx'... 1,234 bytes"),
        ],
    ),
    "npy": (npy, ["format npy", "rows 12", "arrays 2", "x float16[4]", "y int64", "x y", "float16[4] 0"]),
    "parquet": (parquet, ["format parquet", "rows 24", "files 2", "row groups 6", *SCHEMA, *FIRST]),
    "tar": (tar, ["format tar", "rows 2", "files 1", ".cls bytes", "__key__ .cls .txt"]),
    "zarr": (
        zarr_,
        [
            *("format zarr", "rows 12", "arrays 2", "chunks 7", "spans 1"),
            *("x float32[4] in chunks [2, 4], shards [4, 4]", "y int64 in chunks [12]", "x y", "float32[4] 0"),
        ],
    ),
}


def lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


@pytest.mark.parametrize("format", READABLE)
def test_it_shows_every_format(tmp_path: Path, format: str, capsys: pytest.CaptureFixture[str]) -> None:
    make, expected = EXPECTED[format]
    url = make(tmp_path)
    assert main(["head", url, "-n", "2"]) == 0
    out, err = capsys.readouterr()
    assert [line for line in expected if line not in lines(out)] == [] and err == ""
    assert lines(out)[0] == url and any(line.startswith("size ") for line in lines(out))
    assert main(["head", url, "-n", "2", "--format", format]) == 0
    assert capsys.readouterr().out == out


def test_columns_are_aligned(tmp_path: Path, capsys: Any) -> None:
    assert main(["head", parquet(tmp_path), "-n", "11"]) == 0
    rows = capsys.readouterr().out.split("\n\n")[-1].splitlines()
    assert len(rows) == 12
    assert {row.index("uint8") for row in rows[1:]} == {rows[0].index("image")}
    assert {row.index("row ") for row in rows[1:]} == {rows[0].index("name")}


def test_it_shows_as_many_rows_as_are_asked_for(tmp_path: Path, capsys: Any) -> None:
    url = jsonl(tmp_path)
    for count, shown in ((0, False), (1, True)):
        assert main(["head", url, "-n", str(count)]) == 0
        out = capsys.readouterr().out
        assert "id      int" in out and ("0   None" in out) == shown
    assert main(["head", url]) == 0
    assert "two\\nlines" in capsys.readouterr().out


def test_wide_values_are_shortened_and_wide_rows_go_below_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    pq.write_table(pa.table({f"c{i}": ["x" * 500] for i in range(3)}), tmp_path / "a.parquet")
    assert main(["head", str(tmp_path / "a.parquet")]) == 0
    out = capsys.readouterr().out
    assert lines(out)[-4:] == ["row 0", *(f"c{i} {'x' * 37}..." for i in range(3))]
    assert max(map(len, out.splitlines()[1:])) <= 80


def test_a_large_file_without_an_index_is_not_read_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr("penstock.cli.head._COUNTED_BYTES", 10)
    assert main(["head", csv(tmp_path)]) == 0
    assert "rows not known without reading all of it" in lines(capsys.readouterr().out)


def test_it_reads_from_any_file_system(tmp_path: Path, capsys: Any) -> None:
    fs = fsspec.filesystem("memory")
    fs.put(parquet(tmp_path), "/head/", recursive=True)
    fs.put(zarr_(tmp_path), "/head-zarr/", recursive=True)
    try:
        assert main(["head", "memory://head/parts", "-n", "1"]) == 0
        assert "row groups  6" in capsys.readouterr().out
        assert main(["head", "memory://head-zarr/a.zarr"]) == 0
        assert "spans   1" in capsys.readouterr().out
    finally:
        fs.rm("/head", recursive=True)
        fs.rm("/head-zarr", recursive=True)


def test_it_shows_what_hugging_face_saved(tmp_path: Path, capsys: Any) -> None:
    rows = datasets.Dataset.from_dict({"id": range(20), "word": [f"w{i}" for i in range(20)]})
    rows.select([5, 3, 8]).save_to_disk(tmp_path / "one", num_shards=2)
    datasets.DatasetDict(train=rows, test=rows).save_to_disk(tmp_path / "two")
    assert main(["head", str(tmp_path / "one")]) == 0
    out = lines(capsys.readouterr().out)
    assert {"format arrow", "rows 3", "files 2", "id int64", "word string"} <= set(out) and out[-3:] == [
        "5 w5",
        "3 w3",
        "8 w8",
    ]
    assert main(["head", str(tmp_path / "two" / "test"), "-n", "1"]) == 0
    assert "rows 20" in lines(capsys.readouterr().out)
    assert main(["head", str(tmp_path / "two")]) == 1
    assert "has the splits train, test" in capsys.readouterr().err


def test_a_table_without_rows_has_a_schema(tmp_path: Path, capsys: Any) -> None:
    pq.write_table(TABLE.slice(0, 0), tmp_path / "a.parquet")
    np.save(tmp_path / "a.npy", np.zeros((0, 3)))
    for name, column in (("a.parquet", "image   uint8[2, 3]"), ("a.npy", "a       float64[3]")):
        assert main(["head", str(tmp_path / name)]) == 0
        out = capsys.readouterr().out
        assert column in out and "rows 0" in " ".join(out.split())


def test_an_array_with_fields_has_their_columns(tmp_path: Path, capsys: Any) -> None:
    np.save(tmp_path / "a.npy", np.zeros(2, [("id", "int32"), ("box", "float64", (4,))]))
    assert main(["head", str(tmp_path / "a.npy"), "-n", "1"]) == 0
    assert lines(capsys.readouterr().out)[-5:] == ["id int32", "box float64[4]", "", "id box", "0 float64[4]"]


def test_a_zarr_array_is_one_column(tmp_path: Path, capsys: Any) -> None:
    zarr.create_array(str(tmp_path / "x.zarr"), data=np.zeros(3, "datetime64[ns]"), chunks=(2,))
    assert main(["head", str(tmp_path / "x.zarr"), "-n", "1"]) == 0
    expected = ["x datetime64[ns] in chunks [2]", "", "x", "1970-01-01T00:00:00.000000000"]
    assert lines(capsys.readouterr().out)[-4:] == expected


def test_times_are_shown_plainly(tmp_path: Path, capsys: Any) -> None:
    table = pa.table({"at": pa.array([0], pa.timestamp("s")), "for": pa.array([90], pa.duration("s"))})
    pq.write_table(table, tmp_path / "a.parquet")
    assert main(["head", str(tmp_path / "a.parquet")]) == 0
    assert lines(capsys.readouterr().out)[-1] == "1970-01-01 00:00:00 0:01:30"


@pytest.mark.parametrize("name", ["a.arrows", "a"])
def test_a_stream_of_arrow_is_told_by_its_bytes(tmp_path: Path, name: str, capsys: Any) -> None:
    with pa.ipc.new_stream(tmp_path / name, TABLE.schema) as writer:
        writer.write_table(TABLE)
    assert main(["head", str(tmp_path / name), "-n", "2"]) == 0
    assert {"format arrow", *SCHEMA, *FIRST} <= set(lines(capsys.readouterr().out))


def test_a_pattern_may_stand_for_several_data_sets(tmp_path: Path, capsys: Any) -> None:
    for part in range(2):
        lance.write_dataset(TABLE, str(tmp_path / f"{part}.lance"))
        group = zarr.create_group(str(tmp_path / f"{part}.zarr"))
        group.create_array("x", data=np.arange(3), chunks=(2,))
    assert main(["head", str(tmp_path / "*.lance")]) == 0
    assert {"rows 24", "data sets 2", "fragments 2"} <= set(lines(capsys.readouterr().out))
    assert main(["head", str(tmp_path / "*.zarr")]) == 0
    assert {"rows 6", "data sets 2", "arrays 2", "chunks 4"} <= set(lines(capsys.readouterr().out))
    assert main(["head", str(tmp_path / "*")]) == 1
    assert "the formats lance, zarr" in capsys.readouterr().err


def test_mistakes_are_named(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "noise").write_bytes(b"\x01\x02")
    np.save(tmp_path / "objects.npy", np.array([None, 1]), allow_pickle=True)
    (tmp_path / "mixed").mkdir()
    (tmp_path / "mixed" / "a.csv").write_text("a\n1\n")
    (tmp_path / "mixed" / "b.jsonl").write_text('{"a": 1}\n')
    group = zarr.create_group(str(tmp_path / "uneven.zarr"))
    for name in ("x", "y"):
        group.create_array(name, data=np.zeros(3 if name == "x" else 4), chunks=(2,))
    for url, more, message in (
        ("nowhere", [], "nothing is there"),
        ("cut.parquet", [], "cut.parquet"),
        ("noise", [], "neither its name nor its first sample"),
        ("objects.npy", [], "nothing is unpickled"),
        ("mixed", [], "has files of the formats csv, jsonl"),
        ("uneven.zarr", [], "must have one length"),
        ("noise", ["--format", "npy"], "is no .npy and no .npz file"),
        ("noise", ["--format", "lance"], "noise: "),
        ("noise", ["-n", "-1"], "-n must be at least 0"),
    ):
        assert main(["head", str(tmp_path / url), *more]) == 1, url
        out, err = capsys.readouterr()
        assert message in err and err.startswith("penstock head: ") and out == ""
