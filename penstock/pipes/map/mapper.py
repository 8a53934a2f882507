"""Mapper (``map``) for MapDataPipes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from penstock.core.pipe import MapDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.pipes._columns import check_callable

T = TypeVar("T")
U = TypeVar("U")


@functional_datapipe("map")
class Mapper(MapDataPipe[U]):
    """Apply a function to every item, when it is asked for: ``x`` becomes ``fn(x)`` (functional name: ``map``).

    Args:
        datapipe: the source.
        fn: the function; without it the items pass as they are.

    Example:
        >>> from penstock.pipes.map import SequenceWrapper
        >>> SequenceWrapper([1, 2]).map(str)[1]
        '2'
    """

    def __init__(self, datapipe: MapDataPipe[T], fn: Callable[[T], U] | None = None) -> None:
        datapipe = check_source(self, datapipe, MapDataPipe)
        if fn is not None:
            check_callable(fn)
        self.datapipe: MapDataPipe[Any] = datapipe
        self.fn: Callable[[Any], U] = _identity if fn is None else fn

    def __getitem__(self, index: Any) -> U:
        return self.fn(self.datapipe[index])

    def __getitems__(self, indices: Sequence[Any]) -> list[U]:
        fn = self.fn
        return [fn(item) for item in self.datapipe.__getitems__(indices)]  # `map` would end at a StopIteration

    def __len__(self) -> int:
        return len(self.datapipe)


def _identity(item: Any) -> Any:
    return item
