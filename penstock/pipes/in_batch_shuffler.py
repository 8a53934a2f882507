"""InBatchShuffler (``in_batch_shuffle``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from penstock.core.chunk import DataChunk
from penstock.core.context import Context
from penstock.core.pipe import ONE_TO_ONE, IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.pipes._places import placed
from penstock.pipes._shuffling import Shuffling, shuffle_key
from penstock.pipes.randomness import with_generator

T = TypeVar("T")


@functional_datapipe("in_batch_shuffle")
class InBatchShuffler(Shuffling, IterDataPipe[DataChunk[T]]):
    """Put the items of each batch into a random order (functional name: ``in_batch_shuffle``).

    The order depends on the seed, the epoch and the batch's place, and on nothing else: the batch gets the same one on
    whatever worker it lands.

    Args:
        datapipe: the source, of lists.

    State: the count of batches, where the sharding point does not know it.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> [sorted(batch) for batch in IterableWrapper(range(5)).batch(3).in_batch_shuffle()]
        [[0, 1, 2], [3, 4]]
    """

    arity = ONE_TO_ONE

    def __init__(self, datapipe: IterDataPipe[Sequence[T]]) -> None:
        datapipe = check_source(self, datapipe)
        self.datapipe: IterDataPipe[Sequence[T]] = datapipe

    def __len__(self) -> int:
        return len(self.datapipe)

    def build(self, ctx: Context, state: State = None) -> Stream[DataChunk[T]]:
        up, places, tell, skip = placed(self, self.datapipe, ctx, state)
        if not self._enabled:
            whole = ctx.guarded(self, lambda batch: batch if isinstance(batch, DataChunk) else DataChunk(batch))
            return up.onward((whole(batch) for batch in up.it), skip=up.skip, places=up.places)
        key = shuffle_key(self, ctx)
        pairs = with_generator(up.it, places, key)
        mixed = ctx.guarded(self, _mixed)
        return up.onward((mixed(batch, rng) for batch, rng in pairs), state=tell, skip=skip, places=up.places)


def _mixed(batch: Sequence[T], rng: Any) -> DataChunk[T]:
    return DataChunk(batch[i] for i in rng.permutation(len(batch)).tolist())
