"""Files on anything that fsspec knows, with the options of its connection."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from fnmatch import fnmatch
from functools import partial
from typing import Any

from penstock.core.errors import MissingExtra

__all__ = ["connected", "get_fs_from_url", "get_protocol", "listed", "missing_extra", "opened", "ranged", "saved"]

# What a protocol needs beside fsspec, and the extra that has it.
_EXTRAS = {"s3": "s3", "s3a": "s3", "ais": "s3", "http": "http", "https": "http"}


def get_protocol(url: str) -> str:
    """Return what stands ahead of ``://`` in a URL, ``file`` if nothing does.

    Example:
        >>> get_protocol("s3://bucket/key"), get_protocol("/tmp/x")
        ('s3', 'file')
    """
    protocol, separator, _ = str(url).partition("://")
    return protocol if separator else "file"


def get_fs_from_url(url: str, **storage_options: Any) -> Any:
    """Return the file system of a URL.

    Args:
        url: a local path, or any URL that fsspec knows.
        **storage_options: fsspec's. A ``protocol`` among them wins over the URL's: with ``protocol="simplecache",
            target_protocol="s3", cache_storage=folder`` what is read is kept in that folder.

    Raises:
        MissingExtra: fsspec needs another package for that protocol.
    """
    return connected(str(url), storage_options)[0]


def connected(url: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    """Return the file system of a URL, and the path in it."""
    import fsspec

    try:
        if "protocol" in options:
            fs = fsspec.filesystem(**options)
            return fs, fs._strip_protocol(url)
        fs, path = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        raise missing_extra(url, error) from error
    return fs, path


def missing_extra(url: str, error: ImportError) -> MissingExtra:
    """Return what to raise where fsspec lacks the package of a URL's protocol."""
    extra = _EXTRAS.get(url.partition("://")[0])
    how = f"pip install 'penstock[{extra}]'" if extra else str(error)
    return MissingExtra(f"{url}: fsspec needs another package for it: {how}")


def listed(root: str, masks: list[str], options: Mapping[str, Any]) -> list[str]:
    """Return the files in a folder, in order, named as the folder is: with its protocol, if it has one."""
    fs, path = connected(root, options)
    if fs.isfile(path):
        return [root]
    protocol, separator, _ = root.partition("://")
    start = protocol + separator if separator else ""
    found = sorted(entry["name"] for entry in fs.ls(path, detail=True) if entry["type"] == "file")
    return [start + name for name in found if matches(name, masks)]


def matches(name: str, masks: list[str]) -> bool:
    """Whether a file's name, or its whole path, is like one of the masks."""
    base = name.rpartition("/")[2]
    return masks in ([], [""]) or any(fnmatch(base, mask) or fnmatch(name, mask) for mask in masks)


def opened(url: str, mode: str, options: Mapping[str, Any], open_options: Mapping[str, Any]) -> Any:
    """Open a file."""
    fs, path = connected(url, options)
    return fs.open(path, mode, **open_options)


def ranged(fs: Any, path: str) -> Callable[[int, int], bytes]:
    """Return the function that reads the bytes of a file from ``start`` to ``stop``, fewer where it ends.

    A negative ``start`` counts from the end, and all that follows is read. Each call is one request.
    """
    from fsspec.implementations.local import LocalFileSystem

    if type(fs) is LocalFileSystem:
        return partial(_read_local, path)

    def read(start: int, stop: int) -> bytes:
        try:
            data: bytes = fs.cat_file(path, start=start, end=None if start < 0 else stop)
        except FileNotFoundError:
            raise
        except Exception:
            if fs.size(path) > max(start, 0):
                raise
            return b""  # object stores refuse a range that begins at the end
        if len(data) > stop - start >= 0 <= start:  # a server that knows no ranges sends all
            data = data[start:stop]
        return data

    return read


def _read_local(path: str, start: int, stop: int) -> bytes:
    """Read no more than there is: asking for 4 MiB of a file of 300 kB takes 150 us, asking for 300 kB takes 9."""
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        start, stop = (max(size + start, 0), size) if start < 0 else (start, min(stop, size))
        file.seek(start)
        return file.read(stop - start) if stop > start else b""


def saved(url: str, data: Any, mode: str, options: Mapping[str, Any], open_options: Mapping[str, Any]) -> None:
    """Write a file, under another name until it is complete; folders are made as needed."""
    from penstock.files.saving import save

    fs, path = connected(url, options)
    folder = fs._parent(path)
    if folder and not fs.exists(folder):
        fs.makedirs(folder, exist_ok=True)
    save(path, data, mode, lambda name, how: fs.open(name, how, **open_options), fs.mv, fs.rm)
