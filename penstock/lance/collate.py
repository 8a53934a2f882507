"""Batches of columns and rows that torch's ``default_collate`` knows what to do with.

A `DataLoader` that is not told ``batch_size=None`` collates what a data set yields, batches as well: columns get an
axis more, and lists of strings become lists of tuples. torch has a table of types that are collated in another way, for
others to add to; ours are `Batch`, which stays as it is, and `Row`, of which many are the columns that they came from.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from multiprocessing.reduction import ForkingPickler
from typing import Any, TypeAlias, overload

from penstock.pipes._batches import joined
from penstock.transport.codec import encode

__all__ = ["Batch", "Row", "Rows", "know_collate"]


Convert: TypeAlias = Callable[[Any], dict[str, Any]]

_SMALL_BYTES = 1 << 20  # of tensors, which cost less as bytes than as descriptors


class Batch(dict[str, Any]):
    """The columns of a batch, by name: a dict that ``default_collate`` does not change."""


class Row(dict[str, Any]):
    """The values of a row, by name.

    It knows what it was made from, for where many are collated: one by one, a column of vectors would become as many
    tensors as a vector has numbers, and floats would become doubles. A copy knows nothing of that.

    Args:
        values: by name.
        source: the record batch that has this row alone, and what makes it columns.
    """

    def __init__(self, values: Mapping[str, Any], source: tuple[Any, Convert] | None = None) -> None:
        super().__init__(values)
        self.source = source

    def as_read(self) -> list[str]:
        """Return the columns that are still as they were read."""
        read = self.source[0].to_pylist()[0] if self.source is not None else {}
        return [name for name, value in read.items() if name in self and _is_same(self[name], value)]

    def __reduce__(self) -> tuple[Any, ...]:
        return Row, (dict(self),)


class Rows(Sequence[Row]):
    """The rows of a record batch, made when one is asked for. ``default_collate`` makes them columns again.

    Args:
        batch: a `pyarrow.RecordBatch`.
        convert: makes it columns.
    """

    def __init__(self, batch: Any, convert: Convert) -> None:
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
        batch = self._batch.slice(here, 1)
        return Row(batch.to_pylist()[0], (batch, self._convert))

    def columns(self) -> Batch:
        """Return the rows as columns."""
        return Batch(self._convert(self._batch))


def know_collate() -> None:
    """Add our types to torch's table, where torch's data loading is loaded, and to what its workers send."""
    module: Any = sys.modules.get("torch.utils.data._utils.collate")
    if module is not None:
        module.default_collate_fn_map.setdefault(Batch, _batches)
        module.default_collate_fn_map.setdefault(Row, _rows)
        ForkingPickler.register(Batch, _sent)


def _sent(batch: Batch) -> tuple[Any, ...]:
    """Reduce a batch that a worker of torch's sends: small ones are bytes.

    Each tensor goes as a descriptor, for which the main process asks by a socket of its own: 2 ms each, and where a
    column is a list of tensors, as many descriptors.
    """
    columns = dict(batch)
    if _tensor_bytes(columns) > _SMALL_BYTES:
        return Batch, (columns,)
    return _unpacked, (encode(columns, in_band=True)[0],)


def _unpacked(data: bytes) -> Batch:
    return Batch(pickle.loads(data))


def _tensor_bytes(value: Any) -> int:
    if isinstance(value, (dict, list)):
        return sum(map(_tensor_bytes, value.values() if isinstance(value, dict) else value))
    return int(getattr(value, "nbytes", 0))


def _batches(batches: Any, *, collate_fn_map: Any = None) -> Any:
    return Batch(joined(list(batches)))


def _rows(rows: Any, *, collate_fn_map: Any = None) -> Any:
    if isinstance(rows, Rows):
        return rows.columns()
    from torch.utils.data import default_collate

    names = set.intersection(*(set(row.as_read()) for row in rows))
    columns = _as_columns(rows, [name for name in rows[0] if name in names]) if names else {}
    changed = {name: default_collate([row[name] for row in rows]) for name in rows[0] if name not in names}
    if not changed:
        return columns
    columns |= changed
    return {name: columns.pop(name) for name in rows[0]} | columns  # masks of nulls come last then


def _as_columns(rows: Sequence[Row], names: list[str]) -> dict[str, Any]:
    """Return some columns of rows that came one by one, maybe from several data sets."""
    import pyarrow as pa

    parts = []
    sources = [row.source for row in rows if row.source is not None]
    for (convert, _), same in groupby(sources, lambda source: (source[1], source[0].schema)):
        parts.append(convert(pa.concat_batches([batch.select(names) for batch, _ in same])))
    return dict(joined(parts))


def _is_same(now: Any, read: Any) -> bool:
    """Tell whether a value is the one that was read; nan is itself, and what is in a list may be anything by now."""
    if type(now) is not type(read):
        return False
    return bool(now == read) if isinstance(now, (bytes, str)) else repr(now) == repr(read)
