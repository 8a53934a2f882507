"""Where `async_map` and `threadpool_map` run functions: threads or processes of a stream's own, or elsewhere."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

from penstock.core.stream import Stream
from penstock.pipes._ahead import work_ahead
from penstock.pipes._pool import Pool

__all__ = ["LOOK_EVERY_S", "Executor", "Threads", "executor_of", "in_order"]

T = TypeVar("T")
Done = Callable[[Any], object]

LOOK_EVERY_S = 5.0  # how often a wait makes sure that there is still somebody at work


class Executor(ABC):
    """Runs a function for items. One stream uses it."""

    @abstractmethod
    def submit(self, fn: Callable[[Any], Any], item: Any, done: Done | None = None) -> Any:
        """Hand in a task; ``done`` is called with it when it has a result, by any thread."""

    @abstractmethod
    def result(self, task: Any) -> Any:
        """Wait for a task's result and return it, or raise the function's exception."""

    @abstractmethod
    def alive(self) -> bool:
        """Tell whether anybody is there to finish what was handed in."""

    @abstractmethod
    def stop(self) -> None:
        """Cancel what has not begun. Nobody waits for what has."""


class Threads(Executor):
    """Daemon threads of the stream's own."""

    def __init__(self, max_workers: int | None = None, **kwargs: Any) -> None:
        self._pool = Pool(max_workers or min(32, (os.cpu_count() or 1) + 4), **kwargs)

    def submit(self, fn: Callable[[Any], Any], item: Any, done: Done | None = None) -> Any:
        return self._pool.submit(fn, item, done)

    def result(self, task: Any) -> Any:
        return task.result(self._pool)

    def alive(self) -> bool:
        return self._pool.alive()

    def stop(self) -> None:
        self._pool.stop()


class _Futures(Executor):
    """An executor of `concurrent.futures`, or something like it.

    Args:
        executor: the user's, or of the stream's own.
        own: close it behind the stream.
    """

    def __init__(self, executor: Any, own: bool = False) -> None:
        self._executor = executor
        self._own = own
        self._running: deque[Any] = deque()  # futures that nobody has asked for their result, and some others

    def submit(self, fn: Callable[[Any], Any], item: Any, done: Done | None = None) -> Any:
        future = self._submitted(fn, item)
        while self._running and self._running[0].done():
            self._running.popleft()
        self._running.append(future)
        if done is not None:
            future.add_done_callback(done)
        return future

    def _submitted(self, fn: Callable[[Any], Any], item: Any) -> Any:
        return self._executor.submit(fn, item)

    def result(self, task: Any) -> Any:
        while True:
            try:
                return task.result(LOOK_EVERY_S)
            except TimeoutError:
                if task.done():  # it is the function's own
                    raise

    def alive(self) -> bool:
        return True  # a future whose executor breaks down ends with an exception

    def stop(self) -> None:
        while self._running:
            self._running.pop().cancel()
        if self._own:
            self._close()

    def _close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)


class _Dask(_Futures):
    """A dask ``Client``. Equal items are tasks of their own: a function may draw random numbers."""

    def _submitted(self, fn: Callable[[Any], Any], item: Any) -> Any:
        return self._executor.submit(fn, item, pure=False)

    def _close(self) -> None:
        self._executor.close()


class _Processes(_Futures):
    """Processes of the stream's own. Functions travel by cloudpickle, so a lambda will do."""

    def __init__(self, max_workers: int | None) -> None:
        import multiprocessing
        from concurrent import futures

        context = multiprocessing.get_context("forkserver" if os.name == "posix" else "spawn")
        super().__init__(futures.ProcessPoolExecutor(max_workers, context), own=True)
        self._packed: tuple[Any, Callable[[Any], Any]] | None = None

    def _submitted(self, fn: Callable[[Any], Any], item: Any) -> Any:
        if self._packed is None or self._packed[0] is not fn:
            import cloudpickle

            self._packed = fn, partial(_unpacked, cloudpickle.dumps(fn))
        return self._executor.submit(self._packed[1], item)


_last: tuple[bytes, Callable[[Any], Any]] | None = None  # of a worker process: the function that it ran last


def _unpacked(packed: bytes, item: Any) -> Any:
    global _last
    if _last is None or _last[0] != packed:
        import cloudpickle

        _last = packed, cloudpickle.loads(packed)
    return _last[1](item)


def executor_of(executor: Any, max_workers: int | None) -> Callable[[], Executor]:
    """Return what makes the executor of a stream.

    Raises:
        ValueError: ``executor`` is none.
    """
    if executor is None or executor == "threads":
        return lambda: Threads(max_workers, thread_name_prefix="penstock-async_map")
    if executor == "processes":
        return lambda: _Processes(max_workers)
    if hasattr(executor, "submit"):
        return lambda: _wrapped(executor)
    if callable(executor):
        return lambda: _wrapped(executor(), own=True)
    raise ValueError(
        "executor must be 'threads', 'processes', an Executor of concurrent.futures, a dask Client, or a function that "
        f"makes one, got {executor!r}"
    )


def _wrapped(executor: Any, own: bool = False) -> Executor:
    kind = _Dask if type(executor).__module__.partition(".")[0] == "distributed" else _Futures
    return kind(executor, own)


def in_order(up: Stream[Any], fn: Callable[[Any], T], executor: Executor, size: int, what: str) -> Stream[T]:
    """Return the stream of ``fn(x)``, in order: a thread hands in tasks, up to ``size`` ahead of their use."""
    submitted = up.onward((executor.submit(fn, x) for x in up.it), skip=up.skip, places=up.places)
    tasks = work_ahead(submitted, size, what)

    def results() -> Iterator[T]:
        try:
            for task in tasks.it:
                yield executor.result(task)
        finally:
            executor.stop()

    return tasks.onward(results(), skip=tasks.skip, places=tasks.places)
