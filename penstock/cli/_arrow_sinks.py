"""What `penstock convert` writes by way of Arrow: Parquet and IPC files, a shard each, and Lance data sets.

All shards have the columns and types of the first one, as readers expect of a table. Batches come with their types;
those of samples are found out by looking at a shard's values.
"""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

from penstock.cli._samples import columns_of
from penstock.core.errors import MissingExtra
from penstock.files.remote import connected
from penstock.files.saving import put
from penstock.pipes._table_files import ArrowFile, ParquetFile, naming
from penstock.serialization.to_arrow import batch_of_columns, stacked

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["LanceDataSet", "arrow_files", "parquet_files"]


class _ArrowSink(ABC):
    columnar = True

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._schema: pa.Schema | None = None

    def write(self, number: int, first: int, samples: Any) -> None:
        import pyarrow as pa

        if isinstance(samples, list):
            samples = batch_of_columns({name: stacked(values) for name, values in columns_of(samples).items()})
        table = pa.Table.from_batches([samples])
        if number and self._schema is None:
            self._schema = self._written()
        if number and self._schema is not None:
            table = _aligned(table, self._schema, number)
        self._put(number, first, table)
        self._schema = table.schema

    @abstractmethod
    def _written(self) -> pa.Schema:
        """Return the schema of the first shard, which an earlier run has written."""

    @abstractmethod
    def _put(self, number: int, first: int, table: pa.Table) -> None:
        """Write a shard."""


class TableFiles(_ArrowSink):
    """A folder of files of tables, one for each shard.

    Args:
        end: how their names end.
        read: opens one.
        to_bytes: makes one.
        url: the folder.
    """

    def __init__(
        self, end: str, read: Callable[..., ParquetFile | ArrowFile], to_bytes: Callable[[pa.Table], bytes], url: str
    ) -> None:
        super().__init__(url)
        self._end, self._read, self._to_bytes = end, read, to_bytes

    def _written(self) -> pa.Schema:
        with closing(self._read(self._part(0), {}, lambda read: read)) as file:
            return file.schema

    def _put(self, number: int, first: int, table: pa.Table) -> None:
        put(*connected(self._part(number), {}), self._to_bytes(table))

    def _part(self, number: int) -> str:
        return f"{self._url}/part-{number:05d}{self._end}"


def _parquet_bytes(table: pa.Table) -> bytes:
    import pyarrow.parquet as pq

    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()


def _arrow_bytes(table: pa.Table) -> bytes:
    import pyarrow as pa

    file = io.BytesIO()
    with pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    return file.getvalue()


parquet_files = partial(TableFiles, ".parquet", ParquetFile, _parquet_bytes)
arrow_files = partial(TableFiles, ".arrow", ArrowFile, _arrow_bytes)


class LanceDataSet(_ArrowSink):
    """A Lance data set, with a fragment and a version for each shard."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        try:
            import lance
        except ImportError:
            raise MissingExtra("writing Lance data sets needs pylance: pip install 'penstock[lance]'") from None
        self._lance = lance

    def _written(self) -> pa.Schema:
        with naming(self._url):
            schema: pa.Schema = self._lance.dataset(self._url).schema
        return schema

    def _put(self, number: int, first: int, table: pa.Table) -> None:
        with naming(self._url):
            mode = self._back_to(first) if number else self._anew()
            self._lance.write_dataset(table, self._url, mode=mode)

    def _anew(self) -> str:
        fs, folder = connected(self._url, {})
        return "overwrite" if fs.exists(f"{folder}/_versions") else "create"

    def _back_to(self, rows: int) -> str:
        """Make the version with so many rows the latest one: a shard may have been written and not been noted."""
        data = self._lance.dataset(self._url)
        if data.count_rows() == rows:
            return "append"
        for version in sorted((each["version"] for each in data.versions()), reverse=True):
            earlier = data.checkout_version(version)
            if earlier.count_rows() == rows:
                earlier.restore()
                return "append"
        raise ValueError(
            f"{self._url} has {data.count_rows()} rows, {rows} were noted, and no version has as many: it was written "
            "by others; --restart begins anew"
        )


def _aligned(table: pa.Table, schema: pa.Schema, number: int) -> pa.Table:
    """Return a table with the columns and types of the first shard. TypeError where a value would be lost."""
    import pyarrow as pa

    if sorted(table.schema.names) != sorted(schema.names):
        raise TypeError(
            f"shard {number} has the columns {table.schema.names}, and the first one has {schema.names}, as all must"
        )
    columns = []
    for field in schema:
        column = table.column(field.name)
        try:
            columns.append(column if column.type == field.type else column.cast(field.type))
        except (pa.ArrowException, ValueError) as error:
            raise TypeError(
                f"column {field.name!r} is {column.type} in shard {number}, and {field.type} in the first one, which "
                f"cannot hold it ({error}); a larger --shard-samples lets the first one show more of its values"
            ) from error
    return pa.Table.from_arrays(columns, schema=schema)
