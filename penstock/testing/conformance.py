"""What every pipe must keep, whoever wrote it.

A `Case` is a small graph that ends in the pipe, or has it inside. Each check is a function of a case that raises
AssertionError; `CHECKS` has them all by name, for tests that report each by itself, and `check_pipe` runs them::

    from penstock.testing import check_pipe

    def test_my_pipe():
        check_pipe(lambda: MyPipe(IterableWrapper(range(10))), length=10)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import Any, Final, Literal

from penstock.core.pipe import IterDataPipe, MapDataPipe, Pipe, iterates_itself
from penstock.core.walk import kind, walk
from penstock.pipes.wrapper import IterableWrapper
from penstock.testing.items import plain
from penstock.testing.leftovers import no_leftovers

__all__ = ["CHECKS", "Case", "boom", "check_pipe"]

_SEED: Final = 7


@dataclass(frozen=True)
class Case:
    """What the checks need to know of a pipe.

    Attributes:
        make: makes the graph, each time a new one that gives the same items.
        length: what ``len`` must say; None where it must be a TypeError, ``"any"`` where either will do.
        broken: makes the same graph with a user's function that raises KeyError (`boom`), for a pipe that runs one.
        name: how the pipe under test is called in the note of an error; the kind of the graph's last pipe unless given.
    """

    make: Callable[[], Any]
    length: int | Literal["any"] | None = None
    broken: Callable[[], Any] | None = None
    name: str | None = None


def boom(*_: Any, **__: Any) -> Any:
    """Raise KeyError: a user's function that fails."""
    raise KeyError("boom")


def check_pipe(
    make: Callable[[], Any],
    *,
    length: int | Literal["any"] | None = "any",
    broken: Callable[[], Any] | None = None,
    name: str | None = None,
) -> None:
    """Raise AssertionError unless the pipe keeps what every pipe must keep.

    It pickles; two iterators over it agree, side by side; iterating changes nothing in it; it resumes at every index,
    from a state that went through JSON; its length is right or a TypeError; closing it twice, also behind an error,
    does nothing; an exception names it; two worker processes give what this process gives; nothing is left over.

    Args:
        make: makes the graph that ends in the pipe: a few items, the same ones each time.
        length: what ``len`` must say, None for a TypeError.
        broken: makes the same graph with a function that raises, such as `boom`.
        name: the pipe's name in an error, if the graph does not end in it.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> check_pipe(lambda: IterableWrapper(range(4)).map(str), length=4)
    """
    case = Case(make, length, broken, name)
    for description, check in CHECKS.items():
        try:
            check(case)
        except Exception as error:
            error.add_note(f"penstock.testing: the check that failed: {description}")
            raise


def pickles(case: Case) -> None:
    """A copy that went through pickle gives the same items."""
    import cloudpickle

    pipe = case.make()
    copied = cloudpickle.loads(cloudpickle.dumps(pipe))
    _same(_items(copied), _items(pipe), "a pickled copy gives other items")


def agrees_with_itself(case: Case) -> None:
    """Two iterators over one pipe, read in turn, give the same items as one alone."""
    pipe = case.make()
    expected = _items(pipe)
    assert expected, "the graph gives no items, so nothing can be checked"
    pairs = [(plain(a), plain(b)) for a, b in zip_longest(_seeded(pipe), _seeded(pipe), fillvalue="(at its end)")]
    _same([a for a, _ in pairs], expected, "the first of two iterators side by side gives other items")
    _same([b for _, b in pairs], expected, "the second of two iterators side by side gives other items")


def iterating_changes_nothing(case: Case) -> None:
    """After a run, every attribute of every pipe of the graph is the object that it was."""
    pipe = case.make()
    before = [(part, {key: id(value) for key, value in vars(part).items()}) for part in walk(pipe)]
    _items(pipe)
    for part, attributes in before:
        now = {key: id(value) for key, value in vars(part).items()}
        changed = [key for key in now if now[key] != attributes.get(key)]
        assert now == attributes, f"iterating changed {kind(part)}: {changed}"


def resumes_at_every_index(case: Case) -> None:
    """From the state after any item, through JSON and in a new graph, a run goes on as it would have."""
    pipe = _iterable(case.make())
    it = _seeded(pipe)
    states, expected = [_trip(it.state_dict())], []
    for item in it:
        expected.append(plain(item))
        states.append(_trip(it.state_dict()))
    for i, state in enumerate(states):
        restored: Any = iter(_iterable(case.make()))
        restored.load_state_dict(_trip(state))
        _same(_trip(restored.state_dict()), state, f"restored at item {i}, its state is not the one that was saved")
        rest = [plain(item) for item in islice(restored, 1)]
        again: Any = iter(pipe)
        again.load_state_dict(_trip(restored.state_dict()))
        rest += [plain(item) for item in restored]
        _same(rest, expected[i:], f"restored at item {i}, it gives other items")
        _same([plain(item) for item in again], expected[i + 1 :], f"restored a second time, behind item {i}")


