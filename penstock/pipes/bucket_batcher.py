"""BucketBatcher (``bucketbatch``)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from penstock.core.chunk import DataChunk
from penstock.core.context import Context
from penstock.core.pipe import IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.pipes._columns import check_callable
from penstock.pipes.batcher import Batcher, UnBatcher
from penstock.pipes.flatmap import FlatMapper
from penstock.pipes.in_batch_shuffler import InBatchShuffler
from penstock.pipes.shuffler import Shuffler

T = TypeVar("T")


@functional_datapipe("bucketbatch")
class BucketBatcher(IterDataPipe[DataChunk[T]]):
    """Gather similar items into lists of ``batch_size`` (functional name: ``bucketbatch``).

    A bucket is ``batch_size * batch_num`` items, and a pool is ``bucket_num`` buckets. Pools are shuffled, each bucket
    is sorted, the items are batched, and the batches are shuffled::

        source -> shuffle (pools) -> sort_key (buckets) -> batch -> shuffle (runs of bucket_num batches)

    Without ``sort_key`` the second and the last step are left out; with it, and one bucket, nothing is shuffled.

    Args:
        datapipe: the source.
        batch_size: items per batch.
        drop_last: leave out a short last batch.
        batch_num: batches per bucket.
        bucket_num: buckets per pool.
        sort_key: gets the list of a bucket's items and returns them sorted.
        use_in_batch_shuffle: shuffle pool by pool with `in_batch_shuffle`, and otherwise with `shuffle`.

    Raises:
        AssertionError: a size is below 1.

    State: that of the steps it is made of.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper([5, 3, 4, 1]).bucketbatch(2, sort_key=sorted))
        [[1, 3], [4, 5]]
    """

    def __init__(
        self,
        datapipe: IterDataPipe[T],
        batch_size: int,
        drop_last: bool = False,
        batch_num: int = 100,
        bucket_num: int = 1,
        sort_key: Callable[[list[Any]], Iterable[Any]] | None = None,
        use_in_batch_shuffle: bool = True,
    ) -> None:
        datapipe = check_source(self, datapipe)
        for name, size in (("Batch size", batch_size), ("Number of batches", batch_num), ("buckets", bucket_num)):
            if size < 1:
                raise AssertionError(f"{name} is required to be larger than 0! Got {size}")
        if sort_key is not None:
            check_callable(sort_key)
        bucket = batch_size * batch_num
        shuffled = _shuffled_in_batches if use_in_batch_shuffle else _shuffled
        pipe: IterDataPipe[Any] = datapipe
        if bucket_num > 1 or sort_key is None:
            pipe = shuffled(pipe, bucket * bucket_num)
        if sort_key is not None:
            pipe = FlatMapper(Batcher(pipe, bucket), sort_key)
        pipe = Batcher(pipe, batch_size, drop_last)
        if bucket_num > 1 and sort_key is not None:
            pipe = shuffled(pipe, bucket_num)
        self.datapipe: IterDataPipe[DataChunk[T]] = pipe

    def build(self, ctx: Context, state: State = None) -> Stream[DataChunk[T]]:
        return ctx.build(self.datapipe, state)


def _shuffled_in_batches(pipe: IterDataPipe[Any], size: int) -> IterDataPipe[Any]:
    return UnBatcher(InBatchShuffler(Batcher(pipe, size)))


def _shuffled(pipe: IterDataPipe[Any], size: int) -> IterDataPipe[Any]:
    return Shuffler(pipe, buffer_size=size)
