"""Samples that fail, and how a pipeline goes on without them.

Where samples may be skipped, one that fails leaves a *hole*: an item without a value that says what was lost. The steps
that make one item of one, shuffle, work ahead or deal pass holes on in their place, so nothing else moves; `batch`
drops them, which makes that batch shorter and no other. What was lost then travels with the batch::

    map:   1  2  x  4  5  6        x: a hole, with its loss
    batch: [1 2]+loss  [4 5 6]     batches of 3, the first of them short

So a loss reaches the loop with the very item that it is part of. It is counted there, and nothing is counted twice when
a worker is replaced, or an epoch is resumed. Steps that know nothing of holes never see one: they are dropped ahead of
them, and what they lost goes with the next item of the lane.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from penstock.core.errors import GraphError, MissingExtra, StateError, TransportError, WorkerDied

__all__ = [
    "DROPPED",
    "HOLE",
    "BadSamples",
    "GuardedData",
    "Loss",
    "Lossy",
    "behind",
    "carrying",
    "combined",
    "gathered",
    "settled",
    "with_losses",
    "without_holes",
]

_RUNNING_SHARE_OF: Final = 1000  # while an epoch runs, a share is taken of at least so many samples
_SOURCE_BYTES: Final = 4096
# What is wrong with the program and not with a sample.
_NEVER_SKIPPED = (GraphError, StateError, MissingExtra, TransportError)


class _Hole:
    def __repr__(self) -> str:
        return "HOLE"

    def __reduce__(self) -> str:
        return "HOLE"


class _Dropped:
    """Stands for an item that a filter does not let through."""


HOLE: Final = _Hole()
DROPPED: Final = _Dropped()

Loss = dict[str, Any]  # what a dead letter says: source, place, error


@dataclass(frozen=True)
class BadSamples:
    """What to do with samples that cannot be loaded: `DataLoader2`'s ``bad_samples``.

    It holds for every step that calls a function for an item, decodes or opens one: `map` and its like, `filter`,
    `flatmap`, the parsers, and reading an item of a MapDataPipe or Dataset. What a source itself raises, and errors of
    the graph or of a state, are always raised.

    A skipped sample makes its own batch shorter, and no other batch changes, on any number of workers. A batch that
    loses all of its samples is left out; where several ranks must take as many steps, the last batch is repeated in its
    place, and ``dl.is_padding`` is true.

    A sample that kills two worker processes in a row in one of those steps is a bad one as well. Where it does in
    another step, and the graph divides into blocks, its whole batch is left out, and counts as one sample.

    Args:
        action: ``raise``, or ``skip``: go on without the sample.
        limit: how many samples an epoch may skip, for each rank: an int, or a float for a share of the samples,
            up to 1.0; None for any number. While the epoch runs, a share is taken of at least 1,000 samples.
        retries: how often to try again ahead of that, where the error is one of ``retry_on``.
        backoff_s: seconds ahead of the first retry; twice as many ahead of each further one.
        retry_on: the errors of input and output that may pass.
        dead_letter: a file to which each skipped sample appends a line of JSON: its ``source`` (the item that the step
            was given; its path if it is a file's), ``place`` and ``error``. `parse_jsonl` reads it.

    Raises:
        ValueError: no such action; a limit, retries or backoff below zero; a share above 1.

    Example:
        >>> from penstock import DataLoader2, IterableWrapper
        >>> pipe = IterableWrapper(["1", "2", "x", "4", "5"]).map(int).batch(2)
        >>> with DataLoader2(pipe, bad_samples=BadSamples("skip", limit=1)) as dl:
        ...     list(dl), dl.stats()["skipped"]
        ([[1, 2], [4], [5]], 1)
    """

    action: str = "raise"
    limit: int | float | None = None
    retries: int = 0
    backoff_s: float = 0.1
    retry_on: tuple[type[Exception], ...] = (OSError, TimeoutError)
    dead_letter: str | None = None

    def __post_init__(self) -> None:
        if self.action not in ("raise", "skip"):
            raise ValueError(f"action must be 'raise' or 'skip', got {self.action!r}")
        if self.retries < 0 or self.backoff_s < 0 or (self.limit is not None and self.limit < 0):
            raise ValueError(f"limit, retries and backoff_s must not be negative: {self}")
        if isinstance(self.limit, float) and self.limit > 1:
            raise ValueError(f"limit is a share of the samples where it is a float, and a count as an int: {self}")

    def guarded(self, fn: Callable[..., Any], place: dict[str, Any]) -> Callable[..., Any]:
        """Return ``fn`` as a function of an item (and what else it takes) that may be a hole, or becomes one."""

        def call(item: Any, *rest: Any) -> Any:
            if type(item) is Lossy:
                if item.value is HOLE:
                    return item
                made = call(item.value, *rest)
                if made is DROPPED:
                    made = HOLE
                return behind(item, made)
            try:
                return fn(item, *rest)
            except Exception as error:
                return self._failed(fn, (item, *rest), error, place)

        return call

    def patient(self, read: Callable[..., Any], loose: Lossy) -> Callable[..., Any]:
        """Return a function that reads a part of an item, and is called again where that may help; ``loose`` counts it.

        Its last error is raised: what becomes of the item is for others to say.
        """

        def call(*arguments: Any) -> Any:
            tried = 0
            while True:
                try:
                    return read(*arguments)
                except Exception as error:
                    if not self.tries_again(error, tried):
                        raise
                time.sleep(self.backoff_s * 2**tried)
                tried += 1
                loose.retried += 1

        return call

    def _failed(self, fn: Callable[..., Any], arguments: tuple[Any, ...], error: Exception, place: Any) -> Any:
        tried = 0
        while self.tries_again(error, tried):
            time.sleep(self.backoff_s * 2**tried)
            tried += 1
            try:
                made = fn(*arguments)
            except Exception as again:
                error = again
            else:
                return made if made is DROPPED else Lossy(made, retried=tried)
        return Lossy(HOLE, [self.loss(arguments[0], error, place)], tried)

    def tries_again(self, error: Exception, tried: int) -> bool:
        """Whether to try again what has failed, after so many retries."""
        return tried < self.retries and isinstance(error, self.retry_on) and not isinstance(error, WorkerDied)

    def loss(self, source: Any, error: Exception, place: dict[str, Any]) -> Loss:
        """Return what is to be said of a sample that is skipped; raise its error where it must not be."""
        if self.action == "raise" or isinstance(error, _NEVER_SKIPPED):
            if isinstance(error, StopIteration):  # which would pass for the end of the data
                raise RuntimeError("a function raised StopIteration") from error
            raise error
        return {"source": _as_json(source), "place": place, "error": f"{type(error).__name__}: {error}"}

    def over(self, skipped: int, samples: int, *, at_end: bool = False) -> bool:
        """Whether so many skipped samples, of so many in all, are more than the limit."""
        if self.limit is None:
            return False
        if isinstance(self.limit, float):
            return skipped > self.limit * (samples if at_end else max(samples, _RUNNING_SHARE_OF))
        return skipped > self.limit


class Lossy:
    """An item that something was lost of, or that is a hole altogether.

    Attributes:
        value: what is left, or `HOLE`.
        losses: what was lost.
        retried: how many attempts were repeated for it.
    """

    __slots__ = ("losses", "retried", "value")

    def __init__(self, value: Any, losses: Iterable[Loss] = (), retried: int = 0) -> None:
        self.value = value
        self.losses = list(losses)
        self.retried = retried

    def __repr__(self) -> str:
        return f"Lossy({self.value!r}, {self.losses}, {self.retried})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Lossy, (self.value, self.losses, self.retried)


def behind(item: Lossy, made: Any) -> Lossy:
    """Return what a function has made of an item's value, with what the item had lost already."""
    if type(made) is Lossy:
        return Lossy(made.value, item.losses + made.losses, item.retried + made.retried)
    return Lossy(made, item.losses, item.retried)


def gathered(slots: Sequence[Any], make: Callable[[list[Any]], Any]) -> Any:
    """Return what ``make`` makes of the values in some slots, without the holes; a hole where nothing else is there."""
    if not any(type(slot) is Lossy for slot in slots):
        return make(list(slots))
    whole = Lossy(HOLE)
    values = []
    for slot in slots:
        if type(slot) is Lossy:
            whole.losses += slot.losses
            whole.retried += slot.retried
            slot = slot.value
        if slot is not HOLE:
            values.append(slot)
    if values:
        whole.value = make(values)
    return whole


def combined(slots: tuple[Any, ...]) -> Any:
    """Return a tuple of items; a hole where one of them is a hole: what belongs to it is lost with it."""
    if not any(type(slot) is Lossy for slot in slots):
        return slots
    whole = gathered(slots, tuple)
    if len(whole.value if whole.value is not HOLE else ()) < len(slots):
        whole.value = HOLE
    return whole


def carrying(item: Any, loose: Lossy) -> Any:
    """Return an item that carries what was lost by the way."""
    if not (loose.losses or loose.retried):
        return item
    found = behind(loose, item)
    loose.losses, loose.retried = [], 0
    return found


def with_losses(items: Iterator[Any], loose: Lossy) -> Iterator[Any]:
    """Yield items with what was lost by the way to each of them; what is lost behind the last goes with a hole."""
    for item in items:
        yield carrying(item, loose)
    rest = carrying(HOLE, loose)
    if rest is not HOLE:
        yield rest


class GuardedData:
    """A MapDataPipe (``data``) of which an item may fail: it gives a hole then."""

    def __init__(self, data: Any, read: Callable[[Any], Any]) -> None:
        self.data = data
        self._read = read

    def __getitem__(self, index: Any) -> Any:
        return self._read(index)

    def __getitems__(self, indices: Iterable[Any]) -> list[Any]:
        return [self[index] for index in indices]

    def __len__(self) -> int:
        return len(self.data)


def settled(item: Any, loose: Lossy) -> Any:
    """Return an item's value, or `HOLE`; what it has lost goes into ``loose``."""
    if type(item) is not Lossy:
        return item
    loose.losses += item.losses
    loose.retried += item.retried
    return item.value


def without_holes(items: Iterator[Any], loose: Lossy) -> Iterator[Any]:
    """Yield items without holes, and as they are; what was lost goes into ``loose``."""
    for item in items:
        value = settled(item, loose)
        if value is not HOLE:
            yield value


def _as_json(item: Any) -> Any:
    """Return an item as JSON; the path of a file's, and the description of what is no JSON, or too long."""
    if isinstance(item, tuple) and item and isinstance(item[0], str):
        item = item[0]
    try:
        if len(json.dumps(item, allow_nan=False)) <= _SOURCE_BYTES:
            return item
    except (TypeError, ValueError, RecursionError):
        pass
    return repr(item)[:_SOURCE_BYTES]
