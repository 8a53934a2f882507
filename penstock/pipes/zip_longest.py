"""ZipperLongest (``zip_longest``)."""

from __future__ import annotations

import itertools
from typing import Any

from penstock.core.context import Context
from penstock.core.pipe import IterDataPipe, as_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream


@functional_datapipe("zip_longest")
class ZipperLongest(IterDataPipe[tuple[Any, ...]]):
    """Put the items of several pipes side by side, until the longest ends (functional name: ``zip_longest``).

    Args:
        datapipes: one pipe or more.
        fill_value: stands in for the items of pipes that have ended.

    Raises:
        TypeError: one of them is not an IterDataPipe.

    State: those of the sources.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper([1, 2]).zip_longest(IterableWrapper("a"), fill_value="-"))
        [(1, 'a'), (2, '-')]
    """

    def __init__(self, *datapipes: IterDataPipe[Any], fill_value: Any = None) -> None:
        datapipes = tuple(map(as_source, datapipes))
        if not all(isinstance(pipe, IterDataPipe) for pipe in datapipes):
            raise TypeError("All inputs are required to be `IterDataPipe` for `ZipperLongest`.")
        self.datapipes = datapipes
        self.fill_value = fill_value

    def __len__(self) -> int:
        return max(map(len, self.datapipes), default=0)

    def build(self, ctx: Context, state: State = None) -> Stream[tuple[Any, ...]]:
        name = ctx.name(self)
        saved = ctx.own(self, state) or [None] * len(self.datapipes)
        ups = [ctx.build(pipe, s) for pipe, s in zip(self.datapipes, saved, strict=True)]
        rows = itertools.zip_longest(*(up.it for up in ups), fillvalue=self.fill_value)
        return Stream(rows, lambda: {name: [up.state() for up in ups]}, closers=ups)
