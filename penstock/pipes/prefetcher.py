"""Prefetcher (``prefetch``): a thread that works ahead."""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Iterator
from typing import Any, TypeVar

from penstock.core.context import Context
from penstock.core.pipe import ONE_TO_ONE, IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream

T = TypeVar("T")

_LOOK_EVERY_S = 5.0  # how often a wait makes sure that the other side is still there


@functional_datapipe("prefetch")
class Prefetcher(IterDataPipe[T]):
    """Let a thread produce up to ``buffer_size`` items ahead of their use (functional name: ``prefetch``).

    Args:
        source_datapipe: the source.
        buffer_size: how many items may wait, at least 1.

    State: that after the last item delivered, not after the last one produced.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper([1, 2, 3]).prefetch(2))
        [1, 2, 3]
    """

    arity = ONE_TO_ONE

    def __init__(self, source_datapipe: IterDataPipe[T], buffer_size: int = 10) -> None:
        check_source(self, source_datapipe)
        if buffer_size <= 0:
            raise ValueError("'buffer_size' is required to be a positive integer.")
        self.datapipe = source_datapipe
        self.buffer_size = buffer_size

    def __len__(self) -> int:
        return len(self.datapipe)

    def build(self, ctx: Context, state: State = None) -> Stream[T]:
        up = ctx.build(self.datapipe, state)
        if ctx.trace is not None:  # a second thread would only blur what is being traced
            return up
        last = up.state()
        idle: tuple[Stream[T], ...] = (up,)  # until a thread has it

        def deliver() -> Iterator[T]:
            nonlocal last, idle
            idle = ()
            ahead = _Ahead(up, self.buffer_size)
            try:
                while (entry := ahead.get()) is not None:
                    item, last = entry
                    yield item
            finally:
                ahead.stop()

        running = deliver()

        class _Idle:
            def close(self) -> None:
                for stream in idle:
                    stream.close()

        return Stream(running, lambda: last, places=up.places, closers=(running, _Idle()))


class _Ahead:
    """The thread and the two queues between it and its consumer.

    ``_room`` holds a token for every item that may still be produced, and a False once nobody wants any more.
    ``_ready`` holds what has been produced: (item, state after it), or (None, the exception), or None at the end.
    The thread knows nothing of the consumer, so a consumer that is dropped is collected, and stops it.
    """

    def __init__(self, up: Stream[Any], size: int) -> None:
        self._room: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._ready: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._stopped = threading.Event()
        for _ in range(size - 1):  # one item is produced without asking
            self._room.put(True)
        work = contextvars.copy_context().run
        self._thread = threading.Thread(
            target=work,
            args=(_produce, up, self._room, self._ready, self._stopped),
            name="penstock-prefetch",
            daemon=True,
        )
        self._thread.start()

    def get(self) -> tuple[Any, State] | None:
        while True:
            try:
                entry = self._ready.get(timeout=_LOOK_EVERY_S)
                break
            except queue.Empty:
                if not self._thread.is_alive() and self._ready.empty():
                    raise RuntimeError("the prefetching thread ended without a word") from None
        if isinstance(entry, _Raised):
            raise entry.error
        self._room.put(True)
        return entry  # type: ignore[no-any-return]  # as the docstring of the class says

    def stop(self) -> None:
        """Ask the thread to end after the item that it is at. Nobody waits for that item."""
        self._stopped.set()
        self._room.put(False)


class _Raised:
    def __init__(self, error: BaseException) -> None:
        self.error = error


def _produce(
    up: Stream[Any], room: queue.SimpleQueue[bool], ready: queue.SimpleQueue[Any], stopped: threading.Event
) -> None:
    try:
        for item in up.it:
            ready.put((item, up.state()))
            del item
            room.get()
            if stopped.is_set():
                return
        ready.put(None)
    except BaseException as error:
        ready.put(_Raised(error))
    finally:
        up.close()
