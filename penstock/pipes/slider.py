"""Slider (``sliding``): windows over the items, which may overlap."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Any, TypeVar

from penstock.core.context import Context
from penstock.core.pipe import IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream

T = TypeVar("T")


@functional_datapipe("sliding")
class Slider(IterDataPipe[list[T]]):
    """Yield windows of ``window_size`` items, each ``stride`` behind the one before it (functional name: ``sliding``).

    Args:
        datapipe: the source.
        window_size: items per window, at least 2.
        stride: from 1 to ``window_size``.
        at_least: items that a window at the end must have; ``window_size`` unless given.
        pad: fill a window that is not full with None.
        deepcopy: copy the items for each window, so that windows share nothing.

    Raises:
        ValueError: sizes that do not fit together.

    State: the source's state ahead of the next window. Restoring reads one window again.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper(range(5)).sliding(3))
        [[0, 1, 2], [1, 2, 3], [2, 3, 4]]
        >>> list(IterableWrapper(range(5)).sliding(3, 2, at_least=1))
        [[0, 1, 2], [2, 3, 4], [4]]
    """

    def __init__(
        self,
        datapipe: IterDataPipe[T],
        window_size: int,
        stride: int = 1,
        *,
        at_least: int | None = None,
        pad: bool = False,
        deepcopy: bool = False,
    ) -> None:
        datapipe = check_source(self, datapipe)
        if window_size < 2:
            raise ValueError(f"window_size must be at least 2, got {window_size}")
        if not 1 <= stride <= window_size:
            raise ValueError(f"stride must be from 1 to {window_size}, got {stride}")
        if at_least is not None and not 1 <= at_least <= window_size:
            raise ValueError(f"at_least must be from 1 to {window_size}, got {at_least}")
        self.datapipe = datapipe
        self.window_size = window_size
        self.stride = stride
        self.at_least = window_size if at_least is None else at_least
        self.pad = pad
        self.deepcopy = deepcopy

    def __len__(self) -> int:
        starts = len(self.datapipe) - self.at_least
        return starts // self.stride + 1 if starts >= 0 else 0

    def build(self, ctx: Context, state: State = None) -> Stream[list[T]]:
        name, size, stride = ctx.name(self), self.window_size, self.stride
        up = ctx.build(self.datapipe, ctx.own(self, state))
        ahead: deque[State] = deque()  # the source's states ahead of the windows that have begun

        def windows() -> Iterator[list[T]]:
            held: list[T] = []
            behind, ended = 0, False  # how many items since a window began
            while True:
                while len(held) < size and not ended:
                    if not behind:
                        ahead.append(up.state())
                    wanted = min(size - len(held), stride - behind)
                    taken = list(islice(up.it, wanted))
                    ended = len(taken) < wanted
                    held += taken
                    behind = (behind + len(taken)) % stride
                if len(held) < self.at_least:
                    return
                window: list[Any] = [*held, *[None] * (size - len(held))] if self.pad else held[:]
                del held[:stride]
                ahead.popleft()
                yield copy.deepcopy(window) if self.deepcopy else window

        def tell() -> Any:
            return {name: ahead[0] if ahead else up.state()}

        running = windows()
        return Stream(running, tell, closers=(running, up))
