"""ExecutorMapper (``async_map``): a function that runs in an executor, of our own or of the user's.

In order, one thread steps the source and hands in tasks, and the consumer waits for the result of the first (see
`penstock.pipes._tasks`). As completed, the consumer hands in tasks itself, and takes whichever is done.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Literal, TypeVar

from penstock.core.context import Context
from penstock.core.errors import StateError
from penstock.core.pipe import ONE_TO_ONE, OTHER, IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.pipes._executors import LOOK_EVERY_S, Executor, Here, executor_of
from penstock.pipes._tasks import in_order, one_by_one

U = TypeVar("U")

# As completed. The source's state is kept every so many items: it may cost more than the item.
_ANCHOR_EVERY = 16
# How far an item may be ahead of one that is slow, in buffers: the state tells of all items between the two.
_SPREAD = 8


@functional_datapipe("async_map")
class ExecutorMapper(IterDataPipe[U]):
    """Apply a function in an executor: ``x`` becomes ``fn(x)`` (functional name: ``async_map``).

    Up to ``buffer`` items are worked on or wait ahead of their use. An exception of the function is raised at its
    item's place, and ends the stream. Leaving the loop cancels what has not begun, and waits for no item.

    Args:
        datapipe: the source.
        fn: the function.
        buffer: how many items may be ahead, at least 1.
        max_workers: how many threads or processes; 4 more than there are CPUs unless given, and at most 32. An executor
            that is given has its own number.
        executor: where the function runs: threads of the stream's own unless given; ``"processes"`` for processes of
            its own, to which function, items and results are pickled, and which import the program's main module
            (guard it with ``if __name__ == "__main__"``); any executor of `concurrent.futures`, or a dask ``Client``,
            which stays open; or a function that makes one, for each stream, which is closed behind it. On worker
            processes give that function: an executor cannot be sent there.
        ordered: give the results in the source's order; otherwise as they come, where nothing waits for an item that is
            slow before it is ``8 * buffer`` items behind.

    Raises:
        ValueError: ``buffer`` or ``max_workers`` is not positive, or ``executor`` is none.

    State: that after the last item delivered. Not ordered: the source's state up to 16 items ahead of the first that
        has not been delivered, and which behind it have been. That is exact where behind it stand only steps that hold
        nothing (``map``, ``filter``, ``batch``, ``collate``, ``prefetch``); one that comes back to its place by
        counting (``shuffle``, ``unbatch``, a pipe of your own) would count other items: `penstock.graph.lint` names it.
        It belongs behind the sharding point: the order differs on each worker.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper(["a", "b"]).async_map(str.upper))
        ['A', 'B']
    """

    def __init__(
        self,
        datapipe: IterDataPipe[Any],
        fn: Callable[[Any], U],
        buffer: int = 100,
        max_workers: int | None = None,
        executor: Literal["threads", "processes"] | Callable[[], Any] | Any = None,
        *,
        ordered: bool = True,
    ) -> None:
        datapipe = check_source(self, datapipe)
        if buffer < 1:
            raise ValueError(f"buffer must be at least 1, got {buffer}")
        if max_workers is not None and max_workers < 1:
            raise ValueError(f"max_workers must be at least 1, got {max_workers}")
        self.datapipe = datapipe
        self.fn = fn
        self.buffer = buffer
        self.max_workers = max_workers
        self.executor = executor
        self.ordered = ordered
        self.arity = ONE_TO_ONE if ordered else OTHER
        self.in_any_order = not ordered
        executor_of(executor, max_workers)  # what is none should fail here

    def __getstate__(self) -> dict[str, Any]:
        if hasattr(self.executor, "submit") and not isinstance(self.executor, type):
            raise TypeError(
                "cannot pickle the executor of async_map: an executor cannot be sent to another process. Give a "
                "function that makes one there, such as lambda: ThreadPoolExecutor(4)"
            )
        return vars(self)

    def __len__(self) -> int:
        return len(self.datapipe)

    def build(self, ctx: Context, state: State = None) -> Stream[U]:
        if ctx.trace is not None:
            return self._traced(ctx, state)
        executor = executor_of(self.executor, self.max_workers)()
        if not self.ordered:
            return self._completed(ctx, state, executor, self.buffer)
        up = ctx.in_thread(self).build(self.datapipe, state, holes=True)
        return in_order(up, ctx.guarded(self, self.fn), executor, self.buffer, "async_map")

    def _traced(self, ctx: Context, state: State) -> Stream[U]:
        """Return the stream that finds out which item fails: one at a time.

        Threads would only blur what is being traced. But what was to run in another process runs in one again: it may
        be what has killed that.
        """
        here = self.executor is None or self.executor == "threads"
        executor = Here() if here else executor_of(self.executor, 1)()
        if not self.ordered:
            return self._completed(ctx, state, executor, 1)
        return one_by_one(ctx.build(self.datapipe, state, holes=True), ctx.guarded(self, self.fn), executor)

    def _completed(self, ctx: Context, state: State, executor: Executor, size: int) -> Stream[U]:
        name, fn = ctx.name(self), ctx.guarded(self, self.fn)
        start, first, behind = ctx.own(self, state) or (None, 0, [])
        up = ctx.build(self.datapipe, start, holes=True)
        # The source's items are numbered from the place at which it was built. `first` is the first of those that have
        # not been delivered, and `passed` has those behind it that have been.
        passed = {first + number for number in behind}
        anchors: deque[tuple[int, State]] = deque([(0, up.state())])  # numbers, and the source's state ahead of each
        taken, waiting = 0, 0
        done: SimpleQueue[tuple[int, Any]] = SimpleQueue()

        def fill() -> bool:
            """Hand in tasks; tell whether the source has ended."""
            nonlocal taken, waiting
            while waiting < size and taken - first < _SPREAD * self.buffer:
                if taken % _ANCHOR_EVERY == 0 and taken:
                    anchors.append((taken, up.state()))
                for item in up.it:  # noqa: B007  # used behind the loop: this takes one item, or sees the end
                    break
                else:
                    return True
                number, taken = taken, taken + 1
                if number < first or number in passed:
                    continue
                waiting += 1
                executor.submit(fn, item, partial(_put, done, number))
            return False

        def results() -> Iterator[U]:
            nonlocal first, waiting
            ended = False
            try:
                while (ended := ended or fill()) is False or waiting:
                    number, task = _next(done, executor)
                    made: U = executor.result(task)
                    waiting -= 1
                    passed.add(number)
                    while first in passed and first < taken:
                        passed.remove(first)
                        first += 1
                    while len(anchors) > 1 and anchors[1][0] <= first:
                        anchors.popleft()
                    yield made
                if passed or taken < first:
                    raise StateError(f"{name!r} cannot be restored: its source ends ahead of items that were delivered")
            finally:
                executor.stop()

        def tell() -> State:
            number, anchor = anchors[0]
            return {name: [anchor, first - number, sorted(number - first for number in passed)]}

        running = results()
        return Stream(running, tell, closers=(running, up))


def _put(done: SimpleQueue[tuple[int, Any]], number: int, task: Any) -> None:
    done.put((number, task))


def _next(done: SimpleQueue[tuple[int, Any]], executor: Executor) -> tuple[int, Any]:
    while True:
        try:
            return done.get(timeout=LOOK_EVERY_S)
        except Empty:
            if not executor.alive():
                raise RuntimeError("the threads of a pool ended without a word") from None
