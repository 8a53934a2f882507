"""B6: megabytes a second from a file to batches of 256 parsed rows, in one process: CSV, and JSON lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from benchmarks._pair import Side
from benchmarks._side import expect, rates, torchdata_09
from benchmarks._text_files import COLUMNS, File, csv_file, json_file

BATCH = 256
UNIT = "MB/s"


def groups(quick: bool) -> list[list[Side]]:
    args = {"size_mb": 20 if quick else 200}
    return [
        [
            Side("penstock CSV", UNIT, penstock_csv, args),
            Side("torchdata 0.9 CSV", UNIT, torchdata_csv, args, peer=True),
        ],
        [
            Side("penstock JSON, orjson", UNIT, penstock_json, {**args, "orjson": True}),
            Side("json.loads", UNIT, json_loads, args, peer=True),
            Side("penstock JSON, plain", UNIT, penstock_json, {**args, "orjson": False}),
        ],
    ]


def penstock_csv(size_mb: int) -> Iterator[float]:
    from penstock.pipes import IterableWrapper

    file = csv_file(size_mb)
    pipe = IterableWrapper([str(file.path)]).open_files(mode="rb").parse_csv().batch(BATCH)
    return _rounds(file, lambda: pipe)


def torchdata_csv(size_mb: int) -> Iterator[float]:
    torchdata_09()
    from torchdata.datapipes.iter import (  # type: ignore[import-not-found, unused-ignore]  # only the peers have it
        FileOpener,
        IterableWrapper,
    )

    file = csv_file(size_mb)
    pipe = FileOpener(IterableWrapper([str(file.path)]), mode="rt").parse_csv().batch(BATCH)
    return _rounds(file, lambda: pipe)


def penstock_json(size_mb: int, orjson: bool) -> Iterator[float]:
    if not orjson:
        sys.modules["orjson"] = None  # type: ignore[assignment]  # the documented way to make its import fail
    from penstock.pipes import IterableWrapper

    file = json_file(size_mb)
    pipe = IterableWrapper([str(file.path)]).open_files(mode="rb").parse_jsonl().batch(BATCH)
    return _rounds(file, lambda: pipe)


def json_loads(size_mb: int) -> Iterator[float]:
    file = json_file(size_mb)

    def batches() -> Iterator[list[Any]]:
        with open(file.path, encoding="utf-8") as lines:
            while batch := [json.loads(line) for line in islice(lines, BATCH)]:
                yield batch

    return _rounds(file, batches)


def _rounds(file: File, batches: Callable[[], Iterable[list[Any]]]) -> Iterator[float]:
    first = next(iter(batches()))[0]
    expect(len(first), COLUMNS if file.path.suffix == ".csv" else len(file.first), "fields of the first row")
    if isinstance(first, dict):
        expect(first, file.first, "the first row")
    else:
        expect(list(first), file.first, "the first row")

    def work() -> float:
        expect(sum(map(len, batches())), file.rows, "rows")
        return file.path.stat().st_size / 1e6

    return rates(work)
