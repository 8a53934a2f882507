"""Cycler (``cycle``)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TypeVar

from penstock.core.context import Context
from penstock.core.pipe import IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream, counted

T = TypeVar("T")


@functional_datapipe("cycle")
class Cycler(IterDataPipe[T]):
    """Run through the source again and again (functional name: ``cycle``). Each pass shuffles anew.

    Args:
        source_datapipe: the source.
        count: how many passes; None for no end. A source that yields nothing in a whole pass ends the cycle then.

    State: the pass, and the source's state in it.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper([1, 2]).cycle(2))
        [1, 2, 1, 2]
    """

    def __init__(self, source_datapipe: IterDataPipe[T], count: int | None = None) -> None:
        source_datapipe = check_source(self, source_datapipe)
        if count is not None and count < 0:
            raise ValueError(f"Expected non-negative count, got {count}")
        self.datapipe = source_datapipe
        self.count = count

    def __len__(self) -> int:
        if self.count is None:
            raise TypeError(
                f"This {type(self).__name__} instance cycles forever, and therefore doesn't have valid length"
            )
        return self.count * len(self.datapipe)

    def build(self, ctx: Context, state: State = None) -> Stream[T]:
        name = ctx.name(self)
        number, anchor = ctx.own(self, state) or (0, None)
        up = ctx.in_pass(name, number).build(self.datapipe, anchor)
        resumed = anchor is not None

        def passes() -> Iterator[Iterator[T]]:
            nonlocal number, up, resumed
            while self.count is None or number < self.count:
                items, given = counted(up.it)
                yield items
                if not given() and not resumed and self.count is None:
                    return
                resumed = False
                up.close()
                number += 1
                up = ctx.in_pass(name, number).build(self.datapipe)

        class _Current:
            def close(self) -> None:
                up.close()

        running = passes()
        return Stream(chain.from_iterable(running), lambda: {name: [number, up.state()]}, closers=(running, _Current()))
