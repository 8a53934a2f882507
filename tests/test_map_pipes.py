"""What each MapDataPipe does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch.utils.data

from penstock.pipes import DataChunk, IterableWrapper
from penstock.pipes.map import MapDataPipe, SequenceWrapper
from running import run


class Fetching:
    """A data set that can fetch many items in one go, and notes what it was asked for."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.single: list[int] = []
        self.many: list[list[int]] = []

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> int:
        self.single.append(index)
        return index

    def __getitems__(self, indices: Sequence[int]) -> list[int]:
        self.many.append(list(indices))
        return list(indices)


def test_a_wrapper_keeps_a_copy_made_when_it_was_made() -> None:
    data = [[1], [2]]
    copied, shared = SequenceWrapper(data), SequenceWrapper(data, deepcopy=False)
    data[0].append(9)
    assert (copied[0], shared[0]) == ([1], [1, 9])
    assert (len(copied), list(copied)) == (2, [[1], [2]])


def test_a_wrapper_of_what_cannot_be_copied_warns() -> None:
    with pytest.warns(UserWarning, match="can not be deepcopied"):
        assert SequenceWrapper([iter(()), (i for i in ())]) is not None


def test_a_wrapper_takes_dicts_and_torch_data_sets() -> None:
    assert SequenceWrapper({"a": 1})["a"] == 1
    data = torch.utils.data.TensorDataset(torch.arange(3))
    assert SequenceWrapper(data)[2] == (torch.tensor(2),)


def test_map_and_batch_work_when_asked() -> None:
    seen: list[int] = []
    pipe = SequenceWrapper(range(5)).map(lambda x: seen.append(x) or x * 10)
    batches = pipe.batch(2)
    assert not seen
    assert (len(batches), batches[2], type(batches[0])) == (3, [40], DataChunk)
    assert seen == [4, 0, 1]
    assert len(pipe.batch(2, drop_last=True)) == 2
    assert pipe.batch(2, wrapper_class=tuple)[0] == (0, 10)
    for index in (3, -1):
        with pytest.raises(IndexError, match="out of bound"):
            batches[index]
    with pytest.raises(IndexError, match="out of bound"):
        pipe.batch(2, drop_last=True)[2]


def test_a_map_pipe_can_be_iterated_by_index() -> None:
    assert list(SequenceWrapper("abc").map(str.upper)) == ["A", "B", "C"]


@pytest.mark.parametrize("make", ["map", "batch"])
def test_a_map_pipe_reads_from_a_map_pipe(make: str) -> None:
    cls = MapDataPipe.functions[make]
    with pytest.raises(TypeError, match="MapDataPipe"):
        cls(IterableWrapper([1]), *((str,) if make == "map" else (2,)))


def test_shuffle_draws_from_the_given_indices() -> None:
    pipe = SequenceWrapper({"a": 1, "b": 2, "c": 3}).shuffle(indices=["a", "c"])
    assert sorted(pipe) == [1, 3]
    assert len(pipe) == 2
    for unmade in (SequenceWrapper("abc").shuffle, SequenceWrapper("abc").to_iter_datapipe):
        assert sorted(unmade()) == ["a", "b", "c"]


def test_a_batch_behind_index_steps_is_fetched_in_one_go() -> None:
    data = Fetching(10)
    pipe = SequenceWrapper(data, deepcopy=False).shuffle().sharding_filter().header(9).batch(4)
    batches = run(pipe)
    assert data.many == batches
    assert data.single == []
    assert [len(batch) for batch in batches] == [4, 4, 1]


def test_a_map_in_between_still_fetches_in_one_go() -> None:
    data = Fetching(6)
    pipe = SequenceWrapper(data, deepcopy=False).map(lambda x: -x).to_iter_datapipe().batch(3)
    assert run(pipe) == [[0, -1, -2], [-3, -4, -5]]
    assert data.many == [[0, 1, 2], [3, 4, 5]]


def test_sharding_fetches_only_the_shares_own_items() -> None:
    data = Fetching(9)
    pipe = SequenceWrapper(data, deepcopy=False).shuffle().sharding_filter().map(int)
    run(pipe, count=3, index=1)
    assert len(data.single) == 3


def test_a_map_pipe_of_ones_own_needs_an_item_and_a_length() -> None:
    class Bare(MapDataPipe[Any]):
        pass

    with pytest.raises(NotImplementedError, match="__getitem__"):
        Bare()[0]
    with pytest.raises(TypeError, match="doesn't have valid length"):
        len(Bare())
