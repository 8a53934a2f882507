"""Composable: a DataPipe with Squirrel's methods."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Self, TypeVar

from penstock.core.context import Context
from penstock.core.metrics import MetricsConf
from penstock.core.pipe import ONE_TO_ONE, IterDataPipe, Pipe
from penstock.core.stream import State, Stream
from penstock.iterstream._steps import (
    Applied,
    AsyncContent,
    Bar,
    Delayed,
    Round,
    Rounds,
    Seed,
    Taken,
    computed,
    padded,
    seed_of,
)
from penstock.pipes.batcher import Batcher
from penstock.pipes.cycler import Cycler
from penstock.pipes.enumerator import Enumerator
from penstock.pipes.executor_mapper import ExecutorMapper
from penstock.pipes.filter import Filter
from penstock.pipes.flatmap import FlatMapper
from penstock.pipes.mapper import Mapper
from penstock.pipes.monitor import Monitor
from penstock.pipes.numba_mapper import NumbaMapper
from penstock.pipes.shuffler import Shuffler
from penstock.pipes.slider import Slider

if TYPE_CHECKING:
    import random

__all__ = ["AsyncContent", "Composable", "Fed", "Loop", "Piped", "Step"]

T = TypeVar("T")


class Composable(IterDataPipe[T]):
    """A DataPipe with Squirrel's methods. They take Squirrel's arguments, and each returns a Composable.

    Every other method of a DataPipe is there as well, and returns a DataPipe; ``IterableSource(pipe)`` makes a
    Composable of it again. So both can be mixed in one graph, which any ReadingService runs.

    A step of your own is a class with a generator ``__iter__`` that reads from ``self.source``, for `compose`.

    Args:
        source: what it reads from; `compose` sets it.

    Example:
        >>> from penstock.iterstream import IterableSource
        >>> IterableSource(range(5)).map(lambda x, by: x * by, by=10).filter(bool).batched(2).collect()
        [[10, 20], [30, 40]]
    """

    def __init__(self, source: Iterable[Any] | Callable[[], Iterable[Any]] | None = None) -> None:
        self.source = source

    def source_(self, source: Iterable[Any] | Callable[[], Iterable[Any]]) -> Self:
        """Set what it reads from, in place, and return it."""
        self.source = source
        return self

    def compose(self, constructor: Callable[..., Any], *args: Any, **kwargs: Any) -> Composable[Any]:
        """Put a step behind this one: ``constructor(*args, **kwargs)``, a Composable, with its source set to this.

        Args:
            constructor: a class, or a `functools.partial` of one. The class of another DataPipe gets this as its first
                argument.
            *args: its arguments.
            **kwargs: its keyword arguments.

        Raises:
            ValueError: a Composable's own ``__init__`` has a parameter ``source``, which is for `compose` to set.

        Example:
            >>> from penstock.iterstream import Composable, IterableSource
            >>> class Doubled(Composable):
            ...     def __iter__(self):
            ...         for x in self.source:
            ...             yield 2 * x
            >>> IterableSource([1, 2]).compose(Doubled).collect()
            [2, 4]
        """
        cls: Any = constructor
        while isinstance(cls, functools.partial):
            cls = cls.func
        if inspect.isclass(cls) and issubclass(cls, IterDataPipe) and not issubclass(cls, Composable):
            return Step(constructor(self, *args, **kwargs))
        own = vars(cls).get("__init__") if inspect.isclass(cls) else None
        if "source" in kwargs or (own is not None and "source" in inspect.signature(own).parameters):
            raise ValueError(f"compose sets the source of {cls.__name__}; its __init__ must not have such a parameter")
        made: Composable[Any] = constructor(*args, **kwargs).source_(self)
        return made

    def to(self, f: Callable[..., Iterable[Any]], *args: Any, **kwargs: Any) -> Composable[Any]:
        """Put a function behind this that gets an iterator: ``f(iter(source), *args, **kwargs)`` returns another one.

        It is restored by replay.
        """
        return Step(Applied(self, f, args, kwargs))

    def map(self, callback: Callable[..., Any], **kwargs: Any) -> Composable[Any]:  # type: ignore[override]
        """Apply a function: ``x`` becomes ``callback(x, **kwargs)``."""
        return Step(Mapper(self, _bound(callback, kwargs)))

    def filter(self, predicate: Callable[[T], Any]) -> Composable[T]:  # type: ignore[override]
        """Keep the items for which ``predicate`` is true."""
        return Step(Filter(self, predicate))

    def async_map(  # type: ignore[override]
        self,
        callback: Callable[..., Any],
        buffer: int = 100,
        max_workers: int | None = None,
        executor: Any = None,
        *,
        ordered: bool = True,
        **kwargs: Any,
    ) -> Composable[Any]:
        """Apply a function in an executor: threads unless given (see `penstock.pipes.ExecutorMapper`).

        Leaving the loop early cancels what has not begun.
        """
        return Step(ExecutorMapper(self, _bound(callback, kwargs), buffer, max_workers, executor, ordered=ordered))

    def dask_map(self, callback: Callable[..., Any], **kwargs: Any) -> Composable[Any]:
        """Put a function behind the item as a dask task: ``x`` becomes ``dask.delayed(callback)(x, **kwargs)``.

        Nothing runs, and no data moves, before `materialize_dask`. Equal items are tasks of their own.

        Raises:
            MissingExtra: (when run) dask is not installed.
        """
        return Step(Mapper(self, Delayed(_bound(callback, kwargs))))

    def materialize_dask(self, buffer: int = 10, max_workers: int | None = None) -> Composable[Any]:
        """Compute the dask tasks that the items are, up to ``buffer`` at a time, on the current dask cluster."""
        return Step(ExecutorMapper(self, computed, buffer, max_workers))

    def numba_map(self, callback: Callable[..., Any]) -> Composable[Any]:  # type: ignore[override]
        """Apply a function in a loop that numba compiles (see `penstock.pipes.NumbaMapper`)."""
        return Step(NumbaMapper(self, callback))

    def flatten(self) -> Composable[Any]:  # type: ignore[override]
        """Yield the entries of each item, one level deep."""
        return Step(FlatMapper(self))

    def batched(
        self, batchsize: int, collation_fn: Callable[[Any], Any] | None = None, drop_last_if_not_full: bool = True
    ) -> Composable[Any]:
        """Collect items in lists of ``batchsize``. The last one is dropped if it is not full, unless told otherwise."""
        batches: IterDataPipe[Any] = Batcher(self, batchsize, drop_last=drop_last_if_not_full)
        return Step(batches if collation_fn is None else Mapper(batches, collation_fn))

    def sliding(  # type: ignore[override]
        self,
        window_size: int,
        *,
        deepcopy: bool,
        stride: int = 1,
        drop_last_if_not_full: bool = True,
        min_window_size: int = 1,
        fill_nan_on_partial: bool = False,
    ) -> Composable[list[T]]:
        """Yield windows over the items (see `penstock.pipes.Slider`).

        Args:
            window_size: items per window, at least 2.
            deepcopy: copy the items for each window, so that windows share nothing.
            stride: how far a window is from the one before it, at most ``window_size``.
            drop_last_if_not_full: leave out the windows at the end that are not full.
            min_window_size: leave out those that are shorter than that.
            fill_nan_on_partial: fill those up with None, whatever ``min_window_size`` is.

        Raises:
            ValueError: sizes that do not fit together.
        """
        least = 1 if fill_nan_on_partial else min_window_size
        if not 1 <= min_window_size < window_size:
            raise ValueError(f"min_window_size must be from 1 to {window_size - 1}, got {min_window_size}")
        return Step(
            Slider(
                self,
                window_size,
                stride,
                at_least=window_size if drop_last_if_not_full else least,
                pad=fill_nan_on_partial,
                deepcopy=deepcopy,
            )
        )

    def shuffle(  # type: ignore[override]
        self,
        size: int | None = 1000,
        initial: int | None = 100,
        rng: random.Random | Any = None,
        seed: Seed | None = None,
    ) -> Composable[T]:
        """Shuffle items within windows of ``size``; the first one has ``initial``, so that it is soon full.

        Args:
            size: items per window; 1000 if None. Below 2 nothing is shuffled.
            initial: items in the first window.
            rng: the seed is drawn from this one unless it is given. Has ``getrandbits`` or ``integers``.
            seed: makes the order the same in every run; the epochs of a loader differ. Without it, and without ``rng``,
                the order is that of the loader's seed, and the same ahead of a split on every worker.
        """
        size = 1000 if size is None else size
        if size < 2:
            return self
        initial = max(1, min(100 if initial is None else initial, size))
        pipe: Shuffler[T] = Shuffler(self, buffer_size=size, initial=initial)
        if (own := seed_of(rng, seed)) is not None:
            pipe.set_seed(own)
        return Step(pipe)

    def take(self, n: int | None) -> Composable[T]:
        """Yield the first ``n`` items; all of them if None."""
        return self if n is None else Step(Taken(self, int(n)))

    def loop(self, n: int | None = None) -> Loop[T]:
        """Run through the source ``n`` times, or without end. A source that yields nothing ends that."""
        return Loop(self, n)

    def zip_index(self, pad_length: int | None = None) -> Composable[tuple[Any, T]]:
        """Number the items: ``x`` becomes ``(i, x)``, ``i`` as a text of ``pad_length`` digits if that is given."""
        numbered: IterDataPipe[Any] = Enumerator(self)
        return Step(numbered if pad_length is None else Mapper(numbered, functools.partial(padded, length=pad_length)))

    def join(self) -> None:
        """Run through all items, and keep none."""
        for _ in self:
            pass

    def collect(self) -> list[T]:
        """Return all items."""
        return list(self)

    def tqdm(self, **kwargs: Any) -> Composable[T]:
        """Show a tqdm bar; the arguments are tqdm's."""
        return Step(Bar(self, kwargs))

    def monitor(
        self,
        callback: Callable[..., Any],
        prefix: str | None = None,
        metrics_conf: MetricsConf | type[MetricsConf] = MetricsConf,
        window_size: int = 5,
        **kwargs: Any,
    ) -> Composable[T]:
        """Measure items and bytes per second here, and hand them to ``callback`` (see `penstock.monitor.Monitor`)."""
        return Step(Monitor(self, callback, prefix, metrics_conf, window_size, **kwargs))

    def split_by_rank_pytorch(self, torch_dist_group: Any = None) -> Composable[T]:
        """Keep this rank's share of the items (see `penstock.iterstream.torch_composables.SplitByRank`)."""
        from penstock.iterstream.torch_composables import SplitByRank

        return self.compose(SplitByRank, torch_dist_group)

    def split_by_worker_pytorch(self) -> Composable[T]:
        """Keep this worker's share of the items (see `penstock.iterstream.torch_composables.SplitByWorker`)."""
        from penstock.iterstream.torch_composables import SplitByWorker

        return self.compose(SplitByWorker)

    def to_torch_iterable(self, enforce_rank_check: bool = True, enforce_worker_check: bool = True) -> Composable[T]:
        """Make sure that ranks and workers do not repeat each other's items (see `TorchIterable`)."""
        from penstock.iterstream.torch_composables import TorchIterable

        return self.compose(
            TorchIterable, enforce_rank_check=enforce_rank_check, enforce_worker_check=enforce_worker_check
        )


