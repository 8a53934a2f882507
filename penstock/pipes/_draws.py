"""Random numbers of which a run can take the n-th first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain

from penstock.core.stream import counted

__all__ = ["draws"]

_PIECE = 256
_PER_COUNT = 4  # a Philox counter makes four numbers


def draws(key: tuple[int, int], begin: int = 0) -> tuple[Iterator[float], Callable[[], int]]:
    """Return the numbers in [0, 1) that ``key`` names, from number ``begin`` on, and how many were taken in all."""

    def pieces() -> Iterator[Iterator[float]]:
        import numpy as np

        bits = np.random.Philox(key=np.array(key, dtype=np.uint64))
        whole, passed = divmod(begin, _PIECE)
        bits.advance(whole * (_PIECE // _PER_COUNT))
        rng = np.random.Generator(bits)
        while True:
            yield iter(rng.random(_PIECE).tolist()[passed:])
            passed = 0

    return counted(chain.from_iterable(pieces()), begin)
