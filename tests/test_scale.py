"""1,024 ranks of 8 workers, simulated: who gets what, and that all of them take as many steps. No I/O."""

from __future__ import annotations

import logging
import threading
import tracemalloc
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import DataLoader2, InProcessReadingService, MultiProcessingReadingService
from penstock.core.context import WorkerInfo
from penstock.core.errors import RankError
from penstock.core.feed import Feed
from penstock.core.pipe import IterDataPipe
from penstock.core.plan import plan
from penstock.pipes import IterableWrapper
from penstock.pipes._agreement import Agreed, Policy
from penstock.pipes._rounds import Channel
from penstock.pipes.map import SequenceWrapper
from penstock.reading_service.base import Progress, Run, first_progress
from penstock.reading_service.lanes import END, own_lanes, read_lanes

RANKS, WORKERS = 1024, 8
HUGE = 100_000_000


def worker_of(rank: int, worker: int, ranks: int = RANKS, workers: int = WORKERS) -> WorkerInfo:
    return WorkerInfo(workers, worker, rank, ranks)


def items(root: IterDataPipe[Any], info: WorkerInfo, progress: Progress | None = None) -> Iterator[Any]:
    """What one worker of a job gives."""
    division = plan(root)
    start = progress or first_progress(division, info.world_size * info.num_workers)
    for delivery in read_lanes(root, division, Run(5, 2, start), own_lanes(start, info), worker=info):
        if delivery.item is not END:
            yield delivery.item


def blocks(size: int, batch: int = 1) -> IterDataPipe[Any]:
    return IterableWrapper(range(size), deepcopy=False).sharding_filter().batch(batch)


def lanes(size: int, batch: int = 1) -> IterDataPipe[Any]:
    pipe = IterableWrapper(range(size), deepcopy=False).sharding_filter()
    return pipe.filter(lambda x: x % 5 != 0).batch(batch)


# ------------------------------------------------------------------------------------------------------- the division


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 400), st.integers(1, 40), st.integers(1, 9), st.integers(1, 5), st.integers(1, 60))
def test_the_shares_of_all_workers_are_disjoint_and_complete(
    size: int, ranks: int, workers: int, batch: int, several: int
) -> None:
    everyone = [worker_of(rank, worker, ranks, workers) for rank in range(ranks) for worker in range(workers)]
    for root, wanted in ((blocks(size, batch), range(size)), (lanes(size, batch), [x for x in range(size) if x % 5])):
        start = first_progress(plan(root), several)
        owned = [lane for info in everyone for lane in own_lanes(start, info)]
        if start.kind == "lanes":
            assert sorted(owned) == list(range(several))
        given = [x for info in everyone for some in items(root, info, start) for x in some]
        assert sorted(given) == list(wanted)


