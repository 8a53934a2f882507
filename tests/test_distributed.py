"""Ranks of a real process group: one order on any topology, equal steps, and states that go on anywhere."""

from __future__ import annotations

from typing import Any

import pytest

from penstock import (
    DataLoader2,
    DistributedReadingService,
    InProcessReadingService,
    IterDataPipe,
    MultiProcessingReadingService,
    SequentialReadingService,
    StateError,
    ThreadingReadingService,
)
from penstock.pipes import IterableWrapper
from ranks import ranks
from running import trip

SEED = 3
TOPOLOGIES = [(1, 0), (1, 1), (1, 2), (1, 4), (2, 0), (2, 2), (4, 1), (4, 3), (8, 1)]


def blocks(size: int) -> Any:
    return IterableWrapper(range(size)).shuffle(buffer_size=20).sharding_filter().map(lambda x: -x).batch(2)


def lanes(size: int) -> Any:
    pipe = IterableWrapper(range(size)).shuffle(buffer_size=20).sharding_filter().filter(lambda x: x % 7)
    return pipe.flatmap(lambda x: [x, 1000 + x]).shuffle(buffer_size=5).batch(2)


def service(workers: int, kind: str = "processes", **options: Any) -> Any:
    lanes = options.pop("lanes", None)
    inner: Any = InProcessReadingService(lanes=lanes)
    if workers and kind == "threads":
        inner = ThreadingReadingService(workers, lanes=lanes)
    elif workers:
        method = "forkserver" if kind == "processes" else kind
        inner = MultiProcessingReadingService(workers, lanes=lanes, multiprocessing_context=method)
    return SequentialReadingService(DistributedReadingService(**{"timeout": 30, **options}), inner)


def epochs(rank: int, graph: Any, workers: int, kind: str = "processes", lanes: int | None = None) -> list[Any]:
    """Two epochs of a seeded loader, as one rank sees them."""
    with DataLoader2(graph, reading_service=service(workers, kind, lanes=lanes)) as dl:
        dl.seed(SEED)
        return [list(dl), list(dl)]


def together(parts: list[list[Any]], first: int = 0) -> list[Any]:
    """The batches of all ranks, step by step, from the batch of that number on, which is rank ``first mod world``'s."""
    assert len({len(part) for part in parts}) == 1, "every rank takes as many steps"
    first %= len(parts)
    return [batch for step in zip(*parts[first:], *parts[:first], strict=True) for batch in step]


def matrix(*kinds: str) -> list[Any]:
    """Every topology with every kind of workers; those of ``kinds``, and one topology of each, also where it is quick.

    Without workers there is nothing to start: one kind is enough.
    """
    return [
        pytest.param(*topology, kind, marks=() if kind in kinds or topology == (2, 2) else pytest.mark.slow)
        for topology in TOPOLOGIES
        for kind in ("processes", "threads", "spawn", "fork")
        if topology[1] or kind == "processes"
    ]


@pytest.mark.parametrize(("world", "workers", "kind"), matrix("processes", "threads"))
def test_the_sequence_of_batches_is_the_same_on_any_topology(world: int, workers: int, kind: str) -> None:
    with DataLoader2(blocks(160)) as dl:
        dl.seed(SEED)
        expected = [list(dl), list(dl)]
    assert expected[0] != expected[1]
    found = ranks.values(world, epochs, blocks(160), workers, kind)
    for epoch in range(2):
        assert together([of_rank[epoch] for of_rank in found]) == expected[epoch]


@pytest.mark.parametrize(("world", "workers", "kind"), matrix("processes"))
def test_a_round_and_lane_hold_the_same_batch_on_any_topology(world: int, workers: int, kind: str) -> None:
    with DataLoader2(lanes(2400), reading_service=InProcessReadingService(lanes=24)) as dl:
        dl.seed(SEED)
        expected = list(dl)
    found = ranks.values(world, epochs, lanes(2400), workers, kind, 24)
    sequence = together([of_rank[0] for of_rank in found])
    if world == 1:
        assert sequence == expected
    else:  # lanes are not equally long, so at the end ranks are not in the same round
        even = len(sequence) * 2 // 3
        assert sequence[:even] == expected[:even]
        assert {str(batch) for batch in sequence} <= {str(batch) for batch in expected}


# ------------------------------------------------------------------------------------------------------------- seeds


