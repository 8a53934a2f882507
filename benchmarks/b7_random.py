"""B7: what randomness costs: ``random_map`` over ``map``, the permutation of a MapDataPipe, the gaps of a shuffle."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice, pairwise
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

from benchmarks._pair import Side
from benchmarks._side import expect, rates

if TYPE_CHECKING:
    import numpy as np

PERMUTED, BATCH, WINDOW, WINDOWS = 100_000_000, 32, 10_000, 3
ITEM_COST_S = 1e-4


def groups(quick: bool) -> list[list[Side]]:
    return [
        [Side("random_map", "µs", random_map, {"size": 50_000 if quick else 300_000})],
        [Side("permutation", "indices/s", permutation, {"taken": 200_000 if quick else 2_000_000})],
        [Side("gap", "x median", gap)],
    ]


def random_map(size: int) -> Iterator[float]:
    """µs an item that ``random_map`` takes more than ``map``, the function's own draw included."""
    from penstock.pipes import IterableWrapper

    source = IterableWrapper(range(size), deepcopy=False)
    plain, drawn = source.map(shift), source.random_map(jitter)
    expect(len(set(drawn)), size, "different results")  # and warm-up
    while True:
        plain_s = _pass_s(lambda: plain, size)
        yield (_pass_s(lambda: drawn, size) - plain_s) / size * 1e6


def permutation(taken: int) -> Iterator[float]:
    """Items a second of the first ``taken`` of a shuffled ``range(100_000_000)``."""
    from penstock.pipes.map import SequenceWrapper

    indices: SequenceWrapper[int] = SequenceWrapper(range(PERMUTED), deepcopy=False)
    pipe = indices.shuffle()
    seen = set(islice(pipe, taken))
    expect(len(seen), taken, "different indices")
    expect(0 <= min(seen) < PERMUTED // 100 and PERMUTED > max(seen) > PERMUTED // 100 * 99, True, "over all the range")
    del seen

    def work() -> float:
        expect(sum(1 for _ in islice(pipe, taken)), taken, "indices")
        return taken

    return rates(work)


def gap() -> Iterator[float]:
    """The longest wait for a batch over the median one, from the first batch until the source is read to its end."""
    from penstock.pipes import IterableWrapper

    size = WINDOW * WINDOWS
    pipe = IterableWrapper(range(size), deepcopy=False).map(busy).shuffle(buffer_size=WINDOW).batch(BATCH)
    while True:
        count, times_s = 0, []
        for batch in pipe:
            times_s.append(perf_counter())
            count += len(batch)
        expect(count, size, "items")
        # While the last window drains nothing is left to wait for; those short gaps would only flatter the median.
        refilling_s = times_s[: (size - WINDOW) // BATCH]
        gaps_s = [later - earlier for earlier, later in pairwise(refilling_s)]
        yield max(gaps_s) / median(gaps_s)


def shift(item: int) -> float:
    return item + 0.5


def jitter(item: int, rng: np.random.Generator) -> float:
    return item + rng.random()


def busy(item: int) -> int:
    until_s = perf_counter() + ITEM_COST_S
    while perf_counter() < until_s:
        pass
    return item


def _pass_s(items: Callable[[], Iterable[float]], size: int) -> float:
    start_s = perf_counter()
    expect(sum(1 for _ in items()), size, "items")
    return perf_counter() - start_s
