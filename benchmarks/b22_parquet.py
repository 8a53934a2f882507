"""B22: rows a second out of a Parquet file to batches of 1,024 rows in one process: numbers as tensors, and strings.

What workers do for it, and what memory it takes, have files of their own beside this one.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import b22_parquet_memory, b22_parquet_workers
from benchmarks._pair import Side
from benchmarks._side import expect, rates

BATCH, GROUP = 1024, 125_000  # 16 row groups: as many for each of two workers
UNIT = "rows/s"


def groups(quick: bool) -> list[list[Side]]:
    rows = 200_000 if quick else 2_000_000
    return [
        [
            Side("penstock", UNIT, penstock, {"rows": rows}),
            Side("pyarrow, a bare loop", UNIT, bare, {"rows": rows}),
            Side("datasets", UNIT, hugging_face, {"rows": rows}),
            Side("torch's DataLoader over rows", UNIT, row_by_row, {"rows": rows}),
        ],
        *b22_parquet_workers.groups(quick),
        *b22_parquet_memory.groups(quick),
    ]


def penstock(rows: int) -> Iterator[float]:
    from penstock.pipes import IterableWrapper

    pipe = IterableWrapper([table_file(rows)]).read_parquet(batch_size=BATCH, as_="torch")
    return _rounds(lambda: pipe, rows)


def bare(rows: int) -> Iterator[float]:
    """All that reading by batches can be: no state, no tensors, arrays that must not be written into."""
    import pyarrow.parquet as pq

    def batches() -> Iterator[Any]:
        for batch in pq.ParquetFile(table_file(rows)).iter_batches(BATCH, use_threads=False):
            yield {name: batch.column(i).to_numpy(zero_copy_only=False) for i, name in enumerate(batch.schema.names)}

    return _rounds(batches, rows)


def hugging_face(rows: int) -> Iterator[float]:
    """Over its cache of Arrow files, which it makes ahead of the first round."""
    import datasets

    datasets.disable_progress_bars()
    cache = Path(tempfile.gettempdir()) / f"penstock-benchmark-datasets-{os.getuid()}"
    data: Any = datasets.Dataset.from_parquet(table_file(rows), cache_dir=str(cache)).with_format("torch")
    return _rounds(lambda: data.iter(BATCH), rows)


def row_by_row(rows: int) -> Iterator[float]:
    """The table in memory, a sample for each row, collated. A hundredth of the rows will do."""
    import pyarrow.parquet as pq
    from torch.utils.data import DataLoader, Dataset

    few = rows // 100
    table = pq.read_table(table_file(rows)).slice(0, few).combine_chunks()
    columns = {
        name: table[name].to_pylist() if name == "word" else table[name].to_numpy() for name in table.schema.names
    }

    class Rows(Dataset[Any]):
        def __len__(self) -> int:
            return few

        def __getitem__(self, i: int) -> dict[str, Any]:
            return {name: column[i] for name, column in columns.items()}

    loader: Any = DataLoader(Rows(), batch_size=BATCH)
    return _rounds(lambda: loader, few)


def _rounds(batches: Callable[[], Any], rows: int) -> Iterator[float]:
    def work() -> float:
        seen = total = 0
        for batch in batches():
            seen += len(batch["word"])
            total += int(batch["id"][-1])
            last = batch["id"]
        expect(seen, rows, "rows")
        expect(int(last[-1]), rows - 1, "the last row")
        return seen

    return rates(work)


def table_file(rows: int) -> str:
    """An id, eight features and a short word in each row; made once, and kept."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(tempfile.gettempdir()) / f"penstock-benchmark-{rows}-{GROUP}-{os.getuid()}.parquet"
    if not path.exists():
        draw = np.random.default_rng(0)
        words = np.array([f"word{i}" for i in range(5000)])[draw.integers(0, 5000, rows)]
        features = {f"f{i}": draw.random(rows, dtype=np.float32) for i in range(8)}
        making = path.with_suffix(f".{os.getpid()}")
        table = pa.table({"id": np.arange(rows), **features, "word": words})
        pq.write_table(table, making, row_group_size=GROUP)
        making.rename(path)
    return str(path)
