"""Services: which sample comes when does not depend on how many workers there are, or how they were started."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil
import pytest

from penstock import (
    DataLoader2,
    InProcessReadingService,
    IterableWrapper,
    MultiProcessingReadingService,
    SequenceWrapper,
    StateError,
)
from penstock.pipes import IterDataPipe

pytestmark = [pytest.mark.usefixtures("no_leftovers"), pytest.mark.filterwarnings("ignore:num_workers is 0")]
METHODS = ["forkserver", "spawn", "fork"]


def service(workers: int, **options: Any) -> MultiProcessingReadingService:
    return MultiProcessingReadingService(num_workers=workers, **options)


def epochs(pipe: Any, workers: int, *seeds: int, **options: Any) -> list[list[Any]]:
    with DataLoader2(pipe, reading_service=service(workers, **options)) as dl:
        result = []
        for seed in seeds:
            dl.seed(seed)
            result.append(list(dl))
        return result


def plain() -> Any:
    return IterableWrapper(range(57)).shuffle(buffer_size=10).sharding_filter().map(lambda x: x * 2)


def batched() -> Any:
    return plain().batch(4).collate(lambda b: sum(b)).batch(2, drop_last=True)


def blocks() -> Any:
    return plain().batch(4).enumerate()


def positions() -> Any:
    return plain().random_map(lambda x, rng: (x, int(rng.integers(1000)))).batch(3)


def lanes() -> Any:
    return (
        IterableWrapper(range(60))
        .shuffle(buffer_size=16)
        .sharding_filter()
        .filter(lambda x: x % 3)
        .flatmap(lambda x: [x, -x])
        .shuffle(buffer_size=8)
        .batch(5)
    )


def whole_stream(pipe: Any, seed: int) -> list[Any]:
    with DataLoader2(pipe, reading_service=InProcessReadingService()) as dl:
        dl.seed(seed)
        return list(dl)


@pytest.mark.parametrize("graph", [plain, batched, blocks, positions])
def test_blocks_come_in_one_order_for_any_number_of_workers(graph: Callable[[], Any]) -> None:
    expected = [whole_stream(graph(), seed) for seed in (7, 8)]
    assert expected[0] != expected[1] and sorted(map(str, expected[0]))
    for workers in (0, 1, 2, 3) if graph is positions else (0, 3):
        assert epochs(graph(), workers, 7, 8) == expected


@pytest.mark.parametrize("method", METHODS)
def test_the_order_is_the_same_for_every_start_method(method: str) -> None:
    assert epochs(blocks(), 2, 3, multiprocessing_context=method) == [whole_stream(blocks(), 3)]
    here = epochs(lanes(), 0, 3, lanes=4)
    assert epochs(lanes(), 2, 3, lanes=4, multiprocessing_context=method) == here


def test_lanes_come_in_one_order_for_any_number_of_workers() -> None:
    expected = epochs(lanes(), 0, 7, 8, lanes=4)
    flat = sorted(x for batch in expected[0] for x in batch)
    assert flat == sorted(y for x in range(60) if x % 3 for y in (x, -x))
    assert expected[0] != expected[1]
    with DataLoader2(lanes(), reading_service=InProcessReadingService(lanes=4)) as dl:
        dl.seed(7)
        assert list(dl) == expected[0]
    for workers in (1, 2, 4):
        assert epochs(lanes(), workers, 7, 8, lanes=4) == expected


def test_epochs_differ_and_seeds_repeat() -> None:
    with DataLoader2(plain().batch(4), reading_service=service(2)) as dl:
        runs = []
        for seed in (7, 8, 7):
            dl.seed(seed)
            runs.append([list(dl), list(dl)])
    assert runs[0] == runs[2] and runs[0] != runs[1]
    assert runs[0][0] != runs[0][1] and sorted(sum(runs[0][0], [])) == sorted(sum(runs[0][1], []))


@pytest.mark.parametrize("workers", [0, 2])
def test_unseeded_epochs_follow_torch(workers: int) -> None:
    import torch

    with DataLoader2(plain(), reading_service=service(workers)) as dl:
        runs = []
        for seed in (1, 2, 1):
            torch.manual_seed(seed)
            runs.append([list(dl), list(dl)])
    assert runs[0] == runs[2] and runs[0] != runs[1] and runs[0][0] != runs[0][1]


def test_random_numbers_do_not_depend_on_the_number_of_workers() -> None:
    def noisy(x: int) -> Any:
        import random
        import sys

        import numpy

        torch = sys.modules.get("torch")
        return x, random.random(), float(numpy.random.rand()), torch.rand(()).item() if torch else None

    def graph() -> Any:
        return IterableWrapper(range(30)).shuffle().sharding_filter().map(noisy).batch(4)

    one = epochs(graph(), 1, 5, 6)
    assert one[0] != one[1] and len({row[1] for batch in one[0] for row in batch}) == 30
    assert epochs(graph(), 2, 5, 6) == one and epochs(graph(), 3, 5, 6) == one
    forked = epochs(graph(), 1, 5, multiprocessing_context="fork")
    assert epochs(graph(), 3, 5, multiprocessing_context="fork") == forked
    assert [[row[:3] for row in batch] for batch in forked[0]] == [[row[:3] for row in batch] for batch in one[0]]


def test_the_order_stays_where_some_workers_are_slow() -> None:
    def slow(x: int) -> int:
        import time

        time.sleep(0.02 if x % 2 else 0)
        return x

    pipe = IterableWrapper(range(40)).sharding_filter().map(slow)
    assert epochs(pipe, 2, 0) == [list(range(40))]


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_fewer_items_than_workers(count: int) -> None:
    for graph in (
        IterableWrapper(range(count)).sharding_filter().batch(2),
        IterableWrapper(range(count)).sharding_filter().filter(lambda x: True).batch(2),
    ):
        got = epochs(graph, 3, 0, 0)
        assert got[0] == got[1] and sorted(sum(got[0], [])) == list(range(count))


# ------------------------------------------------------------------------------------------------ worker functions


def test_worker_init_and_reset_functions_get_graph_worker_and_seed() -> None:
    def init(graph: Any, info: Any) -> Any:
        return graph.map(lambda x: (x, info.worker_id, info.num_workers))

    def reset(graph: Any, info: Any, seeds: Any) -> Any:
        number = seeds.generate_seed()
        return graph.map(lambda x: (*x, number))

    pipe = IterableWrapper(range(6)).sharding_filter()
    with DataLoader2(pipe, reading_service=service(2, worker_init_fn=init, worker_reset_fn=reset)) as dl:
        runs = []
        for seed in (1, 1, 2):
            dl.seed(seed)
            runs.append(list(dl))
    assert [row[:3] for row in runs[0]] == [(i, i % 2, 2) for i in range(6)]
    assert runs[0] == runs[1] != runs[2]
    assert runs[0][0][3] != runs[0][1][3] and runs[0][0][3] == runs[0][2][3]


def test_a_map_pipe_at_the_end_is_divided() -> None:
    pipe = SequenceWrapper(list(range(11))).map(lambda x: x + 1)
    assert epochs(pipe, 3, 0) == [list(range(1, 12))]


def test_a_graph_without_a_sharding_point_is_told_so_by_name() -> None:
    pipe = IterableWrapper(range(4)).map(lambda x: x)
    with pytest.warns(UserWarning, match=r"map\(<lambda>\) at .*test_services.py:\d+ has no sharding point"):
        dl = DataLoader2(pipe, reading_service=service(2))
    with dl:
        assert sorted(dl) == sorted([*range(4), *range(4)])


class Doubler(IterDataPipe[int]):
    """A pipe as torchdata's users write them."""

    def __init__(self, source_datapipe: Any) -> None:
        self.source_datapipe = source_datapipe

    def __iter__(self) -> Any:
        for x in self.source_datapipe:
            yield 2 * x


