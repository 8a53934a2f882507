"""Which pipe failed, and on which item.

Nothing watches the items on the hot path. When a user function raises, the stream is built again from the last saved
state with a `Trace` in its context, which puts a watch behind every pipe, and is run until it raises again. The first
watch that the exception passes belongs to the pipe at fault; what the watches of its sources gave last is the item.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from penstock.core.stream import State, Stream
from penstock.core.walk import describe

if TYPE_CHECKING:
    from penstock.core.context import Context
    from penstock.core.pipe import IterDataPipe, Pipe

__all__ = ["Trace", "explain", "raised_in"]


@dataclass
class _Watch:
    """Passes items on and remembers the last one."""

    it: Iterator[Any]
    pipe: Pipe
    trace: Trace
    where: str
    last: Any = None
    count: int = 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        self.trace.entered(self.where)
        try:
            item = self.last = next(self.it)
        except StopIteration:
            raise
        except Exception as error:
            self.trace.blame(error, self)
            raise
        finally:
            self.trace.left(self)
        self.count += 1
        return item


class Trace:
    """The watches of one traced run.

    Args:
        record: called with the name of the pipe whose code begins to run, and what it has got, when that changes.
    """

    def __init__(self, record: Callable[[str], None] | None = None) -> None:
        self._record = record
        self._running: list[str] = []
        self._watches: dict[int, _Watch] = {}
        self.error: BaseException | None = None
        self.culprit: _Watch | None = None

    def watch(self, stream: Stream[Any], pipe: Pipe, name: str) -> None:
        """Put a watch behind a pipe's stream."""
        where = f"{name!r} ({describe(pipe)})"
        stream.it = self._watches[id(pipe)] = _Watch(stream.it, pipe, self, where)

    def entered(self, where: str) -> None:
        """Note that a pipe's code begins to run."""
        self._running.append(where)
        if self._record is not None:
            self._record(where)

    def left(self, watch: _Watch) -> None:
        """Note that it has returned: the code of the pipe that asked runs on, with what it got."""
        self._running.pop()
        if self._running and self._record is not None:
            self._record(f"{self._running[-1]} on {_short.repr(watch.last)}")

    def blame(self, error: BaseException, watch: _Watch) -> None:
        """Take an exception down to the first watch that it passes."""
        if self.error is not error:
            self.error, self.culprit = error, watch

    def next_item(self) -> None:
        """Count items anew: another item of the root begins."""
        for watch in self._watches.values():
            watch.count = 0

    def note(self, name: str, where: str) -> str:
        """Say in words what the trace found."""
        assert self.culprit is not None
        pipe = self.culprit.pipe
        given = [self._watches[id(source)] for source in pipe.sources if id(source) in self._watches]
        lines = [raised_in(name, pipe)]
        lines += [f"penstock: on its item {max(w.count - 1, 0)} of {where}: {_short.repr(w.last)}" for w in given]
        return "\n".join(lines if given else [*lines, f"penstock: in {where}"])


def explain(
    error: Exception,
    root: IterDataPipe[Any],
    ctx: Context,
    state: State,
    first: int,
    limit: int,
    what: str = "item",
    *,
    step: int = 1,
    before_item: Callable[[int], None] = lambda number: None,
) -> None:
    """Run up to ``limit`` root items again from ``state``, and add notes to ``error`` that name the pipe and the item.

    An error that names its pipe already is left as it is: what raised it does not run again.

    Args:
        error: what the user will see. It keeps its type and its traceback.
        root: the graph that raised it.
        ctx: the context it ran in.
        state: a state at most ``limit`` items ahead of the failure.
        first: the number of the root item that follows ``state``.
        limit: how many root items to try.
        what: what an item of the root is called in the note.
        step: from one item's number to the next.
        before_item: called with the number of each item ahead of it, to set up what the first run had.
    """
    named = tuple(raised_in(ctx.names[id(pipe)], pipe) for pipe in ctx.names.pipes)
    if any(note.startswith(named) for note in getattr(error, "__notes__", ())):
        return
    trace = Trace()
    if ctx.outlet is not None:
        import numpy as np

        ctx = replace(ctx, outlet=replace(ctx.outlet, empty=np.empty))
    ctx = replace(ctx, trace=trace, shared={}, dispatch=None)
    if ctx.share is not None:
        ctx = replace(ctx, share=ctx.share.alone())
    where = f"rank {ctx.worker.rank}, worker {ctx.worker.worker_id}"
    number = first
    try:
        stream = ctx.build(root, state)
        try:
            for _ in range(limit):
                before_item(number)
                next(stream.it, None)
                number += step
                trace.next_item()
        finally:
            stream.close()
    except Exception as again:
        if type(again) is type(error) and trace.culprit is not None:
            name = ctx.names.get(id(trace.culprit.pipe), "?")
            error.add_note(trace.note(name, f"{what} {number} ({where})"))
            return
    error.add_note(
        f"penstock: in {what} {first} or up to {(limit - 1) * step} behind it ({where}); run again from there, "
        "it did not raise the same error, so the pipe cannot be named"
    )


def raised_in(name: str, pipe: Pipe) -> str:
    """Return the note's line that names a pipe."""
    return f"penstock: raised in pipe {name!r}: {describe(pipe)}"


_short = reprlib.Repr()
_short.maxstring = _short.maxother = 120
