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
from typing import TYPE_CHECKING, Any, Final

from penstock.cli._aligned import aligned
from penstock.cli._samples import columns_of
from penstock.core.errors import MissingExtra
from penstock.files.remote import connected
from penstock.files.saving import put
from penstock.pipes._lance import naming_lance, said
from penstock.pipes._table_files import ArrowFile, ParquetFile
from penstock.serialization.to_arrow import batch_of_columns, stacked

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["LanceDataSet", "arrow_files", "parquet_files"]

_LANCE_BYTES: Final = 16  # the size of Rust's widest numbers, which decimals and views of text are to it


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
            table = aligned(table, self._schema, number)
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
        part = self._part(number)
        put(*connected(part, {}), self._encoded(table, part))

    def _encoded(self, table: pa.Table, part: str) -> bytes:
        import pyarrow as pa

        try:
            return self._to_bytes(table)
        except pa.ArrowException as error:
            if table.num_columns == 1:
                raise _refused(part, table.schema.field(0), error) from error
            for i in range(table.num_columns):  # to find the one that it is about
                self._encoded(table.select([i]), part)
            raise

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
        with naming_lance(self._url):
            schema: pa.Schema = self._lance.dataset(self._url).schema
        return schema

    def _put(self, number: int, first: int, table: pa.Table) -> None:
        if not number:
            self._check(table.schema)
        mode = self._back_to(first) if number else self._anew()
        with naming_lance(self._url):
            self._lance.write_dataset(_in_place(table), self._url, mode=mode)

    def _check(self, schema: pa.Schema) -> None:
        import pyarrow as pa
        from lance.schema import LanceSchema

        for field in schema:
            try:
                LanceSchema.from_pyarrow(pa.schema([field]))
            except ValueError as error:
                raise _refused(self._url, field, error) from error

    def _anew(self) -> str:
        fs, folder = connected(self._url, {})
        return "overwrite" if fs.exists(f"{folder}/_versions") else "create"

    def _back_to(self, rows: int) -> str:
        """Make the version with so many rows the latest one: a shard may have been written and not been noted."""
        with naming_lance(self._url):
            data = self._lance.dataset(self._url)
            there = data.count_rows()
            if there == rows:
                return "append"
            for version in sorted((each["version"] for each in data.versions()), reverse=True):
                earlier = data.checkout_version(version)
                if earlier.count_rows() == rows:
                    earlier.restore()
                    return "append"
        raise ValueError(
            f"{self._url} has {there} rows, {rows} were noted, and no version has as many: it was written "
            "by others; --restart begins anew"
        )


def _refused(target: str, field: pa.Field, error: Exception) -> TypeError:
    return TypeError(f"{target}: column {field.name!r} of {field.type} cannot be written: {said(error)}")


def _in_place(table: pa.Table) -> pa.Table:
    """Return a table whose memory lies as Lance needs it, which panics else: files of Arrow's keep to 8 bytes only."""
    import pyarrow as pa

    def lies_well(chunk: pa.Array) -> bool:
        return all(buffer is None or buffer.address % _LANCE_BYTES == 0 for buffer in chunk.buffers())

    columns = [
        pa.chunked_array(
            [chunk if lies_well(chunk) else pa.concat_arrays([chunk, chunk.slice(0, 0)]) for chunk in column.chunks],
            column.type,
        )
        for column in table.columns
    ]
    return pa.Table.from_arrays(columns, schema=table.schema)
