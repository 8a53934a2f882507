"""RandomSplitter (``random_split``).

Which child gets an item depends on the seed and on the item's place, and on nothing else: a permutation of all places
gives each a rank, and the ranks are divided among the children by weight::

    place     0  1  2  3  4  5  6  7  8  9
    rank      7  2  9  0  4  1  8  3  6  5        weights {"train": 7, "valid": 3}
    child     v  t  v  t  t  t  v  t  t  t        ranks 0-6: train, 7-9: valid

So each child gets exactly its share, its state is its source's state and a count, and children need not know of each
other. The permutation is computed, not stored.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable, Iterator, Mapping
from itertools import accumulate, chain, compress, pairwise
from typing import Any, TypeVar, overload

from penstock.core.context import Context
from penstock.core.permutation import Permutation
from penstock.core.pipe import IterDataPipe
from penstock.core.registry import functional_datapipe
from penstock.core.seeds import hash_key
from penstock.core.sharing import Child, Shared
from penstock.core.stream import State, Stream, counted

T = TypeVar("T")

_PIECE = 4096  # places whose ranks are computed at once


@functional_datapipe("random_split")
class RandomSplitter(IterDataPipe[T]):
    """Deal the items to several pipes at random: one pipe becomes a list of them (functional name: ``random_split``).

    The split is the same in every epoch, and depends on ``seed`` and the items' places alone. A `shuffle` belongs
    behind it: ahead of it, every run splits another order.

    Args:
        source_datapipe: the source. Each of the pipes reads it by itself.
        weights: a weight for each pipe, under a key. They are scaled to the length, so shares and counts both work.
        seed: of the split; a number, or anything else whose ``repr`` is the same in every process.
        total_length: how many items the source has; asked from it unless given.
        target: return only the pipe of this key, and not a list of all.

    Raises:
        TypeError: the length is not known.
        KeyError: ``weights`` has no such target.
        ValueError: the weights are negative or all 0; (when run) the source has more items than ``total_length``.

    State: the source's state, and how many of its items have been dealt.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> train, valid = IterableWrapper(range(10)).random_split({"train": 7, "valid": 3}, seed=0)
        >>> len(list(train)), len(list(valid)), sorted([*train, *valid]) == list(range(10))
        (7, 3, True)
    """

    @overload
    def __new__(  # type: ignore[misc]  # torchdata's class makes a list, too
        cls,
        source_datapipe: IterDataPipe[T],
        weights: Mapping[Any, float],
        seed: Any,
        total_length: int | None = None,
        target: None = None,
    ) -> list[IterDataPipe[T]]: ...
    @overload
    def __new__(  # type: ignore[misc]  # as above
        cls,
        source_datapipe: IterDataPipe[T],
        weights: Mapping[Any, float],
        seed: Any,
        total_length: int | None = None,
        *,
        target: Hashable,
    ) -> IterDataPipe[T]: ...
    def __new__(  # type: ignore[misc]  # as above
        cls,
        source_datapipe: IterDataPipe[T],
        weights: Mapping[Any, float],
        seed: Any,
        total_length: int | None = None,
        target: Any = None,
    ) -> list[IterDataPipe[T]] | IterDataPipe[T]:
        if target is not None and target not in weights:
            raise KeyError(f"`target={target}` does not match any key in `weights`.")
        main: Split[T] = Split(source_datapipe, weights, seed, total_length)
        children = {key: SplitterIterator[T](main, index) for index, key in enumerate(weights)}
        return [*children.values()] if target is None else children[target]


class Split(Shared[T]):
    """What the pipes of a split have in common."""

    def __init__(
        self, datapipe: IterDataPipe[T], weights: Mapping[Any, float], seed: Any, total_length: int | None
    ) -> None:
        super().__init__(datapipe, len(weights), -1)
        if total_length is None:
            try:
                total_length = len(datapipe)
            except TypeError:
                raise TypeError(
                    "RandomSplitter needs `total_length`, but it is unable to infer it from "
                    f"the `source_datapipe`: {datapipe!r}."
                ) from None
        if not weights or min(weights.values()) < 0 or sum(weights.values()) <= 0:
            raise ValueError(f"weights must not be negative, and not all 0, got {dict(weights)}")
        self.total_length = total_length
        self.seed = seed
        self.is_counted = sum(weights.values()) == total_length and all(
            float(weight).is_integer() for weight in weights.values()
        )
        # Rounding the sums, not the weights, gives each child its share rounded up or down, and all of them the whole.
        from fractions import Fraction

        # Fractions are exact: counts that sum to the length stay as they are.
        sums = list(accumulate((Fraction(weight) for weight in weights.values()), initial=Fraction()))
        self.ranks = list(pairwise(round(part * total_length / sums[-1]) for part in sums))


class SplitterIterator(Child[T]):
    """One of a split's pipes."""

    _functional_name = "random_split"
    main_datapipe: Split[T]

    def override_seed(self, seed: Any) -> SplitterIterator[T]:
        """Change the seed of the whole split, in place, for runs that begin from now on."""
        self.main_datapipe.seed = seed
        return self

    def __len__(self) -> int:
        if not self.main_datapipe.is_counted:
            raise TypeError(
                "Lengths of the split are not known in advance. Please supply integer weights that sum to the length "
                "of the source: instance doesn't have valid length"
            )
        low, high = self.main_datapipe.ranks[self.index]
        return high - low

    def build(self, ctx: Context, state: State = None) -> Stream[T]:
        name = ctx.name(self)
        begin, anchor = ctx.own(self, state) or (0, None)
        up = ctx.build(self.main_datapipe.datapipe, anchor, indices=True)
        # As in `enumerate`: in a lane, of L, item n has place n * L + lane.
        step, lane = (1, 0) if ctx.share is None else ctx.share.stride
        mine, count = counted(chain.from_iterable(_chosen(self.main_datapipe, self.index, begin, step, lane)), begin)
        chosen = compress(up.it, mine)
        return Stream(chosen, lambda: {name: [count(), up.state()]}, data=up.data, closers=(up,))


def _chosen(split: Split[Any], index: int, begin: int, step: int, lane: int) -> Iterator[Iterator[bool]]:
    """Yield which of the items from ``begin`` on are child ``index``'s, in pieces."""
    import numpy as np

    low, high = split.ranks[index]
    size = split.total_length
    order = Permutation(size, hash_key("random_split", split.seed))
    place, end = begin * step + lane, size if step == 1 else sys.maxsize
    while size and place < end:
        # Behind a filter the lanes' places have gaps and may go past the size: they begin again then.
        first = place % size
        ranks = np.array(order.between(first, min(first + _PIECE * step, size))[::step])
        yield iter(((ranks >= low) & (ranks < high)).tolist())
        place += len(ranks) * step
    raise ValueError(f"the source has more than the {size} items that `random_split` was told of (total_length)")
