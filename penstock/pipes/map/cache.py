"""InMemoryCacheHolder (``in_memory_cache``) for MapDataPipes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from penstock.core.pipe import MapDataPipe, Pipe, check_source
from penstock.core.registry import functional_datapipe

T = TypeVar("T")


@functional_datapipe("in_memory_cache")
class InMemoryCacheHolder(MapDataPipe[T]):
    """Keep every item that has been asked for, and give the same object again (functional name: ``in_memory_cache``).

    The cache has no bound. It stays in its process: workers fill one of their own.

    Args:
        source_dp: the source.

    Example:
        >>> from penstock.pipes.map import SequenceWrapper
        >>> pipe = SequenceWrapper([1, 2]).map(lambda x: print("made", x) or x * 10).in_memory_cache()
        >>> pipe[0], pipe[0]
        made 1
        (10, 10)
    """

    def __init__(self, source_dp: MapDataPipe[T]) -> None:
        source_dp = check_source(self, source_dp, MapDataPipe)
        self.datapipe = source_dp
        self._cache: _Cache = _Cache()

    def with_sources(self, *sources: Pipe) -> InMemoryCacheHolder[T]:
        """Return a copy that reads from ``sources``, with an empty cache."""
        new = super().with_sources(*sources)
        if new is not self:
            new._cache = _Cache()
        return new

    def __getitem__(self, index: Any) -> T:
        cache = self._cache
        if index not in cache:
            cache[index] = self.datapipe[index]
        return cache[index]  # type: ignore[no-any-return]  # what the source gave is a T

    def __getitems__(self, indices: Sequence[Any]) -> list[T]:
        cache = self._cache
        missing = [index for index in dict.fromkeys(indices) if index not in cache]
        if missing:
            cache.update(zip(missing, self.datapipe.__getitems__(missing), strict=True))
        return [cache[index] for index in indices]

    def __len__(self) -> int:
        return len(self.datapipe)


class _Cache(dict[Any, Any]):
    """It is pickled, and copied deeply, as an empty one."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _Cache, ()
