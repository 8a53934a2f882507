"""Whether what a Parquet footer says of column chunks can be looked at.

pyarrow ends the process where it is asked for a chunk's place or statistics and the footer contradicts itself there
(a histogram of the wrong length, say, made by one flipped bit). Where it begins to read such a chunk, it raises an
error. So it is let begin, with a file that has nothing to read: what fails ahead of the first read is the footer. What
would fail behind it, a chunk of another type than its column, can then be asked for.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import Any, Final

__all__ = ["check_chunks", "chunks_of"]

_SIZE: Final = 1 << 62  # larger than any place that a footer may name


class _Nothing(io.RawIOBase):
    """A file of which nothing can be read."""

    def __init__(self) -> None:
        self.was_read = False
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        self.was_read = True
        raise EOFError

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = {0: 0, 1: self._at, 2: _SIZE}[whence] + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def check_chunks(footer: Any, groups: Iterable[int], names: Sequence[str]) -> None:
    """Raise an error of pyarrow's unless some columns' chunks can be looked at: 0.1 ms for each."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    nothing = _Nothing()
    file = pq.ParquetFile(pa.PythonFile(nothing, "r"), metadata=footer, buffer_size=1, pre_buffer=False)
    wanted = [(i, footer.schema.column(i)) for i in chunks_of(footer, names)]
    for group in groups:
        nothing.was_read = False
        try:
            for _ in file.iter_batches(1, row_groups=[group], columns=list(names), use_threads=False):
                break
        except (EOFError, pa.ArrowException, OSError):
            if not nothing.was_read:
                raise
        for i, column in wanted:
            found = footer.row_group(group).column(i).physical_type
            if found != column.physical_type:
                raise pa.ArrowInvalid(
                    f"the chunk of column {column.path!r} is of {found}, not of {column.physical_type}"
                )


def chunks_of(footer: Any, names: Sequence[str]) -> list[int]:
    """Return the numbers of the leaves of some columns, which may be nested."""
    paths = [footer.schema.column(i).path for i in range(footer.num_columns)]
    return [i for i, path in enumerate(paths) if path in names or path.partition(".")[0] in names]
