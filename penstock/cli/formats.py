"""Data sets of any known format as pipes of samples: what `penstock convert` reads."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from penstock.core.errors import DecodeError, GraphError
from penstock.core.pipe import IterDataPipe
from penstock.files.remote import connected, ranged
from penstock.pipes._lance import LanceData
from penstock.pipes._npy_rows import npy_opener
from penstock.pipes._zarr_store import is_zarr
from penstock.pipes.wrapper import IterableWrapper
from penstock.serialization.shard import ShardReader, bare

__all__ = ["FORMATS", "READABLE", "Dataset", "UnknownFormat", "find", "is_folder"]

FORMATS = ("arrow", "csv", "jsonl", "lance", "messagepack", "parquet", "zarr")
READABLE = (*FORMATS, "files", "npy", "tar")
_ENDS = {
    ".arrow": "arrow",
    ".csv": "csv",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".msgpack": "messagepack",
    ".npy": "npy",
    ".npz": "npy",
    ".parquet": "parquet",
    ".tar": "tar",
    ".tgz": "tar",
}
_HEADS = {b"PAR1": "parquet", b"ARROW1": "arrow", b"\x93NUMPY": "npy"}
_SNIFFED_BYTES = 1 << 16


class UnknownFormat(GraphError):
    """Neither a file's name nor its first bytes tell what it is."""


@dataclass(frozen=True)
class Dataset:
    """Files of one format.

    Attributes:
        format: one of `READABLE`.
        urls: of the files, in order; of the folder, where it is one table.
    """

    format: str
    urls: list[str]

    def pipe(self) -> IterDataPipe[dict[str, Any]]:
        """Return a pipe of the samples, as dicts."""
        return _READERS[self.format](IterableWrapper(self.urls, deepcopy=False))

    def batches(self) -> IterDataPipe[Any] | None:
        """Return a pipe of the samples as Arrow's record batches; None where the format has no types of its own."""
        read = _BATCHES.get(self.format)
        return None if read is None else read(IterableWrapper(self.urls, deepcopy=False))

    def count(self) -> int | None:
        """Return how many samples there are, None where only reading would tell."""
        return _COUNTS[self.format](self.urls) if self.format in _COUNTS else None


def find(url: str, format: str | None = None) -> Dataset:
    """Return what is at a URL.

    Args:
        url: a file, a folder, or a pattern with ``*``, at any place that fsspec knows.
        format: one of `READABLE`; what the names of the files, or else their first bytes, tell unless given.

    Raises:
        FileNotFoundError: there is nothing.
        GraphError: the format shows neither in the names nor in the bytes, or there are several.
    """
    if format == "zarr" or (format is None and is_zarr(url, {})):
        return Dataset("zarr", [url])
    if format == "lance" or (format is None and _is_lance(url)):
        return Dataset("lance", [url])
    if format in ("arrow", None) and (names := _saved_to_disk(url)) is not None:
        return Dataset("arrow", names)
    if format == "files" and is_folder(url):
        fs, path = connected(url, {})
        names = _full(url, sorted(fs.find(path)))
    else:
        names = _names(url)
    if not names:
        raise FileNotFoundError(f"{url}: nothing is there")
    if format is None:
        found = {_by_name(name) or _by_bytes(name) for name in names}
        if len(found) > 1:
            raise GraphError(f"{url} has files of the formats {', '.join(sorted(found))}; say which one to read")
        (format,) = found
    if format == "npy" and is_folder(url) and all(name.endswith(".npy") for name in names):
        return Dataset("npy", [url])  # a file for each column
    return Dataset(format, names)


def _is_lance(url: str) -> bool:
    return is_folder(f"{url.rstrip('/')}/_versions")


def _saved_to_disk(url: str) -> list[str] | None:
    """Return the files that hold the rows of a data set of Hugging Face's; None of what ``save_to_disk`` did not write.

    That writes the rows as they are then, so there is no mapping of indices beside them.
    """
    fs, path = connected(url, {})
    folder = path.rstrip("/")
    if not fs.isdir(folder):
        return None
    if fs.exists(f"{folder}/dataset_dict.json"):
        splits = json.loads(fs.cat_file(f"{folder}/dataset_dict.json")).get("splits", [])
        raise GraphError(
            f"{url} has the splits {', '.join(splits)}, each in a folder of its own; say which one to read"
        )
    if not (fs.exists(f"{folder}/state.json") and fs.exists(f"{folder}/dataset_info.json")):
        return None
    files = json.loads(fs.cat_file(f"{folder}/state.json")).get("_data_files", [])
    return _full(url, [f"{folder}/{each['filename']}" for each in files])


