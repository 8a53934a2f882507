"""Rebatcher (``rebatch``)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from penstock.core.bad import with_losses
from penstock.core.context import Context
from penstock.core.pipe import IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.pipes._batches import joined
from penstock.pipes._row_cutter import RowCutter


@functional_datapipe("rebatch")
class Rebatcher(IterDataPipe[Any]):
    """Make batches of columns into batches of ``batch_size`` rows (functional name: ``rebatch``).

    Also over the borders of files and row groups. What lies in one batch of the source becomes a view of it, what lies
    in several is put together: one copy at most. The last batch may be shorter.

    Args:
        source_datapipe: the source, of batches: dicts of arrays, tensors or lists, or `pyarrow.RecordBatch`.
        batch_size: rows per batch, at least 1.
        drop_last: leave out a short last batch.

    Raises:
        ValueError: ``batch_size`` is below 1; (when run) batches with other columns, or columns of other
            types, cannot be put together.

    State: the source's state ahead of the batch that has the next row, and how many of its rows have been taken.

    Example:
        >>> import numpy as np
        >>> from penstock.pipes import IterableWrapper
        >>> batches = IterableWrapper([{"x": np.arange(3)}, {"x": np.arange(3, 5)}])
        >>> list(batches.rebatch(2))
        [{'x': array([0, 1])}, {'x': array([2, 3])}, {'x': array([4])}]
    """

    def __init__(self, source_datapipe: IterDataPipe[Any], batch_size: int, drop_last: bool = False) -> None:
        source_datapipe = check_source(self, source_datapipe)
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.source_datapipe = source_datapipe
        self.batch_size = batch_size
        self.drop_last = drop_last

    def build(self, ctx: Context, state: State = None) -> Stream[Any]:
        name = ctx.name(self)
        anchor, row = ctx.own(self, state) or (None, 0)
        up = ctx.build(self.source_datapipe, anchor, holes=True)
        cutter = RowCutter(name, up, row)

        def batches() -> Iterator[Any]:
            while True:
                pieces, count = cutter.take(self.batch_size)
                if not pieces or (self.drop_last and count < self.batch_size):
                    return
                yield joined(pieces)

        running = with_losses(batches(), cutter.lost)
        return Stream(running, lambda: {name: cutter.place()}, closers=(running, up))
