"""Streams whose function an executor runs, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from penstock.core.stream import Stream
from penstock.pipes._ahead import work_ahead
from penstock.pipes._executors import Executor

__all__ = ["in_order", "one_by_one"]

T = TypeVar("T")


def one_by_one(up: Stream[Any], fn: Callable[[Any], T], executor: Executor) -> Stream[T]:
    """Return the stream of ``fn(x)``, in order, of which nothing is worked on ahead of its use."""

    def results() -> Iterator[T]:
        try:
            for x in up.it:
                yield executor.result(executor.submit(fn, x))
        finally:
            executor.stop()

    return up.onward(results(), skip=up.skip, places=up.places)


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
            tasks.close()  # an error may be that of tasks which still wait: so its traceback would keep the thread

    return tasks.onward(results(), skip=tasks.skip, places=tasks.places)
