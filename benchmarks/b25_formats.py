"""B25: what `docs/formats.md` says of formats: to tensors in order, in random order, the size, the time to write."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks._format_files import FORMATS, TABLES, files_of, kept, remove, size_bytes, writer
from benchmarks._pair import Side
from benchmarks._side import expect, rates

ROWS = {"numbers": 200_000, "vectors": 200_000, "images": 10_000}
BATCH = {"numbers": 1024, "vectors": 1024, "images": 128}
RANDOM_BATCH = 128
FEW = ("messagepack", "tar")  # of these a tenth of a table's rows will do: they take their time
TENTH = 10
UNKEPT_BATCHES = 10


def groups(quick: bool) -> list[list[Side]]:
    kinds = (("scan", scan), ("random", random_order), ("unkept", unkept), ("write", write), ("size", size))
    return [
        [
            Side(
                f"{what} {data}, {format}", "bytes/row" if what == "size" else "rows/s", rounds, {**asked, "rows": rows}
            )
            for format in formats
            if what not in TABLES or format in TABLES[what]
            for rows in [_rows(data, format, quick)]
            for asked in [{"data": data, "format": format}]
        ]
        for data, formats in FORMATS.items()
        for what, rounds in kinds
    ]


def _rows(data: str, format: str, quick: bool) -> int:
    few = TENTH if data != "images" and format in FEW else 1
    return ROWS[data] // few // (TENTH if quick else 1)


def scan(data: str, format: str, rows: int) -> Iterator[float]:
    """From the first row to the last, as batches of tensors."""
    return _rounds(_SCANS[format](kept(data, rows, format), BATCH[data]), rows)


def random_order(data: str, format: str, rows: int) -> Iterator[float]:
    """Each row once, in another order in each round, as batches of tensors. The warm-up fills the tables' caches."""
    from penstock.pipes.map import ArrayTable, LanceTable, ParquetTable

    table: Any = {"parquet": ParquetTable, "lance": LanceTable}.get(format, ArrayTable)
    return _rounds(table(kept(data, rows, format), as_="torch").shuffle().take_rows(RANDOM_BATCH), rows)


def unkept(data: str, format: str, rows: int) -> Iterator[float]:
    """The same of a table that keeps only what it read last."""
    from penstock.pipes.map import ParquetTable

    few = UNKEPT_BATCHES * RANDOM_BATCH
    table = ParquetTable(kept(data, rows, format), as_="torch", cache_bytes=0)
    batches = table.shuffle().header(few).take_rows(RANDOM_BATCH)

    def work() -> float:
        expect(sum(len(batch["id"]) for batch in batches), min(few, rows), "rows")
        return min(few, rows)

    return rates(work)


def write(data: str, format: str, rows: int) -> Iterator[float]:
    """Out of memory, and without waiting for the disk."""
    run = writer(data, rows, format)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "written"
        while True:
            start_s = perf_counter()
            run(path)
            yield rows / (perf_counter() - start_s)
            remove(path)


def size(data: str, format: str, rows: int) -> Iterator[float]:
    path = kept(data, rows, format)
    while True:
        yield size_bytes(path) / rows


def _rounds(batches: Any, rows: int) -> Iterator[float]:
    def work() -> float:
        seen = total = 0
        for batch in batches:
            seen += len(batch["id"])
            total += int(batch["id"].sum())
        expect(seen, rows, "rows")
        expect(total, rows * (rows - 1) // 2, "the sum of their numbers")
        return seen

    return rates(work)


def _tar(path: str, size: int) -> Any:
    files = _files(path).open_files(mode="rb").load_from_tar().map(lambda file: (file[0], file[1].read()))
    return files.webdataset().map(_from_files).batch(size).collate()


def _from_files(sample: dict[str, Any]) -> Any:
    if ".json" in sample:
        return json.loads(sample[".json"])
    return {"id": int(sample[".cls"]), "image": sample[".jpg"]}


def _files(path: str) -> Any:
    from penstock.pipes import IterableWrapper

    return IterableWrapper(files_of(path))


def _table(path: str) -> Any:
    from penstock.pipes import IterableWrapper

    return IterableWrapper([path])


_SCANS: dict[str, Callable[[str, int], Any]] = {
    "csv": lambda path, size: _table(path).read_csv_columns(batch_size=size, as_="torch"),
    "jsonl": lambda path, size: _table(path).read_jsonl_columns(batch_size=size, as_="torch"),
    "jsonl.gz": lambda path, size: _files(path).read_jsonl_columns(batch_size=size, as_="torch"),
    "messagepack": lambda path, size: _files(path).read_messagepack().batch(size).collate(),
    "parquet": lambda path, size: _table(path).read_parquet(batch_size=size, as_="torch"),
    "parquet.plain": lambda path, size: _table(path).read_parquet(batch_size=size, as_="torch"),
    "feather": lambda path, size: _table(path).read_arrow(batch_size=size, as_="torch"),
    "arrow": lambda path, size: _table(path).read_arrow(batch_size=size, as_="torch"),
    "lance": lambda path, size: _table(path).read_lance(batch_size=size, as_="torch"),
    "zarr": lambda path, size: _table(path).read_zarr(batch_size=size, as_="torch"),
    "npy": lambda path, size: _table(path).read_npy(batch_size=size, as_="torch"),
    "tar": _tar,
}
