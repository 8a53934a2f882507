"""Concater (``concat``) and Zipper (``zip``) for MapDataPipes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, TypeVar

from penstock.core.pipe import MapDataPipe, as_source
from penstock.core.registry import functional_datapipe

T = TypeVar("T")


@functional_datapipe("concat")
class Concater(MapDataPipe[T]):
    """Put several pipes one behind the other: the indices go on through all of them (functional name: ``concat``).

    Args:
        datapipes: one pipe or more, with the indices 0, 1, 2 ... and a length.

    Raises:
        ValueError: no pipe is given.
        TypeError: one of them is not a MapDataPipe, or has no length.

    Example:
        >>> from penstock.pipes.map import SequenceWrapper
        >>> list(SequenceWrapper("ab").concat(SequenceWrapper("c")))
        ['a', 'b', 'c']
    """

    def __init__(self, *datapipes: MapDataPipe[T]) -> None:
        self.datapipes = _checked(datapipes)

    def __getitem__(self, index: Any) -> T:
        pipe, inner = self._found(index, self._ends())
        return self.datapipes[pipe][inner]

    def __getitems__(self, indices: Sequence[Any]) -> list[T]:
        ends = self._ends()
        items: list[Any] = [None] * len(indices)
        wanted: dict[int, list[tuple[int, int]]] = {}
        for place, index in enumerate(indices):
            pipe, inner = self._found(index, ends)
            wanted.setdefault(pipe, []).append((place, inner))
        for pipe, places in wanted.items():
            found = self.datapipes[pipe].__getitems__([inner for _, inner in places])
            for (place, _), item in zip(places, found, strict=True):
                items[place] = item
        return items

    def __len__(self) -> int:
        return sum(map(len, self.datapipes))

    def _ends(self) -> list[int]:
        return list(accumulate(map(len, self.datapipes)))

    def _found(self, index: int, ends: list[int]) -> tuple[int, int]:
        if not 0 <= index < ends[-1]:
            raise IndexError(f"Index {index} is out of range.")
        pipe = bisect_right(ends, index)
        return pipe, index - (ends[pipe - 1] if pipe else 0)


@functional_datapipe("zip")
class Zipper(MapDataPipe[tuple[Any, ...]]):
    """Put the items of several pipes that have the same index side by side (functional name: ``zip``).

    Args:
        datapipes: one pipe or more, with a length.

    Raises:
        ValueError: no pipe is given.
        TypeError: one of them is not a MapDataPipe, or has no length.

    Example:
        >>> from penstock.pipes.map import SequenceWrapper
        >>> list(SequenceWrapper([1, 2, 3]).zip(SequenceWrapper("ab")))
        [(1, 'a'), (2, 'b')]
    """

    def __init__(self, *datapipes: MapDataPipe[Any]) -> None:
        self.datapipes = _checked(datapipes)

    def __getitem__(self, index: Any) -> tuple[Any, ...]:
        return tuple(pipe[index] for pipe in self.datapipes)

    def __getitems__(self, indices: Sequence[Any]) -> list[tuple[Any, ...]]:
        return list(zip(*(pipe.__getitems__(indices) for pipe in self.datapipes), strict=True))

    def __len__(self) -> int:
        return min(map(len, self.datapipes))


def _checked(datapipes: tuple[MapDataPipe[T], ...]) -> tuple[MapDataPipe[T], ...]:
    if not datapipes:
        raise ValueError("Expected at least one DataPipe, but got nothing")
    datapipes = tuple(map(as_source, datapipes))
    if not all(isinstance(pipe, MapDataPipe) for pipe in datapipes):
        raise TypeError("Expected all inputs to be `MapDataPipe`")
    if any(type(pipe).__len__ is MapDataPipe.__len__ for pipe in datapipes):
        raise TypeError("Expected all inputs to be `Sized`")
    return datapipes
