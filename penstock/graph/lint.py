"""What is right as a graph and yet hardly what was meant: missing sharding points, late shuffles, double reads.

source -> shuffle -> sharding_filter -> map -> batch        nothing to say
source -> sharding_filter -> shuffle -> map -> batch        no-shuffle-ahead
source -> map -> sharding_filter -> batch                   no-shuffle-ahead, work-ahead
source -> shuffle -> batch                                  no-sharding-point
... -> async_map(ordered=False) -> shuffle -> batch         counts-any-order
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from penstock.core.pipe import ONE_TO_ONE, OTHER, IterDataPipe, Pipe, iterates_itself
from penstock.core.sharing import Child
from penstock.core.walk import describe, walk
from penstock.graph.settings import is_shuffler

__all__ = ["Finding", "lint"]


@dataclass(frozen=True)
class Finding:
    """Something that a graph's author should look at.

    Attributes:
        code: what kind it is, in a word that can be searched for.
        pipe: which pipe, and the file and line where it was made.
        sentence: what will happen.
        advice: what to do.
    """

    code: str
    pipe: str
    sentence: str
    advice: str

    def __str__(self) -> str:
        return f"{self.pipe}: {self.sentence}. {self.advice} [{self.code}]"


def lint(dp: Pipe) -> list[Finding]:
    """Return what is worth a second look in the graph that ends in a pipe, sources first. Nothing runs.

    The codes:

    - ``no-sharding-point``: nothing divides the graph.
    - ``branch-without-point``: something divides it, but not every branch.
    - ``no-shuffle-ahead``: a sharding point has a path to it on which nothing shuffles.
    - ``read-twice``: two pipes read one stream, without a fork.
    - ``work-ahead``: a function that could run behind the sharding point runs ahead of it.
    - ``counts-any-order``: a pipe that comes back to a saved place by counting items stands behind one that gives them
      in any order, ``async_map(ordered=False)``.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> for finding in lint(IterableWrapper(range(9)).map(str).shuffle().sharding_filter()):
        ...     print(finding.code, "|", finding.advice)
        work-ahead | Put it behind the sharding point
    """
    pipes = walk(dp)
    points = [pipe for pipe in pipes if pipe.is_sharding_point]
    found = [*_branches(dp, pipes, points)]
    for point in points:
        found += _shuffles(point, pipes)
        if not getattr(point, "dispatches", False):  # there, what stands ahead runs once
            found += _work(point)
    found += _twice(pipes)
    found += _counting(pipes)
    place = {describe(pipe): i for i, pipe in enumerate(pipes)}
    unique = dict.fromkeys(found)  # two points may have the same pipe ahead of them
    return sorted(unique, key=lambda finding: place[finding.pipe])


def _check_shuffle_before_sharding(datapipe: Pipe) -> bool:
    """Tell whether something shuffles on every path to every sharding point (torchdata's name)."""
    shuffled = _always_behind(walk(datapipe), _shuffled_here)
    return all(id(pipe) in shuffled for pipe in walk(datapipe) if pipe.is_sharding_point)


def _shuffled_here(pipe: Pipe) -> bool:
    """Whether a pipe shuffles, or something inside it does (a torch graph that it wraps)."""
    return is_shuffler(pipe) or bool(getattr(pipe, "shuffles", False))


def _always_behind(pipes: list[Pipe], kind: Callable[[Pipe], bool]) -> set[int]:
    """Return the pipes that are of a kind, or have one of it on every path from their sources."""
    behind: set[int] = set()
    for pipe in pipes:
        sources = _streams(pipe)
        if kind(pipe) or (sources and all(id(source) in behind for source in sources)):
            behind.add(id(pipe))
    return behind


def _streams(pipe: Pipe) -> tuple[Pipe, ...]:
    """Return the sources that a pipe reads item by item; those in which it looks things up count where it has no other.

    A lookup is not divided, and a MapDataPipe can be read by any number of others.
    """
    sources = pipe.sources
    return tuple(source for source in sources if isinstance(source, IterDataPipe)) or sources


def _branches(root: Pipe, pipes: list[Pipe], points: list[Pipe]) -> Iterable[Finding]:
    if not points:
        yield Finding(
            "no-sharding-point",
            describe(root),
            "no pipe of the graph divides the work, so every worker yields every item",
            "Add .sharding_filter() as early as possible, behind a .shuffle()",
        )
        return
    divided = _always_behind(pipes, lambda pipe: pipe.is_sharding_point)
    stack, met = [root], set()
    while stack:
        pipe = stack.pop()
        if id(pipe) in met or id(pipe) in divided:
            continue
        met.add(id(pipe))
        sources = _streams(pipe)
        some = {id(upstream) for upstream in pipes if upstream.is_sharding_point} & {id(p) for p in walk(pipe)}
        if some:
            stack.extend(sources)
        else:
            yield Finding(
                "branch-without-point",
                describe(pipe),
                "no pipe of this branch divides the work, as other branches do: every worker yields all of it",
                "Add .sharding_filter() to the branch, or behind the pipe that joins the branches, and only there",
            )


def _shuffles(point: Pipe, pipes: list[Pipe]) -> Iterable[Finding]:
    if id(point) in _always_behind(walk(point), _shuffled_here):
        return
    behind = any(_shuffled_here(pipe) and any(p is point for p in walk(pipe)) for pipe in pipes)
    yield Finding(
        "no-shuffle-ahead",
        describe(point),
        "the graph shuffles only behind it, so the same items stay together in one worker's share in every epoch"
        if behind
        else "nothing shuffles ahead of it, so each worker gets the same items, in the same order, in every epoch",
        "Put a .shuffle() ahead of it, unless the order does not matter",
    )


def _work(point: Pipe) -> Iterable[Finding]:
    """Name the functions that every worker runs for every item. They could stand behind what merely passes items on."""
    sources = _streams(point)
    while len(sources) == 1:
        pipe = sources[0]
        if not (pipe.arity == ONE_TO_ONE or _shuffled_here(pipe)) or not isinstance(pipe, IterDataPipe):
            return
        if any(callable(value) and not isinstance(value, Pipe) for value in vars(pipe).values()):
            yield Finding(
                "work-ahead",
                describe(pipe),
                "it runs ahead of the sharding point, so every worker does this for every item, not only for its own",
                "Put it behind the sharding point",
            )
        sources = _streams(pipe)


def _twice(pipes: list[Pipe]) -> Iterable[Finding]:
    for pipe in pipes:
        if not isinstance(pipe, IterDataPipe):
            continue
        readers = [reader for reader in pipes if any(source is pipe for source in reader.sources)]
        readers = [reader for reader in readers if not isinstance(reader, Child)]
        times = sum(_mentions(reader, pipe) for reader in readers)
        if times > 1:
            who = " and ".join(dict.fromkeys(describe(reader) for reader in readers))
            yield Finding(
                "read-twice",
                describe(pipe),
                f"{who} read{'s' if len(readers) == 1 else ''} it, each time from its start: all that is upstream runs "
                f"{times} times",
                f"Use .fork({times}) on it, unless it is cheap to read again",
            )


def _counting(pipes: list[Pipe]) -> Iterable[Finding]:
    """Name the first pipe on each way from one that gives items in any order which holds some of them, or is replayed.

    Its own state is a place in the source and a count of items from there; those are others each time. What makes one
    item of one, or of a batch, stands between two of them whenever it is asked.
    """
    for loose in pipes:
        if not loose.in_any_order:
            continue
        exact = {id(loose)}
        for pipe in pipes:
            if not any(id(source) in exact for source in pipe.sources):
                continue
            if not iterates_itself(type(pipe)) and (pipe.arity != OTHER or pipe.holds_nothing):
                exact.add(id(pipe))
                continue
            yield Finding(
                "counts-any-order",
                describe(pipe),
                f"it comes back to a saved place by counting items of {describe(loose)}, which gives them in any "
                "order: an epoch that goes on from a state there may lose some of them, and give others twice",
                "Put it ahead of that pipe, or let that one keep the order (ordered=True)",
            )


def _mentions(reader: Pipe, source: Pipe) -> int:
    """Return how often a pipe reads another one: ``pipe.zip(pipe)`` does it twice."""
    counts = [
        sum(entry is source for entry in value) for value in vars(reader).values() if isinstance(value, (list, tuple))
    ]
    return max([1, *counts])
