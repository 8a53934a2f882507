"""Ranks and workers that would divide different data are told so; those that divide the same are left alone."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from penstock import (
    BadSamples,
    DataLoader2,
    DistributedReadingService,
    InProcessReadingService,
    IterDataPipe,
    MultiProcessingReadingService,
    SequentialReadingService,
    ThreadingReadingService,
)
from penstock.core.context import Share, current_context
from penstock.core.errors import DifferentData
from penstock.core.witness import Finding, Watch, Witness
from penstock.pipes import IterableWrapper
from ranks import ranks


class Unordered(IterDataPipe[int]):
    """The numbers below ``size`` in another order on each worker, from the item ``same`` on."""

    def __init__(self, size: int, same: int = 0) -> None:
        self.size, self.same = size, same

    def __iter__(self) -> Iterator[int]:
        rest = list(range(self.same, self.size))
        random.Random(_worker()).shuffle(rest)
        yield from range(self.same)
        yield from rest

    def __len__(self) -> int:
        return self.size


class Longer(IterDataPipe[int]):
    """As many numbers more as the worker's number says, behind the first ``size``."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.size + 10 * _worker()))


def _worker() -> int:
    ctx = current_context.get()
    assert ctx is not None
    return ctx.worker.worker_id + ctx.worker.num_workers * ctx.worker.rank


def divided(pipe: Any, kind: str) -> Any:
    """In blocks of a batch each, in lanes, or in lanes behind a dispatching process."""
    if kind == "blocks":
        return pipe.sharding_filter().batch(2)
    if kind == "lanes":
        return pipe.sharding_filter().filter(lambda x: x is not None).batch(2)
    return pipe.sharding_round_robin_dispatch().filter(lambda x: x is not None).batch(2)


def service(name: str, workers: int = 2, lanes: int | None = None) -> Any:
    if name == "processes":
        return MultiProcessingReadingService(workers, lanes=lanes)
    return ThreadingReadingService(workers, lanes=lanes)


@pytest.mark.parametrize("name", ["processes", "threads"])
@pytest.mark.parametrize(("kind", "lanes"), [("blocks", None), ("lanes", None), ("lanes", 6)])
@pytest.mark.parametrize("same", [0, 3])
def test_workers_that_read_another_order_are_told_so(name: str, kind: str, lanes: int | None, same: int) -> None:
    graph = divided(Unordered(400, same), kind)
    with (
        DataLoader2(graph, reading_service=service(name, lanes=lanes)) as dl,
        pytest.raises(DifferentData, match=r"worker \d of rank 0 found different items ahead of 'sharding_filter'"),
    ):
        list(dl)


@pytest.mark.parametrize("name", ["processes", "threads"])
@pytest.mark.parametrize(("kind", "lanes"), [("blocks", None), ("lanes", None), ("lanes", 6)])
def test_workers_that_find_another_number_of_items_are_told_so(name: str, kind: str, lanes: int | None) -> None:
    graph = divided(Longer(100), kind)
    with (
        DataLoader2(graph, reading_service=service(name, lanes=lanes)) as dl,
        pytest.raises(DifferentData, match="worker 1 of rank 0 found at least 1.. items .* worker 0 of rank 0 at most"),
    ):
        list(dl)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["blocks", "lanes", "dispatch"])
def test_ranks_that_read_another_order_are_told_so_on_every_rank(kind: str, workers: int) -> None:
    def reads(rank: int) -> Any:
        inner: Any = MultiProcessingReadingService(workers) if workers else InProcessReadingService()
        with DataLoader2(
            divided(_OfRank(800), kind), reading_service=SequentialReadingService(DistributedReadingService(30), inner)
        ) as dl:
            return list(dl)

    for outcome in ranks.run(2, reads):
        error = outcome.error or ""
        assert "DifferentData: " in error and "found different items ahead of 'sharding_" in error, error
        assert "rank 0" in error and "rank 1" in error


