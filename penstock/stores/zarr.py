"""Zarr groups at any URL: ``get_group``."""

from __future__ import annotations

from collections.abc import Generator
from functools import cache
from typing import TYPE_CHECKING, Any

from penstock.files.zarr_store import zarr_store

if TYPE_CHECKING:
    import zarr

__all__ = ["get_group"]


def get_group(path: str, mode: str = "a", overwrite: bool = False, **storage_options: Any) -> zarr.Group:
    """Return the zarr group at a path, of version 2 or 3; one that is made is of version 3.

    Its ``keys(prefix="")`` takes one listing, where zarr's own reads the metadata of each array and group.

    Args:
        path: a local path, or any URL that fsspec knows.
        mode: ``r`` to read, ``r+`` to read and write what is there, ``a`` to make the group if it is not there, ``w``
            to make it anew, ``w-`` to fail if it is there.
        overwrite: make the group anew: whatever lies at the path is deleted.
        **storage_options: fsspec's, for the connection.

    Raises:
        FileNotFoundError: there is no group, and the mode makes none.
        ValueError: ``overwrite`` and a mode that does not write.

    Example:
        >>> group = get_group("memory://stores_zarr", overwrite=True)
        >>> for name in ("b", "a"):
        ...     _ = group.create_array(name, shape=(2,), chunks=(2,), dtype="int32")
        >>> list(group.keys()), get_group("memory://stores_zarr", "r")["a"].shape
        (['a', 'b'], (2,))
    """
    import zarr

    if overwrite and mode not in ("a", "w"):
        raise ValueError(f"overwrite needs a mode that makes groups, a or w, got {mode!r}")
    store = zarr_store(str(path), storage_options, read_only=mode == "r")
    found = zarr.open_group(store, mode="w" if overwrite else mode)  # type: ignore[arg-type]  # zarr checks it
    return _listing(found)


def _listing(group: zarr.Group) -> zarr.Group:
    made: zarr.Group = _group_class()(group._async_group)
    return made


@cache
def _group_class() -> Any:
    import zarr

    class ListingGroup(zarr.Group):
        """A group whose keys come from one listing."""

        def keys(self, prefix: str = "") -> Generator[str, None, None]:
            """Yield the names of what lies one level below ``prefix``, in order."""
            folder = "/".join(part for part in (self.path, prefix.strip("/")) if part)
            names = self._sync_iter(self.store.list_dir(folder))
            yield from sorted(name for name in names if name != "zarr.json" and not name.startswith("."))

        def __reduce__(self) -> Any:
            return _listing, (zarr.Group(self._async_group),)

    return ListingGroup
