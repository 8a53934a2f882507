"""The sharding point: one stream, dealt out in chunks.

Chunk b of the stream ahead of the point goes to share ``b mod count``. A position is ``[b, state]``: the stream ahead,
standing at ``state``, gives chunk b next, and the share's own next chunk is the first one of its own at or after b.
Whoever continues from a position needs no more than that, on any number of workers:

- with blocks, every batch before b has been delivered, so any worker of any new topology starts from the same position;
- with lanes, each lane has a position of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from penstock.core.context import Share
from penstock.core.feed import Feed
from penstock.core.stream import State, Stream
from penstock.core.strides import Position, strided, whole
from penstock.core.witness import Finding, Watch

__all__ = ["deal"]

T = TypeVar("T")


def deal(
    build: Callable[[State], Stream[T]],
    share: Share,
    start: Position,
    feed_key: tuple[Any, ...],
    witness: Callable[[Finding], object] | None = None,
    functions: bool = True,
    rows: bool = True,
) -> tuple[Stream[T], Callable[[], Position]]:
    """Return the stream of one share, and the function that tells its position.

    Args:
        build: builds the stream ahead of the point from a state of it.
        share: which chunks to take.
        start: where to begin.
        feed_key: names the point and pass, so that the lanes of one process find their common stream.
        witness: takes what is seen of the stream ahead of the point.
        functions: whether functions of the user's make what is seen.
        rows: whether the stream may be one of indices into a MapDataPipe.
    """
    if share.count == 1:
        return whole(build(start[1]), share, start[0])

    def watch(chunk: int) -> Watch:
        return Watch(witness, feed_key, share, chunk, functions)

    if len(share.local) == 1:
        return strided(build(start[1]), share, start[0], watch)
    feed = share.feeds.setdefault(feed_key, Feed(build, share, watch, lambda: share.feeds.pop(feed_key, None), rows))
    if not feed.admits(share.index, start):
        return strided(build(start[1]), share, start[0], watch)
    return feed.join(share, start)
