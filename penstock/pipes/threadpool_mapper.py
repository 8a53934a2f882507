"""ThreadPoolMapper (``threadpool_map``): a function that runs in several threads.

One thread steps the source and hands each item, as a task, to the pool; the consumer gets the tasks in the source's
order, waits for the result of the first, and so has each result as soon as it is there::

    source --> a thread (`work_ahead`) --> tasks, in order --> the consumer: task.result()
                                             |
                                             +--> the pool's threads: task.run()
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from penstock.core.context import Context
from penstock.core.pipe import ONE_TO_ONE, IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.pipes._columns import Columns, check_columns, on_columns
from penstock.pipes._executors import Threads
from penstock.pipes._tasks import in_order

U = TypeVar("U")

_KWARGS = {"thread_name_prefix", "initializer", "initargs"}  # ThreadPoolExecutor's


@functional_datapipe("threadpool_map")
class ThreadPoolMapper(IterDataPipe[U]):
    """Apply a function in several threads: ``x`` becomes ``fn(x)``, in order (functional name: ``threadpool_map``).

    For functions that wait (for a disk, a network) or release the interpreter's lock. Up to ``scheduled_tasks`` items
    are worked on or wait ahead of their use; the source is read by a thread, too. An exception of the function is
    raised at its item's place, and ends the stream. Leaving the loop drops what has not begun and waits for nothing:
    a call that is running then ends by itself, in the background.

    Args:
        source_datapipe: the source.
        fn: the function. It runs in several threads at once.
        input_col: the columns (keys or indices) of an item that ``fn`` gets; the whole item unless given.
        output_col: where the result goes: in place of the first input column unless given; -1 appends it.
        scheduled_tasks: how many items may be ahead, at least 1.
        max_workers: how many threads; 4 more than there are CPUs unless given, and at most 32.
        **threadpool_kwargs: ``thread_name_prefix``, ``initializer`` and ``initargs``, as ThreadPoolExecutor has them.

    Raises:
        TypeError: ``fn`` cannot be called, or there is an argument that is unknown.
        ValueError: a size is not positive, the columns do not fit together, or ``fn`` does not take so many.

    State: that after the last item delivered. None of its own.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper(["a", "b"]).threadpool_map(str.upper, max_workers=2))
        ['A', 'B']
    """

    arity = ONE_TO_ONE

    def __init__(
        self,
        source_datapipe: IterDataPipe[Any],
        fn: Callable[..., Any],
        input_col: Columns | None = None,
        output_col: Columns | None = None,
        scheduled_tasks: int = 128,
        max_workers: int | None = None,
        **threadpool_kwargs: Any,
    ) -> None:
        source_datapipe = check_source(self, source_datapipe)
        check_columns(fn, input_col, output_col)
        if scheduled_tasks <= 0:
            raise ValueError("'scheduled_tasks' is required to be a positive integer.")
        if max_workers is not None and max_workers <= 0:
            raise ValueError("'max_workers' is required to be a positive integer.")
        if unknown := sorted(set(threadpool_kwargs) - _KWARGS):
            raise TypeError(f"{type(self).__name__} got unexpected arguments {unknown}; it takes {sorted(_KWARGS)}")
        self.datapipe = source_datapipe
        self.fn = fn
        self.input_col = input_col
        self.output_col = output_col
        self.scheduled_tasks = scheduled_tasks
        self.max_workers = max_workers
        self.threadpool_kwargs = threadpool_kwargs

    def __len__(self) -> int:
        return len(self.datapipe)

    def build(self, ctx: Context, state: State = None) -> Stream[U]:
        fn = ctx.guarded(self, on_columns(self.fn, self.input_col, self.output_col))
        if ctx.trace is not None:  # threads would only blur what is being traced
            up = ctx.build(self.datapipe, state, holes=True)
            return up.onward((fn(x) for x in up.it), skip=up.skip, places=up.places)
        up = ctx.in_thread(self).build(self.datapipe, state, holes=True)
        threads = Threads(self.max_workers, **self.threadpool_kwargs)
        return in_order(up, fn, threads, self.scheduled_tasks, "threadpool_map")
