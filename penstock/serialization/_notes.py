"""What stands between the streams of a compressed file, and the streams themselves: gzip members and zstd frames.

A *note* says something that readers of gzip and zstd pass over: the extra field in the header of a gzip member with
nothing in it (RFC 1952, 2.3.1.1), or a skippable zstd frame (RFC 8878, 3.1.2).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from penstock.core.errors import DecodeError, MissingExtra

__all__ = ["COMPRESSIONS", "NOTE_HEAD_BYTES", "PACKERS", "Packer", "inflate", "inflater", "note_bytes", "said_by"]

COMPRESSIONS = {"gzip": ".gz", "zstd": ".zst"}  # and what the names of such files end in
NOTE_HEAD_BYTES = 16  # as many bytes of a note tell its size

_GZIP = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff"  # deflated, with an extra field, no time, no system
_NOTHING = b"\x03\0" + bytes(8)  # the rest of a gzip member
_ZSTD = b"\x5e\x2a\x4d\x18"
_MARK = b"PS"
_TRIED_BYTES = 1 << 11  # of a block, to see whether compressing it is worth its time


class Packer(NamedTuple):
    """How a file of one compression is written.

    Attributes:
        note: makes a note of what it says.
        compress: makes the function that compresses, at a level, or at the one that is best for samples.
    """

    note: Callable[[bytes], bytes]
    compress: Callable[[int | None], Callable[[bytes], bytes]]


def note_bytes(head: bytes) -> int | None:
    """Return the size of a note that begins so, None if none does."""
    if len(head) < NOTE_HEAD_BYTES:
        return None
    if head.startswith(_GZIP) and head[12:14] == _MARK:
        return 12 + int.from_bytes(head[10:12], "little") + len(_NOTHING)
    if head.startswith(_ZSTD) and head[8:10] == _MARK:
        return 8 + int.from_bytes(head[4:8], "little")
    return None


def said_by(note: bytes) -> bytes | None:
    """Return what a note says as far as it is there, None if it is none, b"" if it is not whole."""
    size = note_bytes(note)
    if size is None:
        return None
    if len(note) < size:
        return b""
    return note[16 : size - len(_NOTHING)] if note.startswith(_GZIP) else note[10:size]


@cache
def inflater() -> Any:
    """Return the module that gzip is read with: zlib-ng, twice as fast, or zlib, which has the same functions.

    Files are written by zlib, so that they have the same bytes everywhere.
    """
    try:
        from zlib_ng import zlib_ng
    except ImportError:
        return zlib
    return zlib_ng


def inflate(stored: bytes, size: int, at: int) -> bytes:
    """Return what was compressed, once it is certain that it has the size that it should have."""
    try:
        if stored.startswith(b"\x1f\x8b"):
            data: bytes = inflater().decompress(stored, wbits=31, bufsize=size or 1)
        else:
            import zstandard

            if zstandard.frame_content_size(stored) != size:  # ahead of taking as much memory as it says
                raise DecodeError(
                    f"byte {at}: a block says that it is of {size} bytes, and its frame says another size"
                )
            data = zstandard.ZstdDecompressor().decompress(stored)
    except DecodeError:
        raise
    except ImportError as error:
        raise MissingExtra("zstd needs zstandard: pip install 'penstock[zstd]'") from error
    except Exception as error:  # zlib's or zstandard's
        raise DecodeError(f"byte {at}: a block that cannot be decompressed: {error}") from error
    if len(data) != size:
        raise DecodeError(f"byte {at}: a block of {size} bytes has {len(data)}")
    return data


def _gzip_note(payload: bytes) -> bytes:
    return _GZIP + struct.pack("<H2sH", len(payload) + 4, _MARK, len(payload)) + payload + _NOTHING


def _zstd_note(payload: bytes) -> bytes:
    return _ZSTD + struct.pack("<I2s", len(payload) + 2, _MARK) + payload


def _gzip(level: int | None) -> Callable[[bytes], bytes]:
    """Return the function that makes a gzip member.

    Unless a level is asked for, what has little to gain is stored as it is: on floats and images level 1 takes 20 ms
    per megabyte to save a twentieth or nothing, and reading takes ten times as long. On text, level 6 saves another
    tenth, and takes four to ten times as long as level 1.
    """
    return _gained if level is None else lambda data: zlib.compress(data, level, 31)


def _gained(data: bytes) -> bytes:
    head = data[:_TRIED_BYTES]
    gains = len(zlib.compress(head, 1)) < 0.9 * len(head)
    return zlib.compress(data, 1 if gains else 0, 31)


def _zstd(level: int | None) -> Callable[[bytes], bytes]:
    try:
        import zstandard
    except ImportError:
        raise MissingExtra("zstd needs zstandard: pip install 'penstock[zstd]'") from None
    made: Any = zstandard.ZstdCompressor(3 if level is None else level, write_checksum=True)
    return made.compress  # type: ignore[no-any-return]


PACKERS = {"gzip": Packer(_gzip_note, _gzip), "zstd": Packer(_zstd_note, _zstd)}
