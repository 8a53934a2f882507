"""Columns, indices, lengths, repeats, samplers and names of shards."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import RandomSampler, SequentialSampler, WeightedRandomSampler

from penstock.pipes import IterableWrapper, Sampler, ShardingRoundRobinDispatcher
from penstock.pipes.map import SequenceWrapper
from running import restores_at_every_index, run

MISSING = "At least one index in the filter is not present"
NO_COLLECTION = "was not an iterable and cannot be"


def wrap(n: int) -> IterableWrapper[int]:
    return IterableWrapper(range(n))


def one(item: Any) -> IterableWrapper[Any]:
    return IterableWrapper([item], deepcopy=False)


@pytest.mark.parametrize(
    ("function", "arguments", "item", "expected"),
    [
        ("drop", (1,), (0, 1, 2), (0, 2)),
        ("drop", ([0, 2],), [0, 1, 2], [1]),
        ("drop", ("a",), {"a": 1, "b": 2}, {"b": 2}),
        ("drop", (["a", "b"],), {"a": 1, "b": 2}, {}),
        ("slice", (1,), (0, 1, 2), (1, 2)),
        ("slice", (0, 2), (0, 1, 2), (0, 1)),
        ("slice", (0, 3, 2), [0, 1, 2], [0, 2]),
        ("slice", (-1,), [0, 1, 2], [2]),
        ("slice", ([0, 2],), (0, 1, 2), (0, 2)),
        ("slice", ("a",), {"a": 1, "b": 2}, {"a": 1}),
        ("slice", (["b", "a"],), {"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 2}),
        ("flatten", (), (0, (1, 2), [3]), (0, 1, 2, 3)),
        ("flatten", (), [0, (1, (2, 3))], [0, 1, (2, 3)]),
        ("flatten", (1,), (0, (1, 2), [3]), (0, 1, 2, [3])),
        ("flatten", ([1, 2],), (0, (1, 2), [3]), (0, 1, 2, 3)),
        ("flatten", (), {"a": 1, "b": {"c": 2, "d": {"e": 3}}}, {"a": 1, "c": 2, "d": {"e": 3}}),
        ("flatten", ("b",), {"a": {"x": 0}, "b": {"c": 2}}, {"a": {"x": 0}, "c": 2}),
    ],
)
def test_columns_are_taken_and_the_source_stays_as_it_is(
    function: str, arguments: Any, item: Any, expected: Any
) -> None:
    before = repr(item)
    pipe = getattr(one(item), function)(*arguments)
    (found,) = pipe
    assert found == expected and type(found) is type(expected)
    assert repr(item) == before
    assert len(pipe) == 1
    assert len(restores_at_every_index(pipe)) == 1


@pytest.mark.parametrize(
    ("function", "arguments", "item", "expected"),
    [
        ("drop", (3,), (0, 1), (0, 1)),
        ("drop", (["a", "z"],), {"a": 1, "b": 2}, {"b": 2}),
        ("slice", ([0, 3],), (0, 1), (0,)),
        ("slice", ("z",), {"a": 1}, {}),
        ("flatten", (3,), (0, (1,)), (0, (1,))),
        ("flatten", ("z",), {"a": 1}, {"a": 1}),
    ],
)
def test_a_missing_column_brings_a_warning(function: str, arguments: Any, item: Any, expected: Any) -> None:
    with pytest.warns(UserWarning, match=MISSING):
        assert list(getattr(one(item), function)(*arguments)) == [expected]


@pytest.mark.parametrize(("function", "arguments"), [("drop", (0,)), ("slice", (0,)), ("flatten", ())])
@pytest.mark.parametrize("item", [3, "ab", None])
def test_an_item_without_columns_passes_with_a_warning(function: str, arguments: Any, item: Any) -> None:
    with pytest.warns(UserWarning, match=NO_COLLECTION):
        assert list(getattr(one(item), function)(*arguments)) == [item]


def test_flatten_keeps_the_first_of_two_equal_keys_and_says_so() -> None:
    with pytest.warns(UserWarning, match="same key twice"):
        assert list(one({"a": 1, "b": {"a": 2, "c": 3}}).flatten()) == [{"a": 1, "c": 3}]


def test_a_slice_object_is_a_slice() -> None:
    assert list(one((0, 1, 2)).slice(slice(0, 3, 2))) == [(0, 2)]


def test_a_list_of_columns_and_a_stop_do_not_go_together() -> None:
    with pytest.warns(UserWarning, match="will be ignored"):
        assert list(one((1, 2, 3)).slice([0], 2)) == [(1,)]


def test_column_steps_behind_a_sharding_point_leave_blocks_as_they_are() -> None:
    pipe = wrap(20).map(lambda x: (x, x, (x,))).sharding_filter().drop(0).slice(0, 2).flatten().set_length(20).batch(3)
    whole = run(pipe)
    shares = [run(pipe, count=2, index=i) for i in range(2)]
    assert [shares[i % 2][i // 2] for i in range(len(whole))] == whole


def test_add_index_numbers_copies_of_the_items_wherever_they_land() -> None:
    rows = [{"x": c} for c in "abcdef"]
    source = IterableWrapper(rows, deepcopy=False)
    pipe = source.add_index("i")
    assert restores_at_every_index(pipe) == [{"x": c, "i": i} for i, c in enumerate("abcdef")]
    assert rows == [{"x": c} for c in "abcdef"]
    shared = source.sharding_filter().add_index()
    assert [x["index"] for x in run(shared, count=2, index=1)] == [1, 3, 5]
    assert len(pipe) == 6
    with pytest.raises(NotImplementedError, match="We only support adding index to row or batch in dict type"):
        list(wrap(3).add_index())


def test_set_length_says_what_it_was_told() -> None:
    pipe = wrap(10).filter(lambda x: x % 2).set_length(5)
    assert len(pipe) == len(restores_at_every_index(pipe)) == 5
    with pytest.raises(AssertionError, match="negative"):
        wrap(3).set_length(-1)


def test_repeat_gives_each_item_so_many_times() -> None:
    pipe = wrap(3).repeat(3)
    assert restores_at_every_index(pipe) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert len(pipe) == 9
    for times in (1, 0, -1):
        with pytest.raises(ValueError, match="repetition"):
            wrap(3).repeat(times)


def test_a_sampler_gives_what_the_sampler_gives() -> None:
    assert restores_at_every_index(Sampler(wrap(4))) == [0, 1, 2, 3]
    assert list(Sampler(wrap(4), SequentialSampler)) == [0, 1, 2, 3]
    assert len(Sampler(SequenceWrapper("abc"))) == 3
    shuffled = Sampler(wrap(30), RandomSampler)
    items = restores_at_every_index(shuffled)
    assert sorted(items) == list(range(30)) != items
    assert run(shuffled, epoch=7) != items
    some = Sampler(SequenceWrapper("abcdef"), RandomSampler, sampler_kwargs={"replacement": True, "num_samples": 9})
    assert len(restores_at_every_index(some)) == len(some) == 9


def test_a_samplers_generator_is_the_users_where_one_is_given() -> None:
    kwargs = {"generator": torch.Generator().manual_seed(0)}
    expected = torch.randperm(9, generator=torch.Generator().manual_seed(0)).tolist()
    assert list(Sampler(wrap(9), RandomSampler, sampler_kwargs=kwargs)) == expected


def test_a_sampler_needs_a_length_and_arguments_that_fit() -> None:
    with pytest.raises(AssertionError, match="__len__"):
        Sampler(wrap(3).filter(bool))
    with pytest.raises(TypeError, match="IterDataPipe or MapDataPipe"):
        Sampler([1, 2])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="data_source"):
        Sampler(wrap(3), WeightedRandomSampler)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("x-{00..03}.tar", ["x-00.tar", "x-01.tar", "x-02.tar", "x-03.tar"]),
        ("{8..11}", ["8", "9", "10", "11"]),
        ("{0..2}", ["0", "1", "2"]),
        ("{098..100}", ["098", "099", "100"]),
        ("{0..1}/{0..1}.tar", ["0/0.tar", "0/1.tar", "1/0.tar", "1/1.tar"]),
        ("plain.tar", ["plain.tar"]),
        ("{a..b}", ["{a..b}"]),
        ("{1..}", ["{1..}"]),
    ],
)
def test_a_range_in_braces_becomes_names(spec: str, expected: list[str]) -> None:
    assert restores_at_every_index(IterableWrapper(["first", spec]).shard_expand()) == ["first", *expected]


@pytest.mark.parametrize("spec", ["{3..1}", "{2..2}", "{100..99}", "{01..100}"])
def test_a_bad_range_is_an_error(spec: str) -> None:
    with pytest.raises(ValueError, match="shard_expand"):
        list(IterableWrapper([spec]).shard_expand())


def test_round_robin_dispatch_deals_as_a_sharding_point() -> None:
    pipe = wrap(20).sharding_round_robin_dispatch().batch(3)
    whole = run(pipe)
    shares = [run(pipe, count=2, index=i) for i in range(2)]
    assert [shares[i % 2][i // 2] for i in range(len(whole))] == whole
    from penstock.pipes import SHARDING_PRIORITIES

    assert list(ShardingRoundRobinDispatcher(wrap(2), SHARDING_PRIORITIES.MULTIPROCESSING)) == [0, 1]
    with pytest.raises(NotImplementedError, match=r"only supports `SHARDING_PRIORITIES\.MULTIPROCESSING`"):
        wrap(2).sharding_round_robin_dispatch(SHARDING_PRIORITIES.DISTRIBUTED)
