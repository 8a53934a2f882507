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

import sys
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from penstock.core.errors import DecodeError
from penstock.pipes._lines import is_damage
from penstock.pipes._record_ends import count
from penstock.pipes._text_bytes import TextBytes
from penstock.pipes._text_faults import bounds_of, damage, first_fault, reason
from penstock.pipes._text_forms import TextForm, fields_of

__all__ = ["TextFile"]

_RECORD_BYTES = 1 << 28  # a longer one is rather a quote that nobody closed
_TRIED_RECORDS = 20  # that are left out of a block, so that the others tell types
_BOM = b"\xef\xbb\xbf"


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
        check: raises DecodeError for a record batch with a record that may not be given.
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
        check: Callable[[Any], None],
        block_bytes: int,
        footer: Any = None,
    ) -> None:
        self._url = url
        self._form = form
        self._check = check
        self._block_bytes = block_bytes
        self._bytes = TextBytes(url, options, patient)
        self._behind = self._stop = sys.maxsize
        self._is_last = False
        self._troubled: tuple[int, bytes, list[int]] = (0, b"", [])  # a block with a fault: its place, and its records
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
            known.schema = fields_of(first, known.names)
        else:
            known.schema = fields_of(self._guessed(), known.names, first)

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
        parse = partial(self._parsed, self.schema, names)
        batch = None
        if not (data := self._ahead_of_fault(start, parse)):
            data = self._read(start)
            try:
                batch = parse(data) if data else None
            except damage():
                self._troubled = (start, data, bounds_of(self._form.ends, data))
                data = self._ahead_of_fault(start, parse) or data
        where = self._where(start)
        self._pass(start, data)
        if batch is None and data:
            try:
                batch = parse(data)
            except damage() as error:
                raise DecodeError(f"{self._url}: {where}: {reason(error)}") from error
        if batch is not None:
            yield batch

    def close(self) -> None:
        self._bytes.close()

    def _ahead_of_fault(self, start: int, parse: Callable[[bytes], Any]) -> bytes:
        """Return the records ahead of the next one at fault, or that one; nothing where none is known of.

        It is looked for in the block that could not be parsed, and not again in each that begins behind a fault.
        """
        base, data, bounds = self._troubled
        if not base <= start < base + len(data):
            return b""
        first = bisect_left(bounds, start - base)
        at = first_fault(data, bounds, first, parse)
        if at is None:
            self._troubled = (0, b"", [])
            return b""
        return data[bounds[first] : bounds[max(at, first + 1)]]

    def _parsed(self, schema: Any, names: Sequence[str], data: bytes) -> Any:
        if self._is_last and self._form.ends.is_open(data):
            raise DecodeError("a quoted value is not closed")
        batch = self._form.parse(data, schema, names)
        if batch is not None:
            self._check(batch)
        return batch

    def _pass(self, start: int, data: bytes) -> None:
        self._behind = start + len(data) if data else sys.maxsize
        if start == self._reached[0]:
            self._reached = (self._behind, self._reached[1] + count(data, b"\n"))

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
            if end and (blank or not self._is_blank(start, data[:end])):
                return data[:end]
            if size >= _RECORD_BYTES:
                raise DecodeError(f"{self._url}: {self._where(start)}: no record ends within {size} bytes")
            size *= 2

    def _is_blank(self, start: int, data: bytes) -> bool:
        return not (data if start else data.removeprefix(_BOM)).strip(self._form.blank)

    def _looked_at(self) -> _Known:
        """Find the names of the columns, and whether there are rows."""
        known = _Known()
        self._reached = (0, 0)
        data = self._read(0, blank=False)
        if self._is_blank(0, data):
            raise DecodeError(f"{self._url} is empty: it has {len(data)} bytes, and no record")
        begun = known.body = len(_BOM) if data.startswith(_BOM) else 0
        head = b""
        if self._form.has_head:
            records = data[begun:]
            ends = [*self._form.ends.all(records).tolist(), len(records)]
            end = next(end for end in ends if records[:end].strip(self._form.blank))
            head, known.body = records[:end], begun + end
        try:
            known.names = self._form.names(head)
        except damage() as error:
            raise DecodeError(f"{self._url}: the names of its columns: {reason(error)}") from error
        known.head_lines = data[: known.body].count(b"\n")
        known.is_empty = self._is_blank(known.body, self._read(known.body, blank=False))
        return known

    def _guessed(self) -> Any:
        """Return the schema of the first block, without the records in it that are at fault."""
        known = self.footer
        data = self._read(known.body, blank=False)
        guess = partial(self._form.guess, names=known.names)
        for left in reversed(range(_TRIED_RECORDS)):
            try:
                return guess(data)
            except damage() as error:
                bounds = bounds_of(self._form.ends, data)
                at = first_fault(data, bounds, 0, guess, ahead=True) or 0
                rest = data[: bounds[at]] + data[bounds[at + 1] :]
                if at and not left:
                    return guess(data[: bounds[at]])
                if not left or self._is_blank(known.body, rest):
                    raise DecodeError(f"{self._url}: {self._where(known.body)}: {reason(error)}") from error
                data = rest
        raise AssertionError("the last try returns or raises")
