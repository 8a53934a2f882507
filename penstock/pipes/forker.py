"""Forker (``fork``)."""

from __future__ import annotations

import copy as copying
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from penstock.core.context import Context
from penstock.core.pipe import IterDataPipe
from penstock.core.registry import functional_datapipe
from penstock.core.sharing import Child, Shared
from penstock.core.stream import State, Stream

T = TypeVar("T")

_COPIES: dict[str | None, Callable[[Any], Any] | None] = {
    None: None,
    "shallow": copying.copy,
    "deep": copying.deepcopy,
}


@functional_datapipe("fork")
class Forker(IterDataPipe[T]):
    """Give every item to each of several pipes: one pipe becomes a list of them (functional name: ``fork``).

    Joined again in one graph, the pipes read the source once; iterated by themselves, each reads it for itself.

    Args:
        datapipe: the source.
        num_instances: how many pipes. With 1 the list has the source itself.
        buffer_size: how many items one of them may be ahead of another; -1 for any number.
        copy: what each gets: the same objects, ``"shallow"`` or ``"deep"`` copies.

    Raises:
        ValueError: ``num_instances`` below 1, or another ``copy``.
        BufferError: (when run) one is too far ahead of another.

    State: that of the source at most 32 items ahead of the pipe's place, and the distance.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> a, b = IterableWrapper([1, 2]).fork(2)
        >>> list(a.zip(b.map(str)))
        [(1, '1'), (2, '2')]
    """

    def __new__(  # type: ignore[misc]  # torchdata's class makes a list, too
        cls, datapipe: IterDataPipe[T], num_instances: int, buffer_size: int = 1000, copy: str | None = None
    ) -> list[IterDataPipe[T]]:
        if num_instances < 1:
            raise ValueError(f"Expected `num_instances` larger than 0, but {num_instances} is found")
        if copy not in _COPIES:
            raise ValueError(f"Unknown copy method `{copy}` for `Forker`: it is 'shallow', 'deep' or None")
        main: Forked[T] = Forked(datapipe, num_instances, buffer_size)
        if num_instances == 1:
            return [main.datapipe]
        warn_if_unlimited(buffer_size, "fork")
        return [_Copy(main, index, copy) for index in range(num_instances)]


class Forked(Shared[T]):
    """The source of a fork's pipes."""


class _Copy(Child[T]):
    """One of a fork's pipes."""

    _functional_name = "fork"

    def __init__(self, main: Forked[T], index: int, copy: str | None) -> None:
        super().__init__(main, index)
        self.copy = copy

    def __len__(self) -> int:
        return len(self.main_datapipe.datapipe)

    def build(self, ctx: Context, state: State = None) -> Stream[T]:
        stream = super().build(ctx, state)
        copied = _COPIES[self.copy]
        return stream if copied is None else stream.onward(copied(item) for item in stream.it)


def warn_if_unlimited(buffer_size: int, function: str) -> None:
    """Warn where a buffer has no bound."""
    if buffer_size < 0:
        warnings.warn(
            f"Unlimited buffer size is set for `{function}`, please be aware of OOM risks", UserWarning, stacklevel=3
        )
