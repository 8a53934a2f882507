"""What the sides share: the timed loop, and the check that nobody is fast by doing less."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter


def rates(work: Callable[[], float]) -> Iterator[float]:
    """Per round, how much ``work()`` says it did, a second. The first call is the warm-up, and not timed."""
    work()
    while True:
        start_s = perf_counter()
        amount = work()
        yield amount / (perf_counter() - start_s)


def expect(got: object, wanted: object, what: str) -> None:
    """Raise if a side delivered something else than it had to."""
    if got != wanted:
        raise ValueError(f"{what}: got {got!r}, wanted {wanted!r}")


def torchdata_09() -> None:
    """Let this process import the last torchdata with datapipes: it lies beside the current one, and hides it."""
    sys.path.insert(0, str(Path(sys.prefix) / "torchdata-0.9"))
    warnings.simplefilter("ignore")  # it says at length that it is deprecated
