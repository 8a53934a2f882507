"""LengthSetter (``set_length``)."""

from __future__ import annotations

from typing import TypeVar

from penstock.core.context import Context
from penstock.core.pipe import ONE_TO_ONE, IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream

T = TypeVar("T")


@functional_datapipe("set_length")
class LengthSetter(IterDataPipe[T]):
    """Pass the items on, and say how many there are (functional name: ``set_length``).

    Args:
        source_datapipe: the source.
        length: what ``len`` gives. Nothing checks it.

    Raises:
        AssertionError: ``length`` is negative.

    State: none of its own.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> evens = IterableWrapper(range(10)).filter(lambda x: x % 2 == 0).set_length(5)
        >>> len(evens), list(evens)
        (5, [0, 2, 4, 6, 8])
    """

    arity = ONE_TO_ONE

    def __init__(self, source_datapipe: IterDataPipe[T], length: int) -> None:
        source_datapipe = check_source(self, source_datapipe)
        if length < 0:
            raise AssertionError(f"length must not be negative, got {length}")
        self.datapipe = source_datapipe
        self.length = length

    def __len__(self) -> int:
        return self.length

    def build(self, ctx: Context, state: State = None) -> Stream[T]:
        return ctx.build(self.datapipe, state, indices=True, holes=True)
