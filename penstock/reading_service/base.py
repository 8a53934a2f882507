"""What a ReadingService is.

A service has two duties. ``adapt`` says where each part of a graph will run; it is a pure function of the graph, starts
nothing, and can be printed and tested. ``start`` returns a session, which owns whatever runs: threads, processes,
sockets.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any

from penstock.core.bad import BadSamples
from penstock.core.calls import Killer
from penstock.core.errors import GraphError
from penstock.core.losses import Losses
from penstock.core.pipe import IterDataPipe
from penstock.core.plan import Plan
from penstock.core.stream import State
from penstock.core.witness import Witness

__all__ = [
    "ALONE",
    "Epoch",
    "Place",
    "Progress",
    "ReadingService",
    "Run",
    "Session",
    "checked_lanes",
    "default_lanes",
    "first_progress",
    "turns",
]


@dataclass
class Progress:
    """Where an epoch stands after the last item delivered. All of it is JSON.

    Blocks are counted over all ranks, so any rank's progress is that of the epoch. With lanes a rank knows its own;
    the progress of several ranks together is the union of each dict.

    Attributes:
        kind: ``blocks`` or ``lanes``.
        lanes: L, the number of lanes; with blocks it does not matter.
        groups: of lanes, where the graph has two points: as many as there were ranks when the epoch began. Lane l is in
            group ``l mod groups``. 0 where there is one point.
        next: the first block of the step that comes next; with lanes it does not matter.
        states: with blocks one entry, under "0", that serves any worker, and may be of any place up to ``next``; with
            lanes one for each that has begun.
        given: how many items each lane has given; none with blocks. A lane that is not here is another rank's.
        behind: how many of them were given since the lane's state was taken, where that is not 0; a worker that sends
            small items in bundles does not send a state with each.
        ended: the lanes that have nothing more.
    """

    kind: str
    lanes: int
    next: int = 0
    states: dict[str, State] = field(default_factory=dict)
    given: dict[str, int] = field(default_factory=dict)
    behind: dict[str, int] = field(default_factory=dict)
    ended: dict[str, bool] = field(default_factory=dict)
    groups: int = 0

    def copy(self) -> Progress:
        """Return a copy that can be changed; the states are shared."""
        return replace(
            self, states=dict(self.states), given=dict(self.given), behind=dict(self.behind), ended=dict(self.ended)
        )

    def saved(self) -> dict[str, Any]:
        """Return all of it, for a state: nothing that runs refers to any part of it."""
        fields: dict[str, Any] = _apart(vars(self))
        return fields

    def of(self, lanes: Iterable[int]) -> Progress:
        """Return a rank's part: what is known of some lanes. Blocks have no parts."""
        if self.kind == "blocks":
            return self
        mine = {str(lane) for lane in lanes}
        changes: Any = {name: {k: v for k, v in getattr(self, name).items() if k in mine} for name in _BY_LANE}
        return replace(self, **changes)

    def alive(self, lanes: Iterable[int]) -> list[int]:
        """Return those of some lanes that may have more."""
        return [lane for lane in lanes if str(lane) not in self.ended]


_BY_LANE = ("states", "given", "behind", "ended")
_UNCHANGING = frozenset({int, str, float, bool, type(None)})


def _apart(value: Any) -> Any:
    """Return a deep copy of what is JSON, or nearly so: `dataclasses.asdict` takes six times as long."""
    kind = type(value)
    if kind is dict:
        return {key: each if type(each) in _UNCHANGING else _apart(each) for key, each in value.items()}
    if kind is list or kind is tuple:
        return [each if type(each) in _UNCHANGING else _apart(each) for each in value]
    return value if kind in _UNCHANGING else deepcopy(value)


def first_progress(plan: Plan, lanes: int, ranks: int = 1) -> Progress:
    """Return where an epoch begins.

    Raises:
        GraphError: the graph has two points, and the lanes cannot be divided evenly among the ranks.
    """
    if plan.kind == "blocks":
        return Progress("blocks", lanes)
    if plan.nested and lanes % ranks:
        raise GraphError(f"a graph that divides among ranks first needs a multiple of {ranks} lanes, not {lanes}")
    groups = ranks if plan.nested else 0
    return Progress("lanes", lanes, given={str(lane): 0 for lane in range(lanes)}, groups=groups)


