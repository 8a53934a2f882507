"""ZarrChunkLister (``list_zarr_chunks``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from penstock.core.context import Context
from penstock.core.errors import StateError
from penstock.core.pipe import IterDataPipe, check_source, no_length
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream, sequence_stream
from penstock.pipes._nested import nested_parts
from penstock.pipes._zarr_item import check_arrays, check_span, rows_of, sources_of
from penstock.pipes._zarr_rows import ZarrRows


@functional_datapipe("list_zarr_chunks")
class ZarrChunkLister(IterDataPipe[tuple[str, int, int]]):
    """List zarr's chunks: ``url`` becomes ``(url, start, stop)`` for each (functional name: ``list_zarr_chunks``).

    A span of rows is what `read_zarr` reads in one go. Between the two is the place to shuffle and to divide the work::

        urls.list_zarr_chunks().shuffle().sharding_filter().read_zarr().shuffle(buffer_size=1000).batch(32)

    A span is as long as a chunk of the array with the most bytes a row, or a few of them where the other arrays' chunks
    then end with it; as a shard of it, where it has shards of up to 64 MiB.

    Args:
        source_datapipe: the URLs of arrays or of groups, or the pairs of ``open_zarr``.
        arrays: the names of the group's arrays that make a sample; those that lie in it unless given.
        span: how many rows a span has. Chunks that it cuts are read once more by each reader that gets a part of them.
        storage_options: options of the connection.

    Raises:
        ValueError: ``span`` is below 1.
        DecodeError: (when run) as with ``read_zarr``.

    State: the index of the span, and the length of the array; another length on restoring is a StateError.

    Example:
        >>> import os, tempfile, zarr
        >>> path = os.path.join(tempfile.mkdtemp(), "a.zarr")
        >>> _ = zarr.create_array(path, shape=(5, 2), chunks=(2, 2), dtype="int32")
        >>> from penstock.pipes import IterableWrapper
        >>> [(start, stop) for url, start, stop in IterableWrapper([path]).list_zarr_chunks()]
        [(0, 2), (2, 4), (4, 5)]
    """

    def __init__(
        self,
        source_datapipe: IterDataPipe[Any],
        arrays: Sequence[str] | None = None,
        *,
        span: int | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        source_datapipe = check_source(self, source_datapipe)
        self.source_datapipe = source_datapipe
        self.arrays = check_arrays(arrays)
        self.span = check_span(span)
        self.storage_options = dict(storage_options or {})

    def __len__(self) -> int:
        found = rows_of(self)
        if found is None:
            raise no_length(self)
        return sum(-(-rows.length // rows.span) for rows in found)

    def build(self, ctx: Context, state: State = None) -> Stream[tuple[str, int, int]]:
        opened = sources_of(self)
        return nested_parts(self, self.source_datapipe, lambda item, place: _Spans(*opened(item), place), ctx, state)


class _Spans:
    """The spans of an array, being given out."""

    def __init__(self, url: str, rows: ZarrRows, place: Any) -> None:
        given, *seen = place or (0, rows.length, rows.span)
        if seen != [rows.length, rows.span]:
            raise StateError(
                f"{url} has {rows.length} rows in spans of {rows.span}, and had {seen[0]} in spans of {seen[1]} when "
                "the state was saved"
            )
        stream = sequence_stream(range(0, rows.length, rows.span), given)
        self.it: Iterator[tuple[str, int, int]] = (
            (url, start, min(start + rows.span, rows.length)) for start in stream.it
        )
        self.tell = lambda: [stream.state(), *seen]
