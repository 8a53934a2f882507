"""DataFrameMaker (``dataframe``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from penstock.core.bad import gathered
from penstock.core.context import Context
from penstock.core.pipe import IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.pipes._columns import check_callable
from penstock.pipes.parquet_loader import check_device, schema_of


@functional_datapipe("dataframe")
class DataFrameMaker(IterDataPipe[Any]):
    """Gather rows into tables: items become a `pyarrow.Table` for each batch of them (functional name: ``dataframe``).

    torchdata made data frames of torcharrow, a package that is no longer maintained.

    Args:
        source_dp: rows: dicts, or tuples or lists of one value for each column, or, for one column, values.
        dataframe_size: rows per table, at least 1. The last table may be shorter.
        dtype: a `pyarrow.Schema`, or a list of (name, type); names and types are those of the rows unless given.
        dtype_generator: makes the dtype when the graph runs; counts rather than ``dtype``.
        columns: the names of the columns; of dicts, the columns to take.
        device: "" or "cpu"; tables are made in memory.

    Raises:
        ValueError: a size less than 1, or another device.

    State: none of its own.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> rows = IterableWrapper([(1, "a"), (2, "b"), (3, "c")])
        >>> [table.to_pydict() for table in rows.dataframe(2, columns=["x", "y"])]
        [{'x': [1, 2], 'y': ['a', 'b']}, {'x': [3], 'y': ['c']}]
    """

    def __init__(
        self,
        source_dp: IterDataPipe[Any],
        dataframe_size: int = 1000,
        dtype: Any = None,
        dtype_generator: Callable[[], Any] | None = None,
        columns: list[str] | None = None,
        device: str = "",
    ) -> None:
        source_dp = check_source(self, source_dp)
        if dataframe_size < 1:
            raise ValueError(f"dataframe_size must be at least 1, got {dataframe_size}")
        if dtype_generator is not None:
            check_callable(dtype_generator)
        check_device(device)
        self.source_dp = source_dp
        self.dataframe_size = dataframe_size
        self.dtype = dtype
        self.dtype_generator = dtype_generator
        self.columns = columns
        self.device = device
        self.arity = dataframe_size

    def __len__(self) -> int:
        return -(-len(self.source_dp) // self.dataframe_size)

    def build(self, ctx: Context, state: State = None) -> Stream[Any]:
        up = ctx.build(self.source_dp, state, holes=True)
        it, size, columns = up.it, self.dataframe_size, self.columns
        schema = schema_of(self.dtype if self.dtype_generator is None else self.dtype_generator())
        batches: Iterator[list[Any]] = iter(lambda: list(islice(it, size)), [])
        places = None
        if (inner := up.places) is not None:
            places = lambda: (place // size for place in islice(inner(), 0, None, size))  # noqa: E731
        table = ctx.guarded(self, lambda rows: _table(rows, schema, columns))
        tables = (gathered(rows, table) for rows in batches) if ctx.bad is not None else map(table, batches)
        return up.onward(tables, skip=lambda n: up.skip(n * size), places=places)


def _table(rows: list[Any], schema: Any, columns: list[str] | None) -> Any:
    import pyarrow as pa

    names = columns if columns is not None else schema.names if schema is not None else None
    first = rows[0]
    if isinstance(first, dict):
        names = list(first) if names is None else names
        values: list[list[Any]] = [[row[name] for row in rows] for name in names]
    else:
        several = isinstance(first, (tuple, list))
        values = [list(column) for column in zip(*rows, strict=True)] if several else [rows]
        names = [str(i) for i in range(len(values))] if names is None else names
        if len(names) != len(values):
            raise ValueError(f"rows have {len(values)} columns, and {len(names)} are named: {names}")
    if schema is None:
        return pa.table(dict(zip(names, values, strict=True)))
    kinds = [schema.field(name).type for name in names]
    arrays = [pa.array(column, kind) for column, kind in zip(values, kinds, strict=True)]
    return pa.Table.from_arrays(arrays, schema=pa.schema([schema.field(name) for name in names]))
