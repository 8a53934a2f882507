"""Groups, buckets, batches and samples: what comes together, in which order, and what restoring costs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.pipe import IterDataPipe
from penstock.pipes import DataChunk, IterableWrapper
from running import context, restores_at_every_index, run, trip

TOKENS = ["1", "11", "111", "1111", "11111", "2", "22", "222", "2222", "22222"]
FILES = ["a.png", "b.png", "a.json", "b.json", "a.jpg", "c.json"]


def wrap(n: int) -> IterableWrapper[int]:
    return IterableWrapper(range(n))


def first(text: str) -> str:
    return text[0]


def read_by_a_restore(make: Callable[[IterDataPipe[Any]], IterDataPipe[Any]], items: Any, after: int) -> int:
    """How many source items are read for the first item of a run that is restored after so many."""
    seen: list[Any] = []
    pipe = make(IterableWrapper(items).filter(lambda x: seen.append(x) or True))
    stream = context(pipe).build(pipe)
    for _ in range(after):
        next(stream.it)
    state = trip(stream.state())
    stream.close()
    seen.clear()
    stream = context(pipe).build(pipe, state)
    next(stream.it)
    stream.close()
    return len(seen)


# -------------------------------------------------------------------------------------------------------------- groupby


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [["a.png", "a.json", "a.jpg"], ["b.png", "b.json"], ["c.json"]]),
        ({"group_size": 2}, [["a.png", "a.json"], ["b.png", "b.json"], ["a.jpg"], ["c.json"]]),
        (
            {"buffer_size": 3, "group_size": 3, "guaranteed_group_size": 2},
            [["a.png", "a.json"], ["b.png", "b.json"], ["a.jpg"], ["c.json"]],
        ),
        (
            {"group_size": 2, "keep_key": True},
            [("a", ["a.png", "a.json"]), ("b", ["b.png", "b.json"]), ("a", ["a.jpg"]), ("c", ["c.json"])],
        ),
    ],
)
def test_a_group_comes_when_it_is_full_and_the_rest_in_the_order_in_which_they_began(
    options: Any, expected: Any
) -> None:
    pipe = IterableWrapper(FILES).groupby(first, **options)
    assert list(pipe) == expected
    assert restores_at_every_index(pipe) == [list(x) if isinstance(x, tuple) else x for x in expected]
    assert all(isinstance(group, DataChunk) for group in IterableWrapper(FILES).groupby(first))


def grouped(
    items: list[int], modulus: int, buffer: int, size: int | None, least: int | None, drop: bool
) -> list[list[int]] | str:
    """What the reference's rules say, written down plainly."""
    waiting: dict[int, list[int]] = defaultdict(list)
    given: list[list[int]] = []
    for item in items:
        key = item % modulus
        waiting[key].append(item)
        if len(waiting[key]) == size:
            given.append(waiting.pop(key))
        elif sum(map(len, waiting.values())) == buffer:
            biggest = max(map(len, waiting.values()))
            key = next(key for key, group in waiting.items() if len(group) == biggest)
            if least is None or biggest >= least:
                given.append(waiting.pop(key))
            elif drop:
                del waiting[key]
            else:
                return "failed"
    return given + list(waiting.values())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 30), max_size=30), st.integers(1, 6), st.integers(1, 8),
    st.none() | st.integers(1, 8), st.none() | st.integers(1, 8), st.booleans(),
)  # fmt: skip
def test_groups_follow_the_rules_and_resume_at_every_index(
    items: list[int], modulus: int, buffer: int, size: int | None, least: int | None, drop: bool
) -> None:
    size = None if size is None else min(size, buffer)
    least = None if least is None or size is None else min(least, size)
    pipe = IterableWrapper(items).groupby(
        lambda x: x % modulus,
        buffer_size=buffer,
        group_size=size,
        guaranteed_group_size=least,
        drop_remaining=drop,
    )
    expected = grouped(items, modulus, buffer, size, size if least is None else least, drop)
    if expected == "failed":
        with pytest.raises(RuntimeError, match="Failed to group items"):
            list(pipe)
    else:
        assert restores_at_every_index(pipe) == expected


def test_a_full_buffer_without_a_group_that_is_big_enough_fails_and_says_what_to_change() -> None:
    pipe = IterableWrapper(FILES).groupby(lambda x: x, group_size=2, buffer_size=4)
    with pytest.raises(RuntimeError, match=r"Failed to group items.*buffer_size.*drop_remaining"):
        list(pipe)


