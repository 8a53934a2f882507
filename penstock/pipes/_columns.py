"""``input_col`` and ``output_col``: a function that works on some columns of a tuple, list or dict item."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeAlias

__all__ = ["Columns", "check_callable", "check_columns", "on_columns", "pick"]

Columns: TypeAlias = Hashable | list[Hashable] | tuple[Hashable, ...]


def check_callable(fn: object) -> None:
    """Raise TypeError unless ``fn`` can be called."""
    if not callable(fn):
        raise TypeError(f"a function is expected, but got {type(fn).__name__}")


def check_columns(fn: Callable[..., Any], input_col: Columns | None, output_col: Columns | None = None) -> None:
    """Raise ValueError where the columns do not fit together, or ``fn`` cannot take so many of them."""
    check_callable(fn)
    if output_col is not None:
        if input_col is None:
            raise ValueError("`output_col` must be None when `input_col` is None.")
        if isinstance(output_col, (list, tuple)) and len(output_col) > 1:
            raise ValueError("`output_col` must be a single-element list or tuple")
    _check_arity(fn, len(input_col) if isinstance(input_col, (list, tuple)) else 1)


def on_columns(fn: Callable[..., Any], input_col: Columns | None, output_col: Columns | None) -> Callable[[Any], Any]:
    """Return ``fn`` as a function of whole items.

    With ``output_col`` None the result takes the place of the (first) input column, and the other input columns go;
    -1 appends it; anything else sets that column.
    """
    if input_col is None:
        return fn
    several = isinstance(input_col, (list, tuple))
    target = output_col[0] if isinstance(output_col, (list, tuple)) else output_col

    def apply(item: Any) -> Any:
        result = fn(*pick(item, input_col)) if several else fn(item[input_col])
        if target == -1 and not isinstance(item, dict):
            return (*item, result) if isinstance(item, tuple) else [*item, result]
        columns: Any = dict(item) if isinstance(item, dict) else list(item)
        if target is not None:
            columns[target] = result
        elif several:
            chosen: Any = input_col  # a list or tuple, as ``several`` says
            first, *others = chosen
            columns[first] = result
            for column in sorted(others, reverse=True) if isinstance(columns, list) else others:
                del columns[column]
        else:
            columns[input_col] = result
        return tuple(columns) if isinstance(item, tuple) else columns

    return apply


def pick(item: Any, input_col: Columns) -> tuple[Any, ...]:
    """Return the arguments that ``input_col`` names."""
    if isinstance(input_col, (list, tuple)):
        return tuple(item[column] for column in input_col)
    return (item[input_col],)


def _check_arity(fn: Callable[..., Any], count: int) -> None:
    import inspect

    try:
        parameters = inspect.signature(fn).parameters.values()
    except (ValueError, TypeError):  # a builtin without a signature
        return
    name = getattr(fn, "__name__", type(fn).__name__)
    keyword_only = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if keyword_only:
        raise ValueError(f"The function {name} takes keyword-only parameters, which is not allowed: {keyword_only}")
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = sum(p.default is p.empty for p in positional)
    if required > count:
        raise ValueError(f"The function {name} requires {required} parameters, but {count} are given")
    if len(positional) < count and not any(p.kind is p.VAR_POSITIONAL for p in parameters):
        raise ValueError(f"The function {name} takes {len(positional)} parameters, but {count} are required.")
