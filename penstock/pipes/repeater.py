"""Repeater (``repeat``)."""

from __future__ import annotations

from itertools import repeat
from typing import TypeVar

from penstock.core.context import Context
from penstock.core.pipe import IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.pipes._nested import nested

T = TypeVar("T")


@functional_datapipe("repeat")
class Repeater(IterDataPipe[T]):
    """Yield each item several times (functional name: ``repeat``).

    Args:
        source_datapipe: the source.
        times: how many times, at least 2. It is the same object each time.

    Raises:
        ValueError: ``times`` is below 2.

    State: the source's state ahead of the item, and how many times it has been given.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper("ab").repeat(2))
        ['a', 'a', 'b', 'b']
    """

    def __init__(self, source_datapipe: IterDataPipe[T], times: int) -> None:
        source_datapipe = check_source(self, source_datapipe)
        if times <= 1:
            raise ValueError(f"The number of repetition must be > 1, got {times}")
        self.datapipe = source_datapipe
        self.times = times

    def __len__(self) -> int:
        return self.times * len(self.datapipe)

    def build(self, ctx: Context, state: State = None) -> Stream[T]:
        times = self.times
        return nested(self, self.datapipe, lambda item: repeat(item, times), ctx, state)