def test_of_1024_ranks_with_8_workers_each_worker_reads_its_own_blocks() -> None:
    rounds, batch = 3, 4
    step = RANKS * WORKERS
    root = blocks(rounds * step * batch - 1, batch)
    for rank, worker in [(0, 0), (0, 7), (1, 0), (511, 3), (1022, 7), (1023, 0), (1023, 7)]:
        own = [b for b in range(rounds * step) if b % RANKS == rank and b // RANKS % WORKERS == worker]
        assert len(own) == rounds
        expected = [list(range(b * batch, min((b + 1) * batch, rounds * step * batch - 1))) for b in own]
        assert list(items(root, worker_of(rank, worker))) == expected


def test_of_1024_ranks_with_8_workers_each_lane_has_one_owner() -> None:
    start = first_progress(plan(lanes(10)), 3 * RANKS * WORKERS + 5)
    owners = [own_lanes(start, worker_of(rank, worker)) for rank in range(RANKS) for worker in range(WORKERS)]
    assert sorted(lane for own in owners for lane in own) == list(range(3 * RANKS * WORKERS + 5))
    assert {len(own) for own in owners} == {3, 4}
    for number, own in enumerate(owners):
        rank, worker = divmod(number, WORKERS)
        assert all(lane % RANKS == rank and lane // RANKS % WORKERS == worker for lane in own)


@pytest.mark.parametrize(("rank", "worker"), [(0, 0), (700, 5), (1023, 7)])
def test_a_worker_skips_what_is_not_its_own_and_does_not_read_it(rank: int, worker: int) -> None:
    read = 0

    class Watched:
        """Items of a table, counted."""

        def __len__(self) -> int:
            return HUGE

        def __getitem__(self, index: int) -> int:
            nonlocal read
            if index >= HUGE:
                raise IndexError(index)
            read += 1
            return index

    step, first = RANKS * WORKERS, rank + RANKS * worker
    expected = [list(range((first + i * step) * 10, (first + i * step) * 10 + 10)) for i in range(100)]
    table = SequenceWrapper(Watched(), deepcopy=False)
    for source in (IterableWrapper(range(HUGE), deepcopy=False), table.to_iter_datapipe()):
        root = source.sharding_filter().batch(10)
        assert list(islice(items(root, worker_of(rank, worker)), 100)) == expected
    assert read <= 101 * 10


@pytest.mark.parametrize("make", [blocks, lanes])
def test_a_workers_memory_does_not_grow_with_the_number_of_ranks(make: Any) -> None:
    def peak(ranks: int) -> int:
        root = make(HUGE, 10)
        start = Progress("blocks", 0) if plan(root).kind == "blocks" else first_progress(plan(root), ranks)
        own = start.of(own_lanes(start, worker_of(1, 0, ranks, 1)))  # what a rank has: its own lanes' part
        tracemalloc.start()
        try:
            list(islice(items(root, worker_of(1, 0, ranks, 1), own), 50))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(8)  # what is kept once
    assert peak(8192) < 2 * peak(8) + 20_000


# -------------------------------------------------------------------------------------------------------- equal steps


class _Meeting:
    """What the exchanges of all ranks have in common: everybody hands in, and takes what came of it."""

    def __init__(self, ranks: int) -> None:
        self.barrier = threading.Barrier(ranks)
        self.rows: list[Any] = [None] * ranks

    def all(self, rank: int, value: Any) -> list[Any]:
        self.rows[rank] = value
        self.barrier.wait(30)
        found = list(self.rows)
        self.barrier.wait(30)
        return found


class _InMemory:
    """An `Exchange` among threads."""

    def __init__(self, rank: int, meeting: _Meeting) -> None:
        self.rank = rank
        self._meeting = meeting

    def least(self, row: list[int]) -> list[int]:
        return [min(column) for column in zip(*self._meeting.all(self.rank, row), strict=True)]

    def told(self, content: Any, by: int) -> Any:
        return self._meeting.all(self.rank, content)[by]

    def close(self) -> None:
        self._meeting.barrier.abort()


def steps_of(sizes: list[int], policy: Policy, *, fails: int | None = None) -> list[tuple[list[Any], int, Any]]:
    """What each rank gives, and how many of that are repeats, and its error."""
    meeting = _Meeting(len(sizes))
    channels = [Channel(_InMemory(rank, meeting), 30) for rank in range(len(sizes))]
    found: list[Any] = [None] * len(sizes)

    def source(rank: int) -> Iterator[Any]:
        yield from ((rank, i) for i in range(sizes[rank]))
        if rank == fails:
            raise ValueError("broken")

    def run(rank: int) -> None:
        channels[rank].next_epoch()
        agreed = Agreed(channels[rank], source(rank), policy)
        given, repeats, error = [], 0, None
        try:
            for item in agreed:
                given.append(item)
                repeats += agreed.is_padding
        except Exception as raised:
            error = raised
        agreed.close()
        found[rank] = given, repeats, error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(len(sizes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a rank hangs"
    for channel in channels:
        with channel.changed:
            channel._closing = True
            channel.wake()
    for channel in channels:
        channel.close()
    return found


UNEVEN = [40 + rank * 37 % 23 for rank in range(64)]


@pytest.mark.parametrize("sizes", [UNEVEN, [*UNEVEN[:-1], 0], [0] * 16, [500, *[3] * 15]])
def test_many_ranks_stop_at_the_same_step(no_leftovers: None, sizes: list[int]) -> None:
    for rank, (items_of, repeats, error) in enumerate(steps_of(sizes, "shortest")):
        assert error is None and repeats == 0
        assert items_of == [(rank, i) for i in range(min(sizes))]


@pytest.mark.parametrize("sizes", [UNEVEN, [*UNEVEN[:-1], 0], [0] * 16, [500, *[3] * 15]])
def test_many_ranks_go_on_until_the_last_is_done(no_leftovers: None, sizes: list[int]) -> None:
    for rank, (items_of, repeats, error) in enumerate(steps_of(sizes, "longest")):
        assert error is None
        assert len(items_of) == max(sizes) and repeats == max(sizes) - sizes[rank]
        assert items_of[: sizes[rank]] == [(rank, i) for i in range(sizes[rank])]


def test_an_error_on_one_of_many_ranks_reaches_all_at_the_same_step(no_leftovers: None) -> None:
    sizes = [60] * 64
    sizes[17] = 21
    for rank, (items_of, _, error) in enumerate(steps_of(sizes, "shortest", fails=17)):
        assert len(items_of) == 21
        assert isinstance(error, ValueError if rank == 17 else RankError), error


class _Unstarted(Channel):
    """A channel without a thread: the test plays the rounds."""

    def start(self) -> None:
        pass


@pytest.mark.parametrize("policy", ["shortest", "longest"])
def test_1024_ranks_agree_row_by_row(policy: Policy) -> None:
    """The arithmetic of the rounds, with whatever each rank happens to have read by then."""
    import random

    chance = random.Random(3)
    sizes = [chance.randrange(30, 90) for _ in range(RANKS)]
    sizes[5] = 0 if policy == "longest" else 29
    ranks: list[Any] = []
    for rank, size in enumerate(sizes):
        agreed: Any = Agreed(_Unstarted(_InMemory(rank, _Meeting(1)), 1_000), iter(()), policy)
        agreed._reader.join()  # the test reads in its place
        agreed._ended = size == 0
        ranks.append(agreed)
    for _ in range(200):
        for agreed, size in zip(ranks, sizes, strict=True):
            agreed._read = min(size, agreed._read + chance.randrange(0, 9))
            agreed._ended = agreed._ended or (agreed._read == size and chance.random() < 0.7)
        rows = [agreed.fields(rank) for rank, agreed in enumerate(ranks)]
        found = [min(column) for column in zip(*rows, strict=True)]
        for agreed in ranks:
            agreed._ready = [0]
            agreed.take(found, _Alone())
            agreed._given = agreed._agreed
        assert len({(agreed._agreed, agreed._over) for agreed in ranks}) == 1
        if ranks[0]._over:
            break
        if policy == "shortest":
            assert ranks[0]._agreed <= min(sizes)
    assert ranks[0]._agreed == (min(sizes) if policy == "shortest" else max(sizes))


class _Alone:
    rank = 0

    def told(self, content: Any, by: int) -> Any:
        return "another rank's first item"


# -------------------------------------------------------------------------------------------------------------- skew


class Enough(BaseException):
    """Not an Exception: what led to one is run again, to name the item, and this has no end."""


def endless(keep: Any, *, dispatched: bool = False) -> Any:
    pipe = IterableWrapper(range(10**12), deepcopy=False)
    pipe = pipe.sharding_round_robin_dispatch() if dispatched else pipe.sharding_filter()
    return pipe.filter(keep)


def test_a_lane_that_never_gives_anything_of_an_endless_source_is_named_and_the_others_stay_small(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    held, pull = 0, Feed._pull

    def watched(feed: Feed[Any], lane: int) -> bool:
        nonlocal held
        there = pull(feed, lane)
        held = max(held, len(feed._rounds))
        if feed._base + len(feed._rounds) > 300_000:
            raise Enough
        return there

    monkeypatch.setattr(Feed, "_pull", watched)
    dl = DataLoader2(endless(lambda x: x % 4 != 2), reading_service=InProcessReadingService(lanes=4))
    with dl, pytest.raises(Enough), caplog.at_level(logging.WARNING, "penstock"):
        list(dl)
    assert 0 < held <= 256
    assert caplog.text.count("without giving any") == 1
    assert "lane 2 has read about 65536 items from 'sharding_filter'" in caplog.text


def test_one_lane_in_ten_with_all_the_data_holds_a_bounded_number_of_rounds(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    held, pull = 0, Feed._pull

    def watched(feed: Feed[Any], lane: int) -> bool:
        nonlocal held
        there = pull(feed, lane)
        held = max(held, len(feed._rounds))
        return there

    monkeypatch.setattr(Feed, "_pull", watched)
    pipe = IterableWrapper(range(20_000), deepcopy=False).sharding_filter().filter(lambda x: x % 10 == 7)
    service = InProcessReadingService(lanes=10)
    with DataLoader2(pipe, reading_service=service) as dl, caplog.at_level(logging.WARNING, "penstock"):
        it = iter(dl)
        found = list(islice(it, 1000))
        state = dl.state_dict()
        found += it
    assert found == list(range(7, 20_000, 10)) and 0 < held <= 256
    with DataLoader2(pipe, reading_service=InProcessReadingService()) as dl:
        dl.load_state_dict(state)
        assert list(dl) == found[1000:]


@pytest.mark.parametrize("dispatched", [False, True])
def test_workers_do_not_wait_for_a_lane_that_another_one_reads_in_vain(dispatched: bool) -> None:
    """Worker 1's lane gives nothing: the loop waits for it, as the order says, and leaving the loop is no deadlock."""
    pipe = endless(lambda x: x % 2 == 0, dispatched=dispatched)
    with DataLoader2(pipe, reading_service=MultiProcessingReadingService(2)) as dl:
        it = iter(dl)
        assert next(it) == 0
        waiting = threading.Thread(target=lambda: next(it, None), daemon=True)
        waiting.start()
        waiting.join(1.0)
        assert waiting.is_alive()
    waiting.join(10)
    assert not waiting.is_alive()


@pytest.mark.parametrize("dispatched", [False, True])
def test_a_filter_that_follows_the_stride_gives_all_of_it_on_workers(dispatched: bool) -> None:
    source = IterableWrapper(range(6_000), deepcopy=False)
    pipe = source.sharding_round_robin_dispatch() if dispatched else source.sharding_filter()
    for keep, wanted in ((lambda x: x % 2 == 0, range(0, 6_000, 2)), (lambda x: x % 10 == 7, range(7, 6_000, 10))):
        with DataLoader2(pipe.filter(keep), reading_service=MultiProcessingReadingService(2, lanes=10)) as dl:
            assert sorted(dl) == list(wanted)
