"""What leaves a worker in another form than it has where it arrives, because that is less work in the worker.

- `Deferred` is an array that becomes a tensor: the worker need not load torch.
- `Tensors` is a batch whose arrays do: the worker need not wrap each of them.
- `Words` are Arrow's strings that become a list: the worker need not make an object of each.
- `BlockRows` are some rows of a block of columns that become a batch: the worker need not cut each column for it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pickle import PickleBuffer
from typing import Any, Final

__all__ = ["BlockRows", "Deferred", "Tensors", "Words", "as_tensor", "cut", "has_tensor"]

_NUMBERS: Final = frozenset("?bBhHiIlLqefdFD")  # numpy's characters of the types that torch has


class Deferred:
    """An array that unpickles as a torch tensor over the same memory."""

    __slots__ = ("array",)

    def __init__(self, array: Any) -> None:
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, rows: slice) -> Deferred:
        return Deferred(self.array[rows])

    def __reduce__(self) -> tuple[Any, ...]:
        return as_tensor, (self.array,)


def as_tensor(array: Any) -> Any:
    """Return a tensor that shares the array's memory."""
    import torch

    return torch.from_numpy(array)


class Tensors:
    """A dict of columns that unpickles as one whose arrays are tensors."""

    __slots__ = ("columns",)

    def __init__(self, columns: dict[Any, Any]) -> None:
        self.columns = columns

    def __reduce__(self) -> tuple[Any, ...]:
        return _with_tensors, (self.columns,)


def _with_tensors(columns: dict[Any, Any]) -> dict[Any, Any]:
    import torch

    return {name: torch.from_numpy(column) if has_tensor(column) else column for name, column in columns.items()}


def has_tensor(column: Any) -> bool:
    """Whether something is an array of numbers that torch has a type for."""
    numpy: Any = sys.modules.get("numpy")
    return numpy is not None and isinstance(column, numpy.ndarray) and column.dtype.char in _NUMBERS


class Words:
    """A column of strings without nulls that unpickles as a list of str.

    Of batches of 1,024 rows, making the strings takes a worker 60 us, and joining them for the way 45; Arrow's own
    memory goes as it is, and the strings are made of it where they arrive, in the 60 us.

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
        if not len(self.array):
            return list, ()
        text, bounds = self._parts()
        return _strings, (PickleBuffer(text), PickleBuffer(bounds - bounds[0]), self.array.type == "string")

    def is_valid(self) -> bool:
        """Whether all are UTF-8: readers of files do not look, and where the strings are made nobody knows the file."""
        import numpy as np
        import pyarrow as pa

        if not len(self.array):
            return True
        text, _ = self._parts()
        if np.frombuffer(text, np.int8).min(initial=0) >= 0:  # ASCII, in a tenth of the time
            return True
        try:
            self.array.validate(full=True)
        except pa.ArrowInvalid:
            return False
        return True

    def _parts(self) -> tuple[Any, Any]:
        """Return the bytes of all strings, and where in the array's own each begins, and the last one ends."""
        import numpy as np

        array = self.array
        _, offsets, text = array.buffers()
        number = "i4" if array.type == "string" else "i8"
        bounds = np.frombuffer(offsets, number)[array.offset : array.offset + len(array) + 1]
        start, stop = int(bounds[0]), int(bounds[-1])
        return memoryview(text)[start:stop] if start < stop else b"", bounds

    @staticmethod
    def joined(parts: Sequence[Words]) -> Words:
        """Return columns as one, in which they follow each other."""
        import pyarrow as pa

        return Words(pa.concat_arrays([part.array for part in parts]))


def _strings(text: Any, bounds: Any, short: bool) -> list[str]:
    """Return the strings that lie in a text between bounds of 4 bytes each, or of 8."""
    import pyarrow as pa

    kind, width = (pa.string(), 4) if short else (pa.large_string(), 8)
    buffers = [None, pa.py_buffer(bounds), pa.py_buffer(text)]
    strings: list[str] = pa.Array.from_buffers(kind, buffers[1].size // width - 1, buffers).to_pylist()
    return strings


class BlockRows:
    """The rows from ``start`` to ``stop`` of a dict of columns. It unpickles as a dict of those rows."""

    __slots__ = ("block", "start", "stop")

    def __init__(self, block: dict[Any, Any], start: int, stop: int) -> None:
        self.block, self.start, self.stop = block, start, stop

    def __len__(self) -> int:
        return self.stop - self.start

    def behind(self, other: Any) -> BlockRows | None:
        """Return the rows of another and these, where these follow it in the same block."""
        if type(other) is BlockRows and other.block is self.block and other.stop == self.start:
            return BlockRows(self.block, other.start, self.stop)
        return None

    def columns(self) -> dict[Any, Any]:
        """Return the rows' columns: views, where the block's are no lists."""
        return cut(self.block, slice(self.start, self.stop))

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (self.columns(),)


def cut(columns: dict[Any, Any], rows: slice) -> dict[Any, Any]:
    """Return some rows of columns by name, or of dicts of them."""
    return {name: cut(column, rows) if isinstance(column, dict) else column[rows] for name, column in columns.items()}
