"""TarArchiveLoader (``load_from_tar``)."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from typing import IO, Any

from penstock.core.context import Context
from penstock.core.errors import DecodeError
from penstock.core.pipe import IterDataPipe, check_source, no_length
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.pipes._lines import is_damage
from penstock.pipes._nested import nested_parts
from penstock.pipes._streams import buffered, compression_of, fresh, named_stream, reopenable
from penstock.pipes._tar import Damaged, TarReader
from penstock.pipes.handle import decompressed

_MODE = re.compile(r"r(?:[:|](\*|gz|bz2|xz|zst)?)?")
_BY_SUFFIX = {"gz": "gzip", "bz2": "bz2", "xz": "xz", "zst": "zstd"}


@functional_datapipe("load_from_tar")
class TarArchiveLoader(IterDataPipe[tuple[str, Any]]):
    """Read tar archives: ``(path, stream)`` becomes one pair for each file inside (functional name: ``load_from_tar``).

    A file is named below its archive: ``archive.tar/member``. Folders, links and devices are passed over. Files up to
    1 MiB come as streams in memory, larger ones as streams that open the archive again when they are read, or in memory
    as well where that cannot be done (it is compressed, or came over a network). They can be read at any time, in any
    order.

    Args:
        datapipe: pairs of a path and a binary stream: ``open_files(mode="rb")``.
        mode: ``r:*`` looks for compression in the first bytes; ``r:gz``, ``r:bz2``, ``r:xz``, ``r:zst`` name it,
            ``r:`` says that there is none. ``|`` in place of ``:`` means the same here.
        length: what ``len`` should say; unknown if negative.

    Raises:
        ValueError: another mode.
        DecodeError: (when run) names the archive and the byte at which the bad member begins; also for an archive that
            ends within a member.

    State: the byte at which the next header begins. Restoring seeks there; in a compressed archive, or in a stream that
    cannot seek, it reads up to there.

    Example:
        >>> import io, tarfile
        >>> from penstock.pipes import IterableWrapper
        >>> file = io.BytesIO()
        >>> with tarfile.open(fileobj=file, mode="w") as archive:
        ...     info = tarfile.TarInfo("a.txt")
        ...     info.size = 5
        ...     archive.addfile(info, io.BytesIO(b"hello"))
        >>> _ = file.seek(0)
        >>> for path, stream in IterableWrapper([("b.tar", file)], deepcopy=False).load_from_tar():
        ...     print(path, stream.read())
        b.tar/a.txt b'hello'
    """

    def __init__(self, datapipe: IterDataPipe[tuple[str, Any]], mode: str = "r:*", length: int = -1) -> None:
        datapipe = check_source(self, datapipe)
        if not _MODE.fullmatch(mode):
            raise ValueError(f"mode must be 'r:*', 'r:', 'r:gz', 'r:bz2', 'r:xz' or 'r:zst', got {mode!r}")
        self.datapipe = datapipe
        self.mode = mode
        self.length = length

    def __len__(self) -> int:
        if self.length < 0:
            raise no_length(self)
        return self.length

    def build(self, ctx: Context, state: State = None) -> Stream[tuple[str, Any]]:
        return nested_parts(self, self.datapipe, lambda item, place: _Part(self.mode, item, place), ctx, state)


class _Part:
    """One archive, being read."""

    def __init__(self, mode: str, item: Any, place: Any) -> None:
        import tarfile

        if isinstance(item, tuple) and len(item) == 2 and isinstance(item[1], tarfile.TarFile):  # from ``decompress``
            item[1].fileobj.seek(0)
            item = (item[0], item[1].fileobj)
        path, stream = named_stream(item)
        self._at: Callable[[], int] = lambda: place or 0
        self.it = self._run(path, stream, mode, place or 0)

    def tell(self) -> int:
        return self._at()

    def _run(self, path: str, stream: Any, mode: str, begin: int) -> Iterator[tuple[str, Any]]:
        import tarfile

        file: Any = None
        reader: TarReader | None = None
        try:
            file, plain = _opened(stream, mode)
            reader = TarReader(path, file, begin, reopenable(stream) if plain else None)
            self._at = lambda: reader.at
            yield from reader.members()
        except Exception as error:
            if isinstance(error, (Damaged, tarfile.TarError)) or is_damage(error):
                warnings.warn(
                    f"Unable to extract files from corrupted tarfile stream {path} due to: {error}, abort!",
                    stacklevel=2,
                )
                raise DecodeError(f"{path}: the member at byte {self.tell()}: {error}") from error
            raise
        finally:
            if file is not None:
                file.close()


def _opened(stream: Any, mode: str) -> tuple[IO[bytes], bool]:
    """Return the archive's bytes, decompressed, and whether they are those of the file itself."""
    file = buffered(fresh(stream))
    try:
        named = mode[2:]
        compression = compression_of(file) if named == "*" or mode == "r" else _BY_SUFFIX.get(named)
        return (file, True) if compression is None else (decompressed(file, compression), False)
    except BaseException:
        file.close()
        raise
