"""ZarrChunkLister (``list_zarr_chunks``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from penstock.core.pipe import IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.pipes._alike import Rows
from penstock.pipes._span_pipes import SpanLister, check_span
from penstock.pipes._zarr_item import check_arrays, sources_of


@functional_datapipe("list_zarr_chunks")
class ZarrChunkLister(SpanLister):
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

    def opener(self) -> Callable[[Any], tuple[Any, Rows]]:
        return sources_of(self)
