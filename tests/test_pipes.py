"""What each IterDataPipe does with its items: torchdata's names, defaults and errors, and where ours are better."""

from __future__ import annotations

import pickle
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from penstock.core.context import Context
from penstock.core.errors import GraphError
from penstock.core.pipe import IterDataPipe
from penstock.core.stream import State, Stream
from penstock.pipes import SHARDING_PRIORITIES, DataChunk, IterableWrapper, ShardingFilter
from penstock.pipes.map import SequenceWrapper
from running import beginning, context, merged, run


def wrap(n: int) -> IterableWrapper[int]:
    return IterableWrapper(range(n))


class Noted(IterDataPipe[int]):
    """Knows how many items have been taken from it."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.given = [0]

    def build(self, ctx: Context, state: State = None) -> Stream[int]:
        def items() -> Iterator[int]:
            for x in range(self.n):
                self.given[0] += 1
                yield x

        return Stream(items(), lambda: None)


def two(a: Any, b: Any) -> Any:
    return a + b


# ---------------------------------------------------------------------------------------------------- map and columns


@pytest.mark.parametrize(
    ("item", "fn", "input_col", "output_col", "expected"),
    [
        (1, str, None, None, "1"),
        ((1, 2, 3), str, 1, None, (1, "2", 3)),
        ((1, 2, 3), str, 1, 0, ("2", 2, 3)),
        ((1, 2, 3), str, 1, -1, (1, 2, 3, "2")),
        ((1, 2, 3), two, [0, 2], None, (4, 2)),
        ((1, 2, 3), two, [2, 0], None, (2, 4)),
        ((1, 2, 3), two, (0, 2), 1, (1, 4, 3)),
        ((1, 2, 3), two, [0, 2], [-1], (1, 2, 3, 4)),
        ([1, 2, 3], two, [0, 2], None, [4, 2]),
        ([1, 2], str, 0, -1, [1, 2, "1"]),
        ({"a": 1, "b": 2}, str, "a", None, {"a": "1", "b": 2}),
        ({"a": 1, "b": 2}, two, ["a", "b"], None, {"a": 3}),
        ({"a": 1, "b": 2}, two, ["a", "b"], "c", {"a": 1, "b": 2, "c": 3}),
        ((1, 2), lambda *args: sum(args), [0, 1], -1, (1, 2, 3)),
    ],
)
def test_map_puts_the_result_where_the_columns_say(
    item: Any, fn: Callable[..., Any], input_col: Any, output_col: Any, expected: Any
) -> None:
    source = IterableWrapper([item], deepcopy=False)
    before = repr(item)
    assert list(source.map(fn, input_col, output_col)) == [expected]
    assert repr(item) == before  # the source's item is never written to


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((str, None, 1), "output_col"),
        ((str, 0, [0, 1]), "single-element"),
        ((two, 0), "requires 2"),
        ((two, [0, 1, 2]), "takes 2"),
        ((two,), "requires 2"),
        ((lambda a, *, key: a, 0), "keyword-only"),
    ],
)
def test_columns_that_do_not_fit_the_function_are_refused_when_the_pipe_is_made(
    arguments: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        wrap(3).map(*arguments)


def test_filter_and_flatmap_take_columns_too() -> None:
    pairs = IterableWrapper([(1, 5), (2, 1)])
    assert list(pairs.filter(lambda a: a > 1, 0)) == [(2, 1)]
    assert list(pairs.filter(lambda a, b: a < b, input_col=[0, 1])) == [(1, 5)]
    assert list(pairs.flatmap(range, 0)) == [0, 0, 1]
    assert list(pairs.flatmap(lambda a, b: [a, b], [1, 0])) == [5, 1, 1, 2]
    with pytest.raises(ValueError, match="requires 2"):
        pairs.filter(two, 0)
    for fn in (None, 3):
        with pytest.raises(TypeError, match="function"):
            pairs.map(fn)


def test_filter_goes_by_truth() -> None:
    assert list(wrap(4).filter(lambda x: np.bool_(x > 1))) == [2, 3]


STOPPING: dict[str, Callable[[Callable[[Any], Any]], IterDataPipe[Any]]] = {
    "map": lambda stop: wrap(4).map(stop),
    "map of a column": lambda stop: wrap(4).map(lambda x: (x,)).map(stop, 0),
    "filter": lambda stop: wrap(4).filter(stop),
    "filter of a column": lambda stop: wrap(4).map(lambda x: (x,)).filter(stop, 0),
    "flatmap": lambda stop: wrap(4).flatmap(stop),
    "collate": lambda stop: wrap(4).batch(1).collate(lambda batch: stop(batch[0])),
    "random_map": lambda stop: wrap(4).random_map(lambda x, rng: stop(x)),
    "random_filter": lambda stop: wrap(4).random_filter(lambda x, rng: stop(x)),
    "batch": lambda stop: wrap(4).batch(1, wrapper_class=lambda batch: stop(batch[0])),
    "map, then batch": lambda stop: wrap(4).map(stop).batch(3),
    "map, then shuffle": lambda stop: wrap(4).map(stop).shuffle(),
    "map, then zip": lambda stop: wrap(4).map(stop).zip(wrap(9)),
    "map, then header": lambda stop: wrap(4).map(stop).header(9),
    "map, then prefetch": lambda stop: wrap(4).map(stop).prefetch(2),
    "map of a map pipe": lambda stop: SequenceWrapper(range(4)).map(stop).to_iter_datapipe(),
    "map of a map pipe, batched": lambda stop: SequenceWrapper(range(4)).map(stop).to_iter_datapipe().batch(3),
}


@pytest.mark.parametrize("at", [0, 2, 3])
@pytest.mark.parametrize("name", STOPPING)
def test_a_stop_iteration_in_a_users_function_is_an_error_and_not_a_shorter_data_set(name: str, at: int) -> None:
    def stop(x: int) -> Any:
        if x == at:
            raise StopIteration
        return [x] if name == "flatmap" else True

    with pytest.raises(RuntimeError, match="StopIteration"):
        list(STOPPING[name](stop))


# -------------------------------------------------------------------------------------------------------------- source


def test_a_wrapper_gives_copies_so_that_later_steps_do_not_change_the_source() -> None:
    source = [[1], [2]]
    assert list(IterableWrapper(source).map(lambda x: x.append(0) or x)) == [[1, 0], [2, 0]]
    assert source == [[1], [2]]
    shared = list(IterableWrapper(source, deepcopy=False))
    assert shared[0] is source[0]


def test_a_wrapper_of_what_cannot_be_copied_warns_and_goes_on() -> None:
    class Locked:
        def __init__(self) -> None:
            self.lock = threading.Lock()

        def __iter__(self) -> Iterator[int]:
            yield 1

    with pytest.warns(UserWarning, match="can not be deepcopied"):
        assert list(IterableWrapper(Locked())) == [1]


def test_a_list_may_change_while_it_is_read() -> None:
    source = [1, 2, 3]
    it = iter(IterableWrapper(source))
    next(it)
    source.clear()
    assert list(it) == [2, 3]


def test_a_set_comes_in_one_order() -> None:
    words = {"b", "a", "c"}
    assert list(IterableWrapper(words)) == ["a", "b", "c"]


def test_a_torch_dataset_ends_at_its_length_and_is_read_as_it_is_needed() -> None:
    seen = []

    class Numbers(torch.utils.data.Dataset[int]):
        def __len__(self) -> int:
            return 5

        def __getitem__(self, index: int) -> int:  # never an IndexError
            seen.append(index)
            return index * 10

    source = IterableWrapper(Numbers())
    assert len(source) == 5
    assert next(iter(source)) == 0
    assert seen == [0]
    assert list(source) == [0, 10, 20, 30, 40]


# --------------------------------------------------------------------------------------------------- batch and collate


def test_batches_are_data_chunks_of_the_given_size() -> None:
    batches = list(wrap(5).batch(2))
    assert batches == [[0, 1], [2, 3], [4]]
    assert all(type(batch) is DataChunk for batch in batches)
    assert batches[0].items is batches[0]
    assert list(wrap(5).batch(2, drop_last=True)) == [[0, 1], [2, 3]]
    assert list(wrap(3).batch(2, wrapper_class=tuple)) == [(0, 1), (2,)]
    assert (len(wrap(5).batch(2)), len(wrap(5).batch(2, True))) == (3, 2)


@pytest.mark.parametrize("size", [0, -1])
def test_sizes_below_one_are_refused(size: int) -> None:
    with pytest.raises(AssertionError, match="larger than 0"):
        wrap(3).batch(size)
    with pytest.raises(AssertionError, match="larger than 0"):
        wrap(3).shuffle(buffer_size=size)
    with pytest.raises(AssertionError, match="larger than 0"):
        SequenceWrapper([1]).batch(size)
    with pytest.raises(ValueError, match="positive"):
        wrap(3).prefetch(size)


def test_unbatch_takes_away_as_many_levels_as_it_is_told() -> None:
    nested = IterableWrapper([[[1, 2], [3]], [[4]]])
    assert list(nested.unbatch()) == [[1, 2], [3], [4]]
    assert list(nested.unbatch(2)) == list(nested.unbatch(-1)) == [1, 2, 3, 4]
    assert list(nested.unbatch(0)) == [[[1, 2], [3]], [[4]]]
    with pytest.raises(IndexError, match="unbatch_level exceeds"):
        list(nested.unbatch(3))
    with pytest.raises(ValueError, match="unbatch_level"):
        nested.unbatch(-2)


SAMPLES: list[Any] = [
    [1, 2],
    [1.5, 2.5],
    [True, False],
    ["a", "b"],
    [b"a", b"b"],
    [(1, "a"), (2, "b")],
    [[1, 2.0], [3, 4.0]],
    [{"x": 1, "y": np.zeros(2)}, {"x": 2, "y": np.ones(2)}],
    [np.float32(1), np.float32(2)],
    [np.arange(3, dtype=np.int16), np.arange(3, dtype=np.int16)],
    [np.zeros((2, 0)), np.zeros((2, 0))],
    [torch.ones(2), torch.zeros(2)],
    [torch.tensor(3), torch.tensor(4)],
    [torch.ones(2, dtype=torch.bfloat16)] * 2,
]


@pytest.mark.parametrize("batch", SAMPLES, ids=repr)
def test_collate_gives_what_torch_gives(batch: list[Any]) -> None:
    ours = next(iter(IterableWrapper([batch]).collate()))
    theirs = torch.utils.data.default_collate(batch)
    assert repr(ours) == repr(theirs)
    assert _dtypes(ours) == _dtypes(theirs)


def _dtypes(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _dtypes(part) for key, part in value.items()}
    return [_dtypes(part) for part in value] if isinstance(value, (list, tuple)) else getattr(value, "dtype", None)


@pytest.mark.parametrize(
    "batch", [[object()] * 2, [np.array(["a"])] * 2, [None, None]], ids=["objects", "texts", "None"]
)
def test_collate_refuses_what_is_no_number_or_array(batch: list[Any]) -> None:
    with pytest.raises(TypeError, match="default_collate"):
        list(IterableWrapper([batch]).collate())


@pytest.mark.parametrize("batch", [[[1], [1, 2]], [np.zeros(2), np.zeros(3)]], ids=repr)
def test_collate_refuses_samples_of_unequal_size(batch: list[Any]) -> None:
    with pytest.raises(RuntimeError, match="equal size"):
        list(IterableWrapper([batch]).collate())


# -------------------------------------------------------------------------------------------------- combining and ends


def test_zip_ends_with_the_shortest_and_concat_with_the_last() -> None:
    assert list(wrap(3).zip(wrap(2), wrap(9))) == [(0, 0, 0), (1, 1, 1)]
    assert list(wrap(2).concat(wrap(1), wrap(2))) == [0, 1, 0, 0, 1]
    assert (len(wrap(3).zip(wrap(2))), len(wrap(3).concat(wrap(2)))) == (2, 5)
    for combine in (wrap(3).zip, wrap(3).concat):
        with pytest.raises(TypeError, match="IterDataPipe"):
            combine([1])  # type: ignore[arg-type]


def test_a_pipe_may_be_zipped_with_itself() -> None:
    shuffled = wrap(100).shuffle()
    assert all(a == b for a, b in shuffled.zip(shuffled))


def test_header_takes_nothing_beyond_its_limit() -> None:
    source = Noted(10)
    assert [*iter(source.header(3))] == [0, 1, 2]
    assert source.given == [3]
    assert [*iter(source.header(0))] == []
    assert source.given == [3]
    assert list(source.header(None)) == list(range(10))


def test_the_length_of_a_header_over_an_unknown_length_is_its_limit_with_a_warning() -> None:
    assert (len(wrap(3).header(9)), len(wrap(3).header(2)), len(wrap(3).header(None))) == (3, 2, 3)
    with pytest.warns(UserWarning, match="inferred to be equal to its limit"):
        assert len(Noted(3).header(2)) == 2
    with pytest.raises(ValueError, match="negative"):
        wrap(3).header(-1)


def test_cycle_goes_round_and_each_pass_shuffles_anew() -> None:
    assert list(wrap(2).cycle(3)) == [0, 1] * 3
    passes = np.array(run(wrap(50).shuffle().cycle(3))).reshape(3, 50)
    assert all(sorted(one) == list(range(50)) for one in passes.tolist())
    assert len({tuple(one) for one in passes.tolist()}) == 3
    assert passes[0].tolist() == run(wrap(50).shuffle())  # the first is what it is without the cycle
    assert len(wrap(2).cycle(3)) == 6
    with pytest.raises(TypeError, match="doesn't have valid length"):
        len(wrap(2).cycle())
    with pytest.raises(ValueError, match="non-negative"):
        wrap(2).cycle(-1)


def test_a_cycle_of_nothing_ends() -> None:
    assert list(wrap(0).cycle()) == []


def test_enumerate_counts_from_where_it_is_told() -> None:
    assert list(IterableWrapper("ab").enumerate(5)) == [(5, "a"), (6, "b")]


# -------------------------------------------------------------------------------------------------------------- random


def test_shuffle_is_a_permutation_that_the_seed_and_the_epoch_choose() -> None:
    root = wrap(500).shuffle(buffer_size=120)
    first = run(root)
    assert sorted(first) == list(range(500)) != first
    assert run(root) == first
    assert len({tuple(run(root, seed=seed, epoch=epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4
    assert all(abs(place - x) < 240 for place, x in enumerate(first))


def test_unseeded_runs_differ_and_torch_repeats_them() -> None:
    root = wrap(50).shuffle()
    assert list(root) != list(root)
    torch.manual_seed(3)
    first = list(root)
    torch.manual_seed(3)
    assert list(root) == first


def test_a_shuffle_of_its_own_seed_ignores_the_runs_and_differs_by_epoch() -> None:
    root = wrap(50).shuffle().set_seed(7)  # type: ignore[attr-defined]
    assert run(root, seed=1) == run(root, seed=2)
    assert run(root, epoch=1) != run(root, epoch=2)


def test_what_is_added_elsewhere_changes_no_shuffle_and_no_random_number() -> None:
    def noisy(x: int, rng: np.random.Generator) -> Any:
        return x, rng.random()

    plain = run(wrap(50).shuffle().random_map(noisy))
    assert run(wrap(50).map(int).shuffle().prefetch(2).random_map(noisy)) == plain
    assert run(wrap(50).shuffle().random_map(noisy).prefetch(3)) == plain
    assert run(wrap(50).shuffle().random_map(noisy).shuffle(name="later")) != plain
    assert sorted(run(wrap(50).shuffle().random_map(noisy).shuffle(name="later"))) == sorted(plain)


def test_the_two_shuffles_of_a_graph_draw_different_numbers() -> None:
    a, b = zip(*run(wrap(50).shuffle().zip(wrap(50).shuffle())), strict=True)
    assert a != b


@pytest.mark.parametrize("workers", [1, 2, 3, 5])
def test_random_map_gives_a_sample_the_same_numbers_on_any_worker(workers: int) -> None:
    def noisy(x: int, rng: np.random.Generator) -> Any:
        return x, rng.random(), int(rng.integers(1000))

    root = wrap(40).shuffle().sharding_filter().random_map(noisy).map(lambda x: x).random_map(noisy).batch(3)
    assert [item for item, _ in merged(root, workers, beginning(root, workers))] == run(root)
    numbers = [sample[0][1] for batch in run(root) for sample in batch]
    assert len(set(numbers)) == 40


def test_random_numbers_differ_by_seed_epoch_and_pipe() -> None:
    def draw(_: Any, rng: np.random.Generator) -> float:
        return float(rng.random())

    root = wrap(5).random_map(draw)
    assert len({*run(root), *run(root, seed=9), *run(root, epoch=9), *run(root.random_map(draw))}) == 20


def test_random_filter_keeps_about_the_share_that_it_should() -> None:
    kept = run(wrap(2000).random_filter(lambda x, rng: rng.random() < 0.25))
    assert 400 < len(kept) < 600
    assert kept == sorted(kept)


# ------------------------------------------------------------------------------------------------------------ sharding


def test_apply_sharding_keeps_every_nth_item() -> None:
    pipe: Any = wrap(7).sharding_filter()
    pipe.apply_sharding(3, 1)
    assert (list(pipe), len(pipe)) == ([1, 4], 2)
    with pytest.raises(ValueError, match="instance_id"):
        pipe.apply_sharding(2, 2)


def test_sharding_groups_divide_one_after_the_other_and_do_not_mix_with_the_default() -> None:
    groups = SHARDING_PRIORITIES
    found = []
    for rank in range(2):
        for worker in range(2):
            pipe = ShardingFilter(wrap(9))
            pipe.apply_sharding(2, worker, groups.MULTIPROCESSING)
            pipe.apply_sharding(2, rank, groups.DISTRIBUTED)
            assert len(pipe) == len(list(pipe))
            found += list(pipe)
    assert sorted(found) == list(range(9))
    with pytest.raises(RuntimeError, match="cannot mix"):
        pipe.apply_sharding(2, 0)
    only_ranks = ShardingFilter(wrap(4), groups.DISTRIBUTED)
    only_ranks.apply_sharding(2, 0, groups.MULTIPROCESSING)
    assert list(only_ranks) == [0, 1, 2, 3]


# ------------------------------------------------------------------------------------------------------------ prefetch


def test_prefetch_works_ahead_by_its_buffer_and_no_further(no_leftovers: None) -> None:
    source = Noted(100)
    it: Any = iter(source.prefetch(4))
    assert next(it) == 0
    deadline = time.monotonic() + 5
    while source.given[0] < 5 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.05)
    assert source.given[0] == 5
    it.close()


def test_prefetch_gives_an_error_at_its_place(no_leftovers: None) -> None:
    it = iter(wrap(9).map(lambda x: 1 // (3 - x)).prefetch(8))
    assert [next(it) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(it)


def test_dropping_a_prefetching_iterator_ends_its_thread(no_leftovers: None) -> None:
    it = iter(wrap(1000).prefetch(2).batch(2))
    next(it)
    del it


def test_leaving_a_loop_does_not_wait_for_the_item_that_is_being_made(no_leftovers: None) -> None:
    release = threading.Event()
    it: Any = iter(wrap(9).map(lambda x: release.wait(20) if x else x).prefetch(2))
    assert next(it) == 0
    begun = time.monotonic()
    it.close()
    assert time.monotonic() - begun < 5
    release.set()


# --------------------------------------------------------------------------------------------------------------- names


def test_two_pipes_of_one_name_are_refused() -> None:
    with pytest.raises(GraphError, match="two pipes"):
        list(wrap(3).map(str, name="a").map(len, name="a"))


def test_making_and_reading_a_pipe_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(wrap(3).map(str).batch(2)) == [["0", "1"], ["2"]]


def test_a_context_that_does_not_know_a_pipe_says_so() -> None:
    with pytest.raises(GraphError, match="not part of the graph"):
        context(wrap(3)).build(wrap(3).shuffle())


@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
@pytest.mark.parametrize("odd", ["plain", "with \0 in it", "\ud800", "é"])
def test_a_long_list_of_strings_survives_pickling(odd: str, protocol: int) -> None:
    words = [odd, "", *(f"{i}" for i in range(2000)), ""]
    again = pickle.loads(pickle.dumps(IterableWrapper(words), protocol))
    assert type(again.iterable) is list
    assert list(again) == words
