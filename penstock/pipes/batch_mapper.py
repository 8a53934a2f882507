"""BatchMapper (``map_batches``)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from penstock.core.context import Context
from penstock.core.pipe import ONE_TO_ONE, IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.pipes._batches import row_count, selected
from penstock.pipes._columns import Columns, check_callable, pick
from penstock.pipes._nested import nested
from penstock.pipes.batcher import Batcher


@functional_datapipe("map_batches")
class BatchMapper(IterDataPipe[Any]):
    """Call ``fn`` with each batch: of columns, or of ``batch_size`` items (functional name: ``map_batches``).

    Without a ``batch_size``, items are batches of columns already (of `read_parquet`, say), and each becomes
    ``fn(batch)``. With one, items are gathered into lists, and each list becomes the items of ``fn(batch)``, one by
    one.

    Args:
        datapipe: the source.
        fn: gets a batch of columns and returns one; or a list of items, of which the last one may be shorter, and
            returns any number of items.
        batch_size: how many items it gets, at least 1; None for batches of columns.
        input_col: the column of each item that ``fn`` gets; with a list of columns, a tuple of each item. Of a batch
            of columns: that column, or a batch of those columns.

    Raises:
        AssertionError: ``batch_size`` is below 1.
        TypeError: (when run) there is no ``batch_size``, and an item is no batch of columns.
        KeyError: (when run) a batch lacks a column.

    State: none of its own; with a ``batch_size`` the source's state ahead of the batch, and how many of its results
        have been given.

    Example:
        >>> import numpy as np
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper([{"x": np.arange(3)}]).map_batches(lambda batch: batch | {"y": batch["x"] * 2}))
        [{'x': array([0, 1, 2]), 'y': array([0, 2, 4])}]
        >>> list(IterableWrapper(range(5)).map_batches(lambda batch: [x - batch[0] for x in batch], batch_size=3))
        [0, 1, 2, 0, 1]
    """

    def __init__(
        self,
        datapipe: IterDataPipe[Any],
        fn: Callable[[Any], Any],
        batch_size: int | None = None,
        input_col: Columns | None = None,
    ) -> None:
        datapipe = check_source(self, datapipe)
        check_callable(fn)
        if batch_size is None:
            self.arity = ONE_TO_ONE
            self.datapipe: IterDataPipe[Any] = datapipe
        else:
            self.datapipe = Batcher(datapipe, batch_size, wrapper_class=list)
        self.fn = fn
        self.batch_size = batch_size
        self.input_col = input_col

    def __len__(self) -> int:
        if self.batch_size is None:
            return len(self.datapipe)
        raise TypeError(f"{type(self).__name__}'s length relies on the output of its function.")

    def build(self, ctx: Context, state: State = None) -> Stream[Any]:
        if self.batch_size is None:
            return ctx.each(self, self.datapipe, state, self._mapped)
        return nested(self, self.datapipe, self._expanded, ctx, state)

    def _mapped(self, batch: Any) -> Any:
        fn, columns = self.fn, self.input_col
        names: Any = list(columns) if isinstance(columns, (list, tuple)) else [columns]
        row_count(batch)
        if columns is None:
            return fn(batch)
        some = selected(batch, names)
        return fn(some if isinstance(columns, (list, tuple)) else some[columns])

    def _expanded(self, batch: list[Any]) -> Iterable[Any]:
        fn, columns = self.fn, self.input_col
        if columns is None:
            return fn(batch)  # type: ignore[no-any-return]  # the user's
        if isinstance(columns, (list, tuple)):
            return fn([pick(item, columns) for item in batch])  # type: ignore[no-any-return]
        return fn([item[columns] for item in batch])  # type: ignore[no-any-return]
