"""RowFilter (``filter_rows``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from penstock.core.bad import DROPPED
from penstock.core.context import Context
from penstock.core.pipe import IterDataPipe, Pipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.pipes._batches import row_count, taken
from penstock.pipes._condition import Condition, as_expression, check_condition, rows_that_hold

__all__ = ["RowFilter", "filtered_rows"]


@functional_datapipe("filter_rows")
class RowFilter(IterDataPipe[Any]):
    """Keep the rows of batches of columns for which a condition holds (functional name: ``filter_rows``).

    A batch of which no row is left is left out. Where it is known ahead, ``filter=`` of ``read_parquet`` reads less.

    Args:
        source_datapipe: the source, of batches: dicts of arrays, tensors or lists, or `pyarrow.RecordBatch`.
        condition: a `pyarrow.compute.Expression`; a list of (column, op, value) that must all hold, or a list of such
            lists, one of which must; or a function of a batch that returns its mask, a boolean for each row.

    Raises:
        TypeError: ``condition`` is nothing of that; (when run) a mask is not of booleans.
        ValueError: no such operator; (when run) a mask has another length than the batch.
        KeyError: (when run) a batch lacks a column of the condition.

    State: none of its own.

    Example:
        >>> import numpy as np
        >>> from penstock.pipes import IterableWrapper
        >>> batches = IterableWrapper([{"x": np.arange(3)}, {"x": np.arange(3, 6)}])
        >>> list(batches.filter_rows(lambda batch: batch["x"] % 2 == 0))
        [{'x': array([0, 2])}, {'x': array([4])}]
        >>> list(batches.filter_rows([("x", ">", 3)]))
        [{'x': array([4, 5])}]
    """

    def __init__(self, source_datapipe: IterDataPipe[Any], condition: Condition | Callable[[Any], Any]) -> None:
        source_datapipe = check_source(self, source_datapipe)
        if condition is None:
            raise TypeError("a condition is expected, but got None")
        self.source_datapipe = source_datapipe
        self.condition = condition if _is_function(condition) else check_condition(condition)

    def build(self, ctx: Context, state: State = None) -> Stream[Any]:
        return filtered_rows(self, self.source_datapipe, self.condition, ctx, state)


def filtered_rows(
    pipe: Pipe, source: IterDataPipe[Any], condition: Condition | Callable[[Any], Any], ctx: Context, state: State
) -> Stream[Any]:
    """Return the stream of a source's batches without the rows for which a condition does not hold."""
    if _is_function(condition):
        function: Any = condition
        rows: Callable[[Any], Any] = lambda batch: _rows_of_mask(function(batch), row_count(batch))  # noqa: E731
    else:
        expression = as_expression(condition)
        rows = lambda batch: rows_that_hold(expression, batch)  # noqa: E731

    def kept(batch: Any) -> Any:
        found = rows(batch)
        if len(found) == row_count(batch):
            return batch if len(found) else DROPPED
        return taken(batch, found) if len(found) else DROPPED

    up, kept = ctx.build(source, state, holes=True), ctx.guarded(pipe, kept)
    return up.onward(left for batch in up.it if (left := kept(batch)) is not DROPPED)


def _is_function(condition: Any) -> bool:
    return callable(condition) and type(condition).__name__ != "Expression"


def _rows_of_mask(mask: Any, count: int) -> Any:
    """Return the numbers of the rows for which a mask is true; a null in it is not."""
    import numpy as np

    if hasattr(mask, "fill_null"):
        mask = mask.fill_null(False).to_numpy(zero_copy_only=False)
    found = np.asarray(mask)
    if found.dtype != np.bool_ and count:
        raise TypeError(f"a mask has a boolean for each row, but got {found.dtype}")
    if found.shape != (count,):
        raise ValueError(f"a mask has a boolean for each of the {count} rows, but got the shape {found.shape}")
    return np.flatnonzero(found)
