"""InMemoryCacheHolder (``in_memory_cache``): read once, replayed in later epochs.

The first pass that comes to its end is the *original*. Every later pass over the pipe repeats it: the same items in the
same order, whatever a shuffle ahead of the cache would do in that epoch. Memory only decides what that costs. The items
that fit come from memory; what stands behind them is read again from the source, which is built as the original was::

    original    source in (seed, epoch, passes) of its run:   0 1 2 . . . . . . . . . . . . . . . . . n
    memory      items                                         0 1 2 . . . . . k
                states of the source, every 32 items          ^       ^       ^       ^      ^
    later pass                                                from memory     | from the source, in the original's
                                                                              | context, from the state kept at k

So a state says which context the original has, and a place in it: the source's state at most 32 items ahead of the
place, and the distance. Nothing in it depends on what is in memory. A fresh process builds the source in that context,
from that state, and goes on; it also learns so that there is an original, and the passes that follow repeat (and keep)
it, as they would have without the interruption. A state of the original itself, taken before its end, tells nothing
of the kind: the pass becomes the original when it comes to its end, and if it is left early there is none yet.

What is kept lives in an object of the pipe's own (`Memory`). It pickles empty, and a copy of the pipe begins with an
empty one, since the copy may have another source; each worker process fills its own, for the share of the work that it
does. Two passes that run side by side before there is an original both read the source, and the first to end is it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Generic, Self, TypeVar

from penstock.core.context import Context
from penstock.core.pipe import IterDataPipe, Pipe, check_source, no_length
from penstock.core.registry import functional_datapipe
from penstock.core.sharing import Child
from penstock.core.stream import State, Stream, sequence_stream
from penstock.core.walk import Names, walk
from penstock.pipes._memory import Filling, Kept, Memory, Origin, Place, Reading

T = TypeVar("T")


@functional_datapipe("in_memory_cache")
class InMemoryCacheHolder(IterDataPipe[T]):
    """Keep items in memory in the first epoch, and repeat them in later ones (functional name: ``in_memory_cache``).

    The first pass that comes to its end is kept, and every later one repeats it, in its order: place a ``shuffle``
    behind the cache. Items are measured (arrays and tensors by their bytes, containers with all that is in them); those
    behind the first that does not fit are read from the source again in each epoch. The objects themselves are kept, so
    what is behind the cache must not change them in place.

    Args:
        source_datapipe: the source.
        size: how many megabytes (of 1024 * 1024 bytes) of items to keep; no limit unless given.

    Raises:
        ValueError: ``size`` is negative.

    State: the seed and epoch of the pass that is repeated, the source's state at most 32 items ahead of the place in
        it, and the distance.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> read = []
        >>> pipe = IterableWrapper([1, 2]).map(lambda x: read.append(x) or x * 10).in_memory_cache()
        >>> list(pipe), list(pipe), read
        ([10, 20], [10, 20], [1, 2])
    """

    def __init__(self, source_dp: IterDataPipe[T], size: float | None = None) -> None:
        source_dp = check_source(self, source_dp)
        if size is not None and size < 0:
            raise ValueError(f"size must not be negative, got {size}")
        self.datapipe = source_dp
        self.size = size
        self._memory = Memory(None if size is None else int(size * 1024 * 1024))

    def __copy__(self) -> Self:
        new = super().__copy__()
        new._memory = Memory(self._memory.limit)
        return new

    def with_sources(self, *sources: Pipe) -> Self:
        new = super().with_sources(*sources)
        if new is not self:
            new._memory = Memory(self._memory.limit)
        return new

    def __len__(self) -> int:
        try:
            return len(self.datapipe)
        except TypeError:
            counts = [held.kept.count for held in self._memory.held.values() if held.kept is not None]
            if len(counts) == 1:
                return counts[0]
            raise TypeError(f"{no_length(self)} until the cache is loaded") from None

    def build(self, ctx: Context, state: State = None) -> Stream[T]:
        name = ctx.name(self)
        held = self._memory.of(ctx)
        mine: Origin = [ctx.seed, ctx.epoch, [list(number) for number in ctx.passes]]
        saved = ctx.own(self, state)
        if saved is None:
            origin, start = held.origin or mine, (0, None, 0)
        else:
            origin, start = saved[0], tuple(saved[1:])
            if ctx.trace is None:
                held.meet(origin, repeated=origin != mine)
        original = ctx if origin == mine else _original(ctx, self.datapipe, origin)
        reading: Reading[T] | _Repeating[T]
        if held.kept is not None and held.origin == origin:
            absent = self._absent(ctx, start)
            reading = _Repeating(lambda s: original.build(self.datapipe, s), held.kept, start)
        else:
            absent = self._absent(ctx, start) if original is not ctx else ()
            reading = Reading(original.build(self.datapipe, start[1]), start, Filling(held, origin))

        def pieces() -> Iterator[Iterator[T]]:
            for stream in absent:
                stream.close()
            yield from reading.pieces()

        running = pieces()

        def tell() -> State:
            return {name: [origin, *(reading.place() or start)]}

        return Stream(chain.from_iterable(running), tell, closers=(running, reading, *absent))

    def _absent(self, ctx: Context, start: Place) -> tuple[Stream[T], ...]:
        """Return a stream over the source as it is in this pass, where a fork's other pipes wait for it.

        It is closed before it gives anything, which tells them not to.
        """
        wanted = start[0] + start[2] == 0 and any(isinstance(pipe, Child) for pipe in walk(self.datapipe))
        return (ctx.build(self.datapipe),) if wanted else ()


class _Repeating(Generic[T]):
    """A later pass: what is in memory, and then the rest, from the source."""

    def __init__(self, build: Callable[[State], Stream[T]], kept: Kept, start: Place) -> None:
        self._build = build
        self._kept = kept
        self._start = start
        self._from_memory: Stream[T] | None = None
        self._rest: Reading[T] | None = None

    def pieces(self) -> Iterator[Iterator[T]]:
        """Yield the items, in pieces."""
        kept, start = self._kept, self._start
        number = start[0] + start[2]
        if number < len(kept.items):
            self._from_memory = sequence_stream(kept.items, number)
            yield self._from_memory.it
            start = kept.place(len(kept.items))
        if start[0] + start[2] < kept.count:
            self._rest = Reading(self._build(start[1]), start)
            yield from self._rest.pieces()

    def place(self) -> Place | None:
        """Return where it stands, None ahead of the first item."""
        if self._rest is not None and (place := self._rest.place()) is not None:
            return place
        return None if self._from_memory is None else self._kept.place(self._from_memory.state())

    def close(self) -> None:
        """Close the source, if it was needed."""
        if self._rest is not None:
            self._rest.close()


def _original(ctx: Context, source: Pipe, origin: Origin) -> Context:
    """Return the context of the original, in a pass that repeats it.

    What the streams of this run have in common (a fork's source, the stream ahead of a sharding point) is not for a
    stream of another one, so the source is built as if it were alone.
    """
    seed, epoch, passes = origin
    share = ctx.share
    if share is not None:
        share = share.alone()
    names = Names(walk(source))
    names.update(ctx.names)
    passes = tuple((cycle, number) for cycle, number in passes)
    return replace(ctx, names=names, seed=seed, epoch=epoch, passes=passes, share=share, shared={})
