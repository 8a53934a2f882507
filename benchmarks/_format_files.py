"""The data sets of B25, in each format: numbers with a word, vectors, and images as they are stored."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

SHARD_SAMPLES = 10_000
GROUP_ROWS = {"numbers": 1 << 16, "vectors": 1 << 14, "images": 1 << 10}  # a row group, a record batch, a chunk
FORMATS = {
    "numbers": (
        "csv",
        "jsonl",
        "jsonl.gz",
        "messagepack",
        "parquet",
        "arrow",
        "feather",
        "lance",
        "zarr",
        "npy",
        "tar",
    ),
    "vectors": ("messagepack", "parquet", "parquet.plain", "arrow", "lance", "zarr", "npy"),
    "images": ("messagepack", "parquet", "arrow", "lance", "tar"),
}
TABLES = {"random": ("parquet", "lance", "zarr", "npy"), "unkept": ("parquet",)}  # those with any row by its number


def columns(data: str, rows: int) -> dict[str, Any]:
    """Return the columns of a data set; an image is a list's element, of bytes that are as random as a JPEG's are."""
    import numpy as np

    draw = np.random.default_rng(0)
    found: dict[str, Any] = {"id": np.arange(rows)}
    if data == "numbers":
        found |= {f"f{i}": draw.random(rows, dtype=np.float32) for i in range(8)}
        found["word"] = np.array([f"word{i}" for i in range(5000)])[draw.integers(0, 5000, rows)]
    elif data == "vectors":
        found["vector"] = draw.random((rows, 128), dtype=np.float32)
    else:
        found["image"] = [draw.bytes(int(size)) for size in draw.integers(10_000, 30_000, rows)]
    return found


def writer(data: str, rows: int, format: str) -> Callable[[Path], None]:
    """Return a function that writes a data set; what it writes lies in memory, as columns or as samples."""
    found = columns(data, rows)
    if format in _OF_TABLES:
        table = _table(found)
        return lambda path: _OF_TABLES[format](table, path, GROUP_ROWS[data])
    if format in _OF_ARRAYS:
        return lambda path: _OF_ARRAYS[format](found, path, GROUP_ROWS[data])
    samples = list(_samples(found))
    return lambda path: _OF_SAMPLES[format](samples, path)


def kept(data: str, rows: int, format: str) -> str:
    """Return where a data set lies in a format: written once, and kept."""
    path = Path(tempfile.gettempdir()) / f"penstock-benchmark-{data}-{rows}-{os.getuid()}-{format}"
    if not path.exists():
        making = path.with_name(f"{path.name}-{os.getpid()}")
        writer(data, rows, format)(making)
        making.rename(path)
    return str(path)


def files_of(path: str) -> list[str]:
    """Return the files of a folder, or the one that a path names."""
    return sorted(str(each) for each in Path(path).iterdir()) if Path(path).is_dir() else [path]


def size_bytes(path: str) -> int:
    """Return how many bytes a file has, or all those of a folder."""
    return sum(each.stat().st_size for each in [Path(path), *Path(path).rglob("*")] if each.is_file())


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _table(found: dict[str, Any]) -> Any:
    import pyarrow as pa

    return pa.table(
        {
            name: pa.FixedSizeListArray.from_arrays(pa.array(column.reshape(-1)), column.shape[1])
            if getattr(column, "ndim", 1) == 2
            else pa.array(column)
            for name, column in found.items()
        }
    )


def _samples(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield rows as Python's values; a vector stays an array."""
    values = [list(column) if getattr(column, "ndim", 2) == 2 else column.tolist() for column in found.values()]
    for row in zip(*values, strict=True):
        yield dict(zip(found, row, strict=True))


def _csv(table: Any, path: Path, rows: int) -> None:
    import pyarrow.csv

    pyarrow.csv.write_csv(table, path)


def _parquet(table: Any, path: Path, rows: int) -> None:
    import pyarrow.parquet as pq

    pq.write_table(table, path, row_group_size=rows)


def _parquet_plain(table: Any, path: Path, rows: int) -> None:
    import pyarrow.parquet as pq

    pq.write_table(table, path, row_group_size=rows, use_dictionary=False)


def _arrow(table: Any, path: Path, rows: int) -> None:
    import pyarrow as pa

    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writing:
        writing.write_table(table, max_chunksize=rows)


def _feather(table: Any, path: Path, rows: int) -> None:
    import pyarrow.feather

    pyarrow.feather.write_feather(table, str(path), chunksize=rows)


def _lance(table: Any, path: Path, rows: int) -> None:
    import lance

    lance.write_dataset(table, str(path))


def _npy(found: dict[str, Any], path: Path, rows: int) -> None:
    import numpy as np

    path.mkdir()
    for name, column in found.items():
        np.save(path / f"{name}.npy", column)


def _zarr(found: dict[str, Any], path: Path, rows: int) -> None:
    import numpy as np
    import zarr

    group = zarr.create_group(str(path))
    for name, column in found.items():
        values = column.astype(np.dtypes.StringDType()) if column.dtype.kind == "U" else column
        group.create_array(name, data=values, chunks=(min(rows, len(values)), *values.shape[1:]))


def _jsonl(samples: list[Any], path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(sample) + "\n" for sample in samples)


def _shards(format: str) -> Callable[[list[Any], Path], None]:
    def write(samples: list[Any], path: Path) -> None:
        from penstock.stores import SquirrelStore

        SquirrelStore(str(path), format).write(samples, SHARD_SAMPLES)

    return write


def _tar(samples: list[Any], path: Path) -> None:
    """A sample is a file of JSON, or an image and a file that says which."""
    with tarfile.open(path, "w") as archive:
        for number, sample in enumerate(samples):
            image = sample.get("image")
            files = {"json": json.dumps(sample).encode()} if image is None else {"jpg": image, "cls": b"%d" % number}
            for suffix, data in files.items():
                info = tarfile.TarInfo(f"{number:06d}.{suffix}")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))


_OF_TABLES: dict[str, Callable[[Any, Path, int], None]] = {
    "csv": _csv,
    "parquet": _parquet,
    "parquet.plain": _parquet_plain,
    "arrow": _arrow,
    "feather": _feather,
    "lance": _lance,
}
_OF_ARRAYS = {"npy": _npy, "zarr": _zarr}
_OF_SAMPLES = {"jsonl": _jsonl, "jsonl.gz": _shards("jsonl"), "messagepack": _shards("msgpack"), "tar": _tar}
