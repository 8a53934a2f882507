"""ArrowReader (``read_arrow``) and RecordBatchLister (``list_record_batches``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from penstock.core.pipe import IterDataPipe
from penstock.core.registry import functional_datapipe
from penstock.pipes._condition import Condition
from penstock.pipes._group_lister import GroupLister, count_of_groups
from penstock.pipes._table_files import ArrowFile
from penstock.pipes._table_reader import TableReader

if TYPE_CHECKING:
    from penstock.serialization.columns import Conversion

__all__ = ["ArrowReader", "RecordBatchLister"]


@functional_datapipe("list_record_batches")
class RecordBatchLister(GroupLister):
    """List record batches: ``url`` becomes each ``(url, first, stop)`` (functional name: ``list_record_batches``).

    What ``list_row_groups`` is to Parquet, for ``read_arrow``. A file of the stream format has no index: it is read
    through to count them, and from its start for each span; the file format is the one for spans.

    Args:
        source_datapipe: paths or URLs, of any kind that fsspec knows.
        groups: how many record batches make a span.
        storage_options: fsspec's, for the connection.

    Raises:
        ValueError: ``groups`` is below 1.
        DecodeError: (when run) names the file that cannot be read.

    State: the index of the span, and how many the file has; another number on restoring is a StateError.

    Example:
        >>> import os, tempfile
        >>> import pyarrow, pyarrow.feather
        >>> path = os.path.join(tempfile.mkdtemp(), "a.feather")
        >>> pyarrow.feather.write_feather(pyarrow.table({"x": [1, 2, 3]}), path, chunksize=2)
        >>> from penstock.pipes import IterableWrapper
        >>> [(first, stop) for url, first, stop in IterableWrapper([path]).list_record_batches()]
        [(0, 1), (1, 2)]
    """

    def __init__(
        self,
        source_datapipe: IterDataPipe[Any],
        groups: int = 1,
        *,
        storage_options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(source_datapipe, groups, storage_options)

    def __len__(self) -> int:
        return count_of_groups(self)

    def found(self, url: str) -> tuple[int, Any]:
        file = ArrowFile(url, self.storage_options, lambda read: read)
        try:
            count = file.count()
            return count, range(count)
        finally:
            file.close()


@functional_datapipe("read_arrow")
class ArrowReader(TableReader):
    """Read Arrow's IPC files: ``url`` becomes batches of its columns (functional name: ``read_arrow``).

    Those are the file and the stream format, Feather files (version 2), and what ``datasets`` writes to its cache. As
    ``read_parquet``, with record batches in place of row groups. Local files are mapped into memory: a
    `pyarrow.RecordBatch` of them takes no copy.

    Args:
        source_datapipe: paths or URLs, of any kind that fsspec knows, or the spans of ``list_record_batches``.
        columns: read only these, and give them in this order; all unless given.
        filter: give only the rows for which this holds: a `pyarrow.compute.Expression`, or a list of (column, op,
            value) that must all hold, or a list of such lists, one of which must.
        batch_size: rows per batch, fewer at the end of a record batch and where rows were filtered out; unless given,
            those of the record batch, at most 65,536.
        as_: ``numpy``, ``torch`` or ``arrow``. Arrays and tensors can be written into.
        storage_options: fsspec's, for the connection.
        conversion: what becomes of each of Arrow's types, and of nulls, which are an error unless it says otherwise.

    Raises:
        ValueError: as with ``read_parquet``.
        DecodeError: (when run) names the file, the record batch, and what is wrong. Where bad samples are skipped, such
            a file or record batch counts as one.

    State: the record batch and how many of its rows have been given, and the first file. Restoring reads one record
    batch; in a stream, up to it.

    Example:
        >>> import os, tempfile
        >>> import pyarrow, pyarrow.feather
        >>> path = os.path.join(tempfile.mkdtemp(), "a.feather")
        >>> pyarrow.feather.write_feather(pyarrow.table({"x": [1, 2, 3]}), path)
        >>> from penstock.pipes import IterableWrapper
        >>> [batch["x"] for batch in IterableWrapper([path]).read_arrow(batch_size=2)]
        [array([1, 2]), array([3])]
    """

    def __init__(
        self,
        source_datapipe: IterDataPipe[Any],
        columns: Sequence[str] | None = None,
        filter: Condition | None = None,
        *,
        batch_size: int | None = None,
        as_: Literal["numpy", "torch", "arrow"] = "numpy",
        storage_options: dict[str, Any] | None = None,
        conversion: Conversion | None = None,
    ) -> None:
        super().__init__(source_datapipe, columns, filter, batch_size, as_, storage_options, conversion)

    def opened(self, url: str, patient: Callable[[Any], Any], footer: Any) -> ArrowFile:
        return ArrowFile(url, self.storage_options, patient)
