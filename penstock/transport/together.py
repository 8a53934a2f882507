"""Batches of columns that travel together: each column of some batches as one array, cut again on arrival.

What a batch costs on its way is not its bytes but its columns: some microseconds each, in the worker and in the
trainer. So the columns of batches that wait for each other are joined, and cut into views where they arrive::

    {x: a, y: b}  {x: c, y: d}   ──joined──>   {x: a c, y: b d}   ──sent──>   views of x and y

Only what comes out as it went in is joined: dicts of the same names, whose columns are arrays or tensors of one type,
or lists, and have one length in each batch.
"""

from __future__ import annotations

import sys
from itertools import accumulate, pairwise
from typing import Any, Final, TypeAlias

from penstock.core.leaving import BlockRows, Deferred, Tensors, Words, has_tensor

__all__ = ["Entries", "Joined", "apart", "is_batch", "together"]

Entries: TypeAlias = list[tuple[int, Any]]  # items, each with its lane
# A class, lanes, the rows of each batch, columns, and which of them are tensors where they arrive.
Joined: TypeAlias = tuple[type, list[int], list[int], dict[Any, Any], set[Any]]

_NUMBERS: Final = frozenset("?bBhHiIlLqQefdFD")  # numpy's characters of the types that need no parameters


def is_batch(item: Any) -> bool:
    """Tell whether an item has columns that could be joined with those of another one."""
    return type(item) is BlockRows or _columns(item) is not None


def together(entries: Entries) -> Entries | Joined:
    """Return items as they are, or with their columns joined where that can be done."""
    if len(entries) < 2:
        return entries
    cls: Any = None
    rows: list[int] = []
    parts: list[list[Any]] = []
    for batch, lengths in _batches(entries):
        found = _columns(batch)
        if found is None:
            return entries
        here, columns, kinds = found
        if cls is None:
            cls, names, common = type(batch), here, kinds
            types = list(map(type, here))  # 1 == True, and is another name
        elif type(batch) is not cls or kinds != common or here != names or list(map(type, here)) != types:
            return entries
        parts.append(columns)
        rows += lengths or [len(columns[0])]
    joined = {name: _joined(column) for name, column in zip(names, zip(*parts, strict=True), strict=True)}
    tensors = {name for name, kind in zip(names, common, strict=True) if kind[0]}
    return dict if cls is Tensors else cls, [lane for lane, _ in entries], rows, joined, tensors


def _batches(entries: Entries) -> list[tuple[Any, list[int]]]:
    """Return the items, those that follow each other in one block as one, each with the rows of those that it is."""
    found: list[tuple[Any, list[int]]] = []
    for _, item in entries:
        lengths = [len(item)] if type(item) is BlockRows else []
        if lengths and found and (both := item.behind(found[-1][0])) is not None:
            item, lengths = both, found.pop()[1] + lengths
        found.append((item, lengths))
    return [(item.columns() if lengths else item, lengths) for item, lengths in found]


def apart(found: Entries | Joined) -> Entries:
    """Return the items that `together` was given."""
    if isinstance(found, list):
        return found
    cls, lanes, rows, columns, tensors = found
    names, bounds = list(columns), list(pairwise(accumulate(rows, initial=0)))
    cuts: list[Any] = [[column[low:high] for low, high in bounds] for column in columns.values()]
    if tensors:
        import torch

        cuts = [list(map(torch.from_numpy, cut)) if name in tensors else cut for name, cut in zip(names, cuts)]  # noqa: B905
    return [(lane, cls(zip(names, parts))) for lane, *parts in zip(lanes, *cuts)]  # noqa: B905  # all of one length


def _columns(batch: Any) -> tuple[list[Any], list[Any], list[Any]] | None:
    """Return a batch's names, its columns, and what each must have in common with others; None for what is no batch."""
    cls = type(batch)
    later = cls is Tensors
    if later:
        batch = batch.columns
    elif not issubclass(cls, dict) or (cls is not dict and (not _is_renamed(cls) or vars(batch))):
        return None
    columns, kinds = [], []
    for value in batch.values():
        found = _column(value, later)
        if found is None:
            return None
        columns.append(found[0])
        kinds.append(found[1])
    if len(set(map(len, columns))) != 1 or len(set(map(id, batch.values()))) < len(columns):
        return None  # nothing, columns of different lengths, or one in two places, which stays one
    return list(batch), columns, kinds


def _is_renamed(cls: type) -> bool:
    """Whether a class is a dict by another name: a batch of it is made again from its columns."""
    own = {name for each in cls.__mro__[: cls.__mro__.index(dict)] for name in vars(each)}
    return not own & {"__init__", "__new__", "__setitem__", "__reduce__", "__reduce_ex__", "__getstate__", "__slots__"}


def _column(column: Any, later: bool) -> tuple[Any, tuple[Any, ...]] | None:
    """Return a column's array or list, and what it must have in common with those that it is joined with.

    Args:
        column: the column.
        later: whether it becomes a tensor where it arrives, if it is an array.
    """
    cls = type(column)
    if cls is list or cls is Words:
        return column, (False, cls)
    if cls is Deferred:
        column, later = column.array, True
    elif _is_tensor(cls):
        if not column.is_cpu or column.requires_grad or column.is_quantized:
            return None
        try:
            if not column.is_contiguous():
                return None
            column = column.numpy()
        except (TypeError, RuntimeError):  # a type that numpy has not, a conjugate view, a sparse one
            return None
        later = True
    elif not _is_array(cls):
        return None
    dtype, shape = column.dtype, column.shape
    if dtype.char not in _NUMBERS or not dtype.isnative or not shape or not column.flags.c_contiguous:
        return None
    return column, (later and has_tensor(column), dtype.char, shape[1:])


def _is_tensor(cls: type) -> bool:
    return cls is getattr(sys.modules.get("torch"), "Tensor", None)


def _is_array(cls: type) -> bool:
    return cls is getattr(sys.modules.get("numpy"), "ndarray", None)


def _joined(parts: tuple[Any, ...]) -> Any:
    if len(parts) == 1:
        return parts[0]
    if type(parts[0]) is list:
        whole: list[Any] = []
        for part in parts:
            whole += part
        return whole
    if type(parts[0]) is Words:
        return Words.joined(parts)
    import numpy as np

    return np.concatenate(parts)
