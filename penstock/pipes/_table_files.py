"""Files of tables, opened: Parquet by row groups, Arrow's IPC formats by record batches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol, runtime_checkable

from penstock.core.errors import DecodeError
from penstock.files.ranged_file import RangedFile
from penstock.files.remote import connected, ranged
from penstock.pipes._chunk_check import check_chunks, chunks_of
from penstock.pipes._condition import columns_of

__all__ = ["ArrowFile", "ParquetFile", "TableFile", "TypelessFile", "Versioned", "naming"]

_Read = Callable[[int, int], bytes]
_STREAMED_BYTES = 8 << 20  # row groups above this are read piece by piece, where that takes no requests
_PIECE_BYTES = 1 << 20


class TableFile(Protocol):
    """A file of tables.

    Attributes:
        schema: of all its columns, a `pyarrow.Schema`.
        groups: how many parts it has that can be read by themselves.
        unit: what such a part is called.
    """

    groups: int
    unit: str

    @property
    def schema(self) -> Any: ...

    def rows(self, group: int) -> int | None:
        """Return how many rows a group has, None if that is known only when it is read."""
        ...

    def row_bytes(self, group: int) -> int:
        """Return about how many bytes a row of a group takes."""
        ...

    def kept(self, expression: Any) -> Collection[int]:
        """Return the groups that may have rows for which an expression holds."""
        ...

    def blocks(self, group: int, names: Sequence[str], rows: int) -> Iterator[Any]:
        """Yield record batches of a group, with these columns in this order, and at most so many rows each."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


@runtime_checkable
class TypelessFile(Protocol):
    """What a `TableFile` of text has as well: no types, and groups that are numbered by their first bytes."""

    def begin(self, first: Any, stop: int | None) -> None:
        """Take over the types of the first file, a schema, where they are known; and go no further than ``stop``."""
        ...

    def after(self, group: int) -> int:
        """Return the number of the group behind the one that was read last."""
        ...


@runtime_checkable
class Versioned(Protocol):
    """A table that changes, by versions, and in which any row of a group can be found at once.

    Attributes:
        version: the one that is read.
    """

    version: int

    def blocks_from(self, group: int, names: Sequence[str], rows: int, start: int) -> Iterator[Any]:
        """Yield what ``blocks`` does, without the first ``start`` rows that it would give."""
        ...


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Raise pyarrow's errors about bytes as DecodeErrors that begin with ``what``; the system's stay as they are."""
    import pyarrow as pa

    try:
        yield
    except pa.ArrowCancelled:
        raise
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and (error.errno is not None or type(error) is not OSError):
            raise
        reason = str(error).strip() or type(error).__name__
        raise DecodeError(f"{what}: {reason}") from error


class ParquetFile:
    """A Parquet file.

    Args:
        url: a path or URL.
        options: of the connection.
        patient: wraps what reads bytes, for trying again.
        footer: what the file's ``footer`` was when it was opened before.
        use_threads: let pyarrow decode columns in parallel.
    """

    unit = "row group"

    def __init__(
        self,
        url: str,
        options: Mapping[str, Any],
        patient: Callable[[_Read], _Read],
        footer: Any = None,
        use_threads: bool = False,
    ) -> None:
        import pyarrow.parquet as pq

        self._url = url
        self._use_threads = use_threads
        self._file, self._handle = _opened(url, options, patient)
        read = partial(pq.ParquetFile, self._handle, pre_buffer=False, page_checksum_verification=True)
        with naming(url):
            if footer is None:
                footer = read().metadata
                _check_rows(url, footer)
            large = footer.num_row_groups > 0 and footer.row_group(0).total_byte_size > _STREAMED_BYTES
            streamed = large and not isinstance(self._file, RangedFile)
            self._parquet = read(metadata=footer, buffer_size=_PIECE_BYTES if streamed else 0)
            self.schema = self._parquet.schema_arrow
        self.footer = footer
        self.groups: int = footer.num_row_groups

    def rows(self, group: int) -> int:
        return int(self.footer.row_group(group).num_rows)

    def row_bytes(self, group: int) -> int:
        found = self.footer.row_group(group)
        return int(found.total_byte_size // max(found.num_rows, 1))

    def kept(self, expression: Any) -> Collection[int]:
        import pyarrow.dataset as ds

        with naming(self._url):
            check_chunks(self.footer, range(self.groups), columns_of(expression, self.schema, self._url))
            fragment = ds.ParquetFileFormat().make_fragment(self._handle)
            return [group.id for group in fragment.subset(expression, schema=self.schema).row_groups]

    def blocks(self, group: int, names: Sequence[str], rows: int) -> Iterator[Any]:
        with naming(f"{self._url}: row group {group}"):
            if isinstance(self._file, RangedFile):
                self._file.fetch(self._ranges(group, names))
            batches = self._parquet.iter_batches(
                rows, row_groups=[group], columns=list(names), use_threads=self._use_threads
            )
        left = self.rows(group)
        while True:
            with naming(f"{self._url}: row group {group}"):
                batch = next(batches, None)
            if batch is None:
                break
            left -= batch.num_rows
            yield batch if batch.schema.names == names else batch.select(names)
        if left:
            raise DecodeError(f"{self._url}: row group {group} has {left:+d} rows less than its footer says")

    def _ranges(self, group: int, names: Sequence[str]) -> Iterator[tuple[int, int]]:
        """Yield where the columns' chunks lie in the file."""
        check_chunks(self.footer, [group], names)
        found = self.footer.row_group(group)
        for i in chunks_of(self.footer, names):
            chunk = found.column(i)
            pages = chunk.dictionary_page_offset
            start = chunk.data_page_offset if pages is None else min(pages, chunk.data_page_offset)
            yield start, start + chunk.total_compressed_size

    def close(self) -> None:
        self._handle.close()
        self._file.close()