class Piped(Composable[T]):
    """A DataPipe as a Composable. Running it is running that pipe.

    Args:
        pipe: the DataPipe.
    """

    arity = ONE_TO_ONE
    is_of_state = False

    def __init__(self, pipe: IterDataPipe[T]) -> None:
        super().__init__()
        self._pipe = pipe

    def __len__(self) -> int:
        return len(self._pipe)

    def build(self, ctx: Context, state: State = None) -> Stream[T]:
        return ctx.build(self._pipe, state, indices=True, holes=True)


class Step(Piped[T]):
    """A DataPipe, or several, as a step behind a Composable, which is the nearest one that they read from.

    The source is kept nowhere but in the pipes, so what replaces a pipe in a graph need not know of it.

    Args:
        pipe: the DataPipe, of which the first source leads to the Composable.
    """

    def __init__(self, pipe: IterDataPipe[T]) -> None:
        self._pipe = pipe

    @property
    def source(self) -> Any:
        pipe: Pipe = self._pipe
        while pipe.sources and not isinstance(pipe, Composable):
            pipe = pipe.sources[0]
        return pipe

    @source.setter
    def source(self, source: Any) -> None:
        self._pipe = _behind(as_source(source), self._pipe)


class Fed(Composable[T]):
    """A step that reads from its source as a pipe, whatever that is."""

    @property
    def source(self) -> Any:
        return self._source

    @source.setter
    def source(self, source: Any) -> None:
        self._source = None if source is None else as_source(source)


class Loop(Step[T]):
    """The source, again and again."""

    def __init__(self, source: IterDataPipe[T], n: int | None) -> None:
        self._rounds = Rounds()
        super().__init__(Cycler(Round(source, self._rounds), n))

    @property
    def counter(self) -> int:
        """How many rounds the last run in this process has completed."""
        return self._rounds.count


def _bound(callback: Callable[..., Any], kwargs: dict[str, Any]) -> Callable[..., Any]:
    return functools.partial(callback, **kwargs) if kwargs else callback


def as_source(source: Any) -> Composable[Any]:
    """Return a Composable as it is, and anything else as one."""
    from penstock.iterstream.source import as_composable

    return source if isinstance(source, Composable) else as_composable(source)


def _behind(source: Composable[Any], pipe: Any) -> Any:
    """Return the pipes of a step as they are behind another source."""
    if isinstance(pipe, Composable) or not pipe.sources:
        return source
    first, *others = pipe.sources
    return pipe.with_sources(_behind(source, first), *others)
