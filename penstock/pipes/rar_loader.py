"""RarArchiveLoader (``load_from_rar``)."""

from __future__ import annotations

import os
import posixpath
import warnings
from collections.abc import Iterator
from typing import Any

from penstock.core.context import Context
from penstock.core.errors import DecodeError, MissingExtra
from penstock.core.pipe import IterDataPipe, check_source, no_length
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.pipes._nested import nested_parts
from penstock.pipes._streams import MemoryFile, check_place, fresh, named_stream, seekable


@functional_datapipe("load_from_rar")
class RarArchiveLoader(IterDataPipe[tuple[str, Any]]):
    """Read rar archives: ``(path, stream)`` becomes one pair for each file inside (functional name: ``load_from_rar``).

    A file is named below its archive: ``archive.rar/member``. It comes as a stream in memory, to be read at any time.
    Reading needs rarfile (``pip install 'penstock[rar]'``), and for members that are compressed also one of the
    programs that it calls: ``unrar``, ``unar``, ``7z`` or ``bsdtar``.

    Args:
        datapipe: pairs of a path and a binary stream: ``open_files(mode="rb")``.
        length: what ``len`` should say; unknown if negative.

    Raises:
        MissingExtra: (when run) rarfile or the program is not installed.
        DecodeError: (when run) names the archive and the member that cannot be read.

    State: how many entries of the archive's list have been passed.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> archives = IterableWrapper(["a.rar"]).open_files("rb").load_from_rar(length=3)
        >>> len(archives)
        3
    """

    def __init__(self, datapipe: IterDataPipe[tuple[str, Any]], *, length: int = -1) -> None:
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
        self._index = place or 0
        path, stream = named_stream(item)
        self.it = self._run(path, stream)

    def tell(self) -> int:
        return int(self._index)

    def _run(self, path: str, stream: Any) -> Iterator[tuple[str, Any]]:
        try:
            import rarfile
        except ImportError:
            raise MissingExtra("reading .rar files needs rarfile: pip install 'penstock[rar]'") from None
        file = seekable(fresh(stream))
        where = "the list of its members"
        try:
            with rarfile.RarFile(file) as archive:
                entries = archive.infolist()
                check_place(path, self._index, len(entries))
                for info in entries[self._index :]:
                    where = f"the member {info.filename!r}"
                    data = None if info.is_dir() else archive.read(info)
                    self._index += 1
                    if data is not None:
                        full = os.path.join(path, posixpath.normpath(info.filename))
                        yield full, MemoryFile(data, full)
        except rarfile.RarCannotExec as error:
            raise MissingExtra(
                f"{path}: {where} is compressed, and rarfile finds no program to read it: {error}"
            ) from None
        except rarfile.Error as error:
            warnings.warn(
                f"Unable to extract files from corrupted rarfile stream {path} due to: {error}, abort!", stacklevel=2
            )
            raise DecodeError(f"{path}: {where}: {type(error).__name__}: {error}") from error
        finally:
            file.close()