def _check_rows(url: str, footer: Any) -> None:
    """Raise DecodeError where a footer contradicts itself: nothing in it has a checksum, and rows would be missing."""
    found = sum(footer.row_group(group).num_rows for group in range(footer.num_row_groups))
    if found != footer.num_rows:
        raise DecodeError(f"{url}: its footer says {footer.num_rows} rows, and its row groups {found}")


class ArrowFile:
    """A file of Arrow's IPC format, or of its stream format; Feather files (version 2) are of the former.

    A stream has no index: ``groups`` is a large number until its end has been seen.
    """

    unit = "record batch"
    footer = None

    def __init__(self, url: str, options: Mapping[str, Any], patient: Callable[[_Read], _Read]) -> None:
        import pyarrow as pa

        self._url = url
        self._file, self._handle = _opened(url, options, patient, mapped=True)
        self._next = 0
        self._projected: Any = None
        with naming(url):
            size = self._handle.size()
            if not size:
                raise DecodeError(f"{url} is empty: it has 0 bytes")
            self.is_stream = self._handle.read(6) != b"ARROW1"
            self._handle.seek(0)
            reader = pa.ipc.open_stream(self._handle) if self.is_stream else pa.ipc.open_file(self._handle)
            self.schema = reader.schema
            self.groups: int = sys.maxsize if self.is_stream else reader.num_record_batches
        self._reader = reader

    def rows(self, group: int) -> None:
        return None

    def row_bytes(self, group: int) -> int:
        return 1

    def kept(self, expression: Any) -> Collection[int]:
        return range(self.groups)

    def count(self) -> int:
        """Return how many record batches there are; of a stream, by reading it."""
        if self.is_stream:
            with naming(self._url):
                while self._advanced() is not None:
                    pass
        return self.groups

    def blocks(self, group: int, names: Sequence[str], rows: int) -> Iterator[Any]:
        with naming(f"{self._url}: record batch {group}"):
            if self.is_stream:
                batch = None
                while self._next <= group:
                    batch = self._advanced()
                    if batch is None:
                        return
                if batch is None:
                    raise AssertionError("a stream is read in one direction")
                batch = batch.select(names)
            else:
                batch = self._column_reader(names).get_batch(group).select(names)
            # Lengths and offsets come from the file, and a wrong one would be read past the end of memory.
            batch.validate(full=True)
        yield batch

    def _advanced(self) -> Any:
        try:
            batch = self._reader.read_next_batch()
        except StopIteration:
            self.groups = self._next
            return None
        except Exception:
            self.groups = self._next + 1  # what follows cannot be found
            self._next += 1
            raise
        self._next += 1
        return batch

    def _column_reader(self, names: Sequence[str]) -> Any:
        """Return a reader that passes over the other columns."""
        import pyarrow as pa

        if len(names) == len(self.schema.names):
            return self._reader
        if self._projected is None:
            wanted = [i for i, name in enumerate(self.schema.names) if name in names]
            self._projected = pa.ipc.open_file(self._handle, options=pa.ipc.IpcReadOptions(included_fields=wanted))
        return self._projected

    def close(self) -> None:
        self._handle.close()
        self._file.close()


def _opened(
    url: str, options: Mapping[str, Any], patient: Callable[[_Read], _Read], mapped: bool = False
) -> tuple[Any, Any]:
    """Return a file, and pyarrow's handle of it: the same where it is local."""
    import pyarrow as pa
    from fsspec.implementations.local import LocalFileSystem

    fs, path = connected(url, options)
    if type(fs) is LocalFileSystem:
        file = pa.OSFile(path)
        if mapped and file.size():
            file.close()
            file = pa.memory_map(path)
        return file, file
    size = fs.size(path)
    if size is None:
        raise DecodeError(f"{url}: its size is not known, and tables are read from their end")
    ranges = RangedFile(patient(ranged(fs, path)), size)
    return ranges, pa.PythonFile(ranges, "r")
