"""SampleMultiplexer: items of several pipes, chosen at random."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Any, TypeVar

from penstock.core.context import Context
from penstock.core.pipe import IterDataPipe, check_source
from penstock.core.seeds import hash_key
from penstock.core.stream import State, Stream
from penstock.pipes._draws import draws

T = TypeVar("T")

_END: Any = object()


class SampleMultiplexer(IterDataPipe[T]):
    """Yield the items of several pipes in random turns, until all have ended.

    Each next item comes from one of the pipes, with a probability in proportion to its weight. A pipe that has ended
    takes no part any more.

    Args:
        pipes_to_weights_dict: the pipes, and a weight above 0 for each.
        seed: makes the choices the same in every run, whatever the run's seed is. Epochs differ with and without it.

    Raises:
        ValueError: there is no pipe, or a weight is not above 0.

    State: those of the sources, and how many choices have been made.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> web, books = IterableWrapper(["w"] * 3), IterableWrapper(["b"] * 2)
        >>> sorted(SampleMultiplexer({web: 0.9, books: 0.1}))
        ['b', 'b', 'w', 'w', 'w']
    """

    def __init__(self, pipes_to_weights_dict: Mapping[IterDataPipe[T], float], seed: int | None = None) -> None:
        if not pipes_to_weights_dict:
            raise ValueError("Empty dictionary passed to SampleMultiplexer: it needs at least one pipe")
        for weight in pipes_to_weights_dict.values():
            if not 0 < weight < float("inf"):
                raise ValueError(f"Expecting a positive and non-zero weight, got {weight}")
        self.datapipes = tuple(check_source(self, pipe) for pipe in pipes_to_weights_dict)
        self.weights = tuple(pipes_to_weights_dict.values())
        self.seed = seed

    def __len__(self) -> int:
        return sum(map(len, self.datapipes))

    def build(self, ctx: Context, state: State = None) -> Stream[T]:
        name = ctx.name(self)
        drawn, states = ctx.own(self, state) or (0, [[None]] * len(self.datapipes))
        # A source that has ended is not built again: its part of the state is empty.
        ups = [ctx.build(p, s[0]) if s else None for p, s in zip(self.datapipes, states, strict=True)]
        key = ctx.key(self) if self.seed is None else hash_key(self.seed, ctx.epoch, ctx.passes, name)
        numbers, count = draws(key, drawn)

        def items() -> Iterator[T]:
            while alive := [i for i, up in enumerate(ups) if up is not None]:
                sums = list(accumulate(self.weights[i] for i in alive))
                its = [up.it for up in ups if up is not None]
                total, last = sums[-1], len(sums) - 1
                for number in numbers:
                    chosen = min(bisect_right(sums, number * total), last)
                    item = next(its[chosen], _END)
                    if item is _END:
                        break
                    yield item
                ended = ups[alive[chosen]]
                assert ended is not None
                ended.close()
                ups[alive[chosen]] = None

        def tell() -> State:
            return {name: [count(), [[] if up is None else [up.state()] for up in ups]]}

        running = items()
        return Stream(running, tell, closers=(running, *(up for up in ups if up is not None)))
