"""Damaged tables: whatever bytes are flipped, the file is named; nothing crashes, hangs, or is wrong in silence."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from penstock import BadSamples, DataLoader2, DecodeError, MultiProcessingReadingService
from penstock.pipes import IterableWrapper
from penstock.pipes.map import ParquetTable

ROWS, COPIES = 60, 150
TABLE = pa.table({
    "x": np.arange(ROWS),
    "s": [f"s{i % 9}é" for i in range(ROWS)],
    "v": [[float(k) for k in range(i % 4)] for i in range(ROWS)],
})  # fmt: skip
FORMS = ("parquet", "file", "stream")


def write(path: Path, form: str, table: Any = TABLE) -> Path:
    if form == "parquet":
        pq.write_table(table, path, row_group_size=20, write_page_checksum=True)
    else:
        new = pa.ipc.new_file if form == "file" else pa.ipc.new_stream
        with new(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=20)
    return path


def read(paths: list[str], form: str, **options: Any) -> Any:
    pipe = IterableWrapper(paths)
    return pipe.read_parquet(**options) if form == "parquet" else pipe.read_arrow(**options)


def copies(tmp_path: Path, form: str, seed: int) -> dict[str, bool]:
    """Write copies with a few bytes flipped, some of them cut; tell of each whether they lie ahead of the footer."""
    data = write(tmp_path / "good", form).read_bytes()
    body = len(data) - 8 - int.from_bytes(data[-8:-4], "little") if form == "parquet" else 0
    draw = random.Random(seed)
    made: dict[str, bool] = {}
    for number in range(COPIES):
        flipped = bytearray(data)
        places = [draw.randrange(len(data)) for _ in range(draw.choice([1, 1, 2, 8]))]
        for place in places:
            flipped[place] ^= draw.randrange(1, 256)
        if draw.random() < 0.1:
            del flipped[draw.randrange(len(data)) :]
        path = tmp_path / f"copy-{number}"
        path.write_bytes(flipped)
        made[str(path)] = max(places) < body
    return made


READER = """
import json, sys
from penstock import DecodeError
from penstock.pipes import IterableWrapper

form, *paths = sys.argv[1:]
for path in paths:
    print(json.dumps(["begin", path]), flush=True)
    pipe = IterableWrapper([path])
    pipe = pipe.read_parquet(batch_size=7) if form == "parquet" else pipe.read_arrow(batch_size=7)
    try:
        rows = [[str(row[name]) for name in row] for row in pipe.rows()]
    except DecodeError as error:
        print(json.dumps(["error", str(error)]), flush=True)
    else:
        print(json.dumps(["rows", rows]), flush=True)
"""


@pytest.mark.parametrize("form", FORMS)
def test_flipped_bytes_are_an_error_that_names_the_file_or_change_nothing(tmp_path: Path, form: str) -> None:
    """In a process of its own, which a crash would end. Arrow's own files have no checksums, so values may differ."""
    made = copies(tmp_path, form, seed=8)
    command = [sys.executable, "-c", READER, form, str(tmp_path / "good"), *made]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    told = [json.loads(line) for line in ran.stdout.splitlines()]
    assert ran.returncode == 0, (told[-1], ran.stderr)
    results = {begin[1]: result for begin, result in zip(told[::2], told[1::2], strict=True)}
    good = results.pop(str(tmp_path / "good"))
    assert good[0] == "rows" and len(good[1]) == ROWS and len(results) == COPIES
    assert Counter(kind for kind, _ in results.values())["error"] > COPIES / 3
    for path, (kind, said) in results.items():
        if kind == "error":
            assert path in said
        elif made[path]:
            assert said == good[1], f"{path} is wrong in silence"


FOOTERS = """
import sys
from pathlib import Path

import fsspec
from penstock import DecodeError
from penstock.pipes import IterableWrapper

data, start = bytearray(Path(sys.argv[1]).read_bytes()), int(sys.argv[2])
path = Path(sys.argv[1] + "-flipped")
memory = fsspec.filesystem("memory")
wrong = 0
for place in range(start, len(data)):
    data[place] ^= 1
    path.write_bytes(data)
    memory.pipe("/flipped", bytes(data))
    data[place] ^= 1
    print(place, flush=True)
    for url, options in ((str(path), {}), (str(path), {"filter": [("x", ">", 3)]}), ("memory://flipped", {})):
        try:
            list(IterableWrapper([url]).read_parquet(**options))
        except DecodeError as error:
            wrong += 1
            if "flipped" not in str(error):
                raise
print("wrong", wrong)
"""


