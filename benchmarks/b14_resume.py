"""B14: what resuming costs at 1%, 50% and 99% of an epoch over a CSV and a JSON lines file, with 1 ms of work an item.

The number is the longest of the three times over the shortest, from making the loader to its tenth item. The states are
taken from a run without the work. torchdata's loader passes over what was read, work and all, so its epoch is smaller.
"""

from __future__ import annotations

import csv
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks._pair import Side
from benchmarks._side import expect

PLACES, ITEMS, WORK_S = (0.01, 0.5, 0.99), 10, 1e-3
UNIT = "x"
WORKING = True


def groups(quick: bool) -> list[list[Side]]:
    rows, theirs = (20_000, 1_000) if quick else (200_000, 4_000)
    return [
        [
            Side(f"penstock {kind}", UNIT, penstock, {"kind": kind, "rows": rows}),
            Side(f"StatefulDataLoader {kind}", UNIT, stateful_loader, {"kind": kind, "rows": theirs}, peer=True),
        ]
        for kind in ("csv", "jsonl")
    ]


def penstock(kind: str, rows: int) -> Iterator[float]:
    from penstock import DataLoader2
    from penstock.pipes import IterableWrapper

    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), kind, rows)
        lines: Any = IterableWrapper([str(path)]).open_files(
            encoding="utf-8" if kind == "csv" else None, mode=_mode(kind)
        )
        pipe = (lines.parse_csv() if kind == "csv" else lines.parse_jsonl()).map(work)

        def start(state: Any) -> tuple[Any, Iterator[Any]]:
            loader: Any = DataLoader2(pipe)
            if state is not None:
                loader.load_state_dict(state)
            return loader, iter(loader)

        yield from _rounds(start, rows)


def stateful_loader(kind: str, rows: int) -> Iterator[float]:
    from torch.utils.data import IterableDataset
    from torchdata.stateful_dataloader import (  # type: ignore[import-not-found, unused-ignore]  # a peer
        StatefulDataLoader,
    )

    class Rows(IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            with open(path, newline="") as file:
                for row in csv.reader(file) if kind == "csv" else map(json.loads, file):
                    yield work(row)

    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), kind, rows)

        def start(state: Any) -> tuple[Any, Iterator[Any]]:
            loader = StatefulDataLoader(Rows(), batch_size=None)
            if state is not None:
                loader.load_state_dict(state)
            return loader, iter(loader)

        yield from _rounds(start, rows)


def _rounds(start: Callable[[Any], tuple[Any, Iterator[Any]]], rows: int) -> Iterator[float]:
    global WORKING
    WORKING = False
    states: dict[int, Any] = {}
    loader, items = start(None)
    for number in range(1, rows):
        next(items)
        if number in [int(place * rows) for place in PLACES]:
            states[number] = json.loads(json.dumps(loader.state_dict()))
    WORKING = True
    while True:
        took_s = []
        for number, state in states.items():
            begin_s = time.perf_counter()
            _, items = start(state)
            found = [int(item) for item in islice(items, ITEMS)]
            took_s.append(time.perf_counter() - begin_s)
            expect(found, list(range(number, number + ITEMS)), f"the items from {number} on")
        yield max(took_s) / min(took_s)


def work(row: Any) -> Any:
    until_s = time.perf_counter() + WORK_S
    while WORKING and time.perf_counter() < until_s:
        pass
    return row[0] if isinstance(row, list) else row["id"]


def written(folder: Path, kind: str, rows: int) -> Path:
    path = folder / f"rows.{kind}"
    with open(path, "w", newline="") as file:
        if kind == "csv":
            csv.writer(file).writerows([i, f"text of row {i}", i * 0.5] for i in range(rows))
        else:
            file.writelines(
                json.dumps({"id": i, "text": f"text of row {i}", "half": i * 0.5}) + "\n" for i in range(rows)
            )
    return path


def _mode(kind: str) -> str:
    return "r" if kind == "csv" else "b"