def checked_lanes(lanes: int | None) -> int | None:
    """Return a service's ``lanes=``. ValueError if it is below 1."""
    if lanes is not None and lanes < 1:
        raise ValueError(f"lanes must be at least 1, got {lanes}")
    return lanes


def default_lanes(plan: Plan, wanted: int | None, streams: int) -> int:
    """Return how many lanes a session has: what is wanted, else one for each stream; undivided always that."""
    return streams if plan.kind == "whole" else wanted or streams


def turns(order: list[int], given: Mapping[str, int]) -> Iterator[int]:
    """Yield whose turn it is: the first of those lanes that have given the fewest items.

    Args:
        order: the lanes. Whoever removes one that has ended changes what comes.
        given: how many items each has given.
    """
    counts = {lane: given.get(str(lane), 0) for lane in order}
    # Within a round, and where ranks have not come equally far, some are ahead of others.
    for number in range(min(counts.values(), default=0), max(counts.values(), default=0)):
        yield from [lane for lane in order if counts[lane] <= number]
    while order:
        yield from tuple(order)


@dataclass(frozen=True)
class Place:
    """Which rank of how many a loader is.

    Block b is rank ``b mod world_size``'s, and so is lane b. Within a rank the quotient says which worker's.
    """

    rank: int = 0
    world_size: int = 1

    def lanes(self, count: int) -> range:
        """Return the lanes of this rank, of ``count``."""
        return range(self.rank, count, self.world_size)

    def first_block(self, start: int) -> int:
        """Return this rank's first block at or behind ``start``."""
        return start + (self.rank - start) % self.world_size


ALONE = Place()


@dataclass(frozen=True)
class Run:
    """One epoch, as the loader orders it.

    Attributes:
        losses: what to do with samples that fail, and what the epoch had lost when it was begun; None raises. Items may
            be `Lossy` otherwise.
        killers: what has ended two processes, and is not to be called again.
        careful: a process has been lost here: lose nothing more with another one, and see what it dies of.
    """

    seed: int
    epoch: int
    progress: Progress
    losses: Losses | None = None
    killers: tuple[Killer, ...] = ()
    careful: bool = False

    @property
    def bad(self) -> BadSamples | None:
        """What to do with samples that fail; None raises."""
        return None if self.losses is None else self.losses.policy


class Epoch(ABC):
    """An epoch that runs: an iterator over its items, with `progress` after the last of them.

    Attributes:
        lane: that of the last item; with blocks it does not matter.
        witness: what is known of the streams ahead of its sharding points; None where others see none of them.
        target: what has the attributes that the loader's iterator has not; None where that is the loader's graph.
        is_padding: whether the last item was given before, and is repeated while other ranks have more.
        dropped: how many items were made and not given, because another rank had no more.
    """

    progress: Progress
    lane: int = 0
    witness: Witness | None = None
    target: Any = None
    is_padding: bool = False
    dropped: int = 0

    def __iter__(self) -> Iterator[Any]:
        return self

    @abstractmethod
    def __next__(self) -> Any: ...

    @abstractmethod
    def close(self) -> None:
        """Stop wanting items. Does not wait for the one that is being made, perhaps by another thread."""


class Session(ABC):
    """A graph, set up to run. A context manager; `close` is idempotent and leaves nothing behind."""

    plan: Plan
    lanes: int
    restarts: int = 0  # workers replaced so far

    def agreed(self, run: Run, delivered: int) -> Run:
        """Return the epoch as all ranks run it, with the seed of rank 0. Called ahead of `epoch`.

        Raises:
            RankError: the ranks stand at different places, or one of them does not come.
        """
        return run

    def gathered(self, value: Any) -> list[Any]:
        """Return what each rank hands in, on every rank."""
        return [value]

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

    def adapt(self, graph: IterDataPipe[Any], *, divided: bool = False) -> IterDataPipe[Any]:
        """Return the graph as this service will run it; ``divided`` says that ranks divide it, whoever else does."""
        return graph

    def place(self) -> Place:
        """Return which rank this is, of those that the service divides the work among."""
        return ALONE

    @abstractmethod
    def start(self, graph: IterDataPipe[Any], place: Place = ALONE) -> Session:
        """Set an adapted graph up to run, as one of several ranks where ``place`` says so."""

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
