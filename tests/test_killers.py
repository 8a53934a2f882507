"""An item that kills two workers is a bad sample like one that raises: in its own place, and nothing else moves."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from penstock import (
    BadSamples,
    DataLoader2,
    InProcessReadingService,
    IterDataPipe,
    MultiProcessingReadingService,
    SequenceWrapper,
    TooManyBadSamples,
    WorkerDied,
)
from penstock.pipes import IterableWrapper
from penstock.testing import faults

pytestmark = pytest.mark.usefixtures("no_leftovers")

SKIP = BadSamples("skip")
DEADLY = 22
Fault = Callable[[Any], Any]


def numbers() -> Any:
    return IterableWrapper(range(60)).shuffle(buffer_size=8).sharding_filter()


def elements(fault: Fault) -> Callable[[int], Iterator[int]]:
    def three(x: int) -> Iterator[int]:
        yield x
        yield fault(x) + 100
        yield x + 200

    return three


class Plain(IterDataPipe[int]):
    """A pipe of a user's, which knows nothing of bad samples."""

    def __init__(self, source: IterDataPipe[int], fault: Fault) -> None:
        self.source = source
        self.fault = fault

    def __iter__(self) -> Iterator[int]:
        for x in self.source:
            yield self.fault(x)


LANES: dict[str, Callable[[Fault], Any]] = {
    "map": lambda fault: numbers().map(fault).filter(lambda x: x % 3).batch(3),
    "filter": lambda fault: numbers().filter(lambda x: fault(x) % 3).batch(3),
    "flatmap": lambda fault: numbers().flatmap(lambda x: [fault(x), -x]).batch(3),
    "in the middle of an element": lambda fault: numbers().flatmap(elements(fault)).batch(3),
    "a second shuffle": lambda fault: numbers().map(fault).shuffle(buffer_size=5).batch(3),
    "random_map": lambda fault: numbers().random_map(lambda x, rng: (fault(x), rng.random())).filter(bool).batch(3),
    "prefetch": lambda fault: numbers().filter(lambda x: x % 5).map(fault).prefetch(4).batch(3),
    "threads": lambda fault: numbers().filter(lambda x: x % 5).threadpool_map(fault, max_workers=4).batch(3),
    "ahead of the point": lambda fault: (
        IterableWrapper(range(60)).map(fault).shuffle(buffer_size=8).sharding_filter().filter(lambda x: x % 3).batch(3)
    ),
    "dispatched": lambda fault: (
        IterableWrapper(range(60)).sharding_round_robin_dispatch().map(fault).filter(lambda x: x % 3).batch(3)
    ),
    "dispatching": lambda fault: (
        IterableWrapper(range(60)).map(fault).sharding_round_robin_dispatch().filter(lambda x: x % 3).batch(3)
    ),
}
BLOCKS: dict[str, Callable[[Fault], Any]] = {
    "map": lambda fault: numbers().map(fault).batch(3),
    "ahead of the point": lambda fault: (
        IterableWrapper(range(60)).map(fault).shuffle(buffer_size=8).sharding_filter().batch(3)
    ),
    "a dataset": lambda fault: SequenceWrapper(range(60)).map(fault).shuffle().sharding_filter().batch(3),
}
GRAPHS = {
    **{f"lanes, {name}": graph for name, graph in LANES.items()},
    **{f"blocks, {name}": graph for name, graph in BLOCKS.items()},
}


def raising(x: int) -> int:
    if x == DEADLY:
        raise ValueError("what would have killed")
    return x


def expected(graph: Callable[[Fault], Any]) -> tuple[list[Any], list[Any]]:
    """Two epochs in which the item raises."""
    with DataLoader2(graph(raising), reading_service=InProcessReadingService(lanes=3), bad_samples=SKIP) as dl:
        dl.seed(5)
        return list(dl), list(dl)


def service(**options: Any) -> MultiProcessingReadingService:
    return MultiProcessingReadingService(2, **{"lanes": 3, "max_restarts": 6, **options})


@pytest.mark.parametrize("name", GRAPHS)
def test_what_kills_two_workers_is_skipped_in_its_place(name: str) -> None:
    graph = GRAPHS[name]
    with DataLoader2(graph(faults.kill(DEADLY, times=None)), reading_service=service(), bad_samples=SKIP) as dl:
        dl.seed(5)
        for epoch in expected(graph):
            assert list(dl) == epoch
            assert dl.stats()["skipped"] == 1


@pytest.mark.parametrize("name", ["map", "filter", "in the middle of an element", "a second shuffle"])
def test_two_deaths_are_enough_and_what_is_known_to_kill_is_not_called_again(name: str) -> None:
    graph, fault = LANES[name], faults.kill(DEADLY, times=None)
    near = service(lanes=2, worker_prefetch_cnt=1, main_prefetch_cnt=0)
    with DataLoader2(graph(fault), reading_service=near, bad_samples=SKIP) as dl:
        dl.seed(5)
        found = []
        for number, batch in enumerate(dl):
            found.append(batch)
            if dl.stats()["skipped"] and number % 2 == 0 and dl.stats()["restarts"] < 5:
                for worker in dl._session.workers:  # type: ignore[union-attr]
                    with suppress(ProcessLookupError):  # it has been told to end already
                        os.kill(worker.process.pid, signal.SIGKILL)
        assert dl.stats()["restarts"] > fault.count and dl.stats()["skipped"] == 1
    assert fault.count in (2, 3), "one more where its first victim had items on their way"
    with DataLoader2(graph(raising), reading_service=InProcessReadingService(lanes=2), bad_samples=SKIP) as dl:
        dl.seed(5)
        assert found == list(dl)