def test_a_users_pipe_runs_in_workers() -> None:
    class Local(Doubler):
        pass

    for cls in (Doubler, Local):
        pipe = cls(IterableWrapper(range(20)).shuffle().sharding_filter()).batch(3)
        got = epochs(pipe, 2, 1, lanes=2)
        assert sorted(sum(got[0], [])) == list(range(0, 40, 2))
        assert got == epochs(pipe, 0, 1, lanes=2)


# ------------------------------------------------------------------------------------------------- memory and skew


def test_a_large_array_costs_its_size_once() -> None:
    size = 256 << 20
    data = np.ones(size // 8).reshape(-1, 1024)

    def total(row: Any) -> float:
        return float(row.sum())

    pipe = IterableWrapper(data, deepcopy=False).sharding_filter().map(total).batch(64)
    with DataLoader2(pipe, reading_service=service(4)) as dl:
        it = iter(dl)
        count = sum(len(batch) for batch in it)
        assert count == len(data)
        pids = [worker.process.pid for worker in dl._session.workers]  # type: ignore[union-attr]
        memory = [psutil.Process(pid).memory_full_info() for pid in pids]
        together = sum(m.pss for m in memory)  # a page that two workers see counts half for each
    assert together < 1.5 * size, f"the memory of 4 workers: {together >> 20} MB"


@pytest.mark.parametrize(("worker_cnt", "main_cnt", "bound"), [(1, 0, 1), (2, 3, 5), (10, 10, 20), (0, 0, 1)])
def test_how_far_a_worker_runs_ahead_is_bounded(tmp_path: Any, worker_cnt: int, main_cnt: int, bound: int) -> None:
    log = tmp_path / "made"

    def make(x: int) -> int:
        with open(log, "a") as file:
            file.write("x")
        return x

    pipe = IterableWrapper(range(200)).sharding_filter().map(make)
    options = {"worker_prefetch_cnt": worker_cnt, "main_prefetch_cnt": main_cnt}
    with DataLoader2(pipe, reading_service=service(2, **options)) as dl:
        it = iter(dl)
        for taken in (1, 20):
            for _ in range(taken):
                next(it)
            time.sleep(0.3)
            delivered = 1 if taken == 1 else 21
            made = log.stat().st_size
            assert made - delivered <= 2 * bound
            assert made - delivered >= 1 or bound == 1


@pytest.mark.parametrize(
    ("rows", "options", "bound"),
    [(100, {}, 128), (12_500, {}, 83), (50_000, {}, 20), (100, {"worker_prefetch_cnt": 11}, 21)],
)
def test_of_small_batches_a_worker_is_further_ahead(
    tmp_path: Any, rows: int, options: dict[str, int], bound: int
) -> None:
    """Up to 8 MB of them, where the counts are as by default: those of 100 kB are 83. Acks come a bundle late."""
    log = tmp_path / "made"

    def make(x: int) -> dict[str, Any]:
        with open(log, "a") as file:
            file.write("x")
        return {"x": np.full(rows, x)}

    pipe = IterableWrapper(range(400)).sharding_filter().map(make)
    with DataLoader2(pipe, reading_service=service(1, **options)) as dl:
        it = iter(dl)
        for taken in range(1, 60):
            assert int(next(it)["x"][0]) == taken - 1
        time.sleep(0.5)
        assert bound // 2 <= log.stat().st_size - 59 <= bound * 3 // 2


def test_a_filter_that_follows_the_stride_holds_a_bounded_number_of_rounds() -> None:
    pipe = IterableWrapper(range(100_000)).sharding_filter().filter(lambda x: x % 2 == 0).batch(100)
    for workers in (0, 1, 2):
        [got] = epochs(pipe, workers, 0, lanes=2)
        assert [x for batch in got for x in batch] == list(range(0, 100_000, 2))


# ------------------------------------------------------------------------------------------------------------- state


def json_state(dl: DataLoader2[Any]) -> Any:
    return json.loads(json.dumps(dl.state_dict()))


@pytest.mark.parametrize("graph", [blocks, batched, positions, lanes], ids=lambda g: g.__name__)
def test_a_state_continues_on_any_number_of_workers(graph: Callable[[], Any]) -> None:
    options: dict[str, Any] = {"lanes": 4}
    with DataLoader2(graph(), reading_service=service(2, **options)) as dl:
        dl.seed(11)
        whole, states = [], [json_state(dl)]
        for batch in dl:
            whole.append(batch)
            states.append(json_state(dl))
        after = json_state(dl)
        second = list(dl)
    # Another number of lanes than the run had: the state's own wins.
    for workers, other in ((0, {}), (1, {"lanes": 2}), (3, {})):
        with DataLoader2(graph(), reading_service=service(workers, **other)) as dl:
            for k in range(1, len(whole), 3 if workers else 1):
                dl.load_state_dict(states[k])
                assert json_state(dl) == states[k]
                assert list(dl) == whole[k:], f"from batch {k} on {workers} workers"
                if k == 1 and graph is not lanes:
                    assert list(dl) == second, "and the next epoch is the one that would have come"
    # Between two epochs, the lanes of a new epoch are those of the service that begins it.
    with DataLoader2(graph(), reading_service=service(3, **options)) as dl:
        dl.load_state_dict(states[0])
        assert [list(dl), list(dl)] == [whole, second]
        dl.load_state_dict(after)
        assert list(dl) == second, "a state behind the end begins the next epoch"


def test_every_state_of_in_process_lanes_continues_on_workers() -> None:
    with DataLoader2(lanes(), reading_service=InProcessReadingService(lanes=3)) as dl:
        dl.seed(2)
        whole, states = [], []
        for batch in dl:
            whole.append(batch)
            states.append(json_state(dl))
    with DataLoader2(lanes(), reading_service=service(2)) as dl:
        for k, state in enumerate(states[:-1]):
            dl.load_state_dict(state)
            assert list(dl) == whole[k + 1 :]


def test_a_state_of_a_state_is_the_same_epoch() -> None:
    with DataLoader2(blocks(), reading_service=service(3)) as dl:
        dl.seed(4)
        whole = list(dl)
        it = iter(DataLoader2(blocks(), reading_service=InProcessReadingService()))
        del it
        got: list[Any] = []
        dl.seed(4)
        state = None
        for workers in (1, 2, 3, 0, 2):
            with DataLoader2(blocks(), reading_service=service(workers)) as part:
                part.seed(4)
                if state is not None:
                    part.load_state_dict(state)
                got += [batch for _, batch in zip(range(2), part, strict=False)]
                state = json_state(part)
    assert got == whole[:10]


def test_seed_after_load_keeps_the_place_and_another_is_refused() -> None:
    with DataLoader2(blocks(), reading_service=service(2)) as dl:
        dl.seed(5)
        it = iter(dl)
        first = [next(it) for _ in range(3)]
        state = json_state(dl)
        rest = list(it)
    assert first
    with DataLoader2.from_state(blocks(), state, service(1)) as dl:
        dl.seed(5)
        with pytest.raises(StateError, match=r"seed 5.* seed 6"):
            dl.seed(6)
        assert list(dl) == rest
        dl.seed(6)
        assert list(dl) == whole_stream(blocks(), 6)


def test_the_tutorials_loop_resumes_between_two_epochs() -> None:
    """A checkpoint at the end of epoch 0, and the program goes on with ``dl.seed(1)``."""
    with DataLoader2(blocks(), reading_service=service(2)) as dl:
        dl.seed(0)
        list(dl)
        state = json_state(dl)
    with DataLoader2(blocks(), reading_service=service(1)) as dl:
        dl.load_state_dict(state)
        dl.seed(1)
        assert list(dl) == whole_stream(blocks(), 1)


def test_asking_for_the_state_changes_nothing() -> None:
    import torch

    def run(ask: bool) -> Any:
        torch.manual_seed(3)
        with DataLoader2(blocks()) as dl:
            result = []
            for _ in range(3):
                if ask:
                    json_state(dl)
                result.append(list(dl))
                if ask:
                    json_state(dl)
            return result

    assert run(True) == run(False)


def test_an_unseeded_state_behind_the_end_begins_the_epoch_that_would_have_come() -> None:
    with DataLoader2(blocks()) as dl:
        list(dl)
        state = json_state(dl)
        following = list(dl)
    with DataLoader2(blocks()) as dl:
        dl.load_state_dict(state)
        assert list(dl) == following


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (lambda: IterableWrapper(range(57)).sharding_filter().batch(4), "'shuffle'"),
        (lambda: plain().batch(5).enumerate(), "'batch_size': 4"),
        (lambda: plain().filter(bool).batch(4).enumerate(), "'filter'"),
    ],
)
def test_a_state_of_another_graph_is_refused_with_what_differs(other: Callable[[], Any], says: str) -> None:
    with DataLoader2(blocks()) as dl:
        next(iter(dl))
        state = json_state(dl)
    with DataLoader2(other()) as dl:
        with pytest.raises(StateError, match="another graph") as caught:
            dl.load_state_dict(state)
        assert says in str(caught.value)
        with pytest.raises(StateError):
            dl.load_state_dict({"not": "a state"})


