"""The steps that `LanceDataset` is made of: the numbers of each batch's rows, whose turn it is, the rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from penstock.core.context import Context
from penstock.core.errors import GraphError
from penstock.core.pipe import ONE_TO_ONE, IterDataPipe
from penstock.core.stream import State, Stream, sequence_stream
from penstock.lance._plan import Batches, Order, Plan, Shuffled, Strided
from penstock.lance._planner import Planner, Salt, Sampler
from penstock.pipes._lance import LanceData
from penstock.pipes._own_share import OwnShare, torch_rank, torch_worker
from penstock.pipes._taking import taking
from penstock.pipes.map.lance_table import LanceTable

__all__ = ["BatchNumbers", "BatchTaker", "Dealt", "Everything", "Ranks", "Scanned"]


class Ranks:
    """Which rank of torch.distributed this process is, or a process that sent it: found out as late as can be.

    A worker of torch's DataLoader has no process group, and would take itself for the only rank.
    """

    def __init__(self, *, detect: bool) -> None:
        self.detect = detect
        self._found = torch_rank() if detect else None

    def __getstate__(self) -> dict[str, Any]:
        return {"detect": self.detect, "_found": self._found or (torch_rank() if self.detect else None)}

    def found(self) -> tuple[int, int]:
        """Return the rank and how many there are."""
        return self._found or (torch_rank() if self.detect else None) or (0, 1)


class Everything(Planner):
    """All rows, or some of them, that the ranks take turns at."""

    def __init__(self, ranks: Ranks, samples: int, shuffle: bool, seed: int) -> None:
        self._ranks = ranks
        self._samples, self._shuffle, self._seed = samples, shuffle, seed

    def plan(
        self, table: LanceTable, batch_size: int, drop_last: bool = False, *, whole: bool = False, salt: Salt = ()
    ) -> Batches:
        order: Order = Strided(range(len(table)))
        if self._samples or self._shuffle:
            order = Shuffled(range(len(table)), self._key(salt), self._samples or None)
        return Plan(order, batch_size, ranks=1 if whole else self._ranks.found()[1], drop_last=drop_last)


class BatchNumbers(IterDataPipe[Any]):
    """The numbers of the rows of each batch, as a planner has them.

    State: how many batches have been given, and the epoch that the sampler was told.
    """

    def __init__(self, table: LanceTable, sampler: Planner, batch_size: int, drop_last: bool) -> None:
        self.table, self.sampler = table, sampler
        self.batch_size, self.drop_last = batch_size, drop_last
        self._told_before = self._began = 0

    def __len__(self) -> int:
        return len(self.sampler.plan(self.table, self.batch_size, self.drop_last))

    def build(self, ctx: Context, state: State = None) -> Stream[Any]:
        name = ctx.name(self)
        given, epoch = ctx.own(self, state) or (0, self.sampler.epoch + self._passes(ctx))
        plan = self._plan(ctx, epoch - self.sampler.epoch)
        numbers = sequence_stream(range(len(plan)), given, lambda n: {name: [n, epoch]} if n or epoch else None)
        return numbers.onward((plan[number] for number in numbers.it), skip=numbers.skip)

    def holds(self) -> Any:
        return [self.table.holds(), self.sampler.holds(self.table)]

    def _passes(self, ctx: Context) -> int:
        """Return how many passes a worker of torch's has made since the sampler was told an epoch."""
        passes = ctx.epoch if ctx.plain else 0
        if self._told_before != self.sampler.times_told:
            self._told_before, self._began = self.sampler.times_told, passes
        return passes - self._began

    def _plan(self, ctx: Context, epochs: int) -> Batches:
        """Return the batches of the sampler's epoch, or of one that is some epochs behind it."""
        sampler, ranks = self.sampler, ctx.worker.world_size
        if ranks > 1 and sampler.world_size not in (1, ranks):
            raise GraphError(f"the sampler is for {sampler.world_size} ranks, and the service has {ranks}")
        whole = not ctx.plain and (ranks > 1 or isinstance(sampler, Everything))
        if ctx.plain:
            salt: Salt = (epochs,)
        elif whole or sampler.world_size == 1:
            salt = (ctx.epoch + epochs, ctx.seed, ctx.passes)
        else:  # ranks that no service knows of draw seeds of their own, and must divide one order
            salt = (ctx.epoch + epochs, ctx.passes)
        return sampler.plan(self.table, self.batch_size, self.drop_last, whole=whole, salt=salt)


class Scanned(IterDataPipe[Any]):
    """What a sampler of the user's yields; record batches that follow each other as one, as long as they fit in it.

    State: how many batches have been given. Restoring repeats the sampler up to there.
    """

    def __init__(
        self,
        data: LanceData,
        sampler: Sampler,
        batch_size: int,
        columns: Any,
        filter: Any,
        with_row_id: bool,
        batch_readahead: int,
    ) -> None:
        self.data, self.sampler = data, sampler
        self.version = data.version  # so that a state, which has it, fits no other
        self.options = {
            "batch_size": batch_size,
            "columns": columns or list(data.dataset.schema.names),
            "filter": filter,
            "batch_readahead": batch_readahead,
            "with_row_id": with_row_id,
        }

    def holds(self) -> Any:
        rank = getattr(self.sampler, "rank", None)
        return (
            rank if isinstance(rank, int) else None
        )  # of its own: and so it divides what a service would divide again

    def __iter__(self) -> Iterator[Any]:
        import pyarrow as pa

        held: list[Any] = []
        rows = 0
        for batch in self.sampler(self.data.dataset, **self.options):
            if held and rows + len(batch) > self.options["batch_size"]:
                yield pa.concat_batches(held)
                held, rows = [], 0
            held.append(batch)
            rows += len(batch)
        if rows:
            yield pa.concat_batches(held)


class Dealt(OwnShare[Any]):
    """Where ranks and workers take turns at batches."""

    def __init__(self, source_datapipe: IterDataPipe[Any], ranks: Ranks) -> None:
        super().__init__(source_datapipe)
        self.ranks = ranks

    def found_share(self) -> tuple[int, int]:
        rank, ranks = self.ranks.found()
        worker, workers = torch_worker() or (0, 1)
        return rank + ranks * worker, ranks * workers

    def __len__(self) -> int:
        rank, ranks = self.ranks.found()
        return len(range(rank, len(self.datapipe), ranks))


class BatchTaker(IterDataPipe[Any]):
    """The rows with the numbers that are given, as a batch.

    State: none of its own.
    """

    arity = ONE_TO_ONE

    def __init__(self, source_datapipe: IterDataPipe[Any], table: LanceTable) -> None:
        self.source_datapipe = source_datapipe
        self.table = table

    def __len__(self) -> int:
        return len(self.source_datapipe)

    def build(self, ctx: Context, state: State = None) -> Stream[Any]:
        up = ctx.in_thread(self).build(self.source_datapipe, state, holes=True)
        return taking(self, ctx, up, self.table, up.it)
