"""How many machines write a folder of shards, so that nobody ever reads half of it.

::

    url/_writing-<id>/part-00000.msgpack.<id>     tasks write here, each attempt under a name of its own
    url/part-00000.msgpack                        the driver moves what the attempts that count have written
    url/_shards.json                              and then, last, says what there is

An attempt that fails, or that is overtaken by another one (speculative execution), leaves nothing that counts: only the
driver knows which attempts do. A driver that dies leaves no ``_shards.json``, so nobody takes the folder for complete.
Rejected: tasks that rename their own files. Of two attempts at a task the later one would win, and where the samples
are not the same each time, it need not be the one whose samples were counted.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import IO, Any

from penstock.files.remote import connected
from penstock.files.saving import save
from penstock.integrations._shards import FORMATS, MANIFEST, SUCCESS, Shard, is_hidden, manifest, name_of
from penstock.serialization.formats import FORMATS as ENCODED

__all__ = ["Staging", "Written", "staged"]

_ROW_GROUP = 4096  # rows; as many are read again to restore a place in a Parquet file
_MOVES = 16  # files that are renamed at a time: on an object store each is a request


@dataclass(frozen=True)
class Written:
    """A shard that an attempt has written, and where."""

    shard: Shard
    path: str


@dataclass(frozen=True)
class Staging:
    """Where tasks write. It travels to them."""

    fs: Any
    folder: str
    format: str
    samples_per_shard: int | None = None

    def write(self, index: int, samples: Iterable[Any]) -> list[Written]:
        """Write the samples of one task: a shard, or one of each so many samples. Without samples there is none."""
        written: list[Written] = []
        it = iter(samples)
        rest = None if self.samples_per_shard is None else self.samples_per_shard - 1
        try:
            while head := list(islice(it, 1)):
                number = "" if rest is None else f"-{len(written):05d}"
                name = f"part-{index:05d}{number}{FORMATS[self.format][0]}"
                written.append(self._write(name, chain(head, islice(it, rest))))
        except BaseException:
            for each in written:
                self.fs.rm(each.path)
            raise
        return written

    def _write(self, name: str, samples: Iterator[Any]) -> Written:
        path = f"{self.folder}/{name}.{uuid.uuid4().hex}"
        try:
            with self.fs.open(path, "wb") as file:
                number = _WRITERS[self.format](file, samples)
        except BaseException:
            if self.fs.exists(path):
                self.fs.rm(path)
            raise
        return Written(Shard(name, number, self.fs.size(path)), path)


@contextmanager
def staged(
    url: str, format: str, samples_per_shard: int | None, *, overwrite: bool
) -> Iterator[tuple[Staging, Callable[[list[Written]], list[Shard]]]]:
    """Give the place where tasks write, and the function by which what they have written becomes the folder.

    Raises:
        FileExistsError: there is something in the folder.
    """
    fs, root = connected(url, {})
    root = root.rstrip("/")
    _check_free(fs, root, url, overwrite)
    folder = f"{root}/_writing-{uuid.uuid4().hex}"
    fs.makedirs(folder, exist_ok=True)
    try:
        yield Staging(fs, folder, format, samples_per_shard), partial(_publish, fs, root, format)
    finally:
        if fs.exists(folder):  # an object store has no folders that are empty
            fs.rm(folder, recursive=True)


def _names(fs: Any, root: str) -> list[str]:
    fs.invalidate_cache(root)
    if not fs.exists(root):
        return []
    return [name_of(entry) for entry in fs.ls(root, detail=True)]


def _check_free(fs: Any, root: str, url: str, overwrite: bool) -> None:
    found = [name for name in _names(fs, root) if name in (MANIFEST, SUCCESS) or not is_hidden(name)]
    if found and not overwrite:
        raise FileExistsError(f"{url} has {len(found)} files already, {min(found)!r} among them; overwrite=True")
    others = [name for name in found if not is_hidden(name) and not name.startswith("part-")]
    if others:
        raise FileExistsError(f"{url} has files that are no shards, {min(others)!r} among them; they would be mixed")


def _publish(fs: Any, root: str, format: str, written: list[Written]) -> list[Shard]:
    """Put in place what was written, and say so last."""
    old = [name for name in _names(fs, root) if name in (MANIFEST, SUCCESS) or name.startswith("part-")]
    for name in sorted(old, key=lambda name: not name.startswith("_")):  # what says that all is well goes first
        fs.rm(f"{root}/{name}")
    with ThreadPoolExecutor(_MOVES) as pool:
        list(pool.map(lambda each: fs.mv(each.path, f"{root}/{each.shard.name}"), written))
    shards = [each.shard for each in written]
    save(f"{root}/{MANIFEST}", manifest(format, shards), "wb", fs.open, fs.mv, fs.rm)
    return shards


def _write_msgpack(file: IO[bytes], samples: Iterator[Any]) -> int:
    return _write_each(file, samples, ENCODED["msgpack"].encoder(alone=True))


def _write_jsonl(file: IO[bytes], samples: Iterator[Any]) -> int:
    encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_no_json).encode
    return _write_each(file, samples, lambda sample: encode(sample).encode() + b"\n")


def _write_each(file: IO[bytes], samples: Iterator[Any], encode: Callable[[Any], bytes]) -> int:
    number = 0
    for sample in samples:
        try:
            data = encode(sample)
        except Exception as error:
            error.add_note(f"penstock: writing sample {number} of a shard: {sample!r:.200}")
            raise
        file.write(data)
        number += 1
    return number


def _no_json(value: Any) -> Any:
    kind = type(value)
    raise TypeError(f"JSON has no {kind.__module__}.{kind.__qualname__}; format='msgpack' keeps arrays and bytes")


def _write_parquet(file: IO[bytes], samples: Iterator[Any]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = list(samples)  # the types of the columns are those of all rows
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or not row:
            raise TypeError(f"a row of a table is a dict with columns, got {row!r:.100}")
        if row.keys() != rows[0].keys():  # pyarrow would drop the others in silence
            raise ValueError(f"row {number} has the columns {sorted(row)}, and the first row {sorted(rows[0])}")
    pq.write_table(pa.Table.from_pylist(rows), file, row_group_size=_ROW_GROUP)
    return len(rows)


_WRITERS: dict[str, Callable[[IO[bytes], Iterator[Any]], int]] = {
    "msgpack": _write_msgpack,
    "jsonl": _write_jsonl,
    "parquet": _write_parquet,
}
