"""What can be told of a data set without reading its rows: its schema, how many rows and parts it has, its size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from penstock.cli.formats import Dataset
from penstock.core.errors import DecodeError
from penstock.files.remote import connected, ranged
from penstock.pipes._lance import LanceData
from penstock.pipes._npy_rows import npy_opener
from penstock.pipes._table_files import ArrowFile, ParquetFile
from penstock.pipes._zarr_column import Kept
from penstock.pipes._zarr_rows import ZarrRows
from penstock.pipes._zarr_store import open_node
from penstock.serialization.shard import ShardReader

__all__ = ["Facts", "facts_of", "type_of"]


@dataclass
class Facts:
    """What is known of a data set.

    Attributes:
        rows: how many there are; None where only reading would tell.
        size: in bytes, as it is stored.
        schema: the columns and their types; empty where only rows show them.
        counts: how many files and other parts there are.
    """

    rows: int | None
    size: int
    schema: list[tuple[str, str]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


def facts_of(found: Dataset) -> Facts:
    """Find out about a data set."""
    facts = Facts(None, sum(map(_size_of, found.urls)), counts={"files": len(found.urls)})
    if found.format in _FACTS:
        _FACTS[found.format](facts, found.urls)
    if facts.rows is None:
        facts.rows = found.count()
    return facts


def type_of(value: Any) -> str:
    """Return the type of a value in a word: of an array its dtype and shape."""
    dtype, shape = getattr(value, "dtype", None), getattr(value, "shape", None)
    if dtype is None or shape is None:
        return type(value).__name__
    return kind_of(dtype, shape)


def kind_of(dtype: Any, shape: Any) -> str:
    """Return a dtype and a shape in a word."""
    name = str(dtype).removeprefix("torch.")
    return f"{name}{list(shape)}" if len(shape) else name


def _size_of(url: str) -> int:
    fs, path = connected(url, {})
    return int(fs.du(path) or 0) if fs.isdir(path) else int(fs.size(path) or 0)


def _fields(schema: Any) -> list[tuple[str, str]]:
    return [(each.name, _arrow_type(each.type)) for each in schema]


def _arrow_type(kind: Any) -> str:
    import pyarrow as pa

    return kind_of(kind.value_type, kind.shape) if isinstance(kind, pa.FixedShapeTensorType) else str(kind)


def _parquet(facts: Facts, urls: list[str]) -> None:
    facts.rows = facts.counts["row groups"] = 0
    for url in urls:
        file = ParquetFile(url, {}, lambda read: read)
        try:
            facts.schema = facts.schema or _fields(file.schema)
            facts.rows += file.footer.num_rows
            facts.counts["row groups"] += file.groups
        finally:
            file.close()


def _arrow(facts: Facts, urls: list[str]) -> None:
    facts.counts["record batches"] = 0
    for url in urls:
        file = ArrowFile(url, {}, lambda read: read)
        try:
            facts.schema = facts.schema or _fields(file.schema)
            facts.counts["record batches"] += file.count()
        finally:
            file.close()


def _lance(facts: Facts, urls: list[str]) -> None:
    (url,) = urls
    data = LanceData(url)
    facts.schema = _fields(data.dataset.schema)
    facts.counts = {"fragments": len(data.fragments), "version": data.version}


def _zarr(facts: Facts, urls: list[str]) -> None:
    (url,) = urls
    node = open_node(url, {})
    rows = ZarrRows(url, node, None, None, Kept())
    arrays = {name: node[name] for name in rows.names} if rows.names is not None else {rows.name: node}
    facts.schema = [(name, _zarr_type(array)) for name, array in arrays.items()]
    facts.rows = rows.length
    chunks = sum(array.nchunks for array in arrays.values())
    facts.counts = {"arrays": len(arrays), "chunks": chunks, "spans": -(-rows.length // rows.span)}


def _zarr_type(array: Any) -> str:
    shards = f", shards {list(array.shards)}" if array.shards else ""
    return f"{kind_of(array.dtype, array.shape[1:])} in chunks {list(array.chunks)}{shards}"


def _npy(facts: Facts, urls: list[str]) -> None:
    opened = npy_opener(None, None, None, {})
    tables = [opened(url)[1] for url in urls]
    facts.schema = [(name, kind_of(*kind)) for name, kind in tables[0].kinds.items()]
    facts.counts["arrays"] = sum(len(table.kinds) for table in tables)


def _csv(facts: Facts, urls: list[str]) -> None:
    import pyarrow as pa
    import pyarrow.csv as pc

    fs, path = connected(urls[0], {})
    with fs.open(path, "rb", compression="infer") as file:
        try:
            facts.schema = _fields(pc.open_csv(file).schema)
        except pa.ArrowInvalid as error:
            raise DecodeError(f"{urls[0]}: {error}") from error


def _shards(facts: Facts, urls: list[str]) -> None:
    indexed = sum(ShardReader(url, ranged(*connected(url, {})), "msgpack").index() is not None for url in urls)
    facts.counts = {"shards": len(urls), "with an index": indexed}


_FACTS: dict[str, Callable[[Facts, list[str]], None]] = {
    "arrow": _arrow,
    "csv": _csv,
    "jsonl": _shards,
    "lance": _lance,
    "messagepack": _shards,
    "npy": _npy,
    "parquet": _parquet,
    "zarr": _zarr,
}
