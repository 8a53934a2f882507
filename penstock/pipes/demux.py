"""Demultiplexer (``demux``) and RoundRobinDemultiplexer (``round_robin_demux``)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TypeVar

from penstock.core.pipe import IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.sharing import Child, Shared
from penstock.pipes._columns import check_callable
from penstock.pipes.forker import warn_if_unlimited

T = TypeVar("T")


@functional_datapipe("demux")
class Demultiplexer(IterDataPipe[T]):
    """Deal items out by class: one pipe becomes a list of them (functional name: ``demux``).

    Joined again in one graph, the pipes read the source once; iterated by themselves, each reads it for itself.

    Args:
        datapipe: the source.
        num_instances: how many classes.
        classifier_fn: tells the class of an item, from 0 to ``num_instances - 1``.
        drop_none: leave out items whose class is None.
        buffer_size: how many items may wait for pipes that lag behind; -1 for any number.

    Raises:
        ValueError: ``num_instances`` below 1; (when run) a class that is not one of them.
        BufferError: (when run) too many items wait.

    State: the source's place, and where the items are that wait for this pipe.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> even, odd = IterableWrapper(range(5)).demux(2, lambda x: x % 2)
        >>> list(even), list(odd)
        ([0, 2, 4], [1, 3])
    """

    def __new__(  # type: ignore[misc]  # torchdata's class makes a list, too
        cls,
        datapipe: IterDataPipe[T],
        num_instances: int,
        classifier_fn: Callable[[T], int | None],
        drop_none: bool = False,
        buffer_size: int = 1000,
    ) -> list[IterDataPipe[T]]:
        if num_instances < 1:
            raise ValueError(f"Expected `num_instances` larger than 0, but {num_instances} is found")
        check_callable(classifier_fn)
        main = Classified(datapipe, num_instances, buffer_size, classifier_fn, drop_none)
        warn_if_unlimited(buffer_size, "demux")
        return [_Class(main, index) for index in range(num_instances)]


class Classified(Shared[T]):
    """The source of a demux's pipes."""

    def __init__(
        self,
        datapipe: IterDataPipe[T],
        num_instances: int,
        buffer_size: int,
        classifier_fn: Callable[[T], int | None],
        drop_none: bool,
    ) -> None:
        super().__init__(datapipe, num_instances, buffer_size)
        self.classifier_fn = classifier_fn
        self.drop_none = drop_none

    def route(self, item: T, number: int) -> int | None:
        target = self.classifier_fn(item)
        if target is None and self.drop_none:
            return None
        if target is None or not 0 <= target < self.num_instances:
            raise ValueError(
                f"Output of the classification fn should be between 0 and {self.num_instances - 1}. {target} is "
                f"returned for item {number}."
            )
        return target


class _Class(Child[T]):
    """One of a demux's pipes."""

    _functional_name = "demux"


@functional_datapipe("round_robin_demux")
class RoundRobinDemultiplexer(IterDataPipe[T]):
    """Deal items out in turn: one pipe becomes a list of them (functional name: ``round_robin_demux``).

    The k-th of n pipes gets the items k, k + n, k + 2n ...

    Args:
        datapipe: the source.
        num_instances: how many pipes. With 1 the list has the source itself.
        buffer_size: how many items may wait for pipes that lag behind; -1 for any number.

    Raises:
        ValueError: ``num_instances`` below 1.
        BufferError: (when run) too many items wait.

    State: the source's place, and where the items are that wait for this pipe.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> a, b = IterableWrapper(range(5)).round_robin_demux(2)
        >>> list(a), list(b)
        ([0, 2, 4], [1, 3])
    """

    def __new__(  # type: ignore[misc]  # torchdata's class makes a list, too
        cls, datapipe: IterDataPipe[T], num_instances: int, buffer_size: int = 1000
    ) -> list[IterDataPipe[T]]:
        if num_instances < 1:
            raise ValueError(f"Expected `num_instances` larger than 0, but {num_instances} is found")
        if num_instances == 1:
            datapipe = check_source(Dealt(datapipe, 1, buffer_size), datapipe)
            warnings.warn(
                "The operation of `round_robin_demux` with `num_instances=1` is an no-op and returns the provided "
                "`datapipe` in a list directly",
                UserWarning,
                stacklevel=2,
            )
            return [datapipe]
        main: Dealt[T] = Dealt(datapipe, num_instances, buffer_size)
        warn_if_unlimited(buffer_size, "round_robin_demux")
        return [_Turn(main, index) for index in range(num_instances)]


class Dealt(Shared[T]):
    """The source of a round-robin demux's pipes."""

    def route(self, item: T, number: int) -> int:
        return number % self.num_instances


class _Turn(Child[T]):
    """One of a round-robin demux's pipes."""

    _functional_name = "round_robin_demux"

    def __len__(self) -> int:
        return len(range(self.index, len(self.main_datapipe.datapipe), self.main_datapipe.num_instances))
