"""One reading of a source that several pipes share (see the essay of `penstock.core.sharing`)."""

from __future__ import annotations

import sys
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import chain, tee
from typing import TYPE_CHECKING, Any

from penstock.core.stream import consume, counted
from penstock.core.tape import Tape, held_numbers

if TYPE_CHECKING:
    from penstock.core.context import Context
    from penstock.core.sharing import Shared

__all__ = ["Broadcast", "Routed", "Run"]

_END: Any = object()


class Reader:
    """What one child sees of a run."""

    def __init__(self, run: Run, child: int) -> None:
        self._run = run
        self._child = child
        self._running: Generator[Iterator[Any], None, None] = run.items(child)
        self.it: Iterator[Any] = chain.from_iterable(self._running)

    def tell(self) -> Any:
        return self._run.tell(self._child)

    def close(self) -> None:
        self._running.close()
        self._run.leave(self._child)


class Run(ABC):
    """Who takes part, and the tape that they read from.

    Children may be read by threads of their own (behind a `prefetch`), and then every step takes the lock.
    """

    def __init__(self, main: Shared[Any], ctx: Context, expected: set[int]) -> None:
        self.main = main
        self.on_empty: Callable[[], object] = lambda: None
        self._name = ctx.name(main)
        self._build = lambda state: ctx.build(main.datapipe, state)
        self._expected = expected  # children in the graph: what they have not asked for is kept, also if they come late
        self._places: dict[int, Any] = {}  # where each child that has come begins
        self._threads: set[str | None] = set()
        self._lock = threading.RLock()
        self._tape: Tape[Any] | None = None
        self._begun = False
        self._failed: BaseException | None = None

    def join(self, child: int, place: Any, thread: str | None) -> bool:
        """Let a child take part; tell whether it can."""
        with self._lock:
            if child in self._places:
                return False
            if self._begun and (place is not None or child not in self._expected or thread not in self._threads):
                return False
            self._places[child] = place
            self._threads.add(thread)
            if self._expected and self._expected <= set(self._places):
                self._open()
            return True

    def leave(self, child: int) -> None:
        """Forget a child: nothing is kept for it any more. The last one closes the source."""
        with self._lock:
            if child not in self._places:
                return
            del self._places[child]
            self._expected = self._expected - {child}
            self._forget(child)
            if not self._places:
                self._failed = None  # its traceback refers to all that ran
                self.on_empty()
                if self._tape is not None:
                    self._tape.close()

    def reader(self, child: int) -> Reader:
        """Return what one child reads from."""
        return Reader(self, child)

    def items(self, child: int) -> Generator[Iterator[Any], None, None]:
        """Yield the one iterator of a child, once it is wanted: by then every child has said where it stands."""
        with self._lock:
            tape = self._open()
            if not self._begun:
                self._begun = True
                self._begin(tape, tape.fetch())
            it = self._items(child, tape)
        yield it if len(self._threads) == 1 else self._locked(it)

    def _locked(self, it: Iterator[Any]) -> Iterator[Any]:
        """Step a child among several threads. What one of them meets ends the source, and it must not be their end."""
        while True:
            with self._lock:
                try:
                    item = next(it, _END)
                except BaseException as error:
                    self._failed = error
                    raise
                if item is _END and self._failed is not None:
                    raise self._failed
            if item is _END:
                return
            yield item

    def tell(self, child: int) -> Any:
        """Return the place of one child."""
        with self._lock:
            tape, place = self._tape, self._places[child]
            if tape is None or (place is not None and not self._begun):
                return place
            return self._tell(child, tape) if self._begun else tape.save()

    def _open(self) -> Tape[Any]:
        """Build the source, at the place of the child that is furthest behind."""
        if self._tape is None:
            places = list(self._places.values())
            if any(place is not None for place in places):
                self._expected = set(self._places)  # restored: who comes later reads a source of its own
            self._tape = Tape(self._name, self._build, places, self._held, self._room)
        return self._tape

    @abstractmethod
    def _begin(self, tape: Tape[Any], found: dict[int, Any]) -> None: ...

    @abstractmethod
    def _items(self, child: int, tape: Tape[Any]) -> Iterator[Any]: ...

    @abstractmethod
    def _tell(self, child: int, tape: Tape[Any]) -> Any: ...

    @abstractmethod
    def _forget(self, child: int) -> None: ...

    @abstractmethod
    def _held(self) -> Iterable[int]: ...

    @abstractmethod
    def _room(self, number: int) -> int | Exception: ...


