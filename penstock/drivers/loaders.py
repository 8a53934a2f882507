"""The loaders of Squirrel's older API: a store, and a stream of what is in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from penstock.drivers.data_frame import CsvDriver
from penstock.drivers.file_driver import FileDriver
from penstock.drivers.store import StoreDriver
from penstock.drivers.zarr import ZarrDriver, fetch
from penstock.iterstream.base import Composable
from penstock.serialization.sample import Sample
from penstock.stores.records import JsonlStore, MessagepackStore, RecordStore

if TYPE_CHECKING:
    import zarr

__all__ = ["CSVLoader", "JsonlLoader", "MessagePackDataLoader", "RecordLoader", "ZarrLoader"]


class RecordLoader(StoreDriver):
    """Reads a `RecordStore`: a stream of samples.

    Args:
        url: the store's folder: a local path, or a URL that fsspec knows.
        storage_options: fsspec's, for the connection.
        catalog: that which made it, if one did.
        **kwargs: not looked at.

    Example:
        >>> from penstock.drivers import Sample
        >>> RecordLoader("memory://record_loader").get_store().set(Sample(key="a", value=1))
        >>> RecordLoader("memory://record_loader").get_iter().collect()
        [Sample(key='a', value=1)]
    """

    name = "record"
    with_keys = True
    _class: ClassVar[type[RecordStore]] = RecordStore

    def __init__(
        self, url: str, storage_options: dict[str, Any] | None = None, catalog: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(url, "", storage_options, catalog)

    @property
    def store(self) -> RecordStore:
        """The store. It is opened when it is first asked for."""
        if self._store is None:
            self._store = self._class(self.url, **self.storage_options)
        assert isinstance(self._store, RecordStore)
        return self._store

    def get_store(self) -> RecordStore:
        """Return the store."""
        return self.store

    def get_iter(  # type: ignore[override]
        self, key_iterator: Iterable[Any] | None = None, **kwargs: Any
    ) -> Composable[Sample]:
        """Return a stream of samples.

        Args:
            key_iterator: the keys of what to read; all of them unless given.
            **kwargs: what is fetched ahead, shuffled and buffered: see `MapDriver.get_iter`.
        """
        if key_iterator is not None:
            kwargs["keys_iterable"] = key_iterator
        return super().get_iter(**kwargs)


class MessagePackDataLoader(RecordLoader):
    """Reads a `MessagepackStore`: a stream of the samples in its shards."""

    name = "messagepack_loader"
    _class = MessagepackStore


class JsonlLoader(RecordLoader):
    """Reads a `JsonlStore`: a stream of the samples in its shards."""

    name = "jsonl_loader"
    _class = JsonlStore


class CSVLoader(CsvDriver):
    """Reads a CSV file: a stream of its rows, as namedtuples."""

    name = "csv_loader"

    def get_store(self, mode: str = "r", create_if_not_exists: bool = False, **kwargs: Any) -> Any:
        """Return the file, opened, for a ``with``."""
        return FileDriver(self.url, self.storage_options).open(mode, create_if_not_exists, **kwargs)


class ZarrLoader(ZarrDriver):
    """Reads what lies in a zarr group: for each key what a function makes of the group and the key.

    Example:
        >>> root = ZarrLoader("memory://zarr_loader").get_root_group("w")
        >>> root.create_array("a", shape=(2,), chunks=(2,), dtype="int64")[:] = 7
        >>> ZarrLoader("memory://zarr_loader").get_iter(lambda store, key: store[key][:].tolist()).collect()
        [[7, 7]]
    """

    name = "zarr_loader"

    def get_iter(  # type: ignore[override]
        self,
        fetcher_func: Callable[[zarr.Group, str], Any] = fetch,
        key_iterator: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> Composable[Any]:
        """Return a stream of what ``fetcher_func`` returns for each key.

        Args:
            fetcher_func: gets the group and a key.
            key_iterator: the keys of what to read; all of them unless given.
            **kwargs: see `ZarrDriver.get_iter`.
        """
        if key_iterator is not None:
            kwargs["keys_iterable"] = key_iterator
        return super().get_iter(fetcher_func, **kwargs)

    def get_store(self) -> zarr.Group:
        """Return the group, open for reading."""
        return self.get_root_group()
