"""Grouper (``groupby``)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, TypeVar

from penstock.core.chunk import DataChunk
from penstock.core.context import Context
from penstock.core.pipe import IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.core.tape import Tape
from penstock.pipes._columns import check_callable
from penstock.pipes._held import holding

T = TypeVar("T")


@functional_datapipe("groupby")
class Grouper(IterDataPipe[Any]):
    """Gather items that have the same key into lists (functional name: ``groupby``).

    A group is given when it has ``group_size`` items. When ``buffer_size`` items wait, the biggest group is given as it
    is, if it has ``guaranteed_group_size`` items. At the end come the groups that remain, in the order in which they
    began.

    Args:
        datapipe: the source.
        group_key_fn: returns an item's key. It is asked again for the items that wait when a run is restored.
        keep_key: give ``(key, group)``.
        buffer_size: how many items may wait.
        group_size: items per group; None for groups as big as the buffer allows.
        guaranteed_group_size: the least that a group may have when the buffer is full, ``group_size`` unless given.
        drop_remaining: drop a biggest group that is too small, instead of failing.

    Raises:
        AssertionError: the sizes do not fit together.
        RuntimeError: (when run) the buffer is full and its biggest group is too small.

    State: the source's place, and where the waiting items are in it.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper(["a1", "b1", "a2", "b2", "a3"]).groupby(lambda x: x[0], group_size=2))
        [['a1', 'a2'], ['b1', 'b2'], ['a3']]
    """

    def __init__(
        self,
        datapipe: IterDataPipe[T],
        group_key_fn: Callable[[T], Any],
        *,
        keep_key: bool = False,
        buffer_size: int = 10000,
        group_size: int | None = None,
        guaranteed_group_size: int | None = None,
        drop_remaining: bool = False,
    ) -> None:
        datapipe = check_source(self, datapipe)
        check_callable(group_key_fn)
        if buffer_size < 1:
            raise AssertionError(f"buffer_size must be at least 1, got {buffer_size}")
        if group_size is not None and not 0 < group_size <= buffer_size:
            raise AssertionError(f"group_size must be from 1 to buffer_size ({buffer_size}), got {group_size}")
        if guaranteed_group_size is not None and not (
            group_size is not None and 0 < guaranteed_group_size <= group_size
        ):
            raise AssertionError(
                f"guaranteed_group_size must be from 1 to group_size ({group_size}), got {guaranteed_group_size}"
            )
        self.datapipe: IterDataPipe[Any] = datapipe
        self.group_key_fn: Callable[[Any], Any] = group_key_fn
        self.keep_key = keep_key
        self.buffer_size = buffer_size
        self.group_size = group_size
        self.guaranteed_group_size = group_size if guaranteed_group_size is None else guaranteed_group_size
        self.drop_remaining = drop_remaining

    def build(self, ctx: Context, state: State = None) -> Stream[Any]:
        return holding(self, self.datapipe, _Groups(self), ctx, state)


class _Groups:
    """The groups that fill, in the order in which they began: of each, its items' numbers and its items."""

    def __init__(self, pipe: Grouper) -> None:
        self._pipe = pipe
        self._groups: dict[Any, tuple[list[int], list[Any]]] = {}

    def run(self, found: dict[int, Any], tape: Tape[Any], own: list[Any]) -> Iterator[Any]:
        groups, key_of, size, room = (
            self._groups,
            self._pipe.group_key_fn,
            self._pipe.group_size,
            self._pipe.buffer_size,
        )
        for number, item in found.items():
            self._put(key_of(item), number, item)
        waiting = len(found)
        for number, item in enumerate(tape.it, tape.number):
            key = key_of(item)
            filled = self._put(key, number, item)
            waiting += 1
            if filled == size:
                waiting -= filled
                yield self._given(key)
            elif waiting >= room:
                key = max(groups, key=lambda key: len(groups[key][0]))  # of several as big, the one that began first
                waiting -= len(groups[key][0])
                if self._is_big_enough(key):
                    yield self._given(key)
                else:
                    del groups[key]
        while groups:
            yield self._given(next(iter(groups)))

    def held(self) -> Iterable[int]:
        return chain.from_iterable(numbers for numbers, _ in self._groups.values())

    def own(self) -> list[Any]:
        return []

    def _put(self, key: Any, number: int, item: Any) -> int:
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = ([], [])
        group[0].append(number)
        group[1].append(item)
        return len(group[1])

    def _given(self, key: Any) -> Any:
        group = DataChunk(self._groups.pop(key)[1])
        return (key, group) if self._pipe.keep_key else group

    def _is_big_enough(self, key: Any) -> bool:
        """Tell whether the biggest group may be given; if not, it may perhaps be dropped."""
        size, least = len(self._groups[key][0]), self._pipe.guaranteed_group_size
        if least is None or size >= least:
            return True
        if self._pipe.drop_remaining:
            return False
        raise RuntimeError(
            f"Failed to group items: {self._pipe.buffer_size} items wait (buffer_size), and the biggest group, of key "
            f"{key!r}, has {size}, fewer than the {least} that a group is guaranteed to have. Raise buffer_size, lower "
            "guaranteed_group_size, or set drop_remaining"
        )
