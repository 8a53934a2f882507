"""Arrays that are read by spans of rows: behind ``read_zarr`` and ``read_npy``, and behind what lists their spans.

A span is a run of rows that is read, shuffled and dealt to workers as one. It is read in one go, and given as rows, as
it is, or cut into batches of columns, which are views of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, Final, TypeVar

from penstock.core.bad import HOLE, Lossy, settled
from penstock.core.context import Context
from penstock.core.errors import DecodeError, PenstockError, StateError
from penstock.core.leaving import BlockRows
from penstock.core.pipe import IterDataPipe, no_length
from penstock.core.stream import State, Stream, counted, sequence_stream
from penstock.pipes._alike import Alike, Rows
from penstock.pipes._batches import as_columns, ready_for_tensors, sliced, tensors
from penstock.pipes._nested import nested_parts
from penstock.pipes._tensors_later import as_tensors_later, leaves_from
from penstock.pipes.wrapper import IterableWrapper

__all__ = ["SpanLister", "SpanPipe", "SpanReader", "check_batches", "check_span"]

T = TypeVar("T")
_FORMS: Final = ("numpy", "torch")


class SpanPipe(IterDataPipe[T]):
    """A pipe over arrays, whose source names them."""

    source_datapipe: IterDataPipe[Any]

    def opener(self) -> Callable[[Any], tuple[Any, Rows]]:
        """Return what makes an item of the source its name, as spans have it, and the rows behind it."""
        raise NotImplementedError

    def rows_of_each(self) -> list[Rows] | None:
        """Return the rows behind each item of the source, None where they cannot be known ahead."""
        source = self.source_datapipe
        if not isinstance(source, IterableWrapper) or not isinstance(source.iterable, (list, tuple)):
            return None
        opened = self.opener()
        try:
            return [opened(item)[1] for item in source.iterable]
        except (PenstockError, OSError, TypeError):
            return None


class SpanLister(SpanPipe[tuple[Any, int, int]]):
    """Arrays as the spans of their rows."""

    def __len__(self) -> int:
        found = self.rows_of_each()
        if found is None:
            raise no_length(self)
        return sum(-(-rows.length // rows.span) for rows in found)

    def build(self, ctx: Context, state: State = None) -> Stream[tuple[Any, int, int]]:
        opened = self.opener()
        return nested_parts(self, self.source_datapipe, lambda item, place: _Spans(*opened(item), place), ctx, state)


class SpanReader(SpanPipe[Any]):
    """Arrays as their rows, as the rows of each span together, or as batches of columns.

    Attributes:
        chunks: give the rows of a span together.
        batch_size: how many rows a batch has; None for those of a span.
        as_: what a batch's columns are; None where no batches are asked for.
        column: the name of an array that has none.
        columns: those of them that are read; all unless given.
    """

    chunks: bool = False
    batch_size: int | None = None
    as_: str | None = None
    column: str | None = None
    columns: list[str] | None = None

    def __len__(self) -> int:
        source = self.source_datapipe
        listed = isinstance(source, SpanLister)
        if listed and (self.chunks or (self.as_ and self.batch_size is None)):
            return len(source)
        found = source.rows_of_each() if isinstance(source, SpanLister) else self.rows_of_each()
        if found is None:
            raise no_length(self)
        return sum(self._items_of(rows) for rows in found)

    def _items_of(self, rows: Rows) -> int:
        if not self.chunks and self.as_ is None:
            return rows.length
        whole, rest = divmod(rows.length, rows.span)
        size = self.batch_size or rows.span
        return whole * -(-rows.span // size) + -(-rest // size)

    def build(self, ctx: Context, state: State = None) -> Stream[Any]:
        opened = self.opener()
        alike = Alike(self.source_datapipe, opened, self.columns, self.column) if self.as_ else None
        later = self.as_ == "torch" and leaves_from(ctx, self)

        def open_part(item: Any, place: Any) -> _Part:
            if isinstance(item, (tuple, list)) and len(item) == 3:
                name, start, stop = item
                name, rows = opened(name)
                if not 0 <= start <= stop <= rows.length:
                    raise DecodeError(f"{rows.url} has {rows.length} rows, and rows {start} to {stop} are asked for")
                spans: Iterable[tuple[int, int]] = [(start, stop)] if start < stop else []
            else:
                name, rows = opened(item)
                start, stop = 0, rows.length
                spans = _spans(rows.span, 0 if place is None else place - place % rows.span, stop)
            if place is not None and not start <= place <= stop:
                raise StateError(
                    f"{rows.url} has rows up to {stop} to read, and its saved place is {place}: it has changed"
                )
            if alike is not None:
                alike.check(rows)
            guarded = ctx.guarded(self, lambda span: rows.read(*span[1:]))

            def read(start: int, stop: int) -> Any:
                return guarded([name, start, stop])  # which is what a dead letter has, and can be read again

            return _Part(self._cut(rows, alike, later), spans if place != stop else (), place or start, read, ctx.loose)

        return nested_parts(self, self.source_datapipe, open_part, ctx, state)

    def _cut(self, rows: Rows, alike: Alike | None, later: bool) -> Callable[[Any, int], tuple[Iterator[Any], int]]:
        """Return what makes so many rows the items that are given, and tells how many rows each has."""
        if self.as_ is None and self.chunks:
            return lambda found, count: (iter((found,)), count)
        if alike is None:
            return lambda found, count: (_each(found), 1)
        column, size = self.column or alike.name or rows.name, self.batch_size
        convert = tensors if self.as_ == "torch" else None
        cut: Callable[[Any, int, int], Any] = sliced
        if later:
            convert, cut = (lambda block: as_tensors_later(ready_for_tensors(block))), BlockRows

        def batches(found: Any, count: int) -> tuple[Iterator[Any], int]:
            block = as_columns(found, column)
            if convert is not None:
                block = convert(block)
            step = min(size or count, count)
            parts: Iterator[Any] = iter((block,))
            if step < count:
                parts = (cut(block, low, min(low + step, count)) for low in range(0, count, step))
            return parts, step

        return batches


class _Spans:
    """The spans of some arrays, being given out."""

    def __init__(self, name: Any, rows: Rows, place: Any) -> None:
        given, *seen = place or (0, rows.length, rows.span)
        if seen != [rows.length, rows.span]:
            raise StateError(
                f"{rows.url} has {rows.length} rows in spans of {rows.span}, and had {seen[0]} in spans of {seen[1]} "
                "when the state was saved"
            )
        stream = sequence_stream(range(0, rows.length, rows.span), given)
        self.it: Iterator[tuple[Any, int, int]] = (
            (name, start, min(start + rows.span, rows.length)) for start in stream.it
        )
        self.tell = lambda: [stream.state(), *seen]


class _Part:
    """Some rows, being read: those of some spans, from a row of the first one on."""

    def __init__(
        self,
        cut: Callable[[Any, int], tuple[Iterator[Any], int]],
        spans: Iterable[tuple[int, int]],
        first: int,
        read: Callable[[int, int], Any],
        loose: Lossy,
    ) -> None:
        self._row, self._step, self._stop = first, 1, first
        self._given: Callable[[], int] = lambda: 0
        self.it: Iterator[Any] = chain.from_iterable(self._blocks(cut, spans, read, loose))

    def tell(self) -> int:
        return min(self._row + self._given() * self._step, self._stop)

    def _blocks(
        self,
        cut: Callable[[Any, int], tuple[Iterator[Any], int]],
        spans: Iterable[tuple[int, int]],
        read: Callable[[int, int], Any],
        loose: Lossy,
    ) -> Iterator[Iterator[Any]]:
        for start, stop in spans:
            found = read(start, stop)
            row = max(start, self.tell())
            if type(found) is Lossy and found.value is HOLE:
                items, step = iter((found,)), stop - row
            else:
                found = settled(found, loose)
                items, step = cut(sliced(found, row - start, stop - start) if row > start else found, stop - row)
            items, given = counted(items)
            self._row, self._given, self._step, self._stop = row, given, step, stop
            yield items


def check_batches(batch_size: int | None, as_: str | None) -> None:
    """Raise ValueError unless batches can be made so."""
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if as_ is not None and as_ not in _FORMS:
        raise ValueError(f"as_ must be one of {', '.join(_FORMS)}, got {as_!r}")


def check_span(span: int | None) -> int | None:
    """Return a number of rows. ValueError if it is below 1."""
    if span is not None and span < 1:
        raise ValueError(f"span must be at least 1, got {span}")
    return span


def _spans(span: int, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Yield the beginning and the end of each span, from a row on."""
    while start < stop:
        end = min(start - start % span + span, stop)
        yield start, end
        start = end


def _each(found: Any) -> Iterator[Any]:
    """Return an iterator over the rows of what was read."""
    if not isinstance(found, dict):
        return iter(found)
    names = list(found)
    return (dict(zip(names, row)) for row in zip(*found.values()))  # noqa: B905  # all have one length
