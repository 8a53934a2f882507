"""penstock convert: the same samples in every format, and on where it was stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock.cli import main
from penstock.cli.formats import FORMATS, find
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
    if end != "zarr":
        assert len(os.listdir(target)) == 7


@pytest.mark.parametrize("format", ["messagepack", "jsonl", "parquet", "zarr"])
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
        assert "complete" in capsys.readouterr().err
    assert read(target, "csv") == ROWS


def test_restart_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"i": 1}\n{"i": \n')
    command = ["convert", str(tmp_path / "bad.jsonl"), str(tmp_path / "out"), "--to", "csv", "--shard-samples", "1"]
    assert main(command) == 1
    (tmp_path / "bad.jsonl").write_text('{"i": 5}\n{"i": 6}\n')
    assert main([*command, "--restart"]) == 0
    assert read(str(tmp_path / "out"), "csv") == [{"i": 5}, {"i": 6}]


MISTAKES = {
    "nothing there": (["nowhere", "out.csv"], "nothing is there"),
    "no format in the name": (["in.jsonl", "out"], "its name tells no format"),
    "no shards": (["in.jsonl", "out.csv", "--shard-samples", "0"], "at least 1"),
    "several formats": (["mixed", "out.csv"], "csv, jsonl"),
    "bytes that are no samples": (["noise", "out.csv"], "neither its name nor its first sample"),
    "a list in a csv": (["lists.jsonl", "out.csv"], "CSV has no list, which column 'x' has"),
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
        "lists.jsonl": '{"x": [1]}\n',
        "dicts.jsonl": '{"x": {"y": 1}}\n',
        "others.jsonl": '{"x": 1}\n{"y": 1}\n',
        "numbers.jsonl": "1\n",
        "bad.jsonl": '{"x": 1}\n{"x": \n',
        "bad.csv": "a,b\n1\n",
        "noise": "\x01\x02",
    }
    for file, text in files.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(text)
    arguments, message = MISTAKES[name]
    assert main(["convert", *arguments]) == 1
    assert message in capsys.readouterr().err
