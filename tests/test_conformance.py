"""Every pipe keeps the same promises. A registered pipe without a row here fails.

A row is a small graph that ends in the pipe, its length (None where it cannot be known), and, for a pipe that runs a
user's function, the same graph with a function that raises.
"""

from __future__ import annotations

import doctest
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import msgpack
import pytest

from penstock.core.walk import walk
from penstock.pipes import FileLister, IterableWrapper, IterDataPipe
from penstock.pipes.map import MapDataPipe, SequenceWrapper
from running import plain


def boom(*_: Any) -> Any:
    raise KeyError("boom")


@dataclass
class Row:
    make: Callable[[Path], Any]
    length: int | None = None
    broken: Callable[[], Any] | None = None


def ten() -> IterableWrapper[int]:
    return IterableWrapper(range(10))


def letters() -> SequenceWrapper[str]:
    return SequenceWrapper("abcde")


def opened(folder: Path, name: str) -> Any:
    return IterableWrapper([str(folder / name)]).open_files("rb")


ITER: dict[str, Row] = {
    "IterableWrapper": Row(lambda _: ten(), 10),
    "batch": Row(lambda _: ten().batch(3), 4, lambda: ten().batch(3, wrapper_class=boom)),
    "collate": Row(lambda _: ten().batch(3).collate(), 4, lambda: ten().batch(3).collate(boom)),
    "concat": Row(lambda _: ten().concat(ten()), 20),
    "cycle": Row(lambda _: ten().cycle(2), 20),
    "enumerate": Row(lambda _: ten().enumerate(), 10),
    "filter": Row(lambda _: ten().filter(lambda x: x % 3), None, lambda: ten().filter(boom)),
    "flatmap": Row(lambda _: ten().flatmap(lambda x: [x, x]), None, lambda: ten().flatmap(boom)),
    "header": Row(lambda _: ten().header(4), 4),
    "list_files": Row(lambda folder: FileLister(str(folder)), None),
    "map": Row(lambda _: ten().map(lambda x: x + 1), 10, lambda: ten().map(boom)),
    "open_files": Row(lambda folder: FileLister(str(folder), "*.csv").open_files(), None),
    "parse_csv": Row(lambda folder: opened(folder, "a.csv").parse_csv(), None),
    "parse_csv_as_dict": Row(lambda folder: opened(folder, "a.csv").parse_csv_as_dict(), None),
    "parse_jsonl": Row(lambda folder: opened(folder, "a.jsonl").parse_jsonl(), None),
    "parse_msgpack": Row(lambda folder: opened(folder, "a.msgpack").parse_msgpack(), None),
    "prefetch": Row(lambda _: ten().prefetch(2), 10),
    "random_filter": Row(
        lambda _: ten().random_filter(lambda x, rng: rng.random() < 0.5), None, lambda: ten().random_filter(boom)
    ),
    "random_map": Row(lambda _: ten().random_map(lambda x, rng: rng.random()), 10, lambda: ten().random_map(boom)),
    "readlines": Row(lambda folder: opened(folder, "a.csv").readlines(), None),
    "sharding_filter": Row(lambda _: ten().sharding_filter(), 10),
    "shuffle": Row(lambda _: ten().shuffle(buffer_size=4), 10),
    "unbatch": Row(lambda _: ten().batch(3).unbatch(), None),
    "zip": Row(lambda _: ten().zip(ten().header(7)), 7),
}

MAP: dict[str, Row] = {
    "SequenceWrapper": Row(lambda _: letters(), 5),
    "batch": Row(lambda _: letters().batch(2), 3, lambda: letters().batch(2, wrapper_class=boom)),
    "map": Row(lambda _: letters().map(str.upper), 5, lambda: letters().map(boom)),
    "shuffle": Row(lambda _: letters().shuffle(), 5),
    "to_iter_datapipe": Row(lambda _: letters().to_iter_datapipe([3, 1]), 2),
}

