"""The streams that archive loaders and decoders read from and give out."""

from __future__ import annotations

import copy
import io
import sys
from collections.abc import Callable
from typing import Any

from penstock.core.errors import StateError
from penstock.pipes._lines import is_damage, unreadable
from penstock.pipes.handle import StreamWrapper, open_binary

__all__ = [
    "LARGE_BYTES",
    "LazyFile",
    "MemoryFile",
    "buffered",
    "check_place",
    "compression_of",
    "fresh",
    "named_stream",
    "pass_over",
    "reopenable",
    "seekable",
]

# Members of an archive up to this size are given out in memory: to open the archive anew for each of them costs more
# than to copy them, and an open file each.
LARGE_BYTES = 1 << 20
_BUFFER_BYTES = 1 << 18
_SEEK_FROM_BYTES = 1 << 16
_MAGIC = {b"\x1f\x8b\x08": "gzip", b"BZh": "bz2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


def named_stream(item: Any) -> tuple[str, Any]:
    """Return the path and the stream of an item. TypeError if it is anything else, saying what came."""
    if not isinstance(item, tuple):
        raise TypeError(f"a pair of a path and a binary stream is expected, but got {type(item).__name__}")
    if len(item) != 2:
        raise TypeError(f"a pair of a path and a binary stream is expected, but got a tuple of {len(item)}")
    path, stream = item
    if not isinstance(path, str):
        raise TypeError(f"the first of a pair should be a path, of type str, but got {type(path).__name__}")
    if not hasattr(stream, "read"):
        raise TypeError(f"{path}: the second of a pair should be a stream with `read`, but got {type(stream).__name__}")
    return path, stream


def fresh(stream: Any, *, binary: bool = True) -> Any:
    """Return what to read a stream's bytes from.

    A handle that has not been opened stays so: it can then be read by others too, and by the next run.
    """
    if isinstance(stream, StreamWrapper):
        if not stream.opened:
            return open_binary(stream.name, stream.compression) if binary else copy.copy(stream)
        stream = stream.file_obj
    if binary and isinstance(stream, io.TextIOBase):
        raise TypeError(
            f"{getattr(stream, 'name', stream)!r} was opened as text, where bytes are needed: use mode 'rb'"
        )
    return stream


def reopenable(stream: Any) -> str | None:
    """Return the path under which a stream's own bytes can be opened again at any place, None if they cannot."""
    if isinstance(stream, StreamWrapper) and not stream.opened and stream.compression is None:
        return stream.name
    return None


def seekable(file: Any) -> Any:
    """Return a file that can seek: the file itself, or else all that is in it."""
    if hasattr(file, "seekable") and file.seekable():
        return file
    try:
        return io.BytesIO(file.read())
    finally:
        file.close()


def pass_over(file: Any, size: int, *, seek: bool = True) -> bool:
    """Go on by ``size`` bytes, by seeking where the file can. Return whether it has so many."""
    if seek and size > _SEEK_FROM_BYTES and hasattr(file, "seekable") and file.seekable():
        file.seek(size - 1, io.SEEK_CUR)
        size = 1
    while size:
        passed = len(file.read(min(size, _SEEK_FROM_BYTES)))
        if not passed:
            return False
        size -= passed
    return True


def check_place(path: str, place: int, size: int) -> None:
    """Raise StateError if a file has fewer parts than had been read when the state was saved."""
    if place > size:
        raise StateError(f"{path} has {size} entries, and its saved place is behind {place}: it is another file")


def buffered(stream: Any, head: bytes = b"") -> io.BufferedReader:
    """Return a reader over anything with ``read``, with ``head`` put back in front. Closing it closes the stream."""
    return io.BufferedReader(_Raw(stream, head), _BUFFER_BYTES)


def compression_of(file: io.BufferedReader) -> str | None:
    """Return the compression that a file's first bytes tell, None for none."""
    head = file.peek(6)
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)


class _Raw(io.RawIOBase):
    def __init__(self, stream: Any, head: bytes) -> None:
        self._stream = stream
        self._head = head
        self._into: Callable[[Any], int] | None = getattr(stream, "readinto", None)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        seekable = getattr(self._stream, "seekable", None)
        return not self._head and seekable is not None and bool(seekable())

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._stream.seek(offset, whence))

    def tell(self) -> int:
        return int(self._stream.tell())

    def readinto(self, buffer: Any) -> int:
        if self._into is not None and not self._head:
            return self._into(buffer)
        if self._head:
            data, self._head = self._head[: len(buffer)], self._head[len(buffer) :]
        else:
            data = self._stream.read(len(buffer))
            if isinstance(data, str):
                raise TypeError("a stream of text was given where bytes are needed")
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed and hasattr(self._stream, "close"):
            self._stream.close()
        super().close()


class MemoryFile(io.BytesIO):
    """A small file, in memory."""

    def __init__(self, data: bytes = b"", name: str = "") -> None:
        super().__init__(data)
        self.name = name

    def __repr__(self) -> str:
        return f"MemoryFile<{self.name}>"


class LazyFile(io.RawIOBase):
    """A file that a function opens when it is first read; bytes in it that are damaged are a DecodeError that names it.

    Waiting in a buffer, or on its way to another process, it holds no descriptor.

    Args:
        name: what errors call it.
        opener: opens it, and can be pickled wherever the stream should be.
    """

    def __init__(self, name: str, opener: Callable[[], Any]) -> None:
        self.name = name
        self._opener = opener
        self._file: Any = None

    @property
    def file_obj(self) -> Any:
        if self.closed:
            raise ValueError("I/O operation on closed file")
        if self._file is None:
            self._file = self._opener()
        return self._file

    def _call(self, method: str, *arguments: Any) -> Any:
        try:
            return getattr(self.file_obj, method)(*arguments)
        except Exception as error:
            if is_damage(error) or _is_bad_zip(error):
                raise unreadable(self.name, "the file cannot be read", error) from error
            raise

    def read(self, size: int | None = -1) -> Any:
        return self._call("read", -1 if size is None else size)

    def read1(self, size: int = -1) -> Any:
        return self._call("read1" if hasattr(self.file_obj, "read1") else "read", size)

    def readinto(self, buffer: Any) -> Any:
        return self._call("readinto", buffer)

    def readall(self) -> Any:
        return self._call("read")

    def readline(self, size: int | None = -1) -> Any:
        return self._call("readline", -1 if size is None else size)

    def readlines(self, hint: int | None = -1) -> Any:
        return self._call("readlines", -1 if hint is None else hint)

    def __next__(self) -> Any:
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def seek(self, offset: int, whence: int = 0) -> Any:
        return self._call("seek", offset, whence)

    def tell(self) -> Any:
        return self._call("tell")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._call("seekable"))

    def close(self) -> None:
        if self._file is not None and not self.closed:
            self._file.close()
        super().close()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name, self._opener)

    def __repr__(self) -> str:
        return f"{type(self).__name__}<{self.name}>"


def _is_bad_zip(error: Exception) -> bool:
    loaded: Any = sys.modules
    return "zipfile" in loaded and isinstance(error, loaded["zipfile"].BadZipFile)
