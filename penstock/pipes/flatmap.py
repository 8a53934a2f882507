"""FlatMapper (``flatmap``)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any, TypeVar

from penstock.core.context import Context
from penstock.core.pipe import IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.pipes._columns import check_columns, pick
from penstock.pipes._nested import nested

T = TypeVar("T")
U = TypeVar("U")


@functional_datapipe("flatmap")
class FlatMapper(IterDataPipe[U]):
    """Turn each item into any number of items: those of ``fn(x)`` (functional name: ``flatmap``).

    Args:
        datapipe: the source.
        fn: returns an iterable; without it the items themselves are the iterables.
        input_col: the columns of an item that ``fn`` gets; the whole item unless given.

    State: the source's state ahead of the item that is being expanded, and how many of its items have been given.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper([1, 2]).flatmap(lambda x: [x] * x))
        [1, 2, 2]
    """

    def __init__(
        self,
        datapipe: IterDataPipe[T],
        fn: Callable[[T], Iterable[U]] | None = None,
        input_col: Hashable | list[Hashable] | tuple[Hashable, ...] | None = None,
    ) -> None:
        datapipe = check_source(self, datapipe)
        if fn is not None:
            check_columns(fn, input_col)
        self.datapipe: IterDataPipe[Any] = datapipe
        self.fn: Callable[..., Iterable[U]] | None = fn
        self.input_col = input_col

    def __len__(self) -> int:
        raise TypeError(f"{type(self).__name__}'s length relies on the output of its function.")

    def build(self, ctx: Context, state: State = None) -> Stream[U]:
        fn, columns = self.fn, self.input_col

        def expand(item: Any) -> Iterable[U]:
            arguments = (item,) if columns is None else pick(item, columns)
            return fn(*arguments) if fn is not None else arguments[0]

        return nested(self, self.datapipe, expand, ctx, state)
