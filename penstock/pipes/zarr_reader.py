"""ZarrReader (``read_zarr``)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from penstock.core.bad import HOLE, Lossy, settled
from penstock.core.context import Context
from penstock.core.errors import StateError
from penstock.core.pipe import IterDataPipe, check_source, no_length
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream, counted
from penstock.pipes._nested import nested_parts
from penstock.pipes._zarr_item import check_arrays, check_span, rows_of, sources_of
from penstock.pipes._zarr_rows import ZarrRows
from penstock.pipes.zarr_chunk_lister import ZarrChunkLister


@functional_datapipe("read_zarr")
class ZarrReader(IterDataPipe[Any]):
    """Read zarr arrays, of version 2 or 3: ``url`` becomes each of its rows (functional name: ``read_zarr``).

    A row is what lies at one index of the first axis. Of an array it is an array with an axis less, or a scalar; of a
    group whose arrays have one length, a dict of the arrays' names and rows. Rows are views of the chunk that they came
    in, which stays in memory as long as one of them.

    The source may give URLs, then each is read from its first row to the last; or the spans of ``list_zarr_chunks``,
    which can be shuffled and dealt to workers. Chunks are read whole, and one at a time: `prefetch` behind it, or
    workers, read ahead. A chunk whose rows are asked for in turn is read once.

    Args:
        source_datapipe: URLs of any protocol that fsspec knows or local paths, the pairs of ``open_zarr``, or spans:
            ``(url, start, stop)``.
        arrays: the names of the group's arrays that make a sample, which may lie in groups in it (``"train/x"``); all
            that lie in the group itself unless given.
        chunks: yield the rows of a span together: an array, or a dict of arrays.
        span: how many rows are read in one go; as ``list_zarr_chunks`` says unless given.
        storage_options: options of the connection.

    Raises:
        ValueError: ``span`` is below 1; ``arrays`` is empty or has a name twice.
        DecodeError: (when run) names the URL, the array and the chunk: nothing of zarr's is there, metadata or a chunk
            that cannot be decoded, arrays of different lengths, no such array, Python objects (nothing is unpickled).
            Where bad samples are skipped, such a chunk counts as one, and its rows are missing.
        MissingExtra: (when run) the protocol needs a package that is not installed.

    State: the row. Restoring reads the chunk that it is in.

    Example:
        >>> import os, tempfile, zarr
        >>> path = os.path.join(tempfile.mkdtemp(), "a.zarr")
        >>> group = zarr.create_group(path)
        >>> for name in ("x", "y"):
        ...     group.create_array(name, shape=(3,), chunks=(2,), dtype="int64")[:] = [1, 2, 3]
        >>> from penstock.pipes import IterableWrapper
        >>> [(int(row["x"]), int(row["y"])) for row in IterableWrapper([path]).read_zarr()]
        [(1, 1), (2, 2), (3, 3)]
        >>> [len(chunk["x"]) for chunk in IterableWrapper([path]).read_zarr(["x"], chunks=True)]
        [2, 1]
    """

    def __init__(
        self,
        source_datapipe: IterDataPipe[Any],
        arrays: Sequence[str] | None = None,
        *,
        chunks: bool = False,
        span: int | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        source_datapipe = check_source(self, source_datapipe)
        self.source_datapipe = source_datapipe
        self.arrays = check_arrays(arrays)
        self.chunks = chunks
        self.span = check_span(span)
        self.storage_options = dict(storage_options or {})

    def __len__(self) -> int:
        source = self.source_datapipe
        listed = type(source) is ZarrChunkLister
        if listed and self.chunks:
            return len(source)
        found = rows_of(source if listed else self)  # type: ignore[arg-type]  # the lister, then
        if found is None:
            raise no_length(self)
        return sum(-(-rows.length // rows.span) if self.chunks else rows.length for rows in found)

    def build(self, ctx: Context, state: State = None) -> Stream[Any]:
        opened = sources_of(self)

        def open_part(item: Any, place: Any) -> _Part:
            if isinstance(item, (tuple, list)) and len(item) == 3:
                url, start, stop = item
                rows = opened(url)[1]
                rows.check(start, stop)
                spans: Iterable[tuple[int, int]] = [(start, stop)] if start < stop else []
            else:
                url, rows = opened(item)
                start, stop = 0, rows.length
                spans = rows.spans(0 if place is None else place - place % rows.span, stop)
            if place is not None and not start <= place <= stop:
                raise StateError(f"{url} has rows up to {stop} to read, and its saved place is {place}: it has changed")
            guarded = ctx.guarded(self, lambda span: rows.read(*span[1:]))

            def read(start: int, stop: int) -> Any:
                return guarded([url, start, stop])  # which is what a dead letter has, and can be read again

            return _Part(rows, spans if place != stop else (), place or start, read, ctx.loose, self.chunks)

        return nested_parts(self, self.source_datapipe, open_part, ctx, state)


class _Part:
    """Some rows of one array or group, being read: those of some spans, from a row of the first one on."""

    def __init__(
        self,
        rows: ZarrRows,
        spans: Iterable[tuple[int, int]],
        first: int,
        read: Callable[[int, int], Any],
        loose: Lossy,
        chunks: bool,
    ) -> None:
        self._row, self._step = first, 1
        self._given: Callable[[], int] = lambda: 0
        self.it: Iterator[Any] = chain.from_iterable(self._blocks(rows, spans, read, loose, chunks))

    def tell(self) -> int:
        return self._row + self._given() * self._step

    def _blocks(
        self,
        rows: ZarrRows,
        spans: Iterable[tuple[int, int]],
        read: Callable[[int, int], Any],
        loose: Lossy,
        chunks: bool,
    ) -> Iterator[Iterator[Any]]:
        for start, stop in spans:
            found = read(start, stop)
            row = max(start, self.tell())
            if type(found) is Lossy and found.value is HOLE:
                items, step = iter((found,)), stop - row
            else:
                found = rows.from_row(settled(found, loose), row - start)
                items, step = (iter((found,)), stop - row) if chunks else (rows.rows(found), 1)
            items, given = counted(items)
            self._row, self._given, self._step = row, given, step
            yield items
