"""Data sets of any known format as pipes of samples: what `penstock convert` reads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from penstock.core.errors import DecodeError, GraphError
from penstock.core.pipe import IterDataPipe
from penstock.files.remote import connected, ranged
from penstock.pipes._zarr_store import is_zarr
from penstock.pipes.wrapper import IterableWrapper
from penstock.serialization.shard import ShardReader, bare

__all__ = ["FORMATS", "Dataset", "find"]

FORMATS = ("csv", "jsonl", "messagepack", "parquet", "zarr")
_ENDS = {
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".msgpack": "messagepack",
    ".parquet": "parquet",
}
_SNIFFED_BYTES = 1 << 16


@dataclass(frozen=True)
class Dataset:
    """Files of one format.

    Attributes:
        format: one of `FORMATS`.
        urls: of the files, in order.
    """

    format: str
    urls: list[str]

    def pipe(self) -> IterDataPipe[dict[str, Any]]:
        """Return a pipe of the samples, as dicts."""
        return _READERS[self.format](IterableWrapper(self.urls, deepcopy=False))

    def count(self) -> int | None:
        """Return how many samples there are, None where only reading would tell."""
        return _COUNTS[self.format](self.urls) if self.format in _COUNTS else None


def find(url: str, format: str | None = None) -> Dataset:
    """Return what is at a URL.

    Args:
        url: a file, a folder, or a pattern with ``*``, at any place that fsspec knows.
        format: one of `FORMATS`; what the names of the files, or else their first bytes, tell unless given.

    Raises:
        FileNotFoundError: there is nothing.
        GraphError: the format shows neither in the names nor in the bytes, or there are several.
    """
    if format == "zarr" or (format is None and is_zarr(url, {})):
        return Dataset("zarr", [url])
    names = _names(url)
    if not names:
        raise FileNotFoundError(f"{url}: nothing is there")
    if format is None:
        found = {_by_name(name) or _by_bytes(name) for name in names}
        if len(found) > 1:
            raise GraphError(f"{url} has files of the formats {', '.join(sorted(found))}; say which one to read")
        (format,) = found
    return Dataset(format, names)


def _names(url: str) -> list[str]:
    fs, path = connected(url, {})
    if "*" in path:
        found = fs.glob(path)
    elif fs.isdir(path):
        found = [each["name"] for each in fs.ls(path, detail=True) if each["type"] == "file"]
    else:
        found = [path] if fs.exists(path) else []
    protocol, separator, _ = url.partition("://")
    names = sorted(name for name in found if not os.path.basename(name).startswith((".", "_")))
    return [f"{protocol}://{name.lstrip('/')}" if separator else name for name in names]


def _by_name(name: str) -> str | None:
    plain = bare(name.rstrip("/")).lower()
    return next((format for end, format in _ENDS.items() if plain.endswith(end)), None)


def _by_bytes(url: str) -> str:
    """Return the format of a shard, whose name tells none: the one in which its first sample makes sense."""
    read = ranged(*connected(url, {}))
    for format in ("jsonl", "messagepack"):
        reader = ShardReader(url, read, {"messagepack": "msgpack"}.get(format, format))
        try:
            sample: Any = next(chain.from_iterable(reader.samples()), {})
        except DecodeError:
            continue
        if isinstance(sample, dict):
            return format
    raise GraphError(f"{url}: neither its name nor its first sample tells its format; say which one it is")


def _csv_rows(url: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a CSV file, with the types that pyarrow finds in its first megabyte."""
    import pyarrow as pa
    import pyarrow.csv as pc

    fs, path = connected(url, {})
    with fs.open(path, "rb", compression="infer") as file:
        try:
            for batch in pc.open_csv(file):
                yield from batch.to_pylist()
        except pa.ArrowInvalid as error:
            raise DecodeError(f"{url}: {error}") from error


def _table_rows(table: Any) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table. Tensors of a fixed shape come as arrays."""
    import pyarrow as pa

    columns = [
        column.combine_chunks().to_numpy_ndarray()
        if isinstance(column.type, pa.FixedShapeTensorType) and len(column)
        else column.to_pylist()
        for column in table.columns
    ]
    for values in zip(*columns, strict=True):
        yield dict(zip(table.column_names, values, strict=True))


def _parquet_count(urls: list[str]) -> int:
    import pyarrow.parquet as pq

    total = 0
    for url in urls:
        fs, path = connected(url, {})
        with fs.open(path, "rb") as file:
            total += pq.ParquetFile(file).metadata.num_rows
    return total


def _shard_count(urls: list[str]) -> int | None:
    total = 0
    for url in urls:
        index = ShardReader(url, ranged(*connected(url, {})), "msgpack").index()
        if index is None:
            return None
        total += index.samples
    return total


_READERS: dict[str, Callable[[IterDataPipe[str]], IterDataPipe[Any]]] = {
    "csv": lambda files: files.flatmap(_csv_rows),
    "jsonl": lambda files: files.read_jsonl(),
    "messagepack": lambda files: files.read_messagepack(),
    "parquet": lambda files: files.load_parquet_as_df().flatmap(_table_rows),
    "zarr": lambda files: files.read_zarr(),
}
_COUNTS: dict[str, Callable[[list[str]], int | None]] = {
    "jsonl": _shard_count,
    "messagepack": _shard_count,
    "parquet": _parquet_count,
    "zarr": lambda urls: len(IterableWrapper(urls).read_zarr()),
}
