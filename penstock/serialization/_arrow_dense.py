"""Arrow's arrays whose values all have one size and shape, as one array of numpy's. No Python object is made per row.

Each function takes an array as it is, sliced or not, and returns memory that nobody else has: Arrow's buffers must not
be written to. What lies under a null is anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Dense", "dense", "extension", "is_null", "kind", "permutation", "plain", "raw"]


class Dense(NamedTuple):
    """An array, and where it is null: an array of bools of the same shape, or of its first axes; None for nowhere."""

    values: np.ndarray[Any, Any]
    nulls: np.ndarray[Any, Any] | None = None
    bfloat16: bool = False  # the values are its bits
    axes: int = 1  # how many of its axes the nulls have: all but those of an interval's parts


@cache
def _ids() -> dict[int, str]:
    """Return the names of the type ids that this pyarrow has."""
    import pyarrow.lib as lib

    return {getattr(lib, name): name.removeprefix("Type_") for name in dir(lib) if name.startswith("Type_")}


def kind(type_: Any) -> str:
    """Return what a type is, such as "INT8", "LIST" or "EXTENSION"."""
    return _ids().get(type_.id, "EXTENSION")


def extension(type_: Any, metadata: Mapping[bytes, bytes]) -> str:
    """Return the name of an extension type; of one that pyarrow does not know, the field's metadata has it."""
    import pyarrow as pa

    if isinstance(type_, pa.BaseExtensionType):
        return str(type_.extension_name)
    return metadata.get(b"ARROW:extension:name", b"").decode()


def plain(array: Any) -> Any:
    """Return an array without what only says how it is stored: dictionaries, runs, and extension types."""
    while True:
        what = kind(array.type)
        if what == "DICTIONARY":
            array = array.dictionary_decode()
        elif what == "RUN_END_ENCODED":
            ends = array.run_ends.to_numpy()
            rows = np.arange(array.offset, array.offset + len(array))
            array = array.values.take(_indices(np.searchsorted(ends, rows, side="right")))
        elif what == "EXTENSION":
            array = array.storage
        else:
            return array


def _indices(values: np.ndarray[Any, Any]) -> Any:
    import pyarrow as pa

    return pa.array(values, pa.int64())


def dense(array: Any, metadata: Mapping[bytes, bytes], decimals_as_float: bool = False) -> Dense | None:
    """Return an array of values of one size, or None if it is none."""
    name = extension(array.type, metadata)
    if name == "arrow.fixed_shape_tensor" and kind(array.type) == "EXTENSION":
        return _tensors(array)
    array = plain(array)
    if name == "lance.bfloat16":
        return Dense(raw(array, np.uint16), _nulls(array), bfloat16=True)
    what = kind(array.type)
    if name == "arrow.bool8":
        return Dense(raw(array, np.int8) != 0, _nulls(array))
    if what in _NUMBERS:
        return Dense(raw(array, _NUMBERS[what]), _nulls(array))
    if what == "FIXED_SIZE_LIST":
        return _fixed_lists(array, decimals_as_float)
    if what.startswith("DECIMAL") and decimals_as_float:
        import pyarrow as pa

        array = array.cast(pa.string()).cast(pa.float64())  # at once it would not be the nearest, but one beside it
        return Dense(raw(array, np.float64), _nulls(array))
    return _OTHERS[what](array) if what in _OTHERS else None


def raw(array: Any, dtype: Any) -> np.ndarray[Any, Any]:
    """Return a copy of the values of an array of fixed width, nulls included."""
    dtype = np.dtype(dtype)
    data = array.buffers()[1]
    if data is None or not len(array):
        return np.zeros(len(array), dtype)
    return np.frombuffer(data, dtype, len(array), array.offset * dtype.itemsize).copy()


def is_null(array: Any) -> np.ndarray[Any, Any]:
    """Return where an array is null."""
    if not array.null_count:
        return np.zeros(len(array), bool)
    nulls: np.ndarray[Any, Any] = array.is_null().to_numpy(zero_copy_only=False)
    return nulls


