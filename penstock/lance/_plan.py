"""Which rows make which batch: an order of the rows, and where it is cut.

Both are computed as they are asked for, so that a plan of a billion rows takes no more memory than one of a hundred.

Ranks take turns at the batches, and must take as many steps each. Where their number does not divide that of the
batches, the last rows are cut into smaller batches: every row is in one batch, and every rank has as many. (100 rows
in batches of 8 are 13 batches. For 2 ranks they are 12 of 8 rows and 2 of 2.) Where there are not enough rows even for
batches of one, rows come again, as torch's DistributedSampler repeats them: a rank without a batch would let the others
wait for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Protocol, TypeAlias

import numpy as np

from penstock.core.permutation import Permutation

__all__ = ["Batches", "Blocks", "Order", "Part", "Picked", "Plan", "Runs", "Shuffled", "Strided"]

Rows: TypeAlias = "np.ndarray[Any, Any]"  # numbers of rows


class Order(Protocol):
    """An order of some of a table's rows."""

    def __len__(self) -> int: ...

    def between(self, low: int, high: int) -> Rows:
        """Return the numbers of the rows that stand at these places."""
        ...


class Batches(Protocol):
    """The batches of an epoch, each as the numbers of its rows."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> Rows: ...


class Strided:
    """Every ``step``-th row, from one on."""

    def __init__(self, rows: range) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def between(self, low: int, high: int) -> Rows:
        part = self._rows[low:high]
        return np.arange(part.start, part.stop, part.step)


class Runs:
    """Runs of rows, one behind another: fragments, say."""

    def __init__(self, runs: Sequence[tuple[int, int]]) -> None:
        self._runs = [(start, stop) for start, stop in runs if start < stop]
        self._ends = np.cumsum([stop - start for start, stop in self._runs], dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1]) if self._runs else 0

    def between(self, low: int, high: int) -> Rows:
        parts = []
        number = int(np.searchsorted(self._ends, low, "right"))
        while low < high:
            stop = self._runs[number][1]
            end = int(self._ends[number])
            take = min(high, end) - low
            first = stop - (end - low)
            parts.append(np.arange(first, first + take))
            low += take
            number += 1
        return _joined(parts)


class Blocks:
    """All rows, in blocks that are shuffled. A last block that is shorter stays the last."""

    def __init__(self, count: int, block: int, key: tuple[int, int]) -> None:
        self._count, self._block = count, block
        self._order = Permutation(count // block, key)

    def __len__(self) -> int:
        return self._count

    def between(self, low: int, high: int) -> Rows:
        parts = []
        while low < high:
            number, offset = divmod(low, self._block)
            take = min(high - low, self._block - offset)
            whole = number < self._count // self._block
            start = (int(self._order.between(number, number + 1)[0]) if whole else number) * self._block + offset
            parts.append(np.arange(start, start + take))
            low += take
        return _joined(parts)


class Shuffled:
    """Some rows, each at a place that a permutation says; or the first ``count`` of them."""

    def __init__(self, rows: range, key: tuple[int, int], count: int | None = None) -> None:
        self._rows = rows
        self._order = Permutation(len(rows), key)
        self._count = len(rows) if count is None else min(count, len(rows))

    def __len__(self) -> int:
        return self._count

    def between(self, low: int, high: int) -> Rows:
        return self._rows.start + self._rows.step * np.array(self._order.between(low, high), np.int64)


class Part:
    """Of an order the rows from one place to another."""

    def __init__(self, order: Order, start: int, stop: int) -> None:
        self._order, self._start, self._count = order, start, stop - start

    def __len__(self) -> int:
        return self._count

    def between(self, low: int, high: int) -> Rows:
        return self._order.between(self._start + low, self._start + high)


class Plan:
    """The batches that an order makes.

    Args:
        order: of the rows.
        batch_size: rows per batch.
        steps: how many batches there are at least: as many as other ranks have. With ``drop_last``: at most.
        ranks: how many take turns at the batches.
        drop_last: leave out what would make batches shorter.
        others: rows that are given, one by one, where ``order`` has none and there must be batches.
    """

    def __init__(
        self,
        order: Order,
        batch_size: int,
        *,
        steps: int | None = None,
        ranks: int = 1,
        drop_last: bool = False,
        others: Order | None = None,
    ) -> None:
        self._order, self._size = order, batch_size
        self._again = order if len(order) or others is None else others
        self._tail: list[tuple[int, int]] = []
        self._repeated = 0
        rows = len(order)
        if drop_last:
            full = rows // batch_size
            self._full = full // ranks * ranks if steps is None else min(full, steps)
            return
        needed = -(-rows // batch_size)
        wanted = -(-needed // ranks) * ranks if steps is None else max(needed, steps)
        count = min(rows, wanted)
        self._repeated = wanted - count
        spare = (rows - count) // (batch_size - 1) if batch_size > 1 else rows
        self._full = max(0, min(rows // batch_size, spare, count))
        ends = np.linspace(self._full * batch_size, rows, count - self._full + 1).astype(int).tolist()
        self._tail = list(pairwise(ends))

    def __len__(self) -> int:
        return self._full + len(self._tail) + self._repeated

    def __getitem__(self, number: int) -> Rows:
        if not 0 <= number < len(self):
            raise IndexError(f"there are {len(self)} batches, and number {number} is asked for")
        if number < self._full:
            return self._order.between(number * self._size, (number + 1) * self._size)
        number -= self._full
        if number < len(self._tail):
            return self._order.between(*self._tail[number])
        place = (number - len(self._tail)) % len(self._again)
        return self._again.between(place, place + 1)


class Picked:
    """Some of a plan's batches, or all in another order."""

    def __init__(self, batches: Batches, numbers: Sequence[int]) -> None:
        self._batches, self._numbers = batches, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, number: int) -> Rows:
        return self._batches[self._numbers[number]]


def _joined(parts: list[Rows]) -> Rows:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
