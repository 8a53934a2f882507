"""ZipArchiveLoader (``load_from_zip``)."""

from __future__ import annotations

import io
import os
import posixpath
import struct
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import IO, TYPE_CHECKING, Any, TypeVar, cast

from penstock.core.context import Context
from penstock.core.errors import DecodeError
from penstock.core.pipe import IterDataPipe, check_source, no_length
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.pipes._lines import is_damage
from penstock.pipes._nested import nested_parts
from penstock.pipes._streams import (
    LARGE_BYTES,
    LazyFile,
    MemoryFile,
    check_place,
    fresh,
    named_stream,
    reopenable,
    seekable,
)
from penstock.pipes.handle import open_binary

if TYPE_CHECKING:
    import zipfile

T = TypeVar("T")


@functional_datapipe("load_from_zip")
class ZipArchiveLoader(IterDataPipe[tuple[str, Any]]):
    """Read zip archives: ``(path, stream)`` becomes one pair for each file inside (functional name: ``load_from_zip``).

    A file is named below its archive: ``archive.zip/member``. Files up to 1 MiB come as streams in memory, larger ones
    as streams that open the archive again when they are read, or in memory as well where that cannot be done. They can
    be read at any time, in any order. A stream that cannot seek (from a network) is first read as a whole.

    Args:
        datapipe: pairs of a path and a binary stream: ``open_files(mode="rb")``.
        length: what ``len`` should say; unknown if negative.

    Raises:
        DecodeError: (when run) names the archive and the member that cannot be read.

    State: how many entries of the archive's list have been passed.

    Example:
        >>> import io, zipfile
        >>> from penstock.pipes import IterableWrapper
        >>> file = io.BytesIO()
        >>> with zipfile.ZipFile(file, "w") as archive:
        ...     archive.writestr("a.txt", "hello")
        >>> for path, stream in IterableWrapper([("b.zip", file)], deepcopy=False).load_from_zip():
        ...     print(path, stream.read())
        b.zip/a.txt b'hello'
    """

    def __init__(self, datapipe: IterDataPipe[tuple[str, Any]], length: int = -1) -> None:
        datapipe = check_source(self, datapipe)
        self.datapipe = datapipe
        self.length = length

    def __len__(self) -> int:
        if self.length < 0:
            raise no_length(self)
        return self.length

    def build(self, ctx: Context, state: State = None) -> Stream[tuple[str, Any]]:
        return nested_parts(self, self.datapipe, _Part, ctx, state)


class _Part:
    """One archive, being read."""

    def __init__(self, item: Any, place: Any) -> None:
        import zipfile

        self._index = place or 0
        opened: Any = None
        if isinstance(item, tuple) and len(item) == 2 and isinstance(item[1], zipfile.ZipFile):  # from ``decompress``
            opened, path = item[1], item[0]
        else:
            path, stream = named_stream(item)
        self.it = self._run(path, opened) if opened is not None else self._opened(path, stream)

    def tell(self) -> int:
        return int(self._index)

    def _opened(self, path: str, stream: Any) -> Iterator[tuple[str, Any]]:
        import zipfile

        file = seekable(fresh(stream))
        try:
            archive = _tried(lambda: zipfile.ZipFile(file), path, "the list of its members")
            with archive:
                yield from self._run(path, archive, reopenable(stream))
        finally:
            file.close()

    def _run(self, path: str, archive: zipfile.ZipFile, origin: str | None = None) -> Iterator[tuple[str, Any]]:
        entries = archive.infolist()
        check_place(path, self._index, len(entries))
        for info in entries[self._index :]:
            self._index += 1
            if info.is_dir():
                continue
            full = os.path.join(path, posixpath.normpath(info.filename))
            if info.file_size > LARGE_BYTES and origin is not None and not info.flag_bits & 1:
                yield full, LazyFile(full, partial(_open_member, origin, info))
                continue
            data = _tried(partial(archive.read, info), path, f"the member {info.filename!r}")
            yield full, MemoryFile(data, full)


def _tried(read: Callable[[], T], path: str, where: str) -> T:
    try:
        return read()
    except Exception as error:
        import zipfile

        if isinstance(error, (zipfile.BadZipFile, ValueError)) or is_damage(error):  # ValueError: a place out of bounds
            message = f"Unable to extract files from corrupted zipfile stream {path} due to: {error}, abort!"
            warnings.warn(message, stacklevel=2)
            raise DecodeError(f"{path}: {where}: {type(error).__name__}: {error}") from error
        error.add_note(f"penstock: {path}: {where} cannot be read")  # encrypted, say, or in a way that Python cannot
        raise


def _open_member(path: str, info: zipfile.ZipInfo) -> IO[bytes]:
    """Open one member without reading the archive's list again, which may be long.

    In the archive, ahead of the member's bytes, stand 30 bytes, its name and its extra field.
    """
    import zipfile

    file = open_binary(path, None)
    try:
        file.seek(info.header_offset)
        start = file.read(30)
        if len(start) < 30 or not start.startswith(b"PK\3\4"):
            raise zipfile.BadZipFile(f"no member begins at byte {info.header_offset}")
        name_size, extra_size = struct.unpack("<26x2H", start)
        file.seek(name_size + extra_size, io.SEEK_CUR)
        return cast(IO[bytes], zipfile.ZipExtFile(file, "r", info, close_fileobj=True))  # it checks the CRC
    except BaseException:
        file.close()
        raise
