"""Batches of columns that travel joined arrive as they were, and apart from each other."""

from __future__ import annotations

import pickle
import time
from collections import Counter, OrderedDict
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import DataLoader2, IterableWrapper, MultiProcessingReadingService
from penstock.core.leaving import BlockRows, Deferred, Tensors, Words
from penstock.lance.collate import Batch
from penstock.testing import plain
from penstock.transport.codec import encode
from penstock.transport.together import apart, is_batch, together

MAKERS: dict[str, Any] = {
    "int64": lambda n: np.arange(n),
    "float32, two axes": lambda n: np.arange(2.0 * n, dtype=np.float32).reshape(n, 2),
    "bool": lambda n: np.arange(n) % 2 == 0,
    "no columns in it": lambda n: np.zeros((n, 0)),
    "words": lambda n: [f"w{i}" for i in range(n)],
    "anything": lambda n: [{"x": i} if i % 2 else None for i in range(n)],
    "tensor": lambda n: torch.arange(n, dtype=torch.int16),
    "tensor later": lambda n: Deferred(np.arange(n, dtype=np.uint8)),
}


def sent(content: Any) -> Any:
    data, buffers = encode(content)
    return pickle.loads(data, buffers=[bytearray(buffer.raw()) for buffer in buffers])


def same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and str(plain(one)) == str(plain(other))


@settings(max_examples=100, deadline=None)
@given(
    kinds=st.lists(st.sampled_from(sorted(MAKERS)), min_size=1, max_size=4, unique=True),
    rows=st.lists(st.integers(0, 5), min_size=1, max_size=5),
    cls=st.sampled_from([dict, Batch]),
)
def test_what_is_joined_comes_out_as_it_went_in(kinds: list[str], rows: list[int], cls: type) -> None:
    entries = [(lane % 3, cls({kind: MAKERS[kind](n) for kind in kinds})) for lane, n in enumerate(rows)]
    packed = together(entries)
    assert isinstance(packed, tuple) is (len(rows) > 1)
    found = apart(sent(packed))
    assert [lane for lane, _ in found] == [lane for lane, _ in entries]
    for (_, got), (_, item) in zip(found, sent(entries), strict=True):
        assert type(got) is cls
        assert list(got) == kinds
        for kind in kinds:
            assert same(got[kind], item[kind]), kind
            if not isinstance(got[kind], list):
                got[kind] += 1 if "bool" not in kind else False


@settings(max_examples=100, deadline=None)
@given(
    kinds=st.lists(st.sampled_from(sorted(MAKERS)), min_size=1, max_size=4, unique=True),
    cuts=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=6),
    follow=st.booleans(),
)
def test_rows_of_blocks_arrive_as_batches(kinds: list[str], cuts: list[tuple[int, int, int]], follow: bool) -> None:
    blocks = [{kind: MAKERS[kind](9 + n) for kind in kinds} for n in range(3)]
    entries: list[tuple[int, Any]] = []
    for lane, (number, low, high) in enumerate(cuts):
        if follow and entries and entries[-1][1].block is blocks[number]:
            low = entries[-1][1].stop  # as where one batch follows another
        entries.append((lane, BlockRows(blocks[number], low, max(low, high))))
    wanted = [
        sent({kind: column[rows.start : rows.stop] for kind, column in rows.block.items()}) for _, rows in entries
    ]
    packed = together(entries)
    assert isinstance(packed, tuple) is (len(cuts) > 1)
    assert all(is_batch(rows) for _, rows in entries)
    for found in (apart(sent(packed)), sent(entries)):
        assert [lane for lane, _ in found] == list(range(len(cuts)))
        for (_, got), item in zip(found, wanted, strict=True):
            assert list(got) == kinds
            assert all(same(got[kind], item[kind]) for kind in kinds)


def test_batches_that_follow_each_other_in_a_block_go_as_views_of_it() -> None:
    x = np.arange(10)
    block = {"x": Deferred(x), "word": Words(pa.array(map(str, x)))}
    packed = together([(0, BlockRows(block, 2, 4)), (1, BlockRows(block, 4, 5)), (0, BlockRows(block, 5, 9))])
    assert isinstance(packed, tuple)
    _, lanes, rows, columns, tensors = packed
    assert (lanes, rows, tensors) == ([0, 1, 0], [2, 1, 4], {"x"})
    assert columns["x"].base is x and columns["x"].tolist() == list(range(2, 9))
    assert isinstance(columns["word"], Words)
    nested = {"x": x, "a": {"y": Deferred(x)}}  # which is not joined
    got = sent([(0, BlockRows(nested, 0, 2)), (0, BlockRows(nested, 2, 3))])
    assert str(plain([item for _, item in got])) == str(
        [{"x": [0, 1], "a": {"y": [0, 1]}}, {"x": [2], "a": {"y": [2]}}]
    )


