"""IterKeyZipper (``zip_with_iter``) and MapKeyZipper (``zip_with_map``): items joined by key."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from penstock.core.context import Context
from penstock.core.pipe import ONE_TO_ONE, IterDataPipe, MapDataPipe, as_source, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.core.tape import Tape
from penstock.pipes._columns import check_callable
from penstock.pipes._held import holding


@functional_datapipe("zip_with_iter")
class IterKeyZipper(IterDataPipe[Any]):
    """Join each item with the one of another pipe that has its key, as a pair (functional name: ``zip_with_iter``).

    The other pipe is read until the key comes. What it gives meanwhile waits, ``buffer_size`` items at most; beyond
    that the oldest one is dropped.

    Args:
        source_datapipe: the source, which sets the order.
        ref_datapipe: the other pipe. Each of its items is joined once at most.
        key_fn: returns the key of a source item.
        ref_key_fn: returns the key of an item of the other pipe; ``key_fn`` unless given. It is asked again for the
            items that wait when a run is restored.
        keep_key: give ``(key, result)``.
        buffer_size: how many items of the other pipe may wait; None for any number.
        merge_fn: makes the result of the two items, in place of a pair.

    Raises:
        ValueError: ``buffer_size`` is not above 0; (when run) two items that wait have the same key.
        BufferError: (when run) the other pipe ends, and no item has the key.

    State: that of the source, the other pipe's place, and where the waiting items are in it.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> images, labels = IterableWrapper(["a.png", "b.png"]), IterableWrapper(["b.txt", "a.txt"])
        >>> list(images.zip_with_iter(labels, key_fn=lambda path: path[0]))
        [('a.png', 'a.txt'), ('b.png', 'b.txt')]
    """

    def __init__(
        self,
        source_datapipe: IterDataPipe[Any],
        ref_datapipe: IterDataPipe[Any],
        key_fn: Callable[[Any], Any],
        ref_key_fn: Callable[[Any], Any] | None = None,
        keep_key: bool = False,
        buffer_size: int | None = 10000,
        merge_fn: Callable[[Any, Any], Any] | None = None,
    ) -> None:
        source_datapipe = check_source(self, source_datapipe)
        ref_datapipe = as_source(ref_datapipe)
        if not isinstance(ref_datapipe, IterDataPipe):
            raise TypeError(f"ref_datapipe must be an IterDataPipe, but got {type(ref_datapipe).__name__}")
        for function in (key_fn, ref_key_fn, merge_fn):
            if function is not None:
                check_callable(function)
        if buffer_size is not None and buffer_size <= 0:
            raise ValueError(f"'buffer_size' is required to be either None or a positive integer, got {buffer_size}")
        self.source_datapipe = source_datapipe
        self.ref_datapipe = ref_datapipe
        self.key_fn = key_fn
        self.ref_key_fn = key_fn if ref_key_fn is None else ref_key_fn
        self.keep_key = keep_key
        self.buffer_size = buffer_size
        self.merge_fn = merge_fn

    def __len__(self) -> int:
        return len(self.source_datapipe)

    def build(self, ctx: Context, state: State = None) -> Stream[Any]:
        saved = ctx.own(self, state)
        up = ctx.build(self.source_datapipe, saved[1] if saved else None)
        return holding(self, self.ref_datapipe, _Join(self, up), ctx, state, closers=(up,))


class _Join:
    """What waits of the other pipe, by key: number and item, the oldest first."""

    def __init__(self, pipe: IterKeyZipper, up: Stream[Any]) -> None:
        self._pipe = pipe
        self._up = up
        self._waiting: dict[Any, tuple[int, Any]] = {}
        self._warned = False

    def run(self, found: dict[int, Any], tape: Tape[Any], own: list[Any]) -> Iterator[Any]:
        pipe, waiting = self._pipe, self._waiting
        key_of, merge, keep = pipe.key_fn, pipe.merge_fn, pipe.keep_key
        for number, other in found.items():
            waiting[pipe.ref_key_fn(other)] = (number, other)
        others = enumerate(tape.it, tape.number)
        for item in self._up.it:
            key = key_of(item)
            if key not in waiting:
                self._read_until(key, others, item)
            other = waiting.pop(key)[1]
            result = (item, other) if merge is None else merge(item, other)
            yield (key, result) if keep else result

    def held(self) -> Iterable[int]:
        return [number for number, _ in self._waiting.values()]

    def own(self) -> list[Any]:
        return [self._up.state()]

    def _read_until(self, key: Any, others: Iterator[tuple[int, Any]], item: Any) -> None:
        limit = self._pipe.buffer_size
        for number, other in others:
            its_key = self._pipe.ref_key_fn(other)
            if its_key in self._waiting:
                raise ValueError(f"Duplicate key is found in the reference DataPipe: {its_key!r}")
            if limit is not None and len(self._waiting) >= limit:
                self._drop_oldest(limit)
            self._waiting[its_key] = (number, other)
            if its_key == key:
                return
        raise BufferError(
            f"No matching key can be found in the reference DataPipe for {item!r} (key {key!r}): it ends, or dropped "
            f"the item when more than {limit} waited (buffer_size)"
        )

    def _drop_oldest(self, limit: int) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"Buffer reaches the upper limit of {limit} items (buffer_size): from now on the oldest ones of the "
                "reference DataPipe are dropped, and cannot be joined any more. Consider a larger buffer_size",
                stacklevel=2,
            )
        del self._waiting[next(iter(self._waiting))]


@functional_datapipe("zip_with_map")
class MapKeyZipper(IterDataPipe[Any]):
    """Join each item with the one that a MapDataPipe has for its key, as a pair (functional name: ``zip_with_map``).

    Args:
        source_iterdatapipe: the source.
        map_datapipe: where keys are looked up.
        key_fn: returns the key of an item.
        merge_fn: makes the result of the two items, in place of a pair.
        keep_key: give ``(key, result)``.

    Raises:
        TypeError: ``map_datapipe`` is not a MapDataPipe.
        KeyError: (when run) it has no such key.

    State: none of its own.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> from penstock.pipes.map import SequenceWrapper
        >>> list(IterableWrapper([3, 4]).zip_with_map(SequenceWrapper(["even", "odd"]), lambda x: x % 2))
        [(3, 'odd'), (4, 'even')]
    """

    arity = ONE_TO_ONE

    def __init__(
        self,
        source_iterdatapipe: IterDataPipe[Any],
        map_datapipe: MapDataPipe[Any],
        key_fn: Callable[[Any], Any],
        merge_fn: Callable[[Any, Any], Any] | None = None,
        keep_key: bool = False,
    ) -> None:
        source_iterdatapipe = check_source(self, source_iterdatapipe)
        map_datapipe = as_source(map_datapipe)
        if not isinstance(map_datapipe, MapDataPipe):
            raise TypeError(f"map_datapipe must be a MapDataPipe, but its type is {type(map_datapipe).__name__}.")
        for function in (key_fn, merge_fn):
            if function is not None:
                check_callable(function)
        self.source_datapipe = source_iterdatapipe
        self.map_datapipe = map_datapipe
        self.key_fn = key_fn
        self.merge_fn = merge_fn
        self.keep_key = keep_key

    def __len__(self) -> int:
        return len(self.source_datapipe)

    def build(self, ctx: Context, state: State = None) -> Stream[Any]:
        return ctx.each(self, self.source_datapipe, state, self._joined)

    def _joined(self, item: Any) -> Any:
        key = self.key_fn(item)
        try:
            other = self.map_datapipe[key]
        except (KeyError, IndexError) as error:
            raise KeyError(
                f"key_fn maps {item!r} to {key!r}, which is not a valid key in the given MapDataPipe."
            ) from error
        result = (item, other) if self.merge_fn is None else self.merge_fn(item, other)
        return (key, result) if self.keep_key else result
