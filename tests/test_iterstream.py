"""Squirrel's streams: what its programs expect, and that they mix with DataPipes and run under every service."""

from __future__ import annotations

import copy
import pickle
import random
import string
import subprocess
import sys
import textwrap
from collections import Counter, namedtuple
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import fsspec
import numpy as np
import pytest

from penstock import (
    DataLoader2,
    DistributedReadingService,
    InProcessReadingService,
    MultiProcessingReadingService,
    SequentialReadingService,
    ThreadingReadingService,
)
from penstock.graph import find, replace
from penstock.iterstream import (
    AsyncContent,
    Composable,
    FilePathGenerator,
    IterableSamplerSource,
    IterableSource,
    Multiplexer,
    MultiplexingStrategy,
    PyTorchSplittingException,
    SplitByRank,
    SplitByWorker,
    TorchIterable,
    base,
    skip_k,
)
from penstock.iterstream.iterators import (
    batched_,
    filter_,
    flatten_,
    get_random_range,
    getsize,
    map_,
    shuffle_,
    take_,
    tqdm_,
)
from penstock.pipes import Batcher, IterableWrapper, Mapper
from penstock.testing import plain
from ranks import ranks
from running import restores_at_every_index


class Doubled(Composable[int]):
    def __iter__(self) -> Iterator[int]:
        for x in self.source:  # type: ignore[union-attr]
            yield 2 * x


class Plus(Composable[int]):
    def __init__(self, by: int) -> None:
        super().__init__()
        self.by = by

    def __iter__(self) -> Iterator[int]:
        for x in self.source:  # type: ignore[union-attr]
            yield x + self.by


class Numbers:
    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.count))


def numbers(count: int) -> Any:
    yield from range(count)


def double(x: int) -> int:
    return 2 * x


def source(count: int = 10) -> IterableSource[Any]:
    return IterableSource(range(count))


# ----------------------------------------------------------------------------------------------------------- sources


@pytest.mark.parametrize(
    "made",
    [
        [0, 1, 2],
        range(3),
        partial(numbers, 3),
        lambda: numbers(3),
        numbers(3),
        Numbers(3),
        partial(Numbers, 3),
        IterableWrapper(range(3)),
        IterableWrapper(range(6)).filter(lambda x: x < 3),
        IterableSource(range(3)),
    ],
)
def test_a_source_is_any_iterable_or_a_function_that_returns_one(made: Any) -> None:
    assert IterableSource(made).collect() == [0, 1, 2]
    assert IterableSource().source_(range(2)).collect() == [0, 1]


def test_a_function_is_called_anew_for_each_run_and_not_before() -> None:
    calls = []

    def made() -> Any:
        calls.append(1)
        return iter("ab")

    stream = IterableSource(made).map(str.upper)
    assert not calls
    assert stream.collect() == stream.collect() == ["A", "B"] and len(calls) == 2


def test_items_are_given_as_they_are() -> None:
    samples = [{"label": 0}]
    IterableSource(samples).map(lambda sample: sample.update(label=1)).join()
    assert samples == [{"label": 1}], "as in Squirrel, they are not copied"


