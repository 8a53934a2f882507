"""How the files of each format are read: as samples, as batches, and how many samples there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from penstock.core.errors import DecodeError
from penstock.core.pipe import IterDataPipe
from penstock.files.remote import connected, ranged
from penstock.pipes._batches import as_columns
from penstock.pipes._lance import LanceData, naming_lance
from penstock.pipes._lines import is_damage
from penstock.pipes._npy_rows import NpyRows, npy_opener
from penstock.pipes._table_files import ArrowFile, ParquetFile, naming
from penstock.pipes._zarr_column import Kept
from penstock.pipes._zarr_rows import ZarrRows
from penstock.pipes._zarr_store import open_node
from penstock.serialization.columns import Conversion
from penstock.serialization.shard import ShardReader
from penstock.serialization.to_arrow import batch_of_columns

__all__ = ["BATCHES", "COUNTS", "EMPTY", "READERS", "csv_reader", "npy_rows", "table_file", "zarr_rows"]


def table_file(kind: type[ArrowFile] | type[ParquetFile], url: str) -> Any:
    """Return an opened file as a context."""
    return closing(kind(url, {}, lambda read: read))


def npy_rows(url: str) -> NpyRows:
    """Return the rows of a file, or a folder, of arrays."""
    return npy_opener(None, None, None, {})(url)[1]


def zarr_rows(url: str, node: Any = None) -> ZarrRows:
    """Return the rows of an array or a group."""
    return ZarrRows(url, open_node(url, {}) if node is None else node, None, None, Kept())


@contextmanager
def csv_reader(url: str) -> Iterator[Any]:
    """Open a CSV file with the types that pyarrow finds in its first megabyte. Bad bytes are errors that name it."""
    import pyarrow.csv as pc

    fs, path = connected(url, {})
    with naming(url), fs.open(path, "rb", compression="infer") as file:
        try:
            yield pc.open_csv(file, parse_options=pc.ParseOptions(newlines_in_values=True))
        except Exception as error:
            if isinstance(error, DecodeError) or not is_damage(error):
                raise
            raise DecodeError(f"{url}: {error}") from error


def _csv_rows(url: str) -> Iterator[dict[str, Any]]:
    with csv_reader(url) as reader:
        for batch in reader:
            yield from batch.to_pylist()


def _batch_rows(batch: Any) -> Iterator[dict[str, Any]]:
    """Yield the rows of a record batch, with Python's values. Tensors of a fixed shape come as arrays."""
    import pyarrow as pa

    columns = [
        _tensors(column, name) if isinstance(column.type, pa.FixedShapeTensorType) else column.to_pylist()
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    ]
    for values in zip(*columns, strict=True):
        yield dict(zip(batch.schema.names, values, strict=True))


def _tensors(column: Any, name: str) -> list[Any]:
    """Return tensors as arrays, and None where there is none."""
    import pyarrow as pa

    if column.storage.flatten().null_count:
        raise TypeError(f"column {name!r} has tensors with nulls in them, which arrays have no word for")
    arrays = iter(Conversion().to_numpy(pa.record_batch([column.drop_null()], [name]))[name])
    return [next(arrays) if there else None for there in column.is_valid().to_pylist()]


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
        with naming(url), fs.open(path, "rb") as file:
            if file.read(6) != b"ARROW1":
                return None  # a stream has no index
            file.seek(0)
            total += pa.ipc.open_file(file).count_rows()
    return total


def _parquet_count(urls: list[str]) -> int:
    total = 0
    for url in urls:
        with table_file(ParquetFile, url) as file:
            total += file.footer.num_rows
    return total


def _lance_count(urls: list[str]) -> int:
    total = 0
    for url in urls:
        with naming_lance(url):
            total += LanceData(url).dataset.count_rows()
    return total


def _shard_count(urls: list[str]) -> int | None:
    total = 0
    for url in urls:
        index = ShardReader(url, ranged(*connected(url, {})), "msgpack").index()
        if index is None:
            return None
        total += index.samples
    return total


def _without_rows(schema: Any) -> Any:
    import pyarrow as pa

    columns = [column.combine_chunks() for column in schema.empty_table().columns]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _table_without_rows(kind: type[ArrowFile] | type[ParquetFile], url: str) -> Any:
    with table_file(kind, url) as file:
        return _without_rows(file.schema)


def _csv_without_rows(url: str) -> Any:
    with csv_reader(url) as reader:
        return _without_rows(reader.schema)


def _arrays_without_rows(rows: NpyRows | ZarrRows) -> Any:
    return batch_of_columns(as_columns(rows.read(0, 0), rows.name))


BATCHES: dict[str, Callable[[IterDataPipe[str]], IterDataPipe[Any]]] = {
    "arrow": lambda files: files.read_arrow(as_="arrow"),
    "lance": lambda files: files.read_lance(as_="arrow"),
    "parquet": lambda files: files.read_parquet(as_="arrow"),
}
READERS: dict[str, Callable[[IterDataPipe[str]], IterDataPipe[Any]]] = {
    "arrow": lambda files: BATCHES["arrow"](files).flatmap(_batch_rows),
    "csv": lambda files: files.flatmap(_csv_rows),
    "files": lambda files: files.map(_file_row),
    "jsonl": lambda files: files.read_jsonl(),
    "lance": lambda files: BATCHES["lance"](files).flatmap(_batch_rows),
    "messagepack": lambda files: files.read_messagepack(),
    "npy": lambda files: files.read_npy().rows(),
    "parquet": lambda files: BATCHES["parquet"](files).flatmap(_batch_rows),
    "tar": lambda files: files.open_files_by_fsspec("rb").load_from_tar().map(_with_bytes).webdataset(),
    "zarr": lambda files: files.read_zarr(as_="numpy").rows(),
}
COUNTS: dict[str, Callable[[list[str]], int | None]] = {
    "arrow": _arrow_count,
    "files": len,
    "jsonl": _shard_count,
    "lance": _lance_count,
    "messagepack": _shard_count,
    "npy": lambda urls: sum(npy_rows(url).length for url in urls),
    "parquet": _parquet_count,
    "zarr": lambda urls: sum(zarr_rows(url).length for url in urls),
}
EMPTY: dict[str, Callable[[str], Any]] = {  # a record batch with the columns of a file, and no rows
    "arrow": lambda url: _table_without_rows(ArrowFile, url),
    "csv": _csv_without_rows,
    "lance": lambda url: _without_rows(LanceData(url).dataset.schema),
    "npy": lambda url: _arrays_without_rows(npy_rows(url)),
    "parquet": lambda url: _table_without_rows(ParquetFile, url),
    "zarr": lambda url: _arrays_without_rows(zarr_rows(url)),
}
