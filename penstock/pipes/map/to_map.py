"""IterToMapConverter (``to_map_datapipe``)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from penstock.core.pipe import IterDataPipe, MapDataPipe, Pipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.pipes._columns import check_callable


@functional_datapipe("to_map_datapipe", on=IterDataPipe)
class IterToMapConverter(MapDataPipe[Any]):
    """Look up ``(key, value)`` items by key: ``pipe[key]`` (functional name: ``to_map_datapipe``, on IterDataPipes).

    Everything is read when an item is first asked for, and kept.

    Args:
        datapipe: the source.
        key_value_fn: makes a pair of an item; without it the items are pairs.

    Raises:
        TypeError: (when asked) an item is no pair at all.
        ValueError: (when asked) an item has another length than 2.
        IndexError: (when asked) there is no such key.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> pipe = IterableWrapper(["a", "b"]).enumerate().to_map_datapipe()
        >>> pipe[1], len(pipe)
        ('b', 2)
    """

    def __init__(
        self, datapipe: IterDataPipe[Any], key_value_fn: Callable[[Any], tuple[Any, Any]] | None = None
    ) -> None:
        datapipe = check_source(self, datapipe)
        if key_value_fn is not None:
            check_callable(key_value_fn)
        self.datapipe = datapipe
        self.key_value_fn = key_value_fn
        self._loaded: _Loaded = _Loaded()

    @property
    def _map(self) -> dict[Any, Any] | None:
        """What has been read; None until then."""
        return self._loaded.items

    def with_sources(self, *sources: Pipe) -> IterToMapConverter:
        """Return a copy that reads from ``sources``, and has read nothing yet."""
        new = super().with_sources(*sources)
        if new is not self:
            new._loaded = _Loaded()
        return new

    def __getitem__(self, index: Any) -> Any:
        items = self._load_map()
        try:
            return items[index]
        except KeyError:
            raise IndexError(f"Index {index} is invalid for IterToMapConverter.") from None

    def __getitems__(self, indices: Sequence[Any]) -> list[Any]:
        return [self[index] for index in indices]

    def __len__(self) -> int:
        if self._map is not None:
            return len(self._map)
        try:
            return len(self.datapipe)
        except (TypeError, NotImplementedError):
            pass
        warnings.warn(
            "Data from prior DataPipe are loaded to get length of IterToMapConverter before execution of the pipeline. "
            "Please consider removing len().",
            stacklevel=2,
        )
        return len(self._load_map())

    def _load_map(self) -> dict[Any, Any]:
        """Read everything, unless it has been read."""
        if self._loaded.items is None:
            items: dict[Any, Any] = {}
            fn = self.key_value_fn
            # A generator expression, in which a StopIteration of the function's is an error and not an end.
            for key, value in (_pair(item if fn is None else fn(item)) for item in self.datapipe):
                if key in items:
                    warnings.warn(f"Found duplicate key {key}. Please check your `key_value_fn`", stacklevel=3)
                items[key] = value
            self._loaded.items = items
        return self._loaded.items


class _Loaded:
    """What a converter has read. It has an object of its own, so that reading changes no pipe."""

    def __init__(self) -> None:
        self.items: dict[Any, Any] | None = None


def _pair(item: Any) -> tuple[Any, Any]:
    try:
        parts = tuple(item)
    except TypeError:
        raise TypeError(
            f"Cannot convert dictionary update element {type(item).__name__} ({item}) to a sequence"
        ) from None
    if len(parts) != 2:
        raise ValueError(f"dictionary update sequence element has length {len(parts)}, 2 is required")
    return parts[0], parts[1]
