"""A long column of elements made into rows of some each, and a column into one object per row."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from penstock.core.errors import DecodeError
from penstock.serialization._arrow_nulls import Column

__all__ = ["as_dict", "cut", "one_by_one", "row_of"]


def cut(values: Any, lengths: np.ndarray[Any, Any]) -> list[Any]:
    """Return rows of so many elements each. They do not overlap, so each is its reader's to change."""
    if isinstance(values, dict):
        parts = [cut(part, lengths) for part in values.values()]
        return [dict(zip(values, row, strict=True)) for row in zip(*parts, strict=True)] or [{} for _ in lengths]
    if isinstance(values, (list, np.ndarray)):
        return [values[start:stop] for start, stop in pairwise([0, *np.cumsum(lengths).tolist()])]
    return list(values[: int(lengths.sum())].split(lengths.tolist())) if len(lengths) else []


def row_of(lengths: np.ndarray[Any, Any], column: Column) -> Callable[[int], int]:
    """Return the function that says in which row an element lies."""
    ends = np.cumsum(lengths)
    return lambda index: column.row(int(np.searchsorted(ends, index, side="right")))


def one_by_one(values: Any, length: int) -> list[Any]:
    """Return a column as one Python object per value."""
    if isinstance(values, dict):
        parts = [one_by_one(part, length) for part in values.values()]
        return [dict(zip(values, row, strict=True)) for row in zip(*parts, strict=True)] or [{} for _ in range(length)]
    if isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind in "biuf":
        listed: list[Any] = values.tolist()
        return listed
    return list(values)


def as_dict(names: list[Any], values: list[Any], column: Column, index: int) -> dict[Any, Any]:
    """Return one map as a dict that has all of it."""
    try:
        found = dict(zip(names, values, strict=True))
    except TypeError as error:
        raise column.unable(f"its keys cannot be those of a dict: {error}") from None
    if len(found) < len(names):
        raise DecodeError(f"column {column.name!r} ({column.type}): row {column.row(index)} has a key twice")
    return found
