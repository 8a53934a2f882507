"""FullSync (``fullsync``): every rank gives the same number of items."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from typing import Any, TypeVar, get_args

from penstock.core.context import Context
from penstock.core.errors import GraphError
from penstock.core.pipe import ONE_TO_ONE, IterDataPipe, check_source, no_length
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.pipes._agreement import Agreed, Policy
from penstock.pipes._gloo import GlooExchange, process_group
from penstock.pipes._rounds import Channel

T = TypeVar("T")


@functional_datapipe("fullsync")
class FullSync(IterDataPipe[T]):
    """Yield the same number of items on every rank (functional name: ``fullsync``).

    A rank with more data than another would wait for ever in its next collective call. So the ranks agree on how many
    items each of them gives, ahead of time, over a gloo group of their own, while the training steps run. What a rank
    reads ahead for that is at most 64 items (256 where they take up to 64 KB each), and fewer the longer a step takes.

    It runs in the main process of each rank, also where the pipes ahead of it run on workers. Without a process group,
    or with one rank, it passes everything. `DistributedReadingService` puts one at the end of its graph.

    Args:
        datapipe: the source.
        timeout: seconds to wait for the other ranks, once this one has something to give.
        policy: ``shortest`` stops with the rank that has the fewest items; what others have read and not given is
            dropped, and counted (``dl.stats()["dropped"]``). With ``longest`` all go on until the last one is done: a
            rank that has no more gives its last item again, and ``dl.is_padding`` is true; one that never had any gives
            another rank's. It must be the last pipe, under `DistributedReadingService`.

    Raises:
        ValueError: ``timeout`` is not positive, or there is no such policy.
        RankError: (when run, on every rank, behind the last item that all can give) another rank failed, is gone, did
            not answer in time, or has left the epoch at another item.
        RuntimeError: (when run) torchrun started several ranks, and no process group has been made.

    State: that after the last item given.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper([1, 2]).fullsync())
        [1, 2]
    """

    arity = ONE_TO_ONE
    is_of_state = False

    def __init__(self, datapipe: IterDataPipe[T], timeout: float = 1800, *, policy: Policy = "shortest") -> None:
        datapipe = check_source(self, datapipe)
        check_sync(timeout, policy)
        self.datapipe = datapipe
        self.timeout = timeout
        self.policy: Policy = policy
        self._link = _Link()

    def __len__(self) -> int:
        distributed = process_group()
        if distributed is not None and distributed.get_world_size() > 1:
            raise no_length(self)  # another rank may have less
        return len(self.datapipe)

    def is_replicable(self) -> bool:
        return False  # workers belong to no process group

    def build(self, ctx: Context, state: State = None) -> Stream[T]:
        distributed = process_group()
        if distributed is None and int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise RuntimeError("`fullsync` needs torch.distributed to be initialized: call init_process_group first")
        if distributed is None or distributed.get_world_size() == 1 or ctx.trace is not None:
            return ctx.build(self.datapipe, state)
        if self.policy == "longest":
            raise GraphError(
                "fullsync(policy='longest') must be the last pipe of a graph under DistributedReadingService, where "
                "`dl.is_padding` can tell which batches are repeated"
            )
        up = ctx.in_thread(self).build(self.datapipe, state)
        channel = self._link.channel(distributed, self.timeout)
        last = up.state()
        idle: tuple[Stream[T], ...] = (up,)  # until the reader has it

        def pairs() -> Iterator[tuple[T, State]]:
            try:
                for item in up.it:
                    yield item, up.state()
            finally:
                up.close()

        def given() -> Iterator[T]:
            nonlocal last, idle
            idle = ()
            channel.next_epoch()
            agreed = Agreed(channel, pairs(), self.policy)
            try:
                for item, state in agreed:
                    last = state
                    yield item
            finally:
                agreed.close()

        class _Idle:
            def close(self) -> None:
                for stream in idle:
                    stream.close()

        running = given()
        return Stream(running, lambda: last, places=up.places, closers=(running, _Idle()))


def check_sync(timeout: float, policy: str) -> None:
    """Raise ValueError for a timeout that is not positive, or a policy that there is not."""
    if timeout <= 0:
        raise ValueError(f"timeout must be positive, got {timeout}")
    if policy not in get_args(Policy):
        raise ValueError(f"policy must be one of {', '.join(get_args(Policy))}, got {policy!r}")


class _Link:
    """The channel of a pipe to its peers, made by all ranks when they first run it. It is not pickled."""

    def __init__(self) -> None:
        self._made: tuple[Any, Channel] | None = None

    def channel(self, distributed: Any, timeout_s: float) -> Channel:
        world = distributed.group.WORLD
        if self._made is None or self._made[0] is not world:
            channel = Channel(GlooExchange(distributed, timeout_s), timeout_s)
            self._made = (world, channel)
            weakref.finalize(self, channel.close)
        return self._made[1]

    def __reduce__(self) -> tuple[Any, ...]:
        return _Link, ()
