"""Samples that fail: skipped in their place, retried, counted, written down, on every service."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock import (
    BadSamples,
    DataLoader2,
    DistributedReadingService,
    InProcessReadingService,
    MultiProcessingReadingService,
    SequenceWrapper,
    SequentialReadingService,
    StateError,
    ThreadingReadingService,
    TooManyBadSamples,
)
from penstock.pipes import IterableWrapper
from penstock.testing import faults
from ranks import ranks
from running import trip

SKIP = BadSamples("skip")
BAD = {3, 4, 5, 17, 40}
SERVICES: dict[str, Callable[[], Any]] = {
    "in process": InProcessReadingService,
    "in process, ahead": lambda: InProcessReadingService(prefetch_cnt=3),
    "processes": lambda: MultiProcessingReadingService(2, lanes=3),
    "three processes": lambda: MultiProcessingReadingService(3, lanes=3),
    "threads": lambda: ThreadingReadingService(2, lanes=3),
}


def load(x: Any) -> Any:
    if x in BAD:
        raise ValueError(f"no sample {x}")
    return x


def numbers(size: int = 60) -> Any:
    return IterableWrapper(range(size)).shuffle(buffer_size=8).sharding_filter()


GRAPHS: dict[str, Callable[[], Any]] = {
    "map": lambda: numbers().map(load).batch(3),
    "map, ahead of the point": lambda: (
        IterableWrapper(range(60)).map(load).shuffle(buffer_size=8).sharding_filter().batch(3)
    ),
    "map, prefetch, collate": lambda: numbers().map(load).prefetch(4).batch(3).collate(list),
    "threadpool_map": lambda: numbers().threadpool_map(load).enumerate().batch(3),
    "random_map": lambda: numbers().random_map(lambda x, rng: (load(x), rng.random())).batch(3),
    "a dataset": lambda: SequenceWrapper(range(60)).map(load).shuffle().sharding_filter().batch(3),
    "batches of batches": lambda: numbers().map(load).batch(3).batch(2),
    "in_batch_shuffle": lambda: numbers().map(load).batch(3).in_batch_shuffle(),
    "dispatch": lambda: IterableWrapper(range(60)).map(load).sharding_round_robin_dispatch().batch(3),
    # Lanes from here on.
    "filter": lambda: numbers().filter(lambda x: load(x) % 2).batch(3),
    "flatmap": lambda: numbers().flatmap(lambda x: [x, load(x)]).batch(3),
    "a second shuffle": lambda: numbers().map(load).shuffle(buffer_size=5).batch(3),
    "zip": lambda: numbers().map(load).zip(numbers().map(lambda x: -x)).batch(3),
    "random_filter": lambda: (
        numbers().random_filter(lambda x, rng: load(x) is not None and rng.random() < 0.8).batch(3)
    ),
    "unbatch": lambda: numbers().map(load).batch(3).unbatch(),
    "async": lambda: numbers().async_map_batches(aload, 4).batch(3),
    "a pipe of the user's": lambda: numbers().map(load).header(100).batch(3),
}
SERIAL = ("filter", "flatmap", "a second shuffle", "zip", "random_filter", "unbatch", "async", "a pipe of the user's")


async def aload(x: Any) -> Any:
    return load(x)


def values(batches: Any) -> list[Any]:
    """All values in nested batches."""
    return [x for batch in batches for x in (values(batch) if isinstance(batch, list) else [batch])]


def run(graph: Any, service: Any, policy: BadSamples = SKIP) -> tuple[list[Any], int]:
    with DataLoader2(graph, reading_service=service, bad_samples=policy) as dl:
        dl.seed(5)
        return list(dl), dl.stats()["skipped"]


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.usefixtures("no_leftovers")
def test_a_skipped_sample_moves_nothing_else_on_any_service(graph: str) -> None:
    expected = run(GRAPHS[graph](), InProcessReadingService(lanes=3))
    assert expected[1] == len(BAD)
    for name, service in SERVICES.items():
        if graph in SERIAL and name.startswith("in process"):
            continue  # of one lane
        assert run(GRAPHS[graph](), service()) == expected, name


def test_the_batch_of_a_skipped_sample_is_shorter_and_no_other_changes() -> None:
    with DataLoader2(numbers().batch(3)) as dl:
        dl.seed(5)
        whole = [[x for x in batch if x not in BAD] for batch in dl]
    found, skipped = run(numbers().map(load).batch(3), MultiProcessingReadingService(2))
    assert found == [batch for batch in whole if batch] and skipped == len(BAD)


def test_a_batch_that_loses_all_is_left_out() -> None:
    pipe = IterableWrapper(range(9)).sharding_filter().map(load).batch(3)
    for service in (InProcessReadingService(), MultiProcessingReadingService(2)):
        assert run(pipe, service) == ([[0, 1, 2], [6, 7, 8]], 3)


def test_an_error_is_raised_without_a_policy() -> None:
    for policy in (None, BadSamples(), BadSamples("raise", retries=2, backoff_s=0)):
        with DataLoader2(numbers().map(load), bad_samples=policy) as dl, pytest.raises(ValueError, match="no sample"):
            list(dl)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("limit", [5, 4, 0.1, 0.05, 1.0, None])
def test_a_limit_as_a_count_or_a_share(limit: float | None, workers: int) -> None:
    service = MultiProcessingReadingService(workers) if workers else None
    with DataLoader2(
        numbers().map(load).batch(2), reading_service=service, bad_samples=BadSamples("skip", limit)
    ) as dl:
        if limit in (4, 0.05):
            with pytest.raises(TooManyBadSamples, match=r"5 of \d+ samples were bad"):
                list(dl)
        else:
            for _ in range(2):  # the limit is each epoch's
                assert len(values(dl)) == 55


def test_input_and_output_is_retried_with_more_and_more_time_between() -> None:
    tries: dict[int, int] = {}
    slept: list[float] = []

    def flaky(x: int) -> int:
        tries[x] = tries.get(x, 0) + 1
        if x == 1 and tries[x] < 3:
            raise ConnectionResetError("again")
        if x == 2:
            raise TimeoutError("never")
        if x == 3:
            raise ValueError("no matter of waiting")
        return x

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("penstock.core.bad.time.sleep", slept.append)
        policy = BadSamples("skip", retries=3, backoff_s=0.5)
        with DataLoader2(IterableWrapper(range(5)).map(flaky), bad_samples=policy) as dl:
            assert list(dl) == [0, 1, 4]
            assert dl.stats()["skipped"] == 2 and dl.stats()["retried"] == 2 + 3
    assert tries == {0: 1, 1: 3, 2: 4, 3: 1, 4: 1} and slept == [0.5, 1, 0.5, 1, 2]


@pytest.mark.parametrize("name", ["parse_jsonl", "parse_csv_as_dict", "load_from_tar", "missing"])
def test_files_and_records_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    for i in range(4):
        with open(tmp_path / f"{i}", "w") as file:
            if name == "parse_jsonl":
                file.write("".join(f'{{"x": {10 * i + j}}}\n' if (i, j) != (1, 2) else "{torn\n" for j in range(5)))
            else:
                file.write("a,b\n" + "".join(f"{10 * i + j},1\n" if (i, j) != (1, 2) else "7\n" for j in range(5)))
    paths = [str(tmp_path / f"{i}") for i in range(4)]
    if name == "missing":
        os.remove(paths[2])
    opened = IterableWrapper(paths).sharding_filter().open_files("rb")
    pipe = {
        "parse_jsonl": lambda: opened.parse_jsonl().map(lambda row: row["x"]),
        "missing": lambda: opened.parse_csv_as_dict().map(lambda row: int(row["a"])),
        "parse_csv_as_dict": lambda: opened.parse_csv_as_dict().map(lambda row: int(row["a"])),
        "load_from_tar": lambda: opened.load_from_tar(),
    }[name]()
    letters = tmp_path / "letters.jsonl"
    policy = BadSamples("skip", dead_letter=str(letters))
    whole = [10 * i + j for i in range(4) for j in range(5)]
    for service in (InProcessReadingService(), MultiProcessingReadingService(2, lanes=2)):
        letters.unlink(missing_ok=True)
        found, skipped = run(pipe, service, policy)
        told = [json.loads(line) for line in letters.read_text().splitlines()]
        assert len(told) == skipped
        if name == "missing":
            assert sorted(found) == [x for x in whole if x // 10 != 2 and x != 12] and skipped == 2
            assert any(letter["source"] == paths[2] and "FileNotFoundError" in letter["error"] for letter in told)
        elif name == "load_from_tar":
            assert found == [] and sorted(letter["source"] for letter in told) == paths
        else:
            assert sorted(found) == [x for x in whole if x != 12] and skipped == 1
            assert paths[1] in told[0]["error"] and "line" in told[0]["error"]
        assert all(letter["place"]["epoch"] == 0 and letter["place"]["rank"] == 0 for letter in told)


def test_dead_letters_are_a_source(tmp_path: Path) -> None:
    letters = str(tmp_path / "letters.jsonl")
    run(numbers().map(load).batch(3), MultiProcessingReadingService(2), BadSamples("skip", dead_letter=letters))
    again = IterableWrapper([letters]).open_files().parse_jsonl().map(lambda letter: letter["source"])
    assert sorted(again) == sorted(BAD)
    with DataLoader2(again.map(lambda x: -x)) as dl:
        assert sorted(dl) == sorted(-x for x in BAD)


@pytest.mark.parametrize(
    "graph", ["map", "map, prefetch, collate", "a second shuffle", "flatmap", "unbatch", "a pipe of the user's"]
)
@pytest.mark.parametrize("service", ["processes", "threads"])
def test_counters_and_items_are_right_behind_a_resume(graph: str, service: str) -> None:
    expected, skipped = run(GRAPHS[graph](), SERVICES[service]())
    for stop in range(1, len(expected), max(8, len(expected) // 6)):
        with DataLoader2(GRAPHS[graph](), reading_service=SERVICES[service](), bad_samples=SKIP) as dl:
            dl.seed(5)
            it = iter(dl)
            head = [next(it) for _ in range(stop)]
            state = trip(dl.state_dict())
        with DataLoader2(GRAPHS[graph](), reading_service=MultiProcessingReadingService(3), bad_samples=SKIP) as dl:
            dl.load_state_dict(state)
            assert head + list(dl) == expected
            assert dl.stats()["skipped"] == skipped


@pytest.mark.usefixtures("no_leftovers")
def test_counters_are_right_behind_a_replacement() -> None:
    graph = numbers(400).map(load).batch(3)
    expected = run(graph, None)[0]
    with DataLoader2(graph, reading_service=MultiProcessingReadingService(2), bad_samples=SKIP) as dl:
        dl.seed(5)
        found = []
        for i, batch in enumerate(dl):
            found.append(batch)
            if i in (1, 40):
                os.kill(dl._session.workers[i % 2].process.pid, signal.SIGKILL)  # type: ignore[union-attr]
        assert found == expected
        assert dl.stats()["skipped"] == len(BAD) and dl.stats()["restarts"] >= 1


def test_ranks_take_equal_steps_with_the_last_batch_again_where_one_is_lost() -> None:
    def of_rank(rank: int, limit: int | None) -> Any:
        pipe = IterableWrapper(range(36)).sharding_filter().map(load).batch(3)
        service = SequentialReadingService(DistributedReadingService(timeout=20), MultiProcessingReadingService(2))
        seen = []
        with DataLoader2(pipe, reading_service=service, bad_samples=BadSamples("skip", limit)) as dl:
            try:
                for batch in dl:
                    seen.append((batch, dl.is_padding))
            except Exception as error:
                return len(seen), f"{type(error).__name__}: {error}"
            return seen, dl.stats()["skipped"]

    (first, lost_first), (second, lost_second) = ranks.values(2, of_rank, None)
    assert (lost_first, lost_second) == (0, 4), "3, 4 and 5 are a batch of rank 1, and so is 17's"
    assert first == [([6 * i, 6 * i + 1, 6 * i + 2], False) for i in range(6)]
    assert second[0] == ([9, 10, 11], True), "the first batch is lost, so the next one is given twice"
    assert second[1] == ([9, 10, 11], False) and second[2] == ([15, 16], False)
    assert [padding for _, padding in second] == [True] + [False] * 5
    healthy, full = ranks.values(2, of_rank, 3)
    assert full[0] == healthy[0] and "TooManyBadSamples" in full[1] and "rank 1 failed" in healthy[1]


def test_ranks_go_on_in_step_where_a_sample_kills_two_workers() -> None:
    def of_rank(rank: int) -> Any:
        fault = faults.kill(22, times=None)
        graph = IterableWrapper(range(60)).sharding_filter().filter(lambda x: True).map(fault)
        inner = MultiProcessingReadingService(2, lanes=4)
        of_ranks = SequentialReadingService(DistributedReadingService(timeout=20), inner)
        with DataLoader2(graph, reading_service=of_ranks, bad_samples=SKIP) as dl:
            return list(dl), dl.stats()["skipped"]

    (first, lost_first), (second, lost_second) = ranks.values(2, of_rank)
    assert (lost_first, lost_second) == (1, 0) and len(first) == len(second)
    assert 22 not in first and sorted({*first, *second}) == [x for x in range(60) if x != 22]


def test_what_is_wrong_with_the_program_is_raised() -> None:
    with (
        DataLoader2(
            IterableWrapper(range(3)).map(lambda x: StateError("mine") if x else x).map(_raise), bad_samples=SKIP
        ) as dl,
        pytest.raises(StateError, match="mine"),
    ):
        list(dl)
    for wrong in ({"action": "hide"}, {"limit": -1}, {"limit": 1.5}, {"retries": -1}, {"backoff_s": -0.1}):
        with pytest.raises(ValueError, match=r"action|negative"):
            BadSamples(**wrong)  # type: ignore[arg-type]


def _raise(x: Any) -> Any:
    if isinstance(x, Exception):
        raise x
    return x


def test_a_share_of_the_samples_is_one_of_samples_also_under_ranks_and_behind_a_resume() -> None:
    def of_rank(rank: int) -> Any:
        pipe = IterableWrapper(range(40_000)).sharding_filter().map(lambda x: 1 // (x % 200)).batch(32)
        policy = BadSamples("skip", limit=0.01)
        seen = 0
        with DataLoader2(pipe, reading_service=DistributedReadingService(timeout=20), bad_samples=policy) as dl:
            for number, batch in enumerate(dl):
                seen += len(batch)
                if number == 300:
                    state = trip(dl.state_dict())
            whole = dl.stats()["skipped"]
            dl.load_state_dict(state)
            for _ in dl:
                pass
            return seen, whole, dl.stats()["skipped"]

    (one, skipped, again), (other, skipped_there, again_there) = ranks.values(2, of_rank)
    assert one + skipped == other + skipped_there == 20_000 and skipped + skipped_there == 200
    assert (again, again_there) == (skipped, skipped_there)
