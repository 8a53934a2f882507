"""B22, from workers: the rows a second of two workers against those of one process, with work for each row and without.

Both sides read the same row groups, with pyarrow's own threads off, and give dicts of tensors. The work is of three
kinds: *parsed* takes each word apart in Python, some microseconds a row; *nothing* only reads; and *a sum* adds two
columns in a function of the user's, next to nothing.
What comes from workers is made there, sent, and made again in the trainer: on two cores the trainer's share is taken
from its two workers, so that work which costs less than the sending is done best where its result is wanted.

How much two processes can do at all is the machine's matter: cores may share their clock, their caches, or a host with
others. So *parsed* has a third side, two processes that each parse half of the row groups in a bare loop of pyarrow's,
and give nothing to anybody. A core that shares its units with somebody's work has three fifths of its speed for some
seconds, so rounds of 10 s would compare one such time with another. Those of *parsed* read a quarter of the rows, those
of the others take less than a second anyway, and all of them are four times as many.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import Any

from benchmarks._pair import Side
from benchmarks._side import expect, rates

BATCH = 1024
SHORT = 4  # rounds in place of one
UNIT = "rows/s"
WHO = ("one process", 0), ("2 workers", 2)
WORD = re.compile(r"([a-z]+)(\d+)")


def groups(quick: bool) -> list[list[Side]]:
    rows = 200_000 if quick else 2_000_000
    times = 1 if quick else SHORT
    part = {"rows": rows, "parts": times}
    parsing = [
        Side(f"{who}, parsed", UNIT, read, {**part, "work": "parsed", "workers": workers}, times=times)
        for who, workers in WHO
    ]
    others = [
        [
            Side(f"{who}, {work}", UNIT, read, {"rows": rows, "work": work, "workers": workers}, times=times)
            for who, workers in WHO
        ]
        for work in ("nothing", "a sum")
    ]
    return [[*parsing, Side("2 bare loops, parsed", UNIT, bare_loops, part, times=times)], *others]


def read(rows: int, work: str, workers: int, parts: int = 1) -> Iterator[float]:
    from penstock import DataLoader2, MultiProcessingReadingService
    from penstock.pipes import IterableWrapper

    path, count, rows = _part(rows, parts)
    groups = IterableWrapper([path]).list_row_groups().header(count).sharding_filter()
    if work == "nothing":
        pipe = groups.read_parquet(batch_size=BATCH, as_="torch")
    else:
        pipe = groups.read_parquet(batch_size=BATCH).map_batches(parsed if work == "parsed" else added).to_tensors()
    service = MultiProcessingReadingService(workers) if workers else None

    def epoch() -> float:
        seen = total = 0
        for batch in loader:
            seen += len(batch["word"])
            total += int(batch["id"].sum())
        expect((seen, total), (rows, rows * (rows - 1) // 2), "rows, and the sum of their numbers")
        return seen

    with DataLoader2(pipe, reading_service=service) as loader:
        yield from rates(epoch)


def bare_loops(rows: int, parts: int) -> Iterator[float]:
    """All that two processes can parse where nothing is asked of them but that."""
    import multiprocessing

    path, count, rows = _part(rows, parts)
    halves = [(path, range(first, count, 2)) for first in (0, 1)]
    with multiprocessing.get_context("spawn").Pool(2) as pool:

        def epoch() -> float:
            seen = sum(pool.map(_parse_half, halves, chunksize=1))
            expect(seen, rows, "rows")
            return seen

        yield from rates(epoch)


def _part(rows: int, parts: int) -> tuple[str, int, int]:
    """Return the file, how many of its row groups the first of some parts has, and how many rows these have."""
    from benchmarks.b22_parquet import GROUP, table_file

    return table_file(rows), -(-rows // parts // GROUP), rows // parts


def _parse_half(task: tuple[str, range]) -> int:
    import pyarrow.parquet as pq

    path, groups = task
    seen = 0
    for batch in pq.ParquetFile(path).iter_batches(BATCH, row_groups=list(groups), use_threads=False):
        columns = zip(batch.schema.names, batch.columns, strict=True)
        seen += len(parsed({name: column.to_numpy(zero_copy_only=False) for name, column in columns})["word"])
    return seen


def added(batch: dict[str, Any]) -> dict[str, Any]:
    return batch | {"sum": batch["f0"] + batch["f1"]}


def parsed(batch: dict[str, Any]) -> dict[str, Any]:
    """Split each word, hash its trigrams, and standardise the numbers."""
    import numpy as np

    words = batch["word"]
    matches = [WORD.fullmatch(word) for word in words]
    numbers = np.array([int(match[2]) for match in matches if match])
    hashes = np.array(
        [sum(zlib.crc32(word[i : i + 3].encode()) & 0xFF for i in range(len(word) - 2)) for word in words]
    )
    x = np.stack([batch.pop(f"f{i}") for i in range(8)], axis=1)
    x = np.tanh((x - x.mean(0)) / x.std(0))
    return batch | {"x": x, "number": numbers, "trigrams": hashes}
