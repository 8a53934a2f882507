"""Strings that become a list where they arrive: a worker that only reads them need not make an object of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

__all__ = ["Words"]

_SEPARATOR: Final = "\0"


class Words:
    """A column of strings without nulls that unpickles as a list of str.

    Of batches of 1,024 rows, making the strings takes a worker 60 us, and joining them for the way 45; Arrow joins them
    in 10.

    Args:
        array: a `pyarrow.Array` of strings.
    """

    __slots__ = ("array",)

    def __init__(self, array: Any) -> None:
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, rows: slice) -> Words:
        start, stop, _ = rows.indices(len(self.array))
        return Words(self.array.slice(start, stop - start))

    def __reduce__(self) -> tuple[Any, ...]:
        import pyarrow as pa
        import pyarrow.compute as pc

        array = self.array
        if not len(array):
            return list, ()
        whole = pa.ListArray.from_arrays(pa.array([0, len(array)], pa.int32()), array.cast(pa.string()))
        joined = pc.binary_join(whole, _SEPARATOR)[0].as_py()
        if joined.count(_SEPARATOR) == len(array) - 1:
            return _split, (joined,)
        return list, (array.to_pylist(),)

    @staticmethod
    def joined(parts: Sequence[Words]) -> Words:
        """Return columns as one, in which they follow each other."""
        import pyarrow as pa

        return Words(pa.concat_arrays([part.array for part in parts]))


def _split(joined: str) -> list[str]:
    return joined.split(_SEPARATOR)
