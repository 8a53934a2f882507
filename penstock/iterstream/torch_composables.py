"""Dividing Composables among the ranks of torch.distributed and the workers of a loader."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any, TypeVar

from penstock.core.context import Context
from penstock.core.errors import GraphError
from penstock.core.pipe import IterDataPipe, Pipe, join_torch
from penstock.core.stream import State, Stream
from penstock.core.walk import describe, walk
from penstock.iterstream.base import Fed
from penstock.pipes._own_share import OwnShare, torch_rank, torch_worker
from penstock.pipes._shuffling import Shuffling
from penstock.pipes.sharding import SHARDING_PRIORITIES, ShardingFilter

__all__ = ["PyTorchSplittingException", "SplitByRank", "SplitByWorker", "TorchIterable", "skip_k"]

T = TypeVar("T")


class PyTorchSplittingException(GraphError):
    """Several ranks or workers would each yield everything."""


class _Split(Fed[T], OwnShare[T]):
    _group: SHARDING_PRIORITIES

    def __init__(self) -> None:
        self.source = None
        self.sharding_group_filter = self._group
        self._groups: dict[int, tuple[int, int]] = {}
        self._kept = False

    @property
    def datapipe(self) -> IterDataPipe[T]:  # type: ignore[override]  # a field there
        source: IterDataPipe[T] = self.source
        return source


class SplitByRank(_Split[T]):
    """Keep this rank's share of the items: every n-th one, from its own number on.

    Under a `DistributedReadingService` it is a sharding point, and the service says which rank this is. Otherwise
    ``torch.distributed`` does, if it is initialized when this is made, or else when it runs.

    Args:
        torch_dist_group: the process group; the default one unless given.

    State: which item comes next, and the source's state ahead of it.

    Example:
        >>> from penstock.iterstream import IterableSource
        >>> IterableSource(range(3)).compose(SplitByRank).collect()  # one rank
        [0, 1, 2]
    """

    _group = SHARDING_PRIORITIES.DISTRIBUTED

    def __init__(self, torch_dist_group: Any = None) -> None:
        super().__init__()
        self._dist_group = torch_dist_group
        self._found = torch_rank(torch_dist_group)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_dist_group": None}  # known here, and cannot be pickled

    def found_share(self) -> tuple[int, int]:
        rank = self._found or torch_rank(self._dist_group) or (0, 1)
        unseeded = [each for each in walk(self.datapipe) if isinstance(each, Shuffling) and each._seed is None]
        if rank[1] > 1 and unseeded:
            warnings.warn(
                f"{describe(unseeded[0])} shuffles ahead of a split by rank, each rank in an order of its own, so that "
                "items are lost and given twice: give it a seed, or run it under a DistributedReadingService, which "
                "shares one",
                stacklevel=2,
            )
        return rank


class SplitByWorker(_Split[T]):
    """Keep this worker's share of the items: every n-th one, from its own number on.

    Under a service of ours it is a sharding point; in a worker of torch's DataLoader ``get_worker_info`` tells the
    share.

    State: which item comes next, and the source's state ahead of it.

    Example:
        >>> from penstock.iterstream import IterableSource
        >>> IterableSource(range(3)).compose(SplitByWorker).collect()  # no worker
        [0, 1, 2]
    """

    _group = SHARDING_PRIORITIES.MULTIPROCESSING

    def found_share(self) -> tuple[int, int]:
        return torch_worker() or (0, 1)


class TorchIterable(Fed[T]):
    """Make sure that ranks and workers do not repeat each other's items. The last step, for torch's ``DataLoader``.

    A pipe of ours is an ``IterableDataset`` to torch with and without it.

    Args:
        enforce_rank_check: among several ranks, every path to a source must have a `SplitByRank`.
        enforce_worker_check: in a worker of torch's DataLoader, every path must have a `SplitByWorker`. A
            ``sharding_filter`` will do for both.

    Raises:
        PyTorchSplittingException: (when run) a path has none.

    State: none of its own.

    Example:
        >>> from penstock.iterstream import IterableSource
        >>> IterableSource(range(3)).compose(TorchIterable).collect()
        [0, 1, 2]
    """

    arity = 1
    is_of_state = False

    def __init__(self, enforce_rank_check: bool = True, enforce_worker_check: bool = True) -> None:
        super().__init__()
        with suppress(ImportError):
            import torch.utils.data  # noqa: F401  # who wants this has it, and a pipe made from now on is its dataset
        join_torch()
        self.enforce_rank_check = enforce_rank_check
        self.enforce_worker_check = enforce_worker_check

    def __len__(self) -> int:
        return len(self.source)

    def build(self, ctx: Context, state: State = None) -> Stream[T]:
        if ctx.plain:  # a service of ours sees to it, and warns
            ranks, workers = torch_rank(), torch_worker()
            if self.enforce_rank_check and ranks is not None and ranks[1] > 1:
                self._check(SplitByRank, f"{ranks[1]} ranks", "split_by_rank_pytorch")
            if self.enforce_worker_check and workers is not None and workers[1] > 1:
                self._check(SplitByWorker, f"{workers[1]} workers", "split_by_worker_pytorch")
        return ctx.build(self.source, state, indices=True, holes=True)

    def _check(self, kind: type[_Split[Any]], several: str, method: str) -> None:
        if not _is_split(self.source, kind):
            raise PyTorchSplittingException(
                f"{several} would each yield every item: call {method}() ahead of to_torch_iterable()"
            )


def skip_k(rank: int, world_size: int) -> Callable[[Iterable[T]], Iterator[T]]:
    """Return a function of an iterable that keeps every ``world_size``-th item, from number ``rank`` on.

    Example:
        >>> list(skip_k(1, 3)("abcdef"))
        ['b', 'e']
    """

    def kept(iterable: Iterable[T]) -> Iterator[T]:
        return islice(iterable, rank, None, world_size)

    return kept


def _is_split(pipe: Any, kind: type[_Split[Any]]) -> bool:
    """Whether each path from a pipe to its sources has a split of that kind."""
    if isinstance(pipe, kind) or (isinstance(pipe, ShardingFilter) and pipe.sharding_group_filter is None):
        return True
    if type(pipe).__name__ == kind.__name__:  # Squirrel's own
        return True
    sources: tuple[Any, ...] = pipe.sources if isinstance(pipe, Pipe) else ()
    if not sources:  # what a source iterates may be a Composable of Squirrel's
        inner = getattr(pipe, "iterable", None) if isinstance(pipe, Pipe) else getattr(pipe, "source", None)
        sources = () if inner is None or isinstance(inner, (list, tuple, range, str)) else (inner,)
    return bool(sources) and all(_is_split(source, kind) for source in sources)
