"""RowTaker (``take_rows``)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from penstock.core.bad import GuardedData
from penstock.core.context import Context
from penstock.core.pipe import IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.pipes._taking import Takes, taking

__all__ = ["RowTaker"]


@functional_datapipe("take_rows")
class RowTaker(IterDataPipe[Any]):
    """Make rows of a table batches of columns, ``batch_size`` rows each (functional name: ``take_rows``).

    What ``batch`` is to samples, for a `ParquetTable` or `LanceTable` from which ``shuffle`` or ``to_iter_datapipe``
    gives rows: each batch is taken in one go, or some of them together where that is faster, and no row is ever an
    object by itself. Only steps that act on the rows' numbers may stand between: sharding, ``header``.

    Args:
        source_datapipe: the source, of a table's rows.
        batch_size: rows per batch, at least 1.
        drop_last: leave out a short last batch.

    Raises:
        ValueError: ``batch_size`` is below 1.
        TypeError: (when run) the source gives no rows of a table.

    State: none of its own.

    Example:
        >>> import os, tempfile
        >>> import pyarrow, pyarrow.parquet
        >>> path = os.path.join(tempfile.mkdtemp(), "a.parquet")
        >>> pyarrow.parquet.write_table(pyarrow.table({"x": [1, 2, 3]}), path)
        >>> from penstock.pipes.map import ParquetTable
        >>> list(ParquetTable([path]).to_iter_datapipe([2, 0, 1]).take_rows(2))
        [{'x': array([3, 1])}, {'x': array([2])}]
    """

    def __init__(self, source_datapipe: IterDataPipe[Any], batch_size: int, drop_last: bool = False) -> None:
        source_datapipe = check_source(self, source_datapipe)
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.source_datapipe = source_datapipe
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.arity = batch_size

    def __len__(self) -> int:
        rows = len(self.source_datapipe)
        return rows // self.batch_size if self.drop_last else -(-rows // self.batch_size)

    def build(self, ctx: Context, state: State = None) -> Stream[Any]:
        up = ctx.build(self.source_datapipe, state, indices=True, holes=True)
        table: Any = up.data
        if isinstance(table, GuardedData):
            table = table.data
        if not isinstance(table, Takes):
            up.close()
            given = "items" if table is None else f"those of a {type(table).__name__}"
            source = self.source_datapipe
            raise TypeError(
                f"take_rows needs rows of a table, such as ParquetTable(paths).shuffle(), but {source!r} gives {given}"
            )
        it, size = up.it, self.batch_size
        numbers: Iterator[list[Any]] = iter(lambda: list(islice(it, size)), [])
        if self.drop_last:
            numbers = (part for part in numbers if len(part) == size)
        return taking(self, ctx, up, table, numbers, size)
