"""Samplers that divide the rows of a Lance data set among ranks: by fragments, by batches, by runs of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from penstock.core.permutation import Permutation
from penstock.lance._plan import Batches, Blocks, Order, Part, Picked, Plan, Runs, Shuffled, Strided
from penstock.lance._planner import FragmentSampler, Planner, Salt
from penstock.pipes._own_share import torch_rank
from penstock.pipes.map.lance_table import LanceTable

__all__ = ["ShardedBatchSampler", "ShardedFixedBatchSampler", "ShardedFragmentSampler"]


class _Sharded(Planner):
    def __init__(self, rank: int, world_size: int, randomize: bool = False, seed: int = 0) -> None:
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must be at least 0 and below world_size, got rank {rank} of {world_size}")
        self.rank, self.world_size = rank, world_size
        self._randomize, self._seed = randomize, seed

    @classmethod
    def from_torch(cls, randomize: bool = False, seed: int = 0) -> Any:
        """Return a sampler for this rank of torch.distributed, which must be initialized."""
        return cls(*_initialized(), randomize=randomize, seed=seed)


class ShardedFragmentSampler(_Sharded, FragmentSampler):
    """Reads every ``world_size``-th fragment, from number ``rank`` on. All ranks have as many batches.

    Each row is read by one rank. Ranks have the rows of their fragments; who has fewer than another has smaller
    batches. Where there are too few fragments for that, or with a filter too few rows in some, each rank reads one run
    of all rows instead, all of them as long. Where there are fewer rows than ranks, some come again.

    Args:
        rank: of this process.
        world_size: how many there are.
        randomize: shuffle the fragments, anew in each epoch.
        seed: which shuffle.

    Raises:
        ValueError: no such rank.

    Example:
        >>> import os, tempfile
        >>> import lance, pyarrow
        >>> path = os.path.join(tempfile.mkdtemp(), "a.lance")
        >>> _ = lance.write_dataset(pyarrow.table({"x": range(6)}), path, max_rows_per_file=2)
        >>> from penstock.lance import LanceDataset
        >>> sampler = ShardedFragmentSampler(rank=0, world_size=2)
        >>> list(LanceDataset(path, batch_size=3, columns=["x"], sampler=sampler))
        [tensor([0, 1, 4]), tensor([5])]
    """

    def iter_fragments(self, dataset: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        fragments = dataset.get_fragments()
        return (fragments[number] for number in self._order(len(fragments), ())[self.rank :: self.world_size])

    def plan(
        self, table: LanceTable, batch_size: int, drop_last: bool = False, *, whole: bool = False, salt: Salt = ()
    ) -> Batches:
        if not self._is_ours():
            return super().plan(table, batch_size, drop_last, whole=whole, salt=salt)
        extents = [(start, stop) for _, start, stop in table.fragment_rows()]
        order = self._order(len(extents), salt)
        every = Runs([extents[number] for number in order])
        if whole:
            return Plan(every, batch_size, drop_last=drop_last)
        of_ranks = [Runs([extents[n] for n in order[rank :: self.world_size]]) for rank in range(self.world_size)]
        most, least = (pick(map(len, of_ranks)) for pick in (max, min))
        if least < -(-most // batch_size):  # not a row of each rank for each step
            return _run_of_rank(self, every, batch_size, drop_last)
        return _of_rank(of_ranks[self.rank], batch_size, most, least, drop_last, every)

    def holds(self, table: LanceTable) -> Any:
        return None if self._is_ours() else super().holds(table)

    def _is_ours(self) -> bool:
        """Whether no subclass says which fragments."""
        return type(self).iter_fragments is ShardedFragmentSampler.iter_fragments

    def _order(self, count: int, salt: Salt) -> Sequence[int]:
        return Permutation(count, self._key(salt)).between(0, count) if self._randomize else range(count)


class ShardedBatchSampler(_Sharded):
    """Reads every ``world_size``-th batch of rows, from number ``rank`` on. All ranks have as many batches.

    Each row is read by one rank. Where the number of batches is none that ``world_size`` divides, the last ones are
    smaller; where there are not even enough rows for batches of one, up to ``world_size - 1`` rows come again. With a
    filter, a rank has every ``world_size``-th of the rows that pass.

    Args:
        rank: of this process.
        world_size: how many there are.
        randomize: shuffle the batches (with a filter, the rows), anew in each epoch.
        seed: which shuffle.

    Raises:
        ValueError: no such rank.

    Example:
        >>> import os, tempfile
        >>> import lance, pyarrow
        >>> path = os.path.join(tempfile.mkdtemp(), "a.lance")
        >>> _ = lance.write_dataset(pyarrow.table({"x": range(8)}), path)
        >>> from penstock.lance import LanceDataset
        >>> sampler = ShardedBatchSampler(rank=1, world_size=2)
        >>> list(LanceDataset(path, batch_size=2, columns=["x"], sampler=sampler))
        [tensor([2, 3]), tensor([6, 7])]
    """

    def plan(
        self, table: LanceTable, batch_size: int, drop_last: bool = False, *, whole: bool = False, salt: Salt = ()
    ) -> Batches:
        rows, key = len(table), self._key(salt)
        by_row = table.filtered
        order: Order = Strided(range(rows))
        if by_row and not whole:
            mine = range(self.rank, rows, self.world_size)
            order = Shuffled(mine, key) if self._randomize else Strided(mine)
            most, least = -(-rows // self.world_size), rows // self.world_size
            return _of_rank(order, batch_size, most, least, drop_last, Strided(range(rows)))
        if self._randomize:
            order = Shuffled(range(rows), key) if by_row else Blocks(rows, batch_size, key)
        if whole:
            return Plan(order, batch_size, drop_last=drop_last)
        plan = Plan(order, batch_size, ranks=self.world_size, drop_last=drop_last)
        return Picked(plan, range(self.rank, len(plan), self.world_size))


class ShardedFixedBatchSampler(ShardedBatchSampler):
    """Reads one run of rows, as long on every rank, in batches. All ranks have as many batches.

    It is also a ``batch_sampler`` for torch's ``DataLoader``: iterated over, it gives the numbers of each batch's rows.

    Args:
        rank: of this process.
        world_size: how many there are.
        randomize: shuffle the batches, anew in each epoch.
        seed: which shuffle.
        batch_size: rows per batch; needed where it is iterated over.
        total_num_rows: how many rows there are in all; needed where it is iterated over.

    Raises:
        ValueError: no such rank; a number below 0.

    Example:
        >>> sampler = ShardedFixedBatchSampler(rank=1, world_size=2, batch_size=2, total_num_rows=6)
        >>> len(sampler), list(sampler)
        (2, [[3, 4], [5]])
    """

    def __init__(
        self,
        rank: int,
        world_size: int,
        randomize: bool = False,
        seed: int = 0,
        batch_size: int = 0,
        total_num_rows: int = 0,
    ) -> None:
        super().__init__(rank, world_size, randomize, seed)
        if batch_size < 0 or total_num_rows < 0:
            raise ValueError(f"batch_size and total_num_rows must not be negative, got {batch_size}, {total_num_rows}")
        self._batch_size, self._total_num_rows = batch_size, total_num_rows

    @classmethod
    def from_torch(  # type: ignore[override]  # Lance's has these arguments in this order
        cls, batch_size: int, total_num_rows: int, randomize: bool = False, seed: int = 0
    ) -> ShardedFixedBatchSampler:
        """Return a sampler for this rank of torch.distributed, which must be initialized."""
        return cls(*_initialized(), randomize, seed, batch_size, total_num_rows)

    def plan(
        self, table: LanceTable, batch_size: int, drop_last: bool = False, *, whole: bool = False, salt: Salt = ()
    ) -> Batches:
        if whole:
            return super().plan(table, batch_size, drop_last, whole=True, salt=salt)
        return self._plan(len(table), batch_size, drop_last, salt)

    def __len__(self) -> int:
        return len(self._own())

    def __iter__(self) -> Iterator[list[int]]:
        plan = self._own()
        return (np.asarray(plan[number]).tolist() for number in range(len(plan)))

    def _own(self) -> Batches:
        if self._total_num_rows and not self._batch_size:
            raise ValueError("batch_size must be given where the sampler itself makes batches")
        return self._plan(self._total_num_rows, max(1, self._batch_size), drop_last=False, salt=())

    def _plan(self, rows: int, batch_size: int, drop_last: bool, salt: Salt) -> Batches:
        plan = _run_of_rank(self, Strided(range(rows)), batch_size, drop_last)
        if not self._randomize:
            return plan
        return Picked(plan, Permutation(len(plan), self._key(salt)).between(0, len(plan)))


def _run_of_rank(sampler: Planner, every: Order, batch_size: int, drop_last: bool) -> Plan:
    """Return a rank's own plan: of all rows one run, as long on every rank."""
    rank, world, rows = sampler.rank, sampler.world_size, len(every)
    mine = Part(every, rank * rows // world, (rank + 1) * rows // world)
    return _of_rank(mine, batch_size, -(-rows // world), rows // world, drop_last, every)


def _of_rank(order: Order, batch_size: int, most: int, least: int, drop_last: bool, every: Order) -> Plan:
    """Return a rank's own plan, as long as that of the rank that has most rows, or with ``drop_last`` least."""
    steps = least // batch_size if drop_last else -(-most // batch_size)
    return Plan(order, batch_size, steps=steps, drop_last=drop_last, others=every)


def _initialized() -> tuple[int, int]:
    found = torch_rank()
    if found is None:
        raise RuntimeError("torch.distributed is not initialized, and tells no rank: call init_process_group() first")
    return found
