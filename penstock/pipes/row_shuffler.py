"""RowShuffler (``shuffle_rows``)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from penstock.core.bad import HOLE, Lossy, carrying, settled, with_losses
from penstock.core.context import Context
from penstock.core.errors import StateError
from penstock.core.pipe import IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.seeds import hash_key, philox
from penstock.core.stream import State, Stream
from penstock.pipes._batches import joined, taken
from penstock.pipes._row_cutter import RowCutter
from penstock.pipes._shuffling import Shuffling, shuffle_key

_START: list[Any] = [[None, 0], 0, 0, None]


@functional_datapipe("shuffle_rows")
class RowShuffler(Shuffling, IterDataPipe[Any]):
    """Shuffle the rows of batches of columns, window by window (functional name: ``shuffle_rows``).

    A window is ``buffer_rows`` consecutive rows, whatever batches they come in; a batch is taken from it in one go for
    each column. Shuffle the files or row groups as well: a row moves by less than two windows. While one window is
    given, the next one is read: twice ``buffer_rows`` rows are in memory.

    Args:
        source_datapipe: the source, of batches: dicts of arrays, tensors or lists, or `pyarrow.RecordBatch`.
        buffer_rows: rows per window, at least 1; as many as make whole batches, where ``batch_size`` is given.
        batch_size: rows per batch, but for the last; unless given, as many as the largest batch has that the window
            takes rows of, and fewer at its end.

    Raises:
        ValueError: a number below 1; (when run) batches with other columns, or columns of other types.

    State: where the window begins (the source's state ahead of its first batch, and the row there), its number and
        size, and how many of its rows have been given.

    Example:
        >>> import numpy as np
        >>> from penstock.pipes import IterableWrapper
        >>> batches = IterableWrapper([{"x": np.arange(3)}, {"x": np.arange(3, 5)}]).shuffle_rows(batch_size=4)
        >>> sorted(np.concatenate([batch["x"] for batch in batches]).tolist())
        [0, 1, 2, 3, 4]
    """

    def __init__(
        self, source_datapipe: IterDataPipe[Any], buffer_rows: int = 100_000, *, batch_size: int | None = None
    ) -> None:
        source_datapipe = check_source(self, source_datapipe)
        if buffer_rows < 1:
            raise ValueError(f"buffer_rows must be at least 1, got {buffer_rows}")
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.source_datapipe = source_datapipe
        self.buffer_rows = buffer_rows
        self.batch_size = batch_size

    def build(self, ctx: Context, state: State = None) -> Stream[Any]:
        name = ctx.name(self)
        saved = ctx.own(self, state)
        anchor, window, given, size = saved or _START
        up = ctx.build(self.source_datapipe, anchor[0], holes=True)
        cutter = RowCutter(name, up, anchor[1])
        key = shuffle_key(self, ctx)
        room = self.buffer_rows
        if self.batch_size is not None:
            room = max(self.batch_size, room - room % self.batch_size)
        here: list[Any] = [cutter.place(), window, given, size]

        def batches() -> Iterator[Any]:
            nonlocal here
            start, number, first = here[:3]
            lost = Lossy(HOLE)  # of this window: told with its last batch, as who is restored reads all of it again
            pieces, count = cutter.take(room)
            if size is not None and count != size:
                raise StateError(
                    f"{name!r} cannot be restored: its window had {size} rows when the state was saved, and now "
                    f"{count}; something upstream of it is not deterministic"
                )
            while pieces:
                settled(cutter.lost, lost)
                cutter.lost = Lossy(HOLE)
                step = self.batch_size or cutter.largest
                cutter.largest = 0
                rows, behind = joined(pieces), cutter.place()
                order = self._order(key, number, count)
                upcoming: list[Any] = []
                there = 0
                for low in range(first, count, step):
                    high = min(low + step, count)
                    here = [start, number, high, count]
                    batch = taken(rows, order[low:high])
                    yield batch if high < count else carrying(batch, lost)
                    # As much of the next window as has been given of this one, so that there is no gap between them.
                    more, new = cutter.take(room * high // count - there)
                    upcoming += more
                    there += new
                start, number, first = behind, number + 1, 0
                lost = Lossy(HOLE)
                more, new = cutter.take(room - there)
                pieces, count = upcoming + more, there + new
            settled(cutter.lost, lost)
            yield from with_losses(iter(()), lost)

        running = batches()
        return Stream(running, lambda: {name: here}, closers=(running, up))

    def _order(self, key: tuple[int, int], number: int, count: int) -> Any:
        import numpy as np

        return philox(hash_key(key, number)).permutation(count) if self._enabled else np.arange(count)
