"""Batches of columns, whatever they are made of: `pyarrow.RecordBatch`, or a dict of arrays, tensors or lists.

A dict's columns may be dicts in turn (structs). All columns of a batch have one length.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from penstock.core.leaving import cut, has_tensor
from penstock.pipes._arrow_rows import arrow_rows

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
    return arrow_rows(batch, indices) if _is_of("pyarrow", batch) else batch[indices]


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
    """Return the rows of some batches in one. One batch is returned as it is.

    Raises:
        ValueError: they have other columns, or columns of other types. (Arrays would change theirs in silence.)
    """
    first = batches[0]
    if len(batches) == 1:
        return first
    if is_record_batch(first):
        import pyarrow as pa

        _check_names(first.schema.names, [part.schema.names if is_record_batch(part) else () for part in batches])
        columns = [_joined([part.column(name) for part in batches], name) for name in first.schema.names]
        return pa.RecordBatch.from_arrays(columns, schema=first.schema)
    _check_names(list(first), [part if isinstance(part, dict) else () for part in batches])
    return {name: _joined([part[name] for part in batches], name) for name in first}


def _check_names(names: list[str], others: list[Any]) -> None:
    for other in others:
        if len(other) != len(names) or not all(name in other for name in names):
            told = list(other) if other else "none"
            raise ValueError(f"batches with the columns {names} and {told} cannot be put together")


def _joined(parts: list[Any], name: str) -> Any:
    first = parts[0]
    kind = _kind(first)
    for part in parts:
        if (other := _kind(part)) != kind:
            raise ValueError(f"column {name!r} is of {kind} in one batch and of {other} in another: no column has both")
    if isinstance(first, dict):
        return joined(parts)
    if isinstance(first, list):
        return [value for part in parts for value in part]
    if _is_of("torch", first):
        import torch

        return torch.cat(parts)
    if _is_of("pyarrow", first):
        import pyarrow as pa

        try:
            return pa.concat_arrays(parts)
        except pa.ArrowInvalid as error:  # dictionaries with more values together than their codes can tell
            raise ValueError(f"column {name!r}, of {kind}, cannot be put together: {error}") from error
    import numpy as np

    return np.concatenate(parts, dtype=first.dtype) if not first.dtype.isnative else np.concatenate(parts)


def _kind(column: Any) -> Any:
    """Return what a column is of: a type that all parts of it must have."""
    kind = getattr(column, "dtype", None)
    if kind is None:
        return column.type if _is_of("pyarrow", column) else type(column).__name__
    return f"text ({kind.kind})" if getattr(kind, "kind", "") in ("U", "S") else kind  # of whatever width


def row_numbers(indices: Any, count: int) -> Any:
    """Return the numbers of rows as an array of int64; below 0 they count from the end. IndexError for one too many."""
    import numpy as np

    exact = isinstance(indices, np.ndarray) and indices.ndim == 1 and np.can_cast(indices.dtype, np.int64)
    try:
        if isinstance(indices, range) or (exact and indices.dtype != np.bool_):
            rows = np.array(indices, np.int64)
        else:
            rows = np.fromiter(map(operator.index, indices), np.int64, len(indices))
    except OverflowError:
        raise IndexError(f"there are {count} rows, and a number beyond all is asked for") from None
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

    if not column.dtype.isnative:
        column = column.astype(column.dtype.newbyteorder("="))
    if column.dtype.kind in "Mm":  # as Conversion has times
        column = column.view(np.int64)
    if column.dtype.kind not in "biufc":
        return column.tolist()
    if column.dtype.char == "Q":  # a type of its own beside uint64, which torch does not take for that
        column = column.view(np.uint64)
    return column if column.flags.writeable and min(column.strides, default=0) >= 0 else column.copy()


def _is_of(package: str, value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == package
