"""Arrow's arrays whose values are Python's objects, one by row: texts, bytes, decimals, UUIDs."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np

from penstock.core.errors import DecodeError
from penstock.serialization._arrow_dense import is_null, kind, plain
from penstock.serialization._arrow_nulls import Column, of_type, settled_rows

__all__ = ["BLOB", "Result", "all_null", "blobs", "bytes_", "decimals", "texts", "uuids"]

Result = tuple[Any, "np.ndarray[Any, Any] | None"]  # the values; where they are null, if that is asked
BLOB = b"lance-encoding:blob"  # a field's metadata has it


def objects(array: Any) -> list[Any]:
    objects: list[Any] = array.to_numpy(zero_copy_only=False).tolist()
    return objects


def texts(array: Any, column: Column) -> Result:
    import pyarrow as pa

    try:
        rows = objects(array)
    except pa.ArrowException as error:
        raise (_not_text(array, column) or error) from None
    return settled_rows(rows, is_null(array), column, str, of_type(str, column))


def _not_text(array: Any, column: Column) -> DecodeError | None:
    """Return the error for the first value that is no text, if there is one."""
    import pyarrow as pa

    for index, value in enumerate(objects(array.cast(pa.large_binary()))):
        try:
            (value or b"").decode()
        except UnicodeDecodeError as error:
            row = column.row(index)
            return DecodeError(f"column {column.name!r} ({column.type}) is no UTF-8 in row {row} of the batch: {error}")
    return None


def bytes_(array: Any, column: Column) -> Result:
    size = array.type.byte_width if kind(array.type) == "FIXED_SIZE_BINARY" else None
    fit = of_type(bytes, column)

    def fit_size(fill: Any) -> Any:
        if size is not None and len(fit(fill)) != size:
            raise column.unable(f"a null cannot be {fill!r}, which has not {size} bytes")
        return fit(fill)

    return settled_rows(objects(array), is_null(array), column, lambda: bytes(size or 0), fit_size)


def uuids(array: Any, column: Column) -> Result:
    array = plain(array)
    rows = [value and UUID(bytes=value) for value in objects(array)]
    return settled_rows(rows, is_null(array), column, lambda: UUID(int=0), of_type(UUID, column))


def decimals(array: Any, column: Column) -> Result:
    if column.torch:
        raise column.unable("torch has no decimals; ask for the nearest floats with decimals='float64'")
    return settled_rows(objects(array), is_null(array), column, Decimal, of_type(Decimal, column))


def all_null(array: Any, column: Column) -> Result:
    return settled_rows([None] * len(array), np.ones(len(array), bool), column, lambda: None, lambda fill: fill)


def blobs(array: Any, column: Column) -> Result:
    """Return the bytes of Lance's blobs, where the batch has them and not only the place where they are."""
    if kind(array.type) != "STRUCT":
        return bytes_(array, column)
    parts = {field.name: part for field, part in zip(array.type, array.flatten(), strict=True)}
    if "data" not in parts:
        raise column.unable(
            f"the batch has only the places of the blobs ({', '.join(parts)}); read the column's bytes, as "
            "blob_handling='all_binary' of Lance's scanner does"
        )
    data = parts["data"]
    if "uri" in parts:
        elsewhere = np.flatnonzero(np.logical_and(is_null(data), ~is_null(parts["uri"])))
        if len(elsewhere):
            raise column.unable(f"the blob of row {column.row(int(elsewhere[0]))} lies at a URI, not in the batch")
    return bytes_(data, column)
