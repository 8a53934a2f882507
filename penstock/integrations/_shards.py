"""A folder of shards: what it says of itself, and how it is read. Spark is not needed for that."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from penstock.core.errors import DecodeError, GraphError
from penstock.core.pipe import IterDataPipe
from penstock.files.remote import connected
from penstock.pipes.lister import FileLister
from penstock.serialization.arrays import decode_array

__all__ = [
    "FORMATS",
    "MANIFEST",
    "SUCCESS",
    "Shard",
    "check_format",
    "is_hidden",
    "manifest",
    "name_of",
    "read_shards",
    "shard_files",
]

MANIFEST = "_shards.json"
SUCCESS = "_SUCCESS"  # Spark's own
# The endings of a format's files; ours is the first, and the others are what Spark writes.
FORMATS = {"msgpack": (".msgpack",), "jsonl": (".jsonl", ".json"), "parquet": (".parquet",)}
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
_VERSION = 1


@dataclass(frozen=True)
class Shard:
    """One file of samples.

    Attributes:
        name: of the file, in its folder.
        samples: how many are in it.
        size_bytes: of the file.
    """

    name: str
    samples: int
    size_bytes: int


def shard_files(url: str, *, format: str = "msgpack") -> IterDataPipe[str]:
    """Return a pipe of a folder's shards, in order: what `write_shards` wrote, or a table that Spark wrote.

    What the folder should have is compared with what it has, when the pipe runs; files whose names begin with ``_`` or
    ``.`` are passed over. Shuffle and shard here, and read behind it::

        read_shards(shard_files(url).shuffle().sharding_filter())

    Args:
        url: the folder: a local path, or a URL that fsspec knows.
        format: ``msgpack``, ``jsonl`` or ``parquet``.

    Raises:
        ValueError: no such format.
        FileNotFoundError: (when run) there is no such folder, or nobody has said that it is complete.
        DecodeError: (when run) a shard is missing, or has another size than it had; or there are others.
        GraphError: (when run) the folder is in another format, or has folders.
    """
    return _ShardLister(url, format)


def read_shards(source: str | IterDataPipe[str], *, format: str = "msgpack") -> IterDataPipe[Any]:
    r"""Return a pipe of the samples in shards, or of the rows of a table, as dicts.

    Args:
        source: a folder (see `shard_files`), or a pipe of the paths of shards.
        format: ``msgpack``, ``jsonl`` or ``parquet``.

    Raises:
        ValueError: no such format.
        DecodeError: (when run) names the file, and the place in it, that cannot be read.
        GraphError: (when run) a path is one of another format.

    State: the place in the file: a byte, or a row and its row group. Restoring seeks there.

    Example:
        >>> import os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "part-00000.jsonl")
        >>> with open(path, "w") as file:
        ...     _ = file.write('{"x": 1}\n{"x": 2}\n')
        >>> from penstock import IterableWrapper
        >>> list(read_shards(IterableWrapper([path]), format="jsonl"))
        [{'x': 1}, {'x': 2}]
    """
    files = source if isinstance(source, IterDataPipe) else shard_files(source, format=format)
    files = files.map(partial(_of_format, check_format(format)))
    if format == "parquet":
        return files.load_parquet_as_df().flatmap(_rows)
    opened = files.open_files("rb")
    return opened.parse_jsonl() if format == "jsonl" else opened.parse_msgpack(object_hook=decode_array)


class _ShardLister(FileLister):
    """Lists the shards of a folder that is complete."""

    def __init__(self, url: str, format: str) -> None:
        super().__init__(url)
        self.format = check_format(format)

    def _paths(self, root: str) -> Iterator[str]:
        fs, folder = connected(root, {})
        entries = {name_of(entry): entry for entry in fs.ls(folder, detail=True)}
        files = {name: entry for name, entry in entries.items() if not is_hidden(name)}
        said = read_manifest(fs, folder.rstrip("/"))
        if said is not None:
            _check_shards(root, said[1], files)
            names = [shard.name for shard in said[1]]
        elif SUCCESS in entries:
            names = sorted(files)
        else:
            raise FileNotFoundError(
                f"{root} has neither _shards.json nor _SUCCESS: nobody has said that all of it is there. For files of "
                "any other origin, read_shards takes a pipe of their paths"
            )
        if folders := [name for name, entry in files.items() if entry["type"] == "directory"]:
            raise GraphError(
                f"{root} has the folder {min(folders)!r}: a table with partitions has columns in its folders' names; "
                "write it to shards: write_shards(session.read.parquet(...), ...)"
            )
        protocol, separator, _ = root.partition("://")
        for name in names:
            path = files[name]["name"]
            yield _of_format(self.format, f"{protocol}://{path}" if separator else path)


def _check_shards(root: str, shards: list[Shard], files: dict[str, Any]) -> None:
    for shard in shards:
        if shard.name not in files:
            raise DecodeError(f"{root}: {shard.name} is missing, with {shard.samples} samples, by _shards.json")
        if (size := files[shard.name]["size"]) != shard.size_bytes:
            raise DecodeError(f"{root}: {shard.name} has {size} bytes, and {shard.size_bytes} by _shards.json")
    if others := files.keys() - {shard.name for shard in shards}:
        raise DecodeError(f"{root}: {min(others)} is there, and not in _shards.json")


def _of_format(format: str, path: str) -> str:
    """Return a path. GraphError if it is one of another format."""
    found = format_of(path)
    if found is not None and found != format:
        raise GraphError(f"{path} is to be read by format={found!r}, got {format!r}")
    return path


def _rows(table: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = table.to_pylist(maps_as_pydicts="strict")
    return rows


def check_format(format: str) -> str:
    """Return a format. ValueError if there is none such."""
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    return format


def is_hidden(name: str) -> bool:
    """Whether a name is none of a shard's, as Spark has it: ``_SUCCESS``, ``.part-00000.crc``."""
    return name.startswith(("_", "."))


def format_of(name: str) -> str | None:
    """Return the format that a file's name tells, None for none."""
    bare = name.lower()
    for ending in _COMPRESSED:
        bare = bare.removesuffix(ending)
    return next((format for format, endings in FORMATS.items() if bare.endswith(endings)), None)


def read_manifest(fs: Any, folder: str) -> tuple[str, list[Shard]] | None:
    """Return the format and the shards that a folder should have, None if nobody has said so."""
    try:
        data = fs.cat_file(f"{folder}/{MANIFEST}")
    except FileNotFoundError:
        return None
    try:
        said = json.loads(data)
        if said["version"] != _VERSION:
            raise DecodeError(f"{folder}/{MANIFEST} has version {said['version']}, and {_VERSION} is known here")
        return said["format"], [Shard(**shard) for shard in said["shards"]]
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, DecodeError):
            raise
        raise DecodeError(f"{folder}/{MANIFEST} cannot be read: {error!r}") from error


def manifest(format: str, shards: list[Shard]) -> bytes:
    """Return what `MANIFEST` says."""
    samples = sum(shard.samples for shard in shards)
    said = {"version": _VERSION, "format": format, "samples": samples, "shards": [asdict(shard) for shard in shards]}
    return json.dumps(said, indent=1).encode()


def name_of(entry: dict[str, Any]) -> str:
    """Return the name of an entry of a folder's listing."""
    return str(entry["name"]).rstrip("/").rpartition("/")[2]
