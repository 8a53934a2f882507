"""Steps that turn one item into a run of items: flatmap, unbatch, parsed files, listed folders.

The state is an anchor (the source's state ahead of the element that is being read) and a place in that element. A place
is a count of items unless the element has something better: a byte offset in a file, say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, Protocol, TypeVar

from penstock.core.bad import HOLE, BadSamples, Lossy, settled
from penstock.core.context import Context
from penstock.core.errors import StateError
from penstock.core.pipe import IterDataPipe, Pipe
from penstock.core.stream import State, Stream, consume, counted
from penstock.core.walk import describe

__all__ = ["Counted", "Part", "nested", "nested_parts"]

T = TypeVar("T")
U = TypeVar("U")


class Part(Protocol[U]):
    """One element, being read.

    ``it`` yields its items and closes what it opened when it ends or is closed. ``tell`` is asked between two items,
    on the thread that runs the stream.
    """

    it: Iterator[U]

    def tell(self) -> State: ...


class Counted:
    """An element whose place is the number of items it has given."""

    def __init__(self, items: Iterable[Any], given: int, name: str) -> None:
        source = iter(items)
        if given:
            skipped, seen = counted(source)
            consume(skipped, given)
            if seen() < given:
                raise StateError(
                    f"{name!r} cannot be restored: an element gave {given} items when the state was saved, and now "
                    f"only {seen()}; something in it or upstream of it is not deterministic"
                )
        self.it, self.tell = counted(source, given)


def nested(
    pipe: IterDataPipe[U],
    source: IterDataPipe[T],
    expand: Callable[[T], Iterable[U]],
    ctx: Context,
    state: State,
) -> Stream[U]:
    """Return the stream that yields the items of ``expand(x)`` for each source item ``x``."""
    name = ctx.name(pipe)
    return nested_parts(pipe, source, lambda x, given: Counted(expand(x), given or 0, name), ctx, state)


def nested_parts(
    pipe: IterDataPipe[U],
    source: IterDataPipe[T],
    open_part: Callable[[T, Any], Part[U]],
    ctx: Context,
    state: State,
) -> Stream[U]:
    """Return the stream that yields the items of the part that ``open_part(x, place)`` opens for each source item.

    ``place`` is None for a part that is read from its start, else what its ``tell`` once returned.
    """
    name = ctx.name(pipe)
    anchor, place = ctx.own(pipe, state) or (None, None)
    up = ctx.build(source, anchor, holes=True)
    if ctx.bad is not None:
        open_part = _tolerant(open_part, ctx.bad, pipe, ctx)
    if anchor is None:  # also the start is a place: what a cache repeats is not what its source would give now
        anchor = up.state()
    part: Part[U] | None = None

    def parts() -> Iterator[Iterator[U]]:
        nonlocal anchor, place, part
        while True:
            ahead = up.state()
            for x in up.it:  # noqa: B007  # it is used behind the loop: this takes one item, or sees the end
                break
            else:
                if place is not None:
                    raise StateError(
                        f"{name!r} cannot be restored: its source ends ahead of the element it was reading"
                    )
                return
            opened = open_part(x, place)
            anchor, place, part = ahead, None, opened
            yield opened.it

    def tell() -> State:
        here = part.tell() if part is not None else place
        return None if anchor is None and here is None else {name: [anchor, here]}

    running = parts()

    class _OpenPart:
        def close(self) -> None:
            if part is not None and hasattr(part.it, "close"):
                part.it.close()

    return Stream(chain.from_iterable(running), tell, closers=(running, _OpenPart(), up))


_LOST = "lost"  # the place in a part of which the rest could not be read


class _Tolerant:
    """A part that may fail: a hole stands for what is left of it then."""

    def __init__(
        self,
        part: Part[Any] | None,
        failed: Callable[[Exception], Any],
        hole: Any = None,
        watched: Callable[[Iterator[Any]], Iterator[Any]] = iter,
    ) -> None:
        self._part = part
        self._lost = part is None and hole is None
        self.it = self._run(failed, hole, watched)

    def _run(
        self, failed: Callable[[Exception], Any], hole: Any, watched: Callable[[Iterator[Any]], Iterator[Any]]
    ) -> Iterator[Any]:
        try:
            if self._part is not None:
                yield from watched(self._part.it)
        except Exception as error:
            hole = failed(error)
        if hole is not None:
            self._lost = True
            yield hole

    def tell(self) -> State:
        if self._lost:
            return _LOST
        return None if self._part is None else self._part.tell()


def _tolerant(
    open_part: Callable[[Any, Any], Part[Any]], bad: BadSamples, pipe: Pipe, ctx: Context
) -> Callable[[Any, Any], Part[Any]]:
    """Return ``open_part`` for sources in which a part may fail to open, or to be read."""
    where, calls = ctx.place(pipe), ctx.calls
    guarded = ctx.guarded(pipe, open_part)
    # What has been opened before is not left out altogether: of its items some have been given, and were counted.
    again = bad.guarded(open_part, where)

    def opened(x: Any, place: Any) -> Part[Any]:
        element = x.value if type(x) is Lossy else x

        def failed(error: Exception) -> Lossy:
            return Lossy(HOLE, [bad.loss(element, error, where)])

        def watched(items: Iterator[Any]) -> Iterator[Any]:
            return calls.watched_run(where["pipe"], describe(pipe), element, place, items) if calls else items

        part = None if place == _LOST else (guarded if place is None else again)(x, place)
        if type(part) is Lossy and part.value is HOLE:
            return _Tolerant(None, failed, part)
        loose = ctx.loose if place is None else Lossy(HOLE)  # of one opened before, what it had lost was counted then
        return _Tolerant(None if part is None else settled(part, loose), failed, watched=watched)

    return opened
