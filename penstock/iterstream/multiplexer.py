"""Multiplexer: several Composables as one, in turns, or with a probability for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Any, TypeVar

from penstock.core.context import Context
from penstock.core.seeds import hash_key
from penstock.core.stream import State, Stream
from penstock.iterstream.base import Composable
from penstock.iterstream.source import as_composable

__all__ = ["Multiplexer", "MultiplexingStrategy"]

T = TypeVar("T")

_PIECE = 256  # random numbers that are drawn at once


class MultiplexingStrategy(Enum):
    """Whose turn it is, and when it ends.

    - ``ROUND_ROBIN``: in turns; one that has ended takes no part any more. Each item comes once.
    - ``UNIFORM_WITH_REPLACEMENT``: any, with equal probability. One that has ended begins again.
    - ``SAMPLING``: any, with a probability of its own. One that has ended begins again.

    The latter two end when each has ended once, or one has ended ``max_reinits`` times.
    """

    ROUND_ROBIN = "RoundRobin"
    UNIFORM_WITH_REPLACEMENT = "uniform_with_replacement"
    SAMPLING = "sampling"


class Multiplexer(Composable[T]):
    """Yield the items of several Composables as one stream.

    The random choices are those of ``numpy.random.RandomState(MT19937(seed))``, one number for each, as in Squirrel.

    Args:
        composables: them; any iterables will do.
        mux_strategy: whose turn it is.
        sampling_probas: for ``SAMPLING``: a probability for each.
        max_reinits: end when one has ended so many times.
        seed: of the choices; without it they depend on the loader's seed.
        proba_threshold: Composables with a probability of at most that take no part.

    Attributes:
        num_samples: how many items each has given in the last run in this process.
        reinit_counts: how often each has ended in it.

    Raises:
        ValueError: ``SAMPLING`` without a probability for each, or none is above the threshold.

    State: those of the sources, how often each has ended, and how many choices have been made.

    Example:
        >>> Multiplexer([[1, 2, 3], "a"], MultiplexingStrategy.ROUND_ROBIN).collect()
        [1, 'a', 2, 3]
    """

    def __init__(
        self,
        composables: Sequence[Any],
        mux_strategy: MultiplexingStrategy,
        sampling_probas: Sequence[float] | None = None,
        max_reinits: int | None = None,
        seed: int | None = None,
        proba_threshold: float = 1e-3,
    ) -> None:
        super().__init__()
        self.mux_strategy = MultiplexingStrategy(mux_strategy)
        probas = [1.0] * len(composables)
        if self.mux_strategy is MultiplexingStrategy.SAMPLING:
            if sampling_probas is None or len(sampling_probas) != len(composables):
                raise ValueError(f"SAMPLING needs a probability for each of {len(composables)} composables")
            probas = list(sampling_probas)
        chosen = [i for i, proba in enumerate(probas) if proba > proba_threshold]
        if not chosen:
            raise ValueError("a Multiplexer needs at least one composable with a probability above the threshold")
        self.composables = [as_composable(composables[i]) for i in chosen]
        self.probas = [probas[i] / sum(probas[j] for j in chosen) for i in chosen]
        self.max_reinits = max_reinits
        self.seed = seed
        self._tally = _Tally()

    @property
    def num_samples(self) -> list[int]:
        return self._tally.given

    @property
    def reinit_counts(self) -> list[int]:
        return self._tally.ended

    def build(self, ctx: Context, state: State = None) -> Stream[T]:
        round_robin = self.mux_strategy is MultiplexingStrategy.ROUND_ROBIN
        return (_turns if round_robin else _choices)(self, ctx, state)


class _Tally:
    """What the last run has counted. What is pickled has counted nothing."""

    def __init__(self) -> None:
        self.given: list[int] = []
        self.ended: list[int] = []

    def __reduce__(self) -> tuple[Any, ...]:
        return _Tally, ()


def _turns(mux: Multiplexer[T], ctx: Context, state: State) -> Stream[T]:
    name = ctx.name(mux)
    turn, states, given = ctx.own(mux, state) or (0, [[None]] * len(mux.composables), [0] * len(mux.composables))
    ups = [ctx.build(p, s[0]) if s else None for p, s in zip(mux.composables, states, strict=True)]
    given = list(given)
    tally = mux._tally

    def items() -> Iterator[T]:
        nonlocal turn
        tally.given, tally.ended = given, [0] * len(ups)
        while alive := [i for i, up in enumerate(ups) if up is not None]:
            if turn >= len(alive):
                turn = 0
            i = alive[turn]
            up = ups[i]
            assert up is not None
            for item in up.it:
                turn += 1
                given[i] += 1
                yield item
                break
            else:
                up.close()
                ups[i], turn = None, 0  # the turns begin again at the first one that is left
                tally.ended[i] = 1

    def tell() -> State:
        return {name: [turn, [[] if up is None else [up.state()] for up in ups], given[:]]}

    running = items()
    return Stream(running, tell, closers=(running, *(up for up in ups if up is not None)))


def _choices(mux: Multiplexer[T], ctx: Context, state: State) -> Stream[T]:
    name, count = ctx.name(mux), len(mux.composables)
    drawn, ended, given, states = ctx.own(mux, state) or (0, [0] * count, [0] * count, [None] * count)
    ended, given = list(ended), list(given)

    def begun(i: int, s: State) -> Stream[T]:
        return ctx.in_pass(f"{name}[{i}]", ended[i]).build(mux.composables[i], s)

    ups = [begun(i, s) for i, s in enumerate(states)]
    choices = _drawn(mux, ctx, drawn)
    tally = mux._tally

    def items() -> Iterator[T]:
        nonlocal drawn
        tally.given, tally.ended = given, ended
        for i in choices:
            drawn += 1
            for item in ups[i].it:
                given[i] += 1
                yield item
                break
            else:
                ups[i].close()
                ended[i] += 1
                if min(ended) > 0 or max(ended) == mux.max_reinits:
                    return
                ups[i] = begun(i, None)

    def tell() -> State:
        return {name: [drawn, ended[:], given[:], [up.state() for up in ups]]}

    class _Current:
        def close(self) -> None:
            for up in ups:
                up.close()

    running = items()
    return Stream(running, tell, closers=(running, _Current()))


def _drawn(mux: Multiplexer[Any], ctx: Context, begin: int) -> Iterator[int]:
    """Yield the numbers of the composables that are chosen, from choice ``begin`` on."""
    import numpy as np

    seed = mux.seed if mux.seed is not None else hash_key(ctx.key(mux))[0] & 0xFFFF_FFFF
    rng = np.random.RandomState(np.random.MT19937(seed))
    count = len(mux.composables)
    if mux.mux_strategy is MultiplexingStrategy.UNIFORM_WITH_REPLACEMENT:
        rng.randint(0, count, size=begin)
        while True:
            yield from rng.randint(0, count, size=_PIECE).tolist()
    limits = np.cumsum(mux.probas)
    limits /= limits[-1]
    rng.random_sample(begin)
    while True:
        yield from np.searchsorted(limits, rng.random_sample(_PIECE), side="right").tolist()
