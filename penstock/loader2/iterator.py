"""DataLoader2Iterator: one epoch, as the loop sees it."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from penstock.core.bad import HOLE
from penstock.core.losses import Losses
from penstock.loader2.progress import with_bar
from penstock.reading_service.base import Epoch, Run
from penstock.state.digest import EVERY, FIRST, folded

if TYPE_CHECKING:
    from penstock.loader2.loader import DataLoader2

__all__ = ["DataLoader2Iterator", "Running"]

T_co = TypeVar("T_co", covariant=True)


class Running:
    """An epoch that an iterator reads from."""

    def __init__(self, epoch: Epoch, run: Run, delivered: int, losses: Losses | None, rank: int) -> None:
        self.epoch = epoch
        self.run = run
        self.delivered = self.began_at = delivered
        self.losses = None if losses is None else replace(losses)
        self.rank = rank
        self.ended = False
        self.closed = False
        self.digest = 0  # of what has been delivered
        self.spans: list[tuple[int, int]] = []  # steps that are passed over

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self.epoch)

    def to_skip(self) -> int:
        """Return how many steps come next that are to be passed over."""
        ends = [end for begin, end in self.spans if begin <= self.delivered < end]
        return max(ends, default=self.delivered) - self.delivered

    def close(self) -> None:
        """Stop wanting items."""
        self.closed = True
        self.epoch.close()


class DataLoader2Iterator(Generic[T_co]):
    """One epoch. A later iterator of the same loader ends it.

    It can be held up: by `limit`, after so many items, and goes on with `resume`. Nothing is lost or read twice. What
    works ahead, a worker or a thread, fills its buffers meanwhile, and then waits.

    Attributes that it has not are those of the iterator that a service of the user's made, or of the graph.

    Example:
        >>> from penstock import DataLoader2, IterableWrapper
        >>> it = iter(DataLoader2(IterableWrapper(range(5))))
        >>> it.limit(2)
        >>> list(it), list(it)
        ([0, 1], [])
        >>> it.resume()
        >>> list(it)
        [2, 3]
    """

    def __init__(self, loader: DataLoader2[T_co], running: Running) -> None:
        self._loader = loader
        self._running = running
        self._limit: int | None = None
        self._left: int | None = None  # how many items there may be until it stops
        self._stopped = False  # by the limit
        self._items: Iterator[T_co] = running.epoch
        if loader._progress:
            self._items = with_bar(loader, running, running.delivered, loader._progress)
        self._finalizer = weakref.finalize(self, running.close)

    def __iter__(self) -> DataLoader2Iterator[T_co]:
        return self

    def __next__(self) -> T_co:
        running = self._running
        if running.closed and not running.ended:
            raise RuntimeError(
                "This iterator has been invalidated because another iterator has been created from the same DataLoader2"
                if not self._loader._closed
                else "This iterator has ended: its DataLoader2 has been shut down"
            )
        if self._loader._paused or self._stopped:
            raise StopIteration
        if self._left is not None:
            if self._left == 0:
                self._stopped = True
                raise StopIteration
            self._left -= 1
        while running.spans and (steps := running.to_skip()):
            self._loader._pass_over(running, steps)
            if not self._loader._progress:
                self._items = running.epoch
        try:
            item = next(self._items)
            while running.losses is not None and (item := running.losses.take(item)) is HOLE:
                item = next(self._items)
        except StopIteration:
            running.ended = True
            if running.losses is not None:
                running.losses.end()
            raise
        number = running.delivered
        if number < FIRST or not number % EVERY:
            running.digest = folded(running.digest, item)
        running.delivered = number + 1
        self._loader._batches += 1
        return item

    def limit(self, num_batches: int | None) -> None:
        """Stop after so many more items, each time; None goes on to the end.

        Where the iterator has stopped already, it needs a `resume`, before this or after.

        Raises:
            ValueError: ``num_batches`` is negative.
        """
        if num_batches is not None and num_batches < 0:
            raise ValueError(f"num_batches must not be negative, got {num_batches}")
        self._loader._signal("_limit", num_batches, None)
        self._limit = self._left = num_batches

    def resume(self) -> None:
        """Go on where `limit` has stopped the iterator, or where it has been paused. The limit stays."""
        reached = self._stopped or self._left == 0
        if self._loader._paused:
            self._loader._resume()
        elif reached:
            self._loader._signal("_resume", None)
        else:
            warnings.warn("Resume is called when `DataLoader2` is not paused. No operation is performed.", stacklevel=2)
        if reached:
            self._stopped, self._left = False, self._limit

    def _pause(self) -> None:
        """Stop until `_resume`."""
        self._loader._pause()

    def _resume(self) -> None:
        """Go on behind a pause."""
        self._loader._resume()

    def __len__(self) -> int:
        return len(self._loader)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or "_running" not in vars(self):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        target = self._running.epoch.target
        if target is not None and hasattr(target, name):
            return getattr(target, name)
        return getattr(self._loader.datapipe, name)
