"""Conditions on rows: pyarrow's expressions, and lists of ``(column, op, value)``."""

from __future__ import annotations

from typing import Any, TypeAlias

from penstock.core.errors import DecodeError

__all__ = ["Condition", "as_expression", "check_condition", "columns_of"]

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

    empty = schema.empty_table()

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


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names[:20])) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
