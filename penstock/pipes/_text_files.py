"""Files of text as tables, by blocks of whole records: behind ``read_csv_columns`` and ``read_jsonl_columns``.

pyarrow's streaming readers cut a file where they like, and one cannot go back to such a place. So a file is read here
in blocks that end where a record does, and each is parsed by itself, with types that are known: a *group* is the offset
of its first byte, and a state that names it seeks there. How long a block is depends on where it begins, and on
nothing else.

A block that cannot be parsed ends ahead of the first record at fault. That record is the next block, and its error::

    |a record|a record|a bad one|a record|a record|      a block, as it is read
    |      good       |   bad   | the next block ...     as it is given

So a record that is skipped takes no others with it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from penstock.core.errors import DecodeError
from penstock.pipes._lines import is_damage
from penstock.pipes._record_ends import RecordEnds
from penstock.pipes._text_bytes import TextBytes

__all__ = ["TextFile", "TextForm", "as_batch", "check_block_bytes", "types_of"]

_RECORD_BYTES = 1 << 28  # a longer one is rather a quote that nobody closed
_TRIED_RECORDS = 100  # of a file, to find one that tells types
_BOM = b"\xef\xbb\xbf"


class TextForm(Protocol):
    """What text is made of: CSV, or JSON lines.

    Attributes:
        ends: finds where records end.
        has_head: whether the first record names the columns.
    """

    @property
    def ends(self) -> RecordEnds: ...

    @property
    def has_head(self) -> bool: ...

    def names(self, head: bytes) -> list[str] | None:
        """Return the names of the columns, None where each record says its own; ``head`` is the record that names."""
        ...

    def guess(self, data: bytes, names: Sequence[str] | None) -> Any:
        """Return the schema of some records, with the types that the user gave."""
        ...

    def parse(self, data: bytes, schema: Any, names: Sequence[str]) -> Any:
        """Return some columns of some records, a `pyarrow.RecordBatch`; None where there are no rows."""
        ...


class _Known:
    """What was found out of a file, for when it is opened again."""

    def __init__(self) -> None:
        self.body = 0  # where the first record begins, behind the names
        self.head_lines = 0
        self.names: list[str] | None = None
        self.schema: Any = None
        self.is_empty = False


class TextFile:
    """A file of text, whose groups are blocks of bytes: see `penstock.pipes._table_files.TableFile`.

    Args:
        url: a path or URL; its name says how it is compressed.
        options: of the connection.
        patient: wraps what reads bytes, for trying again.
        form: what the text is made of.
        block_bytes: how long a block is, but for its last record.
        footer: what the file's ``footer`` was when it was opened before.
    """

    unit = "block at byte"

    def __init__(
        self,
        url: str,
        options: Mapping[str, Any],
        patient: Callable[[Any], Any],
        form: TextForm,
        block_bytes: int,
        footer: Any = None,
    ) -> None:
        self._url = url
        self._form = form
        self._block_bytes = block_bytes
        self._bytes = TextBytes(url, options, patient)
        self._behind = self._stop = sys.maxsize
        self._is_last = False
        self.groups: int = sys.maxsize if self._bytes.size is None else self._bytes.size
        try:
            self.footer: _Known = footer or self._looked_at()
        except BaseException:
            self.close()
            raise
        self._reached = (self.footer.body, self.footer.head_lines)  # a place, and how many lines end ahead of it
        if self.footer.is_empty:
            self.groups = 0

    @property
    def schema(self) -> Any:
        known = self.footer
        if known.schema is not None:
            return known.schema
        guessed = self._guessed()
        if not known.is_empty:  # which would guess that all is null
            known.schema = guessed
        return guessed

    def begin(self, first: Any, stop: int | None) -> None:
        """Take over the types of the first file, where they are known; and go no further than ``stop``."""
        known = self.footer
        self._stop = sys.maxsize if stop is None else stop
        if known.schema is not None or first is None:
            return
        if known.names is None or known.names == first.names:
            known.schema = first
        elif set(known.names) <= set(first.names):
            known.schema = _fields(first, known.names)
        else:
            known.schema = _fields(self._guessed(), known.names, first)

    def after(self, group: int) -> int:
        """Return where the block behind ``group`` begins, which has been read."""
        return self._behind

    def rows(self, group: int) -> None:
        return None

    def row_bytes(self, group: int) -> int:
        return 1

    def kept(self, expression: Any) -> Collection[int]:
        return range(sys.maxsize)

    def blocks(self, group: int, names: Sequence[str], rows: int) -> Iterator[Any]:
        start = max(group, self.footer.body)
        self._behind = sys.maxsize  # where reading fails, nobody knows where the next record begins
        data = self._read(start)
        parse = partial(self._parsed, self.schema, names)
        batch = None
        if data:
            try:
                batch = parse(data)
            except _damage() as error:
                good, bad, found = self._parted(data, parse, error)
                if not good:
                    where = self._where(start)
                    self._pass(start, data[:bad])
                    raise DecodeError(f"{self._url}: {where}: {_reason(found)}") from found
                data = data[:good]
                batch = parse(data)
        self._pass(start, data)
        if batch is not None:
            yield batch

    def close(self) -> None:
        self._bytes.close()

    def _parsed(self, schema: Any, names: Sequence[str], data: bytes) -> Any:
        if self._is_last and self._form.ends.is_open(data):
            raise DecodeError("a quoted value is not closed")
        return self._form.parse(data, schema, names)

    def _pass(self, start: int, data: bytes) -> None:
        self._behind = start + len(data) if data else sys.maxsize
        if start == self._reached[0]:
            self._reached = (self._behind, self._reached[1] + data.count(b"\n"))

    def _where(self, start: int) -> str:
        return f"line {self._reached[1] + 1}" if start == self._reached[0] else f"byte {start}"

    def _read(self, start: int, *, blank: bool = True) -> bytes:
        """Return the block that begins at a place: whole records, at least one unless the file ends there.

        Unless it may be ``blank``, one of the records has something in it.
        """
        size = self._block_bytes
        while True:
            wanted = max(min(size, self._stop - start), 0)
            try:
                data = self._bytes.read(start, wanted)
            except Exception as error:
                if not is_damage(error):
                    raise
                raise DecodeError(f"{self._url}: behind byte {start}: {type(error).__name__}: {error}") from error
            self._is_last = len(data) < size
            if self._is_last:
                return data
            end = self._form.ends.last(data)
            if end and (blank or data[:end].strip()):
                return data[:end]
            if size >= _RECORD_BYTES:
                raise DecodeError(f"{self._url}: {self._where(start)}: no record ends within {size} bytes")
            size *= 2

    def _looked_at(self) -> _Known:
        """Find the names of the columns, and whether there are rows."""
        known = _Known()
        self._reached = (0, 0)
        data = self._read(0, blank=False)
        if not data.strip():
            raise DecodeError(f"{self._url} is empty: it has {len(data)} bytes, and no record")
        begun = known.body = len(_BOM) if data.startswith(_BOM) else 0
        head = b""
        if self._form.has_head:
            records = data[begun:]
            end = next(end for end in [*self._form.ends.all(records).tolist(), len(records)] if records[:end].strip())
            head, known.body = records[:end], begun + end
        try:
            known.names = self._form.names(head)
        except _damage() as error:
            raise DecodeError(f"{self._url}: the names of its columns: {_reason(error)}") from error
        known.head_lines = data[: known.body].count(b"\n")
        known.is_empty = not self._read(known.body, blank=False).strip()
        return known

    def _guessed(self) -> Any:
        """Return the schema of the first block: of its records up to the first that does not fit to those ahead."""
        known = self.footer
        data = self._read(known.body, blank=False)
        guess = partial(self._form.guess, names=known.names)
        for _ in range(_TRIED_RECORDS):
            try:
                return guess(data)
            except _damage() as error:
                good, bad, found = self._parted(data, guess, error, ahead=True)
                if good:
                    return guess(data[:good])
                if not (data := data[bad:]).strip():
                    break
        raise DecodeError(f"{self._url}: {self._where(known.body)}: {_reason(found)}") from found

    def _parted(
        self, data: bytes, attempt: Callable[[bytes], Any], error: Exception, *, ahead: bool = False
    ) -> tuple[int, int, Exception]:
        """Return how many bytes are of records ahead of the first one at fault, how many with it, and its error.

        Twice as many records are tried each time, then half as many: that takes as long as some times parsing those
        ahead. With ``ahead`` each attempt has all records from the first one on.
        """
        ends = [0, *self._form.ends.all(data).tolist()]
        if ends[-1] < len(data):
            ends.append(len(data))

        def failed(low: int, high: int) -> Exception | None:
            try:
                attempt(data[0 if ahead else ends[low] : ends[high]])
            except _damage() as found:
                return found
            return None

        low, high, count = 0, 1, len(ends) - 1
        while failed(low, high) is None:
            if high == count:
                return 0, len(data), error  # each part for itself is fine
            low, high = high, min(2 * high, count)
        while high - low > 1:
            middle = (low + high) // 2
            if failed(low, middle) is None:
                low = middle
            else:
                high = middle
        return ends[low], ends[high], failed(low, high) or error


def types_of(schema: Any) -> dict[str, Any]:
    """Return the types that a user gives, by column: a `pyarrow.Schema`, or a dict. TypeError for anything else."""
    if schema is None:
        return {}
    found = dict(zip(schema.names, schema.types, strict=True)) if hasattr(schema, "names") else schema
    if not isinstance(found, Mapping) or not all(hasattr(kind, "num_fields") for kind in found.values()):
        raise TypeError(f"schema must be a pyarrow.Schema, or a dict of pyarrow's types by column, got {schema!r:.200}")
    return dict(found)


def check_block_bytes(block_bytes: int) -> int:
    """Return the size of blocks. ValueError for one below 1."""
    if block_bytes < 1:
        raise ValueError(f"block_bytes must be at least 1, got {block_bytes}")
    return block_bytes


def as_batch(table: Any, names: Sequence[str]) -> Any:
    """Return a table's columns as one record batch, None where it has no rows."""
    batches = table.select(names).combine_chunks().to_batches()
    return batches[0] if batches and batches[0].num_rows else None


def _fields(schema: Any, names: Sequence[str], first: Any = None) -> Any:
    """Return the fields of some columns: of the first schema that has one of the name."""
    import pyarrow as pa

    def field(name: str) -> Any:
        there = schema if first is None or name not in first.names else first
        return there.field(there.names.index(name))

    return pa.schema([field(name) for name in names])


def _damage() -> tuple[type[Exception], ...]:
    """Return how pyarrow says that text is not what it should be."""
    import pyarrow as pa

    return pa.ArrowInvalid, UnicodeDecodeError, DecodeError


def _reason(error: Exception) -> str:
    """Return what pyarrow says of a record; the number that it has in what was parsed would mislead."""
    said = re.sub(r"Row #\d+: | in row \d+", "", str(error).strip())
    if re.search("conversion error|changed from|couldn't parse", said):
        said += "; its type is that of the first block of the first file, unless `schema` gives another"
    if "unexpected field" in said:
        said += ": a key that the first block of the first file has not; name `columns`, or give its type in `schema`"
    return said
