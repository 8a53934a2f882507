"""Data sets of any known format as pipes of samples: what `penstock convert` reads."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Any

from penstock.cli._reading import BATCHES, COUNTS, EMPTY, READERS
from penstock.core.errors import DecodeError, GraphError, PenstockError
from penstock.core.pipe import IterDataPipe
from penstock.files.remote import connected, ranged
from penstock.pipes._zarr_store import is_zarr
from penstock.pipes.wrapper import IterableWrapper
from penstock.serialization.shard import ShardReader, bare

__all__ = ["FAULTS", "FORMATS", "READABLE", "Dataset", "UnknownFormat", "find", "is_folder"]

# What says that data or arguments are not as they should be. NotImplementedError is pyarrow's, of types.
FAULTS = (PenstockError, OSError, TypeError, ValueError, ArithmeticError, EOFError, NotImplementedError)

FORMATS = ("arrow", "csv", "jsonl", "lance", "messagepack", "parquet", "zarr")
READABLE = (*FORMATS, "files", "npy", "tar")
_ENDS = {
    ".arrow": "arrow",
    ".arrows": "arrow",
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
_HEADS = {
    b"PAR1": "parquet",
    b"ARROW1": "arrow",
    b"\x93NUMPY": "npy",
    b"\xff\xff\xff\xff": "arrow",
}  # the last is a stream
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
        return READERS[self.format](IterableWrapper(self.urls, deepcopy=False))

    def batches(self) -> IterDataPipe[Any] | None:
        """Return a pipe of the samples as Arrow's record batches; None where the format has no types of its own."""
        read = BATCHES.get(self.format)
        return None if read is None else read(IterableWrapper(self.urls, deepcopy=False))

    def count(self) -> int | None:
        """Return how many samples there are, None where only reading would tell."""
        return COUNTS[self.format](self.urls) if self.format in COUNTS else None

    def empty(self) -> Any:
        """Return a record batch with its columns and no rows; an empty list where only rows show them."""
        return EMPTY[self.format](self.urls[0]) if self.format in EMPTY else []


def find(url: str, format: str | None = None) -> Dataset:
    """Return what is at a URL.

    Args:
        url: a file, a folder, or a pattern with ``*``, at any place that fsspec knows.
        format: one of `READABLE`; what the names of the files, or else their first bytes, tell unless given.

    Raises:
        FileNotFoundError: there is nothing.
        GraphError: the format shows neither in the names nor in the bytes, or there are several.
    """
    if "*" in url and (folders := _folders(url)):
        return _together(url, [find(folder, format) for folder in folders])
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
        what = "there are only folders in it; say by a pattern which files to read"
        raise FileNotFoundError(f"{url}: {what if _has_folders(url) else 'nothing is there'}")
    if format is None:
        format = _only_one(url, (_by_name(name) or _by_bytes(name) for name in names))
    if format == "npy" and is_folder(url) and all(name.endswith(".npy") for name in names):
        return Dataset("npy", [url])  # a file for each column
    return Dataset(format, names)


def _together(url: str, found: list[Dataset]) -> Dataset:
    format = _only_one(url, (each.format for each in found))
    return Dataset(format, [name for each in found for name in each.urls])


def _only_one(url: str, formats: Iterable[str]) -> str:
    found = sorted(set(formats))
    if len(found) > 1:
        raise GraphError(f"{url} has files of the formats {', '.join(found)}; say by a pattern which ones to read")
    return found[0]


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


def _has_folders(url: str) -> bool:
    fs, path = connected(url, {})
    return fs.isdir(path) and any(each["type"] == "directory" for each in fs.ls(path, detail=True))


def _names(url: str) -> list[str]:
    """Return the files at a URL, in order."""
    fs, path = connected(url, {})
    if "*" in path:
        found = fs.glob(path, detail=True).values()
    elif fs.isdir(path):
        found = fs.ls(path, detail=True)
    else:
        return _full(url, [path] if fs.exists(path) else [])
    return _full(url, sorted(each["name"] for each in found if each["type"] == "file" and _is_shown(each["name"])))


def _folders(url: str) -> list[str]:
    """Return the folders that a pattern stands for, in order; none where there are files as well."""
    fs, path = connected(url, {})
    found = {name: each["type"] for name, each in fs.glob(path, detail=True).items() if _is_shown(name)}
    return [] if "file" in found.values() else _full(url, sorted(found))


def _is_shown(name: str) -> bool:
    return not os.path.basename(name.rstrip("/")).startswith((".", "_"))


def _full(url: str, names: list[str]) -> list[str]:
    """Return files' names in a file system as URLs like the one that they were found at."""
    protocol, separator, _ = url.partition("://")
    if protocol not in ("file", "local"):  # of which a path begins with a slash
        names = [name.lstrip("/") for name in names] if separator else names
    return [f"{protocol}{separator}{name}" if separator else name for name in names]


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
