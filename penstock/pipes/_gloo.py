"""The ways between ranks, over gloo groups of our own: they stand beside whatever backend the training uses."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Any

from penstock.core.errors import RankError

__all__ = ["GlooExchange", "process_group"]

# Rounds are entered ahead of need, so a long wait in one is no fault. Who needs its outcome has a timeout of its own.
_A_ROUND = timedelta(days=30)


def process_group() -> Any:
    """Return ``torch.distributed`` where a process group has been made, else None. Does not import torch."""
    distributed: Any = sys.modules.get("torch.distributed")
    if distributed is None or not (distributed.is_available() and distributed.is_initialized()):
        return None
    return distributed


class GlooExchange:
    """An `Exchange` among all ranks. Every rank makes it at the same point of the program.

    Args:
        distributed: ``torch.distributed``, with a process group.
        timeout_s: how long the others may take to make it as well, and to hand in what they have been asked for.
    """

    def __init__(self, distributed: Any, timeout_s: float) -> None:
        import torch

        self.rank: int = distributed.get_rank()
        self._distributed = distributed
        try:
            self._group = distributed.new_group(backend="gloo", timeout=timedelta(seconds=timeout_s))
            # A rank is connected ahead of the others, and may close at once; they would find nobody to connect to.
            self._group.allreduce([torch.zeros(1)]).wait()
        except RuntimeError as error:
            raise RankError(f"not every rank began to read within {timeout_s:g} seconds: {error}") from error
        self._options = distributed.AllreduceOptions()
        self._options.reduceOp = distributed.ReduceOp.MIN
        self._options.timeout = _A_ROUND

    def least(self, row: list[int]) -> list[int]:
        """Return, field by field, the least that any rank has handed in. Waits for all of them."""
        import torch

        numbers = torch.tensor(row, dtype=torch.int64)
        self._group.allreduce([numbers], self._options).wait()
        found: list[int] = numbers.tolist()
        return found

    def told(self, content: Any, by: int) -> Any:
        """Return what one rank hands in. Waits for it."""
        carried = [content]
        self._distributed.broadcast_object_list(carried, src=by, group=self._group)
        return carried[0]

    def gathered(self, content: Any) -> list[Any]:
        """Return what each rank hands in. Waits for all of them."""
        found: list[Any] = [None] * self._distributed.get_world_size()
        self._distributed.all_gather_object(found, content, group=self._group)
        return found

    def close(self) -> None:
        """Destroy the group: gloo's threads may abort an interpreter that ends while a group of theirs lives."""
        group, self._group = self._group, None
        try:
            self._distributed.destroy_process_group(group)
        except (AssertionError, RuntimeError, ValueError):  # the program has destroyed all groups before
            pass
