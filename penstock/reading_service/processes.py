"""MultiProcessingReadingService: the graph runs in worker processes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from penstock.core.pipe import IterDataPipe
from penstock.reading_service.base import ALONE, Place, ReadingService, Session, checked_lanes
from penstock.reading_service.in_process import InProcessReadingService
from penstock.reading_service.prepare import prepared
from penstock.reading_service.split import session_of

if TYPE_CHECKING:
    from penstock.core.context import WorkerInfo
    from penstock.core.seed_generator import SeedGenerator

__all__ = ["MultiProcessingReadingService", "PrototypeMultiProcessingReadingService"]

_CNT: Final = 10
_SMALL_CNT: Final = 128


class MultiProcessingReadingService(ReadingService):
    """Run the graph in worker processes, divided at its ``sharding_filter``.

    The sequence of batches is that of one process, for any number of workers, as long as each step behind the sharding
    point makes one item of one, or a batch; behind anything else it depends on the number of lanes.

    A worker that is lost, killed or out of memory, is replaced: another one goes on behind the last item that was
    delivered, and the sequence is what it would have been. What the lost one had made and not delivered is made again,
    so **functions may run more than once for an item**: what they write must bear that. Where a graph has a dispatching
    process, the same holds for it.

    Args:
        num_workers: how many; 0 runs the graph in this process.
        multiprocessing_context: ``forkserver`` (default), ``spawn`` or ``fork``. Lambdas and everything of the main
            program work under each. Workers never import the main program.
        worker_prefetch_cnt: how many items a worker may be ahead of the loop, together with ``main_prefetch_cnt``.
            With 10 for both, as by default, it may be 128 ahead with batches of columns that are small, as long as they
            take no more than 8 MB; they are made by blocks of many, and the loop would wait for each block.
        main_prefetch_cnt: is added to ``worker_prefetch_cnt``; torchdata counts the two apart.
        worker_init_fn: called in each worker once, with the graph and a `WorkerInfo`; may return another graph.
        worker_reset_fn: called in each worker ahead of each epoch, with the graph, a `WorkerInfo` and a
            `SeedGenerator`.
        lanes: how many lanes a graph has that does not divide into blocks; ``num_workers`` for each rank unless given,
            or set by a restored state.
        max_restarts: how many workers that are lost are replaced in an epoch. One that is lost again at the same item,
            or one too many, ends the epoch with `WorkerDied`, which says how, in which pipe, at which item, and with
            how much memory; unless samples may be skipped (`BadSamples`): an item that kills is one then, and takes
            two or three of them.
        worker_timeout_s: a worker that gives nothing for so long, while the loop waits for it, hangs: it is killed, and
            replaced like one that died. Let it be more than the slowest item takes, and than a worker takes to start.
            Without it, the loop waits for ever.
        buffer_bytes: how much shared memory batches on their way may take, over all workers; a quarter of the free
            memory, and at most 2 GiB, unless given. Memory is used only as batches need it.

    Example:
        >>> from penstock import DataLoader2
        >>> from penstock.pipes import IterableWrapper
        >>> pipe = IterableWrapper(range(6)).sharding_filter().map(lambda x: x * x).batch(2)
        >>> with DataLoader2(pipe, reading_service=MultiProcessingReadingService(num_workers=2)) as dl:
        ...     list(dl)
        [[0, 1], [4, 9], [16, 25]]
    """

    def __init__(
        self,
        num_workers: int = 0,
        multiprocessing_context: str | None = None,
        worker_prefetch_cnt: int = _CNT,
        main_prefetch_cnt: int = _CNT,
        worker_init_fn: Callable[[Any, WorkerInfo], Any] | None = None,
        worker_reset_fn: Callable[[Any, WorkerInfo, SeedGenerator], Any] | None = None,
        *,
        lanes: int | None = None,
        max_restarts: int = 3,
        worker_timeout_s: float | None = None,
        buffer_bytes: int | None = None,
    ) -> None:
        if max_restarts < 0:
            raise ValueError(f"max_restarts must not be negative, got {max_restarts}")
        if worker_timeout_s is not None and not worker_timeout_s > 0:
            raise ValueError(f"worker_timeout_s must be positive, or None for no limit, got {worker_timeout_s}")
        if num_workers < 0:
            raise ValueError(f"num_workers must not be negative, got {num_workers}")
        if worker_prefetch_cnt < 0 or main_prefetch_cnt < 0:
            raise ValueError(f"prefetch counts must not be negative: {worker_prefetch_cnt}, {main_prefetch_cnt}")
        if multiprocessing_context not in (None, "forkserver", "spawn", "fork"):
            raise AssertionError(
                f"multiprocessing_context must be one of forkserver, spawn, fork, but got {multiprocessing_context!r}"
            )
        if num_workers == 0:
            warnings.warn("num_workers is 0: the graph runs in this process", stacklevel=2)
        self.num_workers = num_workers
        self.multiprocessing_context = multiprocessing_context or "forkserver"
        self.worker_prefetch_cnt = worker_prefetch_cnt
        self.main_prefetch_cnt = main_prefetch_cnt
        self.small_prefetch_cnt = _SMALL_CNT if worker_prefetch_cnt == main_prefetch_cnt == _CNT else 0
        self.worker_init_fn = worker_init_fn
        self.worker_reset_fn = worker_reset_fn
        self.lanes = checked_lanes(lanes)
        self.max_restarts = max_restarts
        self.worker_timeout_s = worker_timeout_s
        self.buffer_bytes = buffer_bytes

    def adapt(self, graph: IterDataPipe[Any], *, divided: bool = False) -> IterDataPipe[Any]:
        # A function that changes the graph may divide it; a worker says so where it has not.
        return prepared(graph, sharded=divided or self.num_workers > 0, quiet=self.worker_init_fn is not None)

    def start(self, graph: IterDataPipe[Any], place: Place = ALONE) -> Session:
        if self.num_workers == 0:
            in_process = InProcessReadingService(
                init_fn=self.worker_init_fn, reset_fn=self.worker_reset_fn, lanes=self.lanes
            )
            return in_process.start(graph, place)
        from penstock.reading_service.process_session import (
            ProcessSession,
        )  # sockets and processes only where they are used

        return session_of(graph, place, lambda part: ProcessSession(part, self, place))


class PrototypeMultiProcessingReadingService(MultiProcessingReadingService):
    """Has torchdata's former name of `MultiProcessingReadingService`, and a warning."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        warnings.warn(
            "`PrototypeMultiProcessingReadingService` is deprecated: please use `MultiProcessingReadingService`",
            FutureWarning,
            stacklevel=2,
        )
        super().__init__(*args, **kwargs)
