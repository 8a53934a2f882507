"""Reading tar archives front to back, at the speed of the disk.

`tarfile` makes an object of each header, with all of its fields, and seeks for each member: 18 us a member of 2 kB,
against 3 here, where a member is a name, a size and bytes. What this reader has no mind to understand (sparse files,
pax headers that say how to decode others) it leaves to `tarfile`, from there on.

    header  a block of 512 bytes: name, size, kind, checksum, and for the ustar format a prefix of the name
    data    size bytes, padded to a whole block
    L x     a header whose data is the long name (GNU) or a list of properties (pax) of the member behind it
    zeros   the end
"""

from __future__ import annotations

import io
import os
import posixpath
import warnings
from collections.abc import Iterator
from functools import partial
from typing import IO, Any, Final

from penstock.core.errors import StateError
from penstock.pipes._streams import LARGE_BYTES, LazyFile, MemoryFile, buffered, pass_over
from penstock.pipes.handle import open_binary

__all__ = ["Damaged", "TarReader"]

_BLOCK: Final = 512
_FILES: Final = frozenset(b"0\x007")  # of the kinds that tarfile calls regular; S, sparse, is left to it
_WITHOUT_DATA: Final = frozenset(b"123456")  # links, devices, folders: whatever their header says of a size
_LONG_NAME, _LONG_LINK, _ABOUT_ALL, _SPARSE = b"LKgS"
_ABOUT_ANOTHER: Final = frozenset(b"LKxXgS")
_LEFT_TO_TARFILE: Final = ("GNU.sparse", "hdrcharset")


class Damaged(Exception):
    """The archive is not what it should be."""


class _Left(Exception):
    """A member that `tarfile` should read."""


class TarReader:
    """The regular files in a tar archive.

    Args:
        path: the archive's; members are named below it.
        file: the archive, decompressed. Read from where it stands.
        begin: the byte at which the next header is.
        origin: a path under which the same bytes can be opened again, for large members; None if there is none.
    """

    def __init__(self, path: str, file: IO[bytes], begin: int, origin: str | None) -> None:
        self.at = begin
        self._path = path
        self._file = file
        self._origin = origin
        self._end: int | None = None
        if begin and not pass_over(file, begin):
            raise StateError(f"{path} ends ahead of byte {begin}, its saved place: it is another file")

    def members(self) -> Iterator[tuple[str, Any]]:
        """Yield the members; ``at`` is then the byte at which the next header is."""
        read, folder = self._file.read, os.path.join(self._path, "")
        padding = 0
        seen: list[bytes] = []  # the blocks from ``at`` on, of a member with headers ahead of its own
        name, size = None, None  # what those headers say
        while True:
            block = read(padding + _BLOCK)
            header = block[padding:] if padding else block
            if len(header) < _BLOCK:
                if header or seen or not self.at:
                    raise Damaged("the file is empty" if not self.at and not header else "it ends within a header")
                warnings.warn(f"{self._path}: ends without an end mark, so it may have been cut off", stacklevel=2)
                return
            try:
                wrong = sum((header[:148] + header[156:]).translate(None, b"\0")) + 256 - int(header[148:154], 8)
            except ValueError:
                wrong = -1
            if wrong:
                if not header.strip(b"\0"):
                    return
                _check_sum(header)
            kind = header[156]
            try:
                stored = int(header[124:135], 8)
            except ValueError:
                stored = _number(header[124:136])
            if kind in _ABOUT_ANOTHER:
                try:
                    data = self._extension(header, kind, stored, seen)
                except _Left:
                    yield from self._by_tarfile(buffered(self._file, b"".join(seen)))
                    return
                if kind == _LONG_NAME:
                    name = _text(data)
                elif kind != _LONG_LINK and kind != _ABOUT_ALL:
                    properties = _properties(data)
                    name = properties.get("path", name)
                    size = _decimal(properties["size"]) if "size" in properties else size
                padding = 0
                continue
            length = stored if size is None else size
            begin = self.at + _BLOCK + (sum(map(len, seen)) if seen else 0)
            data_size = 0 if kind in _WITHOUT_DATA else length
            padding = -data_size % _BLOCK
            following = begin + data_size + padding
            name = name or _name(header)
            wanted = kind in _FILES and not (kind == 0 and name.endswith("/"))
            if not wanted:
                if not pass_over(self._file, data_size):
                    raise Damaged(f"it ends within {name!r}")
                self.at = following
            else:
                odd = name[:1] == "." or "/." in name or "//" in name
                inner = posixpath.normpath(name) if odd else name
                full = inner if inner[:1] == "/" else folder + inner
                if length > LARGE_BYTES and self._origin is not None:
                    member: Any = self._lazily(full, self._origin, begin, length)
                else:
                    contents = read(length)
                    if len(contents) < length:
                        raise Damaged(f"it ends within {name!r}")
                    member = MemoryFile(contents, full)
                self.at = following
                yield full, member
            name, size = None, None
            seen.clear()

    def _extension(self, header: bytes, kind: int, size: int, seen: list[bytes]) -> bytes:
        """Return the data of a header that is about another one."""
        seen.append(header)
        if kind == _SPARSE:
            raise _Left
        data = self._file.read(size + -size % _BLOCK)
        seen.append(data)
        if len(data) < size:
            raise Damaged("it ends within a header")
        properties = {} if kind in (_LONG_NAME, _LONG_LINK) else _properties(data[:size])
        renames_all = kind == _ABOUT_ALL and ("path" in properties or "size" in properties)
        if renames_all or any(key.startswith(_LEFT_TO_TARFILE) for key in properties):
            raise _Left
        return data[:size]

    def _lazily(self, name: str, origin: str, begin: int, size: int) -> LazyFile:
        """Return a large member as a part of the archive that is opened when it is read, and pass over it."""
        if self._end is None:
            here = self._file.tell()
            self._end = self._file.seek(0, io.SEEK_END)
            self._file.seek(here)
        if self._end < begin + size:
            raise Damaged(f"it ends within {name!r}")
        self._file.seek(size, io.SEEK_CUR)
        return LazyFile(name, partial(_open_part, origin, begin, size))

    def _by_tarfile(self, file: IO[bytes]) -> Iterator[tuple[str, Any]]:
        import tarfile

        base = self.at
        with tarfile.open(fileobj=file, mode="r|") as tar:
            for info in tar:
                tar.members = []  # type: ignore[attr-defined]  # not in typeshed; it would keep all of them
                contents = tar.extractfile(info) if info.isfile() else None
                if contents is None:
                    self.at = base + tar.offset
                    continue
                full = os.path.join(self._path, posixpath.normpath(info.name))
                member = MemoryFile(contents.read(), full)
                self.at = base + tar.offset
                yield full, member


