"""Threads that run tasks, and that nobody ever waits for.

`concurrent.futures` is not used: at the interpreter's end it waits for whatever its threads are doing, and a request
that hangs would keep the program from ending. These threads are daemons.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any

__all__ = ["Pool", "Task"]

_LOOK_EVERY_S = 5.0  # how often a wait makes sure that the threads are still there


class Task:
    """One call of the function. ``done`` is held until there is a result; then ``then`` is called with the task."""

    __slots__ = ("done", "error", "fn", "item", "then", "value")

    def __init__(self, fn: Callable[[Any], Any], item: Any, then: Callable[[Task], object] | None = None) -> None:
        self.fn = fn
        self.item = item
        self.then = then
        self.value: Any = None
        self.error: BaseException | None = None
        self.done = threading.Lock()
        self.done.acquire()

    def run(self) -> None:
        """Call the function. Whatever it raises is part of the result."""
        try:
            self.value = self.fn(self.item)
        except BaseException as error:
            self.error = error
        self.end()

    def end(self) -> None:
        """Say that there is a result."""
        self.item = None
        self.done.release()
        if self.then is not None:
            self.then(self)

    def result(self, pool: Pool) -> Any:
        """Wait for the result and return it, or raise the function's exception."""
        while not self.done.acquire(timeout=_LOOK_EVERY_S):
            if not pool.alive():
                if self.done.acquire(timeout=0):
                    break
                raise RuntimeError("the threads of a pool ended without a word")
        if self.error is None:
            return self.value
        try:
            raise self.error
        finally:
            self.error = None  # its traceback refers to this frame


class Pool:
    """Daemon threads that run tasks: at most ``size``, started one for each task until there are as many."""

    def __init__(
        self,
        size: int,
        thread_name_prefix: str = "penstock-threadpool_map",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
    ) -> None:
        self._size = size
        self._prefix = thread_name_prefix
        self._begin = None if initializer is None else partial(initializer, *initargs)
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._stopped = threading.Event()

    def submit(self, fn: Callable[[Any], Any], item: Any, then: Callable[[Task], object] | None = None) -> Task:
        """Hand in a task. Called by one thread; the pool's threads run in copies of its context."""
        task = Task(fn, item, then)
        self._tasks.put(task)
        if len(self._threads) < self._size:
            name = f"{self._prefix}_{len(self._threads)}"
            target = contextvars.copy_context().run
            thread = threading.Thread(
                target=target, args=(_work, self._tasks, self._stopped, self._begin), name=name, daemon=True
            )
            self._threads.append(thread)
            thread.start()
        return task

    def alive(self) -> bool:
        """Tell whether any thread is still there (in a process that was forked none is)."""
        return any(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        """Run nothing that has not begun. Nobody waits for what has."""
        self._stopped.set()
        self._tasks.put(None)


def _work(tasks: SimpleQueue[Task | None], stopped: threading.Event, begin: Callable[[], object] | None) -> None:
    failed: BaseException | None = None
    if begin is not None:
        try:
            begin()
        except BaseException as error:
            failed = error
    while (task := tasks.get()) is not None and not stopped.is_set():
        if failed is None:
            task.run()
        else:
            task.error = failed
            task.end()
        del task
    tasks.put(None)  # for the next thread