class _OfRank(Unordered):
    def __iter__(self) -> Iterator[int]:
        ctx = current_context.get()
        assert ctx is not None
        rest = list(range(self.size))
        random.Random(ctx.worker.rank).shuffle(rest)
        yield from rest


def test_ranks_that_find_another_number_of_items_are_told_so() -> None:
    def reads(rank: int) -> Any:
        with DataLoader2(
            divided(Longer(500), "blocks"), reading_service=SequentialReadingService(DistributedReadingService(30))
        ) as dl:
            return list(dl)

    for outcome in ranks.run(2, reads):
        assert "rank 1 found at least 5" in (outcome.error or "")


@pytest.mark.parametrize("name", ["processes", "threads"])
def test_augmentations_ahead_of_the_point_may_differ(name: str) -> None:
    def augmented(x: int) -> tuple[int, float, Any]:
        return x, random.random(), np.random.rand(3)

    for shuffled in (False, True):
        pipe: Any = IterableWrapper(range(300)).map(augmented)
        graph = (pipe.shuffle() if shuffled else pipe).sharding_filter().batch(2)
        with DataLoader2(graph, reading_service=service(name, 3)) as dl:
            assert sorted(sample[0] for batch in dl for sample in batch) == list(range(300))


def test_looking_draws_nothing_from_the_global_generators() -> None:
    graph = IterableWrapper(range(300)).map(lambda x: (x, random.random())).sharding_filter().batch(2)
    found = []
    for workers in (1, 2, 3):
        with DataLoader2(graph, reading_service=MultiProcessingReadingService(workers)) as dl:
            dl.seed(1)
            found.append(list(dl))
    assert found[0] == found[1] == found[2]


def test_a_sample_that_failed_on_one_worker_only_is_no_difference() -> None:
    def numbered(pipe: Any, info: Any) -> Any:
        os.environ["TEST_WORKER"] = str(info.worker_id)
        return pipe

    def flaky(x: int) -> int:
        if os.environ["TEST_WORKER"] == "1" and x in (0, 1, 2):
            raise OSError("not now")
        return x

    graph = IterableWrapper(range(40)).map(flaky).sharding_filter().batch(1)
    processes = MultiProcessingReadingService(2, worker_init_fn=numbered)
    with DataLoader2(graph, reading_service=processes, bad_samples=BadSamples("skip")) as dl:
        assert sorted(x for batch in dl for x in batch) == [x for x in range(40) if x != 1]


@pytest.mark.parametrize(("count", "chunk"), [(1, 1), (2, 1), (8, 32), (8192, 1)])
def test_few_chunks_are_looked_at_and_the_first_ones_are(count: int, chunk: int) -> None:
    heard: list[Finding] = []
    watch = Watch(heard.append, ("point",), Share(count, 0, chunk), 0)
    size = 1000 * count
    looked = []
    while watch.next < size:
        looked.append(watch.next)
        watch.saw(watch.next)
    assert looked[:5] == [0, 1, 2, 4, 8]
    assert len(looked) <= 1000 / 64 + size.bit_length() + 2
    assert [said.least for said in heard] == [number * chunk + 1 for number in looked]
    later = Watch(heard.append, ("point",), Share(count, 0, chunk), 5)
    assert later.next == 8
    assert Watch(None, ("point",), Share(count, 0, chunk), 0).next > size


def test_a_witness_remembers_little_and_repeats_it_to_another() -> None:
    one, other = Witness(), Witness()
    for place in range(1, 2000):
        one.hear(Finding(("point",), place, digest=place), "worker 0")
    assert len(one.said()) <= 257
    for said in one.said():
        other.hear(said, "rank 0")
    other.hear(Finding(("point",), 1999, 2001), "worker 1")
    with pytest.raises(DifferentData, match="rank 0 and worker 3 found different items"):
        other.hear(Finding(("point",), 1999, digest=7), "worker 3")
    with pytest.raises(DifferentData, match="worker 3 found at least 2002 items .* worker 1 at most 2001"):
        other.hear(Finding(("point",), 2002), "worker 3")
