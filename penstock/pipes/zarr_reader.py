"""ZarrReader (``read_zarr``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from penstock.core.pipe import IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.pipes._alike import Rows
from penstock.pipes._span_pipes import SpanReader, check_batches, check_span
from penstock.pipes._zarr_item import check_arrays, sources_of


@functional_datapipe("read_zarr")
class ZarrReader(SpanReader):
    """Read zarr arrays, of version 2 or 3: ``url`` becomes each of its rows (functional name: ``read_zarr``).

    A row is what lies at one index of the first axis. Of an array it is an array with an axis less, or a scalar; of a
    group whose arrays have one length, a dict of the arrays' names and rows. Rows are views of the chunk that they came
    in, which stays in memory as long as one of them.

    The source may give URLs, then each is read from its first row to the last; or the spans of ``list_zarr_chunks``,
    which can be shuffled and dealt to workers. Chunks are read whole, and one at a time: `prefetch` behind it, or
    workers, read ahead. A chunk whose rows are asked for in turn is read once.

    With ``batch_size`` or ``as_``, items are batches of columns, as those of ``read_parquet``: a dict of arrays or
    tensors, which ``rebatch``, ``shuffle_rows``, ``select`` and ``rows`` take. No batch has rows of two spans. An array
    by itself is one column; the fields of an array that has fields are a column each.

    Args:
        source_datapipe: URLs of any protocol that fsspec knows or local paths, the pairs of ``open_zarr``, or spans:
            ``(url, start, stop)``.
        arrays: the names of the group's arrays that make a sample, which may lie in groups in it (``"train/x"``); all
            that lie in the group itself unless given.
        chunks: yield the rows of a span together: an array, or a dict of arrays.
        batch_size: yield batches of so many rows, fewer at the end of a span; those of a span where only ``as_`` is
            given.
        as_: what the columns of batches are: ``numpy`` or ``torch``.
        column: the name of the column that an array by itself becomes; unless given, the last part of its URL: of the
            first one's, where a list of them is read.
        span: how many rows are read in one go; as ``list_zarr_chunks`` says unless given.
        storage_options: options of the connection.

    Raises:
        ValueError: ``span`` or ``batch_size`` is below 1; ``arrays`` is empty or has a name twice; no such form; both
            ``chunks`` and batches.
        DecodeError: (when run) names the URL, the array and the chunk: nothing of zarr's is there, metadata or a chunk
            that cannot be decoded, arrays of different lengths, no such array, Python objects (nothing is unpickled);
            of batches, also other columns or types than those of the first array or group. Where bad samples are
            skipped, such a chunk counts as one, and its rows are missing.
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
        >>> list(IterableWrapper([path]).read_zarr(["x"], batch_size=2, as_="torch"))
        [{'x': tensor([1, 2])}, {'x': tensor([3])}]
    """

    def __init__(
        self,
        source_datapipe: IterDataPipe[Any],
        arrays: Sequence[str] | None = None,
        *,
        chunks: bool = False,
        batch_size: int | None = None,
        as_: Literal["numpy", "torch"] | None = None,
        column: str | None = None,
        span: int | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        source_datapipe = check_source(self, source_datapipe)
        self.source_datapipe = source_datapipe
        self.arrays = check_arrays(arrays)
        check_batches(batch_size, as_)
        if chunks and (batch_size is not None or as_ is not None):
            raise ValueError("chunks gives the rows of a span as they are: leave it out to get batches of columns")
        self.chunks = chunks
        self.batch_size = batch_size
        self.as_ = as_ or (None if batch_size is None else "numpy")
        self.column = column
        self.span = check_span(span)
        self.storage_options = dict(storage_options or {})

    def opener(self) -> Callable[[Any], tuple[Any, Rows]]:
        return sources_of(self)
