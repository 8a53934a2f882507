"""Batches of columns, whatever they are made of: `pyarrow.RecordBatch`, or a dict of arrays, tensors or lists.

A dict's columns may be dicts in turn (structs). All columns of a batch have one length.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterator, Sequence
from typing import Any

__all__ = ["is_record_batch", "joined", "row_count", "row_numbers", "rows_of", "selected", "sliced", "taken"]


def is_record_batch(batch: Any) -> bool:
    """Tell whether a batch is Arrow's."""
    pyarrow: Any = sys.modules.get("pyarrow")
    return pyarrow is not None and isinstance(batch, pyarrow.RecordBatch)


def row_count(batch: Any) -> int:
    """Return how many rows a batch has. TypeError for what is no batch, ValueError for columns of different lengths."""
    if is_record_batch(batch):
        return int(batch.num_rows)
    if not isinstance(batch, dict):
        raise TypeError(
            f"a batch of columns is expected, a dict or a pyarrow.RecordBatch, but got {type(batch).__name__}"
        )
    lengths = {name: row_count(column) if isinstance(column, dict) else len(column) for name, column in batch.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"the columns of a batch must have one length, but these have {lengths}")
    return next(iter(lengths.values()), 0)


def sliced(batch: Any, start: int, stop: int) -> Any:
    """Return the rows from ``start`` to ``stop``: views, where the columns are no lists."""
    if is_record_batch(batch):
        return batch.slice(start, stop - start)
    if isinstance(batch, dict):
        return {name: sliced(column, start, stop) for name, column in batch.items()}
    return batch[start:stop]


def taken(batch: Any, indices: Any) -> Any:
    """Return the rows at ``indices``, an array of int64."""
    if isinstance(batch, dict):
        return {name: taken(column, indices) for name, column in batch.items()}
    if isinstance(batch, list):
        return [batch[i] for i in indices.tolist()]
    if _is_of("torch", batch):
        import torch

        return batch[torch.from_numpy(indices)]
    if _is_of("pyarrow", batch):
        return batch.take(_arrow(indices))
    return batch[indices]


def joined(batches: Sequence[Any]) -> Any:
    """Return the rows of some batches in one. One batch is returned as it is."""
    first = batches[0]
    if len(batches) == 1:
        return first
    if isinstance(first, dict):
        for batch in batches:
            if batch.keys() != first.keys():
                raise ValueError(f"batches with the columns {list(first)} and {list(batch)} cannot be put together")
        return {name: joined([batch[name] for batch in batches]) for name in first}
    if isinstance(first, list):
        return [value for part in batches for value in part]
    if _is_of("torch", first):
        import torch

        return torch.cat(list(batches))
    if is_record_batch(first):
        import pyarrow as pa

        schema = first.schema
        columns = [pa.concat_arrays([batch.column(name) for batch in batches]) for name in schema.names]
        return pa.RecordBatch.from_arrays(columns, schema=schema)
    if _is_of("pyarrow", first):
        import pyarrow as pa

        return pa.concat_arrays(batches)
    import numpy as np

    return np.concatenate(batches)


def row_numbers(indices: Sequence[Any], count: int) -> Any:
    """Return the numbers of rows as an array of int64; below 0 they count from the end. IndexError for one too many."""
    import numpy as np

    rows = np.fromiter(map(operator.index, indices), np.int64, len(indices))
    wrong = rows[(rows >= count) | (rows < -count)]
    if len(wrong):
        raise IndexError(f"there are {count} rows, and number {wrong[0]} is asked for")
    rows[rows < 0] += count
    return rows


def selected(batch: Any, columns: Sequence[str]) -> Any:
    """Return some columns, in this order. KeyError for one that is not there."""
    there = batch.schema.names if is_record_batch(batch) else batch
    missing = [name for name in columns if name not in there]
    if missing:
        raise KeyError(f"no column {', '.join(map(repr, missing))} among {', '.join(map(repr, there))}")
    return batch.select(columns) if is_record_batch(batch) else {name: batch[name] for name in columns}


def rows_of(batch: Any) -> Iterator[dict[str, Any]]:
    """Return an iterator over the rows, as dicts: of Python's values where the batch is Arrow's."""
    row_count(batch)
    if is_record_batch(batch):
        return iter(batch.to_pylist())
    names = list(batch)
    columns = [rows_of(column) if isinstance(column, dict) else column for column in batch.values()]
    return (dict(zip(names, row)) for row in zip(*columns))  # noqa: B905  # all have one length


def _is_of(package: str, value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == package


def _arrow(indices: Any) -> Any:
    import pyarrow as pa

    return pa.array(indices)