ROWS = {f"{family}: {name}": row for family, rows in (("iter", ITER), ("map", MAP)) for name, row in rows.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("conformance")
    (path / "a.csv").write_text("k,v\n1,2\n3,4\n5,6\n")
    (path / "a.jsonl").write_text('{"x": 1}\n[2]\n3\n')
    (path / "a.msgpack").write_bytes(b"".join(map(msgpack.packb, ({"x": 1}, [2], 3))))
    return path


def items(pipe: Any) -> list[Any]:
    """All items; a seed of its own for each run would make two runs differ, so every run gets the same."""
    return [plain(item) for item in seeded(pipe)]


def seeded(pipe: Any) -> Any:
    if isinstance(pipe, MapDataPipe):
        return (pipe[i] for i in range(len(pipe)))
    it: Any = iter(pipe)
    it.load_state_dict({"seed": 7, "epoch": 1, "state": None})
    return it


def built_in(family: type[Any]) -> set[str]:
    """The functional names of penstock's own classes (examples in docstrings register some, too)."""
    return {
        name
        for name, cls in family.functions.items()
        if cls.__module__.startswith("penstock.") and vars(sys.modules[cls.__module__]).get(cls.__name__) is cls
    }


def test_every_registered_pipe_has_a_row_and_every_row_a_pipe() -> None:
    assert built_in(IterDataPipe) == set(ITER) - {"IterableWrapper"}
    assert built_in(MapDataPipe) == set(MAP) - {"SequenceWrapper"}


def test_every_row_ends_in_its_pipe(folder: Path) -> None:
    for family, rows in ((IterDataPipe, ITER), (MapDataPipe, MAP)):
        for name, row in rows.items():
            pipe = row.make(folder)
            assert name in (type(pipe)._functional_name, type(pipe).__name__)
            assert family.functions.get(name, type(pipe)) is type(pipe)


@pytest.fixture(params=ROWS)
def row(request: pytest.FixtureRequest) -> Row:
    return ROWS[request.param]


def test_a_pickled_pipe_gives_the_same(row: Row, folder: Path) -> None:
    pipe = row.make(folder)
    assert items(cloudpickle.loads(cloudpickle.dumps(pipe))) == items(pipe) != []


def test_two_iterators_side_by_side_agree(row: Row, folder: Path) -> None:
    pipe = row.make(folder)
    expected = items(pipe)
    pairs = zip(seeded(pipe), seeded(pipe), strict=True)
    assert [(plain(a), plain(b)) for a, b in pairs] == [(item, item) for item in expected]


def test_iterating_changes_no_pipe(row: Row, folder: Path) -> None:
    pipe = row.make(folder)
    before = [{key: id(value) for key, value in vars(part).items()} for part in walk(pipe)]
    items(pipe)
    assert [{key: id(value) for key, value in vars(part).items()} for part in walk(pipe)] == before


def test_it_resumes_at_every_index(row: Row, folder: Path) -> None:
    pipe = row.make(folder)
    if isinstance(pipe, MapDataPipe):
        pipe = pipe.to_iter_datapipe()
    expected = items(pipe)
    it = seeded(pipe)
    states = [json.dumps(it.state_dict())]
    for _ in it:
        states.append(json.dumps(it.state_dict()))
    assert len(states) == len(expected) + 1
    for i, state in enumerate(states):
        again: Any = iter(row.make(folder) if isinstance(row.make(folder), IterDataPipe) else pipe)
        again.load_state_dict(json.loads(state))
        assert json.dumps(again.state_dict()) == state
        assert [plain(item) for item in again] == expected[i:]


def test_its_length_is_right_or_a_type_error(row: Row, folder: Path) -> None:
    pipe = row.make(folder)
    if row.length is not None:
        assert len(pipe) == row.length == len(items(pipe))
    else:
        with pytest.raises(TypeError, match=r"doesn't have valid length|length relies on the output"):
            len(pipe)
    assert pipe  # whatever its length


def test_closing_twice_does_nothing(row: Row, folder: Path, no_leftovers: None) -> None:
    pipe = row.make(folder)
    if isinstance(pipe, MapDataPipe):
        pipe = pipe.to_iter_datapipe()
    for taken in (0, 1, 100):
        it: Any = iter(pipe)
        for _ in zip(range(taken), it, strict=False):
            pass
        it.close()
        it.close()
        with pytest.raises(StopIteration):
            next(it)


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.broken])
def test_an_exception_in_a_users_function_names_the_pipe_and_ends_the_run(name: str, no_leftovers: None) -> None:
    broken = ROWS[name].broken
    assert broken
    pipe = broken()
    it: Any = iter(pipe.to_iter_datapipe() if isinstance(pipe, MapDataPipe) else pipe)
    with pytest.raises(KeyError, match="boom") as raised:
        next(it)
    notes = "\n".join(raised.value.__notes__)
    kind = name.partition(": ")[2] if isinstance(pipe, IterDataPipe) else "to_iter_datapipe"
    assert f"penstock: raised in pipe {kind!r}" in notes
    assert Path(__file__).name in notes  # where the user made it
    it.close()
    it.close()
    with pytest.raises(StopIteration):
        next(it)


def test_its_docstring_has_an_example_that_runs(row: Row, folder: Path) -> None:
    cls = type(row.make(folder))
    assert cls.__doc__
    module = sys.modules[cls.__module__]
    (example,) = (t for t in doctest.DocTestFinder(recurse=False).find(cls, cls.__name__, module=module) if t.examples)
    assert not doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=lambda _: None).failed


def test_its_docstring_names_it(row: Row, folder: Path) -> None:
    cls = type(row.make(folder))
    name = cls._functional_name
    assert cls.__doc__ and (name is None or f"``{name}``" in cls.__doc__.split("\n\n")[0])


@pytest.mark.parametrize("source", [None, 3, [1], object()])
@pytest.mark.parametrize("name", sorted(set(ITER) - {"IterableWrapper", "list_files", "open_files", "zip", "concat"}))
def test_a_source_that_is_no_pipe_is_a_type_error(name: str, source: Any) -> None:
    cls = IterDataPipe.functions[name]
    arguments = {"filter": (len,), "map": (len,), "random_map": (max,), "random_filter": (max,), "batch": (1,)}
    with pytest.raises(TypeError, match="IterDataPipe"):
        cls(source, *arguments.get(name, ()))
