"""Squirrel's functions of an iterable. The methods of `Composable` do the same, and keep state."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Any, TypeVar

from penstock.iterstream._steps import Delayed, Seed
from penstock.iterstream.source import IterableSource
from penstock.monitor import getsize, monitor_

__all__ = [
    "batched_",
    "dask_delayed_",
    "filter_",
    "flatten_",
    "get_random_range",
    "getsize",
    "map_",
    "monitor_",
    "shuffle_",
    "take_",
    "tqdm_",
]

T = TypeVar("T")
U = TypeVar("U")


def map_(iterable: Iterable[T], callback: Callable[[T], U]) -> Iterator[U]:
    """Apply a function to each item."""
    return (callback(x) for x in iterable)


def filter_(iterable: Iterable[T], predicate: Callable[[T], Any]) -> Iterator[T]:
    """Keep the items for which ``predicate`` is true."""
    return (x for x in iterable if predicate(x))


def take_(iterable: Iterable[T], n: int) -> Iterator[T]:
    """Yield the first ``n`` items, and read none beyond them.

    Example:
        >>> numbers = iter(range(4))
        >>> list(take_(numbers, 2)), list(take_(numbers, 2))
        ([0, 1], [2, 3])
    """
    return islice(iterable, n)


def batched_(
    iterable: Iterable[T],
    batchsize: int = 20,
    collation_fn: Callable[[list[T]], Any] | None = None,
    drop_last_if_not_full: bool = True,
) -> Iterator[Any]:
    """Collect items in lists of ``batchsize``, and hand those to ``collation_fn``."""
    return iter(IterableSource(iterable).batched(batchsize, collation_fn, drop_last_if_not_full))


def flatten_(iterables: Iterable[Iterable[T]]) -> Iterator[T]:
    """Yield the entries of each item."""
    return chain.from_iterable(iterables)


def shuffle_(
    iterable: Iterable[T],
    bufsize: int = 1000,
    initial: int = 100,
    rng: random.Random | None = None,
    seed: Seed | None = None,
) -> Iterator[T]:
    """Shuffle items within windows (see `Composable.shuffle`)."""
    return iter(IterableSource(iterable).shuffle(bufsize, initial, rng, seed))


def dask_delayed_(iterable: Iterable[Any], callback: Callable[..., Any]) -> Iterator[Any]:
    """Make a dask task of the function's call for each item."""
    return map(Delayed(callback), iterable)


def tqdm_(iterable: Iterable[T], **kwargs: Any) -> Iterator[T]:
    """Show a tqdm bar; the arguments are tqdm's."""
    from tqdm.auto import tqdm

    return iter(tqdm(iterable, **kwargs))


def get_random_range(rng: random.Random | None = None, seed: Seed | None = None) -> random.Random:
    """Return a random number generator: ``rng`` or a new one, set to ``seed`` if that is given.

    Example:
        >>> get_random_range(seed=1).random() == get_random_range(seed=1).random()
        True
    """
    rng = rng or random.Random()
    if seed is not None:
        rng.seed(seed)
    return rng
