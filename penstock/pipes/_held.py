"""Steps that hold items for an unforeseeable time: groups, buckets, joins. What they share around a `Tape`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol, TypeVar

from penstock.core.context import Context
from penstock.core.pipe import IterDataPipe
from penstock.core.stream import State, Stream
from penstock.core.tape import Tape

__all__ = ["Holder", "holding"]

T = TypeVar("T")
U = TypeVar("U")
U_co = TypeVar("U_co", covariant=True)


class Holder(Protocol[U_co]):
    """A running step. All three are called on the thread that runs the stream."""

    def run(self, found: dict[int, Any], tape: Tape[Any], own: list[Any]) -> Iterator[U_co]:
        """Yield the step's items.

        ``found`` are the items that were held, by number and in order; those to come are read from ``tape.it``;
        ``own`` is what `own` returned when the state was saved, empty at the start.
        """
        ...

    def held(self) -> Iterable[int]:
        """Tell the numbers of the items that have been read and not yet given."""
        ...

    def own(self) -> list[Any]:
        """Return what else the step needs, as plain JSON values."""
        ...


def holding(
    pipe: IterDataPipe[U],
    source: IterDataPipe[T],
    holder: Holder[U],
    ctx: Context,
    state: State,
    closers: Iterable[Any] = (),
) -> Stream[U]:
    """Return the stream of a step that holds items of its source.

    Its state is the tape's place and held items, and the step's own.
    """
    name = ctx.name(pipe)
    saved = ctx.own(pipe, state)
    tape = Tape(name, lambda s: ctx.build(source, s), [saved[0] if saved else None], holder.held)
    begun = False

    def steps() -> Iterator[U]:
        nonlocal begun
        found = tape.fetch()
        begun = True
        yield from holder.run(found, tape, saved[1:] if saved else [])

    def tell() -> State:
        return {name: saved if saved and not begun else [tape.save(holder.held()), *holder.own()]}

    running = steps()
    return Stream(running, tell, closers=(running, tape, *closers))
