"""A thread that works ahead of its consumer: what prefetch, threadpool_map and pin_memory have in common.

::

    up.it --> the thread --> ready: (item, state after it), ... --> the consumer

The two sides share a deque and speak only when one of them sleeps. Two bells (`SimpleQueue` as a bell: it may ring too
often, and never raises) wake them:

- the consumer rings *room*, where the thread has filled the buffer and sleeps;
- the thread rings *item*, where the consumer has found the deque empty and sleeps.

So an item that somebody waits for is delivered at once, and what runs for each item is an append and a pop. A bell
costs some 10 microseconds, for the change of threads that follows. Rung at the first item that is taken from a full
buffer, it costs that once a buffer and not once an item: whoever is quick keeps the interpreter's lock until it has
nothing more to do. (Tried: to ring only where half of the buffer is gone. It gained nothing.)

Where the consumer finds nothing ready, and the thread has been rung for but does not run yet, a consumer that may share
the work steps the stream itself. Waiting for the thread would cost two changes of threads for each buffer, 5
microseconds an item on two cores; this way ``prefetch(10)`` over integers costs 1.

The thread knows nothing of the consumer, so a consumer that is dropped is collected, and stops it. Nobody waits for the
item that the thread is at.
"""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from penstock.core.errors import raise_held
from penstock.core.stream import State, Stream, consume

__all__ = ["work_ahead"]

T = TypeVar("T")

_LOOK_EVERY_S = 5.0  # how often a wait makes sure that the other side is still there


def work_ahead(
    up: Stream[T], size: int, what: str, begin: Callable[[], object] = lambda: None, *, share: bool = False
) -> Stream[T]:
    """Return ``up`` as a stream that a thread of its own steps, up to ``size`` items ahead of their use.

    Its state is that after the last item delivered. The thread starts with the first item, and closes ``up``.

    Args:
        up: the stream. Nobody else may touch it from now on.
        size: how many items may wait.
        what: names the thread.
        begin: called first, in the thread.
        share: the consumer may step ``up`` itself, where the thread is not about it.
    """
    last = up.state()
    idle: tuple[Stream[T], ...] = (up,)  # until the thread has it

    def deliver() -> Iterator[T]:
        nonlocal last, idle
        idle = ()
        link: _Link[T] = _Link(size)
        take = link.ready.popleft
        link.start(up, what, begin)
        try:
            while True:
                try:
                    item, last = take()
                except IndexError:
                    if (share and link.step(up)) or link.wait():
                        continue
                    break
                if link.full:
                    link.full = False
                    link.room.put(None)
                yield item
            raise_held(link)
        finally:
            link.stop()

    def skip(n: int) -> None:
        nonlocal last
        if idle:
            up.skip(n)
            last = up.state()
        else:
            consume(running, n)

    class _Idle:
        def close(self) -> None:
            for stream in idle:
                stream.close()

    running = deliver()
    return Stream(running, lambda: last, skip=skip, places=up.places, closers=(running, _Idle()))


class _Link(Generic[T]):
    """What the two sides share.

    Attributes:
        ready: what has been produced, with the state after it.
        full: the thread sleeps, or is about to, until `room` rings.
        hungry: the consumer sleeps, or is about to, until `item` rings.
        ended: nothing more comes, because of ``error`` where there is one.
        stopped: nobody wants any more.
    """

    def __init__(self, size: int) -> None:
        self.ready: deque[tuple[T, State]] = deque()
        self.room: SimpleQueue[None] = SimpleQueue()
        self.item: SimpleQueue[None] = SimpleQueue()
        self.full = self.hungry = self.ended = self.stopped = False
        self.error: BaseException | None = None
        self.turn = threading.Lock()  # held by who steps the stream
        self._size = size
        self._thread: threading.Thread | None = None

    def start(self, up: Stream[T], what: str, begin: Callable[[], object]) -> None:
        """Start the thread, in a copy of the caller's context."""
        run = contextvars.copy_context().run
        name = f"penstock-{what}"
        self._thread = threading.Thread(target=run, args=(self._produce, up, begin), name=name, daemon=True)
        self._thread.start()

    def step(self, up: Stream[T]) -> bool:
        """Produce an item, unless the thread is about it; tell whether one is ready. Called by the consumer."""
        if not self.turn.acquire(blocking=False):
            return False
        try:
            if not (self.ready or self.ended):
                for item in up.it:
                    self.ready.append((item, up.state()))
                    break
                else:
                    self.ended = True
        except BaseException as error:
            self.error, self.ended = error, True
        finally:
            self.turn.release()
        return bool(self.ready)

    def stop(self) -> None:
        """Ask the thread to end after the item that it is at."""
        self.stopped = True
        self.ready.clear()
        self.room.put(None)

    def wait(self) -> bool:
        """Wait until something is ready; return False where nothing comes any more. Called by the consumer."""
        while not self.ready:
            if self.ended:
                return bool(self.ready)  # asked again: the last item may have come between the two questions
            self.hungry = True
            if not (self.ready or self.ended):
                try:
                    self.item.get(timeout=_LOOK_EVERY_S)
                except Empty:
                    if not (self._thread and self._thread.is_alive()) and not (self.ready or self.ended):
                        raise RuntimeError("a thread that works ahead ended without a word") from None
            self.hungry = False
        return True

    def _produce(self, up: Stream[T], begin: Callable[[], object]) -> None:
        ready, size, tell, turn = self.ready, self._size, up.state, self.turn
        try:
            begin()
            while True:
                with turn:
                    if self.ended:  # the consumer has seen to it
                        return
                    for item in up.it:
                        ready.append((item, tell()))
                        del item
                        break
                    else:
                        return
                if self.hungry:
                    self.hungry = False
                    self.item.put(None)
                while len(ready) >= size and not self.stopped:
                    self.full = True
                    if len(ready) >= size and not self.stopped:
                        self.room.get()
                    self.full = False
                if self.stopped:
                    return
        except BaseException as error:
            self.error = error
        finally:
            self.ended = True
            self.item.put(None)
            up.close()
