"""Header (``header``)."""

from __future__ import annotations

import warnings
from itertools import islice
from typing import TypeVar

from penstock.core.context import Context
from penstock.core.pipe import IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream, counted

T = TypeVar("T")


@functional_datapipe("header")
class Header(IterDataPipe[T]):
    """Yield the first ``limit`` items, and read none beyond them (functional name: ``header``).

    Args:
        source_datapipe: the source.
        limit: how many items; None for all.

    State: the count.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper(range(100)).header(3))
        [0, 1, 2]
    """

    holds_nothing = True

    def __init__(self, source_datapipe: IterDataPipe[T], limit: int | None = 10) -> None:
        source_datapipe = check_source(self, source_datapipe)
        if limit is not None and limit < 0:
            raise ValueError(f"limit must not be negative, got {limit}")
        self.datapipe = source_datapipe
        self.limit = limit

    def __len__(self) -> int:
        if self.limit is None:
            return len(self.datapipe)
        try:
            return min(self.limit, len(self.datapipe))
        except TypeError:
            warnings.warn(
                "The length of this HeaderIterDataPipe is inferred to be equal to its limit. "
                "The actual value may be smaller if the actual length of source_datapipe is smaller than the limit.",
                stacklevel=2,
            )
            return self.limit

    def build(self, ctx: Context, state: State = None) -> Stream[T]:
        name = ctx.name(self)
        given, anchor = ctx.own(self, state) or (0, None)
        up = ctx.build(self.datapipe, anchor, indices=True)
        limit = None if self.limit is None else max(0, self.limit - given)
        it, count = counted(islice(up.it, limit), given)
        return Stream(it, lambda: {name: [count(), up.state()]}, data=up.data, closers=(up,))
