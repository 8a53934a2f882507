"""ParquetReader (``read_parquet``) and RowGroupLister (``list_row_groups``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from penstock.core.pipe import IterDataPipe
from penstock.core.registry import functional_datapipe
from penstock.pipes._condition import Condition, as_expression, check_condition, columns_of
from penstock.pipes._group_lister import GroupLister, count_of_groups
from penstock.pipes._table_files import ParquetFile
from penstock.pipes._table_reader import TableReader

if TYPE_CHECKING:
    from penstock.serialization.columns import Conversion

__all__ = ["ParquetReader", "RowGroupLister"]


@functional_datapipe("list_row_groups")
class RowGroupLister(GroupLister):
    """List Parquet's row groups: ``url`` becomes each ``(url, first, stop)`` (functional name: ``list_row_groups``).

    A row group is what ``read_parquet`` reads in one go. Between the two is the place to shuffle and to divide::

        urls.list_row_groups().shuffle().sharding_filter().read_parquet(batch_size=1024).shuffle_rows(100_000)

    Args:
        source_datapipe: paths or URLs, of any kind that fsspec knows.
        groups: how many row groups make a span.
        filter: leave out the spans that statistics rule out, as ``read_parquet`` would; so that shares are even.
        storage_options: fsspec's, for the connection.

    Raises:
        ValueError: ``groups`` is below 1.
        DecodeError: (when run) names the file whose footer cannot be read, or that lacks a column of the filter.

    State: the index of the span, and how many the file has; another number on restoring is a StateError.

    Example:
        >>> import os, tempfile
        >>> import pyarrow, pyarrow.parquet
        >>> path = os.path.join(tempfile.mkdtemp(), "a.parquet")
        >>> pyarrow.parquet.write_table(pyarrow.table({"x": [1, 2, 3]}), path, row_group_size=2)
        >>> from penstock.pipes import IterableWrapper
        >>> [(first, stop) for url, first, stop in IterableWrapper([path]).list_row_groups()]
        [(0, 1), (1, 2)]
    """

    def __init__(
        self,
        source_datapipe: IterDataPipe[Any],
        groups: int = 1,
        *,
        filter: Condition | None = None,
        storage_options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(source_datapipe, groups, storage_options)
        self.condition = check_condition(filter)

    def __len__(self) -> int:
        return count_of_groups(self)

    def found(self, url: str) -> tuple[int, Any]:
        file = ParquetFile(url, self.storage_options, lambda read: read)
        try:
            if self.condition is None:
                return file.groups, range(file.groups)
            expression = as_expression(self.condition)
            columns_of(expression, file.schema, url)
            return file.groups, set(file.kept(expression))
        finally:
            file.close()


@functional_datapipe("read_parquet")
class ParquetReader(TableReader):
    """Read Parquet files: ``url`` becomes batches of its columns (functional name: ``read_parquet``).

    A batch is a dict of numpy arrays, a dict of tensors, or a `pyarrow.RecordBatch`. No batch has rows of two row
    groups: ``rebatch`` makes batches of exactly one size, and ``shuffle_rows`` mixes rows. The source may give paths
    and URLs, then each is read from its first row to the last; or the spans of ``list_row_groups``, which can be
    shuffled and dealt to workers.

    Only the columns that are asked for, and those that the filter looks at, are read; and no row group in which, by its
    statistics, no row passes. One row group's column chunks are in memory at a time; of a local file, those of row
    groups above 8 MiB only in part.

    Args:
        source_datapipe: paths or URLs, of any kind that fsspec knows, or spans: ``(url, first, stop)``.
        columns: read only these, and give them in this order; all unless given.
        filter: give only the rows for which this holds: a `pyarrow.compute.Expression`, or a list of (column, op,
            value) that must all hold, or a list of such lists, one of which must.
        batch_size: rows per batch, fewer at the end of a row group and where rows were filtered out; unless given, as
            many as 16 MiB have, at most 65,536.
        as_: ``numpy``, ``torch`` or ``arrow``. Arrays and tensors can be written into.
        storage_options: fsspec's, for the connection.
        conversion: what becomes of each of Arrow's types, and of nulls, which are an error unless it says otherwise.
        use_threads: let pyarrow decode columns in parallel; workers are the better use of cores, as a rule.

    Raises:
        ValueError: ``batch_size`` is below 1; ``columns`` is empty or has a name twice; no such form or operator.
        DecodeError: (when run) names the file, the row group, and what is wrong: it is empty or was cut, bytes that
            cannot be decoded, a column that is missing or has another type than in the first file, a null. Where bad
            samples are skipped, such a file or row group counts as one.

    State: the row group and how many of its rows have been given, and the first file. Restoring reads one row group's
    columns again, at most.

    Example:
        >>> import os, tempfile
        >>> import pyarrow, pyarrow.parquet
        >>> path = os.path.join(tempfile.mkdtemp(), "a.parquet")
        >>> pyarrow.parquet.write_table(pyarrow.table({"x": [1, 2, 3], "y": list("abc")}), path)
        >>> from penstock.pipes import IterableWrapper
        >>> [batch["x"] for batch in IterableWrapper([path]).read_parquet(["x"], batch_size=2, as_="torch")]
        [tensor([1, 2]), tensor([3])]
        >>> [batch["y"] for batch in IterableWrapper([path]).read_parquet(filter=[("x", ">", 1)])]
        [['b', 'c']]
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
        use_threads: bool = False,
    ) -> None:
        super().__init__(source_datapipe, columns, filter, batch_size, as_, storage_options, conversion)
        self.use_threads = use_threads

    def opened(self, url: str, patient: Callable[[Any], Any], footer: Any) -> ParquetFile:
        return ParquetFile(url, self.storage_options, patient, footer, self.use_threads)
