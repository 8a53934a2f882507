"""ShardingFilter (``sharding_filter``) and ShardingRoundRobinDispatcher: the point at which the work is divided."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from enum import IntEnum
from typing import Any, TypeVar

from penstock.core.context import Context, Share
from penstock.core.dealing import deal
from penstock.core.iterate import torch_worker_info
from penstock.core.pipe import ONE_TO_ONE, IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.core.walk import runs_functions, walk
from penstock.pipes._quiet import watched

T = TypeVar("T")


class SHARDING_PRIORITIES(IntEnum):
    """Which division comes first where several are applied to one pipe: ranks, then the workers of a rank."""

    DEFAULT = 1
    DISTRIBUTED = 2
    MULTIPROCESSING = 3


@functional_datapipe("sharding_filter")
class ShardingFilter(IterDataPipe[T]):
    """Mark where ranks and workers divide the work (functional name: ``sharding_filter``).

    What stands ahead of it runs in every worker, with the same seeds, and what stands behind it only for the worker's
    own share: place it as early as possible, and a ``shuffle`` ahead of it. Run in one process it passes everything.

    Args:
        source_datapipe: the source.
        sharding_group_filter: divide only where this group is applied (see `apply_sharding`). Where two points stand
            on one path, the first with ``SHARDING_PRIORITIES.DISTRIBUTED`` and the second with ``MULTIPROCESSING``,
            ranks divide the work at the first, and the workers of each rank its part at the second.

    State: which chunk comes next, and the source's state ahead of it.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> pipe = IterableWrapper(range(5)).sharding_filter()
        >>> pipe.apply_sharding(2, 1)
        >>> list(pipe), len(pipe)
        ([1, 3], 2)
    """

    arity = ONE_TO_ONE
    deals_chunks = True
    dispatches = False

    def __init__(
        self, source_datapipe: IterDataPipe[T], sharding_group_filter: SHARDING_PRIORITIES | None = None
    ) -> None:
        source_datapipe = check_source(self, source_datapipe)
        self.datapipe = source_datapipe
        self.sharding_group_filter = sharding_group_filter
        self._groups: dict[int, tuple[int, int]] = {}
        self._kept = False  # what was applied stays under the division of a service
        self._in_worker = False  # of torch's DataLoader: so what was applied is that worker's share, and all of it

    def apply_sharding(
        self,
        num_of_instances: int,
        instance_id: int,
        sharding_group: SHARDING_PRIORITIES = SHARDING_PRIORITIES.DEFAULT,
    ) -> None:
        """Fix this pipe's share, in place: item i is kept where ``i % num_of_instances == instance_id``."""
        if instance_id >= num_of_instances:
            raise ValueError(f"instance_id({instance_id}) should be smaller than num_of_instances({num_of_instances})")
        default = SHARDING_PRIORITIES.DEFAULT
        if any((group == default) != (sharding_group == default) for group in self._groups):
            raise RuntimeError("ShardingFilter cannot mix DEFAULT and non DEFAULT groups")
        if self.sharding_group_filter in (None, sharding_group):
            self._groups = {**self._groups, int(sharding_group): (num_of_instances, instance_id)}
            self._in_worker = torch_worker_info() is not None

    @property
    def is_applied(self) -> bool:
        """Whether `apply_sharding` has fixed the pipe's share."""
        return bool(self._groups)

    def kept(self) -> ShardingFilter[T]:
        """Return a copy whose share (`apply_sharding`) a service divides further; without it, that share is final."""
        copied = copy(self)
        copied._kept = True
        return copied

    def _applied(self) -> Share | None:
        if not self._groups:
            return None
        count, index = 1, 0
        for group in sorted(self._groups):
            n, i = self._groups[group]
            count, index = count * n, index * n + i
        return Share(count, index, lane=index, local=(index,))

    def __len__(self) -> int:
        share = self._applied() or Share()
        return len(range(share.index, len(self.datapipe), share.count))

    def build(self, ctx: Context, state: State = None) -> Stream[T]:
        name = ctx.name(self)
        start = ctx.own(self, state) or (0, None)
        ahead = ctx.ahead_of_point()
        applied = self._applied()
        share = ctx.share or Share()
        further = self._kept or (ctx.plain and share.count > 1 and not self._in_worker)
        if applied is not None and not further:
            share = applied
        if ctx.thread is not None:  # what the consumer has is not what has been taken here
            share = replace(share, taken=None)
        feed: tuple[Any, ...] = (name, ctx.passes)
        if share.ahead is not None:
            feed = (*feed, share.ahead.index)

        def whole(s: State) -> Stream[T]:
            return ahead.build(self.datapipe, s, indices=True, holes=True)

        def build(s: State) -> Stream[T]:
            if applied is None or not further:
                return whole(s)
            stream, position = deal(whole, applied, tuple(s or (0, None)), (*feed, "applied"))
            stream.state = lambda: list(position())
            return stream

        if self.dispatches and ctx.dispatch is not None:
            by_itself = share.alone()
            stream, position = ctx.dispatch.join(
                feed, share, (start[0], start[1]), lambda place: deal(build, by_itself, place, feed)
            )
        else:
            witness = ctx.witness if applied is None and ctx.trace is None else None
            pipes = walk(self.datapipe)
            functions = witness is not None and any(map(runs_functions, pipes))
            rows = any(pipe.has_rows for pipe in pipes)
            stream, position = deal(build, share, (start[0], start[1]), feed, witness, functions, rows)
        stream.state = lambda: {name: list(position())}
        if share.ahead is not None and (inner := stream.places) is not None:
            groups, group = share.ahead.count, share.ahead.index
            stream.places = lambda: (place * groups + group for place in inner())
        if share.lane is not None and ctx.given is not None and ctx.trace is None:
            stream.it = watched(stream.it, share.lane, name, ctx.given)
        return stream


@functional_datapipe("sharding_round_robin_dispatch")
class ShardingRoundRobinDispatcher(ShardingFilter[T]):
    """Mark where items are dealt to workers in turn (functional name: ``sharding_round_robin_dispatch``).

    It divides the work as `sharding_filter` does, with the same order. But what stands ahead of it runs once, in a
    process of its own beside the workers, and not in each of them: for a source that is dear to read, or must be read
    by one process only. What it yields is sent to the workers.

    Args:
        source_datapipe: the source.
        sharding_group_filter: ``SHARDING_PRIORITIES.MULTIPROCESSING``, the only one there is, and so needs no saying.

    Raises:
        NotImplementedError: another group.

    State: which chunk comes next, and the source's state ahead of it.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper(range(3)).sharding_round_robin_dispatch())
        [0, 1, 2]
    """

    dispatches = True

    def __init__(
        self, source_datapipe: IterDataPipe[T], sharding_group_filter: SHARDING_PRIORITIES | None = None
    ) -> None:
        if sharding_group_filter not in (None, SHARDING_PRIORITIES.MULTIPROCESSING):
            raise NotImplementedError(
                "`sharding_round_robin_dispatch` currently only supports `SHARDING_PRIORITIES.MULTIPROCESSING`, "
                f"got {sharding_group_filter!r}"
            )
        super().__init__(source_datapipe, SHARDING_PRIORITIES.MULTIPROCESSING)