class Broadcast(Run):
    """Every child gets every item. `itertools.tee` keeps what waits, so nothing here runs for each item."""

    def __init__(self, main: Shared[Any], ctx: Context, expected: set[int]) -> None:
        super().__init__(main, ctx, expected)
        self._base = 0
        self._heads: dict[int, Iterator[Any]] = {}
        self._counts: dict[int, Callable[[], int]] = {}

    def _begin(self, tape: Tape[Any], found: dict[int, Any]) -> None:
        self._base = tape.number
        children = sorted(self._expected | set(self._places))
        self._heads = dict(zip(children, tee(tape.it, len(children)), strict=True))
        for child in children:
            place = self._places.get(child)
            self._counts[child] = _always(self._base if place is None else place[0])

    def _items(self, child: int, tape: Tape[Any]) -> Iterator[Any]:
        at, head = self._counts[child](), self._heads.pop(child)
        consume(head, at - self._base)
        it, self._counts[child] = counted(head, at)
        return it

    def _tell(self, child: int, tape: Tape[Any]) -> Any:
        return tape.save(number=self._counts[child]())

    def _forget(self, child: int) -> None:
        self._heads.pop(child, None)
        self._counts.pop(child, None)

    def _held(self) -> Iterable[int]:
        places = [count() for count in self._counts.values()]
        return [*places, *range(min(places), max(places))]  # a child that lags will come to all of these

    def _room(self, number: int) -> int | Exception:
        if len(self._counts) < 2 or self.main.buffer_size < 0:
            return sys.maxsize
        places = {child: count() for child, count in self._counts.items()}
        last = min(places, key=places.__getitem__)
        room = places[last] + self.main.buffer_size - number
        if room <= 0:
            return self.main.overflow(last, max(places, key=places.__getitem__), number - places[last])
        return room


class Routed(Run):
    """Each item goes to one child, or to none; it waits in that child's queue."""

    def __init__(self, main: Shared[Any], ctx: Context, expected: set[int]) -> None:
        super().__init__(main, ctx, expected)
        self._queues: dict[int, deque[tuple[int, Any]]] = {}
        self._from: dict[int, int] = {}  # what stands ahead of it has been delivered, or waits in the queue
        self._waiting = 0

    def _begin(self, tape: Tape[Any], found: dict[int, Any]) -> None:
        for child in self._expected | set(self._places):
            place = self._places.get(child)
            held = held_numbers(place) if place else []
            self._from[child] = place[0] if place else 0
            self._queues[child] = deque((one, found[one]) for one in held)
            self._waiting += len(held)

    def _items(self, child: int, tape: Tape[Any]) -> Iterator[Any]:
        queue, start, route, limit = self._queues[child], self._from[child], self.main.route, self.main.buffer_size
        while True:
            if queue:
                self._waiting -= 1
                yield queue.popleft()[1]
                continue
            item = next(tape.it, _END)
            if item is _END:
                return
            number = tape.number - 1
            target = route(item, number)
            if target == child:
                if number >= start:
                    yield item
            elif target in self._queues and number >= self._from[target]:
                self._queues[target].append((number, item))
                self._waiting += 1
                if self._waiting > limit >= 0:
                    raise self.main.overflow(target, child, self._waiting)

    def _tell(self, child: int, tape: Tape[Any]) -> Any:
        return tape.save([number for number, _ in self._queues[child]], max(self._from[child], tape.number))

    def _forget(self, child: int) -> None:
        self._waiting -= len(self._queues.pop(child, ()))
        self._from.pop(child, None)

    def _held(self) -> Iterable[int]:
        yield from self._from.values()
        for queue in self._queues.values():
            yield from (number for number, _ in queue)

    def _room(self, number: int) -> int:
        return sys.maxsize


def _always(number: int) -> Callable[[], int]:
    return lambda: number