def has_the_right_length(case: Case) -> None:
    """``len`` is the number of items, or a TypeError; a pipe is true whatever its length."""
    pipe = case.make()
    try:
        length = len(pipe)
    except TypeError:
        if case.length not in (None, "any"):
            raise
    else:
        assert case.length is not None, f"len is {length}, but a TypeError is expected"
        assert case.length in (length, "any"), f"len is {length}, but {case.length} is expected"
        _same(length, len(_items(pipe)), "len is not the number of items")
    assert pipe, "a pipe must be true, whatever its length"


def closes_twice(case: Case) -> None:
    """An iterator can be closed at any item, and behind an error, and again; then it is at its end."""
    makes = [case.make, case.make, case.make, *([case.broken] if case.broken else [])]
    for make, taken in zip(makes, (0, 1, None, None), strict=False):
        it: Any = iter(_iterable(make()))
        try:
            for _ in islice(it, taken):
                pass
        except KeyError:
            assert make is case.broken
        it.close()
        it.close()
        assert next(it, None) is None, "a closed iterator gives items"


def an_exception_names_the_pipe(case: Case) -> None:
    """An exception of a user's function keeps its type, and says in which pipe, made where, it was raised."""
    if case.broken is None:
        return
    pipe = case.broken()
    name = case.name or kind(pipe)
    try:
        _items(_iterable(pipe))
    except KeyError as error:
        notes = "\n".join(getattr(error, "__notes__", ()))
        assert f"penstock: raised in pipe {name!r}" in notes, f"the error's notes do not name pipe {name!r}:\n{notes}"
        assert case.broken.__code__.co_filename in notes, f"nor where it was made:\n{notes}"
    else:
        raise AssertionError("the broken graph raised no KeyError")


def is_the_same_on_two_workers(case: Case) -> None:
    """Two worker processes give what this process gives, in its order."""
    from penstock.loader2 import DataLoader2
    from penstock.reading_service import MultiProcessingReadingService

    pipe = _iterable(case.make())
    if not any(part.is_sharding_point for part in walk(pipe)):
        pipe = pipe.sharding_filter()
    found: list[list[Any]] = []
    for service in (None, MultiProcessingReadingService(2)):
        loader: DataLoader2[Any] = DataLoader2(pipe, reading_service=service)
        with loader:
            loader.seed(_SEED)
            found.append([plain(item) for item in loader])
    _same(found[1], found[0], "two workers give other items than this process")


def leaves_nothing_over(case: Case) -> None:
    """Nothing is left of a run to the end, nor of one that was left after an item, dropped, or failed."""
    _items(case.make())  # what an import opens once is not held against the pipe
    with no_leftovers():
        _items(case.make())
        for _ in _iterable(case.make()):
            break
        it = iter(_iterable(case.make()))
        next(it)
        del it
        if case.broken is not None:
            try:
                _items(case.broken())
            except KeyError:
                pass


CHECKS: Final[dict[str, Callable[[Case], None]]] = {
    check.__name__: check
    for check in (
        pickles,
        agrees_with_itself,
        iterating_changes_nothing,
        resumes_at_every_index,
        has_the_right_length,
        closes_twice,
        an_exception_names_the_pipe,
        is_the_same_on_two_workers,
        leaves_nothing_over,
    )
}


def _items(pipe: Pipe) -> list[Any]:
    return [plain(item) for item in _seeded(pipe)]


def _seeded(pipe: Pipe) -> Any:
    """Return an iterator with a fixed seed: two runs of their own would differ."""
    if isinstance(pipe, MapDataPipe):
        return _getting(pipe)
    it: Any = iter(_iterable(pipe))
    if hasattr(it, "load_state_dict"):
        it.load_state_dict({"seed": _SEED, "epoch": 1, "state": None})
    return it


def _getting(pipe: MapDataPipe[Any]) -> Iterator[Any]:
    return (pipe[i] for i in range(len(pipe)))


def _iterable(pipe: Pipe) -> IterDataPipe[Any]:
    if isinstance(pipe, MapDataPipe):
        return pipe.to_iter_datapipe()
    if not isinstance(pipe, IterDataPipe):
        raise TypeError(f"a DataPipe is expected, but got {type(pipe).__name__}")
    return IterableWrapper(pipe) if iterates_itself(type(pipe)) else pipe  # its own iterator has no state_dict


def _trip(state: Any) -> Any:
    return json.loads(json.dumps(state, allow_nan=False))


def _same(found: Any, expected: Any, complaint: str) -> None:
    assert found == expected, f"{complaint}:\n  {found!r}\ninstead of\n  {expected!r}"
