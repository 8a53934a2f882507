"""CSVColumnsReader (``read_csv_columns``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from penstock.core.errors import DecodeError
from penstock.core.pipe import IterDataPipe
from penstock.core.registry import functional_datapipe
from penstock.pipes._condition import Condition
from penstock.pipes._record_ends import RecordEnds
from penstock.pipes._table_columns import check_columns
from penstock.pipes._table_reader import TableReader
from penstock.pipes._text_files import TextFile
from penstock.pipes._text_forms import as_batch, check_block_bytes, types_found, types_of
from penstock.pipes._text_nulls import null_check

if TYPE_CHECKING:
    from penstock.serialization.columns import Conversion

__all__ = ["CSVColumnsReader"]

_OPTIONS = (
    *("null_values", "true_values", "false_values", "decimal_point", "strings_can_be_null"),
    *("quoted_strings_can_be_null", "timestamp_parsers"),
)


@functional_datapipe("read_csv_columns")
class CSVColumnsReader(TableReader):
    r"""Read CSV files: ``url`` becomes batches of their columns (functional name: ``read_csv_columns``).

    As ``read_parquet``, by pyarrow's reader of CSV. A file is read in blocks that end where a record does, and no batch
    has rows of two blocks: ``rebatch`` makes batches of exactly one size, and ``shuffle_rows`` mixes rows. Names that
    end in ``.gz``, ``.bz2``, ``.xz`` or ``.zst`` are decompressed.

    The first block of the first file tells the types of the columns that ``schema`` does not; they hold for all that
    follows. A later value of another type is an error, and never a column of another type.

    Args:
        source_datapipe: paths or URLs, of any kind that fsspec knows.
        columns: convert only these, and give them in this order; all unless given.
        filter: give only the rows for which this holds: a `pyarrow.compute.Expression`, or a list of (column, op,
            value) that must all hold, or a list of such lists, one of which must.
        batch_size: rows per batch, fewer at the end of a block and where rows were filtered out; unless given, those of
            the block, at most 65,536.
        as_: ``numpy``, ``torch`` or ``arrow``. Arrays and tensors can be written into.
        schema: the types of columns, of all or of some: a `pyarrow.Schema`, or a dict of pyarrow's types by name.
        names: the names of the columns, of files whose first record does not have them.
        delimiter: what stands between values.
        quote: what stands around a value that has a delimiter or a line's end in it, doubled where it is meant; None
            where nothing is quoted.
        convert: what pyarrow takes for null, true and so on: arguments of `pyarrow.csv.ConvertOptions`.
        block_bytes: how long a block is.
        storage_options: fsspec's, for the connection.
        conversion: what becomes of each of Arrow's types, and of nulls, which are an error unless it says otherwise.

    Raises:
        ValueError: ``batch_size`` or ``block_bytes`` is below 1; ``columns`` or ``names`` is empty or has a name twice;
            no such form, operator or option; a delimiter or quote that is not one character of ASCII.
        TypeError: ``schema`` is no schema.
        DecodeError: (when run) names the file, the line (behind a restored place: the byte), and what is wrong: it is
            empty or was cut, a record with too many values or too few, a value that is not of its column's type, bytes
            that are no UTF-8, a quote that is not closed, a column that is missing, a null that ``conversion`` does not
            take. Where bad samples are skipped, such a record counts as one.

    State: the offset of the block and how many of its rows have been given, and the first file. Restoring reads the
    block; of a compressed file all that is ahead of it.

    Example:
        >>> import os, tempfile
        >>> import pyarrow
        >>> path = os.path.join(tempfile.mkdtemp(), "a.csv")
        >>> with open(path, "w") as file:
        ...     _ = file.write("x,y\n1,a\n2,b\n3,c\n")
        >>> from penstock.pipes import IterableWrapper
        >>> [batch["x"] for batch in IterableWrapper([path]).read_csv_columns(["x"], batch_size=2)]
        [array([1, 2]), array([3])]
        >>> pipe = IterableWrapper([path]).read_csv_columns(schema={"x": pyarrow.float32()}, as_="torch")
        >>> next(iter(pipe))
        {'x': tensor([1., 2., 3.]), 'y': ['a', 'b', 'c']}
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
        names: Sequence[str] | None = None,
        delimiter: str = ",",
        quote: str | None = '"',
        convert: Mapping[str, Any] | None = None,
        block_bytes: int = 1 << 20,
        storage_options: dict[str, Any] | None = None,
        conversion: Conversion | None = None,
    ) -> None:
        super().__init__(source_datapipe, columns, filter, batch_size, as_, storage_options, conversion)
        for character in (delimiter, quote):
            if character is not None and (len(character) != 1 or not character.isascii() or character in "\r\n"):
                raise ValueError(f"delimiter and quote must be one character of ASCII each, got {character!r}")
        if unknown := sorted(set(convert or ()) - set(_OPTIONS)):
            raise ValueError(f"convert has options among {', '.join(_OPTIONS)}, got {', '.join(unknown)}")
        self.schema = types_of(schema)
        self.names = check_columns(names)
        self.delimiter = delimiter
        self.quote = quote
        self.convert = dict(convert or {})
        self.block_bytes = check_block_bytes(block_bytes)

    def opened(self, url: str, patient: Callable[[Any], Any], footer: Any) -> TextFile:
        form = _CSV(self.schema, self.names, self.delimiter, self.quote, self.convert)
        return TextFile(url, self.storage_options, patient, form, null_check(self), self.block_bytes, footer)


