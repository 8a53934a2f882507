"""Every error that penstock raises of its own.

    PenstockError
    ├── GraphError      a graph that cannot run as it stands
    │   └── ForkedProcess  a library that is not fork-safe, in a forked process (also a RuntimeError)
    ├── StateError      a state that does not fit the graph, or cannot be reached again
    ├── WorkerDied      a worker process ended without being asked to
    ├── TransportError  an object could not be moved between processes
    ├── DifferentData   those who divide the work found different data to divide (also a RuntimeError)
    ├── DecodeError     bad bytes in a named file and record (also a ValueError)
    └── MissingExtra    an optional dependency is not installed (also an ImportError)

An exception of the user's own functions is never wrapped: it keeps its type and gains notes (`penstock.core.trace`).
"""

from __future__ import annotations

from typing import Protocol

__all__ = [
    "DecodeError",
    "DifferentData",
    "ForkedProcess",
    "GraphError",
    "MissingExtra",
    "PenstockError",
    "StateError",
    "TransportError",
    "WorkerDied",
    "raise_held",
]


class PenstockError(Exception):
    """The root of penstock's own errors."""


class GraphError(PenstockError):
    """The graph of pipes cannot run as it stands."""


class ForkedProcess(GraphError, RuntimeError):
    """This process was forked from one that had a library loaded that is not fork-safe. The message says what to do."""


class StateError(PenstockError):
    """A state does not fit the graph, or the place that it names cannot be reached again."""


class TransportError(PenstockError):
    """An object could not be moved between two processes."""


class WorkerDied(PenstockError, RuntimeError):
    """A worker process ended without being asked to. ``pid`` and ``exitcode`` say which and how (-9: SIGKILL)."""

    def __init__(self, message: str, pid: int | None = None, exitcode: int | None = None) -> None:
        super().__init__(message)
        self.pid = pid
        self.exitcode = exitcode


class RankError(PenstockError, RuntimeError):
    """Another rank has failed, is gone, is late, or is at another place of the program."""


class DifferentData(PenstockError, RuntimeError):
    """Ranks or workers found different items, or another number of them, ahead of a sharding point."""


class TooManyBadSamples(PenstockError, RuntimeError):
    """An epoch has skipped more samples than its limit allows."""


class DecodeError(PenstockError, ValueError):
    """Bytes that are not what they should be. The message names the file and the record."""


class MissingExtra(PenstockError, ImportError):
    """An optional dependency is missing. The message says which extra installs it."""


class Holding(Protocol):
    """What keeps an exception that was raised elsewhere, for who asks for it."""

    error: BaseException | None


def raise_held(holder: Holding) -> None:
    """Raise the exception that is kept, if there is one, and keep it no longer."""
    error, holder.error = holder.error, None
    if error is not None:
        try:
            raise error
        finally:
            del error  # its traceback refers to this frame
