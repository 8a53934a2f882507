"""Where a zarr array or group lies: a store of zarr's, for any URL that fsspec knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.files.remote import connected, missing_extra

__all__ = ["zarr_store"]


def zarr_store(url: str, options: Mapping[str, Any], *, read_only: bool) -> Any:
    """Return zarr's store behind a local path or a URL.

    Args:
        url: a local path, or any URL that fsspec knows.
        options: of the connection; a ``protocol`` among them wins over the URL's.
        read_only: nothing can be written.

    Raises:
        MissingExtra: fsspec needs another package for that protocol.
    """
    from zarr.storage import FsspecStore, LocalStore

    protocol, is_url, path = url.partition("://")
    if "protocol" in options:
        fs, path = connected(url, options)
        return FsspecStore.from_mapper(fs.get_mapper(path), read_only=read_only)
    if not is_url or protocol in ("file", "local"):
        return LocalStore(path if is_url else url, read_only=read_only)
    try:
        return FsspecStore.from_url(url, storage_options=dict(options), read_only=read_only)
    except ImportError as error:
        raise missing_extra(url, error) from error
