"""ExecutorMapper (``async_map``): a function that runs in an executor, of our own or of the user's.

In order, one thread steps the source and hands in tasks, and the consumer waits for the result of the first (see
`penstock.pipes._tasks`). As completed, the consumer hands in tasks itself, and takes whichever is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Literal, TypeVar

from penstock.core.context import Context
from penstock.core.pipe import ONE_TO_ONE, OTHER, IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.pipes._tasks import LOOK_EVERY_S, Executor, executor_of, in_order

U = TypeVar("U")


@functional_datapipe("async_map")
class ExecutorMapper(IterDataPipe[U]):
    """Apply a function in an executor: ``x`` becomes ``fn(x)`` (functional name: ``async_map``).

    Up to ``buffer`` items are worked on or wait ahead of their use. An exception of the function is raised at its
    item's place, and ends the stream. Leaving the loop cancels what has not begun, and waits for nothing.

    Args:
        datapipe: the source.
        fn: the function.
        buffer: how many items may be ahead, at least 1.
        max_workers: how many threads or processes; 4 more than there are CPUs unless given, and at most 32. An executor
            that is given has its own number.
        executor: where the function runs: threads of the stream's own unless given; ``"processes"`` for processes of
            its own, to which function, items and results are pickled; any executor of `concurrent.futures`, or a dask
            ``Client``, which stays open; or a function that makes one, for each stream, which is closed behind it. On
            worker processes give that function: an executor cannot be sent there.
        ordered: give the results in the source's order; otherwise as they come.

    Raises:
        ValueError: ``buffer`` or ``max_workers`` is not positive, or ``executor`` is none.

    State: that after the last item delivered. Not ordered: the source's state ahead of the first item that has not
        been delivered, and which behind it have been.

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
        executor_of(executor, max_workers)  # what is none should fail here

    def __len__(self) -> int:
        return len(self.datapipe)

    def build(self, ctx: Context, state: State = None) -> Stream[U]:
        if ctx.trace is not None:  # another thread or process would only blur what is being traced
            return ctx.each(self, self.datapipe, state, self.fn) if self.ordered else self._completed(ctx, state, None)
        executor = executor_of(self.executor, self.max_workers)()
        if not self.ordered:
            return self._completed(ctx, state, executor)
        up = ctx.in_thread(self).build(self.datapipe, state, holes=True)
        return in_order(up, ctx.guarded(self, self.fn), executor, self.buffer, "async_map")

    def _completed(self, ctx: Context, state: State, executor: Executor | None) -> Stream[U]:
        name, fn = ctx.name(self), ctx.guarded(self, self.fn)
        anchor, given = ctx.own(self, state) or (None, [])
        up = ctx.build(self.datapipe, anchor, holes=True)
        taken = first = 0  # how many items behind the anchor; the number of the first that has not been delivered
        passed = set(given)  # the numbers of those behind it that have been
        flight: dict[int, State] = {}  # of those that have not, the source's state ahead of each
        done: SimpleQueue[tuple[int, Any]] = SimpleQueue()

        def fill() -> bool:
            """Hand in tasks; tell whether the source has ended."""
            nonlocal taken
            while len(flight) < self.buffer:
                ahead, number = up.state(), taken
                for item in up.it:  # noqa: B007  # used behind the loop: this takes one item, or sees the end
                    break
                else:
                    return True
                taken += 1
                if number in passed:
                    continue
                flight[number] = ahead
                if executor is None:
                    done.put((number, item))
                else:
                    executor.submit(fn, item, partial(_put, done, number))
            return False

        def results() -> Iterator[U]:
            nonlocal first
            ended = False
            try:
                while (ended := ended or fill()) is False or flight:
                    number, task = _next(done, executor)
                    made: U = fn(task) if executor is None else executor.result(task)
                    del flight[number]
                    passed.add(number)
                    while first in passed and first < taken:
                        passed.remove(first)
                        first += 1
                    yield made
            finally:
                if executor is not None:
                    executor.stop()

        def tell() -> State:
            return {name: [flight[first] if flight else up.state(), sorted(number - first for number in passed)]}

        running = results()
        return Stream(running, tell, closers=(running, up))


def _put(done: SimpleQueue[tuple[int, Any]], number: int, task: Any) -> None:
    done.put((number, task))


def _next(done: SimpleQueue[tuple[int, Any]], executor: Executor | None) -> tuple[int, Any]:
    while True:
        try:
            return done.get(timeout=LOOK_EVERY_S)
        except Empty:
            if executor is not None and not executor.alive():
                raise RuntimeError("the threads of a pool ended without a word") from None
