"""Conditions on rows: pyarrow's expressions, and lists of ``(column, op, value)``."""

from __future__ import annotations

from typing import Any, TypeAlias

from penstock.core.errors import DecodeError
from penstock.pipes._arrow_rows import plain
from penstock.pipes._batches import is_record_batch, row_count

__all__ = ["Condition", "as_expression", "check_condition", "columns_of", "rows_that_hold"]

Condition: TypeAlias = Any  # a pyarrow.compute.Expression, a list of triples, or a list of such lists
_OPERATORS = ("=", "==", "!=", "<", ">", "<=", ">=", "in", "not in")


def check_condition(condition: Condition | None) -> Condition | None:
    """Return a condition. TypeError for what is none, ValueError for an operator that does not exist."""
    if condition is None or type(condition).__name__ == "Expression":
        return condition
    if not isinstance(condition, (list, tuple)) or not condition:
        raise TypeError(
            "a filter is a pyarrow.compute.Expression or a list of (column, op, value), all of which must hold (or a "
            f"list of such lists, one of which must), got {condition!r:.200}"
        )
    for one in [condition] if isinstance(condition[0], tuple) else condition:
        for triple in one:
            if not isinstance(triple, (tuple, list)) or len(triple) != 3 or not isinstance(triple[0], str):
                raise TypeError(f"a filter has triples of (column, op, value), got {triple!r:.200}")
            if triple[1] not in _OPERATORS:
                raise ValueError(f"a filter's op must be one of {', '.join(_OPERATORS)}, got {triple[1]!r}")
    return condition


def as_expression(condition: Condition) -> Any:
    """Return a condition as a `pyarrow.compute.Expression`."""
    if not isinstance(condition, (list, tuple)):
        return condition
    import pyarrow.parquet as pq

    return pq.filters_to_expression(list(condition))


def columns_of(expression: Any, schema: Any, what: str) -> list[str]:
    """Return the columns that an expression looks at. DecodeError, of ``what``, where it does not fit the schema.

    An expression does not tell them. So it is tried on no rows: without a column that it needs it fails.
    """
    import pyarrow as pa

    empty = pa.Table.from_batches([], schema=schema)  # `empty_table` has not each type

    def fits(names: list[str]) -> bool:
        try:
            empty.select(names).filter(expression)
        except pa.ArrowInvalid as error:
            if "FieldRef" not in str(error):
                raise
            return False
        return True

    try:
        if not fits(schema.names):
            raise DecodeError(f"{what} has the columns {_listed(schema.names)}, and the filter is {expression}")
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowKeyError, pa.ArrowTypeError) as error:
        raise DecodeError(f"{what}: the filter {expression} does not fit its columns: {error}") from error
    text = str(expression)
    candidates = [name for name in schema.names if name in text]
    if not fits(candidates):  # a name is written otherwise in the text
        candidates = schema.names
    return [name for name in candidates if not fits([other for other in candidates if other != name])]


def rows_that_hold(expression: Any, batch: Any) -> Any:
    """Return the numbers of the rows for which an expression holds: of a column of numbers, those that are left."""
    import numpy as np
    import pyarrow as pa

    text, number = str(expression), "row"
    count = row_count(batch)
    names = batch.schema.names if is_record_batch(batch) else list(batch)
    while number in names:
        number += "_"
    # Those that the text may name; which of them it does only Arrow knows.
    arrays: dict[str, Any] = {number: pa.array(np.arange(count))}
    wrong = None
    for name in names:
        if isinstance(name, str) and name in text:
            try:
                arrays[name] = _as_arrow(batch[name])
            except (pa.ArrowException, TypeError, ValueError, RuntimeError) as error:
                wrong = wrong or error  # unless the condition does not name it
    table = pa.table({name: column for name, column in arrays.items() if column is not None})
    try:
        return table.filter(expression).column(number).to_numpy().copy()  # which can be written into
    except pa.ArrowInvalid as error:
        if "FieldRef" not in str(error):
            raise
        others = ", ".join(map(repr, names))
        raise wrong or KeyError(f"the condition {expression} needs another column than {others}") from None


def _as_arrow(column: Any) -> Any:
    """Return a column as an array of Arrow's, None for one of several axes and for a struct."""
    import numpy as np
    import pyarrow as pa

    if isinstance(column, (pa.Array, list)):
        return plain(pa.array(column))
    if getattr(column, "ndim", 0) != 1:
        return None
    column = column.numpy() if hasattr(column, "numpy") else column
    if isinstance(column, np.ndarray) and not column.dtype.isnative:
        column = column.astype(column.dtype.newbyteorder("="))
    return pa.array(column)


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names[:20])) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
