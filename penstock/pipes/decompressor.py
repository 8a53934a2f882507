"""Decompressed files: ``decompress`` (once ``extract``), ``load_from_bz2``, ``load_from_xz``."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from typing import IO, TYPE_CHECKING, Any

from penstock.core.context import Context
from penstock.core.errors import DecodeError
from penstock.core.pipe import ONE_TO_ONE, IterDataPipe, check_source, no_length
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.pipes._streams import LazyFile, buffered, compression_of, fresh, named_stream
from penstock.pipes.handle import StreamWrapper, decompressed, open_binary

if TYPE_CHECKING:
    import tarfile
    import zipfile

# torchdata's names, and what the names of files end in.
_TYPES = {"tar": "tar", "gzip": "gzip", "lzma": "xz", "bz2": "bz2", "zip": "zip", "zstd": "zstd"}
_SUFFIXES = {
    (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst"): "tar",
    (".gz",): "gzip",
    (".bz2",): "bz2",
    (".xz",): "xz",
    (".zst",): "zstd",
    (".zip",): "zip",
}


@functional_datapipe("decompress")
class Decompressor(IterDataPipe[tuple[str, Any]]):
    """Decompress files: ``(path, stream)`` becomes ``(path, decompressed stream)`` (functional name: ``decompress``).

    A tar archive becomes an open `tarfile.TarFile`, a zip archive a `zipfile.ZipFile`; ``load_from_tar`` and
    ``load_from_zip`` yield their members. A handle that ``open_files`` already decompresses stays as it is.

    Args:
        source_datapipe: pairs of a path and a binary stream: ``open_files(mode="rb")``.
        file_type: ``tar``, ``gzip``, ``lzma``, ``bz2``, ``zip`` or ``zstd``, in any case; by each path's suffix unless
            given.

    Raises:
        ValueError: another type.
        RuntimeError: (when run) a suffix that says nothing.
        DecodeError: (when run, or when a stream is read) names a file whose bytes are not what they should be.

    State: none of its own.

    Example:
        >>> import gzip, io
        >>> from penstock.pipes import IterableWrapper
        >>> files = [("a.gz", io.BytesIO(gzip.compress(b"hello")))]
        >>> for path, stream in IterableWrapper(files, deepcopy=False).decompress():
        ...     print(path, stream.read())
        a.gz b'hello'
    """

    arity = ONE_TO_ONE

    def __init__(self, source_datapipe: IterDataPipe[tuple[str, Any]], file_type: str | None = None) -> None:
        source_datapipe = check_source(self, source_datapipe)
        if file_type is not None and str(file_type).lower() not in _TYPES:
            raise ValueError(f"{file_type!r} is not a valid CompressionType: one of {', '.join(_TYPES)}")
        self.source_datapipe = source_datapipe
        self.file_type = file_type

    def __len__(self) -> int:
        return len(self.source_datapipe)

    def build(self, ctx: Context, state: State = None) -> Stream[tuple[str, Any]]:
        given = None if self.file_type is None else _TYPES[self.file_type.lower()]

        def opened(item: Any) -> tuple[str, Any]:
            path, stream = named_stream(item)
            kind = given or _by_suffix(path)
            if kind == "tar":
                return path, _tar(path, stream)
            if kind == "zip":
                return path, _zip(path, stream)
            return path, _lazily(path, stream, kind)

        return ctx.each(self, self.source_datapipe, state, opened)


@functional_datapipe("extract")
class Extractor(Decompressor):
    """The old name of `Decompressor` (functional name: ``extract``).

    Example:
        >>> import bz2, io
        >>> from penstock.pipes import IterableWrapper
        >>> files = [("a.bz2", io.BytesIO(bz2.compress(b"hello")))]
        >>> for path, stream in IterableWrapper(files, deepcopy=False).extract():
        ...     print(path, stream.read())
        a.bz2 b'hello'
    """

    def __init__(self, source_datapipe: IterDataPipe[tuple[str, Any]], file_type: str | None = None) -> None:
        super().__init__(source_datapipe, file_type)


class _FileLoader(IterDataPipe[tuple[str, Any]]):
    arity = ONE_TO_ONE
    _suffix: str
    _compression: str

    def __init__(self, datapipe: IterDataPipe[tuple[str, Any]], length: int) -> None:
        datapipe = check_source(self, datapipe)
        self.datapipe = datapipe
        self.length = length

    def __len__(self) -> int:
        if self.length < 0:
            raise no_length(self)
        return self.length

    def build(self, ctx: Context, state: State = None) -> Stream[tuple[str, Any]]:
        def opened(item: Any) -> tuple[str, Any]:
            path, stream = named_stream(item)
            return path.removesuffix(self._suffix), _lazily(path, stream, self._compression)

        return ctx.each(self, self.datapipe, state, opened)


@functional_datapipe("load_from_bz2")
class Bz2FileLoader(_FileLoader):
    """Decompress bz2 files: ``("a.bz2", stream)`` becomes ``("a", stream)`` (functional name: ``load_from_bz2``).

    A handle that ``open_files`` already decompresses stays as it is.

    Args:
        datapipe: pairs of a path and a binary stream: ``open_files(mode="rb")``.
        length: what ``len`` should say; unknown if negative.

    Raises:
        DecodeError: (when a stream is read) names a file whose bytes are not what they should be.

    State: none of its own.

    Example:
        >>> import bz2, io
        >>> from penstock.pipes import IterableWrapper
        >>> files = [("a.txt.bz2", io.BytesIO(bz2.compress(b"hello")))]
        >>> for path, stream in IterableWrapper(files, deepcopy=False).load_from_bz2():
        ...     print(path, stream.read())
        a.txt b'hello'
    """

    _suffix, _compression = ".bz2", "bz2"

    def __init__(self, datapipe: IterDataPipe[tuple[str, Any]], length: int = -1) -> None:
        super().__init__(datapipe, length)


@functional_datapipe("load_from_xz")
class XzFileLoader(_FileLoader):
    """Decompress xz files: ``("a.xz", stream)`` becomes ``("a", stream)`` (functional name: ``load_from_xz``).

    A handle that ``open_files`` already decompresses stays as it is.

    Args:
        datapipe: pairs of a path and a binary stream: ``open_files(mode="rb")``.
        length: what ``len`` should say; unknown if negative.

    Raises:
        DecodeError: (when a stream is read) names a file whose bytes are not what they should be.

    State: none of its own.

    Example:
        >>> import io, lzma
        >>> from penstock.pipes import IterableWrapper
        >>> files = [("a.txt.xz", io.BytesIO(lzma.compress(b"hello")))]
        >>> for path, stream in IterableWrapper(files, deepcopy=False).load_from_xz():
        ...     print(path, stream.read())
        a.txt b'hello'
    """

    _suffix, _compression = ".xz", "xz"

    def __init__(self, datapipe: IterDataPipe[tuple[str, Any]], length: int = -1) -> None:
        super().__init__(datapipe, length)


def _by_suffix(path: str) -> str:
    lower = path.lower()
    for suffixes, kind in _SUFFIXES.items():
        if lower.endswith(suffixes):
            return kind
    raise RuntimeError(f"{path}: its suffix tells no compression that decompress knows; give file_type")


def _lazily(path: str, stream: Any, compression: str) -> Any:
    """Return a stream that decompresses when it is read, or the stream itself where it already does."""
    if isinstance(stream, StreamWrapper):
        if stream.compression == compression:
            return stream
        if not stream.opened:
            return LazyFile(path, partial(_reopened, stream.name, stream.compression, compression))
    return LazyFile(path, partial(_wrapped, stream, compression))


def _reopened(path: str, outer: str | None, inner: str) -> IO[bytes]:
    file: IO[bytes] = _closing_on_error(open_binary(path, outer), lambda raw: decompressed(raw, inner))
    return file


def _wrapped(stream: Any, compression: str) -> IO[bytes]:
    return decompressed(fresh(stream), compression)


def _tar(path: str, stream: Any) -> tarfile.TarFile:
    """Open an archive, decompressed by us: tarfile does not know all of the compressions, on all Pythons."""
    import tarfile

    file = buffered(fresh(stream))

    def open_tar(raw: io.BufferedReader) -> tarfile.TarFile:
        compression = compression_of(raw)
        plain: Any = raw if compression is None else decompressed(raw, compression)
        try:
            return tarfile.open(fileobj=plain, mode="r:" if plain.seekable() else "r|")
        except tarfile.TarError as error:
            raise DecodeError(f"{path}: {type(error).__name__}: {error}") from error

    archive: tarfile.TarFile = _closing_on_error(file, open_tar)
    return archive


def _zip(path: str, stream: Any) -> zipfile.ZipFile:
    import zipfile

    def open_zip(file: Any) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(file if file.seekable() else io.BytesIO(file.read()))
        except zipfile.BadZipFile as error:
            raise DecodeError(f"{path}: {type(error).__name__}: {error}") from error

    archive: zipfile.ZipFile = _closing_on_error(buffered(fresh(stream)), open_zip)
    return archive


def _closing_on_error(file: Any, make: Callable[[Any], Any]) -> Any:
    try:
        return make(file)
    except BaseException:
        file.close()
        raise
