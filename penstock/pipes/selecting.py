"""Dropper (``drop``), Slicer (``slice``) and Flattener (``flatten``): the columns of tuple, list and dict items."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Iterable
from typing import Any

from penstock.core.context import Context
from penstock.core.pipe import ONE_TO_ONE, IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream

__all__ = ["Dropper", "Flattener", "Slicer"]


@functional_datapipe("drop")
class Dropper(IterDataPipe[Any]):
    """Leave out columns of tuple, list or dict items (functional name: ``drop``).

    An item of another type, or one without such a column, brings a warning; the former passes as it is.

    Args:
        datapipe: the source.
        indices: a column (index or key), or a list of them.

    State: none of its own.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper([(0, 10, 100), (1, 11, 111)]).drop(1))
        [(0, 100), (1, 111)]
    """

    arity = ONE_TO_ONE

    def __init__(self, datapipe: IterDataPipe[Any], indices: Hashable | list[Hashable]) -> None:
        datapipe = check_source(self, datapipe)
        self.datapipe = datapipe
        self.indices: list[Any] = indices if isinstance(indices, list) else [indices]

    def __len__(self) -> int:
        return len(self.datapipe)

    def build(self, ctx: Context, state: State = None) -> Stream[Any]:
        return ctx.each(self, self.datapipe, state, self._dropped)

    def _dropped(self, item: Any) -> Any:
        if isinstance(item, dict):
            _warn_of_missing(self.indices, item)
            return {key: value for key, value in item.items() if key not in self.indices}
        if not isinstance(item, (tuple, list)):
            return _untouched(item, "filtered", "filter was done")
        _warn_of_missing(self.indices, range(len(item)))
        return _type_of(item)(value for i, value in enumerate(item) if i not in self.indices)


@functional_datapipe("slice")
class Slicer(IterDataPipe[Any]):
    """Keep a slice, or some columns, of tuple, list or dict items (functional name: ``slice``).

    An item of another type, or one without such a column, brings a warning; the former passes as it is.

    Args:
        datapipe: the source.
        index: where the slice starts, a slice, or a list of the columns to keep. Of a dict, the key or keys to keep.
        stop: where the slice ends. Of no use with a list, or with dicts.
        step: as in a slice. Of no use with a list, or with dicts.

    State: none of its own.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper([(0, 10, 100), (1, 11, 111)]).slice(0, 2))
        [(0, 10), (1, 11)]
        >>> list(IterableWrapper([{"a": 1, "b": 2, "c": 3}]).slice(["a", "c"]))
        [{'a': 1, 'c': 3}]
    """

    arity = ONE_TO_ONE

    def __init__(
        self,
        datapipe: IterDataPipe[Any],
        index: Any,
        stop: int | None = None,
        step: int | None = None,
    ) -> None:
        datapipe = check_source(self, datapipe)
        if isinstance(index, list) and (stop is not None or step is not None):
            warnings.warn(
                "A list of indices was passed as well as a stop or step for the slice, "
                "these arguments will be ignored. Only the indices list will be used.",
                stacklevel=3,
            )
        self.datapipe = datapipe
        self.index: Any = index
        self.stop = stop
        self.step = step

    def __len__(self) -> int:
        return len(self.datapipe)

    def build(self, ctx: Context, state: State = None) -> Stream[Any]:
        return ctx.each(self, self.datapipe, state, self._sliced)

    def _sliced(self, item: Any) -> Any:
        if isinstance(item, dict):
            kept = self.index if isinstance(self.index, list) else [self.index]
            _warn_of_missing(kept, item)
            return {key: value for key, value in item.items() if key in kept}
        if not isinstance(item, (tuple, list)):
            return _untouched(item, "filtered", "filter was done")
        if not isinstance(self.index, list):
            whole = self.index if isinstance(self.index, slice) else slice(self.index, self.stop, self.step)
            return _type_of(item)(item[whole])
        _warn_of_missing(self.index, range(len(item)))
        return _type_of(item)(value for i, value in enumerate(item) if i in self.index)


@functional_datapipe("flatten")
class Flattener(IterDataPipe[Any]):
    """Put the items of inner tuples, lists and dicts in place of them, one level deep (functional name: ``flatten``).

    An item that is no tuple, list or dict, or without such a column, brings a warning; the former passes as it is.

    Args:
        datapipe: the source.
        indices: the column to flatten (index or key), or a list of them; all unless given.

    State: none of its own.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper([(0, (1, 2)), (3, (4, 5))]).flatten())
        [(0, 1, 2), (3, 4, 5)]
        >>> list(IterableWrapper([(0, [10], (20, 30))]).flatten(2))
        [(0, [10], 20, 30)]
    """

    arity = ONE_TO_ONE

    def __init__(self, datapipe: IterDataPipe[Any], indices: Hashable | list[Hashable] | None = None) -> None:
        datapipe = check_source(self, datapipe)
        self.datapipe = datapipe
        self.indices: list[Any] | None = indices if isinstance(indices, list) or indices is None else [indices]

    def __len__(self) -> int:
        return len(self.datapipe)

    def build(self, ctx: Context, state: State = None) -> Stream[Any]:
        return ctx.each(self, self.datapipe, state, self._flat)

    def _flat(self, item: Any) -> Any:
        if isinstance(item, dict):
            _warn_of_missing(self.indices or (), item)
            return self._flat_dict(item)
        if not isinstance(item, (tuple, list)):
            return _untouched(item, "flattened", "flattening was done")
        values: list[Any] = []
        for i, value in enumerate(item):
            if isinstance(value, (tuple, list)) and self._is_chosen(i):
                values.extend(value)
            else:
                values.append(value)
        _warn_of_missing(self.indices or (), range(len(item)))
        return _type_of(item)(values)

    def _flat_dict(self, item: dict[Any, Any]) -> dict[Any, Any]:
        flat: dict[Any, Any] = {}
        for column, value in item.items():
            inner = value if isinstance(value, dict) and self._is_chosen(column) else {column: value}
            if inner.keys() & flat.keys():
                warnings.warn(
                    "Flattener tried to insert the same key twice into the dict item, "
                    "the second key,value pair has been dropped.",
                    stacklevel=2,
                )
            flat = {**flat, **{key: value for key, value in inner.items() if key not in flat}}
        return flat

    def _is_chosen(self, column: Any) -> bool:
        return self.indices is None or column in self.indices


def _type_of(item: Any) -> Callable[[Iterable[Any]], Any]:
    """Return what makes a new item of the columns of this one: a list subclass (a batch) becomes a list."""
    return tuple if isinstance(item, tuple) else list


def _warn_of_missing(wanted: Iterable[Any], there: Any) -> None:
    if not all(column in there for column in wanted):
        warnings.warn(
            "At least one index in the filter is not present in the item being returned, "
            "please be aware that expected columns/data may be missing.",
            stacklevel=2,
        )


def _untouched(item: Any, verb: str, what: str) -> Any:
    warnings.warn(
        f"The next item was not an iterable and cannot be {verb}, please be aware that no {what} or new item created.",
        stacklevel=2,
    )
    return item
