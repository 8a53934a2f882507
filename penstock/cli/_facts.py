"""What can be told of a data set without reading its rows: its schema, how many rows and parts it has, its size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from penstock.cli._reading import csv_reader, npy_rows, table_file, zarr_rows
from penstock.cli.formats import Dataset
from penstock.files.remote import connected, ranged
from penstock.pipes._lance import LanceData
from penstock.pipes._npy_rows import NpyRows
from penstock.pipes._table_files import ArrowFile, ParquetFile
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
        with table_file(ParquetFile, url) as file:
            facts.schema = facts.schema or _fields(file.schema)
            facts.rows += file.footer.num_rows
            facts.counts["row groups"] += file.groups


def _arrow(facts: Facts, urls: list[str]) -> None:
    facts.counts["record batches"] = 0
    for url in urls:
        with table_file(ArrowFile, url) as file:
            facts.schema = facts.schema or _fields(file.schema)
            facts.counts["record batches"] += file.count()


def _lance(facts: Facts, urls: list[str]) -> None:
    found = [LanceData(url) for url in urls]
    facts.schema = _fields(found[0].dataset.schema)
    facts.counts = _several(urls) | {"fragments": sum(len(data.fragments) for data in found)}
    if len(found) == 1:
        facts.counts["version"] = found[0].version


def _zarr(facts: Facts, urls: list[str]) -> None:
    facts.rows = 0
    facts.counts = _several(urls) | dict.fromkeys(("arrays", "chunks", "spans"), 0)
    for url in urls:
        node = open_node(url, {})
        rows = zarr_rows(url, node)
        arrays = [node] if rows.names is None else [node[name] for name in rows.names]
        if not facts.schema:
            for name, array in zip(rows.kinds, arrays, strict=True):
                how = f" in chunks {list(array.chunks)}" + (f", shards {list(array.shards)}" if array.shards else "")
                facts.schema += [(each, kind + how) for each, kind in _kinds(rows, name)]
        facts.rows += rows.length
        facts.counts["arrays"] += len(arrays)
        facts.counts["chunks"] += sum(array.nchunks for array in arrays)
        facts.counts["spans"] += -(-rows.length // rows.span)


def _several(urls: list[str]) -> dict[str, int]:
    return {"data sets": len(urls)} if len(urls) > 1 else {}


def _npy(facts: Facts, urls: list[str]) -> None:
    tables = [npy_rows(url) for url in urls]
    facts.schema = [each for name in tables[0].kinds for each in _kinds(tables[0], name)]
    facts.counts["arrays"] = sum(len(table.kinds) for table in tables)


def _kinds(rows: NpyRows | ZarrRows, name: str) -> list[tuple[str, str]]:
    """Return what the column of an array is; of an array by itself that has fields, what the columns of these are."""
    dtype, shape = rows.kinds[name]
    if dtype.names is None or name in (rows.names or ()):
        return [(name or rows.name, kind_of(dtype, shape))]
    fields = [(field, *(dtype[field].subdtype or (dtype[field], ()))) for field in dtype.names]
    return [(field, kind_of(kind, (*shape, *inner))) for field, kind, inner in fields]


def _csv(facts: Facts, urls: list[str]) -> None:
    with csv_reader(urls[0]) as reader:
        facts.schema = _fields(reader.schema)


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
