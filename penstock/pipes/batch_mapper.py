"""BatchMapper (``map_batches``)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from penstock.core.context import Context
from penstock.core.pipe import IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.pipes._columns import Columns, check_callable, pick
from penstock.pipes._nested import nested
from penstock.pipes.batcher import Batcher

U = TypeVar("U")


@functional_datapipe("map_batches")
class BatchMapper(IterDataPipe[U]):
    """Turn each ``batch_size`` items into those of ``fn(batch)``, one by one (functional name: ``map_batches``).

    Args:
        datapipe: the source.
        fn: gets a list of items, of which the last one may be shorter, and returns any number of items.
        batch_size: how many items it gets, at least 1.
        input_col: the column of each item that ``fn`` gets; with a list of columns, a tuple of each item.

    Raises:
        AssertionError: ``batch_size`` is below 1.

    State: the source's state ahead of the batch, and how many of its results have been given.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper(range(5)).map_batches(lambda batch: [x - batch[0] for x in batch], batch_size=3))
        [0, 1, 2, 0, 1]
    """

    def __init__(
        self,
        datapipe: IterDataPipe[Any],
        fn: Callable[[list[Any]], Iterable[U]],
        batch_size: int,
        input_col: Columns | None = None,
    ) -> None:
        datapipe = check_source(self, datapipe)
        check_callable(fn)
        self.datapipe: IterDataPipe[list[Any]] = Batcher(datapipe, batch_size, wrapper_class=list)
        self.fn = fn
        self.input_col = input_col

    def __len__(self) -> int:
        raise TypeError(f"{type(self).__name__}'s length relies on the output of its function.")

    def build(self, ctx: Context, state: State = None) -> Stream[U]:
        fn, columns = self.fn, self.input_col
        several = isinstance(columns, (list, tuple))

        def expand(batch: list[Any]) -> Iterable[U]:
            if columns is None:
                return fn(batch)
            return fn([pick(item, columns) if several else item[columns] for item in batch])

        return nested(self, self.datapipe, expand, ctx, state)
