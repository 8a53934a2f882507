"""What samplers are: they say which rows of a Lance data set a process reads, in which order, and in which batches.

A sampler of ours plans: it says which rows make each batch, and `LanceDataset` takes them. So any batch can be found at
once, workers can take turns at them, and every rank has as many. A sampler of the user's may be another
`FragmentSampler` (which fragments) or any other `Sampler` (a generator of record batches).
"""

from __future__ import annotations

import ctypes
from abc import ABC, abstractmethod
from collections.abc import Iterator
from multiprocessing.context import get_spawning_popen
from multiprocessing.reduction import ForkingPickler
from multiprocessing.sharedctypes import RawValue, reduce_ctype  # type: ignore[attr-defined]  # typeshed has not all
from typing import Any, TypeAlias

from penstock.core.seeds import hash_key
from penstock.lance._plan import Batches, Plan, Runs
from penstock.pipes.map.lance_table import LanceTable

__all__ = ["FragmentSampler", "FullScanSampler", "Planner", "Salt", "Sampler"]


Salt: TypeAlias = tuple[Any, ...]


class Sampler(ABC):
    """Reads a data set: a function of it that yields record batches.

    `LanceDataset` calls it again for each pass. Its batches, put together up to ``batch_size``, are then dealt to
    workers, and a pass is resumed by repeating it.
    """

    @abstractmethod
    def __call__(
        self,
        dataset: Any,
        *,
        batch_size: int = 128,
        columns: Any = None,
        filter: Any = None,
        batch_readahead: int = 16,
        with_row_id: bool = False,
    ) -> Iterator[Any]:
        """Yield the rows as `pyarrow.RecordBatch` of up to ``batch_size`` rows."""


class _Told(ctypes.Structure):
    """What a sampler was told, in shared memory: the epoch, and how often one was told."""

    _fields_ = (("epoch", ctypes.c_longlong), ("times", ctypes.c_longlong))


ForkingPickler.register(_Told, reduce_ctype)  # as RawValue does, which is too late for a pickle that has begun


class Planner(Sampler):
    """A sampler that says which rows make which batch. ``set_epoch`` says which epoch the next pass is.

    Workers that torch's DataLoader keeps from epoch to epoch hear of it, by memory that they share with this process.
    """

    rank: int = 0
    world_size: int = 1
    _seed: int = 0
    _told: Any = None

    @property
    def epoch(self) -> int:
        """The epoch that was told last."""
        return int(self._told.epoch) if self._told else 0

    @property
    def times_told(self) -> int:
        """How often an epoch was told."""
        return int(self._told.times) if self._told else 0

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next: what is random is another in each."""
        self._told = self._told or RawValue(_Told)
        self._told.epoch = epoch
        self._told.times += 1

    def __getstate__(self) -> dict[str, Any]:
        if get_spawning_popen() is not None:
            self._told = self._told or RawValue(_Told)
            return vars(self)
        return vars(self) | {"_told": self._told and (self._told.epoch, self._told.times)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if isinstance(self._told, tuple):
            self._told = RawValue(_Told, *self._told)

    @abstractmethod
    def plan(
        self, table: LanceTable, batch_size: int, drop_last: bool = False, *, whole: bool = False, salt: Salt = ()
    ) -> Batches:
        """Return the batches of this rank.

        Args:
            table: the data.
            batch_size: rows per batch.
            drop_last: leave out what would make batches shorter.
            whole: return those of all ranks: somebody else lets them take turns.
            salt: what randomness depends on beside the seed: a number to add to the epoch, and anything else.
        """

    def holds(self, table: LanceTable) -> Any:
        """Return what ranks whose service lets them take turns must have in common, as a JSON value."""
        return None

    def __call__(
        self,
        dataset: Any,
        *,
        batch_size: int = 128,
        columns: Any = None,
        filter: Any = None,
        batch_readahead: int = 16,
        with_row_id: bool = False,
    ) -> Iterator[Any]:
        table = LanceTable(dataset, columns, filter, with_row_id=with_row_id, as_="arrow")
        plan = self.plan(table, batch_size)
        return (table.take(plan[number]) for number in range(len(plan)))

    def _key(self, salt: Salt) -> tuple[int, int]:
        epoch, *more = salt or (0,)
        return hash_key("sampler", self._seed, self.epoch + epoch, *more)


class FragmentSampler(Planner):
    """Reads whole fragments: a subclass says which, and in which order, by ``iter_fragments``.

    Batches have ``batch_size`` rows, also over the borders of fragments.
    """

    @abstractmethod
    def iter_fragments(self, dataset: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """Yield fragments of a `lance.LanceDataset`, in the order in which they are to be read."""

    def plan(
        self, table: LanceTable, batch_size: int, drop_last: bool = False, *, whole: bool = False, salt: Salt = ()
    ) -> Batches:
        extents = {number: (start, stop) for number, start, stop in table.fragment_rows()}
        chosen = [extents[fragment.fragment_id] for fragment in self.iter_fragments(table.data.dataset)]
        return Plan(Runs(chosen), batch_size, drop_last=drop_last)

    def holds(self, table: LanceTable) -> Any:
        return [fragment.fragment_id for fragment in self.iter_fragments(table.data.dataset)]


class FullScanSampler(FragmentSampler):
    """Reads everything, in order, on every rank."""

    def iter_fragments(self, dataset: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        return iter(dataset.get_fragments())
