"""Where a column is, what a null in it is to be, and the errors that name both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from penstock.core.errors import DecodeError
from penstock.serialization._arrow_dense import kind

__all__ = [
    "ERROR",
    "MASK",
    "Column",
    "filled",
    "fitted",
    "for_column",
    "null_error",
    "of_type",
    "policy_of",
    "settled_rows",
]

ERROR, MASK = "error", "mask"  # any other policy is the value that takes a null's place


@dataclass(frozen=True)
class Column:
    """One column, or one child of a nested one: what a conversion of it has to know besides its values."""

    name: str  # with its parents: "box.corner"
    type: Any
    nulls: Any
    metadata: Mapping[bytes, bytes]
    feature: Any  # what Hugging Face says of it, if anything
    row: Callable[[int], int]  # the row of the batch that the i-th value is in
    torch: bool
    decode_images: bool
    decimals_as_float: bool

    def child(self, name: str, field: Any, **changes: Any) -> Column:
        """Return the column of a nested type's child."""
        changes = {"feature": None, **changes, "nulls": policy_of(changes.get("nulls", self.nulls), field)}
        return replace(self, name=name, type=field.type, metadata=field.metadata or {}, **changes)

    def is_error(self) -> bool:
        """Whether a null is an error."""
        return isinstance(self.nulls, str) and self.nulls == ERROR

    def is_mask(self) -> bool:
        """Whether nulls are told by a second column."""
        return isinstance(self.nulls, str) and self.nulls == MASK

    def unable(self, why: str) -> TypeError:
        """Return the error for a type that cannot be converted as asked."""
        return TypeError(f"column {self.name!r} ({self.type}): {why}")


def for_column(nulls: Any, name: str) -> Any:
    """Return the policy for one column out of one for all, or of a dict by column."""
    return nulls.get(name, ERROR) if isinstance(nulls, dict) else nulls


def policy_of(nulls: Any, field: Any) -> Any:
    """Return the policy for a field: one that holds no null by its schema needs no mask, though its children may."""
    needless = not field.nullable and kind(field.type) not in ("STRUCT", "SPARSE_UNION", "DENSE_UNION")
    return ERROR if needless and isinstance(nulls, str) and nulls == MASK else nulls


def null_error(column: Column, index: int) -> DecodeError:
    """Return the error for a null that no policy allows."""
    return DecodeError(
        f"column {column.name!r} ({column.type}) has a null in row {column.row(index)} of the batch; say what a null "
        "is to be: nulls= takes a value for its place, 'mask' for a column that tells where they are, or a dict of "
        "these by column"
    )


def filled(values: np.ndarray[Any, Any], nulls: np.ndarray[Any, Any] | None, column: Column, bits: bool) -> None:
    """Give nulls in an array the value that the policy says, in place. ``bits``: it holds bfloat16's bits."""
    if nulls is None or not nulls.any():
        return
    if column.is_error():
        raise null_error(column, int(np.flatnonzero(nulls.reshape(len(nulls), -1).any(1))[0]))
    if column.is_mask():
        values[nulls] = np.zeros((), values.dtype)
        return
    fill = _bfloat16(fitted(column.nulls, np.dtype(np.float32), column)) if bits else None
    fill = fitted(column.nulls, values.dtype, column) if fill is None else fill
    if fill.ndim == 0:
        values[nulls] = fill
        return
    if fill.shape != values.shape[1:]:
        raise column.unable(f"a null's value of shape {fill.shape} does not fit rows of shape {values.shape[1:]}")
    values[nulls] = np.broadcast_to(fill, values.shape)[nulls]


def fitted(fill: Any, dtype: np.dtype[Any], column: Column) -> np.ndarray[Any, Any]:
    """Return a null's value as the column's type.

    Raises:
        TypeError: it would be another value there, such as 300 or 0.5 in a column of uint8.
    """
    try:
        given = np.asarray(fill)
        if given.size == 0 or _fits(given, dtype):
            return given.astype(dtype)
        if dtype.kind in "mM":
            return np.array(fill, dtype)
    except (TypeError, ValueError, OverflowError):
        pass
    raise column.unable(f"a null cannot be {fill!r}, which is no {dtype}")


def _fits(given: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> bool:
    if dtype.kind in "bf":
        return given.dtype.kind in ("b" if dtype.kind == "b" else "iuf")
    if dtype.kind in "iu" and given.dtype.kind in "iu":
        least, most = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
        return least <= int(given.min()) and int(given.max()) <= most
    return False


def _bfloat16(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the bits of the nearest bfloat16s: half of a float32's, rounded to even."""
    bits = values.view(np.uint32).astype(np.uint64)
    nearest = ((bits + 0x7FFF + ((bits >> np.uint64(16)) & np.uint64(1))) >> np.uint64(16)).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FC0), nearest)


def settled_rows(
    rows: list[Any],
    nulls: np.ndarray[Any, Any],
    column: Column,
    empty: Callable[[], Any],
    fit: Callable[[Any], Any],
) -> tuple[list[Any], np.ndarray[Any, Any] | None]:
    """Give null rows of a list the value that the policy says.

    Args:
        rows: the rows.
        nulls: which are null.
        column: has the policy.
        empty: makes what a null row holds under a mask.
        fit: makes the policy's value one of the column's, or raises.
    """
    mask = nulls.copy() if column.is_mask() else None
    if not nulls.any():
        return rows, mask
    at = np.flatnonzero(nulls).tolist()
    if column.is_error():
        raise null_error(column, at[0])
    for index in at:
        rows[index] = empty() if mask is not None else None if column.nulls is None else fit(column.nulls)
    return rows, mask


def of_type(kind: type, column: Column) -> Callable[[Any], Any]:
    """Return a ``fit`` that takes values of one Python type."""

    def fit(fill: Any) -> Any:
        if not isinstance(fill, kind):
            raise column.unable(f"a null cannot be {fill!r}, which is no {kind.__name__}")
        return fill

    return fit
