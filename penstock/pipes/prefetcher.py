"""Prefetcher (``prefetch``): a thread that works ahead."""

from __future__ import annotations

from typing import TypeVar

from penstock.core.context import Context
from penstock.core.pipe import ONE_TO_ONE, IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.pipes._ahead import work_ahead

T = TypeVar("T")


@functional_datapipe("prefetch")
class Prefetcher(IterDataPipe[T]):
    """Let a thread produce up to ``buffer_size`` items ahead of their use (functional name: ``prefetch``).

    Args:
        source_datapipe: the source.
        buffer_size: how many items may wait, at least 1.

    State: that after the last item delivered, not after the last one produced.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper([1, 2, 3]).prefetch(2))
        [1, 2, 3]
    """

    arity = ONE_TO_ONE

    def __init__(self, source_datapipe: IterDataPipe[T], buffer_size: int = 10) -> None:
        source_datapipe = check_source(self, source_datapipe)
        if buffer_size <= 0:
            raise ValueError("'buffer_size' is required to be a positive integer.")
        self.datapipe = source_datapipe
        self.buffer_size = buffer_size

    def __len__(self) -> int:
        return len(self.datapipe)

    def build(self, ctx: Context, state: State = None) -> Stream[T]:
        if ctx.trace is not None:  # a second thread would only blur what is being traced
            return ctx.build(self.datapipe, state, holes=True)
        up = ctx.in_thread(self).build(self.datapipe, state, holes=True)
        return work_ahead(up, self.buffer_size, "prefetch", share=True)
