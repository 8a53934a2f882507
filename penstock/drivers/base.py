"""Driver, IterDriver, MapDriver: what reads a data set."""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar

from penstock.core.pipe import IterDataPipe
from penstock.iterstream.base import Composable
from penstock.iterstream.source import IterableSource

__all__ = ["Driver", "IterDriver", "MapDriver", "UrlDriver"]


class Driver(ABC):
    """What reads a data set. A catalog finds its class by ``name``.

    Args:
        catalog: that which made it, if one did.
        **kwargs: for drivers that take none.
    """

    name: ClassVar[str]

    def __init__(self, catalog: Any = None, **kwargs: Any) -> None:
        self._catalog = catalog


class UrlDriver(Driver):
    """A driver of what lies at a URL.

    Args:
        url: a local path, or a URL that fsspec knows.
        storage_options: fsspec's, for the connection.
        catalog: that which made it, if one did.
        **kwargs: not looked at.
    """

    def __init__(
        self, url: str, storage_options: dict[str, Any] | None = None, catalog: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(catalog)
        self.url = str(url)
        self.storage_options = storage_options or {}


class IterDriver(Driver):
    """A driver that can be iterated over."""

    @abstractmethod
    def get_iter(self, *args: Any, **kwargs: Any) -> Composable[Any]:
        """Return a stream of items, to be iterated over any number of times."""


class MapDriver(IterDriver):
    """A driver whose items have keys. One of your own has a ``get`` and ``keys``.

    Example:
        >>> class Squares(MapDriver):
        ...     name = "squares"
        ...     def keys(self):
        ...         return range(4)
        ...     def get(self, key):
        ...         return key**2
        >>> Squares().get_iter(max_workers=2).collect()
        [0, 1, 4, 9]
    """

    @abstractmethod
    def get(self, key: Any, **kwargs: Any) -> Any:
        """Return the item under a key, or an iterable of the items that are under it."""

    @abstractmethod
    def keys(self, **kwargs: Any) -> Iterable[Any]:
        """Return the keys, in an order that is the same each time."""

    def get_iter(
        self,
        keys_iterable: Iterable[Any] | None = None,
        shuffle_key_buffer: int = 1,
        key_hooks: Sequence[Callable[..., Any]] | None = None,
        max_workers: int | None = None,
        prefetch_buffer: int = 10,
        shuffle_item_buffer: int = 1,
        flatten: bool = False,
        keys_kwargs: dict[str, Any] | None = None,
        get_kwargs: dict[str, Any] | None = None,
        key_shuffle_kwargs: dict[str, Any] | None = None,
        item_shuffle_kwargs: dict[str, Any] | None = None,
    ) -> Composable[Any]:
        """Return a stream of what is under the keys.

        Keys are shuffled, go through the hooks, and are fetched and decoded by threads; then come the items, flattened
        and shuffled. Under a loader the orders are those of its seed: the same on every worker and rank, so that a
        split behind the keys' shuffle loses and repeats nothing, and another one in each epoch.

        Args:
            keys_iterable: the keys; all of them unless given.
            shuffle_key_buffer: keys are shuffled among so many. Below 2 they are not.
            key_hooks: steps between the keys' shuffle and the fetching, such as ``SplitByRank``: a class or partial of
                a Composable, or a function that gets an iterator and returns another one.
            max_workers: threads that fetch and decode; as many as `ThreadPoolExecutor` makes unless given. With 0 or 1
                that is done where the stream runs.
            prefetch_buffer: how many keys are fetched ahead: at least as many as ``max_workers``, so that each
                of them has something to do.
            shuffle_item_buffer: items are shuffled among so many. Below 2 they are not.
            flatten: what is under a key is an iterable of items.
            keys_kwargs: of ``keys``.
            get_kwargs: of ``get``.
            key_shuffle_kwargs: of the keys' `Composable.shuffle`: ``seed``, ``initial``.
            item_shuffle_kwargs: of the items'.

        Raises:
            ValueError: a hook that is none.
        """
        source = keys_iterable if keys_iterable is not None else self._key_source(keys_kwargs or {})
        keys = IterableSource(source).shuffle(size=shuffle_key_buffer, **(key_shuffle_kwargs or {}))
        for hook in key_hooks or ():
            keys = _hooked(keys, hook)
        threads = None if max_workers is None else max(max_workers, 1)
        items = self._fetched(keys, threads, max(prefetch_buffer, threads or 1), flatten, get_kwargs or {})
        return items.shuffle(size=shuffle_item_buffer, **(item_shuffle_kwargs or {}))

    def _fetched(
        self, keys: Composable[Any], threads: int | None, prefetch: int, flatten: bool, get_kwargs: dict[str, Any]
    ) -> Composable[Any]:
        """Return the stream of what is under keys. One thread is the one that runs the stream."""
        get = _Get(self, get_kwargs)
        found = keys.map(get) if threads == 1 else keys.async_map(get.whole, prefetch, threads)
        return found.flatten() if flatten else found

    def _key_source(self, kwargs: dict[str, Any]) -> IterDataPipe[Any] | Callable[[], Iterable[Any]]:
        return functools.partial(self.keys, **kwargs)


class _Get:
    """Fetches what is under a key."""

    def __init__(self, driver: MapDriver, kwargs: dict[str, Any]) -> None:
        self._driver = driver
        self._kwargs = kwargs

    def __call__(self, key: Any) -> Any:
        return self._driver.get(key, **self._kwargs)

    def whole(self, key: Any) -> Any:
        """Fetch, and run a generator to its end: else only its consumer would read and decode."""
        found = self(key)
        return list(found) if isinstance(found, Iterator) else found


def _hooked(keys: Composable[Any], hook: Any) -> Composable[Any]:
    function = hook
    while isinstance(function, functools.partial):
        function = function.func
    if inspect.isclass(function) and issubclass(function, IterDataPipe):
        return keys.compose(hook)
    if callable(function):
        return keys.to(hook)
    raise ValueError(f"a hook is a class of a step, or a function that gets an iterator, got {hook!r}")
