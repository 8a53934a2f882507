"""Rows out of batches, in any number: behind ``rebatch`` and ``shuffle_rows``."""

from __future__ import annotations

from typing import Any

from penstock.core.bad import HOLE, Lossy, settled
from penstock.core.errors import StateError
from penstock.core.stream import State, Stream
from penstock.pipes._batches import row_count, sliced

__all__ = ["RowCutter"]

_END: Any = object()


class RowCutter:
    """The rows of a stream of batches, which may have holes.

    Args:
        name: of the step, for errors.
        up: the stream.
        row: where in its first batch to begin.

    Attributes:
        lost: what was lost between the rows that have been taken, until somebody tells of it. What a batch has lost
            counts behind its last row: who is restored within it reads it again.
        largest: how many rows the largest batch has that was taken from, until somebody sets it to 0.
    """

    def __init__(self, name: str, up: Stream[Any], row: int) -> None:
        self._name = name
        self._up = up
        self._batch: Any = None  # the one that is being cut, with the state ahead of it
        self._ahead: State = None
        self._own = Lossy(HOLE)  # what that batch has lost
        self._row, self._rows = row, 0
        self.lost = Lossy(HOLE)
        self.largest = 0

    def place(self) -> list[Any]:
        """Return where the next row is: the state ahead of its batch, and its number there."""
        return [self._up.state() if self._batch is None else self._ahead, self._row]

    def take(self, count: int) -> tuple[list[Any], int]:
        """Return the next rows, as pieces of batches, and how many there are: fewer than ``count`` at the end."""
        pieces, wanted = [], count
        while count:
            if self._batch is None and not self._next_batch():
                break
            self.largest = max(self.largest, self._rows)
            stop = min(self._row + count, self._rows)
            pieces.append(self._batch if stop - self._row == self._rows else sliced(self._batch, self._row, stop))
            count -= stop - self._row
            self._row = stop
            if stop == self._rows:
                self._batch, self._row = None, 0
                settled(self._own, self.lost)
        return pieces, wanted - count

    def _next_batch(self) -> bool:
        """Take a batch that has rows; tell whether there is one."""
        while True:
            ahead = self._up.state()
            own = Lossy(HOLE)
            batch = settled(next(self._up.it, _END), own)
            if batch is HOLE:
                settled(own, self.lost)
                continue
            rows = 0 if batch is _END else row_count(batch)
            if self._row > rows:
                raise StateError(
                    f"{self._name!r} cannot be restored: it had taken {self._row} rows of a batch that now has {rows}; "
                    "something upstream of it is not deterministic"
                )
            if batch is _END:
                return False
            if rows > self._row:
                self._batch, self._ahead, self._own, self._rows = batch, ahead, own, rows
                return True
            settled(own, self.lost)
            self._row = 0
