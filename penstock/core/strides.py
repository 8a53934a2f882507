"""One share of a stream that is dealt out in chunks: all of it, or every count-th chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, count, islice
from typing import TypeVar

from penstock.core.context import Share
from penstock.core.stream import State, Stream, counted
from penstock.core.witness import Watch

__all__ = ["Position", "places", "strided", "whole"]

T = TypeVar("T")
Position = tuple[int, State]  # (chunk, state of the stream ahead of the point when it gives that chunk next)


def whole(up: Stream[T], share: Share, first: int) -> tuple[Stream[T], Callable[[], Position]]:
    """Return the stream of the only share, and its position; ``up`` gives chunk ``first`` next."""
    if share.first > first:
        up.skip((share.first - first) * share.chunk)
        first = share.first
    it, taken = up.it, share.taken
    if taken is None:
        it, items = counted(it)
        taken = lambda: -(-items() // share.chunk)  # noqa: E731

    def position() -> Position:
        return first + taken(), up.state()

    def skip(n: int) -> None:
        nonlocal first
        up.skip(n)
        first += n // share.chunk

    places = partial(count, first * share.chunk)

    stream = Stream(it, position, skip=skip, places=places, data=up.data, closers=(up,))
    return stream, position


def strided(
    up: Stream[T], share: Share, first: int, watching: Callable[[int], Watch]
) -> tuple[Stream[T], Callable[[], Position]]:
    """Return the stream of one share of several, and its position; ``up`` gives chunk ``first`` next."""
    at = first  # the chunk that ``up`` gives next

    def chunks() -> Iterator[list[T]]:
        nonlocal at
        found, size, watch = 0, share.chunk, watching(max(first, share.first))
        looked = watch.next
        while True:
            own = _own(share, at)
            while looked < own:
                up.skip((looked - at) * size)
                at = looked
                if not watch.look(up):
                    watch.ended(found, at * size)
                    return
                looked = watch.next
                found = at * size + 1
                up.skip(size - 1)
                at += 1
            if own > at:
                up.skip((own - at) * size)
            taken = list(islice(up.it, size))
            if not taken:
                watch.ended(found, own * size)
                return
            if looked == own:
                watch.saw(taken[0])
                looked = watch.next
            found, at = own * size + len(taken), own + 1
            yield taken
            if len(taken) < size:
                watch.ended(found, found)
                return

    dealer = chunks()
    it = chain.from_iterable(dealer)

    def position() -> Position:
        return at, up.state()

    stream = Stream(it, position, places=partial(places, share, first), data=up.data, closers=(dealer, up))
    return stream, position


def places(share: Share, first: int) -> Iterator[int]:
    """Yield the global positions of a share's items, from its first chunk at or after ``first``."""
    mine = _own(share, first)
    chunks = count(mine, share.count)
    if share.chunk == 1:
        return chunks
    return chain.from_iterable(range(b * share.chunk, (b + 1) * share.chunk) for b in chunks)


def _own(share: Share, chunk: int) -> int:
    """Return the first chunk of a share at or behind one."""
    chunk = max(chunk, share.first)
    return chunk + (share.index - chunk) % share.count
