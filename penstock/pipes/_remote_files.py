"""Files on anything that fsspec knows, with the options of its connection."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatch
from typing import Any

from penstock.core.errors import MissingExtra

__all__ = ["connected", "listed", "missing_extra", "opened", "saved"]

# What a protocol needs beside fsspec, and the extra that has it.
_EXTRAS = {"s3": "s3", "s3a": "s3", "ais": "s3", "http": "http", "https": "http"}


def connected(url: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    """Return the file system of a URL, and the path in it."""
    import fsspec

    try:
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


def saved(url: str, data: Any, mode: str, options: Mapping[str, Any], open_options: Mapping[str, Any]) -> None:
    """Write a file, under another name until it is complete; folders are made as needed."""
    from penstock.pipes._saving import save

    fs, path = connected(url, options)
    folder = fs._parent(path)
    if folder and not fs.exists(folder):
        fs.makedirs(folder, exist_ok=True)
    save(path, data, mode, lambda name, how: fs.open(name, how, **open_options), fs.mv, fs.rm)