def test_a_state_is_small_and_quick() -> None:
    with DataLoader2(lanes(), reading_service=service(2)) as dl:
        next(iter(dl))
        assert len(json.dumps(dl.state_dict())) < 4096
        began = time.perf_counter()
        for _ in range(100):
            dl.state_dict()
        assert (time.perf_counter() - began) / 100 < 2e-3


def test_a_fork_of_the_trainer_cannot_read_from_its_workers() -> None:
    with DataLoader2(plain(), reading_service=service(1)) as dl:
        it = iter(dl)
        next(it)
        pid = os.fork()
        if not pid:
            code = 1
            try:
                next(it)
            except RuntimeError:
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert len(list(it)) == 56


@pytest.mark.parametrize("behind", [lambda pipe: pipe.batch(4), lambda pipe: pipe.filter(lambda x: x % 5)])
def test_a_share_that_the_user_applied_is_divided_among_the_workers(behind: Any) -> None:
    def shares(workers: int) -> list[list[Any]]:
        found = []
        for rank in range(3):
            point = IterableWrapper(range(100)).shuffle(buffer_size=20).sharding_filter()
            point.apply_sharding(3, rank)
            with DataLoader2(behind(point), reading_service=service(workers) if workers else None) as dl:
                dl.seed(2)
                items, states = [], [json_state(dl)]
                for item in dl:
                    items.append(item)
                    states.append(json_state(dl))
                dl.load_state_dict(states[5])
                assert list(dl) == items[5:]
            found.append(items)
        return found

    one, two = shares(0), shares(2)
    flat = [x for items in two for item in items for x in (item if isinstance(item, list) else [item])]
    assert sorted(flat) == [x for x in range(100) if x in flat] and len(flat) in (80, 100)
    if len(flat) == 100:
        assert one == two, "blocks: the order of one process"
