"""What a ReadingService is.

A service has two duties. ``adapt`` says where each part of a graph will run; it is a pure function of the graph, starts
nothing, and can be printed and tested. ``start`` returns a session, which owns whatever runs: threads, processes,
sockets.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from penstock.core.pipe import IterDataPipe
from penstock.core.plan import Plan
from penstock.core.stream import State

__all__ = ["Epoch", "Progress", "ReadingService", "Run", "Session", "first_progress"]


@dataclass
class Progress:
    """Where an epoch stands after the last item delivered. All of it is JSON.

    Attributes:
        kind: ``blocks`` or ``lanes``.
        lanes: L, the number of lanes; with blocks it does not matter.
        next: the block, or the lane, that comes next.
        states: with blocks one entry, under "0", that serves any worker; with lanes one for each that has begun.
        ended: the lanes that have nothing more.
        behind: how many items (with blocks, of all workers together) have been delivered since the state in ``states``
            was taken; a worker that sends small items in bundles does not send a state with each.
    """

    kind: str
    lanes: int
    next: int = 0
    states: dict[str, State] = field(default_factory=dict)
    ended: list[int] = field(default_factory=list)
    behind: dict[str, int] = field(default_factory=dict)


def first_progress(plan: Plan, lanes: int) -> Progress:
    """Return where an epoch begins."""
    return Progress("blocks" if plan.kind == "blocks" else "lanes", lanes)


@dataclass(frozen=True)
class Run:
    """One epoch, as the loader orders it."""

    seed: int
    epoch: int
    progress: Progress


class Epoch(ABC):
    """An epoch that runs: an iterator over its items, with `progress` after the last of them.

    Attributes:
        target: what has the attributes that the loader's iterator has not; None where that is the loader's graph.
    """

    progress: Progress
    target: Any = None

    def __iter__(self) -> Iterator[Any]:
        return self

    @abstractmethod
    def __next__(self) -> Any: ...

    @abstractmethod
    def close(self) -> None:
        """Stop wanting items. Does not wait for the one that is being made."""


class Session(ABC):
    """A graph, set up to run. A context manager; `close` is idempotent and leaves nothing behind."""

    plan: Plan
    lanes: int

    @abstractmethod
    def epoch(self, run: Run) -> Epoch:
        """Begin an epoch. The one before it has been closed."""

    @abstractmethod
    def close(self) -> None:
        """End the running epoch, and whatever the session owns."""

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class ReadingService(ABC):
    """Where a graph runs."""

    def adapt(self, graph: IterDataPipe[Any]) -> IterDataPipe[Any]:
        """Return the graph as this service will run it."""
        return graph

    @abstractmethod
    def start(self, graph: IterDataPipe[Any]) -> Session:
        """Set an adapted graph up to run."""

    def save(self) -> Any:
        """Return what of the service itself belongs into a loader's state, as JSON values; None if nothing does."""
        return None

    def load(self, saved: Any) -> bool:
        """Take what `save` returned; tell whether a session that runs must make way for it.

        Raises:
            TypeError: it is of another kind of service.
        """
        if saved is not None:
            raise TypeError(
                f"the state has one of the service {saved['service']}, which {type(self).__name__} cannot restore"
            )
        return False

    def signal(self, hook: str, session: Session | None, *arguments: Any) -> bool:
        """Tell the service that the loader pauses, resumes or limits; return False where it cannot.

        Nothing need be stopped for it: no service of ours works further ahead than its buffers reach.
        """
        return True
