"""StoreDriver, MessagepackDriver, JsonlDriver: drivers over a store of shards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from penstock.core.pipe import IterDataPipe
from penstock.drivers._keys import Keys
from penstock.drivers._shards import Samples, Shards, Whole
from penstock.drivers.base import MapDriver, UrlDriver
from penstock.files.remote import get_protocol
from penstock.iterstream.base import Composable, Step
from penstock.serialization.serializers import (
    FormatSerializer,
    JsonSerializer,
    MessagepackSerializer,
    SquirrelSerializer,
)
from penstock.stores.squirrel_store import SquirrelStore

__all__ = ["JsonlDriver", "MessagepackDriver", "StoreDriver"]


class StoreDriver(UrlDriver, MapDriver):
    """Reads a store of shards.

    Args:
        url: the store's folder: a local path, or a URL that fsspec knows.
        serializer: what the shards are written in.
        storage_options: fsspec's, for the connection.
        catalog: that which made it, if one did.
        **kwargs: not looked at.

    Example:
        >>> SquirrelStore("memory://store_driver", "msgpack").set([1, 2], key="a")
        >>> StoreDriver("memory://store_driver", MessagepackSerializer()).get_iter().collect()
        [1, 2]
    """

    name = "store_driver"
    with_keys = False  # samples are `Sample` objects

    def __init__(
        self,
        url: str,
        serializer: SquirrelSerializer | type[SquirrelSerializer] | str,
        storage_options: dict[str, Any] | None = None,
        catalog: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(url, storage_options, catalog)
        self._serializer = serializer
        self._store: SquirrelStore | None = None

    @property
    def store(self) -> SquirrelStore:
        """The store. It is opened when it is first asked for."""
        if self._store is None:
            self._store = SquirrelStore(self.url, self._serializer, **self.storage_options)
        return self._store

    def get_store(self) -> SquirrelStore:
        """Return the store."""
        return self.store

    def get_iter(self, flatten: bool = True, **kwargs: Any) -> Composable[Any]:  # type: ignore[override]
        """Return a stream of samples; of whole shards if not ``flatten``. See `MapDriver.get_iter`.

        Where ``max_workers`` is not given, a store in local files is read where the stream runs.
        """
        return super().get_iter(flatten=flatten, **kwargs)

    def keys(self, **kwargs: Any) -> Iterator[str]:
        """Yield the keys of the shards, in order."""
        return self.store.keys(**kwargs)

    def get(self, key: Any, **kwargs: Any) -> Iterator[Any]:
        """Return the samples of a shard, to be iterated over."""
        return self.store.get(key, **kwargs)

    def _key_source(self, kwargs: dict[str, Any]) -> IterDataPipe[Any]:
        return Keys(self, self.url, kwargs)

    def _fetched(
        self, keys: Composable[Any], threads: int | None, prefetch: int, flatten: bool, get_kwargs: dict[str, Any]
    ) -> Composable[Any]:
        if threads is None and get_protocol(self.url) == "file" and "protocol" not in self.storage_options:
            threads = 1  # decoding holds the interpreter's lock: 10 us a sample on threads, 5 without
        own = type(self).get is StoreDriver.get and isinstance(self._serializer, (FormatSerializer, str))
        if flatten and own and not get_kwargs:
            return Step(Shards(keys, self) if threads == 1 else Samples(keys.async_map(Whole(self), prefetch, threads)))
        return super()._fetched(keys, threads, prefetch, flatten, get_kwargs)


class MessagepackDriver(StoreDriver):
    """Reads a store of MessagePack shards: Squirrel's, or ours.

    Args:
        url: the store's folder.
        storage_options: fsspec's, for the connection.
        allow_pickle: unpickle arrays of objects, which Squirrel wrote. **That runs what the file says.**
        use_list: False makes tuples of lists, as Squirrel did.
        **kwargs: ``catalog``.

    Raises:
        ValueError: a ``store`` is given.
    """

    name = "messagepack"

    def __init__(
        self,
        url: str,
        storage_options: dict[str, Any] | None = None,
        *,
        allow_pickle: bool = False,
        use_list: bool = True,
        **kwargs: Any,
    ) -> None:
        _refuse_store(self, kwargs)
        serializer = MessagepackSerializer(allow_pickle=allow_pickle, use_list=use_list)
        super().__init__(url, serializer, storage_options, **kwargs)


class JsonlDriver(StoreDriver):
    """Reads a store of shards of JSON lines: Squirrel's, or ours.

    Args:
        url: the store's folder.
        deser_hook: makes of each dict in a line what it returns, the innermost first.
        storage_options: fsspec's, for the connection.
        **kwargs: ``catalog``.

    Raises:
        ValueError: a ``store`` is given.
    """

    name = "jsonl"

    def __init__(
        self,
        url: str,
        deser_hook: Callable[[dict[str, Any]], Any] | None = None,
        storage_options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        _refuse_store(self, kwargs)
        super().__init__(url, JsonSerializer(deser_hook), storage_options, **kwargs)


def _refuse_store(driver: StoreDriver, kwargs: dict[str, Any]) -> None:
    if "store" in kwargs:
        raise ValueError(f"{type(driver).__name__} opens its store by itself; for another one there is StoreDriver")