def test_batches_whose_arrays_become_tensors_are_joined_as_such() -> None:
    entries = [(0, Tensors({"x": np.arange(i), "n": np.arange(i, dtype=np.uint8), "s": ["a"] * i})) for i in (2, 3)]
    assert all(is_batch(item) for _, item in entries)
    packed = together(entries)
    assert isinstance(packed, tuple) and packed[0] is dict and packed[-1] == {"x", "n"}
    for found in (apart(sent(packed)), sent(entries)):
        for (_, got), rows in zip(found, (2, 3), strict=True):
            assert {name: getattr(column, "dtype", list) for name, column in got.items()} == {
                "x": torch.int64,
                "n": torch.uint8,
                "s": list,
            }
            assert got["x"].tolist() == got["n"].tolist() == list(range(rows)) and got["s"] == ["a"] * rows
    nested = Tensors({"x": np.arange(2), "a": {"y": torch.zeros(2)}})
    assert not is_batch(nested)
    [(_, one)] = sent([(0, nested)])
    assert isinstance(one["x"], torch.Tensor) and one["a"]["y"].tolist() == [0, 0]


def test_batches_that_arrive_share_no_memory() -> None:
    found = apart(sent(together([(0, {"x": np.zeros(3), "t": torch.zeros(3)}) for _ in range(3)])))
    for number, (_, item) in enumerate(found):
        item["x"] += number
        item["t"] += number
    assert [item["x"].tolist() for _, item in found] == [[0] * 3, [1] * 3, [2] * 3]
    assert [item["t"].tolist() for _, item in found] == [[0] * 3, [1] * 3, [2] * 3]
    weight = torch.ones(3, requires_grad=True)
    found[1][1]["t"][:1] = weight[:1]  # as in a tensor that is a view of no other


SHARED = np.arange(3)
ONE = {"x": np.arange(3), "y": [1, 2, 3]}
UNLIKE: dict[str, Any] = {
    "no dict": [1, 2, 3],
    "nothing in it": {},
    "a number": {"x": np.arange(3), "y": 3},
    "a string": {"x": np.arange(3), "y": "abc"},
    "columns of other lengths": {"x": np.arange(3), "y": [1]},
    "an array without axes": {"x": np.array(3)},
    "objects": {"x": np.array([None, 1])},
    "texts of numpy's": {"x": np.array(["a", "b"])},
    "another byte order": {"x": np.arange(3, dtype=">i4")},
    "Fortran's order": {"x": np.ones((2, 3), order="F")},
    "one array twice": {"x": SHARED, "y": SHARED},
    "a masked array": {"x": np.ma.masked_array([1, 2], [True, False])},
    "a struct": {"x": {"y": np.arange(3)}},
    "a counter": Counter("abc"),
    "an order of its own": OrderedDict(x=np.arange(3)),
    "a type that numpy has not": {"x": torch.zeros(3, dtype=torch.bfloat16)},
    "a gradient": {"x": torch.zeros(3, requires_grad=True)},
    "a sparse tensor": {"x": torch.eye(3).to_sparse()},
}


@pytest.mark.parametrize("item", UNLIKE.values(), ids=UNLIKE)
def test_what_would_not_come_out_as_it_was_is_left_alone(item: Any) -> None:
    assert not is_batch(item)
    for entries in ([(0, item), (0, item)], [(0, ONE), (0, item)], [(0, item), (0, ONE)]):
        assert together(entries) is entries


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
def test_a_tensor_in_compressed_rows_is_left_alone() -> None:
    """It does not even tell whether it is contiguous."""
    assert not is_batch({"x": torch.eye(3).to_sparse_csr()})


def test_batches_that_differ_are_left_alone() -> None:
    for other in (
        {"y": [1], "x": np.arange(1)},
        {"x": np.arange(1)},
        {"x": np.arange(1), "z": [1]},
        {"x": np.arange(1, dtype=np.int32), "y": [1]},
        {"x": np.zeros((1, 2), int), "y": [1]},
        {"x": torch.arange(1), "y": [1]},
        {np.str_("x"): np.arange(1), "y": [1]},
        {"x": np.arange(1), "y": np.arange(1)},
        Batch(x=np.arange(1), y=[1]),
    ):
        entries: Any = [(0, ONE), (0, other)]
        assert together(entries) is entries


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_state_after_any_batch_of_a_bundle_continues_behind_it(workers: int) -> None:
    def batch(i: int) -> dict[str, Any]:
        return {"x": np.full(100, i), "words": [f"w{i}"] * 100}

    graph = IterableWrapper(range(200)).sharding_filter().map(batch)
    service = MultiProcessingReadingService(workers)
    with DataLoader2(graph, reading_service=service) as dl:
        dl.seed(0)
        states, numbers = [], []
        for item in dl:
            time.sleep(0.0005)  # so that batches wait for each other
            numbers.append(int(item["x"][0]))
            assert item["words"][99] == f"w{numbers[-1]}"
            states.append(dl.state_dict())
    assert numbers == list(range(200))
    with DataLoader2(graph, reading_service=MultiProcessingReadingService(2)) as dl:
        for place in range(3, 200, 39):
            dl.load_state_dict(states[place])
            assert [int(item["x"][0]) for item in dl] == numbers[place + 1 :]


def test_no_batch_waits_for_company_while_the_loop_waits_for_it() -> None:
    def slow(i: int) -> dict[str, Any]:
        time.sleep(0.3 if i == 40 else 0.0005)
        return {"x": np.full(100, i), "made": np.full(100, time.monotonic())}

    with DataLoader2(
        IterableWrapper(range(60)).sharding_filter().map(slow), reading_service=MultiProcessingReadingService(1)
    ) as dl:
        delays = {int(item["x"][0]): time.monotonic() - item["made"][0] for item in dl}
    assert delays[39] < 0.25, "the one ahead of the slow one came before that was made"