def is_folder(url: str) -> bool:
    """Tell whether a URL is that of a folder."""
    fs, path = connected(url, {})
    return bool(fs.isdir(path))


def _names(url: str) -> list[str]:
    fs, path = connected(url, {})
    if "*" in path:
        found = fs.glob(path)
    elif fs.isdir(path):
        found = [each["name"] for each in fs.ls(path, detail=True) if each["type"] == "file"]
    else:
        found = [path] if fs.exists(path) else []
    return _full(url, sorted(name for name in found if not os.path.basename(name).startswith((".", "_"))))


def _full(url: str, names: list[str]) -> list[str]:
    """Return files' names in a file system as URLs like the one that they were found at."""
    protocol, separator, _ = url.partition("://")
    return [f"{protocol}://{name.lstrip('/')}" if separator else name for name in names]


def _by_name(name: str) -> str | None:
    plain = bare(name.rstrip("/")).lower()
    return next((format for end, format in _ENDS.items() if plain.endswith(end)), None)


def _by_bytes(url: str) -> str:
    """Return the format of a file whose name tells none: by its first bytes, or its first sample, if it is a shard."""
    read = ranged(*connected(url, {}))
    first = read(0, 8)
    for head, found in _HEADS.items():
        if first.startswith(head):
            return found
    for format in ("jsonl", "messagepack"):
        reader = ShardReader(url, read, {"messagepack": "msgpack"}.get(format, format))
        try:
            sample: Any = next(chain.from_iterable(reader.samples()), {})
        except DecodeError:
            continue
        if isinstance(sample, dict) and all(isinstance(name, str) for name in sample):  # else noise is MessagePack
            return format
    raise UnknownFormat(f"{url}: neither its name nor its first sample tells its format; say which one it is")


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


def _batch_rows(batch: Any) -> Iterator[dict[str, Any]]:
    """Yield the rows of a record batch, with Python's values. Tensors of a fixed shape come as arrays."""
    import pyarrow as pa

    columns = [
        column.to_numpy_ndarray()
        if isinstance(column.type, pa.FixedShapeTensorType) and len(column) and not column.null_count
        else column.to_pylist()
        for column in batch.columns
    ]
    for values in zip(*columns, strict=True):
        yield dict(zip(batch.schema.names, values, strict=True))


def _file_row(url: str) -> dict[str, Any]:
    """Return a file as a sample."""
    fs, path = connected(url, {})
    return {"path": url, "data": fs.cat_file(path)}


def _with_bytes(file: tuple[str, Any]) -> tuple[str, bytes]:
    return file[0], file[1].read()


def _arrow_count(urls: list[str]) -> int | None:
    import pyarrow as pa

    total = 0
    for url in urls:
        fs, path = connected(url, {})
        with fs.open(path, "rb") as file:
            if file.read(6) != b"ARROW1":
                return None  # a stream has no index
            file.seek(0)
            total += pa.ipc.open_file(file).count_rows()
    return total


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


_BATCHES: dict[str, Callable[[IterDataPipe[str]], IterDataPipe[Any]]] = {
    "arrow": lambda files: files.read_arrow(as_="arrow"),
    "lance": lambda files: files.read_lance(as_="arrow"),
    "parquet": lambda files: files.read_parquet(as_="arrow"),
}
_READERS: dict[str, Callable[[IterDataPipe[str]], IterDataPipe[Any]]] = {
    "arrow": lambda files: _BATCHES["arrow"](files).flatmap(_batch_rows),
    "csv": lambda files: files.flatmap(_csv_rows),
    "files": lambda files: files.map(_file_row),
    "jsonl": lambda files: files.read_jsonl(),
    "lance": lambda files: _BATCHES["lance"](files).flatmap(_batch_rows),
    "messagepack": lambda files: files.read_messagepack(),
    "npy": lambda files: files.read_npy().rows(),
    "parquet": lambda files: _BATCHES["parquet"](files).flatmap(_batch_rows),
    "tar": lambda files: files.open_files_by_fsspec("rb").load_from_tar().map(_with_bytes).webdataset(),
    "zarr": lambda files: files.read_zarr(),
}
_COUNTS: dict[str, Callable[[list[str]], int | None]] = {
    "arrow": _arrow_count,
    "files": len,
    "jsonl": _shard_count,
    "lance": lambda urls: sum(LanceData(url).dataset.count_rows() for url in urls),
    "messagepack": _shard_count,
    "npy": lambda urls: sum(rows.length for _, rows in map(npy_opener(None, None, None, {}), urls)),
    "parquet": _parquet_count,
    "zarr": lambda urls: len(IterableWrapper(urls).read_zarr()),
}
