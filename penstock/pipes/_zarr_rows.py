"""The rows of a zarr array, or of the arrays of a group: read along the first axis, by chunks.

A *span* is a run of rows that is read, shuffled and dealt to workers as one. It is as long as a chunk of the array that
has the most bytes a row; the others follow. That is what costs the most to read twice. The longest chunk would be the
wrong measure: labels often lie in one chunk beside images in thousands, and a span of all rows could be neither
shuffled nor dealt.

Where a chunk of another array does not end with the span, a few spans are put together if all chunks end there.
Otherwise its rest is kept, and serves the next span: neighbours are read once by one reader.

In a sharded array a span is a whole shard, up to 64 MiB of it: one request has it all, where chunk by chunk it takes
two each, one of them for the shard's index (shards of 10 chunks of 400 KB: 188,000 rows/s against 97,000 on a local
disk, 27,000 against 2,300 with 20 ms a request). Of a larger shard, as many chunks at a time as fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import lcm
from typing import Any, Final

from penstock.core.errors import DecodeError
from penstock.pipes._zarr_column import Column, Kept
from penstock.pipes._zarr_store import bad_metadata, check_codecs, is_no_damage

__all__ = ["ZarrRows"]

_JOINED_SPANS: Final = 4  # how many spans are put together at most, so that all chunks end where a span ends


class ZarrRows:
    """An array, or arrays of one length that lie in one group.

    An array without an axis is a constant: in a group each row has it, and by itself it is one row.

    Attributes:
        url: where they are.
        names: those of the arrays of a group; None for an array by itself.
        name: what an array by itself is called: the last part of its URL.
        kinds: of each array, the dtype and the shape of a row.
        length: the number of rows.
        span: how many rows a span has, but for the last.
    """

    def __init__(self, url: str, node: Any, arrays: Sequence[str] | None, span: int | None, kept: Kept) -> None:
        import zarr

        self.url = url
        self.name = url.rstrip("/").rpartition("/")[2].removesuffix(".zarr")
        single = isinstance(node, zarr.Array)
        if single and arrays is not None:
            raise DecodeError(f"{url} is an array and no group: it has no arrays {list(arrays)}")
        found = {"": node} if single else _arrays(url, node, arrays)
        self.names = None if single else tuple(found)
        lengths = {name: array.shape[0] for name, array in found.items() if array.ndim}
        if len(set(lengths.values())) > 1:
            raise DecodeError(f"{url}: the arrays of a sample must have one length, but these have {lengths}")
        self.kinds = {name: (array.dtype, array.shape[1:]) for name, array in found.items()}
        self.length: int = next(iter(lengths.values()), 1)
        self._columns = [Column(url, name, array, kept, len(found)) for name, array in found.items()]
        self.span = span or _common_span([column for column in self._columns if column.chunk])

    def read(self, start: int, stop: int) -> Any:
        """Return some rows: an array, or a dict of arrays, that nobody else has."""
        parts = [column.read(start, stop) for column in self._columns]
        return parts[0] if self.names is None else dict(zip(self.names, parts, strict=True))


def _arrays(url: str, group: Any, names: Sequence[str] | None) -> dict[str, Any]:
    """Return the arrays of a group: those that are named, or all that lie in it, in the order of their names."""
    import zarr

    try:
        found = {name: group[name] for name in names} if names is not None else dict(sorted(group.members()))
    except Exception as error:
        if is_no_damage(error):
            raise
        if isinstance(error, KeyError) and names is not None and error.args[0] in names:
            raise DecodeError(f"{url}: the group has no array {error.args[0]!r}") from error
        raise bad_metadata(url, error) from error
    if names is None:
        found = {name: array for name, array in found.items() if isinstance(array, zarr.Array)}
    if not found:
        raise DecodeError(f"{url}: the group has no arrays of its own")
    for name, array in found.items():
        if not isinstance(array, zarr.Array):
            raise DecodeError(f"{url}: {name!r} is a group, and an array is needed")
        check_codecs(url, array)
    return found


def _common_span(columns: Sequence[Column]) -> int:
    if not columns:
        return 1
    widest = max(columns, key=lambda column: (column.row_bytes, column.span))
    span = widest.span
    for column in columns:
        joined = lcm(span, column.chunk)
        if joined <= _JOINED_SPANS * widest.span:
            span = joined
    return span