def _nulls(array: Any) -> np.ndarray[Any, Any] | None:
    return is_null(array) if array.null_count else None


def _bools(array: Any) -> Dense:
    nulls = _nulls(array)
    bits = array if nulls is None else array.fill_null(False)
    return Dense(bits.to_numpy(zero_copy_only=False), nulls)  # unpacked, so a copy


def _fixed_lists(array: Any, decimals_as_float: bool) -> Dense | None:
    """Return lists of one size as rows. Arrow keeps their values under a null, too."""
    size, rows, field = array.type.list_size, len(array), array.type.value_field
    child = array.values.slice(array.offset * size, rows * size)
    inner = dense(child, field.metadata or {}, decimals_as_float)
    if inner is None:
        return None
    values = inner.values.reshape(rows, size, *inner.values.shape[1:])
    nulls = None if inner.nulls is None else inner.nulls.reshape(rows, size, *inner.nulls.shape[1:])
    missing = _nulls(array)
    if missing is not None and nulls is None:
        nulls = np.zeros(values.shape[: inner.axes + 1], bool)
    if missing is not None and nulls is not None:
        nulls[missing] = True
    return Dense(values, nulls, inner.bfloat16, inner.axes + 1)


def _tensors(array: Any) -> Dense | None:
    """Return tensors in the order of their logical axes; a permutation says where each lies in memory."""
    flat = dense(array.storage, {})
    if flat is None:
        return None
    shape, order = array.type.shape, array.type.permutation
    values = flat.values.reshape(len(array), *shape)
    nulls = None if flat.nulls is None else flat.nulls.reshape(values.shape)
    if order is not None:
        axes = (0, *(axis + 1 for axis in order))
        values = np.ascontiguousarray(values.transpose(axes))
        nulls = None if nulls is None else nulls.transpose(axes)
    return Dense(values, nulls, axes=values.ndim)


def _timed(kind_of: str, stored: Any) -> Callable[[Any], Dense]:
    def convert(array: Any) -> Dense:
        unit = array.type.unit if hasattr(array.type, "unit") else _UNITS[kind(array.type)]
        values = raw(array, stored).astype(np.int64, copy=False)
        return Dense(values.view(f"{kind_of}8[{unit}]"), _nulls(array))

    return convert


def _month_day_nanos(array: Any) -> Dense:
    parts = raw(array, np.dtype([("months", "<i4"), ("days", "<i4"), ("nanoseconds", "<i8")]))
    return Dense(np.stack([parts[name].astype(np.int64) for name in parts.dtype.names or ()], 1), _nulls(array))


_NUMBERS = {f"{sign}INT{bits}": np.dtype(f"{sign.lower()}int{bits}") for sign in ("", "U") for bits in (8, 16, 32, 64)}
_NUMBERS |= {"HALF_FLOAT": np.dtype("f2"), "FLOAT": np.dtype("f4"), "DOUBLE": np.dtype("f8")}
_UNITS = {"DATE32": "D", "DATE64": "ms"}
_OTHERS: dict[str, Callable[[Any], Dense]] = {
    "BOOL": _bools,
    "DATE32": _timed("M", np.int32),
    "DATE64": _timed("M", np.int64),
    "TIMESTAMP": _timed("M", np.int64),
    "TIME32": _timed("m", np.int32),
    "TIME64": _timed("m", np.int64),
    "DURATION": _timed("m", np.int64),
    "INTERVAL_MONTH_DAY_NANO": _month_day_nanos,
}


def permutation(type_: Any, metadata: Mapping[bytes, bytes]) -> list[int] | None:
    """Return the order of the axes that an extension type's own metadata says."""
    said = metadata.get(b"ARROW:extension:metadata", b"")
    if kind(type_) == "EXTENSION":
        said = type_.__arrow_ext_serialize__()
    order = json.loads(said or b"{}").get("permutation")
    return None if order is None else [int(axis) for axis in order]
