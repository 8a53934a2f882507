"""Batches of columns that travel together: each column of some batches as one array, cut again on arrival.

What a batch costs on its way is not its bytes but its columns: some microseconds each, in the worker and in the
trainer. So the columns of batches that wait for each other are joined, and cut into views where they arrive::

    {x: a, y: b}  {x: c, y: d}   ──joined──>   {x: a c, y: b d}   ──sent──>   views of x and y

Only what comes out as it went in is joined: dicts of the same names, whose columns are arrays or tensors of one type,
or lists, and have one length in each batch.
"""

from __future__ import annotations

from itertools import accumulate, chain, pairwise
from typing import Any, Final, TypeAlias

__all__ = ["Entries", "Joined", "apart", "is_batch", "together"]

Entries: TypeAlias = list[tuple[int, Any]]  # items, each with its lane
# A class, lanes, the rows of each batch, columns, and which of them are tensors where they arrive.
Joined: TypeAlias = tuple[type, list[int], list[int], dict[Any, Any], set[Any]]

_NUMBERS: Final = frozenset("?bBhHiIlLqQefdFD")  # numpy's characters of the types that need no parameters
_LIST, _ARRAY = "builtins.list", "numpy.ndarray"
_TENSOR, _DEFERRED, _WORDS = "torch.Tensor", "penstock.core.tensors.Deferred", "penstock.pipes._words.Words"


def is_batch(item: Any) -> bool:
    """Tell whether an item has columns that could be joined with those of another one."""
    return _columns(item) is not None


def together(entries: Entries) -> Entries | Joined:
    """Return items as they are, or with their columns joined where that can be done."""
    first = entries[0][1]
    if len(entries) < 2 or (found := _columns(first)) is None:
        return entries
    cls, names, kinds = type(first), list(first), [kind for _, kind in found]
    parts = [[column for column, _ in found]]
    for _, item in entries[1:]:
        other = _columns(item) if type(item) is cls and list(item) == names else None
        if other is None or [kind for _, kind in other] != kinds:
            return entries
        parts.append([column for column, _ in other])
    rows = [len(columns[0]) for columns in parts]
    columns = {name: _joined(column) for name, column in zip(names, zip(*parts, strict=True), strict=True)}
    tensors = {name for name, kind in zip(names, kinds, strict=True) if kind[0]}
    return cls, [lane for lane, _ in entries], rows, columns, tensors


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


def _columns(item: Any) -> list[tuple[Any, tuple[Any, ...]]] | None:
    """Return the columns of a batch, each with what it must have in common with others; None for what is no batch."""
    cls = type(item)
    if not issubclass(cls, dict) or not item or (cls is not dict and (not _is_renamed(cls) or vars(item))):
        return None
    found = []
    rows = -1
    for value in item.values():
        each = _column(value)
        if each is None:
            return None
        found.append(each)
        count = len(each[0])
        if count != rows and rows >= 0:
            return None
        rows = count
    return found if len(set(map(id, item.values()))) == len(found) else None  # one in two places stays one


def _is_renamed(cls: type) -> bool:
    """Whether a class is a dict by another name: a batch of it is made again from its columns."""
    own = {name for each in cls.__mro__[: cls.__mro__.index(dict)] for name in vars(each)}
    return not own & {"__init__", "__new__", "__setitem__", "__reduce__", "__reduce_ex__", "__getstate__", "__slots__"}


def _column(column: Any) -> tuple[Any, tuple[Any, ...]] | None:
    """Return a column's array or list, and what it must have in common with those that it is joined with."""
    cls = type(column)
    sort = f"{cls.__module__}.{cls.__qualname__}"
    if sort in (_LIST, _WORDS):
        return column, (False, sort)
    if sort == _DEFERRED:
        column = column.array
    elif sort == _TENSOR:
        if not column.is_cpu or column.requires_grad or column.is_quantized or not column.is_contiguous():
            return None
        try:
            column = column.numpy()
        except (TypeError, RuntimeError):  # a type that numpy has not, a conjugate view, a sparse one
            return None
    elif sort != _ARRAY:
        return None
    dtype, shape = column.dtype, column.shape
    if dtype.char not in _NUMBERS or not dtype.isnative or not shape or not column.flags.c_contiguous:
        return None
    return column, (sort != _ARRAY, dtype.char, shape[1:])


def _joined(parts: tuple[Any, ...]) -> Any:
    if type(parts[0]) is list:
        return list(chain.from_iterable(parts))
    if type(parts[0]).__name__ == "Words":
        return parts[0].joined(parts)
    import numpy as np

    return np.concatenate(parts)
