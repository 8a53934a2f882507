"""Batches of columns and rows that torch's ``default_collate`` knows what to do with.

A `DataLoader` that is not told ``batch_size=None`` collates what a data set yields, batches as well: columns get an
axis more, and lists of strings become lists of tuples. torch has a table of types that are collated in another way, for
others to add to; ours are `Batch`, which stays as it is, and `Row`, of which many are the columns that they came from.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, overload

from penstock.pipes._batches import joined

__all__ = ["Batch", "Row", "Rows", "know_collate"]


class Batch(dict[str, Any]):
    """The columns of a batch, by name: a dict that ``default_collate`` does not change."""


class Row(dict[str, Any]):
    """The values of a row, by name."""


class Rows(Sequence[Row]):
    """The rows of a record batch, made when one is asked for. ``default_collate`` makes them columns again.

    Args:
        batch: a `pyarrow.RecordBatch`.
        convert: makes it columns.
    """

    def __init__(self, batch: Any, convert: Any) -> None:
        self._batch, self._convert = batch, convert

    def __len__(self) -> int:
        return int(self._batch.num_rows)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        here = index + len(self) if index < 0 else index
        if not 0 <= here < len(self):
            raise IndexError(f"there are {len(self)} rows, and number {index} is asked for")
        return Row(self._batch.slice(here, 1).to_pylist()[0])

    def columns(self) -> Batch:
        """Return the rows as columns."""
        return Batch(self._convert(self._batch))


def know_collate() -> None:
    """Add our types to torch's table, where torch's data loading is loaded."""
    module: Any = sys.modules.get("torch.utils.data._utils.collate")
    if module is not None:
        module.default_collate_fn_map.setdefault(Batch, _batches)
        module.default_collate_fn_map.setdefault(Row, _rows)


def _batches(batches: Any, *, collate_fn_map: Any = None) -> Any:
    return Batch(joined(list(batches)))


def _rows(rows: Any, *, collate_fn_map: Any = None) -> Any:
    if isinstance(rows, Rows):
        return rows.columns()
    from torch.utils.data import default_collate

    return default_collate([dict(row) for row in rows])
