"""UnZipper (``unzip``) for MapDataPipes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penstock.core.pipe import MapDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.pipes.unzipper import columns_left


@functional_datapipe("unzip")
class UnZipper(MapDataPipe[Any]):
    """Take tuples apart: one pipe becomes a list of pipes, one for each column (functional name: ``unzip``).

    Args:
        source_datapipe: the source, of tuples, lists or other sequences.
        sequence_length: how many columns they have.
        columns_to_skip: columns that get no pipe.

    Raises:
        ValueError: ``sequence_length`` below 1.
        RuntimeError: every column is skipped.

    Example:
        >>> from penstock.pipes.map import SequenceWrapper
        >>> x, y = SequenceWrapper([(1, "a"), (2, "b")]).unzip(sequence_length=2)
        >>> list(x), list(y)
        ([1, 2], ['a', 'b'])
    """

    def __new__(  # type: ignore[misc]  # torchdata's class makes a list, too
        cls,
        source_datapipe: MapDataPipe[Sequence[Any]],
        sequence_length: int,
        columns_to_skip: Sequence[int] | None = None,
    ) -> list[MapDataPipe[Any]]:
        columns = columns_left(sequence_length, columns_to_skip)
        return [_Column(source_datapipe, column) for column in columns]


class _Column(MapDataPipe[Any]):
    """One of an unzip's pipes."""

    _functional_name = "unzip"

    def __init__(self, datapipe: MapDataPipe[Sequence[Any]], column: int) -> None:
        datapipe = check_source(self, datapipe, MapDataPipe)
        self.datapipe = datapipe
        self.column = column

    def __repr__(self) -> str:
        return f"{type(self).__name__}[{self.column}]"

    def __getitem__(self, index: Any) -> Any:
        return self.datapipe[index][self.column]

    def __getitems__(self, indices: Sequence[Any]) -> list[Any]:
        return [item[self.column] for item in self.datapipe.__getitems__(indices)]

    def __len__(self) -> int:
        return len(self.datapipe)
