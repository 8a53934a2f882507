"""Pipes that users wrote for torchdata: a class with a generator ``__iter__``.

Inside ``__iter__``, ``for x in self.source_datapipe`` must run in the context of the stream that runs it (rank, worker,
lane, seed), so the method runs on a shallow copy of the pipe whose sources are *handles*: copies, too, of a class that
differs from the source's only in where iterating leads.

A generator has no place that could be saved, so the stream is restored by replay, and checks that the replay takes
exactly as many source items as it did the first time. Restored at once are an iterator with ``state_dict`` and
``load_state_dict``, and a pipe whose class says ``arity = ONE_TO_ONE``: one item of each item of its one source.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from penstock.core.context import Context, current_context
from penstock.core.errors import StateError
from penstock.core.pipe import OTHER, IterDataPipe, iterates_itself
from penstock.core.stream import State, Stream, counted
from penstock.core.walk import describe

if TYPE_CHECKING:
    from penstock.core.pipe import Pipe

__all__ = ["user_stream"]

_REPLAY_WORTH_A_WORD = 10_000


@runtime_checkable
class Stateful(Protocol):
    """An iterator that can save and restore its place, as torchdata's stateful iterators do."""

    def state_dict(self) -> Any: ...

    def load_state_dict(self, state_dict: Any) -> None: ...


def user_stream(pipe: IterDataPipe[Any], ctx: Context, state: State) -> Stream[Any]:
    """Return the stream of a pipe whose class has an ``__iter__`` and no ``build``."""
    if not iterates_itself(type(pipe)):
        raise NotImplementedError(f"{type(pipe).__name__} has neither __iter__ nor build")
    taken: list[Callable[[], int]] = []
    sources = [source for source in pipe.sources if isinstance(source, IterDataPipe)]
    if pipe.arity != OTHER and len(sources) == 1:  # the user says that it holds nothing between two items
        ready = _Opened()  # built now, as what stands behind this pipe may ask for the items' places
        if not pipe.is_sharding_point:
            ready.append(ctx.build(sources[0], state))
        places = ready[0].places if ready and pipe.arity == 1 else None
        bound, opened = _bind(pipe, ctx, taken, state, ready)
        steps = _in_context(_iterated(bound, ctx), ctx, 0, None)
        place_now = lambda: opened[0].state() if opened else state  # noqa: E731
        return Stream(steps, place_now, places=places, closers=(steps, opened, ready))
    name = ctx.name(pipe)
    saved = ctx.own(pipe, state)
    bound, opened = _bind(pipe, ctx, taken, None, [])
    it = _iterated(bound, ctx)
    if isinstance(it, Stateful):
        if saved is not None:
            it.load_state_dict(saved["own"])
        place = it.state_dict
        return Stream(_in_context(it, ctx, 0, None), lambda: {name: {"own": place()}}, closers=(opened,))
    count, expected, *at_end = saved or (0, [])  # at its end it has looked for more items than its last one took

    def tell() -> list[int]:
        return [source() for source in taken]

    def check(done: int, *, ended: bool = False) -> None:
        if done < count or (tell() != expected and (ended or not at_end)):
            raise StateError(
                f"pipe {name!r} ({describe(pipe)}) cannot be restored: its first {count} items took {expected} items "
                f"of its sources when the state was saved, and now {done} items took {tell()}; "
                "something in it or upstream of it is not deterministic"
            )

    if count > _REPLAY_WORTH_A_WORD:
        import logging

        logging.getLogger("penstock").warning(
            "restoring %s by replaying %d items; give its iterator a state_dict() to save that", name, count
        )
    run = _in_context(it, ctx, count, check)
    items, given = counted(run, count)
    started = False
    ended: list[bool] = []

    def start() -> Iterator[Any]:
        nonlocal started
        started = True
        if at_end:
            check(count - sum(1 for _ in items), ended=True)
        else:
            yield from items
        ended.append(True)

    first = start()
    return Stream(
        first,
        lambda: {name: [given(), tell(), *ended]} if started else ({name: saved} if saved else None),
        closers=(first, run, opened),
    )


def _iterated(bound: Any, ctx: Context) -> Iterator[Any]:
    """Return the pipe's iterator; its ``__iter__`` may be more than a generator's, and run code here."""
    token = current_context.set(ctx)
    try:
        return iter(bound)
    finally:
        current_context.reset(token)


def _in_context(it: Iterator[Any], ctx: Context, replayed: int, check: Callable[[int], None] | None) -> Iterator[Any]:
    """Step an iterator with ``current_context`` set to its stream's; first step over ``replayed`` items."""
    done = 0
    try:
        while True:
            token = current_context.set(ctx)
            try:
                item = next(it)
            except StopIteration:
                if done < replayed and check is not None:
                    check(done)
                return
            finally:
                current_context.reset(token)
            if done >= replayed:
                yield item
            else:
                done += 1
                if done == replayed and check is not None:
                    check(done)
    finally:
        close = getattr(it, "close", None)
        if close is not None:
            close()


class _SourceIterator:
    """What iterating over a source gives inside a user's pipe.

    It can save and restore its place, for iterators of users that do so themselves.
    """

    def __init__(self, stream: Stream[Any], build: Callable[[State], Stream[Any]], opened: _Opened) -> None:
        self._build = build
        self._opened = opened
        self._begin(stream)

    def _begin(self, stream: Stream[Any]) -> None:
        self._stream = stream
        self._opened.append(stream)
        self._items, self.count = counted(stream.it)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self._items)

    def state_dict(self) -> dict[str, Any]:
        """Return the source's place after the last item, as plain JSON values."""
        return {"state": self._stream.state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a place that `state_dict` returned."""
        self._opened.remove(self._stream)
        self._stream.close()
        self._begin(self._build(state_dict["state"]))


class _Opened(list[Stream[Any]]):
    """The streams that a user's pipe has opened over its sources."""

    def close(self) -> None:
        for stream in self:
            stream.close()


def _bind(
    pipe: IterDataPipe[Any], ctx: Context, taken: list[Callable[[], int]], state: State, ready: list[Stream[Any]]
) -> tuple[Any, _Opened]:
    """Return the copy that runs: its sources are handles, and torchdata's hooks have been called on it."""
    opened = _Opened()
    inner = ctx.ahead_of_point() if pipe.is_sharding_point else ctx
    handles: list[Pipe] = [
        _handle(source, inner, taken, opened, state, ready) if isinstance(source, IterDataPipe) else source
        for source in pipe.sources
    ]
    bound: Any = copy.copy(pipe).with_sources(*handles)
    if ctx.share is not None and pipe.is_sharding_point:
        bound.apply_sharding(ctx.share.count, ctx.share.index)
    if hasattr(bound, "set_seed"):
        bound.set_seed(ctx.key(pipe)[0] & 0x7FFF_FFFF_FFFF_FFFF)
    if hasattr(bound, "reset"):
        bound.reset()
    return bound, opened


def _handle(
    source: IterDataPipe[Any],
    ctx: Context,
    taken: list[Callable[[], int]],
    opened: _Opened,
    state: State,
    ready: list[Stream[Any]],
) -> IterDataPipe[Any]:
    def iterate(_: Any) -> Iterator[Any]:
        stream = ready.pop() if ready else ctx.build(source, state)
        iterator = _SourceIterator(stream, lambda place: ctx.build(source, place), opened)
        taken.append(lambda: iterator.count())
        return iterator

    cls = type(source)
    handle = copy.copy(source)
    handle.__class__ = type(cls.__name__, (cls,), {"__iter__": iterate, "__module__": cls.__module__})
    return handle
