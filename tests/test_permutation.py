"""A computed permutation is a permutation, of any size, in constant memory."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import pytest

from penstock.core.permutation import Permutation
from penstock.pipes.map import SequenceWrapper
from running import context, run

SIZES = [0, 1, 2, 3, 10, 255, 256, 257, 65535, 65536, 65537, 100_000, 131_072, 262_145]


@pytest.mark.parametrize("size", SIZES)
def test_it_holds_each_number_once(size: int) -> None:
    assert sorted(Permutation(size, (1, 2)).between(0, size)) == list(range(size))


@pytest.mark.parametrize("size", [10, 1000, 65536, 100_000])
def test_another_key_is_another_order(size: int) -> None:
    orders = {tuple(Permutation(size, key).between(0, size)) for key in ((1, 2), (1, 3), (2, 2), (0, 0))}
    assert len(orders) == 4


@pytest.mark.parametrize("size", [1000, 65537, 100_000])
def test_any_part_is_that_part_of_the_whole(size: int) -> None:
    order = Permutation(size, (3, 4))
    whole = order.between(0, size)
    for low, high in ((0, 1), (5, 5), (7, 300), (size // 2, size // 2 + 99), (size - 3, size)):
        assert order.between(low, high) == whole[low:high]


@pytest.mark.parametrize("size", [1000, 200_000])
def test_it_looks_random(size: int) -> None:
    order = Permutation(size, (5, 6)).between(0, size)
    half = sum(order[: size // 2]) / (size // 2) / size
    assert 0.45 < half < 0.55
    assert sum(a + 1 == b for a, b in pairwise(order)) < 20
    assert sum(place == x for place, x in enumerate(order)) < 20


def test_a_billion_numbers_take_no_memory() -> None:
    size = 10**9
    tracemalloc.start()
    order = Permutation(size, (1, 2))
    found = order.between(0, 1000) + order.between(size - 1000, size) + order.between(size // 2, size // 2 + 1000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(set(found)) == 3000
    assert all(0 <= x < size for x in found)
    assert peak < 10_000_000


def test_a_stream_over_a_billion_items_restores_at_once_far_in() -> None:
    class Huge:
        def __len__(self) -> int:
            return 10**9

        def __getitem__(self, index: int) -> int:
            return index

    root = SequenceWrapper(Huge(), deepcopy=False).shuffle().sharding_filter()
    stream = context(root, count=3, index=1).build(root)
    first = [next(stream.it) for _ in range(5)]
    shares = [context(root, count=3, index=i).build(root) for i in range(3)]
    assert [next(share.it) for share in shares][1] == first[0]
    name, (chunk, ahead) = next(iter(stream.state().items()))
    ((shuffle, _),) = ahead.items()
    far = context(root).build(root, {name: [900_000_000, {shuffle: 900_000_000}]})
    assert len({next(far.it) for _ in range(1000)}) == 1000
    assert chunk == 14


def test_a_map_pipe_shuffles_everything_and_each_epoch_anew() -> None:
    root = SequenceWrapper(list(range(70_000))).shuffle()
    orders = [run(root, epoch=epoch) for epoch in range(2)]
    assert orders[0] != orders[1]
    assert all(sorted(order) == list(range(70_000)) for order in orders)
    assert max(abs(place - x) for place, x in enumerate(orders[0])) > 60_000
