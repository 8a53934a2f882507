"""FileOpener (``open_files``)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from penstock.core.context import Context
from penstock.core.pipe import ONE_TO_ONE, IterDataPipe, no_length
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.pipes.handle import StreamWrapper
from penstock.pipes.wrapper import IterableWrapper

T = TypeVar("T")


@functional_datapipe("open_files")
class FileOpener(IterDataPipe[tuple[str, StreamWrapper]]):
    """Open files: ``path`` becomes ``(path, handle)`` (functional name: ``open_files``).

    A handle opens its file when it is first read. Paths may be local or any URL that fsspec knows (``s3://``,
    ``memory://``, ``https://``); ``.gz``, ``.bz2``, ``.xz`` and ``.zst`` files are decompressed as they are read.

    Args:
        datapipe: the paths, a pipe or any iterable.
        mode: ``r``, ``t``, ``rt`` for text; ``b``, ``rb`` for bytes.
        encoding: of text; Python's default unless given.
        length: what ``len`` should say; unknown if negative.
        compression: ``infer`` goes by the suffix; None leaves the bytes as they are.

    Raises:
        ValueError: another mode, or an encoding for bytes.
        TypeError: (when run) a path that is not a string.

    State: none of its own.

    Example:
        >>> import os, tempfile
        >>> from penstock.pipes import IterableWrapper
        >>> path = os.path.join(tempfile.mkdtemp(), "a.txt")
        >>> with open(path, "w") as file:
        ...     _ = file.write("hello")
        >>> for _, handle in IterableWrapper([path]).open_files():
        ...     with handle:
        ...         print(handle.read())
        hello
    """

    arity = ONE_TO_ONE

    def __init__(
        self,
        datapipe: Iterable[str],
        mode: str = "r",
        encoding: str | None = None,
        length: int = -1,
        *,
        compression: str | None = "infer",
    ) -> None:
        if mode not in ("b", "t", "r", "rb", "rt"):
            raise ValueError(f"Invalid mode {mode}")
        if "b" in mode and encoding is not None:
            raise ValueError("binary mode doesn't take an encoding argument")
        self.datapipe: IterDataPipe[str] = datapipe if isinstance(datapipe, IterDataPipe) else IterableWrapper(datapipe)
        self.mode = mode
        self.encoding = encoding
        self.length = length
        self.compression = compression

    def __len__(self) -> int:
        if self.length < 0:
            raise no_length(self)
        return self.length

    def build(self, ctx: Context, state: State = None) -> Stream[tuple[str, StreamWrapper]]:
        mode, encoding, compression = "rb" if "b" in self.mode else "r", self.encoding, self.compression

        def opened(path: object) -> tuple[str, StreamWrapper]:
            if not isinstance(path, str):
                raise TypeError(f"Expected string type for pathname, but got {type(path)}")
            return path, StreamWrapper(path, mode, encoding, compression)

        return ctx.each(self, self.datapipe, state, opened)
