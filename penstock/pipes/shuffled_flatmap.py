"""ShuffledFlatMapper (``shuffled_flatmap``)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from penstock.core.context import Context
from penstock.core.pipe import IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.core.tape import Tape
from penstock.pipes._columns import Columns, check_columns, pick
from penstock.pipes._draws import draws
from penstock.pipes._held import holding
from penstock.pipes._nested import Counted, nested
from penstock.pipes._shuffling import Shuffling, shuffle_key

T = TypeVar("T")
U = TypeVar("U")


@functional_datapipe("shuffled_flatmap")
class ShuffledFlatMapper(Shuffling, IterDataPipe[U]):
    """Turn each item into any number of items, and mix those of several (functional name: ``shuffled_flatmap``).

    Each next item comes from one of the iterables that are open, chosen at random. When one ends, the next begins.
    With shuffling switched off it is a `flatmap`.

    Args:
        datapipe: the source.
        fn: returns an iterable; without it the items themselves are the iterables.
        input_col: the columns of an item that ``fn`` gets; the whole item unless given.
        buffer_size: how many iterables are open, at least 1.

    Raises:
        ValueError: ``buffer_size`` is below 1.

    State: where the open items are in the source, how many of each one's items have been given, and how many choices
        have been made. Restoring opens them again, and steps over what was given.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> sorted(IterableWrapper(["ab", "c", "de"]).shuffled_flatmap(buffer_size=2))
        ['a', 'b', 'c', 'd', 'e']
    """

    def __init__(
        self,
        datapipe: IterDataPipe[T],
        fn: Callable[..., Iterable[U]] | None = None,
        input_col: Columns | None = None,
        buffer_size: int = 100,
    ) -> None:
        datapipe = check_source(self, datapipe)
        if fn is not None:
            check_columns(fn, input_col)
        if buffer_size < 1:
            raise ValueError(f"buffer_size should be larger than 0, got {buffer_size}")
        self.datapipe: IterDataPipe[Any] = datapipe
        self.fn = fn
        self.input_col = input_col
        self.buffer_size = buffer_size

    def __len__(self) -> int:
        if self.fn is not None or self.input_col is not None:
            raise TypeError(f"{type(self).__name__}'s length relies on the output of its function.")
        return sum(len(item) for item in self.datapipe)

    def build(self, ctx: Context, state: State = None) -> Stream[U]:
        if not self._enabled:
            return nested(self, self.datapipe, self.expand, ctx, state)
        name = ctx.name(self)
        key = shuffle_key(self, ctx)
        return holding(self, self.datapipe, _Open(self, name, key), ctx, state)

    def expand(self, item: Any) -> Iterable[U]:
        """Return the items of one item."""
        arguments = (item,) if self.input_col is None else pick(item, self.input_col)
        return self.fn(*arguments) if self.fn is not None else arguments[0]


class _Open:
    """The iterables that are open, in the order of their items."""

    def __init__(self, pipe: ShuffledFlatMapper[Any], name: str, key: tuple[int, int]) -> None:
        self._pipe = pipe
        self._name = name
        self._key = key
        self._slots: list[tuple[int, Counted, Any]] = []
        self._drawn: Callable[[], int] = lambda: 0

    def run(self, found: dict[int, Any], tape: Tape[Any], own: list[Any]) -> Iterator[Any]:
        slots = self._slots
        drawn, given = own or (0, [])
        for (number, item), passed in zip(found.items(), given, strict=True):
            self._add(number, item, passed)
        numbers, self._drawn = draws(self._key, drawn)
        items = enumerate(tape.it, tape.number)
        try:
            while True:
                if len(slots) < self._pipe.buffer_size:
                    for number, item in items:
                        self._add(number, item)
                        if len(slots) == self._pipe.buffer_size:
                            break
                if not slots:
                    return
                chosen = int(next(numbers) * len(slots))
                for x in slots[chosen][1].it:
                    yield x
                    break
                else:
                    del slots[chosen]
        finally:
            for _, _, it in slots:
                if hasattr(it, "close"):
                    it.close()

    def held(self) -> Iterable[int]:
        return [number for number, _, _ in self._slots]

    def own(self) -> list[Any]:
        return [self._drawn(), [slot.tell() for _, slot, _ in self._slots]]

    def _add(self, number: int, item: Any, passed: int = 0) -> None:
        it = iter(self._pipe.expand(item))
        self._slots.append((number, Counted(it, passed, self._name), it))
