"""The handles that ``open_files`` yields: files that open when they are read."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import IO, Any

from penstock.core.errors import MissingExtra

__all__ = ["StreamWrapper", "decompressed", "open_binary"]

# Archives keep their suffix: what is inside is for load_from_tar and its like to open.
_ARCHIVES = (".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst")
_COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd"}


class StreamWrapper:
    """A file that is named now and opened when it is first read.

    Waiting in a shuffle window, or on its way to another process, a handle holds no descriptor. ``file_obj`` is the
    opened file, for methods that are not here.
    """

    def __init__(
        self, path: str, mode: str = "r", encoding: str | None = None, compression: str | None = "infer"
    ) -> None:
        self.name = path
        self.mode = mode
        self.encoding = encoding
        self.compression = inferred(path) if compression == "infer" else compression
        self._file: IO[Any] | None = None

    @property
    def opened(self) -> bool:
        """Whether the file has been opened through this handle."""
        return self._file is not None

    @property
    def file_obj(self) -> IO[Any]:
        if self._file is None:
            binary = open_binary(self.name, self.compression)
            self._file = binary if "b" in self.mode else io.TextIOWrapper(binary, encoding=self.encoding)
        return self._file

    def read(self, size: int = -1) -> Any:
        return self.file_obj.read(size)

    def readline(self, size: int = -1) -> Any:
        return self.file_obj.readline(size)

    def readlines(self, hint: int = -1) -> list[Any]:
        return self.file_obj.readlines(hint)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file_obj.seek(offset, whence)

    def tell(self) -> int:
        return self.file_obj.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self.file_obj.seekable()

    @property
    def closed(self) -> bool:
        return self._file is not None and self._file.closed

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.file_obj)

    def __next__(self) -> Any:
        return next(self.file_obj)

    def __enter__(self) -> StreamWrapper:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return StreamWrapper, (self.name, self.mode, self.encoding, self.compression)

    def __repr__(self) -> str:
        return f"StreamWrapper<{self.name}>"


def inferred(path: str) -> str | None:
    """Return the compression that a name's suffix tells, None for none."""
    lower = path.lower()
    if lower.endswith(_ARCHIVES):
        return None
    return next((name for suffix, name in _COMPRESSIONS.items() if lower.endswith(suffix)), None)


def open_binary(path: str, compression: str | None) -> IO[bytes]:
    """Open a local path or any fsspec URL for reading, decompressed."""
    raw: Any
    if "://" in path or "::" in path:
        import fsspec

        raw = fsspec.open(path, "rb").open()
    else:
        raw = open(path, "rb")  # noqa: SIM115  # the caller closes it
    if compression is None:
        plain: IO[bytes] = raw
        return plain
    try:
        return decompressed(raw, compression)
    except BaseException:
        raw.close()
        raise


def decompressed(raw: Any, compression: str) -> IO[bytes]:
    """Return a reader of what is compressed in ``raw``; closing it closes both."""
    opened: Any
    if compression == "gzip":
        import gzip

        opened = gzip.GzipFile(fileobj=raw, mode="rb")
    elif compression == "bz2":
        import bz2

        opened = bz2.BZ2File(raw)
    elif compression == "xz":
        import lzma

        opened = lzma.LZMAFile(raw)  # noqa: SIM115  # `_Owning` closes it
    elif compression == "zstd":
        try:
            import zstandard
        except ImportError:
            raise MissingExtra("reading .zst files needs zstandard: pip install 'penstock[zstd]'") from None
        opened = _ZstdReader(raw, zstandard.ZstdDecompressor().decompressobj)
    else:
        raise ValueError(
            f"compression must be one of {sorted(_COMPRESSIONS.values())}, 'infer' or None: {compression!r}"
        )
    return _Owning(opened, raw)


class _ZstdReader(io.RawIOBase):
    """Reads all the frames of a file.

    The package's own reader ends in silence at a frame's end, and in a torn frame.
    """

    def __init__(self, raw: Any, new: Callable[[], Any]) -> None:
        self._raw = raw
        self._new = new
        self._rewind()

    def _rewind(self) -> None:
        self._frame = self._new()
        self._fresh = True  # nothing of the frame has been read
        self._rest = b""  # compressed, to be read
        self._ready = memoryview(b"")
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._raw.seekable())

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        target = offset + (self._at if whence == 1 else 0)
        if whence == 2:
            while self.read(1 << 16):
                pass
            target += self._at
        if target < self._at:
            self._raw.seek(0)
            self._rewind()
        while self._at < target and self.read(min(target - self._at, 1 << 16)):
            pass
        return self._at

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            data = self._rest or self._raw.read(1 << 16)
            if not data:
                if self._fresh:
                    return 0
                raise EOFError("Compressed file ended before the end-of-stream marker was reached")
            self._ready, self._rest, self._fresh = memoryview(self._frame.decompress(data)), b"", False
            if self._frame.eof:
                self._rest, self._frame, self._fresh = self._frame.unused_data, self._new(), True
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        self._at += size
        return size


class _Owning(io.BufferedReader):
    """A decompressing reader that closes the compressed file too; the standard library's leave it open."""

    def __init__(self, opened: Any, raw: Any) -> None:
        super().__init__(opened, 1 << 16)
        self._compressed = raw

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._compressed.close()