def test_file_paths(tmp_path: Path) -> None:
    for name in ("1/b.csv", "1/a.csv", "0/x/c.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert FilePathGenerator(url=str(tmp_path)).collect() == [f"{tmp_path}/0", f"{tmp_path}/1"]
    files = [f"{tmp_path}/{name}" for name in ("0/x/c.csv", "1/a.csv", "1/b.csv")]
    assert FilePathGenerator(str(tmp_path), nested=True, max_workers=2).collect() == files
    assert FilePathGenerator(f"file://{tmp_path}", nested=True).collect() == [f"file://{file}" for file in files]
    assert FilePathGenerator(f"{tmp_path}/none").collect() == []
    fsspec.filesystem("memory").pipe({"/paths/a/b": b"", "/paths/c": b""})
    assert FilePathGenerator("memory://paths", nested=True).collect() == ["memory:///paths/a/b", "memory:///paths/c"]


@pytest.mark.parametrize("probs", [[0.4, 0.6], None])
def test_sampling_gives_every_item_once_each_time(probs: list[float] | None) -> None:
    stream = IterableSamplerSource([IterableSource([0, 1, 2, 3]), [4, 5, 6]], probs=probs)
    assert sorted(pickle.loads(pickle.dumps(stream)).collect()) == list(range(7))
    assert sorted(stream.collect()) == sorted(stream.collect()) == list(range(7))
    assert (
        IterableSamplerSource([range(20), range(20, 40)], seed=1).collect()
        == IterableSamplerSource([range(20), range(20, 40)], seed=1).collect()
        != IterableSamplerSource([range(20), range(20, 40)], rng=random.Random(5)).collect()
    )
    assert len(IterableSamplerSource(["a"] * 10, probs=[0.1] * 10).collect()) == 10
    with pytest.raises(ValueError, match="sum to 1"):
        IterableSamplerSource(["a", "b"], probs=[0.5, 0.6])
    with pytest.raises(ValueError, match="as many probabilities"):
        IterableSamplerSource(["a", "b"], probs=[1.0])


# ----------------------------------------------------------------------------------------------------------- methods


METHODS: dict[str, tuple[Any, list[Any]]] = {
    "map": (lambda: source(3).map(lambda x, by, of=0: x * by + of, by=10).map(partial(pow, 2)), [1, 2**10, 2**20]),
    "filter": (lambda: source(5).filter(lambda x: x % 2), [1, 3]),
    "async_map": (lambda: source(5).async_map(lambda x, by: x + by, by=1, buffer=2), [1, 2, 3, 4, 5]),
    "flatten": (lambda: IterableSource([[1], "ab", numbers(1)]).flatten(), [1, "a", "b", 0]),
    "flatten (lists)": (lambda: IterableSource([[1, 2], [], [[3]]]).flatten(), [1, 2, [3]]),
    "batched": (lambda: source(5).batched(2), [[0, 1], [2, 3]]),
    "batched (all)": (lambda: source(5).batched(2, sum, drop_last_if_not_full=False), [1, 5, 4]),
    "sliding": (lambda: source(5).sliding(3, deepcopy=False, stride=2), [[0, 1, 2], [2, 3, 4]]),
    "take": (lambda: source().take(3).take(None), [0, 1, 2]),
    "take none": (lambda: source().loop().take(0), []),
    "take (numpy)": (lambda: source(4).loop().take(np.int64(6)), [0, 1, 2, 3, 0, 1]),
    "loop": (lambda: source(2).loop(3), [0, 1] * 3),
    "loop none": (lambda: source(2).loop(0), []),
    "loop an empty source": (lambda: IterableSource([]).loop().take(2), []),
    "zip_index": (lambda: IterableSource("ab").zip_index(), [(0, "a"), (1, "b")]),
    "zip_index (text)": (lambda: source(11).zip_index(2).map(lambda x: x[0]).take(3), ["00", "01", "02"]),
    "to": (lambda: source(5).to(lambda it, first: (x for x in it if x >= first), first=3), [3, 4]),
    "to skip_k": (lambda: source(5).to(skip_k(1, 2)), [1, 3]),
    "compose": (lambda: source(3).compose(Doubled).compose(partial(Plus, 1)), [1, 3, 5]),
    "compose with arguments": (lambda: source(3).compose(Plus, by=2), [2, 3, 4]),
    "compose a DataPipe": (lambda: source(4).compose(Batcher, 2).compose(partial(Mapper, fn=sum)), [1, 5]),
    "tqdm": (lambda: source(3).tqdm(disable=True), [0, 1, 2]),
    "shuffle of one": (lambda: source(3).shuffle(1), [0, 1, 2]),
    "split": (lambda: source(3).split_by_rank_pytorch().split_by_worker_pytorch().to_torch_iterable(), [0, 1, 2]),
    "mixed": (
        lambda: IterableSource(source(4).map(double).batch(2).map(sum)).map(double).enumerate(),
        [(0, 4), (1, 20)],
    ),
}


@pytest.mark.parametrize("name", METHODS)
def test_methods_and_a_resume_at_every_item(name: str) -> None:
    made, expected = METHODS[name]
    assert made().collect() == expected if isinstance(made(), Composable) else list(made()) == expected
    if name != "flatten":  # it has a generator for an item
        assert restores_at_every_index(made()) == [plain(item) for item in expected]


WINDOWS = [
    ((5, 1, True, 1, False), [[i, i + 1, i + 2, i + 3, i + 4] for i in range(6)]),
    ((5, 2, True, 1, True), [[0, 1, 2, 3, 4], [2, 3, 4, 5, 6], [4, 5, 6, 7, 8]]),
    ((5, 2, False, 1, False), [[0, 1, 2, 3, 4], [2, 3, 4, 5, 6], [4, 5, 6, 7, 8], [6, 7, 8, 9], [8, 9]]),
    ((5, 2, False, 3, False), [[0, 1, 2, 3, 4], [2, 3, 4, 5, 6], [4, 5, 6, 7, 8], [6, 7, 8, 9]]),
    (
        (5, 2, False, 3, True),
        [[0, 1, 2, 3, 4], [2, 3, 4, 5, 6], [4, 5, 6, 7, 8], [6, 7, 8, 9, None], [8, 9, None, None, None]],
    ),
    ((5, 5, True, 1, False), [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]),
    ((20, 1, True, 1, False), []),
]


@pytest.mark.parametrize(("arguments", "expected"), WINDOWS)
def test_windows(arguments: tuple[int, int, bool, int, bool], expected: list[Any]) -> None:
    size, stride, drop, least, fill = arguments
    stream = source().sliding(
        size,
        deepcopy=False,
        stride=stride,
        drop_last_if_not_full=drop,
        min_window_size=least,
        fill_nan_on_partial=fill,
    )
    assert restores_at_every_index(stream) == stream.collect() == expected


def test_windows_share_their_items_unless_they_are_copied() -> None:
    samples = [{"i": i} for i in range(4)]
    one, other = IterableSource(samples).sliding(2, deepcopy=False).take(2)
    assert one[1] is other[0] is samples[1]
    one, other = IterableSource(samples).sliding(2, deepcopy=True).take(2)
    assert one[1] == other[0] and one[1] is not other[0]


@pytest.mark.parametrize("sizes", [(2, 3, 1), (1, 1, 1), (3, 0, 1), (3, 1, 3), (3, 1, 0)])
def test_windows_that_do_not_fit_are_refused(sizes: tuple[int, int, int]) -> None:
    size, stride, least = sizes
    with pytest.raises(ValueError):
        source().sliding(size, deepcopy=False, stride=stride, min_window_size=least)


BEHIND: dict[str, Callable[[Composable[Any]], Composable[Any]]] = {
    "map": lambda s: s.map(lambda x, by: x + by, by=1),
    "filter": lambda s: s.filter(lambda x: x % 2),
    "async_map": lambda s: s.async_map(double, buffer=2),
    "dask_map": lambda s: s.dask_map(double),
    "materialize_dask": lambda s: s.materialize_dask(),
    "numba_map": lambda s: s.numba_map(double),
    "flatten": lambda s: s.flatten(),
    "batched": lambda s: s.batched(2),
    "batched (collated)": lambda s: s.batched(2, sum),
    "sliding": lambda s: s.sliding(2, deepcopy=False),
    "shuffle": lambda s: s.shuffle(3, seed=1),
    "take": lambda s: s.take(3),
    "loop": lambda s: s.loop(2),
    "zip_index": lambda s: s.zip_index(),
    "zip_index (text)": lambda s: s.zip_index(2),
    "to": lambda s: s.to(skip_k(1, 2)),
    "compose a DataPipe": lambda s: s.compose(Batcher, 2),
    "tqdm": lambda s: s.tqdm(disable=True),
    "monitor": lambda s: s.monitor(double),
    "split by rank": lambda s: s.split_by_rank_pytorch(),
    "split by worker": lambda s: s.split_by_worker_pytorch(),
    "to torch": lambda s: s.to_torch_iterable(),
}


@pytest.mark.parametrize("step", BEHIND)
def test_a_steps_source_is_the_stream_ahead_of_it_and_can_be_another(step: str) -> None:
    ahead, other = source(4), source(7).map(double)
    made = BEHIND[step](ahead)
    assert made.source is ahead and find(made, IterableSource) == [ahead]
    behind, kept = made.batched(2, list, drop_last_if_not_full=False), copy.copy(made)
    assert made.source_(other) is made and made.source is other and behind.source is made
    assert find(behind, IterableSource) == [other.source] and kept.source is ahead
    made.source = range(4)
    assert [each.source for each in find(made, IterableSource)] == [range(4)]


def test_what_reads_from_another_source_runs_and_resumes_from_there() -> None:
    assert source().map(str).source_([5]).collect() == ["5"]
    assert source().split_by_worker_pytorch().source_(partial(numbers, 2)).to_torch_iterable().collect() == [0, 1]
    assert Composable[int]().map(double).source_(IterableWrapper([1])).collect() == [2]
    loop = source(4).loop(2)
    loop.source = source(2).batched(2, sum).map(double)
    assert loop.collect() == [2, 2] and loop.counter == 2
    stream: Any = source(3).shuffle(4, seed=3).zip_index(2).batched(3, list)
    stream.source.source.source = source(9).map(double)
    made = source(9).map(double).shuffle(4, seed=3).zip_index(2).batched(3, list)
    assert stream.collect() == pickle.loads(pickle.dumps(stream)).collect() == made.collect()
    assert restores_at_every_index(stream) == restores_at_every_index(made)


def test_a_pipe_that_replaces_the_source_in_a_graph_is_the_source() -> None:
    ahead = source(3)
    made: Any = replace(ahead.map(double), ahead, source(1))
    assert made.source is not ahead and made.source.source == range(1)
    pipe, other = IterableWrapper([1]), IterableWrapper([2])
    first: Any = replace(IterableSource(pipe), pipe, other)
    assert first.source is other and first.collect() == [2]
    first.source = [3]
    assert first.source == [3] and first.collect() == [3] and not find(first, IterableWrapper)[0].sources


def test_compose_refuses_what_sets_a_source_itself() -> None:
    class Taking(Composable[int]):
        def __init__(self, x: int, source: Any = None) -> None:
            super().__init__(source)

    for refused in (partial(source().compose, Taking, 1), partial(source().compose, Doubled, source=[1])):
        with pytest.raises(ValueError, match="source"):
            refused()


def test_shuffling_keeps_every_item_and_follows_its_seed() -> None:
    def order(**how: Any) -> list[int]:
        return source(100).shuffle(20, **how).collect()

    assert sorted(order()) == list(range(100)) != order()
    assert order() != order(), "without a seed each run differs"
    for seed in (3, "three", 3.5, b"three", -1):
        assert order(seed=seed) == order(seed=seed) != order(seed=4)
    assert order(rng=random.Random(1)) == order(rng=random.Random(1)) != order(rng=random.Random(2))
    assert order(rng=np.random.default_rng(1)) == order(rng=np.random.default_rng(1))
    assert sorted(source(30).shuffle(None, None).collect()) == list(range(30))
    assert sorted(source(30).shuffle(10, initial=0).collect()) == list(range(30))
    first = next(iter(source(10**9).shuffle(10**6, initial=10)))
    assert first < 10, "the first window is soon full"


def test_a_loop_counts_its_rounds_and_shuffles_each_anew() -> None:
    loop = source(50).shuffle().loop(3)
    found = loop.collect()
    assert loop.counter == 3
    rounds = [found[i : i + 50] for i in (0, 50, 100)]
    assert all(sorted(each) == list(range(50)) for each in rounds) and rounds[0] != rounds[1] != rounds[2]
    assert pickle.loads(pickle.dumps(loop)).counter == 0


def test_nothing_leaks_between_runs() -> None:
    stream = source(3).map(double).zip_index()
    one, other = iter(stream), iter(stream)
    assert [next(one), next(other), next(one), next(other)] == [(0, 0), (0, 0), (1, 2), (1, 2)]
    assert stream.collect() == stream.collect() == [(0, 0), (1, 2), (2, 4)]


def test_functions_of_an_iterable() -> None:
    lines = iter([1, 2, 3, 4])
    assert list(take_(lines, 2)) == [1, 2] and list(take_(lines, 2)) == [3, 4]
    assert list(take_([1, 2, 3], 10)) == [1, 2, 3]
    assert list(map_([1], double)) == [2] and list(filter_([0, 1], bool)) == [1]
    assert list(flatten_([[1], [2]])) == [1, 2] == list(tqdm_([1, 2], disable=True))
    assert list(batched_(range(5), 2)) == [[0, 1], [2, 3]]
    assert list(batched_(range(5), 2, sum, drop_last_if_not_full=False)) == [1, 5, 4]
    assert sorted(shuffle_(range(30), 10)) == list(range(30))
    assert list(shuffle_(range(30), 10, seed=1)) == list(shuffle_(range(30), 10, seed=1))
    assert get_random_range(seed=1).random() == random.Random(1).random()
    assert getsize(np.zeros(3)) == 24 and getsize({"a": 1}) > 0
    with mock.patch("concurrent.futures.Executor") as executor:
        executor.submit.return_value.result.return_value = 7
        assert AsyncContent(1, double, executor).value(timeout=3) == 7
        executor.submit.assert_called_once_with(double, 1)
    assert base.AsyncContent is AsyncContent, "where Squirrel has it"


# ------------------------------------------------------------------------------------------------------- multiplexer


def three() -> list[Composable[Any]]:
    return [IterableSource(range(100)), IterableSource(string.ascii_lowercase), IterableSource(range(1000, 1200))]


def test_turns_take_each_item_once() -> None:
    mux = Multiplexer(three(), MultiplexingStrategy.ROUND_ROBIN, seed=42)
    assert Counter(mux.collect()) == Counter(x for each in three() for x in each)
    assert mux.num_samples == [100, 26, 200]
    assert Multiplexer(["ab", "cdef", "g"], MultiplexingStrategy.ROUND_ROBIN).collect() == list("acgbdef")
    assert restores_at_every_index(Multiplexer(["ab", "cdef", "g"], MultiplexingStrategy.ROUND_ROBIN)) == list(
        "acgbdef"
    )


def test_random_turns_are_squirrels() -> None:
    mux = Multiplexer(three(), MultiplexingStrategy.UNIFORM_WITH_REPLACEMENT, seed=42)
    assert len(mux.collect()) == 579 and mux.reinit_counts == [1, 7, 1]
    sizes = [range(214), range(115), range(453)]
    mux = Multiplexer(sizes, MultiplexingStrategy.SAMPLING, [0.35, 0.6, 0.05], max_reinits=4, seed=42)
    copied = pickle.loads(pickle.dumps(mux))
    found = copied.map(double).collect()
    assert (copied.num_samples, copied.reinit_counts) == ([268, 460, 40], [1, 4, 0])
    assert (mux.num_samples, mux.reinit_counts) == ([], [])
    assert mux.map(double).collect() == found
    few = Multiplexer(sizes, MultiplexingStrategy.SAMPLING, [0.5, 0.5, 1e-4], seed=1)
    assert len(few.composables) == 2 and max(few.collect()) < 214


@pytest.mark.parametrize("strategy", list(MultiplexingStrategy))
def test_a_multiplexer_resumes_at_every_item(strategy: MultiplexingStrategy) -> None:
    for seed in (1, None):
        restores_at_every_index(
            Multiplexer(
                [range(7), IterableSource(range(10, 15)).shuffle(3), "ab"], strategy, [0.3, 0.3, 0.4], seed=seed
            )
        )


def test_a_multiplexer_that_cannot_choose_is_refused() -> None:
    for probas in (None, [1.0], [0.0, 0.0]):
        with pytest.raises(ValueError):
            Multiplexer(["a", "b"], MultiplexingStrategy.SAMPLING, probas)
    misspelt: Any = {"sampling_probs": [0.5, 0.5]}
    with pytest.raises(TypeError, match="sampling_probs"):
        Multiplexer(["a", "b"], MultiplexingStrategy.UNIFORM_WITH_REPLACEMENT, **misspelt)


# ---------------------------------------------------------------------------------------------------------- services


def service(name: str, workers: int = 2) -> Any:
    if name == "threads":
        return ThreadingReadingService(workers)
    return MultiProcessingReadingService(workers) if name == "processes" else InProcessReadingService()


@pytest.mark.parametrize("name", ["in process", "threads", "processes"])
def test_a_stream_runs_under_every_service_in_one_order(name: str) -> None:
    made = source(60).shuffle(10).split_by_worker_pytorch().map(double).async_map(lambda x: x + 1).batched(4)
    with DataLoader2(made) as dl:
        dl.seed(1)
        expected = [list(dl), list(dl)]
    with DataLoader2(made, reading_service=service(name)) as dl:
        dl.seed(1)
        assert [list(dl), list(dl)] == expected
        assert expected[0] != expected[1]


@pytest.mark.parametrize("name", ["threads", "processes"])
def test_composables_of_the_users_run_on_workers(name: str) -> None:
    stream = source(40).split_by_worker_pytorch().compose(Doubled).compose(Plus, 1).to_torch_iterable()
    with DataLoader2(stream, reading_service=service(name)) as dl:
        assert sorted(dl) == [2 * x + 1 for x in range(40)]
        it = iter(dl)
        first = [next(it) for _ in range(9)]
        state = dl.state_dict()
        rest = list(it)
    with DataLoader2(stream, reading_service=service(name)) as dl:
        dl.load_state_dict(state)
        assert list(dl) == rest
        assert sorted(first + rest) == [2 * x + 1 for x in range(40)]


@pytest.mark.parametrize("workers", [0, 2])
def test_ranks_divide_at_the_first_split_and_workers_at_the_second(workers: int) -> None:
    def reads(rank: int) -> Any:
        inner: Any = MultiProcessingReadingService(workers) if workers else InProcessReadingService()
        stream = source(80).shuffle(9).split_by_rank_pytorch().map(double).split_by_worker_pytorch().batched(5)
        with DataLoader2(
            stream.to_torch_iterable(), reading_service=SequentialReadingService(DistributedReadingService(30), inner)
        ) as dl:
            return [[x for batch in dl for x in batch] for _ in range(2)]

    one, other = ranks.values(2, reads)
    for epoch in range(2):
        assert sorted(one[epoch] + other[epoch]) == [2 * x for x in range(80)]
    assert one[0] != one[1]


def test_plain_ranks_take_every_nth_item() -> None:
    def reads(rank: int) -> Any:
        return source(11).split_by_rank_pytorch().to_torch_iterable(enforce_worker_check=False).collect()

    assert ranks.values(3, reads) == [list(range(11))[rank::3] for rank in range(3)]


def test_ranks_that_would_shuffle_apart_are_warned() -> None:
    def reads(rank: int) -> Any:
        import warnings

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            source(11).shuffle().split_by_rank_pytorch().join()
            source(11).shuffle(seed=1).split_by_rank_pytorch().join()
        return [str(each.message) for each in caught]

    for (warned,) in ranks.values(2, reads):
        assert "shuffle" in warned and "ahead of a split by rank" in warned


# ------------------------------------------------------------------------------------------------- torch's DataLoader


def loaded(stream: Any, workers: int, **options: Any) -> list[Any]:
    import torch.utils.data as tud

    return list(tud.DataLoader(stream, num_workers=workers, batch_size=None, **options))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_torchs_loader_gives_each_item_once(workers: int) -> None:
    stream = source(60).shuffle(10).async_map(double).split_by_worker_pytorch().batched(5).to_torch_iterable()
    found = loaded(stream, workers)
    assert sorted(x for batch in found for x in batch) == [2 * x for x in range(60)]
    branches = [source(20).split_by_worker_pytorch(), source(20).split_by_worker_pytorch()]
    assert Counter(loaded(IterableSamplerSource(branches).to_torch_iterable(), workers)) == Counter([*range(20)] * 2)
    mux = Multiplexer(branches, MultiplexingStrategy.ROUND_ROBIN).to_torch_iterable()
    assert Counter(loaded(mux, workers)) == Counter([*range(20)] * 2)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_splits_are_asked_for_where_they_are_needed() -> None:
    info = namedtuple("info", ["id", "num_workers"])
    both = source(100).split_by_worker_pytorch().split_by_rank_pytorch().async_map(double)
    with (
        mock.patch("torch.distributed.is_available", return_value=True),
        mock.patch("torch.distributed.is_initialized", return_value=True),
        mock.patch("torch.distributed.get_rank", return_value=4),
        mock.patch("torch.distributed.get_world_size", return_value=4),
        mock.patch("torch.utils.data.get_worker_info", return_value=info(0, 3)),
    ):
        with pytest.raises(PyTorchSplittingException, match="3 workers would each"):
            source().split_by_rank_pytorch().to_torch_iterable().join()
        with pytest.raises(PyTorchSplittingException, match="4 ranks would each"):
            source().split_by_worker_pytorch().to_torch_iterable().join()
        with pytest.raises(PyTorchSplittingException):
            Multiplexer([source().split_by_rank_pytorch(), source()], MultiplexingStrategy.ROUND_ROBIN).compose(
                TorchIterable, enforce_worker_check=False
            ).join()
        whole = source().to_torch_iterable(enforce_worker_check=False, enforce_rank_check=False)
        assert whole.collect() == list(range(10))
        assert both.to_torch_iterable().collect() == [2 * x for x in range(100)[0::3][4::4]]


def test_splits_in_squirrels_own_streams_are_seen() -> None:
    split = type("SplitByWorker", (), {"source": [1], "__iter__": lambda self: iter([1])})()
    outer = type("Theirs", (), {"source": split, "__iter__": lambda self: iter([1])})()
    stream = Multiplexer([outer, outer], MultiplexingStrategy.ROUND_ROBIN).to_torch_iterable(enforce_rank_check=False)
    info = namedtuple("info", ["id", "num_workers"])
    import torch.utils.data  # noqa: F401

    with mock.patch("torch.utils.data.get_worker_info", return_value=info(0, 2)):
        assert stream.collect() == [1, 1]


# ---------------------------------------------------------------------------------------------------------- programs


def test_the_users_pytorch_page_runs(tmp_path: Path) -> None:
    script = tmp_path / "page.py"
    script.write_text(
        textwrap.dedent(
            """
            import torch.utils.data as tud
            from penstock.iterstream.source import IterableSource
            from penstock.iterstream.torch_composables import SplitByRank, SplitByWorker, TorchIterable

            def times_two(x: float) -> float:
                return x * 2

            samples = list(range(100))
            batch_size = 5
            num_workers = 4
            one = (
                IterableSource(samples)
                .split_by_rank_pytorch()
                .async_map(times_two)
                .split_by_worker_pytorch()
                .batched(batch_size)
                .to_torch_iterable()
            )
            other = (
                IterableSource(samples)
                .compose(SplitByRank)
                .async_map(times_two)
                .compose(SplitByWorker)
                .batched(batch_size)
                .compose(TorchIterable)
            )
            for it in (one, other):
                dl = tud.DataLoader(it, num_workers=num_workers)
                found = sorted(int(x) for batch in dl for x in batch)
                assert found == [2 * x for x in samples], found
            """
        )
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr


def test_importing_streams_loads_neither_torch_nor_dask() -> None:
    program = "import sys, penstock.iterstream; assert not {'torch', 'dask', 'numba', 'fsspec'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_split_is_restored_at_every_item() -> None:
    for split in (SplitByRank, SplitByWorker):
        assert restores_at_every_index(source(5).compose(split)) == [0, 1, 2, 3, 4]
