"""Filter (``filter``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

from penstock.core.bad import DROPPED
from penstock.core.context import Context
from penstock.core.pipe import IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.pipes._columns import Columns, check_columns, pick
from penstock.pipes.row_filter import filtered_rows

T = TypeVar("T")


@functional_datapipe("filter")
class Filter(IterDataPipe[T]):
    """Keep the items for which a function is true (functional name: ``filter``).

    Args:
        datapipe: the source.
        filter_fn: the function. Its result counts by truth, as with Python's ``filter``. A
            `pyarrow.compute.Expression` keeps the rows of batches of columns, as ``filter_rows`` does.
        input_col: the columns of an item that ``filter_fn`` gets; the whole item unless given.

    State: none of its own.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper(range(6)).filter(lambda x: x % 2))
        [1, 3, 5]
    """

    holds_nothing = True

    @overload
    def __init__(self, datapipe: IterDataPipe[T], filter_fn: Callable[[T], Any]) -> None: ...
    @overload
    def __init__(self, datapipe: IterDataPipe[T], filter_fn: Callable[..., Any], input_col: Columns | None) -> None: ...
    def __init__(
        self, datapipe: IterDataPipe[T], filter_fn: Callable[..., Any], input_col: Columns | None = None
    ) -> None:
        datapipe = check_source(self, datapipe)
        self._of_rows = type(filter_fn).__name__ == "Expression"
        if not self._of_rows or input_col is not None:
            check_columns(filter_fn, input_col)
        self.datapipe = datapipe
        self.filter_fn = filter_fn
        self.input_col = input_col

    def build(self, ctx: Context, state: State = None) -> Stream[T]:
        if self._of_rows:
            return filtered_rows(self, self.datapipe, self.filter_fn, ctx, state)
        up = ctx.build(self.datapipe, state, holes=True)
        fn, columns = self.filter_fn, self.input_col
        if ctx.bad is not None:

            def kept(x: T) -> Any:
                return x if (fn(x) if columns is None else fn(*pick(x, columns))) else DROPPED

            kept = ctx.guarded(self, kept)
            return up.onward(x for x in map(kept, up.it) if x is not DROPPED)
        if columns is None:
            return up.onward(x for x in up.it if fn(x))
        return up.onward(x for x in up.it if fn(*pick(x, columns)))
