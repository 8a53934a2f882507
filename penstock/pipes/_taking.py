"""Batches of rows that are taken from a table by number: of some batches in one go, where that is faster.

What a table takes for one batch it often takes for many: a request, a row group, a page. So the numbers of the next
batches are looked up ahead, all their rows are taken together, and cut. Each batch keeps the state that its source had
behind its own numbers; nothing else shows that it was not taken by itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol, runtime_checkable

from penstock.core.context import Context
from penstock.core.pipe import Pipe
from penstock.core.stream import State, Stream
from penstock.pipes._batches import sliced
from penstock.pipes._tensors_later import leaves_from

__all__ = ["Takes", "TakesMany", "taking"]


@runtime_checkable
class Takes(Protocol):
    """Data of which many rows can be had in one go, as a batch of columns."""

    def take(self, indices: Any) -> Any: ...


@runtime_checkable
class TakesMany(Takes, Protocol):
    """Data of which more rows than a batch has are better taken together."""

    @property
    def rows_at_once(self) -> int:
        """How many rows to take in one go, as it looks now."""
        ...


@runtime_checkable
class TakesForLater(Takes, Protocol):
    """Data whose batches may become tensors where they arrive.

    Attributes:
        makes_tensors: whether that is what ``take`` makes.
    """

    @property
    def makes_tensors(self) -> bool: ...

    def take_for_later(self, indices: Any) -> Any:
        """Return a batch that leaves this process at once, and is one of ``take`` where it arrives."""
        ...


def taking(
    pipe: Pipe, ctx: Context, up: Stream[Any], table: Takes, numbers: Iterator[Sequence[Any]], width: int = 1
) -> Stream[Any]:
    """Return the stream of the batches of a table's rows whose numbers are given, a sequence for each batch.

    Args:
        pipe: the pipe whose stream it is.
        ctx: where it runs.
        up: the stream that ``numbers`` reads from, built for who works ahead (`Context.in_thread`).
        table: the data.
        numbers: of the rows of each batch.
        width: how many items of ``up`` make a batch's numbers.
    """
    rows_of: Callable[[Any], Any] = table.take
    if isinstance(table, TakesForLater) and table.makes_tensors and leaves_from(ctx, pipe):
        rows_of = table.take_for_later
    take = ctx.guarded(pipe, rows_of)
    places = None
    if (inner := up.places) is not None:
        places = lambda: (place // width for place in islice(inner(), 0, None, width))  # noqa: E731
    if not isinstance(table, TakesMany) or ctx.trace is not None or ctx.calls is not None:
        one_by_one = (take(part) for part in numbers)
        return up.onward(one_by_one, skip=lambda n: up.skip(n * width), places=places)
    waiting: deque[tuple[Sequence[Any], State]] = deque()  # what is not given yet, and the state behind it
    # The source's state behind what was given last; none while nothing was. Who has looked for more may have found the
    # end, and passed over what others give until there.
    here: list[State] = []
    at = 0  # of the block that was taken last

    def batches() -> Iterator[Any]:
        nonlocal at
        while True:
            rows = 0
            for part in numbers:
                waiting.append((part, up.state()))
                rows += len(part)
                if rows + len(part) > table.rows_at_once:
                    break
            if not waiting:
                return
            block, at = _together(rows_of, [part for part, _ in waiting]), 0
            while waiting:
                part, behind = waiting.popleft()
                here[:] = [behind]
                start, at = at, at + len(part)
                yield take(part) if block is None else sliced(block, start, at)

    def state() -> State:
        return here[0] if here else up.state()

    def skip(n: int) -> None:
        nonlocal at
        while waiting and n:
            part, behind = waiting.popleft()
            here[:] = [behind]
            at += len(part)
            n -= 1
        if n:
            here.clear()
            up.skip(n * width)

    running = batches()
    return Stream(running, state, skip=skip, places=places, closers=(running, up))


def _together(take: Callable[[Any], Any], parts: list[Sequence[Any]]) -> Any:
    """Return the rows of some batches; None where they are to be taken one by one, as where one of them is bad."""
    import numpy as np

    if len(parts) == 1:
        return None
    try:
        return take(np.concatenate(parts))
    except Exception:
        return None
