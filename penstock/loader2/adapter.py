"""Adapters: functions of a graph that a loader applies once. They leave the user's graph as it is."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from penstock.core.pipe import IterDataPipe, MapDataPipe, Pipe
from penstock.core.walk import kind, walk

__all__ = ["CacheTimeout", "Shuffle"]


@runtime_checkable
class _Shuffles(Protocol):
    """A pipe that shuffles: torch's protocol."""

    def set_shuffle(self, shuffle: bool = True) -> Any: ...

    def set_seed(self, seed: int) -> Any: ...


class Shuffle:
    """Switch every shuffle of a graph on or off.

    Args:
        enable: True switches them on, and appends a ``shuffle()``, with a warning, where there is none; False switches
            them off; None leaves them as they are.

    Example:
        >>> from penstock import DataLoader2, IterableWrapper
        >>> list(DataLoader2(IterableWrapper(range(4)).shuffle(), Shuffle(False)))
        [0, 1, 2, 3]
    """

    def __init__(self, enable: bool | None = True) -> None:
        self.enable = enable

    def __call__(self, datapipe: Pipe) -> Pipe:
        """Return the graph with its shuffles switched."""
        if self.enable is None:
            return datapipe
        shuffles = [pipe for pipe in walk(datapipe) if isinstance(pipe, _Shuffles)]
        if self.enable and not shuffles and isinstance(datapipe, (IterDataPipe, MapDataPipe)):
            warnings.warn(
                "`shuffle=True` was set, but the datapipe does not contain a `Shuffler`. Adding one at the end. "
                "Be aware that the default buffer size might not be sufficient for your task.",
                stacklevel=3,
            )
            return datapipe.shuffle()
        return _with_copies(datapipe, shuffles, lambda pipe: pipe.set_shuffle(self.enable))


class CacheTimeout:
    """Set how long a graph's caches on disk wait for another process that is making the same file.

    Args:
        timeout: in seconds.

    Raises:
        ValueError: ``timeout`` is None, or not positive.

    Example:
        >>> from penstock import IterableWrapper
        >>> CacheTimeout(10)(IterableWrapper([1]).on_disk_cache(filepath_fn=str).end_caching()).timeout
        10
    """

    def __init__(self, timeout: float | None) -> None:
        if timeout is None:
            raise ValueError("timeout must be specified as a number of seconds")
        if timeout <= 0:
            raise ValueError(f"timeout must be positive, got {timeout}")
        self.timeout = timeout

    def __call__(self, datapipe: Pipe) -> Pipe:
        """Return the graph with its caches' timeout set."""
        caches = [pipe for pipe in walk(datapipe) if kind(pipe) == "end_caching"]
        return _with_copies(datapipe, caches, lambda pipe: setattr(pipe, "timeout", self.timeout))


def _with_copies(root: Pipe, pipes: Sequence[Pipe], change: Callable[[Any], object]) -> Pipe:
    """Return the graph with changed copies in place of some of its pipes."""
    chosen = {id(pipe) for pipe in pipes}
    made: dict[int, Pipe] = {}
    for pipe in walk(root):
        new = pipe.with_sources(*(made[id(source)] for source in pipe.sources))
        if id(pipe) in chosen:
            new = copy.copy(new)
            change(new)
        made[id(pipe)] = new
    return made[id(root)]
