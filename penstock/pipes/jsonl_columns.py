"""JsonLinesColumnsReader (``read_jsonl_columns``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from penstock.core.errors import DecodeError
from penstock.core.pipe import IterDataPipe
from penstock.core.registry import functional_datapipe
from penstock.pipes._condition import Condition
from penstock.pipes._record_ends import RecordEnds, count
from penstock.pipes._table_reader import TableReader
from penstock.pipes._text_files import TextFile
from penstock.pipes._text_forms import as_batch, check_block_bytes, types_found, types_of
from penstock.pipes._text_nulls import null_check

if TYPE_CHECKING:
    from penstock.serialization.columns import Conversion

__all__ = ["JsonLinesColumnsReader"]


@functional_datapipe("read_jsonl_columns")
class JsonLinesColumnsReader(TableReader):
    """Read JSON lines: ``url`` becomes batches of columns, one for each key (functional name: ``read_jsonl_columns``).

    As ``read_csv_columns``, by pyarrow's reader of JSON. A line is an object; a key that it has not is a null. The
    first block of the first file tells the keys, and the types of those that ``schema`` does not name. A line with
    another key is an error, unless ``columns`` are named. Objects in objects become structs.

    Args:
        source_datapipe: paths or URLs, of any kind that fsspec knows.
        columns: read only these keys, and give them in this order; all unless given.
        filter: give only the rows for which this holds: a `pyarrow.compute.Expression`, or a list of (column, op,
            value) that must all hold, or a list of such lists, one of which must.
        batch_size: rows per batch, fewer at the end of a block and where rows were filtered out; unless given, those of
            the block, at most 65,536.
        as_: ``numpy``, ``torch`` or ``arrow``. Arrays and tensors can be written into.
        schema: the types of keys, of all or of some: a `pyarrow.Schema`, or a dict of pyarrow's types by name.
        block_bytes: how long a block is.
        storage_options: fsspec's, for the connection.
        conversion: what becomes of each of Arrow's types, and of nulls, which are an error unless it says otherwise.

    Raises:
        ValueError: ``batch_size`` or ``block_bytes`` is below 1; ``columns`` is empty or has a name twice; no such form
            or operator.
        TypeError: ``schema`` is no schema.
        DecodeError: (when run) names the file, the line (behind a restored place: the byte), and what is wrong: it is
            empty or was cut, a line that is not one object, a value that is not of its key's type, bytes that are no
            UTF-8, a key that is missing in the first block or new behind it, a null that ``conversion`` does not take.
            Where bad samples are skipped, such a line counts as one.

    State: the offset of the block and how many of its rows have been given, and the first file. Restoring reads the
    block; of a compressed file all that is ahead of it.

    Example:
        >>> import os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "a.jsonl")
        >>> with open(path, "w") as file:
        ...     _ = file.write('{"x": 1, "y": [1, 2]}' + chr(10) + '{"x": 2, "y": []}')
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper([path]).read_jsonl_columns(as_="torch"))
        [{'x': tensor([1, 2]), 'y': [tensor([1, 2]), tensor([], dtype=torch.int64)]}]
    """

    def __init__(
        self,
        source_datapipe: IterDataPipe[Any],
        columns: Sequence[str] | None = None,
        filter: Condition | None = None,
        *,
        batch_size: int | None = None,
        as_: Literal["numpy", "torch", "arrow"] = "numpy",
        schema: Any = None,
        block_bytes: int = 1 << 20,
        storage_options: dict[str, Any] | None = None,
        conversion: Conversion | None = None,
    ) -> None:
        super().__init__(source_datapipe, columns, filter, batch_size, as_, storage_options, conversion)
        self.schema = types_of(schema)
        self.block_bytes = check_block_bytes(block_bytes)

    def opened(self, url: str, patient: Callable[[Any], Any], footer: Any) -> TextFile:
        form = _JsonLines(self.schema, self.columns is None)
        return TextFile(url, self.storage_options, patient, form, null_check(self), self.block_bytes, footer)


@dataclass(frozen=True)
class _JsonLines:
    """An object a line: see `penstock.pipes._text_forms.TextForm`. ``strict`` takes another key for an error."""

    types: dict[str, Any]
    strict: bool
    has_head = False
    blank = b" \t\r\n"

    @property
    def ends(self) -> RecordEnds:
        return RecordEnds()

    def names(self, head: bytes) -> None:
        return None

    def guess(self, data: bytes, names: Sequence[str] | None) -> Any:
        import pyarrow as pa

        if not data.strip(self.blank):
            return pa.schema(list(self.types.items()))

        def read(types: dict[str, Any]) -> Any:
            return self._read(data, pa.schema(list({**self.types, **types}.items())), "infer")

        return pa.schema(types_found(read({}), self.types, read))

    def parse(self, data: bytes, schema: Any, names: Sequence[str]) -> Any:
        import pyarrow as pa

        fields = pa.schema([schema.field(schema.names.index(name)) for name in names])
        # A key within an object that the types lack would be left out in silence if it were ignored.
        nested = any(field.type.num_fields for field in fields)
        try:
            table = self._read(data, fields, "error" if self.strict else "infer" if nested else "ignore")
        except pa.ArrowInvalid:
            if data.strip(self.blank):
                raise
            return None
        batch = as_batch(table, names)
        if batch is None:
            return None
        for field in fields if nested and not self.strict else ():
            if (kind := batch.schema.field(field.name).type) != field.type:
                raise DecodeError(f"column {field.name!r} changed from {field.type} to {kind}")
        batch.validate(full=True)  # pyarrow's reader does not look whether strings are UTF-8
        return batch

    def _read(self, data: bytes, fields: Any, unexpected: str) -> Any:
        import pyarrow as pa
        import pyarrow.json as json

        lines = self._objects(data)
        read = json.ReadOptions(use_threads=False, block_size=len(data) + 1)
        parse = json.ParseOptions(explicit_schema=fields, unexpected_field_behavior=unexpected)
        table = json.read_json(pa.BufferReader(data), read, parse)
        if table.num_rows != lines:
            raise DecodeError("more than one object on a line")
        return table

    def _objects(self, data: bytes) -> int:
        """Return how many lines have an object, by their first and last bytes. DecodeError for one of something else.

        pyarrow would take an object over several lines, and end the process where all lines are ``null``. Between these
        two bytes no object has a line's end.
        """
        body = data.strip(self.blank)
        between = b"}\r\n{" if b"\r" in body else b"}\n{"
        ends = count(body, between)
        if _is_framed(body) and all(count(body, bytes([byte])) == ends for byte in between[1:-1]):
            return ends + 1
        lines = [line for each in body.splitlines() if (line := each.strip(self.blank))]
        if not all(map(_is_framed, lines)):
            raise DecodeError("a line is no object, from { to }")
        return len(lines)


def _is_framed(line: bytes) -> bool:
    return line[:1] == b"{" and line[-1:] == b"}"
