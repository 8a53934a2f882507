"""MaxTokenBucketizer (``max_token_bucketize``)."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from penstock.core.chunk import DataChunk
from penstock.core.context import Context
from penstock.core.pipe import IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.core.tape import Tape
from penstock.pipes._columns import check_callable
from penstock.pipes._held import holding

T = TypeVar("T")


@functional_datapipe("max_token_bucketize")
class MaxTokenBucketizer(IterDataPipe[DataChunk[T]]):
    """Gather items into lists of limited total length, shortest first (functional name: ``max_token_bucketize``).

    Args:
        datapipe: the source.
        max_token_count: how long the items of a list may be in all.
        len_fn: returns an item's length. It is asked again for the items that wait when a run is restored.
        min_len: leave out shorter items.
        max_len: leave out longer items; ``max_token_count`` unless given.
        buffer_size: among how many items the shortest one is chosen.
        include_padding: count every item as long as the longest of its list.

    Raises:
        ValueError: the bounds do not fit together.

    State: the source's place, and where the waiting items are in it.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper(["11111", "2", "333", "44"]).max_token_bucketize(max_token_count=5))
        [['2', '44'], ['333'], ['11111']]
    """

    def __init__(
        self,
        datapipe: IterDataPipe[T],
        max_token_count: int,
        len_fn: Callable[..., int] = len,
        min_len: int = 0,
        max_len: int | None = None,
        buffer_size: int = 1000,
        include_padding: bool = False,
    ) -> None:
        datapipe = check_source(self, datapipe)
        check_callable(len_fn)
        if max_len is None:
            max_len = max_token_count
        if min_len < 0 or min_len > max_len:
            raise ValueError(
                "``min_len`` should be larger than 0 and less than or equal to ``max_len``, "
                f"got {min_len} and {max_len}"
            )
        if max_len > max_token_count:
            raise ValueError(
                f"``max_token_count`` must be equal to or greater than ``max_len``, got {max_token_count} and {max_len}"
            )
        if buffer_size <= 0:
            raise ValueError(f"'buffer_size' is required to be a positive integer, got {buffer_size}")
        self.datapipe = datapipe
        self.max_token_count = max_token_count
        self.len_fn = len_fn
        self.min_len = min_len
        self.max_len = max_len
        self.buffer_size = buffer_size
        self.include_padding = include_padding

    def build(self, ctx: Context, state: State = None) -> Stream[DataChunk[T]]:
        return holding(self, self.datapipe, _Buckets(self), ctx, state)


class _Buckets:
    """A heap of (length, number, item), and the batch that fills from it."""

    def __init__(self, pipe: MaxTokenBucketizer[Any]) -> None:
        self._pipe = pipe
        self._heap: list[tuple[int, int, Any]] = []
        self._batch: list[tuple[int, int, Any]] = []
        self._total = self._longest = 0  # of the batch

    def run(self, found: dict[int, Any], tape: Tape[Any], own: list[Any]) -> Iterator[Any]:
        pipe, heap, length_of = self._pipe, self._heap, self._pipe.len_fn
        in_batch = {number: place for place, number in enumerate(own[0])} if own else {}
        waiting = [(length_of(item), number, item) for number, item in found.items()]
        self._batch = sorted((e for e in waiting if e[1] in in_batch), key=lambda entry: in_batch[entry[1]])
        self._total = sum(length for length, _, _ in self._batch)
        self._longest = max((length for length, _, _ in self._batch), default=0)
        heap += [entry for entry in waiting if entry[1] not in in_batch]
        heapq.heapify(heap)
        for number, item in enumerate(tape.it, tape.number):
            length = length_of(item)
            if pipe.min_len <= length <= pipe.max_len:
                heapq.heappush(heap, (length, number, item))
                if len(heap) >= pipe.buffer_size:
                    yield from self._move()
        while heap:
            yield from self._move()
        if self._batch:
            last, self._batch = self._batch, []
            yield DataChunk(item for _, _, item in last)

    def held(self) -> Iterable[int]:
        return [number for entries in (self._heap, self._batch) for _, number, _ in entries]

    def own(self) -> list[Any]:
        return [[number for _, number, _ in self._batch]]

    def _move(self) -> Iterator[Any]:
        """Move the shortest item into the batch; yield the batch where it has no room for it."""
        entry = heapq.heappop(self._heap)
        longest, total = max(self._longest, entry[0]), self._total + entry[0]
        if (longest * (len(self._batch) + 1) if self._pipe.include_padding else total) <= self._pipe.max_token_count:
            self._batch.append(entry)
            self._longest, self._total = longest, total
            return
        full, self._batch = self._batch, [entry]
        self._longest = self._total = entry[0]
        yield DataChunk(item for _, _, item in full)
