"""Saver (``save_to_disk``)."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from penstock.core.context import Context
from penstock.core.pipe import ONE_TO_ONE, IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.files.saving import save, write_mode
from penstock.pipes._columns import check_callable


@functional_datapipe("save_to_disk")
class Saver(IterDataPipe[str]):
    """Save data to files: ``(meta, data)`` becomes the path of the file written (functional name: ``save_to_disk``).

    A file has another name until it is complete, so a crash never leaves half of it. Folders are made as needed.

    Args:
        source_datapipe: pairs of what tells the path, and bytes, text, or a stream of them.
        mode: ``w``, ``t``, ``wt`` for text; ``wb``, ``b`` for bytes; ``a``, ``ab`` append.
        filepath_fn: makes ``meta`` the path; ``meta`` itself is the path unless given.

    Raises:
        ValueError: another mode.
        TypeError: ``filepath_fn`` cannot be called; or (when run) data that does not fit the mode.

    State: none of its own.

    Example:
        >>> import os, tempfile
        >>> from penstock.pipes import IterableWrapper
        >>> folder = tempfile.mkdtemp()
        >>> saved = IterableWrapper([("a.txt", b"hello")]).save_to_disk("wb", lambda name: os.path.join(folder, name))
        >>> [os.path.basename(path) for path in saved]
        ['a.txt']
    """

    arity = ONE_TO_ONE

    def __init__(
        self,
        source_datapipe: IterDataPipe[tuple[Any, Any]],
        mode: str = "w",
        filepath_fn: Callable[[Any], str] | None = None,
    ) -> None:
        source_datapipe = check_source(self, source_datapipe)
        if filepath_fn is not None:
            check_callable(filepath_fn)
        self.source_datapipe = source_datapipe
        self.mode = mode
        self._mode = write_mode(mode)
        self.filepath_fn = filepath_fn

    def __len__(self) -> int:
        return len(self.source_datapipe)

    def build(self, ctx: Context, state: State = None) -> Stream[str]:
        return ctx.each(self, self.source_datapipe, state, lambda pair: self._saved(*pair))

    def _saved(self, meta: Any, data: Any) -> Any:
        path = meta if self.filepath_fn is None else self.filepath_fn(meta)
        local = os.fspath(path)
        if folder := os.path.dirname(local):
            os.makedirs(folder, exist_ok=True)
        save(local, data, self._mode, open, os.replace, os.remove)
        return path
