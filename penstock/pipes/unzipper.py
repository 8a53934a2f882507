"""UnZipper (``unzip``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penstock.core.context import Context
from penstock.core.pipe import IterDataPipe
from penstock.core.registry import functional_datapipe
from penstock.core.sharing import Child, Shared
from penstock.core.stream import State, Stream
from penstock.pipes.forker import warn_if_unlimited


@functional_datapipe("unzip")
class UnZipper(IterDataPipe[Any]):
    """Take tuples apart: one pipe becomes a list of pipes, one for each column (functional name: ``unzip``).

    Joined again in one graph, the pipes read the source once; iterated by themselves, each reads it for itself.

    Args:
        source_datapipe: the source, of tuples, lists or other sequences.
        sequence_length: how many columns they have.
        buffer_size: how many items one pipe may be ahead of another; -1 for any number.
        columns_to_skip: columns that get no pipe.

    Raises:
        ValueError: ``sequence_length`` below 1.
        RuntimeError: every column is skipped.
        BufferError: (when run) one pipe is too far ahead of another.

    State: that of the source at most 32 items ahead of the pipe's place, and the distance.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> x, y = IterableWrapper([(1, "a"), (2, "b")]).unzip(sequence_length=2)
        >>> list(x), list(y)
        ([1, 2], ['a', 'b'])
    """

    def __new__(  # type: ignore[misc]  # torchdata's class makes a list, too
        cls,
        source_datapipe: IterDataPipe[Sequence[Any]],
        sequence_length: int,
        buffer_size: int = 1000,
        columns_to_skip: Sequence[int] | None = None,
    ) -> list[IterDataPipe[Any]]:
        columns = columns_left(sequence_length, columns_to_skip)
        main: Unzipped = Unzipped(source_datapipe, len(columns), buffer_size)
        warn_if_unlimited(buffer_size, "unzip")
        return [_Column(main, index, column) for index, column in enumerate(columns)]


def columns_left(sequence_length: int, columns_to_skip: Sequence[int] | None) -> list[int]:
    """Return the columns that are not skipped."""
    if sequence_length < 1:
        raise ValueError(f"Expected `sequence_length` larger than 0, but {sequence_length} is found")
    skipped = {column % sequence_length for column in columns_to_skip or ()}
    columns = [column for column in range(sequence_length) if column not in skipped]
    if not columns:
        raise RuntimeError("All columns are being filtered out, please modify the list of columns to skip.")
    return columns


class Unzipped(Shared[Sequence[Any]]):
    """The source of an unzip's pipes."""


class _Column(Child[Any]):
    """One of an unzip's pipes."""

    _functional_name = "unzip"

    def __init__(self, main: Unzipped, index: int, column: int) -> None:
        super().__init__(main, index)
        self.column = column

    def __len__(self) -> int:
        return len(self.main_datapipe.datapipe)

    def build(self, ctx: Context, state: State = None) -> Stream[Any]:
        stream: Stream[Any] = super().build(ctx, state)
        column = self.column
        return stream.onward(item[column] for item in stream.it)
