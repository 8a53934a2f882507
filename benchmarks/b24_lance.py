"""B24: rows a second out of a Lance data set of 200,000 vectors of 128 float32: a scan, and batches of random rows."""

from __future__ import annotations

import itertools
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks._pair import Side
from benchmarks._side import expect, rates

ROWS, WIDTH, BATCH = 200_000, 128, 128
FEW = 20_000  # of random rows, which take longer
UNIT = "rows/s"


def groups(quick: bool) -> list[list[Side]]:
    few = FEW // 5 if quick else FEW
    return [
        [Side("penstock scan", UNIT, scan), Side("LanceDataset", UNIT, lances_scan)],
        [
            Side("penstock random", UNIT, random, {"rows": few}),
            Side("SafeLanceDataset", UNIT, lances_random, {"rows": few}),
        ],
        [
            Side("penstock random, 2 workers", UNIT, random_in_workers, {"rows": ROWS // 5 if quick else ROWS}),
            Side("penstock's get_safe_loader", UNIT, safe_loader, {"rows": few}),
            Side("get_safe_loader", UNIT, lances_safe_loader, {"rows": few // 4}),
        ],
    ]


def scan() -> Iterator[float]:
    from penstock.lance import LanceDataset

    dataset = LanceDataset(_data(), BATCH)
    return rates(lambda: _all_rows(dataset))


def lances_scan() -> Iterator[float]:
    """Its tensors must not be written into."""
    from lance.torch.data import LanceDataset

    warnings.simplefilter("ignore")
    dataset = LanceDataset(_data(), BATCH)
    return rates(lambda: _all_rows(dataset))


def random(rows: int) -> Iterator[float]:
    from penstock import DataLoader2
    from penstock.pipes.map import LanceTable

    pipe = LanceTable(_data(), as_="torch").shuffle().sharding_filter().take_rows(BATCH)
    with DataLoader2(pipe) as dl:
        yield from _onward(lambda: iter(dl), rows)


def lances_random(rows: int) -> Iterator[float]:
    from lance.torch.data import SafeLanceDataset
    from torch.utils.data import DataLoader

    loader: Any = DataLoader(SafeLanceDataset(_data()), batch_size=BATCH, shuffle=True, collate_fn=list)
    yield from _onward(lambda: iter(loader), rows)


def random_in_workers(rows: int) -> Iterator[float]:
    from penstock import DataLoader2, MultiProcessingReadingService
    from penstock.pipes.map import LanceTable

    pipe = LanceTable(_data(), as_="torch").shuffle().sharding_filter().take_rows(BATCH)
    with DataLoader2(pipe, reading_service=MultiProcessingReadingService(2)) as dl:
        yield from _onward(lambda: iter(dl), rows, ahead=300)


def safe_loader(rows: int) -> Iterator[float]:
    from penstock.lance import SafeLanceDataset, get_safe_loader

    loader = get_safe_loader(SafeLanceDataset(_data()), batch_size=BATCH, num_workers=2, shuffle=True)
    yield from _onward(lambda: iter(loader), rows)


def lances_safe_loader(rows: int) -> Iterator[float]:
    from lance.torch.data import SafeLanceDataset, get_safe_loader

    loader = get_safe_loader(SafeLanceDataset(_data()), batch_size=BATCH, num_workers=2, shuffle=True)
    yield from _onward(lambda: iter(loader), rows)


def _onward(begin: Callable[[], Iterator[Any]], rows: int, ahead: int = 4) -> Iterator[float]:
    """Per round, rows a second. An epoch goes on from round to round, so that its start is not in them.

    Nor is what workers have made while it was another side's turn: at most ``ahead`` batches.
    """
    batches = (batch for _ in itertools.count() for batch in begin())
    _count(next(batches))
    while True:
        for _ in range(ahead):
            next(batches)
        began, seen = time.perf_counter(), 0
        while seen < rows:
            seen += _count(next(batches))
        yield seen / (time.perf_counter() - began)


def _all_rows(batches: Any) -> float:
    seen = total = 0
    for batch in batches:
        seen += len(batch["id"])
        total += int(batch["id"][-1])
    expect(seen, ROWS, "rows")
    return seen


def _count(batch: Any) -> int:
    """Look at a batch: a dict of columns, or rows as they come."""
    return len(batch["id"]) if isinstance(batch, dict) else len(batch)


def _data() -> str:
    """Made once, and kept."""
    import lance
    import numpy as np
    import pyarrow as pa

    path = Path(tempfile.gettempdir()) / f"penstock-benchmark-{ROWS}x{WIDTH}-{os.getuid()}.lance"
    if not path.exists():
        making = path.with_suffix(f".{os.getpid()}")
        values = np.random.default_rng(0).random(ROWS * WIDTH, np.float32)
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(values), WIDTH)
        lance.write_dataset(pa.table({"id": np.arange(ROWS), "vector": vectors}), making, max_rows_per_file=50_000)
        making.rename(path)
    return str(path)