@pytest.mark.parametrize("name", ["map", "flatmap", "in the middle of an element", "a second shuffle"])
def test_a_state_goes_on_wherever_the_item_is(name: str) -> None:
    graph = LANES[name]
    whole = expected(graph)[0]
    with DataLoader2(graph(faults.kill(DEADLY, times=None)), reading_service=service(), bad_samples=SKIP) as dl:
        dl.seed(5)
        states = [json.loads(json.dumps(dl.state_dict())) for _ in dl]
        for i in range(0, len(states), 5):
            dl.load_state_dict(states[i])
            assert list(dl) == whole[i + 1 :]
            assert dl.stats()["skipped"] == 1


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_with_each_start_method(method: str) -> None:
    graph, fault = LANES["filter"], faults.kill(DEADLY, times=None)
    policy = BadSamples("skip", retries=2, retry_on=(Exception,))
    with DataLoader2(graph(fault), reading_service=service(multiprocessing_context=method), bad_samples=policy) as dl:
        dl.seed(5)
        assert list(dl) == expected(graph)[0]
        assert (dl.stats()["skipped"], dl.stats()["retried"]) == (1, 0)


def test_an_item_that_hangs_twice_is_skipped_as_well() -> None:
    fault = faults.hang(DEADLY, times=None)
    graph = LANES["map"]
    with DataLoader2(graph(fault), reading_service=service(worker_timeout_s=0.7), bad_samples=SKIP) as dl:
        dl.seed(5)
        assert list(dl) == expected(graph)[0]
        assert dl.stats()["skipped"] == 1


def test_it_counts_and_is_written_down_like_any_other(tmp_path: Path) -> None:
    letters = tmp_path / "bad.jsonl"
    fault = faults.kill(lambda x: x in (7, 22), times=None)
    graph = numbers().map(fault, name="decode").filter(lambda x: x % 3).batch(3)
    policy = BadSamples("skip", limit=2, dead_letter=str(letters))
    with DataLoader2(graph, reading_service=service(), bad_samples=policy) as dl:
        list(dl)
        assert dl.stats()["skipped"] == 2
    lost = sorted(map(json.loads, letters.read_text().splitlines()), key=lambda letter: letter["source"])
    assert [letter["source"] for letter in lost] == [7, 22]
    assert all(letter["place"]["pipe"] == "decode" and "lane" in letter["place"] for letter in lost)
    assert all("SIGKILL); it was in pipe 'decode'" in letter["error"] for letter in lost)
    with (
        DataLoader2(graph, reading_service=service(), bad_samples=BadSamples("skip", limit=1)) as dl,
        pytest.raises(TooManyBadSamples, match="2 of .* samples were bad"),
    ):
        list(dl)


def test_a_class_of_the_users_is_recognised() -> None:
    class Sample:
        def __init__(self, number: int) -> None:
            self.number = number

    fault = faults.kill(lambda sample: sample.number == DEADLY, times=None)
    graph = IterableWrapper(range(40)).sharding_filter().map(Sample).filter(bool).map(fault).map(lambda s: s.number)
    with DataLoader2(graph, reading_service=service(), bad_samples=SKIP) as dl:
        assert sorted(dl) == [x for x in range(40) if x != DEADLY]


@pytest.mark.parametrize("policy", [None, SKIP, BadSamples("skip")], ids=["raise", "one too many", "unknown"])
def test_the_worker_is_named_where_it_is_not_skipped(policy: BadSamples | None, request: Any) -> None:
    fault = faults.kill(DEADLY, times=None)
    graph, options = numbers().map(fault).filter(lambda x: True), {}
    if "one too many" in request.node.name:
        options["max_restarts"] = 1
    if "unknown" in request.node.name:
        graph = Plain(numbers(), fault)
    with (
        DataLoader2(graph, reading_service=service(**options), bad_samples=policy) as dl,
        pytest.raises(WorkerDied, match="SIGKILL"),
    ):
        list(dl)


def test_a_batch_of_blocks_is_left_out_where_nobody_knows_what_kills_in_it() -> None:
    class OneToOne(Plain):
        arity = 1

    graph = OneToOne(IterableWrapper(range(24)).sharding_filter(), faults.kill(10, times=None)).batch(3)
    with DataLoader2(graph, reading_service=service(), bad_samples=SKIP) as dl:
        assert list(dl) == [[x, x + 1, x + 2] for x in range(0, 24, 3) if x != 9]
        assert dl.stats()["skipped"] == 1


@pytest.mark.parametrize("policy", [None, SKIP], ids=["raise", "skip"])
def test_three_deaths_are_enough_however_many_items_the_first_one_had_on_their_way(policy: BadSamples | None) -> None:
    fault = faults.kill(60, times=None)
    graph = IterableWrapper(range(100)).sharding_filter().filter(lambda x: True).map(fault)
    with DataLoader2(graph, reading_service=service(max_restarts=3, worker_prefetch_cnt=40), bad_samples=policy) as dl:
        if policy is None:
            with pytest.raises(WorkerDied, match="it died there again") as caught:
                list(dl)
            assert not any("max_restarts" in note for note in getattr(caught.value, "__notes__", ()))
        else:
            assert sorted(dl) == [x for x in range(100) if x != 60]
            assert fault.count <= 3
