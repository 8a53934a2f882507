"""Batches of columns, whatever they are made of: `pyarrow.RecordBatch`, or a dict of arrays, tensors or lists.

A dict's columns may be dicts in turn (structs). All columns of a batch have one length.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from penstock.core.leaving import cut, has_tensor

__all__ = [
    "as_columns",
    "is_record_batch",
    "joined",
    "ready_for_tensors",
    "row_count",
    "row_numbers",
    "rows_of",
    "selected",
    "sliced",
    "taken",
    "tensors",
]


def is_record_batch(batch: Any) -> bool:
    """Tell whether a batch is Arrow's."""
    pyarrow: Any = sys.modules.get("pyarrow")
    return pyarrow is not None and isinstance(batch, pyarrow.RecordBatch)


def row_count(batch: Any) -> int:
    """Return how many rows a batch has. TypeError for what is no batch, ValueError for columns of different lengths."""
    if isinstance(batch, dict):
        lengths = [row_count(column) if isinstance(column, dict) else len(column) for column in batch.values()]
        if len(set(lengths)) > 1:
            each = dict(zip(batch, lengths, strict=True))
            raise ValueError(f"the columns of a batch must have one length, but these have {each}")
        return lengths[0] if lengths else 0
    if is_record_batch(batch):
        return int(batch.num_rows)
    raise TypeError(f"a batch of columns is expected, a dict or a pyarrow.RecordBatch, but got {type(batch).__name__}")


def sliced(batch: Any, start: int, stop: int) -> Any:
    """Return the rows from ``start`` to ``stop``: views, where the columns are no lists."""
    if is_record_batch(batch):
        return batch.slice(start, stop - start)
    return cut(batch, slice(start, stop)) if isinstance(batch, dict) else batch[start:stop]


def taken(batch: Any, indices: Any) -> Any:
    """Return the rows at ``indices``, an array of int64."""
    if isinstance(batch, dict):
        return {name: taken(column, indices) for name, column in batch.items()}
    if isinstance(batch, list):
        return [batch[i] for i in indices.tolist()]
    if _is_of("torch", batch):
        return _taken_of_tensor(batch, indices)
    if _is_of("pyarrow", batch):
        return batch.take(_arrow(indices))
    return batch[indices]


def _taken_of_tensor(tensor: Any, indices: Any) -> Any:
    """Return rows of a tensor: by numpy, which takes them in this thread.

    128 rows of 512 bytes take 40 us; by torch 50 to 960, where its threads find other work on the cores.
    """
    import torch

    try:
        return torch.from_numpy(tensor.numpy()[indices])
    except (TypeError, RuntimeError):  # bfloat16, a gradient, or another device
        return tensor[torch.from_numpy(indices)]


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


def row_numbers(indices: Any, count: int) -> Any:
    """Return the numbers of rows as an array of int64; below 0 they count from the end. IndexError for one too many."""
    import numpy as np

    if isinstance(indices, (range, np.ndarray)):
        rows = np.array(indices, np.int64)
    else:
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


def as_columns(found: Any, name: str, *, copy: bool = True) -> dict[str, Any]:
    """Return arrays as columns: those of a dict, the fields of an array that has fields, or the column ``name``.

    Fields are copied, so that none lies in the midst of others, where torch cannot always have it; unless told not to.
    """
    if isinstance(found, dict):
        return {
            each: as_columns(column, "", copy=copy) if _has_fields(column) else column for each, column in found.items()
        }
    if not _has_fields(found):
        return {name: found}
    fields = {each: found[each].copy() if copy else found[each] for each in found.dtype.names}
    return as_columns(fields, "", copy=copy)


def _has_fields(column: Any) -> bool:
    return not isinstance(column, dict) and column.dtype.names is not None


def tensors(batch: Any) -> dict[str, Any]:
    """Return columns as tensors: views of arrays, copies of those that must not be written into."""
    import torch

    made = ready_for_tensors(batch)
    return {name: torch.from_numpy(one) if has_tensor(one) else one for name, one in made.items()}


def ready_for_tensors(batch: Any) -> dict[str, Any]:
    """Return columns as arrays of which torch can make tensors as they are; those in dicts as tensors."""
    row_count(batch)
    numpy: Any = sys.modules.get("numpy")
    array = None if numpy is None else numpy.ndarray
    ready = {}
    for name, column in batch.items():
        if array is not None and isinstance(column, array):
            ready[name] = column if _is_ready(column) else _ready(column)
        else:
            ready[name] = tensors(column) if isinstance(column, dict) else column
    return ready


def _is_ready(column: Any) -> bool:
    flags = column.flags
    return has_tensor(column) and column.dtype.isnative and flags.writeable and flags.c_contiguous


def _ready(column: Any) -> Any:
    import numpy as np

    if column.dtype.kind in "Mm":  # as Conversion has times
        column = column.view(np.int64)
    if column.dtype.kind not in "biufc":
        return column.tolist()
    if column.dtype.char == "Q":  # a type of its own beside uint64, which torch does not take for that
        column = column.view(np.uint64)
    if not column.dtype.isnative:
        column = column.astype(column.dtype.newbyteorder("="))
    return column if column.flags.writeable and min(column.strides, default=0) >= 0 else column.copy()


def _is_of(package: str, value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == package


def _arrow(indices: Any) -> Any:
    import pyarrow as pa

    return pa.array(indices)