class _Part(io.RawIOBase):
    """A part of a file."""

    def __init__(self, file: IO[bytes], begin: int, size: int) -> None:
        self._file = file
        self._begin = begin
        self._size = size
        file.seek(begin)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._file.tell() - self._begin

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        offset += {io.SEEK_SET: 0, io.SEEK_CUR: self.tell(), io.SEEK_END: self._size}[whence]
        return self._file.seek(self._begin + max(0, offset)) - self._begin

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(max(0, min(len(buffer), self._size - self.tell())))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def _open_part(path: str, begin: int, size: int) -> IO[bytes]:
    return io.BufferedReader(_Part(open_binary(path, None), begin, size), 1 << 16)


def _check_sum(header: bytes) -> None:
    """Compare a header with its checksum, in all the ways that it may be written."""
    rest = header[:148] + header[156:]
    signed = sum(byte - 256 if byte > 127 else byte for byte in rest)
    if _number(header[148:156]) not in (sum(rest) + 256, signed + 256):
        raise Damaged("a header's checksum is wrong")


def _number(field: bytes) -> int:
    """Return the number in a header's field: octal digits, or binary where the first bit says so."""
    if field[0] & 0x80:
        number = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    else:
        digits = field.partition(b"\0")[0].strip()
        try:
            number = int(digits or b"0", 8)
        except ValueError:
            number = -1
    if not 0 <= number < 1 << 62:
        raise Damaged(f"a header has {field!r} where a number should be")
    return number


def _decimal(digits: str) -> int:
    if not (digits.isdecimal() and len(digits) < 19):
        raise Damaged(f"a pax header has {digits!r} where a number should be")
    return int(digits)


def _name(header: bytes) -> str:
    name = _text(header[:100])
    if header[345] and header[257:263] != b"ustar ":  # GNU's own format has other things in that place
        return f"{_text(header[345:500])}/{name}"
    return name


def _text(field: bytes) -> str:
    end = field.find(b"\0")
    return (field[:end] if end >= 0 else field).decode("utf-8", "surrogateescape")


def _properties(data: bytes) -> dict[str, str]:
    """Return the properties in a pax header: ``length key=value newline``, where length counts all of it."""
    properties = {}
    while data and data[0]:
        digits, _, _ = data.partition(b" ")
        length = int(digits) if digits.isdigit() else 0
        key, found, value = data[len(digits) + 1 : length - 1].partition(b"=")
        if not found or data[length - 1 : length] != b"\n":
            raise Damaged("a pax header cannot be read")
        properties[key.decode("utf-8", "surrogateescape")] = value.decode("utf-8", "surrogateescape")
        data = data[length:]
    return properties
