"""One zarr array, read by rows, and what is kept of its chunks."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any, Final

from penstock.pipes._lines import unreadable
from penstock.pipes._zarr_store import is_no_damage

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Column", "Kept"]

_SHARD_BYTES: Final = 64 << 20
_KEPT_BYTES: Final = 64 << 20


class Kept:
    """Chunks of which more rows may be asked for: up to a number of bytes, those that were asked for last."""

    def __init__(self) -> None:
        self._chunks: dict[tuple[Column, int], np.ndarray[Any, Any]] = {}
        self._bytes = 0

    def __contains__(self, key: tuple[Column, int]) -> bool:
        return key in self._chunks

    def get(self, key: tuple[Column, int]) -> np.ndarray[Any, Any]:
        """Return a chunk, which has been asked for last now."""
        rows = self._chunks[key] = self._chunks.pop(key)
        return rows

    def put(self, key: tuple[Column, int], rows: np.ndarray[Any, Any], at_least: int) -> None:
        """Keep a chunk; of all, keep some, however many bytes they have."""
        self._chunks[key] = rows
        self._bytes += rows.nbytes
        while self._bytes > _KEPT_BYTES and len(self._chunks) > at_least:
            self.drop(next(iter(self._chunks)))

    def drop(self, key: tuple[Column, int]) -> None:
        """Keep a chunk no longer."""
        rows = self._chunks.pop(key, None)
        self._bytes -= 0 if rows is None else rows.nbytes


class Column:
    """One array. What was read of a chunk, and not given yet, is kept for the next rows.

    Attributes:
        chunk: how many rows a chunk has, 0 for an array without an axis.
        span: how many rows are read in one go, if it is up to this array.
        row_bytes: the size of a row.
    """

    def __init__(self, url: str, name: str, array: Any, kept: Kept, columns: int) -> None:
        self._url = url
        self._name = name
        self._array = array
        self._kept = kept
        self._at_least = 2 * columns  # they are read in turn, and a span may lie in two chunks of each
        self.row_bytes: int = prod(array.shape[1:]) * array.dtype.itemsize
        self.chunk: int = array.chunks[0] if array.ndim else 0
        self.span = self.chunk
        if array.ndim and array.shards is not None:
            fits = max(1, _SHARD_BYTES // max(1, self.row_bytes * self.chunk))
            self.span = min(array.shards[0], self.chunk * fits)

    def read(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        """Return some rows, in memory that nobody else has."""
        import numpy as np

        if not self.chunk:
            value = self._decoded(lambda: self._array[()], lambda: "its value")
            return np.full(stop - start, value, self._array.dtype)
        if start == stop:
            return np.empty((0, *self._array.shape[1:]), self._array.dtype)
        length, chunk, kept = self._array.shape[0], self.chunk, self._kept
        begins = range(start - start % chunk, stop, chunk)
        had = {begin: kept.get((self, begin)) for begin in begins if (self, begin) in kept}
        missing = [begin for begin in begins if begin not in had]
        whole = begins[0] == start and stop in (begins[-1] + chunk, length)
        if whole and not had:
            return self._fetched(start, stop)
        if missing:  # in one go, as zarr reads several chunks at a time; what is kept lies at the ends as a rule
            ahead = self._fetched(missing[0], min(missing[-1] + chunk, length))
        found = np.empty((stop - start, *self._array.shape[1:]), self._array.dtype)
        for begin in begins:
            low, high, end = max(begin, start), min(begin + chunk, stop), min(begin + chunk, length)
            rows = had[begin] if begin in had else ahead[begin - missing[0] : end - missing[0]]
            found[low - start : high - start] = rows[low - begin : high - begin]
            if high == end and chunk <= stop - start:  # a longer one may serve spans in any order
                kept.drop((self, begin))
            elif begin not in had and (low, high) != (begin, end):
                kept.put((self, begin), rows.copy(), self._at_least)
        return found

    def _fetched(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        import numpy as np

        rows = np.asarray(self._decoded(lambda: self._array[start:stop], lambda: self._culprit(start, stop)))
        return rows if rows.flags.writeable else rows.copy()

    def _decoded(self, read: Callable[[], Any], what: Callable[[], str]) -> Any:
        try:
            return read()
        except Exception as error:
            if is_no_damage(error):
                raise
            array = f"array {self._name!r}, " if self._name else ""
            raise unreadable(self._url, array + what(), error) from error

    def _culprit(self, start: int, stop: int) -> str:
        """Name the chunk of some rows that cannot be read: each is read by itself, if there are several."""
        array = self._array
        sizes = array.shards or array.chunks
        ends = (stop, *array.shape[1:])
        begins = (start, *(0 for _ in ends[1:]))
        grid = [range(a // n, -(-b // n)) for a, b, n in zip(begins, ends, sizes, strict=True)]
        places = list(product(*grid))
        for place in places:
            region = tuple(slice(i * n, (i + 1) * n) for i, n in zip(place, sizes, strict=True))
            try:
                if len(places) > 1:
                    array[region]
                    continue
            except Exception:  # the first error of all is what is raised
                pass
            return f"chunk {array.metadata.encode_chunk_key(place)} (rows {start} to {stop})"
        return f"rows {start} to {stop}"
