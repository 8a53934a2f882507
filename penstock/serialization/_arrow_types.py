"""One column of Arrow's, of any type, as an array, a tensor, a list or a dict: `convert`, and the nested types."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from penstock.core.errors import DecodeError
from penstock.serialization._arrow_dense import Dense, dense, extension, is_null, kind, permutation, plain, raw
from penstock.serialization._arrow_images import fixed_arrays, image_feature, images
from penstock.serialization._arrow_nulls import (
    ERROR,
    Column,
    filled,
    fitted,
    for_column,
    null_error,
    settled_rows,
)
from penstock.serialization._arrow_objects import BLOB, Result, all_null, blobs, bytes_, decimals, texts, uuids
from penstock.serialization._arrow_rows import as_dict, cut, one_by_one, row_of

__all__ = ["Result", "convert", "finished_mask", "put"]


def convert(array: Any, column: Column) -> Result:
    """Return an array's values in memory of their own."""
    name = extension(array.type, column.metadata)
    if name in _EXTENSIONS:
        return _EXTENSIONS[name](array, column)
    found = fixed_arrays(array, column)
    if found is None:
        found = dense(array, column.metadata, column.decimals_as_float)
    if found is not None:
        return _settled(found, column)
    array = plain(array)
    if BLOB in column.metadata:
        return blobs(array, column)
    if image_feature(column):
        return images(array, column)
    if kind(array.type) not in _KINDS:
        raise column.unable("this type is not known here")
    return _KINDS[kind(array.type)](array, column)


def put(into: dict[str, Any], name: str, values: Any, mask: Any = None) -> None:
    """Put a column into a dict, and what tells its nulls beside it."""
    both = {name: values} if mask is None else {name: values, f"{name}_is_null": mask}
    for key in both:
        if key in into:
            raise DecodeError(f"two columns are named {key!r}, and a dict has room for one")
    into.update(both)


def finished_mask(mask: np.ndarray[Any, Any] | None, field: Any, column: Column) -> Any:
    """Return what tells a field's nulls as what was asked for; None for one that holds none by its schema."""
    return None if mask is None or not field.nullable else _finished(mask, column)


def _finished(values: np.ndarray[Any, Any], column: Column, bfloat16: bool = False) -> Any:
    """Return an array as what was asked for."""
    if not column.torch:
        return (values.astype(np.uint32) << np.uint32(16)).view(np.float32) if bfloat16 else values
    import torch

    if values.dtype.kind in "mM":
        values = values.view(np.int64)
    tensor = torch.from_numpy(values)
    return tensor.view(torch.bfloat16) if bfloat16 else tensor


def _settled(found: Dense, column: Column) -> Result:
    mask = None
    if column.is_mask():
        mask = np.zeros(found.values.shape[: found.axes], bool)
        if found.nulls is not None:
            mask |= found.nulls
    filled(found.values, found.nulls, column, found.bfloat16)
    return _finished(found.values, column, found.bfloat16), mask


def _lists(array: Any, column: Column) -> Result:
    """Return lists as rows of one long column of their elements."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    feature = column.feature
    if isinstance(feature, Mapping):
        feature = feature.get("feature")
    elif isinstance(feature, list) and feature:
        feature = feature[0]
    of_rows = column.is_mask() or isinstance(column.nulls, (list, tuple, np.ndarray))
    inner = column.child(
        f"{column.name}[]",
        array.type.value_field,
        nulls=ERROR if of_rows else column.nulls,  # an element has no place in a mask of rows
        feature=feature,
        row=row_of(lengths, column),
    )
    values, _ = convert(array.flatten(), inner)
    rows = cut(values, lengths)

    def empty() -> Any:
        return cut(values, np.zeros(1, np.int64))[0]

    def fit(fill: Any) -> Any:
        if not of_rows:
            return empty()  # a value that elements get, and this row has none
        try:
            row = pa.array([fill], array.type)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise column.unable(f"a null cannot be {fill!r}: {error}") from None
        plainly = convert(row, replace(column, nulls=ERROR, torch=False))[0][0]
        if isinstance(plainly, np.ndarray) and plainly.dtype.kind in "biu":
            fitted(fill, plainly.dtype, inner)  # pyarrow makes 0.5 a 0
        return convert(row, replace(column, nulls=ERROR))[0][0]

    return settled_rows(rows, is_null(array), column, empty, fit)


def _struct(array: Any, column: Column) -> Result:
    """Return a dict of columns. A null struct is null in each of them."""
    mask = is_null(array) if column.is_mask() else None
    if array.null_count and column.is_error():
        raise null_error(column, int(np.flatnonzero(is_null(array))[0]))
    columns: dict[str, Any] = {}
    for field, part in zip(array.type, array.flatten(), strict=True):
        inner = column.child(
            f"{column.name}.{field.name}",
            field,
            nulls=for_column(column.nulls, field.name),
            feature=_feature_in(column.feature, field.name),
        )
        values, nulls = convert(part, inner)
        put(columns, field.name, values, finished_mask(nulls, field, column))
    return columns, mask


def _feature_in(feature: Any, name: str) -> Any:
    """Return what is said of a struct's field. A sequence of dicts is stored as a dict of sequences."""
    if not isinstance(feature, Mapping):
        return None
    inner = feature.get("feature")
    if "_type" in feature and isinstance(inner, Mapping) and "_type" not in inner:
        return {**feature, "feature": inner.get(name)}
    return feature.get(name)


