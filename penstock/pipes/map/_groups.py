"""Rows by number, of tables whose rows come in groups: what stands behind `ParquetTable` and `ArrayTable`.

The rows that are asked for are taken with one call for each group that they lie in. A group is decoded whole, and kept
while there is room.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from penstock.pipes._batches import joined, row_numbers, taken

__all__ = ["Groups", "Source"]


class Source(Protocol):
    """Where groups of rows come from. It is asked under a lock, and a copy of it begins anew."""

    def groups(self) -> Iterable[tuple[Any, int]]:
        """Return each group: what ``decode`` is to be told, and how many rows it has."""
        ...

    def decode(self, group: Any) -> tuple[Any, int]:
        """Return the rows of a group as a batch of columns, and how many bytes of memory they take."""
        ...

    def none(self) -> Any:
        """Return a batch of no rows."""
        ...


class Groups:
    """The groups of a table: how many rows they have, and the last ones that were decoded. Any thread may ask.

    A copy in another process begins without either.
    """

    def __init__(self, source: Source, cache_bytes: int) -> None:
        self._source, self._cache_bytes = source, cache_bytes
        self._lock = threading.RLock()
        self._starts: Any = None
        self._groups: list[Any] = []
        self._decoded: OrderedDict[int, tuple[Any, int]] = OrderedDict()
        self._bytes = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return Groups, (self._source, self._cache_bytes)

    def starts(self) -> Any:
        """Return the number of each group's first row, and behind them that of all rows."""
        import numpy as np

        with self._lock:
            if self._starts is None:
                found = list(self._source.groups())
                self._groups = [group for group, _ in found]
                self._starts = np.cumsum([0, *(rows for _, rows in found)])
            return self._starts

    def take(self, indices: Sequence[Any]) -> Any:
        """Return rows as a batch of columns, in the order of their numbers; below 0 they count from the end."""
        import numpy as np

        starts = self.starts()
        rows = row_numbers(indices, int(starts[-1]))
        if not len(rows):
            return self._source.none()
        if len(starts) == 2:
            return taken(self._group(0), rows)
        groups = np.searchsorted(starts, rows, "right") - 1
        order = np.argsort(groups, kind="stable")
        found, firsts = np.unique(groups[order], return_index=True)
        pieces = []
        for group, part in zip(found.tolist(), np.split(order, firsts[1:]), strict=True):
            pieces.append(taken(self._group(group), rows[part] - starts[group]))
        together = joined(pieces)
        if len(pieces) == 1 and np.array_equal(order, np.arange(len(order))):
            return together
        back = np.empty(len(order), np.int64)
        back[order] = np.arange(len(order))
        return taken(together, back)

    def _group(self, number: int) -> Any:
        with self._lock:
            known = self._decoded.pop(number, None)
            if known is None:
                known = self._source.decode(self._groups[number])
                self._bytes += known[1]
                while self._decoded and self._bytes > self._cache_bytes:
                    self._bytes -= self._decoded.popitem(last=False)[1][1]
            self._decoded[number] = known
            return known[0]
