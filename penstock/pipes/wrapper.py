"""IterableWrapper: any iterable as a pipe."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any, TypeVar

from penstock.core.context import Context
from penstock.core.errors import GraphError, StateError
from penstock.core.pipe import IterDataPipe, Pipe, as_source
from penstock.core.stream import State, Stream, consume, counted, sequence_stream

T = TypeVar("T")

_BUILT_IN = (list, tuple, range, str, bytes)
# From so many strings on, a list is pickled as one text.
_WORTH_JOINING = 1000
_IMMUTABLE = frozenset({int, float, complex, bool, str, bytes, type(None)})


class IterableWrapper(IterDataPipe[T]):
    """Wrap an iterable: yields its items.

    Args:
        iterable: a list, tuple, range, array, set, dict (its keys), torch ``Dataset`` or ``IterableDataset``, or
            anything else with ``__iter__``. A set has no order of its own, so it is put into one that is the same in
            every process.
        deepcopy: give copies of the items, so that what a later step does to an item does not change the source.
            Numbers and strings are not copied, as nothing can change them.

    State: the index of the next item. An iterable without an index (a generator) is restored by replay; one that
    cannot be iterated twice cannot be restored.

    Example:
        >>> list(IterableWrapper([3, 1, 2]))
        [3, 1, 2]
    """

    def __init__(self, iterable: Iterable[T], deepcopy: bool = True) -> None:
        self.iterable = as_source(iterable)
        self.deepcopy = deepcopy
        self._once = _Once(iterable) if isinstance(iterable, Iterator) else None

    @property
    def sources(self) -> tuple[Pipe, ...]:
        return (self.iterable,) if isinstance(self.iterable, IterDataPipe) else ()

    def __len__(self) -> int:
        return len(self.iterable)  # type: ignore[arg-type]  # a TypeError is what an unsized source should give

    def holds(self) -> Any:
        return len(self.iterable) if isinstance(self.iterable, Sized) else None

    def __getstate__(self) -> dict[str, Any]:
        state = dict(vars(self))
        if isinstance(self.iterable, (set, frozenset)):
            state["iterable"] = _Ordered(_in_order(self.iterable))
        elif type(self.iterable) is list and len(self.iterable) >= _WORTH_JOINING:
            state["iterable"] = _joined(self.iterable)
        return state

    def build(self, ctx: Context, state: State = None) -> Stream[T]:
        if isinstance(self.iterable, IterDataPipe):
            return ctx.build(self.iterable, state)
        name = ctx.name(self)
        saved = ctx.own(self, state)
        if self._once is not None:
            return self._once.stream(saved or 0, name)
        items = _as_sequence(self.iterable)
        if items is None:
            return _replayed(self.iterable, saved, name, self.deepcopy)
        position, mark = saved or (0, None)
        own_mark = _mark(items) if isinstance(self.iterable, (set, frozenset, _Ordered)) else len(items)
        if mark is not None and mark != own_mark:
            raise StateError(f"{name!r} has other items than when the state was saved ({mark} against {own_mark})")
        stream: Stream[Any]
        if _is_indexed_only(items):
            where = sequence_stream(range(len(items)), position, lambda n: {name: [n, own_mark]})
            stream = where.onward((items[i] for i in where.it), skip=where.skip)
        else:
            stream = sequence_stream(items, position, lambda n: {name: [n, own_mark]})
        if self.deepcopy and not _all_immutable(items):
            stream = stream.onward((copy.deepcopy(item) for item in stream.it), skip=stream.skip)
        return stream


class _Once:
    """An iterator that nobody can begin again: how many items it has given, and to whom."""

    def __init__(self, it: Iterator[Any]) -> None:
        self.it = it
        self.given = 0
        self.reader: object = None

    def stream(self, begun: int, name: str) -> Stream[Any]:
        reader = _OnceReader(self, name)
        if begun and begun >= self.given:
            consume(reader, begun - self.given)
        if begun and begun != self.given:
            raise StateError(
                f"{name!r} wraps an iterator, which cannot be iterated twice: the state was saved behind item {begun}, "
                f"and the iterator is behind item {self.given}"
            )
        return Stream(reader, lambda: {name: self.given} if self.given else None)


class _OnceReader(Iterator[Any]):
    """One stream over such an iterator. Two that take turns would each get half of the items, in silence."""

    def __init__(self, once: _Once, name: str) -> None:
        self._once = once
        self._name = name
        self._begun = False

    def __next__(self) -> Any:
        once = self._once
        if not self._begun:
            self._begun = True
            once.reader = self
        elif once.reader is not self:
            raise GraphError(
                f"{self._name!r} wraps an iterator, which cannot be iterated twice, and another stream has begun to "
                "read it (the pipes of a fork share their source only where one graph joins them again)"
            )
        item = next(once.it)
        once.given += 1
        return item


class _Ordered(list[Any]):
    """A set that was put in order."""


def _joined(items: list[Any]) -> Any:
    """Return a list of strings as something that pickles as one buffer, and unpickles as the list.

    For workers that start: with 128 MB of strings the first batch comes after 1.1 s, and after 1.6 s if they are
    pickled one by one.
    """
    if set(map(type, items)) != {str}:
        return items
    text = "\0".join(items)
    return items if text.count("\0") != len(items) - 1 else _Joined(text)


class _Joined:
    def __init__(self, text: str) -> None:
        self._text = text

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        data = self._text.encode("utf-8", "surrogatepass")
        return _split, (pickle.PickleBuffer(data) if protocol >= 5 else data,)


def _split(data: Any) -> list[str]:
    return str(data, "utf-8", "surrogatepass").split("\0")


def _as_sequence(iterable: Iterable[Any]) -> Sequence[Any] | None:
    """Return the iterable as a sequence that nothing changes under a running stream; None if it has no index."""
    if isinstance(iterable, (list, dict)) or type(iterable).__name__ in ("deque", "dict_keys", "dict_values"):
        return list(iterable)
    if isinstance(iterable, (set, frozenset)):
        return _in_order(iterable)
    if isinstance(iterable, (tuple, range, str, bytes)):
        return iterable
    if type(iterable).__module__ in ("numpy", "torch") and hasattr(iter(iterable), "__setstate__"):
        return iterable  # type: ignore[return-value]  # an array's iterator knows its place
    return iterable if _is_indexed_only(iterable) else None  # type: ignore[return-value]  # it has [i] and len


def _is_indexed_only(iterable: Any) -> bool:
    """Whether it is a torch ``Dataset`` or another class to be read by index: many of them never raise IndexError."""
    if not (hasattr(iterable, "__len__") and hasattr(iterable, "__getitem__")):
        return False
    return not hasattr(iterable, "__iter__") or (isinstance(iterable, Sequence) and not isinstance(iterable, _BUILT_IN))


def _in_order(items: Iterable[Any]) -> list[Any]:
    try:
        return sorted(items)
    except TypeError:
        return sorted(items, key=lambda item: (type(item).__qualname__, repr(item)))


def _mark(items: Sequence[Any]) -> str:
    import hashlib

    return hashlib.blake2b(repr(items).encode(), digest_size=8).hexdigest()


def _all_immutable(items: Sequence[Any]) -> bool:
    if isinstance(items, (list, tuple)):
        return set(map(type, items)) <= _IMMUTABLE
    dtype = getattr(items, "dtype", None)  # looking at each item of anything else might read all of a data set
    numbers = getattr(items, "ndim", 0) == 1 and getattr(dtype, "kind", "O") != "O"
    return numbers or isinstance(items, (range, str, bytes))


def _replayed(iterable: Iterable[T], saved: Any, name: str, deepcopy: bool) -> Stream[T]:
    if deepcopy:
        try:
            iterable = copy.deepcopy(iterable)
        except TypeError:
            warnings.warn(
                "The input iterable can not be deepcopied, please be aware of in-place modification would affect "
                "source data.",
                stacklevel=2,
            )
    it = iter(iterable)
    begun = saved or 0
    if begun:
        rest, seen = counted(it)
        consume(rest, begun)
        if seen() < begun:
            raise StateError(f"{name!r} gave {begun} items when the state was saved, and now only {seen()}")
    items, count = counted(it, begun)
    return Stream(items, lambda: {name: count()} if count() else None, closers=(it,) if hasattr(it, "close") else ())
