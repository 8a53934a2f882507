"""A sharding point that looks for its share at torch itself, where no service arranges the run."""

from __future__ import annotations

import sys
from typing import Any, TypeVar

from penstock.core.context import Context, Share
from penstock.core.dealing import deal
from penstock.core.stream import State, Stream
from penstock.pipes.sharding import ShardingFilter

__all__ = ["OwnShare", "torch_rank", "torch_worker"]

T = TypeVar("T")


class OwnShare(ShardingFilter[T]):
    """A sharding point for a ReadingService. Where none arranges the run, ``found_share`` tells its share."""

    splits_itself = True

    def found_share(self) -> tuple[int, int]:
        """Return which share of how many is this process's."""
        raise NotImplementedError

    def build(self, ctx: Context, state: State = None) -> Stream[T]:
        if not ctx.plain or self.is_applied:
            return super().build(ctx, state)
        name = ctx.name(self)
        index, count = self.found_share()
        start = ctx.own(self, state) or (0, None)
        share = Share(count, index, first=index, local=(index,)) if count > 1 else Share()
        ahead = ctx.ahead_of_point()
        stream, position = deal(
            lambda s: ahead.build(self.datapipe, s, indices=True, holes=True), share, (start[0], start[1]), (name,)
        )
        stream.state = lambda: {name: list(position())}
        return stream


def torch_rank(group: Any = None) -> tuple[int, int] | None:
    """Return this rank and how many there are, as torch says now; None where it says nothing."""
    distributed: Any = sys.modules.get("torch.distributed")
    if distributed is None or not (distributed.is_available() and distributed.is_initialized()):
        return None
    return distributed.get_rank(group), distributed.get_world_size(group)


def torch_worker() -> tuple[int, int] | None:
    """Return the number of this worker of torch's DataLoader and how many there are; None in no worker."""
    torch_data: Any = sys.modules.get("torch.utils.data")
    info = torch_data.get_worker_info() if torch_data is not None else None
    return None if info is None else (info.id, info.num_workers)
