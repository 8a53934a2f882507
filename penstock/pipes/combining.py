"""Zipper (``zip``) and Concater (``concat``)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any, TypeVar

from penstock.core.bad import combined
from penstock.core.context import Context
from penstock.core.pipe import IterDataPipe, as_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream

T = TypeVar("T")


@functional_datapipe("zip")
class Zipper(IterDataPipe[tuple[Any, ...]]):
    """Put the items of several pipes side by side, until the shortest ends (functional name: ``zip``).

    Args:
        datapipes: one pipe or more. The same pipe may stand there twice.

    Raises:
        TypeError: one of them is not an IterDataPipe.

    State: those of the sources.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper([1, 2]).zip(IterableWrapper("ab")))
        [(1, 'a'), (2, 'b')]
    """

    holds_nothing = True

    def __init__(self, *datapipes: IterDataPipe[Any]) -> None:
        datapipes = tuple(map(as_source, datapipes))
        if not all(isinstance(pipe, IterDataPipe) for pipe in datapipes):
            raise TypeError("All inputs are required to be `IterDataPipe` for `ZipIterDataPipe`.")
        self.datapipes = datapipes

    def __len__(self) -> int:
        return min(map(len, self.datapipes), default=0)

    def build(self, ctx: Context, state: State = None) -> Stream[tuple[Any, ...]]:
        name = ctx.name(self)
        saved = ctx.own(self, state) or [None] * len(self.datapipes)
        ups = [ctx.build(pipe, s, holes=True) for pipe, s in zip(self.datapipes, saved, strict=True)]
        rows: Iterator[Any] = zip(*(up.it for up in ups), strict=False)
        if ctx.bad is not None:
            rows = map(combined, rows)
        return Stream(rows, lambda: {name: [up.state() for up in ups]}, closers=ups)


@functional_datapipe("concat")
class Concater(IterDataPipe[T]):
    """Read several pipes one after the other (functional name: ``concat``).

    Args:
        datapipes: one pipe or more.

    Raises:
        ValueError: no pipe is given.
        TypeError: one of them is not an IterDataPipe.

    State: which pipe is being read, and its state.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper([1]).concat(IterableWrapper([2, 3])))
        [1, 2, 3]
    """

    holds_nothing = True

    def __init__(self, *datapipes: IterDataPipe[T]) -> None:
        if not datapipes:
            raise ValueError("Expected at least one DataPipe, but got nothing")
        datapipes = tuple(map(as_source, datapipes))
        if not all(isinstance(pipe, IterDataPipe) for pipe in datapipes):
            raise TypeError("Expected all inputs to be `IterDataPipe`")
        self.datapipes = datapipes

    def __len__(self) -> int:
        return sum(map(len, self.datapipes))

    def build(self, ctx: Context, state: State = None) -> Stream[T]:
        name = ctx.name(self)
        first, inner = ctx.own(self, state) or (0, None)
        here, up = first, ctx.build(self.datapipes[first], inner, holes=True)

        def parts() -> Iterator[Iterator[T]]:
            nonlocal here, up
            while True:
                yield up.it
                if here + 1 == len(self.datapipes):
                    return
                up.close()
                here, up = here + 1, ctx.build(self.datapipes[here + 1], holes=True)

        class _Current:
            def close(self) -> None:
                up.close()

        running = parts()
        return Stream(chain.from_iterable(running), lambda: {name: [here, up.state()]}, closers=(running, _Current()))
