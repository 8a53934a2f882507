"""Batcher (``batch``) for MapDataPipes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from penstock.core.chunk import DataChunk
from penstock.core.pipe import MapDataPipe, check_source
from penstock.core.registry import functional_datapipe

T = TypeVar("T")


@functional_datapipe("batch")
class Batcher(MapDataPipe[DataChunk[T]]):
    """Gather items into lists of ``batch_size``, each fetched with one ``__getitems__`` (functional name: ``batch``).

    Args:
        datapipe: the source.
        batch_size: items per batch, at least 1.
        drop_last: leave out a short last batch.
        wrapper_class: what makes a list of items a batch.

    Raises:
        IndexError: (when asked) past the last batch.

    Example:
        >>> from penstock.pipes.map import SequenceWrapper
        >>> list(SequenceWrapper(range(5)).batch(2))
        [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self,
        datapipe: MapDataPipe[T],
        batch_size: int,
        drop_last: bool = False,
        wrapper_class: Callable[[Any], Any] = DataChunk,
    ) -> None:
        datapipe = check_source(self, datapipe, MapDataPipe)
        if batch_size < 1:
            raise AssertionError(f"Batch size is required to be larger than 0! Got {batch_size}")
        self.datapipe = datapipe
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.wrapper_class = wrapper_class

    def __getitem__(self, index: Any) -> DataChunk[T]:
        if not 0 <= index < len(self):
            raise IndexError(f"Index {index} is out of bound.")
        begin = index * self.batch_size
        indices = range(begin, min(begin + self.batch_size, len(self.datapipe)))
        return self.wrapper_class(self.datapipe.__getitems__(indices))  # type: ignore[no-any-return]  # another class is the user's wish

    def __len__(self) -> int:
        return len(self.datapipe) // self.batch_size if self.drop_last else -(-len(self.datapipe) // self.batch_size)
