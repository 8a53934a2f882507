"""DistributedReadingService and SequentialReadingService: the graph runs on every rank of a process group."""

from __future__ import annotations

import warnings
import weakref
from copy import copy
from dataclasses import replace
from typing import Any

from penstock.core.errors import GraphError, RankError
from penstock.core.pipe import IterDataPipe
from penstock.graph.fingerprint import divided
from penstock.pipes._agreement import Policy
from penstock.pipes._gloo import GlooExchange, process_group
from penstock.pipes._rounds import Channel
from penstock.pipes.full_sync import FullSync, check_sync
from penstock.reading_service.base import ALONE, Epoch, Place, ReadingService, Run, Session
from penstock.reading_service.in_process import InProcessReadingService
from penstock.reading_service.legacy import as_service
from penstock.reading_service.synced import Start, SyncedEpoch

__all__ = ["DistributedReadingService", "SequentialReadingService"]


class DistributedReadingService(ReadingService):
    """Divide the work among the ranks of ``torch.distributed``, and give every rank as many batches.

    Batch b of the one-process sequence is rank ``b mod world_size``'s, as long as each step behind the sharding point
    makes one item of one, or a batch; behind anything else, lanes are dealt out in the same way. Rank 0's seed is every
    rank's. A `fullsync` is put at the end of the graph, unless it ends in one.

    Each rank runs its part in process; `SequentialReadingService` gives it workers or threads.

    Args:
        timeout: seconds to wait for the other ranks.
        policy: what a rank does that has no more while others do (see `FullSync`): ``shortest`` or ``longest``.
        lanes: how many lanes a graph has that does not divide into blocks; one for each rank unless given, or set by a
            restored state.

    Raises:
        ValueError: ``timeout`` is not positive, or there is no such policy.
        RuntimeError: (when run) no process group has been made.
        RankError: (when run, on every rank) a rank failed, is gone, is late, or stands at another place.

    Example:
        >>> import os, torch.distributed as dist
        >>> from penstock import DataLoader2
        >>> from penstock.pipes import IterableWrapper
        >>> store = dist.HashStore()
        >>> dist.init_process_group("gloo", store=store, rank=0, world_size=1)
        >>> pipe = IterableWrapper(range(4)).sharding_filter().batch(2)
        >>> with DataLoader2(pipe, reading_service=DistributedReadingService()) as dl:
        ...     list(dl)
        [[0, 1], [2, 3]]
        >>> dist.destroy_process_group()
    """

    def __init__(self, timeout: float = 1800, *, policy: Policy = "shortest", lanes: int | None = None) -> None:
        check_sync(timeout, policy)
        self.timeout = timeout
        self.policy: Policy = policy
        self._inner: ReadingService = InProcessReadingService(lanes=lanes)

    def over(self, inner: ReadingService) -> DistributedReadingService:
        """Return a service like this one, in which each rank runs its part as ``inner`` would."""
        service = DistributedReadingService(self.timeout, policy=self.policy)
        service._inner = inner
        if self.lanes is not None and hasattr(inner, "lanes"):
            service._inner = copy(inner)
            service._inner.lanes = inner.lanes or self.lanes
        return service

    @property
    def num_workers(self) -> int:
        return getattr(self._inner, "num_workers", 1) or 1

    @property
    def lanes(self) -> int | None:
        lanes: int | None = getattr(self._inner, "lanes", None)
        return lanes

    def adapt(self, graph: IterDataPipe[Any], *, divided: bool = False) -> IterDataPipe[Any]:
        graph = self._inner.adapt(graph, divided=True)
        if isinstance(graph, FullSync):
            return graph
        return FullSync(graph, self.timeout, policy=self.policy).named("fullsync")

    def place(self) -> Place:
        distributed = _group()
        return Place(distributed.get_rank(), distributed.get_world_size())

    def start(self, graph: IterDataPipe[Any], place: Place = ALONE) -> Session:
        if place != ALONE:
            raise GraphError("DistributedReadingService divides among all ranks, and cannot run within one")
        place = self.place()
        sync = graph
        assert isinstance(sync, FullSync)  # of `adapt`
        inner = self._inner.start(sync.datapipe, place)
        if place.world_size == 1:
            return inner
        try:
            return _DistributedSession(inner, place, sync)
        except BaseException:
            inner.close()
            raise

    def save(self) -> Any:
        return self._inner.save()

    def load(self, saved: Any) -> bool:
        return self._inner.load(saved)

    def signal(self, hook: str, session: Session | None, *arguments: Any) -> bool:
        inner = session.inner if isinstance(session, _DistributedSession) else session
        return self._inner.signal(hook, inner, *arguments)