@dataclass(frozen=True)
class _CSV:
    """Values between delimiters, a record a line: see `penstock.pipes._text_forms.TextForm`."""

    types: dict[str, Any]
    given: list[str] | None
    delimiter: str
    quote: str | None
    options: dict[str, Any]
    blank = b"\r\n"

    @property
    def ends(self) -> RecordEnds:
        return RecordEnds(self.delimiter, self.quote)

    @property
    def has_head(self) -> bool:
        return self.given is None

    def names(self, head: bytes) -> list[str]:
        found = self.given
        if found is None:
            if self.ends.is_open(head):
                raise DecodeError("a quoted name is not closed")
            found = self._read(head + b"\n", None, {}).schema.names  # a file of names only may lack it
        missing = [name for name in self.types if name not in found]
        if missing:
            raise DecodeError(f"none is {', '.join(map(repr, missing))}, which `schema` has; they are {found}")
        return found

    def guess(self, data: bytes, names: Sequence[str] | None) -> Any:
        import pyarrow as pa

        assert names is not None
        if not data.strip(self.blank):
            return pa.schema([(name, self.types.get(name, pa.null())) for name in names])

        def read(types: dict[str, Any]) -> Any:
            return self._read(data, names, {"column_types": {**self.types, **types}})

        # What is no UTF-8 would make a column one of bytes: damage, more often than not, which a type can allow.
        wanted = [
            (name, pa.string() if pa.types.is_binary(kind) and name not in self.types else kind)
            for name, kind in types_found(read({}), self.types, read)
        ]
        return pa.schema(wanted)

    def parse(self, data: bytes, schema: Any, names: Sequence[str]) -> Any:
        types = {name: schema.field(schema.names.index(name)).type for name in names}
        options = {"include_columns": list(names), "column_types": types}
        return as_batch(self._read(data, schema.names, options), names)

    def _read(self, data: bytes, names: Sequence[str] | None, options: dict[str, Any]) -> Any:
        import pyarrow as pa
        import pyarrow.csv as csv

        read = csv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=names)
        parse = csv.ParseOptions(delimiter=self.delimiter, quote_char=self.quote or False)
        return csv.read_csv(pa.BufferReader(data), read, parse, csv.ConvertOptions(**self.options, **options))
