"""Numbers for the items of a stream: their places in the one-process sequence.

Behind a sharding point that deals blocks, the dealt stream knows its items' places. Elsewhere a step counts for itself:
in a lane, of L, item n gets n * L + lane, so that no two items of an epoch share a number.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from penstock.core.context import Context
from penstock.core.pipe import IterDataPipe
from penstock.core.stream import State, Stream, consume, sequence_stream

__all__ = ["placed"]

T = TypeVar("T")


def placed(
    pipe: IterDataPipe[Any], source: IterDataPipe[T], ctx: Context, state: State
) -> tuple[Stream[T], Iterator[int], Callable[[], State], Callable[[int], None]]:
    """Return the source's stream, its items' places in step with it, and the ``state`` and ``skip`` of the step."""
    name = ctx.name(pipe)
    own = state.get(name) if isinstance(state, dict) else None
    up = ctx.build(source, own[1] if own is not None else state, holes=True)
    if up.places is not None:
        places = up.places()

        def skip_both(n: int) -> None:
            up.skip(n)
            consume(places, n)

        return up, places, up.state, skip_both
    step, lane = (1, 0) if ctx.share is None else ctx.share.stride
    counter = sequence_stream(range(lane, sys.maxsize - step, step), own[0] if own is not None else 0)

    def skip(n: int) -> None:
        up.skip(n)
        counter.skip(n)

    return up, counter.it, lambda: {name: [counter.state(), up.state()]}, skip
