"""FullSync (``fullsync``): every rank gives the same number of items."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any, TypeVar

from penstock.core.context import Context
from penstock.core.pipe import IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.pipes._ahead import work_ahead

T = TypeVar("T")

_ITEM, _END, _FAILED = 2, 1, 0  # what a rank has to give next; the least of all ranks decides


@functional_datapipe("fullsync")
class FullSync(IterDataPipe[T]):
    """Yield items for as long as every rank has one (functional name: ``fullsync``).

    A rank with more data than another would wait for ever in its next collective call. So the ranks agree on each item
    before they give it: a thread reads one item ahead and asks the others, over a gloo group of its own, while the
    training step runs. What a longer rank has read and not given is dropped.

    It runs in the main process of each rank, also where the pipes ahead of it run on workers. Without a process group,
    or with one rank, it passes everything.

    Args:
        datapipe: the source.
        timeout: seconds to wait for the other ranks.

    Raises:
        ValueError: ``timeout`` is not positive.
        RuntimeError: (when run) another rank failed or did not answer in time, or stands at another epoch; or torchrun
            started several ranks, and no process group has been made.

    State: that after the last item given.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper([1, 2]).fullsync())
        [1, 2]
    """

    def __init__(self, datapipe: IterDataPipe[T], timeout: float = 1800) -> None:
        datapipe = check_source(self, datapipe)
        if timeout <= 0:
            raise ValueError(f"timeout must be positive, got {timeout}")
        self.datapipe = datapipe
        self.timeout = timeout
        self._group = _Group()

    def is_replicable(self) -> bool:
        return False  # workers belong to no process group

    def build(self, ctx: Context, state: State = None) -> Stream[T]:
        distributed: Any = sys.modules.get("torch.distributed")
        if distributed is None or not (distributed.is_available() and distributed.is_initialized()):
            if int(os.environ.get("WORLD_SIZE", "1")) > 1:
                raise RuntimeError(
                    "`fullsync` needs torch.distributed to be initialized: call init_process_group first"
                )
            return ctx.build(self.datapipe, state)
        if distributed.get_world_size() == 1 or ctx.trace is not None:
            return ctx.build(self.datapipe, state)
        up = ctx.in_thread(self).build(self.datapipe, state)
        agreed = _agreed(up.it, self._group.of(distributed, self.timeout), distributed, self.timeout)
        return work_ahead(up.onward(agreed), 1, "fullsync")


class _Group:
    """The gloo group of a pipe, made by all ranks when they first run it. It is not pickled."""

    def __init__(self) -> None:
        self._made: tuple[Any, Any] | None = None

    def of(self, distributed: Any, timeout_s: float) -> Any:
        from datetime import timedelta

        world = distributed.group.WORLD
        if self._made is None or self._made[0] is not world:
            self._made = (world, distributed.new_group(backend="gloo", timeout=timedelta(seconds=timeout_s)))
        return self._made[1]

    def __reduce__(self) -> tuple[Any, ...]:
        return _Group, ()


def _agreed(items: Iterator[T], group: Any, distributed: Any, timeout_s: float) -> Iterator[T]:
    """Yield items for as long as all ranks have one."""
    number = 0
    while True:
        failure: Exception | None = None
        item: Any = None
        try:
            has = _END
            for item in items:  # noqa: B007  # used behind the loop: this takes one item, or sees the end
                has = _ITEM
                break
        except Exception as error:
            has, failure = _FAILED, error
        least = _least(has, number, group, distributed, timeout_s)
        if failure is not None:
            raise failure
        if least == _FAILED:
            raise RuntimeError(f"another rank failed at its item {number}; its own error says why")
        if least == _END:
            return
        yield item
        number += 1


def _least(has: int, number: int, group: Any, distributed: Any, timeout_s: float) -> int:
    """Ask all ranks; return the least answer."""
    import torch

    answer = torch.tensor([has, number, -number])
    try:
        distributed.all_reduce(answer, op=distributed.ReduceOp.MIN, group=group)
    except RuntimeError as error:
        raise RuntimeError(
            f"Fail to fetch data within {timeout_s:g} seconds: a rank is gone, or slower than that (item {number})"
        ) from error
    least, low, high = answer.tolist()
    if low != -high:
        raise RuntimeError(
            f"this rank is at its item {number}, and others are at {low} to {-high}: every rank must leave an epoch at "
            "the same item"
        )
    return int(least)
