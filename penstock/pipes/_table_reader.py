"""What reads tables into batches of columns: behind ``read_parquet`` and ``read_arrow``.

A stream holds one open file, and reads it by groups (row groups, record batches). A group is decoded in *blocks* of
some thousand rows; a block is converted in one go, and cut into batches, which are views of it. That is several times
faster than decoding and converting each small batch by itself.

The first file says which columns there are, and of which types; another file must have the same. It is the first of
the list that the pipe reads from, whoever reads what of it; where there is none (a listing, a user's pipe), the first
one that the stream itself reads. The state names it, so that it is asked again after a restart.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Final

from penstock.core.bad import HOLE, Lossy
from penstock.core.context import Context
from penstock.core.errors import DecodeError, StateError
from penstock.core.leaving import BlockRows
from penstock.core.pipe import IterDataPipe, check_source
from penstock.core.stream import State, Stream
from penstock.pipes._arrow_rows import arrow_rows
from penstock.pipes._batches import sliced
from penstock.pipes._condition import Condition, as_expression, check_condition, columns_of, rows_that_hold
from penstock.pipes._nested import nested_parts
from penstock.pipes._table_columns import FORMS, check_columns, check_same, listed_urls, span_of, wanted_schema
from penstock.pipes._table_files import TableFile, TypelessFile, Versioned, naming
from penstock.pipes._tensors_later import checked_texts, leaves_from, to_leave

if TYPE_CHECKING:
    from penstock.serialization.columns import Conversion

__all__ = ["TableReader"]

_BLOCK_ROWS: Final = 1 << 16
_BLOCK_BYTES: Final = 16 << 20
_FOOTERS: Final = 32  # of how many files a stream keeps the footers: spans of one file come again and again


class TableReader(IterDataPipe[Any]):
    """Files of tables as batches of columns.

    State: the source's, the group and how many of its rows have been given; and which file was the first.
    """

    _unit: ClassVar[str]

    def __init__(
        self,
        source_datapipe: IterDataPipe[Any],
        columns: Sequence[str] | None,
        filter: Condition | None,
        batch_size: int | None,
        as_: str,
        storage_options: dict[str, Any] | None,
        conversion: Conversion | None,
    ) -> None:
        self.source_datapipe = check_source(self, source_datapipe)
        self.columns = check_columns(columns)
        self.condition = check_condition(filter)
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if as_ not in FORMS:
            raise ValueError(f"as_ must be one of {', '.join(FORMS)}, got {as_!r}")
        self.batch_size = batch_size
        self.as_ = as_
        self.storage_options = storage_options or {}
        self.conversion = conversion

    def opened(self, url: str, patient: Callable[[Any], Any], footer: Any) -> TableFile:
        """Open a file; ``footer`` is what it had when it was opened before, if anything."""
        raise NotImplementedError

    def build(self, ctx: Context, state: State = None) -> Stream[Any]:
        name = ctx.name(self)
        saved = ctx.own(self, state) or [None, None, None]
        run = _Run(self, ctx, saved[2])
        inner = nested_parts(self, self.source_datapipe, run.open_part, ctx, state and {name: saved[:2]})

        def tell() -> State:
            here = inner.state()
            if here is None and run.first is None:
                return None
            return {name: [*(here[name] if here else (None, None)), run.first]}

        return Stream(inner.it, tell, closers=(inner,))


class _Run:
    """One stream: the parameters of its pipe, made ready, and what the first file said.

    Attributes:
        first: the file that says which columns there are; None while none has been read.
    """

    def __init__(self, pipe: TableReader, ctx: Context, first: str | None) -> None:
        from penstock.serialization.columns import Conversion

        self.first = first
        self._pipe, self._ctx = pipe, ctx
        self._expression = None if pipe.condition is None else as_expression(pipe.condition)
        self._schema: Any = None
        self._types: Any = None  # of all columns of the first file
        self._plain = False  # whether columns take about as much memory converted as they do in Arrow
        conversion = pipe.conversion or Conversion()
        forms: dict[str, Any] = {"numpy": conversion.to_numpy, "torch": conversion.to_torch, "arrow": None}
        self._convert: Callable[[Any], Any] | None = forms[pipe.as_]
        self._cut: Callable[[Any, int, int], Any] = sliced
        if leaves_from(ctx, pipe) and self._convert is not None:
            self._convert, self._cut = to_leave(conversion, pipe.as_ == "torch"), BlockRows
        self._about = lru_cache(_FOOTERS)(lambda url: _About())

    def open_part(self, item: Any, place: Any) -> _Part:
        url, start, stop = span_of(item)
        about = self._about(url)
        file = self._opened(url, about)
        try:
            if self._schema is None:
                self._ask_first(url)
            if isinstance(file, TypelessFile):
                file.begin(self._types, stop)
            if about.names is None:
                self._check(url, file, about)
            _check_span(url, file, start, stop, place)
            return _Part(self, url, file, about, start, stop, place)
        except BaseException:
            file.close()
            raise

    def items(self, batch: Any, size: int, place: list[int], where: str) -> Iterator[Any]:
        """Yield the batches of a block, and move the place behind each."""

        def convert(rows: Any) -> Any:
            try:
                return checked_texts(rows) if self._convert is None else self._convert(rows)
            except ValueError as error:
                raise DecodeError(f"{where}: {error}") from error

        rows = batch.num_rows
        whole = rows <= size or self._plain
        block = convert(batch) if whole else batch
        cut = self._cut if whole else sliced
        for low in range(0, rows, size):
            high = min(low + size, rows)
            part = cut(block, low, high) if rows > size else block
            made = part if whole else convert(part)
            place[1] += high - low
            yield made

    def batch_rows(self, file: TableFile, group: int) -> tuple[int, int]:
        """Return how many rows a batch has, and a block, which is as long as some batches."""
        fitting = max(1, min(_BLOCK_ROWS, _BLOCK_BYTES // max(file.row_bytes(group), 1)))
        size = self._pipe.batch_size or fitting
        return size, max(1, fitting // size) * size

    def filtered(self, batch: Any, url: str, about: _About) -> Any:
        if self._expression is not None:
            with naming(url):
                batch = _kept_rows(batch, self._expression)
        assert about.names is not None
        if len(about.names) < len(about.read):
            batch = batch.select(about.names)
        if not batch.schema.equals(self._schema, check_metadata=True):  # in what a field may be null, or in metadata
            import pyarrow as pa

            batch = pa.RecordBatch.from_arrays(batch.columns, schema=self._schema)
        return batch

    @property
    def filters(self) -> bool:
        return self._expression is not None

    def lost(self, url: str, span: tuple[int, int | None], error: Exception) -> Lossy:
        """Return the hole that stands for the rest of a group; raise the error where nothing may be lost."""
        bad = self._ctx.bad
        if bad is None:
            raise error
        return Lossy(HOLE, [bad.loss([url, *span], error, self._ctx.place(self._pipe))])

    def _opened(self, url: str, about: _About) -> TableFile:
        bad, loose = self._ctx.bad, self._ctx.loose
        file = self._pipe.opened(url, lambda read: read if bad is None else bad.patient(read, loose), about.footer)
        about.footer = getattr(file, "footer", None)
        return file

    def _check(self, url: str, file: TableFile, about: _About) -> None:
        """Find out which columns to read of a file, and whether it has them."""
        there = file.schema.names
        if self._schema is None:
            if not self._learned(url, file):
                return
        else:
            check_same(url, wanted_schema(url, file.schema, self._pipe.columns), self.first, self._schema)
        names = self._schema.names
        if self._expression is not None:
            looked_at = columns_of(self._expression, file.schema, url)
            about.kept = file.kept(self._expression)
        else:
            looked_at = []
        about.read = [*names, *(name for name in there if name in looked_at and name not in names)]
        about.names = names

    def _learned(self, url: str, file: TableFile) -> bool:
        """Take a file for the first one. One without rows that would have to guess its types is none."""
        found = wanted_schema(url, file.schema, self._pipe.columns)
        if isinstance(file, TypelessFile) and not file.groups:
            return False
        self._schema, self._types, self.first = found, file.schema, url
        self._plain = all(_is_plain(field.type) for field in found)
        return True

    def _ask_first(self, url: str) -> None:
        """Ask the first file for the schema, unless it is the one that is being opened anyway, or cannot be read."""
        for first in listed_urls(self._pipe.source_datapipe) if self.first is None else [self.first]:
            if first == url:
                return
            try:
                with closing(self._opened(first, self._about(first))) as file:
                    if self._learned(first, file):
                        return
            except (DecodeError, OSError):
                if self.first is not None:
                    raise


class _About:
    """What is known of a file that has been opened once."""

    def __init__(self) -> None:
        self.footer: Any = None
        self.names: list[str] | None = None  # the columns that are given
        self.read: list[str] = []  # those that are read: the filter may look at others
        self.kept: Collection[int] | None = None


class _Part:
    """One file, or some groups of it, being read."""

    def __init__(
        self, run: _Run, url: str, file: TableFile, about: _About, start: int, stop: int | None, place: Any
    ) -> None:
        group, row, *then = place or (start, 0)
        self._place: list[int] = [group, row]
        self._version = [file.version] if isinstance(file, Versioned) else []
        for saved, now in zip(then, self._version):  # noqa: B905  # none of what has no versions
            if saved != now:
                raise StateError(f"{url} is at version {now}, and its place was saved at version {saved}: ask for that")
        self.it = self._items(run, url, file, about, stop)

    def tell(self) -> list[int]:
        return [*self._place, *self._version]

    def _items(self, run: _Run, url: str, file: TableFile, about: _About, stop: int | None) -> Iterator[Any]:
        try:
            while (group := self._place[0]) < (end := file.groups if stop is None else min(stop, file.groups)):
                hole = None
                if about.kept is None or group in about.kept:
                    try:
                        yield from self._group(run, url, file, about, group)
                    except (DecodeError, OSError) as error:
                        behind = _behind(file, group)
                        hole = run.lost(url, (group, behind if behind < end else stop), error)
                self._place = [min(_behind(file, group), end), 0]
                if hole is not None:
                    yield hole
        finally:
            file.close()

    def _group(self, run: _Run, url: str, file: TableFile, about: _About, group: int) -> Iterator[Any]:
        skip, rows = self._place[1], file.rows(group)
        if rows is not None and not run.filters:
            if skip > rows:
                raise StateError(f"{url}: {file.unit} {group} has {rows} rows, and its saved place is behind {skip}")
            if skip == rows:
                return
        size, block = run.batch_rows(file, group)
        if isinstance(file, Versioned):
            blocks, skip = file.blocks_from(group, about.read, block, skip), 0
        else:
            blocks = file.blocks(group, about.read, block)
        for batch in blocks:
            batch = run.filtered(batch, url, about)
            if skip:
                passed = min(skip, batch.num_rows)
                skip, batch = skip - passed, batch.slice(passed)
            if batch.num_rows:
                yield from run.items(batch, size, self._place, f"{url}: {file.unit} {group}")
        if skip:
            raise StateError(f"{url}: {file.unit} {group} has {skip} rows fewer than when its place was saved")


def _behind(file: TableFile, group: int) -> int:
    return file.after(group) if isinstance(file, TypelessFile) else group + 1


def _kept_rows(batch: Any, expression: Any) -> Any:
    import pyarrow as pa

    try:
        return batch.filter(expression)
    except pa.ArrowNotImplementedError:  # of a type whose rows pyarrow cannot take
        return arrow_rows(batch, rows_that_hold(expression, batch))


def _is_plain(kind: Any) -> bool:
    """Whether a type is of numbers or words. Images, say, take many times more memory when they are decoded."""
    import pyarrow.types as types

    if types.is_fixed_size_list(kind):
        return bool(types.is_primitive(kind.value_type))
    return any(is_one(kind) for is_one in (types.is_primitive, types.is_string, types.is_large_string))


def _many(unit: str) -> str:
    return f"{unit}es" if unit.endswith("ch") else f"{unit}s"


def _check_span(url: str, file: TableFile, start: int, stop: int | None, place: Any) -> None:
    """Raise unless a file has the groups that a span and a saved place name."""
    last = file.groups if stop is None else stop
    if not 0 <= start <= last <= file.groups:
        raise DecodeError(f"{url} has {file.groups} {_many(file.unit)}, and {start} to {last} are asked for")
    if place is not None and not start <= place[0] <= last:
        raise StateError(
            f"{url} has {_many(file.unit)} up to {last}, and its saved place is in {place[0]}: it has changed"
        )
