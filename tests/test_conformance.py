"""Every pipe keeps the same promises: the checks of `penstock.testing`, over the whole registry.

A registered pipe without a row in tests/rows.py fails.
"""

from __future__ import annotations

import doctest
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.core.walk import kind, walk
from penstock.pipes import IterDataPipe
from penstock.pipes.map import MapDataPipe
from penstock.testing import CHECKS, Case
from rows import iter_rows, map_rows, write_files

ROWS = {IterDataPipe: iter_rows, MapDataPipe: map_rows}
FAMILIES: dict[str, type[Any]] = {"iter": IterDataPipe, "map": MapDataPipe}


def rows(family: type[Any], folder: Path) -> dict[str, Case]:
    listed = list(ROWS[family](folder))
    assert len(dict(listed)) == len(listed), "two rows have the same name"
    return dict(listed)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as path:
        write_files(Path(path))
        yield Path(path)


def built_in(family: type[Any]) -> set[str]:
    """The functional names of penstock's own classes (examples in docstrings register some, too)."""
    return {
        name
        for name, cls in family.functions.items()
        if cls.__module__.startswith("penstock.") and vars(sys.modules[cls.__module__]).get(cls.__name__) is cls
    }


def nameless(family: type[Any]) -> set[str]:
    """The public classes of a family that have no functional name: sources."""
    module = sys.modules["penstock.pipes" if family is IterDataPipe else "penstock.pipes.map"]
    classes = [getattr(module, name) for name in module.__all__]
    return {
        cls.__name__
        for cls in classes
        if isinstance(cls, type) and issubclass(cls, family) and cls is not family and not cls._functional_name
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_every_registered_pipe_has_a_row_and_every_row_a_pipe(family: str, folder: Path) -> None:
    cls = FAMILIES[family]
    assert built_in(cls) | nameless(cls) == set(rows(cls, folder))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_row_has_its_pipe(family: str, folder: Path) -> None:
    for name, case in rows(FAMILIES[family], folder).items():
        assert name in {kind(pipe) for pipe in walk(case.make())}


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(
    ("family", "name"), [(family, name) for family, cls in FAMILIES.items() for name in rows(cls, Path())]
)
def test_every_pipe_keeps(family: str, name: str, check: str, folder: Path) -> None:
    CHECKS[check](rows(FAMILIES[family], folder)[name])


@pytest.mark.parametrize(
    ("name", "cls"), [(name, cls) for family in FAMILIES.values() for name, cls in sorted(family.functions.items())]
)
def test_its_docstring_names_it_and_has_an_example_that_runs(name: str, cls: type[Any]) -> None:
    assert cls.__doc__ and f"``{name}``" in cls.__doc__.split("\n\n")[0]
    module = sys.modules[cls.__module__]
    (example,) = (t for t in doctest.DocTestFinder(recurse=False).find(cls, cls.__name__, module=module) if t.examples)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert not doctest.DocTestRunner(optionflags=flags).run(example).failed


TAKE_MORE_THAN_A_PIPE = {"concat", "list_files", "open_files", "zip"} | {
    f"{what}_by_{how}" for what in ("list_files", "open_files") for how in ("fsspec", "iopath")
}


@pytest.mark.parametrize("source", [None, 3, [1], object()])
@pytest.mark.parametrize("name", sorted(set(built_in(IterDataPipe)) - TAKE_MORE_THAN_A_PIPE))
def test_a_source_that_is_no_pipe_is_a_type_error(name: str, source: Any) -> None:
    cls = IterDataPipe.functions[name]
    arguments = {
        "async_map": (len,),
        "async_map_batches": (len, 2),
        "batch": (1,),
        "bucketbatch": (2,),
        "check_hash": ({},),
        "demux": (2, max),
        "drop": (0,),
        "filter": (len,),
        "filter_rows": (len,),
        "fork": (2,),
        "groupby": (len,),
        "list_files_by_ais": ("http://localhost",),
        "load_files_by_ais": ("http://localhost",),
        "map": (len,),
        "map_batches": (len, 2),
        "max_token_bucketize": (2,),
        "monitor": (len,),
        "numba_map": (len,),
        "random_filter": (max,),
        "random_map": (max,),
        "random_split": ({"a": 1}, 0),
        "rebatch": (2,),
        "repeat": (2,),
        "round_robin_demux": (2,),
        "select": (["x"],),
        "set_length": (2,),
        "take_rows": (2,),
        "slice": (0,),
        "sliding": (2,),
        "threadpool_map": (len,),
        "unzip": (2,),
        "zip_with_iter": (None, len),
        "zip_with_map": (None, len),
    }
    with pytest.raises(TypeError, match="IterDataPipe"):
        cls(source, *arguments.get(name, ()))
