"""Arrays in ``.npy`` files and in the members of ``.npz`` files, by rows.

An array lies in a file behind a head, so rows are read with one request each time, and of a local file by a memory map
where any row may be asked for. A member that is compressed has no places within it: it is decompressed whole, and kept
as long as its table is the one that is being read. So is an array in Fortran order that is not local, of which the rows
lie in as many places as they have values.
"""

from __future__ import annotations

import ast
import os
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from penstock.core.errors import DecodeError
from penstock.files.ranged_file import RangedFile
from penstock.files.remote import connected, ranged
from penstock.pipes._lines import unreadable

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Keep", "NpyArray", "Whole", "array_of", "is_npz", "members_of"]

Keep: TypeAlias = Callable[[str, Callable[[], "np.ndarray[Any, Any]"]], "np.ndarray[Any, Any]"]

_MAGIC: Final = b"\x93NUMPY"
_HEAD_BYTES: Final = 1 << 12  # of which most heads are
_LOCAL_HEAD_BYTES: Final = 30  # of a zip's member, ahead of its name
_ENCRYPTED: Final = 1
_SLACK_BYTES: Final = 1 << 16  # a member's own head may be longer than what the directory has of it


class Whole:
    """The arrays of one table that had to be read whole: of the table that is being read."""

    def __init__(self) -> None:
        self._table: Any = None
        self._arrays: dict[str, np.ndarray[Any, Any]] = {}

    def get(self, table: Any, where: str, read: Callable[[], np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
        """Return an array of a table, which takes the place of the last table."""
        if table != self._table:
            self._table, self._arrays = table, {}
        arrays = self._arrays
        if where not in arrays:
            arrays[where] = read()
        return arrays[where]


@dataclass(frozen=True)
class NpyArray:
    """An array in a file.

    Attributes:
        where: what it is called in messages.
        dtype, shape: the array's.
        fortran: whether its first axis is the one that changes fastest.
        offset: where its values begin, in what ``read`` reads.
        read: returns bytes, from and up to a place.
        path: the local file, in which it can be mapped; None where it cannot.
        whole: returns all of it; None where rows can be read by themselves.
    """

    where: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool
    offset: int
    read: Callable[[int, int], bytes]
    path: str | None
    whole: Callable[[], np.ndarray[Any, Any]] | None

    @property
    def row_bytes(self) -> int:
        """The size of a row, of which an array without an axis is one."""
        return prod(self.shape[1:]) * self.dtype.itemsize

    def rows(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        """Return some rows, in memory that nobody else has. An array without an axis stands in every row."""
        import numpy as np

        if not self.shape:
            return np.full(stop - start, self._values(0, 1, ())[0], self.dtype)
        if self.whole is not None:
            return np.array(self.whole()[start:stop], order="C")
        if self.fortran:
            return np.array(self.mapped()[start:stop], order="C")
        return self._values(start, stop, self.shape[1:])

    def mapped(self) -> np.ndarray[Any, Any]:
        """Return all of it as a view of the file, which must not be written into."""
        import numpy as np

        order: Any = "F" if self.fortran else "C"
        if self.path is None:
            raise AssertionError("only a local file can be mapped")
        if not prod(self.shape) * self.dtype.itemsize:
            return np.empty(self.shape, self.dtype)
        return np.asarray(np.memmap(self.path, self.dtype, "r", self.offset, self.shape, order))

    def _values(self, start: int, stop: int, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        import numpy as np

        count = (stop - start) * prod(shape)
        first = self.offset + start * self.row_bytes
        if self.path is not None:
            found = np.fromfile(self.path, self.dtype, count, offset=first)
        else:
            size = count * self.dtype.itemsize
            data = bytearray(self.read(first, first + size)) if size else bytearray()
            found = np.frombuffer(data, self.dtype, len(data) // max(self.dtype.itemsize, 1))
        if len(found) < count:
            raise DecodeError(f"{self.where} was cut: rows {start} to {stop} are not all there")
        return found.reshape(stop - start, *shape)


def array_of(url: str, options: Mapping[str, Any], keep: Keep) -> NpyArray:
    """Return the array in a ``.npy`` file; ``keep`` keeps arrays that are read whole."""
    fs, path = connected(url, options)
    return _opened(url, ranged(fs, path), fs.size(path), _local(fs, path), keep)


def is_npz(url: str, options: Mapping[str, Any]) -> bool:
    """Tell whether a file is a ``.npz`` file and no ``.npy`` file. DecodeError where it is neither."""
    head = ranged(*connected(url, options))(0, len(_MAGIC))
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return True
    if head != _MAGIC:
        raise DecodeError(f"{url} is empty: it has 0 bytes" if not head else f"{url} is no .npy and no .npz file")
    return False


def members_of(url: str, options: Mapping[str, Any], keep: Keep) -> dict[str, Callable[[], NpyArray]]:
    """Return what opens each array of a ``.npz`` file, by name."""
    import zipfile

    fs, path = connected(url, options)
    read, size = ranged(fs, path), fs.size(path)
    if size is None:
        raise DecodeError(f"{url}: its size is not known, and a .npz file is read from its end")
    try:
        with zipfile.ZipFile(RangedFile(read, size)) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError) as error:
        raise unreadable(url, "its directory", error) from error
    local = _local(fs, path)
    return {
        info.filename.removesuffix(".npy"): partial(_member, url, info, read, size, local, keep)
        for info in infos
        if info.filename.endswith(".npy")
    }


def _member(url: str, info: Any, read: Any, size: int, local: str | None, keep: Keep) -> NpyArray:
    name = info.filename.removesuffix(".npy")
    where = f"{url}: array {name!r}"
    if info.flag_bits & _ENCRYPTED:
        raise DecodeError(f"{where} is encrypted")
    if not info.compress_type:
        head = read(info.header_offset, info.header_offset + _LOCAL_HEAD_BYTES)
        if len(head) < _LOCAL_HEAD_BYTES or head[:4] != b"PK\x03\x04":
            raise DecodeError(f"{where}: its head in the archive is damaged")
        lengths = int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
        begin = info.header_offset + _LOCAL_HEAD_BYTES + lengths
        return _opened(where, read, min(begin + info.file_size, size), local, keep, begin)
    data = _Decompressed(where, info, read, size)
    array = _opened(where, data.head, info.file_size, None, keep)

    def load() -> np.ndarray[Any, Any]:
        import numpy as np

        found = np.frombuffer(data.all()[array.offset :], array.dtype)[: prod(array.shape)]
        return found.reshape(array.shape, order="F" if array.fortran else "C")

    def values(start: int, stop: int) -> bytes:
        return data.all()[start:stop]

    return replace(array, read=values, whole=partial(keep, where, load) if array.shape else None)


class _Decompressed:
    """The bytes of a member of an archive, and the first of them."""

    def __init__(self, where: str, info: Any, read: Callable[[int, int], bytes], size: int) -> None:
        self._where, self._info, self._read, self._size = where, info, read, size

    def head(self, start: int, stop: int) -> bytes:
        return self._taken(stop)[start:]

    def all(self) -> bytes:
        return self._taken(-1)

    def _taken(self, count: int) -> bytes:
        import zipfile

        info, file = self._info, RangedFile(self._read, self._size)
        begin = info.header_offset
        if count < 0:
            file.fetch([(begin, min(begin + info.compress_size + _SLACK_BYTES, self._size))])
        try:
            with zipfile.ZipFile(file) as archive, archive.open(info) as member:
                return member.read(count)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
            raise unreadable(self._where, "its bytes", error) from error


def _opened(
    where: str,
    read: Callable[[int, int], bytes],
    size: int | None,
    path: str | None,
    keep: Keep,
    begin: int = 0,
) -> NpyArray:
    """Return the array whose head is at ``begin``; the file, or what it has of it, ends at ``size``."""
    head = read(begin, begin + _HEAD_BYTES)
    if not head:
        raise DecodeError(f"{where} is empty: it has 0 bytes")
    if head[:6] != _MAGIC or len(head) < 10:
        raise DecodeError(f"{where} is no .npy file: it begins with {head[:10]!r}")
    width = 2 if head[6] == 1 else 4
    length = int.from_bytes(head[8 : 8 + width], "little")
    stop = 8 + width + length
    if stop > len(head):
        head = read(begin, begin + stop) if size is None or begin + stop <= size else head
    text = head[8 + width : stop]
    if len(text) < length:
        raise DecodeError(f"{where} was cut: its head has {len(text)} of {length} bytes")
    dtype, shape, fortran = _described(where, text, head[6])
    need = begin + stop + prod(shape) * dtype.itemsize
    if size is not None and size < need:
        raise DecodeError(f"{where} was cut: it has {size - begin} of {need - begin} bytes")
    fortran = fortran and len(shape) > 1
    array = NpyArray(where, dtype, shape, fortran, begin + stop, read, path, None)
    if not fortran or path is not None:
        return array

    def load() -> np.ndarray[Any, Any]:
        import numpy as np

        data = read(array.offset, need)
        if len(data) < need - array.offset:
            raise DecodeError(f"{where} was cut: it has {len(data)} of {need - array.offset} bytes of values")
        return np.frombuffer(data, dtype).reshape(shape, order="F")

    return replace(array, whole=partial(keep, where, load))


def _described(where: str, text: bytes, version: int) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    """Return what the head of an array says: its type, its shape, and whether it is in Fortran order."""
    import numpy as np

    try:
        said = ast.literal_eval(text.decode("utf-8" if version > 2 else "latin-1").strip())
        descr, fortran, shape = said["descr"], bool(said["fortran_order"]), tuple(map(int, said["shape"]))
        dtype: np.dtype[Any] = np.lib.format.descr_to_dtype(descr)
        if min(shape, default=0) < 0:
            raise ValueError(f"a shape of {shape}")
    except (ValueError, TypeError, KeyError, SyntaxError, RecursionError, UnicodeDecodeError) as error:
        raise unreadable(where, "its head", error) from error
    if dtype.hasobject:
        raise DecodeError(f"{where} has Python objects, and nothing is unpickled")
    if not dtype.itemsize or dtype.subdtype is not None:
        raise DecodeError(f"{where} has values of type {dtype}, which arrays have not")
    return dtype, shape, fortran


def _local(fs: Any, path: str) -> str | None:
    from fsspec.implementations.local import LocalFileSystem

    return os.fspath(path) if type(fs) is LocalFileSystem else None