@pytest.mark.slow
def test_any_byte_of_a_footer_may_be_flipped_and_the_process_lives(tmp_path: Path) -> None:
    """pyarrow ends it for some of them, where it is asked for a column chunk's place or statistics."""
    data = write(tmp_path / "good", "parquet").read_bytes()
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    command = [sys.executable, "-c", FOOTERS, str(tmp_path / "good"), str(start)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    last = ran.stdout.split()[-1:]
    assert ran.returncode == 0, (last, ran.stderr)
    assert int(last[0]) > 500


def test_a_footer_that_lost_rows_is_an_error(tmp_path: Path) -> None:
    """The only flipped bit in hundreds that gave fewer rows in silence."""
    path = write(tmp_path / "a", "parquet", TABLE)
    data = path.read_bytes()
    footer = pq.ParquetFile(path).metadata
    start = len(data) - 8 - footer.serialized_size
    fewer = []
    for place in range(start, len(data) - 8):
        flipped = bytearray(data)
        flipped[place] ^= 6
        path.write_bytes(flipped)
        try:
            found = pq.ParquetFile(path).metadata
            rows = [found.row_group(group).num_rows for group in range(found.num_row_groups)]
        except (OSError, pa.ArrowException):
            continue
        if footer.num_rows == found.num_rows and sum(rows) != footer.num_rows:
            fewer.append(place)
            with pytest.raises(DecodeError, match=r"its footer says 60 rows, and its row groups \d+"):
                list(read([str(path)], "parquet"))
    assert fewer


# What may be wrong, in each form, by each way of reading


def damaged(tmp_path: Path, form: str, how: str) -> str:
    path = tmp_path / "bad"
    data = write(path, form).read_bytes()
    if how == "cut":
        path.write_bytes(data[: len(data) * 2 // 3])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "text":
        path.write_text("id,label\n" * 100)
    elif how == "another type":
        write(path, form, TABLE.set_column(0, "x", pc.cast(TABLE["x"], pa.int32())))
    elif how == "missing column":
        write(path, form, TABLE.drop_columns(["x"]))
    elif how == "one column more":
        write(path, form, TABLE.append_column("z", TABLE["x"]))
    return str(path)


HOW = {
    "cut": "bad",
    "empty": "bad.* (empty|0 bytes)",
    "text": "bad: ",
    "another type": r"bad has other columns than .*good.*: 'x' as int32 and not int64",
    "missing column": r"bad has other columns than .*good.*: no 'x'",
    "one column more": r"bad has other columns than .*good.*: 'z' as well",
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("how", HOW)
def test_what_is_wrong_is_said_and_may_be_skipped(tmp_path: Path, form: str, how: str) -> None:
    good, bad = str(write(tmp_path / "good", form)), damaged(tmp_path, form, how)
    with pytest.raises(DecodeError, match=HOW[how]):
        list(read([good, bad], form))
    with DataLoader2(read([good, bad, good], form), bad_samples=BadSamples("skip")) as loader:
        found = Counter(x for batch in loader for x in batch["x"].tolist())
        assert loader.stats()["skipped"] == 1
    assert all(found[x] >= 2 for x in range(ROWS)), "of the good ones nothing is lost"


@pytest.mark.usefixtures("no_leftovers")
@pytest.mark.parametrize("form", FORMS)
def test_from_workers_they_are_named_and_skipped_alike(tmp_path: Path, form: str) -> None:
    good = str(write(tmp_path / "good", form))
    bad = []
    for number, how in enumerate(("empty", "text", "another type", "missing column")):
        bad.append(str(Path(damaged(tmp_path, form, how)).rename(tmp_path / f"bad-{number}")))
    letters = tmp_path / "letters"
    pipe = read_sharded([good, *bad, good, good], form)
    policy = BadSamples("skip", dead_letter=str(letters))
    with DataLoader2(pipe, reading_service=MultiProcessingReadingService(2), bad_samples=policy) as loader:
        found = Counter(x for batch in loader for x in batch["x"].tolist())
        assert loader.stats()["skipped"] == len(bad)
        assert found == Counter(dict.fromkeys(range(ROWS), 3))
    assert all(path in letters.read_text() for path in bad)
    loader = DataLoader2(pipe, reading_service=MultiProcessingReadingService(2))
    with loader, pytest.raises(DecodeError, match=r"bad-\d"):
        list(loader)


@pytest.mark.parametrize("form", FORMS)
def test_words_that_are_no_utf8_are_named_and_skipped_from_workers_too(tmp_path: Path, form: str) -> None:
    """Only who makes strings of them looks at them: from workers, that is the main process."""
    raw = pa.array([b"\xff" if i == 7 else b"w%d" % i for i in range(ROWS)])
    words = pa.Array.from_buffers(pa.string(), ROWS, raw.buffers())
    good = str(write(tmp_path / "good", form))
    bad = str(write(tmp_path / "bad", form, TABLE.set_column(1, "s", words)))
    with pytest.raises(DecodeError, match="bad: .*UTF-?8"):
        list(read([bad], form, as_="arrow").rows())
    for service in (None, MultiProcessingReadingService(1)):
        with (
            DataLoader2(read_sharded([bad], form), reading_service=service) as loader,
            pytest.raises(DecodeError, match=r"bad: .* (column 's' .*UTF-8 in row|column 1: .*UTF8 .*index) 7"),
        ):
            list(loader)
        pipe = read_sharded([good, bad, good], form)
        with DataLoader2(pipe, reading_service=service, bad_samples=BadSamples("skip")) as loader:
            assert {x for batch in loader for x in batch["x"].tolist()} == set(range(ROWS))
            assert loader.stats()["skipped"] == 1


def read_sharded(paths: list[str], form: str) -> Any:
    pipe = IterableWrapper(paths).sharding_filter()
    return pipe.read_parquet() if form == "parquet" else pipe.read_arrow()


@pytest.mark.parametrize("how", HOW)
def test_a_table_by_numbers_names_them_too(tmp_path: Path, how: str) -> None:
    good, bad = str(write(tmp_path / "good", "parquet")), damaged(tmp_path, "parquet", how)
    with pytest.raises(DecodeError, match=HOW[how]):
        len(ParquetTable([good, bad]))
