"""Batches of columns into others: ``select``, ``to_numpy``, ``to_tensors``; and into samples: ``rows``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from penstock.core.context import Context
from penstock.core.leaving import Tensors
from penstock.core.pipe import ONE_TO_ONE, IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.pipes._batches import is_record_batch, ready_for_tensors, row_count, rows_of, selected, tensors
from penstock.pipes._nested import nested
from penstock.pipes._table_columns import check_columns
from penstock.pipes._tensors_later import leaves_from, to_leave

if TYPE_CHECKING:
    from penstock.serialization.columns import Conversion

__all__ = ["ColumnSelector", "RowUnpacker", "ToNumpy", "ToTensors"]


@functional_datapipe("select")
class ColumnSelector(IterDataPipe[Any]):
    """Keep some columns of batches, in this order (functional name: ``select``).

    Args:
        source_datapipe: the source, of batches: dicts of arrays, tensors or lists, or `pyarrow.RecordBatch`.
        columns: the names.

    Raises:
        ValueError: ``columns`` is empty or has a name twice.
        KeyError: (when run) a batch lacks a column.

    State: none of its own.

    Example:
        >>> import numpy as np
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper([{"x": np.arange(2), "y": np.arange(2)}]).select(["y"]))
        [{'y': array([0, 1])}]
    """

    arity = ONE_TO_ONE

    def __init__(self, source_datapipe: IterDataPipe[Any], columns: Sequence[str]) -> None:
        source_datapipe = check_source(self, source_datapipe)
        names = check_columns(columns)
        if names is None:
            raise TypeError("columns must be a list of names, got None")
        self.source_datapipe = source_datapipe
        self.columns = names

    def __len__(self) -> int:
        return len(self.source_datapipe)

    def build(self, ctx: Context, state: State = None) -> Stream[Any]:
        def select(batch: Any) -> Any:
            row_count(batch)
            return selected(batch, self.columns)

        return ctx.each(self, self.source_datapipe, state, select)


class _Converter(IterDataPipe[dict[str, Any]]):
    arity = ONE_TO_ONE

    def __init__(self, source_datapipe: IterDataPipe[Any], conversion: Conversion | None = None) -> None:
        self.source_datapipe: IterDataPipe[Any] = check_source(self, source_datapipe)
        self.conversion = conversion

    def __len__(self) -> int:
        return len(self.source_datapipe)


@functional_datapipe("to_numpy")
class ToNumpy(_Converter):
    """Make batches of columns dicts of numpy arrays (functional name: ``to_numpy``).

    Of a `pyarrow.RecordBatch` as `penstock.serialization.columns.Conversion` says; of a dict of tensors by views of
    them.

    Args:
        source_datapipe: the source, of batches.
        conversion: what becomes of each of Arrow's types, and of nulls, which are an error unless it says otherwise.

    Raises:
        DecodeError: (when run) a null, unless ``conversion`` says what it is to be.

    State: none of its own.

    Example:
        >>> import pyarrow
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper([pyarrow.record_batch({"x": [1, 2]})]).to_numpy())
        [{'x': array([1, 2])}]
    """

    def __init__(self, source_datapipe: IterDataPipe[Any], conversion: Conversion | None = None) -> None:
        super().__init__(source_datapipe, conversion)

    def build(self, ctx: Context, state: State = None) -> Stream[dict[str, Any]]:
        from penstock.serialization.columns import Conversion

        convert = (self.conversion or Conversion()).to_numpy

        def converted(batch: Any) -> Any:
            return convert(batch) if is_record_batch(batch) else _arrays(batch)

        return ctx.each(self, self.source_datapipe, state, converted)


@functional_datapipe("to_tensors")
class ToTensors(_Converter):
    """Make batches of columns dicts of tensors (functional name: ``to_tensors``).

    Of a `pyarrow.RecordBatch` as `penstock.serialization.columns.Conversion` says; of a dict of arrays by views of them
    (copies of those that must not be written into). What torch has no type for stays as it is.

    Args:
        source_datapipe: the source, of batches.
        conversion: what becomes of each of Arrow's types, and of nulls, which are an error unless it says otherwise.

    Raises:
        DecodeError: (when run) a null, unless ``conversion`` says what it is to be.

    State: none of its own.

    Example:
        >>> import pyarrow
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper([pyarrow.record_batch({"x": [1, 2], "y": ["a", "b"]})]).to_tensors())
        [{'x': tensor([1, 2]), 'y': ['a', 'b']}]
    """

    def __init__(self, source_datapipe: IterDataPipe[Any], conversion: Conversion | None = None) -> None:
        super().__init__(source_datapipe, conversion)

    def build(self, ctx: Context, state: State = None) -> Stream[dict[str, Any]]:
        from penstock.serialization.columns import Conversion

        conversion = self.conversion or Conversion()
        if leaves_from(ctx, self):
            arrays = to_leave(conversion, torch=True)

            def converted(batch: Any) -> Any:
                return arrays(batch) if is_record_batch(batch) else Tensors(ready_for_tensors(batch))
        else:

            def converted(batch: Any) -> Any:
                return conversion.to_torch(batch) if is_record_batch(batch) else tensors(batch)

        return ctx.each(self, self.source_datapipe, state, converted)


@functional_datapipe("rows")
class RowUnpacker(IterDataPipe[dict[str, Any]]):
    """Make batches of columns samples: a dict for each row (functional name: ``rows``).

    Of a `pyarrow.RecordBatch` with Python's values, of arrays and tensors with what lies at one index of them. This
    costs a dict for each row: what works on whole batches is many times faster.

    Args:
        source_datapipe: the source, of batches: dicts of arrays, tensors or lists, or `pyarrow.RecordBatch`.

    State: the state ahead of the batch, and how many of its rows have been given.

    Example:
        >>> import pyarrow
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper([pyarrow.record_batch({"x": [1, 2], "y": ["a", "b"]})]).rows())
        [{'x': 1, 'y': 'a'}, {'x': 2, 'y': 'b'}]
    """

    def __init__(self, source_datapipe: IterDataPipe[Any]) -> None:
        self.source_datapipe: IterDataPipe[Any] = check_source(self, source_datapipe)

    def build(self, ctx: Context, state: State = None) -> Stream[dict[str, Any]]:
        return nested(self, self.source_datapipe, rows_of, ctx, state)


def _arrays(batch: Any) -> dict[str, Any]:
    row_count(batch)
    return {name: _as_array(column) for name, column in batch.items()}


def _as_array(column: Any) -> Any:
    if isinstance(column, dict):
        return _arrays(column)
    if type(column).__module__.partition(".")[0] == "torch":
        return column.numpy()
    return column
