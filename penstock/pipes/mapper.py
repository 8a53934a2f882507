"""Mapper (``map``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

from penstock.core.context import Context
from penstock.core.pipe import ONE_TO_ONE, IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.pipes._columns import Columns, check_columns, on_columns

T = TypeVar("T")
U = TypeVar("U")


@functional_datapipe("map")
class Mapper(IterDataPipe[U]):
    """Apply a function to every item: ``x`` becomes ``fn(x)`` (functional name: ``map``).

    Args:
        datapipe: the source.
        fn: the function. Lambdas and local functions work on worker processes too.
        input_col: the columns (keys or indices) of an item that ``fn`` gets; the whole item unless given.
        output_col: where the result goes: in place of the first input column unless given; -1 appends it.

    Raises:
        TypeError: ``fn`` cannot be called.
        ValueError: the columns do not fit together, or ``fn`` does not take so many.

    State: none of its own.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper([1, 2]).map(lambda x: x * 10))
        [10, 20]
        >>> list(IterableWrapper([(1, 2, 3)]).map(lambda a, b: a + b, input_col=[0, 2]))
        [(4, 2)]
    """

    arity = ONE_TO_ONE

    @overload
    def __init__(self, datapipe: IterDataPipe[T], fn: Callable[[T], U]) -> None: ...
    @overload
    def __init__(
        self: Mapper[Any],
        datapipe: IterDataPipe[Any],
        fn: Callable[..., Any],
        input_col: Columns | None,
        output_col: Columns | None = None,
    ) -> None: ...
    def __init__(
        self,
        datapipe: IterDataPipe[Any],
        fn: Callable[..., Any],
        input_col: Columns | None = None,
        output_col: Columns | None = None,
    ) -> None:
        datapipe = check_source(self, datapipe)
        check_columns(fn, input_col, output_col)
        self.datapipe = datapipe
        self.fn = fn
        self.input_col = input_col
        self.output_col = output_col

    def __len__(self) -> int:
        return len(self.datapipe)

    def build(self, ctx: Context, state: State = None) -> Stream[U]:
        return ctx.each(self, self.datapipe, state, on_columns(self.fn, self.input_col, self.output_col))
