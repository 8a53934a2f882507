"""B21: rows a second out of zarr files in one process: against a loop over ``array[i]``, and over whole chunks."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks._pair import Side
from benchmarks._side import expect, rates

CHUNK, SHARD, SHAPE = 100, 1000, (64, 64)
UNIT = "rows/s"


def groups(quick: bool) -> list[list[Side]]:
    rows = 2_000 if quick else 20_000
    return [
        [
            Side(f"penstock, {kind}", UNIT, penstock, {"rows": rows, "kind": kind}),
            Side(f"zarr by chunks, {kind}", UNIT, by_chunks, {"rows": rows, "kind": kind}),
            Side(f"zarr by rows, {kind}", UNIT, by_rows, {"rows": rows, "kind": kind}),
        ]
        for kind in ("array", "group", "shards")
    ]


def penstock(rows: int, kind: str) -> Iterator[float]:
    from penstock.pipes import IterableWrapper

    pipe = IterableWrapper([_file(rows, kind)]).read_zarr()
    return _rounds(lambda: pipe, rows)


def by_chunks(rows: int, kind: str) -> Iterator[float]:
    """All that reading by chunks can be: no state, no errors that say where, no choice of arrays."""
    import zarr

    opened: Any = zarr.open(_file(rows, kind), mode="r")
    step = SHARD if kind == "shards" else CHUNK

    def items() -> Iterator[Any]:
        if kind == "group":
            x, y = opened["x"], opened["y"]
            for start in range(0, rows, step):
                for a, b in zip(x[start : start + step], y[start : start + step], strict=True):
                    yield {"x": a, "y": b}
        else:
            for start in range(0, rows, step):
                yield from opened[start : start + step]

    return _rounds(items, rows)


def by_rows(rows: int, kind: str) -> Iterator[float]:
    """Row by row: each reads its chunk again. A tenth of the rows will do."""
    import zarr

    opened: Any = zarr.open(_file(rows, kind), mode="r")
    few = rows // 10

    def items() -> Iterator[Any]:
        if kind == "group":
            x, y = opened["x"], opened["y"]
            return ({"x": x[i], "y": y[i]} for i in range(few))
        return (opened[i] for i in range(few))

    return _rounds(items, few)


def _rounds(items: Callable[[], Iterable[Any]], rows: int) -> Iterator[float]:
    first: Any = next(iter(items()))
    expect((first["x"] if isinstance(first, dict) else first).shape, SHAPE, "the shape of a row")

    def work() -> float:
        expect(sum(1 for _ in items()), rows, "rows")
        return rows

    return rates(work)


def _file(rows: int, kind: str) -> str:
    """An array of images that compress to a half, with labels beside them in a group; made once, and kept."""
    import numpy as np
    import zarr

    path = Path(tempfile.gettempdir()) / f"penstock-benchmark-{kind}-{rows}-{os.getuid()}.zarr"
    if not path.exists():
        making = path.with_suffix(f".{os.getpid()}")
        images = np.random.default_rng(0).integers(0, 16, (rows, *SHAPE), dtype=np.uint8)
        if kind == "group":
            made = zarr.create_group(str(making))
            made.create_array("x", data=images, chunks=(CHUNK, *SHAPE))
            made.create_array("y", data=np.arange(rows), chunks=(CHUNK,))
        else:
            shards = (SHARD, *SHAPE) if kind == "shards" else None
            zarr.create_array(str(making), data=images, chunks=(CHUNK, *SHAPE), shards=shards)
        making.rename(path)
    return str(path)