def test_rank_0_draws_the_seed_of_an_unseeded_epoch_and_each_epoch_differs() -> None:
    def drawn(rank: int) -> list[Any]:
        import torch

        torch.manual_seed(rank)
        with DataLoader2(blocks(80), reading_service=service(0)) as dl:
            return [list(dl), list(dl)]

    first, second = ([together(list(parts)) for parts in zip(*ranks.values(2, drawn), strict=True)] for _ in range(2))
    assert first == second, "torch.manual_seed of rank 0 fixes it"
    assert first[0] != first[1]
    for epoch in first:
        assert sorted(x for batch in epoch for x in batch) == sorted(-x for x in range(80))


# -------------------------------------------------------------------------------------------------------- equal steps


def of_rank(rank: int, sizes: list[int], policy: str, workers: int = 0) -> Any:
    """Give rank r ``sizes[r]`` items of its own: a graph of one lane for each rank, dealt by a filter."""
    pipe = IterableWrapper(range(len(sizes) * max(sizes))).sharding_filter()
    pipe = pipe.filter(lambda x: x // len(sizes) < sizes[x % len(sizes)])
    seen = []
    with DataLoader2(pipe, reading_service=service(workers, policy=policy, lanes=len(sizes))) as dl:
        for x in dl:
            seen.append((x, dl.is_padding))
        return seen, dl.stats()["dropped"]


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("sizes", [[5, 8, 6], [0, 3, 2], [4, 4, 4], [0, 0, 0], [300, 7, 300]])
def test_all_stop_with_the_shortest_rank_and_what_was_read_is_counted(sizes: list[int], workers: int) -> None:
    for rank, (seen, dropped) in enumerate(ranks.values(3, of_rank, sizes, "shortest", workers)):
        assert seen == [(rank + 3 * i, False) for i in range(min(sizes))]
        assert 0 <= dropped <= sizes[rank] - min(sizes)
        if sizes[rank] > min(sizes) and sizes[rank] < 10:
            assert dropped > 0


@pytest.mark.parametrize("sizes", [[5, 8, 6], [0, 3, 2], [4, 4, 4], [0, 0, 0], [300, 7, 300]])
def test_all_go_on_until_the_longest_rank_is_done_with_marked_repeats(sizes: list[int]) -> None:
    for rank, (seen, dropped) in enumerate(ranks.values(3, of_rank, sizes, "longest")):
        assert len(seen) == max(sizes) and dropped == 0
        assert [x for x, padding in seen if not padding] == [rank + 3 * i for i in range(sizes[rank])]
        repeated = [x for x, padding in seen if padding]
        assert len(repeated) == max(sizes) - sizes[rank]
        assert len(set(repeated)) <= 1 and set(repeated) <= ({rank + 3 * (sizes[rank] - 1)} if sizes[rank] else {1, 2})


def test_lanes_that_do_not_divide_among_ranks_are_warned_of_and_as_much_is_dropped() -> None:
    def uneven(rank: int) -> Any:
        pipe = IterableWrapper(range(300)).sharding_filter().filter(lambda x: True)
        with (
            pytest.warns(UserWarning, match="fullsync drops 33.3%"),
            DataLoader2(pipe, reading_service=service(0, lanes=3)) as dl,
        ):
            return list(dl)

    first, second = ranks.values(2, uneven)
    assert len(first) == len(second) == 100
    assert set(second) == set(range(1, 300, 3)), "the rank of one lane gives all of it"


# -------------------------------------------------------------------------------------------------------------- state


def stopped(rank: int, graph: Any, workers: int, after: int, lanes: int | None = None, state: Any = None) -> Any:
    """Some batches of an epoch, and each rank's state behind them."""
    with DataLoader2(graph, reading_service=service(workers, lanes=lanes)) as dl:
        dl.seed(SEED)
        if state is not None:
            dl.load_state_dict(state)
        it = iter(dl)
        seen = [next(it) for _ in range(after)]
        return seen, trip(dl.state_dict()), trip(dl.gather_state())


def resumed(rank: int, graph: Any, workers: int, states: list[Any], timeout: float = 30) -> Any:
    """The rest of an epoch, and the next one."""
    with DataLoader2(graph, reading_service=service(workers, timeout=timeout)) as dl:
        dl.load_state_dict(states[rank])
        return [list(dl), list(dl)]


@pytest.mark.parametrize(("world", "workers"), [(1, 0), (1, 2), (2, 0), (2, 2), (4, 1)])
@pytest.mark.parametrize("after", [*(pytest.param(n, marks=pytest.mark.slow) for n in (1, 3)), 7])
def test_blocks_go_on_from_any_ranks_state_on_any_topology(world: int, workers: int, after: int) -> None:
    graph = blocks(160)
    with DataLoader2(graph) as dl:
        dl.seed(SEED)
        expected = [list(dl), list(dl)]
    for first_world, first_workers in [(2, 2), (4, 0)]:
        found = ranks.values(first_world, stopped, graph, first_workers, after)
        head = together([seen for seen, _, _ in found])
        assert head == expected[0][: first_world * after]
        for _, state, _ in found:
            rest = ranks.values(world, resumed, graph, workers, [state] * world)
            whole = head + together([of_rank[0] for of_rank in rest], len(head))
            assert whole == expected[0][: len(whole)] and len(expected[0]) - len(whole) < world
            assert together([of_rank[1] for of_rank in rest]) == expected[1]


@pytest.mark.parametrize(("world", "workers"), [(1, 0), (1, 2), (2, 0), (2, 2), (4, 1)])
def test_lanes_go_on_from_gathered_states_and_from_parts_on_any_topology(world: int, workers: int) -> None:
    graph, several = lanes(960), 8
    with DataLoader2(graph, reading_service=InProcessReadingService(lanes=several)) as dl:
        dl.seed(SEED)
        expected = list(dl)
    found = ranks.values(2, stopped, graph, 2, 21, several)
    head = together([seen for seen, _, _ in found])
    assert head == expected[: len(head)]
    parts, (gathered, again) = [state for _, state, _ in found], [whole for _, _, whole in found]
    assert gathered == again
    for state in (gathered, parts):
        rest = ranks.values(world, resumed, graph, workers, [state] * world)
        whole = head + together([of_rank[0] for of_rank in rest], len(head))
        if world == 1:
            assert whole == expected
        else:
            even = len(expected) * 3 // 4
            assert whole[:even] == expected[:even]
    # A second and a third stop, elsewhere.
    for again_world, again_workers in [(4, 0), (1, 3)]:
        found = ranks.values(again_world, stopped, graph, again_workers, 5, several, gathered)
        head += together([seen for seen, _, _ in found], len(head))
        assert head == expected[: len(head)]
        gathered = found[0][2]
    assert head + list_rest(graph, gathered) == expected


def list_rest(graph: Any, state: Any) -> list[Any]:
    with DataLoader2(graph) as dl:
        dl.load_state_dict(state)
        return list(dl)


def test_a_rank_goes_on_from_its_own_part_and_not_from_another_ranks() -> None:
    graph = lanes(960)
    found = ranks.values(2, stopped, graph, 0, 21, 8)
    parts = [state for _, state, _ in found]
    whole = ranks.values(2, resumed, graph, 0, [found[0][2]] * 2)
    assert ranks.values(2, resumed, graph, 2, parts) == whole
    outcomes = ranks.run(2, resumed, graph, 0, [parts[0]] * 2, 3)
    assert "RankError: not every rank began to read within 3 seconds" in (outcomes[0].error or "")
    assert "lacks the lanes 1, 3, 5, 7" in (outcomes[1].error or "") and "gather_state" in (outcomes[1].error or "")
    with pytest.raises(Exception, match="lacks the lanes 1, 3, 5, 7"):
        DataLoader2(graph).load_state_dict(parts[0])


def test_ranks_at_different_places_are_told_so() -> None:
    states = [ranks.values(2, stopped, blocks(160), 0, after)[0][1] for after in (2, 5)]
    for outcome in ranks.run(2, resumed, blocks(160), 0, states):
        assert "the ranks stand at different places" in (outcome.error or "")


def test_ranks_with_other_data_are_told_so() -> None:
    def other(rank: int) -> Any:
        with DataLoader2(blocks(160 - rank), reading_service=service(0)) as dl:
            return list(dl)

    first, second = ranks.run(2, other)
    assert "or divide different data" in (first.error or "")
    assert "rank 1 would divide other data than rank 0: 'IterableWrapper'" in (second.error or "")


def test_ranks_that_divide_nothing_have_data_of_their_own() -> None:
    def own(rank: int) -> Any:
        with (
            pytest.warns(UserWarning, match="no sharding point"),
            DataLoader2(IterableWrapper(range(10 * rank, 10 * rank + 5 + rank)), reading_service=service(0)) as dl,
        ):
            return list(dl)

    assert ranks.values(2, own) == [list(range(5)), list(range(10, 15))]


def test_gathered_states_need_the_same_place() -> None:
    def apart(rank: int) -> None:
        with DataLoader2(blocks(160), reading_service=service(0)) as dl:
            it = iter(dl)
            for _ in range(1 + rank):
                next(it)
            dl.gather_state()

    for outcome in ranks.run(2, apart):
        assert "different places: delivered is 2 in one, 1 in another" in (outcome.error or "")


# ------------------------------------------------------------------------------------------------------------- errors


def test_an_error_on_one_rank_is_raised_on_all_at_the_same_step() -> None:
    def broken(rank: int) -> Any:
        pipe = IterableWrapper(range(400)).sharding_filter().map(lambda x: x if x != 81 else 1 // 0)
        seen = []
        with DataLoader2(pipe, reading_service=service(2)) as dl:
            try:
                for x in dl:
                    seen.append(x)
            except Exception as error:
                return len(seen), type(error).__name__, str(error)
        return seen

    healthy, failed = ranks.values(2, broken)
    assert failed[:2] == (40, "ZeroDivisionError")
    assert healthy[:2] == (40, "RankError") and "rank 1 failed at its item 40: ZeroDivisionError" in healthy[2]
    assert "map" in healthy[2], "the notes travel too"


def test_a_process_group_is_needed() -> None:
    with pytest.raises(RuntimeError, match="init_process_group"):
        list(DataLoader2(blocks(4), reading_service=DistributedReadingService()))


def test_services_that_cannot_follow_each_other_are_refused() -> None:
    dist, mp = DistributedReadingService(), MultiProcessingReadingService(2)
    for wrong in [(mp, dist), (dist, dist), (dist, mp, mp), ()]:
        with pytest.raises(ValueError, match="service"):
            SequentialReadingService(*wrong)
    with pytest.raises(ValueError, match="timeout"):
        DistributedReadingService(timeout=0)
    with pytest.raises(ValueError, match="policy"):
        DistributedReadingService(policy="middle")  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------- what else runs on a rank


class Doubling:
    """A service of torchdata's protocol."""

    def __init__(self, listed: bool = False) -> None:
        self.listed = listed

    def initialize(self, datapipe: Any) -> Any:
        doubled = datapipe.map(lambda x: 2 * x)
        return list(doubled) if self.listed else doubled

    def initialize_iteration(self, seed_generator: Any, iter_reset_fn: Any = None) -> Any:
        return iter_reset_fn

    def finalize_iteration(self) -> None:
        pass

    def finalize(self) -> None:
        pass


@pytest.mark.parametrize("listed", [False, True])
def test_a_service_of_torchdatas_protocol_runs_a_ranks_part_and_has_no_state(listed: bool) -> None:
    def doubled(rank: int) -> Any:
        service = SequentialReadingService(DistributedReadingService(timeout=20), Doubling(listed))
        with DataLoader2(IterableWrapper(range(11)).sharding_filter(), reading_service=service) as dl:
            it = iter(dl)
            first = next(it)
            with pytest.raises(StateError, match="ranks have no states"):
                dl.state_dict()
            return [first, *it]

    assert ranks.values(2, doubled) == [[0, 4, 8, 12, 16], [2, 6, 10, 14, 18]]


class Here(IterDataPipe[Any]):
    """A pipe of the user's that stays in the main process."""

    def __init__(self, source: Any) -> None:
        self.source = source

    def is_replicable(self) -> bool:
        return False

    def __iter__(self) -> Any:
        yield from self.source


def test_a_part_in_the_main_process_of_each_rank_goes_on_from_every_step() -> None:
    def runs(rank: int) -> Any:
        graph = Here(blocks(80)).map(lambda batch: batch)
        with DataLoader2(graph, reading_service=service(2)) as dl:
            dl.seed(SEED)
            rows, states = [], []
            for row in dl:
                rows.append(row)
                states.append(trip(dl.state_dict()))
            rests = []
            for state in states[::3]:
                dl.load_state_dict(state)
                rests.append(list(dl))
        return rows, rests

    for rows, rests in ranks.values(2, runs):
        assert len(rows) == 20 and rests == [rows[k + 1 :] for k in range(0, 20, 3)]


def test_what_stands_for_nothing_divided_is_said_once() -> None:
    with pytest.warns(UserWarning, match="no sharding point") as told:
        service(2).adapt(IterableWrapper(range(4)).map(str))
    assert len(told) == 1


def test_the_lanes_of_the_service_for_ranks_count_where_the_other_has_none() -> None:
    both = SequentialReadingService(DistributedReadingService(lanes=6), MultiProcessingReadingService(2))
    assert both.lanes == 6
    other = SequentialReadingService(DistributedReadingService(lanes=6), MultiProcessingReadingService(2, lanes=4))
    assert other.lanes == 4
