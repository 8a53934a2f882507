"""ZarrOpener (``open_zarr``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.core.context import Context
from penstock.core.pipe import ONE_TO_ONE, IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.pipes._zarr_store import open_node


@functional_datapipe("open_zarr")
class ZarrOpener(IterDataPipe[tuple[str, Any]]):
    """Open zarr arrays and groups: ``url`` becomes ``(url, array or group)`` (functional name: ``open_zarr``).

    They are `zarr.Array` and `zarr.Group`, of files of version 2 or 3, and read-only. To read their rows there is
    `read_zarr`.

    Args:
        source_datapipe: the URLs, of any protocol that fsspec knows, or local paths.
        storage_options: options of the connection.

    Raises:
        DecodeError: (when run) nothing of zarr's is there, or its metadata cannot be read; the message names the URL.
        MissingExtra: (when run) the protocol needs a package that is not installed.

    State: none of its own.

    Example:
        >>> import os, tempfile, zarr
        >>> path = os.path.join(tempfile.mkdtemp(), "a.zarr")
        >>> _ = zarr.create_array(path, shape=(6, 2), chunks=(3, 2), dtype="int32")
        >>> from penstock.pipes import IterableWrapper
        >>> [array.shape for url, array in IterableWrapper([path]).open_zarr()]
        [(6, 2)]
    """

    arity = ONE_TO_ONE

    def __init__(self, source_datapipe: IterDataPipe[str], *, storage_options: Mapping[str, Any] | None = None) -> None:
        source_datapipe = check_source(self, source_datapipe)
        self.source_datapipe = source_datapipe
        self.storage_options = dict(storage_options or {})

    def __len__(self) -> int:
        return len(self.source_datapipe)

    def build(self, ctx: Context, state: State = None) -> Stream[tuple[str, Any]]:
        return ctx.each(self, self.source_datapipe, state, self._opened)

    def _opened(self, url: object) -> tuple[str, Any]:
        if not isinstance(url, str):
            raise TypeError(f"a URL or path, of type str, is expected, but got {type(url).__name__}")
        return url, open_node(url, self.storage_options)
