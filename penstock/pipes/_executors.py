"""Who runs the functions of `async_map` and `threadpool_map`: threads or processes of a stream's own, or elsewhere."""

from __future__ import annotations

import os
import select
import sys
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from penstock.pipes._pool import Pool

__all__ = ["LOOK_EVERY_S", "Executor", "Here", "Threads", "executor_of"]

Done = Callable[[Any], object]

LOOK_EVERY_S = 5.0  # how often a wait makes sure that there is still somebody at work
_END_S = 0.2  # how long the processes of a pool may take to end; idle ones take milliseconds
_TERMINATE_S = 1.0  # and those that are terminated


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


class Here(Executor):
    """Nobody else: a task runs when its result is asked for."""

    def submit(self, fn: Callable[[Any], Any], item: Any, done: Done | None = None) -> Any:
        task = partial(fn, item)
        if done is not None:
            done(task)
        return task

    def result(self, task: Any) -> Any:
        return task()

    def alive(self) -> bool:
        return True

    def stop(self) -> None:
        pass


class _Futures(Executor):
    """An executor of `concurrent.futures`, or something like it.

    Args:
        make: returns it; called for the first task, so that a stream that is never read starts nothing.
        own: close it behind the stream.
    """

    def __init__(self, make: Callable[[], Any], own: bool = False) -> None:
        self._make = make
        self._own = own
        self._executor: Any = None
        self._lock = threading.Lock()  # of what follows: one thread hands in tasks, and another one may stop
        self._running: deque[Any] = deque()  # futures that have no result yet, and some others
        self._stopped = False
        self._unfinished = False  # whether it was stopped while tasks ran
        self._sent: Callable[[Any], Any] | None = None

    def submit(self, fn: Callable[[Any], Any], item: Any, done: Done | None = None) -> Any:
        if self._executor is None:
            self._start(self._make())
        future = self._submitted(fn, item)
        with self._lock:
            while self._running and self._running[0].done():
                self._running.popleft()
            self._running.append(future)
            stopped = self._stopped
        if stopped:
            self._end()
        elif done is not None:
            future.add_done_callback(done)
        return future

    def _start(self, executor: Any) -> None:
        with self._lock:
            self._executor = executor
            stopped = self._stopped
        if stopped:
            self._end()
            raise RuntimeError("the stream was closed while its executor started")

    def _submitted(self, fn: Callable[[Any], Any], item: Any) -> Any:
        if _is_dask(self._executor):
            return self._executor.submit(fn, item, pure=False)  # equal items may give other random numbers
        if isinstance(self._executor, _process_pool()):
            fn = self._packed(fn)
        return self._executor.submit(fn, item)

    def _packed(self, fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return a function as one that pickle can send. A stream has only one."""
        if self._sent is None:
            import cloudpickle

            self._sent = partial(_unpacked, cloudpickle.dumps(fn))
        return self._sent

    def result(self, task: Any) -> Any:
        while True:
            try:
                return task.result(LOOK_EVERY_S)
            except TimeoutError:
                if task.done():  # since then, or it is the function's own
                    return task.result()

    def alive(self) -> bool:
        return True  # a future whose executor breaks down ends with an exception

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
        self._end()

    def _end(self) -> None:
        with self._lock:
            running, self._running = [future for future in self._running if not future.done()], deque()
            self._unfinished = self._unfinished or bool(running)
            executor = self._executor
        self._cancel(running)
        if self._own and executor is not None:
            self._close()

    def _cancel(self, futures: list[Any]) -> None:
        if futures and _is_dask(self._executor) and hasattr(self._executor, "cancel"):
            if self._executor.status == "running":
                self._executor.cancel(futures)  # in one message
            return
        for future in reversed(futures):  # the one that would begin next comes last
            future.cancel()

    def _close(self) -> None:
        if isinstance(self._executor, _process_pool()):
            _shut_down(self._executor)(0.0 if self._unfinished else _END_S)
        elif hasattr(self._executor, "shutdown") and not hasattr(self._executor, "scheduler_info"):
            self._executor.shutdown(wait=False, cancel_futures=True)
        else:
            self._executor.close()  # a dask client; its `shutdown` would end the cluster


def _is_dask(executor: Any) -> bool:
    return type(executor).__module__.partition(".")[0] == "distributed"


class _Processes(_Futures):
    """Processes of the stream's own. The function travels by cloudpickle, so a lambda will do, and once to each."""

    def __init__(self, max_workers: int | None) -> None:
        super().__init__(lambda: None, own=True)
        self._max_workers = max_workers
        self._processes: dict[int, Any] = {}  # the pool's own; it forgets them when it is shut down

    def submit(self, fn: Callable[[Any], Any], item: Any, done: Done | None = None) -> Any:
        if self._executor is None:
            self._start(self._pool(fn))
        return super().submit(fn, item, done)

    def _pool(self, fn: Callable[[Any], Any]) -> Any:
        import multiprocessing
        from concurrent import futures

        import cloudpickle

        context = multiprocessing.get_context("forkserver" if os.name == "posix" else "spawn")
        given = cloudpickle.dumps(fn), os.getpid()
        pool: Any = futures.ProcessPoolExecutor(self._max_workers, context, _take_function, given)
        self._processes = pool._processes  # from Python 3.14 on there is `terminate_workers`
        return pool

    def _submitted(self, fn: Callable[[Any], Any], item: Any) -> Any:
        return self._executor.submit(_call_function, item)

    def _cancel(self, futures: list[Any]) -> None:
        pass  # the pool cancels them itself; over those that others have cancelled it may trip

    def _close(self) -> None:
        ended = _shut_down(self._executor)
        # Nobody wants what they are doing, and the interpreter would wait for it at its end. Others only now start.
        if self._unfinished or not ended(_END_S):
            for process in list(self._processes.values()):
                process.terminate()
            ended(_TERMINATE_S)


def _shut_down(pool: Any) -> Callable[[float], bool]:
    """Begin to shut a process pool down. Return what waits until it has ended, at most so many seconds, and tells that.

    The thread that manages the pool is waited for: waiting for the pool has no limit in time. A worker of a loader ends
    without its threads, so if nobody waited, semaphores would be left over, and multiprocessing complain of them.
    """
    thread: threading.Thread | None = pool._executor_manager_thread  # the pool forgets it
    pool.shutdown(wait=False, cancel_futures=True)

    def ended(within_s: float) -> bool:
        if thread is None or thread is threading.current_thread():
            return True
        thread.join(within_s)
        return not thread.is_alive()

    return ended


def _process_pool() -> Any:
    """Return the class of process pools; nothing is one where nobody has imported it."""
    module: Any = sys.modules.get("concurrent.futures.process")
    return () if module is None else module.ProcessPoolExecutor


# In a process of a pool: the function that it ran last, packed and unpacked.
_last: tuple[bytes, Callable[[Any], Any]] | None = None
_given = b""  # the function of a pool of our own, packed


def _unpacked(packed: bytes, item: Any) -> Any:
    global _last
    if _last is None or _last[0] != packed:
        import cloudpickle

        _last = packed, cloudpickle.loads(packed)
    return _last[1](item)


def _take_function(packed: bytes, owner: int) -> None:
    global _given
    _given = packed
    if hasattr(os, "pidfd_open"):
        threading.Thread(target=_end_with, args=(owner,), name="penstock-watch", daemon=True).start()


def _end_with(owner: int) -> None:
    """End this process when the one whose pool it is dies: a pool's processes wait for the next call for ever."""
    try:
        fd = os.pidfd_open(owner)
    except ProcessLookupError:
        os._exit(1)
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    poll.poll()
    os._exit(1)


def _call_function(item: Any) -> Any:
    return _unpacked(_given, item)  # here, where it can be raised if it cannot be unpacked


def executor_of(executor: Any, max_workers: int | None) -> Callable[[], Executor]:
    """Return what makes the executor of a stream.

    Raises:
        ValueError: ``executor`` is none.
    """
    if executor is None or executor == "threads":
        return lambda: Threads(max_workers, thread_name_prefix="penstock-async_map")
    if executor == "processes":
        return lambda: _Processes(max_workers)
    if hasattr(executor, "submit") and not isinstance(executor, type):
        return lambda: _Futures(lambda: executor)
    if callable(executor):
        return lambda: _Futures(executor, own=True)
    raise ValueError(
        "executor must be 'threads', 'processes', an Executor of concurrent.futures, a dask Client, or a function that "
        f"makes one, got {executor!r}"
    )