class SequentialReadingService(ReadingService):
    """Divide by ranks first, and then by the workers or threads of each rank.

    Args:
        *services: a `DistributedReadingService`, and the service that each rank runs its part on; or one alone.

    Raises:
        ValueError: no service, or services that cannot follow each other: ranks come first, workers last.

    Example:
        >>> from penstock.reading_service import MultiProcessingReadingService
        >>> service = SequentialReadingService(DistributedReadingService(), MultiProcessingReadingService(4))
        >>> service.num_workers
        4
    """

    def __init__(self, *services: ReadingService | Any) -> None:
        if not services:
            raise ValueError("a SequentialReadingService needs at least one service")
        *outer, self._service = map(as_service, services)
        for service in reversed(outer):
            if not isinstance(service, DistributedReadingService) or isinstance(self._service, type(service)):
                names = ", ".join(type(service).__name__ for service in services)
                raise ValueError(
                    f"a DistributedReadingService comes first, and one other service behind it, not {names}"
                )
            self._service = service.over(self._service)
        self.num_workers: int = getattr(self._service, "num_workers", 1)
        self.lanes: int | None = getattr(self._service, "lanes", None)

    def adapt(self, graph: IterDataPipe[Any], *, divided: bool = False) -> IterDataPipe[Any]:
        return self._service.adapt(graph, divided=divided)

    def place(self) -> Place:
        return self._service.place()

    def start(self, graph: IterDataPipe[Any], place: Place = ALONE) -> Session:
        return self._service.start(graph, place)

    def save(self) -> Any:
        return self._service.save()

    def load(self, saved: Any) -> bool:
        return self._service.load(saved)

    def signal(self, hook: str, session: Session | None, *arguments: Any) -> bool:
        return self._service.signal(hook, session, *arguments)


class _DistributedSession(Session):
    """One rank's session, and its channel to the others."""

    def __init__(self, inner: Session, place: Place, sync: FullSync[Any]) -> None:
        distributed = _group()
        self.inner = inner
        self.place = place
        self.plan = inner.plan
        self.lanes = inner.lanes
        self._policy = sync.policy
        self._timeout_s = sync.timeout
        self._divided = divided(sync)
        self._channel = Channel(GlooExchange(distributed, sync.timeout), sync.timeout)
        self._gathering = GlooExchange(distributed, sync.timeout)
        self._finalizer = weakref.finalize(self, _close, self._channel, self._gathering)

    @property
    def restarts(self) -> int:  # type: ignore[override]  # a field elsewhere
        return self.inner.restarts

    def agreed(self, run: Run, delivered: int) -> Run:
        self._channel.next_epoch()
        start = Start(self._channel.epoch, run, delivered, self._divided)
        self._channel.ask(start, lambda: start.done)
        if start.error is not None:
            raise start.error
        return replace(run, seed=start.seed)

    def gathered(self, value: Any) -> list[Any]:
        try:
            return self._gathering.gathered(value)
        except RuntimeError as error:
            raise RankError(f"not every rank handed in its state within {self._timeout_s:g} s: {error}") from error

    def epoch(self, run: Run) -> Epoch:
        lanes, ranks = run.progress.lanes, self.place.world_size
        if run.progress.kind == "lanes" and lanes % ranks:
            least, most = ranks * (lanes // ranks) / lanes, ranks * -(-lanes // ranks) / lanes
            what = (
                f"fullsync drops {1 - least:.1%} of the data"
                if self._policy == "shortest"
                else f"fullsync adds {most - 1:.1%} of repeated batches"
            )
            warnings.warn(
                f"{lanes} lanes do not divide among {ranks} ranks: if each lane has as much, {what}. Give the service "
                f"lanes={-(-lanes // ranks) * ranks}, or another multiple of {ranks}",
                stacklevel=4,
            )
        return SyncedEpoch(self.inner.epoch(run), run, self.place, self._channel, self._policy)

    def close(self) -> None:
        self._finalizer()
        self.inner.close()


def _close(channel: Channel, gathering: GlooExchange) -> None:
    channel.close()
    gathering.close()


def _group() -> Any:
    distributed = process_group()
    if distributed is None:
        raise RuntimeError("Torch Distributed is required to be initialized: call init_process_group first")
    return distributed
