"""The bytes of a file of text, decompressed as its name says, read from a place on."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

from penstock.files.remote import connected, ranged
from penstock.pipes.handle import decompressed, inferred

__all__ = ["TextBytes"]

_Read = Callable[[int, int], bytes]
_RAW_BYTES = 1 << 20  # of what is compressed, read at once


class TextBytes:
    """Reads pieces of a file, each beginning within the one before it or at its end, as a rule.

    What of a piece has been read already is kept: it takes no second request, and a stream that is decompressed need
    not go back.

    Args:
        url: a path or URL; its name says how it is compressed.
        options: of the connection.
        patient: wraps what reads bytes, for trying again.

    Attributes:
        size: in bytes, where it is known ahead; None for what is compressed.
    """

    def __init__(self, url: str, options: Mapping[str, Any], patient: Callable[[_Read], _Read]) -> None:
        fs, path = connected(url, options)
        size = fs.size(path)
        compression = inferred(url)
        self._kept: tuple[int, bytes] = (0, b"")
        self._file: Any = None
        self.size: int | None = None
        if compression is None and size is not None:
            self.size = size
            self._fetch: _Read = patient(ranged(fs, path))
            return
        if size is None:
            raw: Any = fs.open(path, "rb")
        else:
            raw = io.BufferedReader(_Ranges(patient(ranged(fs, path)), size), _RAW_BYTES)
        self._file = raw if compression is None else decompressed(raw, compression)
        self._fetch = self._from_stream

    def read(self, at: int, size: int) -> bytes:
        """Return the bytes from a place on, fewer than ``size`` at the end of the file."""
        start, kept = self._kept
        have = kept[at - start : at - start + size] if start <= at <= start + len(kept) else b""
        if len(have) < size:
            have += self._fetch(at + len(have), at + size)
        self._kept = (at, have)
        return have

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _from_stream(self, start: int, stop: int) -> bytes:
        if self._file.tell() != start:
            self._file.seek(start)
        found: bytes = self._file.read(stop - start) if self._file.tell() == start else b""
        return found


class _Ranges(io.RawIOBase):
    """The bytes of a file from its start to its end, one request for each piece."""

    def __init__(self, read: _Read, size: int) -> None:
        self._read = read
        self._size = size
        self._at = 0

    def readinto(self, buffer: Any) -> int:
        data = self._read(self._at, min(self._at + len(buffer), self._size)) if self._at < self._size else b""
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True
