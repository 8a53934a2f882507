"""What zarr's pipes are given: URLs, opened arrays and groups, spans of rows."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, Protocol

from penstock.core.pipe import IterDataPipe
from penstock.pipes._zarr_column import Kept
from penstock.pipes._zarr_rows import ZarrRows
from penstock.pipes._zarr_store import open_node

__all__ = ["check_arrays", "sources_of"]

_OPENED: Final = 256  # of how many arrays or groups a reader keeps the metadata


class Reading(Protocol):
    """A pipe that reads zarr."""

    source_datapipe: IterDataPipe[Any]
    arrays: Sequence[str] | None
    span: int | None
    storage_options: dict[str, Any]


def sources_of(pipe: Reading) -> Callable[[Any], tuple[str, ZarrRows]]:
    """Return what makes a URL, or what ``open_zarr`` has opened, the URL and the rows behind it."""
    kept = Kept()

    @lru_cache(_OPENED)
    def rows(url: str) -> ZarrRows:
        return ZarrRows(url, open_node(url, pipe.storage_options), pipe.arrays, pipe.span, kept)

    def opened(item: Any) -> tuple[str, ZarrRows]:
        if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str):
            return item[0], ZarrRows(*item, pipe.arrays, pipe.span, kept)
        if isinstance(item, (str, os.PathLike)):
            url = os.fspath(item)
            return url, rows(url)
        raise TypeError(f"a URL or path, of type str, or what open_zarr yields is expected, but got {item!r:.200}")

    return opened


def check_arrays(arrays: Sequence[str] | None) -> Sequence[str] | None:
    """Return the names of arrays. TypeError for one name, ValueError for none and for one that comes twice."""
    if isinstance(arrays, str):
        raise TypeError(f"arrays must be a list of names, got {arrays!r}; an array by itself has a URL: <url>/{arrays}")
    if arrays is None:
        return None
    names = list(arrays)
    if not names or len(set(names)) < len(names):
        raise ValueError(f"arrays must be names that differ, at least one, got {names}")
    return names
