"""Several pipes made one, and one made several."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from itertools import zip_longest
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.plan import plan
from penstock.pipes import IterableWrapper, IterKeyZipper, MapKeyZipper, SampleMultiplexer
from penstock.pipes.map import SequenceWrapper
from running import context, copied, restores_at_every_index, run, trip

LENGTHS = st.lists(st.integers(0, 7), min_size=1, max_size=4)


def wrap(*bounds: int) -> IterableWrapper[int]:
    return IterableWrapper(range(*bounds))


def pipes(lengths: list[int]) -> list[IterableWrapper[int]]:
    return [wrap(100 * i, 100 * i + n) for i, n in enumerate(lengths)]


def rounds(lengths: list[int]) -> list[tuple[int | None, ...]]:
    return list(zip_longest(*(range(100 * i, 100 * i + n) for i, n in enumerate(lengths))))


# ------------------------------------------------------------------------------------ zip_longest, mux, and mux_longest


@settings(max_examples=30, deadline=None)
@given(LENGTHS)
def test_rounds_are_filled_cut_or_closed_up_and_resume_at_every_index(lengths: list[int]) -> None:
    first, *others = pipes(lengths)
    filled = first.zip_longest(*others)
    assert [tuple(row) for row in restores_at_every_index(filled)] == rounds(lengths)
    assert len(filled) == max(lengths)
    cut = first.mux(*others)
    assert restores_at_every_index(cut) == [x for row in rounds(lengths) if None not in row for x in row]
    assert len(cut) == min(lengths) * len(lengths)
    closed_up = first.mux_longest(*others)
    assert restores_at_every_index(closed_up) == [x for row in rounds(lengths) for x in row if x is not None]
    assert len(closed_up) == sum(lengths)


def test_zip_longest_fills_with_what_it_is_told() -> None:
    assert list(wrap(2).zip_longest(wrap(1), fill_value=-1)) == [(0, 0), (1, -1)]


@pytest.mark.parametrize("function", ["zip_longest", "mux", "mux_longest"])
def test_only_iter_pipes_are_combined_and_all_must_have_a_length_for_one(function: str) -> None:
    for other in (range(3), SequenceWrapper("ab")):
        with pytest.raises(TypeError, match="IterDataPipe"):
            getattr(wrap(3), function)(other)
    with pytest.raises(TypeError, match="doesn't have valid length"):
        len(getattr(wrap(3), function)(wrap(3).filter(bool)))


def test_mux_restores_from_its_last_rounds() -> None:
    seen: list[int] = []
    source = wrap(5_000).filter(lambda x: seen.append(x) or True)
    pipe = source.mux(wrap(9_000), wrap(9_000))
    stream = context(pipe).build(pipe)
    for _ in range(14_000):
        next(stream.it)
    state = trip(stream.state())
    seen.clear()
    restored = context(pipe).build(pipe, state)
    assert next(restored.it) == next(stream.it)
    assert len(seen) < 100


@settings(max_examples=20, deadline=None)
@given(st.integers(60, 130), st.integers(60, 130))
def test_mux_is_exact_across_the_states_that_it_keeps(a: int, b: int) -> None:
    pipe = wrap(a).mux(wrap(1000, 1000 + b))
    items = run(pipe)
    assert items == [x for row in zip(range(a), range(1000, 1000 + b), strict=False) for x in row]
    stream = context(pipe).build(pipe)
    for i in range(len(items) + 1):
        restored = context(pipe).build(pipe, trip(stream.state()))
        assert trip(restored.state()) == trip(stream.state())
        assert list(restored.it) == items[i:]
        next(stream.it, None)


# ---------------------------------------------------------------------------------------------------- SampleMultiplexer


def test_sources_are_chosen_by_weight_until_all_have_ended() -> None:
    pipe = SampleMultiplexer({wrap(30): 3, wrap(100, 110): 1})
    items = restores_at_every_index(pipe)
    assert sorted(items) == [*range(30), *range(100, 110)]
    assert [x for x in items if x < 100] == list(range(30)) and items != sorted(items)
    assert len(pipe) == 40
    many = run(SampleMultiplexer({wrap(9000): 3, wrap(10_000, 19_000): 1}))
    assert 0.7 < sum(x < 9000 for x in many[:4000]) / 4000 < 0.8
    heavy = {IterableWrapper([0] * 10): 99999999, IterableWrapper([1] * 10): 0.0000001}
    assert list(SampleMultiplexer(heavy, seed=0)) == [0] * 10 + [1] * 10


def test_its_choices_follow_the_runs_seed_or_its_own_and_epochs_differ() -> None:
    free, seeded = (SampleMultiplexer({wrap(30): 1, wrap(100, 130): 1}, seed=seed) for seed in (None, 4))
    assert run(free, seed=1) != run(free, seed=2)
    assert run(seeded, seed=1) == run(seeded, seed=2) == run(copied(seeded), seed=3)
    for pipe in (free, seeded):
        assert run(pipe, epoch=1) != run(pipe, epoch=2)


def test_it_needs_pipes_and_weights_above_zero() -> None:
    with pytest.raises(ValueError, match="Empty dictionary"):
        SampleMultiplexer({})
    for weight in (0, -1, math.nan, math.inf):
        with pytest.raises(ValueError, match="Expecting a positive and non-zero weight"):
            SampleMultiplexer({wrap(3): weight})
    with pytest.raises(TypeError, match="IterDataPipe"):
        SampleMultiplexer({(1, 2): 1})  # type: ignore[dict-item]
    assert list(SampleMultiplexer({wrap(0): 1, wrap(2): 1})) == [0, 1]


# -------------------------------------------------------------------------------------------------------- zip_with_iter


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(12)), st.permutations(range(16)))
def test_each_item_finds_the_item_with_its_key_and_resumes_at_every_index(mine: list[int], others: list[int]) -> None:
    pipe = IterableWrapper(mine).zip_with_iter(IterableWrapper([str(x) for x in others]), lambda x: x, ref_key_fn=int)
    assert restores_at_every_index(pipe) == [[x, str(x)] for x in mine]
    assert len(pipe) == 12


def test_the_pair_can_be_merged_and_have_its_key() -> None:
    a, b = wrap(2), wrap(20)
    identity = lambda x: x  # noqa: E731
    assert list(a.zip_with_iter(b, identity, keep_key=True)) == [(0, (0, 0)), (1, (1, 1))]
    assert list(a.zip_with_iter(b, identity, merge_fn=lambda x, y: f"{x},{y}")) == ["0,0", "1,1"]
    assert list(a.zip_with_iter(b, identity, keep_key=True, merge_fn=lambda x, y: x + y)) == [(0, 0), (1, 2)]


def test_a_key_that_does_not_come_is_an_error() -> None:
    with pytest.raises(BufferError, match="No matching key can be found"):
        list(wrap(10).zip_with_iter(wrap(1, 10), lambda x: x))


def test_a_full_buffer_drops_the_oldest_and_warns_once() -> None:
    late = IterableWrapper([*range(1, 10), 0])
    it = iter(wrap(10).zip_with_iter(late, lambda x: x, buffer_size=5))
    with pytest.warns(UserWarning, match="Buffer reaches the upper limit") as caught:
        assert next(it) == (0, 0)
    assert len(caught) == 1
    with pytest.raises(BufferError, match="No matching key can be found"):
        next(it)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for size in (10, None):
            pipe = wrap(10).zip_with_iter(late, lambda x: x, buffer_size=size)
            assert restores_at_every_index(pipe) == [[i, i] for i in range(10)]


def test_two_waiting_items_with_one_key_are_an_error() -> None:
    with pytest.raises(ValueError, match="Duplicate key is found"):
        list(IterableWrapper([5]).zip_with_iter(IterableWrapper([1, 1, 5]), lambda x: x))


def test_a_join_needs_a_pipe_and_a_buffer() -> None:
    with pytest.raises(TypeError, match="ref_datapipe must be an IterDataPipe"):
        IterKeyZipper(wrap(2), [1], str)  # type: ignore[arg-type]
    for size in (0, -1):
        with pytest.raises(ValueError, match="'buffer_size' is required to be either None or a positive integer"):
            wrap(2).zip_with_iter(wrap(2), str, buffer_size=size)


def test_what_waits_for_long_costs_a_restored_join_no_more() -> None:
    seen: list[int] = []
    others = IterableWrapper([-1, *range(20_000)]).filter(lambda x: seen.append(x) or True)
    pipe = wrap(20_000).zip_with_iter(others, lambda x: x)
    stream = context(pipe).build(pipe)
    for _ in range(15_000):
        next(stream.it)
    state = trip(stream.state())
    seen.clear()
    assert next(context(pipe).build(pipe, state).it) == (15_000, 15_000)
    assert len(seen) < 200


# --------------------------------------------------------------------------------------------------------- zip_with_map


def test_items_are_looked_up_in_a_map_pipe() -> None:
    words = SequenceWrapper(["even", "odd"])
    pipe = wrap(4).zip_with_map(words, lambda x: x % 2)
    assert restores_at_every_index(pipe) == [[0, "even"], [1, "odd"], [2, "even"], [3, "odd"]]
    assert len(pipe) == 4
    assert list(wrap(1).zip_with_map(words, lambda x: x, lambda a, b: f"{a} {b}", keep_key=True)) == [(0, "0 even")]
    for source, key in ((words, 2), (SequenceWrapper({"a": 1}), "b")):
        with pytest.raises(KeyError, match="is not a valid key in the given MapDataPipe"):
            list(MapKeyZipper(wrap(1), source, lambda _, key=key: key))
    with pytest.raises(TypeError, match="must be a MapDataPipe"):
        wrap(1).zip_with_map({}, str)  # type: ignore[arg-type]


def test_a_lookup_behind_a_sharding_point_leaves_blocks_as_they_are() -> None:
    words = SequenceWrapper(["even", "odd"])
    pipe = wrap(20).sharding_filter().zip_with_map(words, lambda x: x % 2).enumerate().batch(3)
    assert plan(pipe).kind == "blocks"
    whole = run(pipe)
    shares = [run(pipe, count=2, index=i) for i in range(2)]
    assert [shares[i % 2][i // 2] for i in range(len(whole))] == whole


# --------------------------------------------------------------------------------------------------------- random_split


WEIGHTS = st.lists(st.floats(0, 1, allow_subnormal=False) | st.integers(0, 9), min_size=1, max_size=5)


@settings(max_examples=40, deadline=None)
@given(WEIGHTS.filter(lambda w: sum(w) > 0.01), st.integers(0, 60), st.integers())
def test_a_split_deals_every_item_once_and_each_share_rounds_right(weights: list[float], n: int, seed: int) -> None:
    children = wrap(n).random_split(dict(enumerate(weights)), seed=seed)
    shares = [list(child) for child in children]
    assert sorted(x for share in shares for x in share) == list(range(n))
    for share, weight in zip(shares, weights, strict=True):
        exact = n * weight / sum(weights)
        assert math.floor(exact + 1e-9) <= len(share) + 1e-9 and len(share) - 1e-9 <= math.ceil(exact - 1e-9)
        assert share == sorted(share), "the order stays"


def test_counts_that_sum_to_the_length_are_exact_and_known() -> None:
    train, valid = wrap(100).random_split({"train": 70, "valid": 30}, seed=1)
    assert (len(train), len(valid)) == (len(list(train)), len(list(valid))) == (70, 30)
    for child in wrap(100).random_split({"train": 0.7, "valid": 0.3}, seed=1):
        with pytest.raises(TypeError, match="Lengths of the split are not known in advance"):
            len(child)
    assert [len(list(c)) for c in wrap(100).random_split({"a": 0.7, "b": 0.3}, seed=1)] == [70, 30]


def test_a_split_is_the_same_in_every_run_until_its_seed_is_overridden() -> None:
    train, valid = wrap(50).random_split({0: 1, 1: 1}, seed=1)
    before = run(train)
    assert before == run(train, epoch=9, seed=9) == run(copied(train))
    assert train.override_seed(2) is train  # type: ignore[attr-defined]
    assert run(train) != before
    assert sorted(run(train) + run(valid)) == list(range(50)), "the seed is the whole split's"


def test_a_split_resumes_at_every_index_and_its_children_can_be_joined_again() -> None:
    a, b = wrap(30).random_split({"a": 2, "b": 1}, seed=3)
    assert restores_at_every_index(a) == run(a)
    assert sorted(restores_at_every_index(a.concat(b))) == list(range(30))
    assert Counter(run(a.mux_longest(b.map(lambda x: -x)))) == Counter([*run(a), *(-x for x in run(b))])


def test_the_nth_runs_over_the_children_of_a_shuffled_source_are_disjoint() -> None:
    train, valid = wrap(40).shuffle().random_split({"train": 3, "valid": 1}, seed=0)
    for _ in range(3):
        assert sorted([*train, *valid]) == list(range(40))


def test_lanes_split_as_one_process_does() -> None:
    children = wrap(60).sharding_filter().random_split({"a": 1, "b": 2}, seed=5)
    for child in children:
        assert sorted(x for i in range(4) for x in run(child, count=4, index=i)) == run(child)


def test_lanes_behind_a_filter_split_what_they_have() -> None:
    a, b = wrap(60).sharding_filter().filter(lambda x: x % 4 == 0).random_split({"a": 1, "b": 2}, 5, total_length=15)
    found = [run(child, count=4, index=i) for child in (a, b) for i in range(4)]
    assert sorted(x for part in found for x in part) == list(range(0, 60, 4))


def test_a_large_split_is_exact_too() -> None:
    n = 200_000
    shares = [list(child) for child in wrap(n).random_split({"train": 0.9, "valid": 0.1}, seed=0)]
    assert [len(share) for share in shares] == [180_000, 20_000]
    assert len(set(shares[0]) | set(shares[1])) == n
    assert 9_500 < sum(x < n // 2 for x in shares[1]) < 10_500


def test_one_child_can_be_asked_for() -> None:
    both = wrap(20).random_split({"a": 1, "b": 1}, seed=0)
    assert run(wrap(20).random_split({"a": 1, "b": 1}, seed=0, target="b")) == run(both[1])
    with pytest.raises(KeyError, match="does not match any key in `weights`"):
        wrap(20).random_split({"a": 1}, seed=0, target="z")


def test_a_split_needs_a_length_and_weights() -> None:
    unsized: Any = wrap(20).filter(lambda x: x % 2)
    with pytest.raises(TypeError, match="RandomSplitter needs `total_length`"):
        unsized.random_split({"a": 1, "b": 1}, seed=0)
    assert [len(list(c)) for c in unsized.random_split({"a": 1, "b": 1}, seed=0, total_length=10)] == [5, 5]
    for weights in ({}, {"a": 0}, {"a": 2, "b": -1}):
        with pytest.raises(ValueError, match="weights"):
            wrap(3).random_split(weights, seed=0)
    with pytest.raises(ValueError, match="more than the 5 items"):
        list(wrap(6).random_split({"a": 1}, seed=0, total_length=5)[0])


def test_a_split_of_a_map_pipe_fetches_only_what_it_gives() -> None:
    fetched: list[int] = []
    source = SequenceWrapper(range(20)).map(lambda x: fetched.append(x) or x).to_iter_datapipe()
    child = source.random_split({"a": 1, "b": 3}, seed=0)[0]
    assert run(child) == fetched and len(fetched) == 5
