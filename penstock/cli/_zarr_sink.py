"""A zarr group that is written a shard of samples at a time.

An array has one type, that of the first shard. Numpy would make a value of it of nearly anything, so what a cast would
change is refused, before any of a shard is written.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from penstock.cli._samples import columns_of
from penstock.files.zarr_store import zarr_store
from penstock.serialization.columns import Conversion

__all__ = ["ZarrGroup"]

_KINDS = {"b": "booleans", "M": "times", "m": "durations", "T": "texts", **dict.fromkeys("iuf", "numbers")}
_Array = np.ndarray[Any, Any]


class ZarrGroup:
    """A group with an array for each column, a shard of samples being a chunk of each."""

    columnar = True

    def __init__(self, url: str) -> None:
        self._url = url

    def write(self, number: int, first: int, samples: Any) -> None:
        import zarr

        found = columns_of(samples) if isinstance(samples, list) else _columns(samples)
        columns = {name: _Rows(name, values) for name, values in found.items()}
        group: Any = zarr.open_group(zarr_store(self._url, {}, read_only=False), mode="a")
        there = _names(group)
        if not number:
            self._begin(group, there, columns)
        elif sorted(columns) != there:
            raise TypeError(
                f"shard {number} has the columns {sorted(columns)}, and the first one has {there}, as all must"
            )
        fitting = {name: rows.fitting(group[name], number) for name, rows in columns.items()}
        for name, values in fitting.items():
            array = group[name]
            array.resize((first + len(values), *array.shape[1:]))
            array[first:] = values

    def _begin(self, group: Any, there: list[str], columns: dict[str, _Rows]) -> None:
        for name in there:  # what was written of a first shard, and not noted
            del group[name]
        for name, rows in columns.items():
            shape = rows.values.shape
            dtype: Any = "str" if rows.values.dtype.kind == "T" else rows.values.dtype
            chunks = tuple(max(1, size) for size in shape)
            group.create_array(name, shape=(0, *shape[1:]), chunks=chunks, dtype=dtype)


class _Rows:
    """The values of a column.

    Attributes:
        values: as one array.
    """

    def __init__(self, name: str, values: Any) -> None:
        self._name = name
        if isinstance(values, dict):
            raise _no_column(name, values)
        if "/" in name:
            raise TypeError(f"zarr has no column whose name has a /, as {name!r} has: it would lie in a group within")
        try:
            self._parts = [values] if isinstance(values, np.ndarray) else list(_by_type(values))
            self._check_parts()
            self.values = self._parts[0] if isinstance(values, np.ndarray) else _joined(values, self._parts)
        except OverflowError as error:
            raise TypeError(
                f"zarr has no column of integers of more than 64 bits, which column {name!r} has"
            ) from error
        except ValueError as error:
            raise TypeError(f"zarr has no column of rows of several shapes, which column {name!r} has") from error
        self._check(self.values.dtype, "an array")

    def fitting(self, array: Any, number: int) -> _Array:
        """Return the values with the type of an array that they are to be written to."""
        if array.shape[1:] != self.values.shape[1:]:
            raise TypeError(
                f"column {self._name!r} has rows of the shape {list(self.values.shape[1:])} in shard {number}, and of "
                f"{list(array.shape[1:])} in the first one: zarr has no column of rows of several shapes"
            )
        self._check(array.dtype, f"shard {number}, where the first one has an array")
        return self.values.astype(array.dtype)

    def _check_parts(self) -> None:
        odd = next((part for part in self._parts if part.dtype.kind in "OSV"), None)
        if odd is not None:
            raise _no_column(self._name, odd.reshape(-1)[0])
        kinds = sorted({_kind(part.dtype) for part in self._parts})
        if len(kinds) > 1:
            raise TypeError(f"zarr has no column of {' and '.join(kinds)}, which column {self._name!r} has")

    def _check(self, dtype: Any, where: str) -> None:
        for part in self._parts:
            if not _holds(dtype, part):
                raise TypeError(
                    f"column {self._name!r} has values of {part.dtype} in {where} of {dtype}, which cannot hold them; "
                    "a larger --shard-samples lets the first shard show more of its values"
                )


def _names(group: Any) -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # _convert.json, which lies there as well, is none of zarr's
        return sorted(group.array_keys())


def _columns(batch: Any) -> dict[str, Any]:
    """Return the columns of a record batch."""
    import pyarrow.types as types

    for field in batch.schema:
        if _has_null(batch.column(field.name)):
            raise TypeError(f"zarr has no column with a null, which column {field.name!r} has")
    found = Conversion().to_numpy(batch)
    for field in batch.schema:
        if not len(batch) and isinstance(found[field.name], list):  # which shows no type
            if not (types.is_string(field.type) or types.is_large_string(field.type)):
                raise TypeError(f"zarr has no column of {field.type}, which column {field.name!r} is")
            found[field.name] = _texts([])
    return found


def _has_null(array: Any) -> bool:
    import pyarrow as pa

    if array.null_count:
        return True
    storage = array.storage if isinstance(array, pa.ExtensionArray) else array
    listed = hasattr(storage, "flatten") and not isinstance(storage, (pa.StructArray, pa.MapArray))
    return listed and _has_null(storage.flatten())


def _by_type(values: Any) -> Iterator[_Array]:
    """Yield values, and those in lists of them, as an array for each type that they have."""
    found: dict[Any, list[Any]] = {}
    for leaf in _leaves(values):
        found.setdefault(getattr(leaf, "dtype", type(leaf)), []).append(leaf)
    for kind, leaves in found.items():
        if kind is int:
            yield _integers(leaves)
        elif kind is str:
            yield _texts(leaves)
        elif isinstance(kind, type):
            yield np.array(leaves)
        else:
            made = np.concatenate([np.asarray(leaf).reshape(-1) for leaf in leaves])
            yield _texts(made) if made.dtype.kind == "U" else made


def _leaves(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _leaves(value)
        else:
            yield value


def _joined(values: Any, parts: list[_Array]) -> _Array:
    kinds = {part.dtype.kind for part in parts}
    if kinds == {"T"}:
        return _texts(values)
    return _integers(values) if kinds and kinds <= {"i", "u"} else np.array(values)


def _texts(values: Any) -> _Array:
    return np.array(values, np.dtypes.StringDType())


def _integers(values: Any) -> _Array:
    """Return integers as an array. Numpy makes floats of them where some are beyond an int64."""
    made = np.array(values)
    if made.dtype.kind == "i":
        return made
    small = made.dtype.kind == "u" and made.dtype.itemsize < 8
    return made if small else np.array(values, np.uint64)


def _kind(dtype: Any) -> str:
    return _KINDS.get(dtype.kind, str(dtype))


def _holds(dtype: Any, values: _Array) -> bool:
    """Tell whether an array of a type can have these values, as they are."""
    if values.dtype == dtype:
        return True
    if _kind(dtype) != _kind(values.dtype):
        return False
    try:
        with np.errstate(invalid="raise", over="raise"):
            made = values.astype(dtype)
            back = made.astype(values.dtype)
    except (FloatingPointError, ValueError):
        return False
    return all(np.array_equal(each, values, equal_nan=True) for each in (made, back))


def _no_column(name: str, value: Any) -> TypeError:
    return TypeError(f"zarr has no column of {type(value).__name__}, which column {name!r} is: {value!r:.100}")
