"""B23: rows a second of CSV and JSON lines to batches of 1,024 rows in one process: numbers as tensors, and strings."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks._pair import Side
from benchmarks._side import expect, rates

BATCH = 1024
UNIT = "rows/s"
KINDS = ("csv", "jsonl")


def groups(quick: bool) -> list[list[Side]]:
    rows = 100_000 if quick else 500_000
    return [
        [
            Side(f"penstock {kind}", UNIT, penstock, {"kind": kind, "rows": rows}),
            Side(f"pyarrow {kind}, a bare loop", UNIT, bare, {"kind": kind, "rows": rows}),
        ]
        for kind in KINDS
    ]


def penstock(kind: str, rows: int) -> Iterator[float]:
    from penstock.pipes import IterableWrapper

    source = IterableWrapper([_file(kind, rows)])
    read: Any = {"csv": source.read_csv_columns, "jsonl": source.read_jsonl_columns}[kind]
    pipe = read(batch_size=BATCH, as_="torch")
    return _rounds(lambda: pipe, rows)


def bare(kind: str, rows: int) -> Iterator[float]:
    """All that its streaming readers can be: blocks of any size, no place to come back to, arrays that stay Arrow's."""
    import pyarrow.csv
    import pyarrow.json

    def batches() -> Iterator[Any]:
        path = _file(kind, rows)
        reader = (
            pyarrow.csv.open_csv(path, pyarrow.csv.ReadOptions(use_threads=False))
            if kind == "csv"
            else pyarrow.json.open_json(path, pyarrow.json.ReadOptions(use_threads=False))
        )
        for batch in reader:
            yield {name: batch.column(i).to_numpy(zero_copy_only=False) for i, name in enumerate(batch.schema.names)}

    return _rounds(batches, rows)


def _rounds(batches: Callable[[], Any], rows: int) -> Iterator[float]:
    def work() -> float:
        seen = 0
        for batch in batches():
            seen += len(batch["word"])
            last = batch["id"]
        expect(seen, rows, "rows")
        expect(int(last[-1]), rows - 1, "the last row")
        return seen

    return rates(work)


def _file(kind: str, rows: int) -> str:
    """An id, eight features and a short word in each row; made once, and kept."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.csv

    path = Path(tempfile.gettempdir()) / f"penstock-benchmark-{rows}-{os.getuid()}.{kind}"
    if not path.exists():
        draw = np.random.default_rng(0)
        words = np.array([f"word{i}" for i in range(5000)])[draw.integers(0, 5000, rows)]
        features = {f"f{i}": draw.random(rows, dtype=np.float32) for i in range(8)}
        table = pa.table({"id": np.arange(rows), **features, "word": words})
        making = path.with_suffix(f".{os.getpid()}")
        if kind == "csv":
            pyarrow.csv.write_csv(table, making)
        else:
            making.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()), encoding="utf-8")
        making.rename(path)
    return str(path)
