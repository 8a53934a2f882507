"""Arrays, tensors, lists and rows as Arrow's record batches: the way back from `Conversion`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["batch_of_columns", "batch_of_rows", "stacked"]


def batch_of_columns(columns: Mapping[str, Any], schema: Any = None) -> Any:
    """Return columns as a `pyarrow.RecordBatch`.

    Arrays and tensors keep their types: those of two axes are fixed-size lists, those of more fixed-shape tensors. Of
    texts, which neither Lance nor numpy takes from these, they are lists. A dict is a struct. In a list each value is
    one of Arrow's, or an array.

    Args:
        columns: arrays, tensors, lists or dicts of them, of one length.
        schema: names the columns, their order and types; what they are unless given.

    Raises:
        TypeError: a column that Arrow has no type for.
        ValueError: columns of different lengths; values that do not fit the schema.

    Example:
        >>> import numpy as np
        >>> batch = batch_of_columns({"x": np.arange(2), "vec": np.zeros((2, 3), np.float32), "word": ["a", None]})
        >>> [str(kind) for kind in batch.schema.types]
        ['int64', 'fixed_size_list<item: float>[3]', 'string']
    """
    import pyarrow as pa

    if schema is None:
        made = {name: _array(name, column, None) for name, column in columns.items()}
        return pa.RecordBatch.from_arrays(list(made.values()), names=list(made))
    missing = [name for name in schema.names if name not in columns]
    if missing:
        raise ValueError(f"the schema has a column {missing[0]!r}, and there are {', '.join(map(repr, columns))}")
    arrays = [_array(field.name, columns[field.name], field.type) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def batch_of_rows(rows: Sequence[Mapping[str, Any]], schema: Any = None) -> Any:
    """Return rows, which have the same names, as a `pyarrow.RecordBatch`.

    Example:
        >>> batch_of_rows([{"x": 1, "y": "a"}, {"x": 2, "y": None}]).to_pydict()
        {'x': [1, 2], 'y': ['a', None]}
    """
    names = list(rows[0]) if schema is None else schema.names
    for row in rows:
        odd = set(names) ^ set(row)
        if odd:
            raise ValueError(f"rows must have the same names, and {min(odd, key=str)!r} is not in each")
    return batch_of_columns({name: stacked([row[name] for row in rows]) for name in names}, schema)


def stacked(values: list[Any]) -> Any:
    """Return values as one array, where each is an array or a number of numpy's, of one type and shape."""
    values = [_plain(value) for value in values]
    first = values[0]
    if isinstance(first, (np.ndarray, np.generic)) and first.dtype != object:
        same = (getattr(value, "dtype", None) == first.dtype and value.shape == first.shape for value in values)
        if all(same):
            return np.stack(values)
    return values


def _plain(value: Any) -> Any:
    """Return a tensor as an array."""
    if type(value).__module__.partition(".")[0] == "torch":
        return value.detach().cpu().numpy()
    return value


def _array(name: str, column: Any, kind: Any) -> Any:
    import pyarrow as pa

    column = _plain(column)
    if isinstance(column, Mapping):
        parts = {
            field: _array(f"{name}.{field}", part, None if kind is None else kind.field(field).type)
            for field, part in column.items()
        }
        return pa.StructArray.from_arrays(list(parts.values()), names=list(parts))
    try:
        if isinstance(column, np.ndarray) and column.ndim > 1:
            return _tensors(column, kind)
        if not isinstance(column, np.ndarray):
            return _inferred([_elements(value) for value in column], kind)
        return pa.array(column, kind)
    except (pa.ArrowException, ArithmeticError, TypeError, ValueError) as error:
        message = f"column {name!r}: {error}"
        raise (TypeError if isinstance(error, TypeError) else ValueError)(message) from error


def _inferred(values: list[Any], kind: Any) -> Any:
    import pyarrow as pa

    try:
        return pa.array(values, kind)
    except OverflowError:  # of integers beyond an int64, where pyarrow does not think of others
        try:
            return pa.array(values, kind or pa.uint64())
        except (pa.ArrowException, OverflowError):
            said = "it has integers beyond an int64, which only columns of integers from 0 up to 2**64 - 1 can have"
            raise OverflowError(said) from None


def _tensors(array: np.ndarray[Any, Any], kind: Any) -> Any:
    import pyarrow as pa

    flat = pa.array(np.ascontiguousarray(array).reshape(-1))
    if kind is None and array.dtype.kind not in ("biufmM" if array.ndim == 2 else "biuf"):
        lists = flat.type
        for _ in array.shape[1:]:
            lists = pa.list_(lists)
        return pa.array(array.tolist(), lists)
    if array.ndim == 2 or kind is not None:
        made = pa.FixedSizeListArray.from_arrays(flat, int(np.prod(array.shape[1:])))
        if kind is None or kind == made.type:
            return made
        if isinstance(kind, pa.BaseExtensionType):
            return pa.ExtensionArray.from_storage(kind, made.cast(kind.storage_type))
        return made.cast(kind) if array.ndim == 2 else pa.array(array.tolist(), kind)
    filled = array if len(array) else np.zeros((1, *array.shape[1:]), array.dtype)  # pyarrow takes none without
    return pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(filled)).slice(0, len(array))


def _elements(value: Any) -> Any:
    """Return a value of a list as one that Arrow takes: a matrix as lists of rows."""
    value = _plain(value)
    return list(map(_elements, value)) if isinstance(value, np.ndarray) and value.ndim > 1 else value