@pytest.mark.parametrize(
    "options",
    [
        {"buffer_size": 0},
        {"group_size": 0},
        {"group_size": 3, "buffer_size": 2},
        {"guaranteed_group_size": 1},
        {"group_size": 2, "guaranteed_group_size": 3},
        {"group_size": 2, "guaranteed_group_size": 0},
    ],
)
def test_sizes_that_do_not_fit_together_are_refused(options: Any) -> None:
    with pytest.raises(AssertionError):
        wrap(3).groupby(str, **options)


def test_a_group_that_began_long_ago_costs_a_restore_no_more() -> None:
    items = [-1, *range(20_000)]
    group = lambda source: source.groupby(lambda x: x // 2, group_size=2)  # noqa: E731  # -1 waits to the end
    assert read_by_a_restore(group, items, 9_900) < 300
    assert read_by_a_restore(group, items, 50) < 300


# -------------------------------------------------------------------------------------------------- max_token_bucketize


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"max_token_count": 5, "min_len": 2, "buffer_size": 10},
            [["11", "22"], ["111"], ["222"], ["1111"], ["2222"], ["11111"], ["22222"]],
        ),
        (
            {"max_token_count": 5, "max_len": 4, "buffer_size": 10},
            [["1", "2", "11"], ["22", "111"], ["222"], ["1111"], ["2222"]],
        ),
        (
            {"max_token_count": 7, "len_fn": lambda x: len(x) + 1, "buffer_size": 10},
            [["1", "2", "11"], ["22", "111"], ["222"], ["1111"], ["2222"], ["11111"], ["22222"]],
        ),
        (
            {"max_token_count": 10, "buffer_size": 4},
            [["1", "11", "2", "22", "111"], ["222", "1111"], ["2222", "11111"], ["22222"]],
        ),
        (
            {"max_token_count": 6, "buffer_size": 10, "include_padding": True},
            [["1", "2", "11"], ["22", "111"], ["222"], ["1111"], ["2222"], ["11111"], ["22222"]],
        ),
    ],
)
def test_the_shortest_items_come_first_and_no_list_is_too_long(options: Any, expected: Any) -> None:
    assert restores_at_every_index(IterableWrapper(TOKENS).max_token_bucketize(**options)) == expected


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 12), max_size=40), st.integers(1, 9), st.booleans())
def test_every_item_that_fits_is_in_one_bucket_and_each_bucket_within_the_limit(
    lengths: list[int], buffer: int, padding: bool
) -> None:
    pipe = IterableWrapper(["x" * n for n in lengths]).max_token_bucketize(
        10, min_len=1, buffer_size=buffer, include_padding=padding
    )
    buckets = restores_at_every_index(pipe)
    assert sorted(len(x) for bucket in buckets for x in bucket) == sorted(n for n in lengths if 1 <= n <= 10)
    for bucket in buckets:
        sizes = [len(x) for x in bucket]
        assert (max(sizes) * len(sizes) if padding else sum(sizes)) <= 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_len": -1}, "``min_len`` should be larger than 0"),
        ({"min_len": 3, "max_len": 2}, "``min_len`` should be larger than 0"),
        ({"max_len": 3}, "``max_token_count`` must be equal to or greater than ``max_len``"),
        ({"buffer_size": 0}, "buffer_size"),
    ],
)
def test_bounds_that_do_not_fit_together_are_refused(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IterableWrapper(TOKENS).max_token_bucketize(2, **options)


# ------------------------------------------------------------------------------------- in_batch_shuffle and bucketbatch


def test_each_batch_keeps_its_items_and_epochs_differ() -> None:
    pipe = wrap(40).batch(10).in_batch_shuffle()
    one, two = run(pipe), run(pipe, epoch=3)
    assert [sorted(batch) for batch in one] == [sorted(batch) for batch in two] == run(wrap(40).batch(10))
    assert one != two
    assert one == restores_at_every_index(pipe)
    assert len({tuple(x % 10 for x in batch) for batch in one}) == 4, "each batch has an order of its own"
    assert len(pipe) == 4


def test_a_batch_has_the_same_order_on_whatever_worker_it_lands() -> None:
    pipe = wrap(40).sharding_filter().batch(5).in_batch_shuffle()
    whole = run(pipe)
    shares = [run(pipe, count=3, index=i) for i in range(3)]
    assert [shares[i % 3][i // 3] for i in range(len(whole))] == whole


def test_in_batch_shuffle_can_be_switched_off_and_seeded() -> None:
    assert run(wrap(6).batch(3).in_batch_shuffle().set_shuffle(False)) == [[0, 1, 2], [3, 4, 5]]  # type: ignore[attr-defined]
    seeded = wrap(9).batch(9).in_batch_shuffle().set_seed(3)  # type: ignore[attr-defined]
    assert run(seeded, seed=1) == run(seeded, seed=2) != run(seeded, epoch=7)


@pytest.mark.parametrize("in_batch", [True, False])
def test_one_sorted_bucket_is_not_shuffled(in_batch: bool) -> None:
    pipe = wrap(10).bucketbatch(3, drop_last=True, sort_key=lambda x: x, use_in_batch_shuffle=in_batch)
    assert restores_at_every_index(pipe) == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


@pytest.mark.parametrize("in_batch", [True, False])
@pytest.mark.parametrize("sort_key", [None, sorted])
def test_buckets_keep_every_item_and_sort_each_bucket(in_batch: bool, sort_key: Any) -> None:
    pipe = wrap(50).bucketbatch(3, batch_num=2, bucket_num=3, sort_key=sort_key, use_in_batch_shuffle=in_batch)
    batches = restores_at_every_index(pipe)
    assert sorted(x for batch in batches for x in batch) == list(range(50)) != [x for b in batches for x in b]
    assert all(batch == sorted(batch) for batch in batches) == (sort_key is not None)
    assert len(run(wrap(10).bucketbatch(3, drop_last=True))) == 3
    with pytest.raises(TypeError, match="valid length"):
        len(pipe)


@pytest.mark.parametrize(
    "options", [{"batch_size": 0}, {"batch_size": 1, "batch_num": 0}, {"batch_size": 1, "bucket_num": 0}]
)
def test_bucket_sizes_below_one_are_refused(options: Any) -> None:
    with pytest.raises(AssertionError, match="larger than 0"):
        wrap(3).bucketbatch(**options)


# ---------------------------------------------------------------------------------- map_batches, rows2columnar, flatmap


def test_map_batches_gives_each_batchs_results_one_by_one() -> None:
    assert restores_at_every_index(wrap(20).map_batches(lambda b: [x + 1 for x in b], 9)) == list(range(1, 21))
    assert run(wrap(20).map_batches(lambda b: [b[i] // 2 for i in range(0, len(b), 2)], 8)) == list(range(10))
    rows = IterableWrapper([(d - 1, d, d + 1) for d in range(5)])
    assert run(rows.map_batches(lambda b: b, 2, input_col=0)) == [-1, 0, 1, 2, 3]
    assert next(iter(rows.map_batches(lambda b: b, 2, input_col=[1, 2]))) == (0, 1)
    with pytest.raises(TypeError, match=r"length relies on the output of its function\."):
        len(rows.map_batches(lambda b: b, 2))
    with pytest.raises(AssertionError, match="larger than 0"):
        rows.map_batches(lambda b: b, 0)


def test_rows_become_columns() -> None:
    dicts = IterableWrapper([[{"a": 0, "b": 1}, {"a": 10, "b": 11}]])
    for names in (None, {"a", "b"}, ["b", "a"]):
        (columns,) = dicts.rows2columnar(names)
        assert columns == {"a": [0, 10], "b": [1, 11]} and type(columns) is defaultdict and columns["z"] == []
    assert list(dicts.rows2columnar(["b"])) == [{"b": [1, 11]}]
    assert list(IterableWrapper([[[0, 1], [10, 11]]]).rows2columnar(["a", "b"])) == [{"a": [0, 10], "b": [1, 11]}]
    with pytest.raises(KeyError, match="z"):
        list(dicts.rows2columnar(["z"]))


def test_shuffled_flatmap_mixes_the_open_iterables_and_each_keeps_its_order() -> None:
    pipe = wrap(12).shuffled_flatmap(lambda x: [(x, i) for i in range(x % 5)], buffer_size=4)
    items = restores_at_every_index(pipe)
    assert sorted(items) == [[x, i] for x in range(12) for i in range(x % 5)] != items
    for x in range(12):
        assert [i for y, i in items if y == x] == list(range(x % 5))
    assert run(pipe, epoch=9) != items
    assert run(pipe.set_shuffle(False)) == sorted(items)  # type: ignore[attr-defined]


def test_shuffled_flatmap_has_a_length_only_without_a_function() -> None:
    assert len(IterableWrapper(["ab", "c"]).shuffled_flatmap()) == 3
    with pytest.raises(TypeError, match="length relies on the output"):
        len(wrap(3).shuffled_flatmap(lambda x: [x]))
    with pytest.raises(ValueError, match="buffer_size should be larger than 0"):
        wrap(3).shuffled_flatmap(buffer_size=0)
    assert run(wrap(0).shuffled_flatmap(str)) == []


def test_shuffled_flatmap_closes_what_it_opened() -> None:
    begun: list[int] = []
    closed: list[int] = []

    def opened(x: int) -> Any:
        begun.append(x)
        try:
            while True:
                yield x
        finally:
            closed.append(x)

    pipe = wrap(10).shuffled_flatmap(opened, buffer_size=3)
    stream = context(pipe).build(pipe)
    for _ in range(9):
        next(stream.it)
    assert not closed
    stream.close()
    assert sorted(closed) == sorted(begun) and len(begun) > 1


def test_a_shuffled_flatmap_is_restored_from_its_open_items_alone() -> None:
    spread = lambda source: source.shuffled_flatmap(lambda x: [x] * 3, buffer_size=10)  # noqa: E731
    assert read_by_a_restore(spread, range(5_000), 14_000) < 300


# -------------------------------------------------------------------------------------------- paragraphs and webdataset


def test_lines_become_paragraphs_at_empty_lines_and_ends_of_files() -> None:
    lines = [("1", "a"), ("1", "b"), ("1", ""), ("1", ""), ("1", "c"), ("2", "d"), ("2", ""), ("3", ""), ("3", "e")]
    expected = [["1", "a\nb"], ["1", "c"], ["2", "d"], ["3", "e"]]
    assert restores_at_every_index(IterableWrapper(lines).lines_to_paragraphs()) == expected
    assert next(iter(IterableWrapper(lines).lines_to_paragraphs(" ".join))) == ("1", "a b")
    assert run(IterableWrapper([("1", "")]).lines_to_paragraphs()) == []


def test_consecutive_files_with_one_prefix_are_a_sample() -> None:
    names = ["d.x/0.seg.png", "d.x/0.cls", "d.x/README", "d.x/0.txt", "1.cls", "d.x/0.cls"]
    paths = [*(f"t.tar/{name}" for name in names), "a\\b.c"]
    pipe = IterableWrapper([(path, i) for i, path in enumerate(paths)]).webdataset()
    assert restores_at_every_index(pipe) == [
        {"__key__": "t.tar/d.x/0", ".seg.png": 0, ".cls": 1, ".txt": 3},
        {"__key__": "t.tar/1", ".cls": 4},
        {"__key__": "t.tar/d.x/0", ".cls": 5},
        {"__key__": "a/b", ".c": 6},
    ]


@pytest.mark.parametrize("paths", [[], ["README"], ["x.1"], [".hidden"]])
def test_few_files_make_few_samples(paths: list[str]) -> None:
    items = restores_at_every_index(IterableWrapper([(path, 0) for path in paths]).webdataset())
    assert len(items) == sum("." in path for path in paths)


def test_a_sample_is_restored_from_its_own_stretch() -> None:
    files = [(f"{i // 3}.{i % 3}", i) for i in range(30_000)]
    assert read_by_a_restore(lambda source: source.webdataset(), files, 9_000) < 100


@pytest.mark.parametrize(
    "make",
    [
        lambda s: s.groupby(lambda x: x % 2),
        lambda s: s.max_token_bucketize(9, len_fn=int),
        lambda s: s.map(lambda x: ("f", str(x))).lines_to_paragraphs(),
        lambda s: s.map(lambda x: (f"{x}.a", x)).webdataset(),
        lambda s: s.shuffled_flatmap(lambda x: [x]),
        lambda s: s.bucketbatch(2),
        lambda s: s.batch(2).in_batch_shuffle(),
        lambda s: s.map_batches(lambda b: b, 2),
    ],
)
def test_no_items_and_one_item_are_fine(make: Any) -> None:
    assert restores_at_every_index(make(wrap(0))) == []
    assert len(restores_at_every_index(make(wrap(1)))) == 1


def test_a_stop_iteration_of_a_users_function_is_an_error_and_no_short_data_set() -> None:
    def stop(*_: Any) -> Any:
        raise StopIteration

    for pipe in (
        wrap(3).groupby(stop),
        wrap(3).max_token_bucketize(3, len_fn=stop),
        wrap(3).map(lambda x: ("f", str(x))).lines_to_paragraphs(stop),
        wrap(3).shuffled_flatmap(stop),
        wrap(3).map_batches(stop, 2),
    ):
        with pytest.raises(RuntimeError, match="StopIteration"):
            list(pipe)
