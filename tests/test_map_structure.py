"""MapDataPipes that combine, cache, take apart, or are made of an IterDataPipe."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Sequence
from typing import Any

import pytest

from penstock.pipes import IterableWrapper
from penstock.pipes.map import (
    Concater,
    InMemoryCacheHolder,
    IterToMapConverter,
    MapDataPipe,
    SequenceWrapper,
    UnZipper,
    Zipper,
)  # fmt: skip
from running import copied, restores_at_every_index


class Noted(MapDataPipe[int]):
    """Knows what it was asked for: each call is a list of indices."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.asked: list[list[int]] = []

    def __getitem__(self, index: int) -> int:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[int]:
        self.asked.append(list(indices))
        return [10 * index for index in indices]

    def __len__(self) -> int:
        return self.n


class Unsized(MapDataPipe[int]):
    def __getitem__(self, index: int) -> int:
        return index


def test_concat_goes_on_through_all_pipes_and_fetches_from_each_in_one_go() -> None:
    a, b = Noted(2), Noted(3)
    pipe = a.concat(SequenceWrapper([]), b)
    assert isinstance(pipe, Concater) and len(pipe) == 5 and list(pipe) == [0, 10, 0, 10, 20]
    a.asked.clear()
    b.asked.clear()
    assert pipe.__getitems__([4, 0, 2, 1]) == [20, 0, 0, 10]
    assert (a.asked, b.asked) == ([[0, 1]], [[2, 0]])
    for index in (5, -1):
        with pytest.raises(IndexError, match="out of range"):
            pipe[index]


def test_zip_puts_items_side_by_side_and_fetches_in_one_go() -> None:
    a, b = Noted(2), Noted(3)
    pipe = a.zip(b)
    assert isinstance(pipe, Zipper) and len(pipe) == 2 and pipe[1] == (10, 10)
    a.asked.clear()
    assert pipe.__getitems__([1, 0]) == [(10, 10), (0, 0)]
    assert a.asked == [[1, 0]]
    assert list(SequenceWrapper([1, 2, 3]).zip(SequenceWrapper("ab"))) == [(1, "a"), (2, "b")]


@pytest.mark.parametrize("cls", [Concater, Zipper])
def test_combining_needs_sized_map_pipes(cls: Any) -> None:
    with pytest.raises(ValueError, match="at least one DataPipe"):
        cls()
    with pytest.raises(TypeError, match="MapDataPipe"):
        cls(SequenceWrapper("a"), IterableWrapper("a"))
    with pytest.raises(TypeError, match="Sized"):
        cls(SequenceWrapper("a"), Unsized())


def test_a_cache_asks_for_each_item_once_and_for_many_in_one_go() -> None:
    source = Noted(5)
    pipe = source.in_memory_cache()
    assert isinstance(pipe, InMemoryCacheHolder) and len(pipe) == 5
    assert [pipe[1], pipe[1], *pipe.__getitems__([3, 1, 3, 2]), pipe[2]] == [10, 10, 30, 10, 30, 20, 20]
    assert source.asked == [[1], [3, 2]]
    made = SequenceWrapper([1]).map(lambda x: [x]).in_memory_cache()
    assert made[0] is made[0]


def test_a_cache_is_pickled_and_rewired_empty() -> None:
    pipe = SequenceWrapper(range(1000)).map(str).in_memory_cache()
    small = len(pickle.dumps(pipe))
    pipe.__getitems__(range(1000))
    assert len(pickle.dumps(pipe)) == small
    assert pickle.loads(pickle.dumps(pipe))[7] == copy.deepcopy(pipe)[7] == "7"
    assert pipe.with_sources(SequenceWrapper("abc"))[1] == "b"
    assert pipe[1] == "1"


def test_unzip_gives_a_pipe_for_each_column_that_is_not_skipped() -> None:
    source = SequenceWrapper([(i, i + 10, i + 20) for i in range(3)])
    columns = source.unzip(3)
    assert [list(pipe) for pipe in columns] == [[0, 1, 2], [10, 11, 12], [20, 21, 22]]
    (middle,) = UnZipper(source, sequence_length=3, columns_to_skip=[0, 2])
    assert middle.__getitems__([2, 0]) == [12, 10] and len(middle) == 3
    assert copied(middle)[1] == 11
    with pytest.raises(ValueError, match="sequence_length"):
        source.unzip(0)
    with pytest.raises(RuntimeError, match="All columns are being filtered out"):
        source.unzip(2, columns_to_skip=[0, 1])


def test_map_needs_no_function() -> None:
    assert list(SequenceWrapper("ab").map()) == ["a", "b"]


# ------------------------------------------------------------------------------------------------------ to_map_datapipe


def test_an_iter_pipe_becomes_a_map_pipe_that_reads_when_it_is_first_asked_and_once() -> None:
    seen: list[int] = []
    source = IterableWrapper(range(3)).map(lambda x: seen.append(x) or (f"k{x}", x))
    pipe = source.to_map_datapipe()
    assert isinstance(pipe, IterToMapConverter)
    assert len(pipe) == 3 and pipe._map is None and not seen
    assert [pipe["k2"], pipe["k0"], *pipe.__getitems__(["k1"])] == [2, 0, 1]
    assert seen == [0, 1, 2] and pipe._map == {"k0": 0, "k1": 1, "k2": 2}
    with pytest.raises(IndexError, match="is invalid for IterToMapConverter"):
        pipe["k9"]


@pytest.mark.parametrize("asked", [False, True])
def test_it_pickles_before_and_behind_the_first_question(asked: bool) -> None:
    pipe = IterableWrapper(range(3)).to_map_datapipe(lambda x: (x, -x))
    if asked:
        assert pipe[2] == -2
    again = copied(pipe)
    assert (again._map is not None) is asked
    assert list(again) == list(pipe) == [0, -1, -2]
    assert restores_at_every_index(pipe.to_iter_datapipe()) == [0, -1, -2]


def test_a_copy_with_other_sources_reads_those() -> None:
    pipe = IterableWrapper([(0, "a")]).to_map_datapipe()
    assert pipe[0] == "a"
    other = pipe.with_sources(IterableWrapper([(0, "b")]))
    assert (other[0], pipe[0]) == ("b", "a")


def test_what_is_no_pair_is_an_error() -> None:
    with pytest.raises(TypeError, match="Cannot convert dictionary update element"):
        list(IterableWrapper(range(3)).to_map_datapipe())
    with pytest.raises(ValueError, match="dictionary update sequence element has length 1"):
        list(IterableWrapper(range(3)).to_map_datapipe(lambda x: (x,)))


def test_a_stop_iteration_of_the_function_is_an_error_and_no_short_map() -> None:
    def stop(_: int) -> Any:
        raise StopIteration

    with pytest.raises(RuntimeError, match="StopIteration"):
        list(IterableWrapper(range(3)).to_map_datapipe(stop))


def test_a_length_that_must_be_read_and_a_duplicate_key_bring_warnings() -> None:
    pipe = IterableWrapper(range(10)).filter(lambda x: x % 2 == 0).to_map_datapipe(lambda x: (x, x + 2))
    with pytest.warns(UserWarning, match="Data from prior DataPipe are loaded to get length"):
        assert len(pipe) == 5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(pipe) == 5
    doubled = IterableWrapper(range(3)).to_map_datapipe(lambda x: (0, x))
    with pytest.warns(UserWarning, match="Found duplicate key"):
        doubled._load_map()
    assert doubled[0] == 2 and len(doubled) == 1