def _maps(array: Any, column: Column) -> Result:
    """Return each map as a dict."""
    valid = np.flatnonzero(~is_null(array))
    entries = array.drop_null()  # so that nothing lies under a null
    offsets = entries.offsets.to_numpy()
    rows: list[Any] = [None] * len(array)
    if len(valid):
        first, last, lengths = int(offsets[0]), int(offsets[-1]), np.diff(offsets)
        row = row_of(lengths, _numpy(column, row=lambda index: column.row(int(valid[index]))))
        policy = column.nulls if not column.is_mask() and not isinstance(column.nulls, dict) else ERROR
        inner = [
            _numpy(column.child(f"{column.name}.{name}", field, nulls=policy, row=row))
            for name, field in (("key", array.type.key_field), ("value", array.type.item_field))
        ]
        count = last - first
        keys = one_by_one(convert(entries.keys.slice(first, count), inner[0])[0], count)
        items = one_by_one(convert(entries.items.slice(first, count), inner[1])[0], count)
        cuts = zip(cut(keys, lengths), cut(items, lengths), strict=True)
        for index, (names, values) in zip(valid.tolist(), cuts, strict=True):
            rows[index] = as_dict(names, values, column, index)
    return settled_rows(rows, is_null(array), column, dict, lambda fill: dict(fill) if isinstance(fill, dict) else {})


def _numpy(column: Column, **changes: Any) -> Column:
    """Return the column as one whose values go into Python's objects, where no tensors are wanted."""
    return replace(column, torch=False, **changes)


def _unions(array: Any, column: Column) -> Result:
    """Return each value as the child that has it converts it."""
    import pyarrow as pa

    codes = raw(array, np.int8)  # `type_codes` and `offsets` of a slice are those of the whole
    places: Any = np.arange(len(array))
    if kind(array.type) == "DENSE_UNION":
        places = np.frombuffer(array.buffers()[2] or b"", np.int32)[array.offset : array.offset + len(array)]
    rows: list[Any] = [None] * len(array)
    mask = np.zeros(len(array), bool) if column.is_mask() else None
    for number, code in enumerate(array.type.type_codes):
        here = np.flatnonzero(codes == code)
        field = array.type.field(number)
        inner = _numpy(column.child(f"{column.name}.{field.name}", field, row=_picked(here, column)))
        values, nulls = convert(array.field(number).take(pa.array(places[here], pa.int64())), inner)
        for index, value in zip(here.tolist(), one_by_one(values, len(here)), strict=True):
            rows[index] = value
        if mask is not None and nulls is not None:
            mask[here] = nulls.reshape(len(here), -1).any(1) if len(here) else False
    return rows, mask


def _picked(rows: np.ndarray[Any, Any], column: Column) -> Callable[[int], int]:
    return lambda index: column.row(int(rows[index]))


def _shaped(array: Any, column: Column) -> Result:
    """Return tensors of any shapes, as a list of arrays."""
    storage = plain(array)
    parts = {field.name: (field, part) for field, part in zip(storage.type, storage.flatten(), strict=True)}
    (data_field, data), (shape_field, shape) = parts["data"], parts["shape"]
    order = permutation(array.type, column.metadata)
    rows, mask = convert(data, replace(column, metadata=data_field.metadata or {}))
    shapes = convert(shape, _numpy(column.child(column.name, shape_field, nulls=0)))[0]
    for index, null in enumerate(is_null(data).tolist()):
        row = rows[index]
        if not null:
            row = row.reshape(tuple(shapes[index].tolist()))
            if order is not None:
                row = row.permute(order).contiguous() if column.torch else np.ascontiguousarray(row.transpose(order))
            rows[index] = row
        elif row is not None and row.shape == (0,):
            rows[index] = row.reshape((0,) * shapes.shape[1])
    return rows, mask


_EXTENSIONS: dict[str, Callable[[Any, Column], Result]] = {
    "arrow.uuid": uuids,
    "arrow.variable_shape_tensor": _shaped,
    "lance.blob.v2": lambda array, column: blobs(plain(array), column),
}
_KINDS: dict[str, Callable[[Any, Column], Result]] = {
    **dict.fromkeys(("STRING", "LARGE_STRING", "STRING_VIEW"), texts),
    **dict.fromkeys(("BINARY", "LARGE_BINARY", "BINARY_VIEW", "FIXED_SIZE_BINARY"), bytes_),
    **dict.fromkeys(("DECIMAL32", "DECIMAL64", "DECIMAL128", "DECIMAL256"), decimals),
    **dict.fromkeys(("LIST", "LARGE_LIST", "LIST_VIEW", "LARGE_LIST_VIEW", "FIXED_SIZE_LIST"), _lists),
    **dict.fromkeys(("SPARSE_UNION", "DENSE_UNION"), _unions),
    "STRUCT": _struct,
    "MAP": _maps,
    "NA": all_null,
}
