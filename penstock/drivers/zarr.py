"""ZarrDriver: what lies in a zarr group, by key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from typing import TYPE_CHECKING, Any

from penstock.core.pipe import IterDataPipe
from penstock.drivers._keys import Keys
from penstock.drivers.base import MapDriver, UrlDriver
from penstock.iterstream.base import Composable
from penstock.stores.zarr import get_group

if TYPE_CHECKING:
    import zarr

__all__ = ["ZarrDriver"]


def fetch(group: zarr.Group, key: str) -> Any:
    """Return what lies under a key of a group: an array, or a group."""
    return group[key]


class ZarrDriver(UrlDriver, MapDriver):
    """Reads what lies in a zarr group, of version 2 or 3: for each key what a function makes of the group and the key.

    To read the rows of arrays, each chunk once, there is the pipe `read_zarr`.

    Args:
        url: the group: a local path, or a URL that fsspec knows.
        storage_options: fsspec's, for the connection.
        catalog: that which made it, if one did.
        **kwargs: not looked at.

    Example:
        >>> driver = ZarrDriver("memory://zarr_driver")
        >>> root = driver.get_root_group("w")
        >>> for key in ("a", "b"):
        ...     root.create_array(key, shape=(2,), chunks=(2,), dtype="int64")[:] = 7
        >>> [int(x) for x in driver.get_iter(lambda group, key: group[key][:].sum())]
        [14, 14]
    """

    name = "zarr"

    def __init__(
        self, url: str, storage_options: dict[str, Any] | None = None, catalog: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(url, storage_options, catalog)
        self._opened: tuple[str, dict[str, Any], zarr.Group] | None = None

    def get_iter(  # type: ignore[override]
        self,
        fetcher_func: Callable[[zarr.Group, str], Any] = fetch,
        storage_options: dict[str, Any] | None = None,
        flatten: bool = True,
        **kwargs: Any,
    ) -> Composable[Any]:
        """Return a stream of what ``fetcher_func`` returns for each key.

        Args:
            fetcher_func: gets the group, open for reading, and a key; it runs where keys are fetched, in threads. What
                lies under the key unless given: a `zarr.Array` has then not been read.
            storage_options: fsspec's; they win over the driver's own.
            flatten: False leaves each item in an iterable of its own.
            **kwargs: see `MapDriver.get_iter`.
        """
        driver = copy(self)  # with options of its own: passed on to `get`, those that are called key would be its key
        driver.storage_options = {**self.storage_options, **(storage_options or {})}
        get_kwargs = {**(kwargs.pop("get_kwargs", None) or {}), "fetcher_func": fetcher_func}
        return super(ZarrDriver, driver).get_iter(flatten=flatten, get_kwargs=get_kwargs, **kwargs)

    def get_root_group(self, mode: str = "r", **storage_options: Any) -> zarr.Group:
        """Return the group, opened once for the same arguments.

        Args:
            mode: see `penstock.stores.get_group`.
            **storage_options: fsspec's; they win over the driver's own.

        Raises:
            FileNotFoundError: there is no group, and the mode makes none.
        """
        options = {**self.storage_options, **storage_options}
        opened = self._opened
        if opened is None or opened[:2] != (mode, options):
            opened = self._opened = (mode, options, get_group(self.url, mode, **options))
        return opened[2]

    def keys(self, **storage_options: Any) -> Iterator[str]:
        """Yield the keys of the group, in order."""
        yield from self.get_root_group(**storage_options).keys()

    def get(
        self, key: Any, fetcher_func: Callable[[zarr.Group, str], Any] = fetch, **storage_options: Any
    ) -> Iterator[Any]:
        """Return what ``fetcher_func`` returns for a key: the only item of an iterator."""
        return iter([fetcher_func(self.get_root_group(**storage_options), key)])

    def _key_source(self, kwargs: dict[str, Any]) -> IterDataPipe[Any]:
        return Keys(self, self.url, kwargs)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_opened": None}
