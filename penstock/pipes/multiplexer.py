"""Multiplexer (``mux``) and MultiplexerLongest (``mux_longest``): items of several pipes in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import Any, TypeVar

from penstock.core.context import Context
from penstock.core.errors import StateError
from penstock.core.pipe import IterDataPipe, as_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream, consume, counted

T = TypeVar("T")

# The sources' states are kept every so many rounds. Kept in every round they would cost more than the rounds.
_EVERY = 32
_END: Any = object()


@functional_datapipe("mux")
class Multiplexer(IterDataPipe[T]):
    """Yield one item of each pipe in turn, until the first one ends (functional name: ``mux``).

    What the others gave in the round in which one ended is dropped, so each pipe contributes as many items.

    Args:
        datapipes: one pipe or more.

    Raises:
        ValueError: no pipe is given.
        TypeError: one of them is not an IterDataPipe.

    State: the sources' states at most 32 rounds ago, and how many items have been given since.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper([1, 2, 3]).mux(IterableWrapper("ab")))
        [1, 'a', 2, 'b']
    """

    def __init__(self, *datapipes: IterDataPipe[T]) -> None:
        self.datapipes = _checked(self, datapipes)

    def __len__(self) -> int:
        return min(map(len, self.datapipes), default=0) * len(self.datapipes)

    def build(self, ctx: Context, state: State = None) -> Stream[T]:
        name, width = ctx.name(self), len(self.datapipes)
        anchor, given = ctx.own(self, state) or (None, 0)
        ups = [ctx.build(p, s, holes=True) for p, s in zip(self.datapipes, anchor or [None] * width, strict=True)]
        if anchor is None:  # also the start is a place: what a cache repeats is not what its source would give now
            anchor = [up.state() for up in ups]
        count: Callable[[], int] = lambda: given  # noqa: E731

        def runs() -> Iterator[Iterator[T]]:
            nonlocal anchor, count
            rounds = zip(*(up.it for up in ups), strict=False)
            whole, passed = divmod(given, width)
            for up in ups:
                up.skip(whole)
            while True:
                items, count = counted(chain.from_iterable(islice(rounds, _EVERY - whole)), whole * width)
                if passed:
                    consume(items, passed)
                    if count() < given:
                        raise StateError(
                            f"{name!r} cannot be restored: its sources end ahead of its place; something upstream of "
                            "it is not deterministic"
                        )
                yield items
                if count() < _EVERY * width:
                    return
                anchor, whole, passed = [up.state() for up in ups], 0, 0

        def tell() -> State:
            return {name: [anchor, count()]}

        running = runs()
        return Stream(chain.from_iterable(running), tell, closers=(running, *ups))


@functional_datapipe("mux_longest")
class MultiplexerLongest(IterDataPipe[T]):
    """Yield one item of each pipe in turn, passing over those that have ended (functional name: ``mux_longest``).

    Args:
        datapipes: one pipe or more.

    Raises:
        ValueError: no pipe is given.
        TypeError: one of them is not an IterDataPipe.

    State: those of the sources, and whose turn it is.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper([1, 2, 3]).mux_longest(IterableWrapper("ab")))
        [1, 'a', 2, 'b', 3]
    """

    def __init__(self, *datapipes: IterDataPipe[T]) -> None:
        self.datapipes = _checked(self, datapipes)

    def __len__(self) -> int:
        return sum(map(len, self.datapipes))

    def build(self, ctx: Context, state: State = None) -> Stream[T]:
        name = ctx.name(self)
        turn, states = ctx.own(self, state) or (0, [[None]] * len(self.datapipes))
        # A source that has ended is not built again: its part of the state is empty.
        ups = [ctx.build(p, s[0], holes=True) if s else None for p, s in zip(self.datapipes, states, strict=True)]

        def items() -> Iterator[T]:
            nonlocal turn
            while any(up is not None for up in ups):
                for place in range(turn, len(ups)):
                    up = ups[place]
                    if up is None:
                        continue
                    item = next(up.it, _END)
                    if item is _END:
                        up.close()
                        ups[place] = None
                    else:
                        turn = place + 1
                        yield item
                turn = 0

        def tell() -> State:
            return {name: [turn, [[] if up is None else [up.state()] for up in ups]]}

        running = items()
        return Stream(running, tell, closers=(running, *(up for up in ups if up is not None)))


def _checked(pipe: IterDataPipe[Any], datapipes: tuple[IterDataPipe[T], ...]) -> tuple[IterDataPipe[T], ...]:
    if not datapipes:
        raise ValueError("Expected at least one DataPipe, but got nothing")
    datapipes = tuple(map(as_source, datapipes))
    if not all(isinstance(source, IterDataPipe) for source in datapipes):
        raise TypeError(f"All inputs are required to be `IterDataPipe` for `{type(pipe).__name__}`.")
    return datapipes
