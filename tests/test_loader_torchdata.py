"""DataLoader2 as torchdata 0.7 programs use it: limits, pauses, adapters, states, and seeds by torch.manual_seed."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from penstock import DataLoader2, InProcessReadingService, IterableWrapper, MultiProcessingReadingService, StateError
from penstock.graph import find
from penstock.loader2.adapter import CacheTimeout, Shuffle
from penstock.pipes import Shuffler
from penstock.pipes.map import SequenceWrapper
from penstock.reading_service import PrototypeMultiProcessingReadingService

pytestmark = pytest.mark.usefixtures("no_leftovers")
SIZE = 23


def plain() -> Any:
    return IterableWrapper(range(SIZE)).shuffle(buffer_size=7).sharding_filter().map(lambda x: -x)


def prefetching() -> Any:
    return plain().prefetch(3).prefetch(2)


def workers(prefetch: int) -> Any:
    return MultiProcessingReadingService(2, worker_prefetch_cnt=prefetch, main_prefetch_cnt=prefetch)


SERVICES: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "in process": InProcessReadingService,
    "in process, ahead": lambda: InProcessReadingService(10),
    "workers 0": lambda: workers(0),
    "workers 2": lambda: workers(2),
    "workers 10": lambda: workers(10),
}
CASES = pytest.mark.parametrize(
    ("graph", "service"),
    [(g, s) for g in (plain, prefetching) for s in SERVICES],
    ids=lambda v: getattr(v, "__name__", v),
)
FEW = pytest.mark.parametrize("service", ["none", "in process, ahead", "workers 2"])


def loader(graph: Callable[[], Any], service: str, seed: int | None = 1) -> DataLoader2[Any]:
    dl: DataLoader2[Any] = DataLoader2(graph(), reading_service=SERVICES[service]())
    if seed is not None:
        dl.seed(seed)
    return dl


def expected(graph: Callable[[], Any], seed: int = 1) -> list[Any]:
    with loader(graph, "none", seed) as dl:
        return list(dl)


def trip(state: Any) -> Any:
    return json.loads(json.dumps(state, allow_nan=False))


# ---------------------------------------------------------------------------------------------- limits and pauses


@CASES
def test_a_limit_stops_and_resume_goes_on_with_the_same_limit(graph: Callable[[], Any], service: str) -> None:
    rows = expected(graph)
    with loader(graph, service) as dl:
        it = iter(dl)
        it.limit(3)
        assert list(it) == rows[:3]
        assert list(it) == [], "it stays where it is"
        it.resume()
        assert list(it) == rows[3:6]
        it.limit(5)  # ahead of resume
        assert list(it) == []
        it.resume()
        assert list(it) == rows[6:11]
        it.resume()
        it.limit(2)  # behind it
        assert list(it) == rows[11:13]
        it.limit(None)
        it.resume()
        assert list(it) == rows[13:]
        assert len(list(dl)) == SIZE, "the limit was the iterator's"


@CASES
def test_a_pause_stops_until_resume(graph: Callable[[], Any], service: str) -> None:
    rows = expected(graph)
    with loader(graph, service) as dl:
        it = iter(dl)
        head = [next(it) for _ in range(4)]
        it._pause()
        assert list(it) == []
        it._resume()
        head.append(next(it))
        dl._pause()
        with pytest.raises(StopIteration):
            next(it)
        it.resume()
        assert head + list(it) == rows


@FEW
def test_what_is_limited_or_paused_can_be_saved(service: str) -> None:
    rows = expected(plain)
    with loader(plain, service) as dl:
        it = iter(dl)
        it.limit(5)
        assert list(it) == rows[:5]
        limited = trip(dl.state_dict())
        it.limit(None)
        it.resume()
        next(it)
        it._pause()
        paused = trip(dl.state_dict())
    for state, rest in ((limited, rows[5:]), (paused, rows[6:])):
        with loader(plain, service, None) as dl:
            dl.load_state_dict(state)
            assert list(dl) == rest


def test_a_limit_counts_from_where_it_is_set() -> None:
    with DataLoader2(IterableWrapper(range(9))) as dl:
        it = iter(dl)
        it.limit(3)
        assert [next(it), next(it)] == [0, 1]
        it.limit(3)
        assert list(it) == [2, 3, 4]
        it.resume()
        assert [next(it) for _ in range(3)] == [5, 6, 7], "to the limit, and not asked for more"
        it.resume()
        assert list(it) == [8]


def test_a_limit_of_nothing_gives_nothing_and_a_negative_one_is_refused() -> None:
    with DataLoader2(IterableWrapper(range(9))) as dl:
        it = iter(dl)
        it.limit(0)
        assert list(it) == []
        with pytest.raises(ValueError, match="-1"):
            it.limit(-1)


def test_resuming_what_was_not_held_up_brings_a_warning() -> None:
    with DataLoader2(IterableWrapper(range(3))) as dl:
        it = iter(dl)
        with pytest.warns(UserWarning, match="Resume is called when `DataLoader2` is not paused"):
            it.resume()
        with pytest.warns(UserWarning, match="Resume is called when `DataLoader2` is not paused"):
            dl._resume()
        assert list(it) == [0, 1, 2]


def test_a_new_epoch_is_not_paused() -> None:
    with DataLoader2(IterableWrapper(range(3))) as dl:
        it = iter(dl)
        it._pause()
        assert list(it) == []
        assert list(dl) == [0, 1, 2]


def test_attributes_of_the_iterator_are_the_graphs() -> None:
    with DataLoader2(IterableWrapper(range(3)).batch(2)) as dl:
        it = iter(dl)
        assert it.batch_size == 2 == dl.batch_size
        for name in ("nothing", "_nothing"):
            with pytest.raises(AttributeError, match=name):
                getattr(it, name)


# ---------------------------------------------------------------------------------------------- the in-process service


def test_the_in_process_service_calls_its_functions() -> None:
    calls: list[Any] = []

    def init(graph: Any, info: Any) -> Any:
        calls.append(("init", info.num_workers, info.worker_id))
        return graph.map(lambda x: 2 * x)

    def reset(graph: Any, info: Any, seeds: Any) -> Any:
        calls.append(("reset", info.num_workers, info.worker_id))
        number = seeds.generate_seed()
        return graph.map(lambda x: (x, number))

    with DataLoader2(IterableWrapper(range(3)), reading_service=InProcessReadingService(0, init, reset)) as dl:
        dl.seed(1)
        first, second = list(dl), list(dl)
        dl.seed(1)
        assert list(dl) == first
    assert [x for x, _ in first] == [0, 2, 4] == [x for x, _ in second]
    assert first[0][1] != second[0][1]
    assert calls == [("init", 1, 0), *[("reset", 1, 0)] * 3]


def test_functions_that_change_the_graph_in_place_leave_the_users_as_it_is() -> None:
    def off(graph: Any, *_: Any) -> None:
        graph.set_shuffle(False)

    pipe = IterableWrapper(range(9)).shuffle()
    with DataLoader2(pipe, reading_service=InProcessReadingService(init_fn=off)) as dl:
        assert list(dl) == list(range(9))
    with DataLoader2(pipe, reading_service=InProcessReadingService(reset_fn=off)) as dl:
        assert list(dl) == list(range(9))
    assert pipe._enabled


@pytest.mark.parametrize("lanes", [None, 3])
def test_working_ahead_keeps_the_place_exact(lanes: int | None) -> None:
    def graph() -> Any:
        return IterableWrapper(range(20)).shuffle(buffer_size=6).sharding_filter().filter(lambda x: x % 3)

    def service(ahead: int) -> Any:
        return InProcessReadingService(ahead, lanes=lanes)

    with DataLoader2(graph(), reading_service=service(0)) as dl:
        dl.seed(4)
        rows = list(dl)
    for stop in range(len(rows) + 1):
        with DataLoader2(graph(), reading_service=service(4)) as dl:
            dl.seed(4)
            head = list(itertools.islice(iter(dl), stop))
            state = trip(dl.state_dict())
        for ahead in (0, 4):  # the state does not depend on it
            with DataLoader2(graph(), reading_service=service(ahead)) as dl:
                dl.load_state_dict(state)
                assert head + list(dl) == rows


def test_working_ahead_works_ahead_but_not_further() -> None:
    import time

    taken: list[int] = []
    pipe = IterableWrapper(range(100)).map(lambda x: taken.append(x) or x)  # type: ignore[func-returns-value]  # None
    with DataLoader2(pipe, reading_service=InProcessReadingService(5)) as dl:
        next(iter_ := iter(dl))
        until = time.monotonic() + 2
        while len(taken) < 6 and time.monotonic() < until:
            time.sleep(0.005)
        assert 6 <= len(taken) <= 7
        del iter_


@pytest.mark.parametrize("arguments", [(-1,), (0, None, None, 3)])
def test_arguments_of_the_in_process_service_are_checked(arguments: tuple[Any, ...]) -> None:
    with pytest.raises((ValueError, TypeError)):
        InProcessReadingService(*arguments)


@pytest.mark.parametrize("which", ["init_fn", "reset_fn"])
def test_a_function_that_raises_is_named_and_the_epoch_is_still_to_come(which: str) -> None:
    failures = iter([True])

    def fail(graph: Any, *_: Any) -> None:
        if next(failures, False):
            raise LookupError("no GPU")

    service = InProcessReadingService(**{which: fail})
    with DataLoader2(plain(), reading_service=service) as dl:
        dl.seed(1)
        with pytest.raises(LookupError, match="no GPU") as caught:
            list(dl)
        assert caught.value.__notes__ == [f"penstock: in {which}"]
        assert list(dl) == expected(plain)


def test_the_former_name_of_the_service_works_with_a_warning() -> None:
    with pytest.warns(FutureWarning, match="MultiProcessingReadingService"):
        service = PrototypeMultiProcessingReadingService(2, "fork")
    assert isinstance(service, MultiProcessingReadingService) and service.num_workers == 2
    with DataLoader2(IterableWrapper(range(5)).sharding_filter(), reading_service=service) as dl:
        assert list(dl) == list(range(5))


# ------------------------------------------------------------------------------------------------------------ adapters


def test_shuffle_switches_every_shuffle_and_leaves_the_users_graph() -> None:
    pipe = IterableWrapper(range(30)).shuffle().map(lambda x: x).shuffle()
    with DataLoader2(pipe, Shuffle(False)) as dl:
        assert list(dl) == list(range(30))
    assert all(shuffle._enabled for shuffle in find(pipe, Shuffler))
    off = Shuffle(False)(pipe)
    with DataLoader2(off, Shuffle()) as dl:
        rows = list(dl)
        assert rows != list(range(30)) and sorted(rows) == list(range(30))
    with DataLoader2(off, Shuffle(None)) as dl:
        assert list(dl) == list(range(30)), "as it is"
    assert Shuffle(None)(pipe) is pipe


@pytest.mark.parametrize("source", [IterableWrapper, SequenceWrapper])
def test_shuffle_appends_one_where_there_is_none_and_says_so(source: Any) -> None:
    pipe = source(range(30))
    phrase = "`shuffle=True` was set, but the datapipe does not contain a `Shuffler`"
    with pytest.warns(UserWarning, match=phrase):
        dl = DataLoader2(pipe, Shuffle(True))
    with dl:
        rows = list(dl)
        assert rows != list(range(30)) and sorted(rows) == list(range(30))
    with DataLoader2(pipe, Shuffle(False)) as dl:
        assert list(dl) == list(range(30))


def test_cache_timeout_sets_that_of_every_cache(tmp_path: Any) -> None:
    def cached(source: Any, number: int) -> Any:
        cache = source.on_disk_cache(filepath_fn=lambda x: str(tmp_path / f"{number}{len(str(x))}"))
        return cache.map(lambda x: (x, b"")).end_caching(filepath_fn=lambda x: str(tmp_path / f"{number}{len(str(x))}"))

    pipe = cached(cached(IterableWrapper(["a"]), 1), 2)
    with DataLoader2(pipe, [CacheTimeout(7), Shuffle(False)]) as dl:
        assert dl.datapipe.timeout == 7
        assert [p.timeout for p in find(dl.datapipe, type(pipe))] == [7, 7]
    assert [p.timeout for p in find(pipe, type(pipe))] == [300, 300]
    for timeout in (None, 0, -1):
        with pytest.raises(ValueError, match="timeout must be"):
            CacheTimeout(timeout)


def test_adapters_are_applied_once_in_order() -> None:
    calls: list[str] = []

    def adapter(name: str) -> Callable[[Any], Any]:
        return lambda graph: (calls.append(name), graph.map(lambda x: x + name))[1]

    with DataLoader2(IterableWrapper(["x"]), [adapter("a"), adapter("b")]) as dl:
        assert list(dl) == ["xab"] == list(dl)
        dl.load_state_dict(dl.state_dict())
        assert list(dl) == ["xab"]
    assert calls == ["a", "b"]


# ------------------------------------------------------------------------------------------------------------- states


def test_a_loader_without_a_graph_says_what_to_do() -> None:
    with pytest.raises(TypeError, match=r"make the graph again.*load_state_dict"):
        DataLoader2(None)


def test_from_state_needs_the_graph() -> None:
    with loader(plain, "none") as dl:
        it = iter(dl)
        next(it)
        state, rest = trip(dl.state_dict()), list(it)
    for arguments in ((state,), (state, InProcessReadingService()), (state, None)):
        with pytest.raises(TypeError, match="holds no pickled graph"):
            DataLoader2.from_state(*arguments)
    with DataLoader2.from_state(plain(), state, workers(2)) as dl:
        assert list(dl) == rest
    with pytest.raises(StateError):
        DataLoader2.from_state(plain().batch(2), state)


@FEW
@pytest.mark.parametrize("seeded", [True, False])
def test_the_beginning_of_the_epoch_can_be_restored(service: str, seeded: bool) -> None:
    with loader(plain, service, 1 if seeded else None) as dl:
        list(dl)
        it = iter(dl)
        head = [next(it) for _ in range(5)]
        state = trip(dl.state_dict())
        rows = head + list(it)
        dl._restore_checkpoint_beginning_of_epoch()
        assert list(dl) == rows, "the epoch that has just ended"
        it = iter(dl)
        third = [next(it)]
        dl._restore_checkpoint_beginning_of_epoch()
        again = list(dl)
        assert again[:1] == third and again != rows, "the running one"
    with loader(plain, service, None) as dl:
        dl.load_state_dict(state)
        dl._restore_checkpoint_beginning_of_epoch()
        assert dl.state_dict()["delivered"] == 0
        assert list(dl) == rows, "that of a state"
        if seeded:
            assert list(dl) == again, "and the next one comes next"


# --------------------------------------------------------------------------------------------- by torch.manual_seed


@pytest.mark.parametrize("service", ["none", "in process, ahead", "workers 2"])
def test_manual_seed_repeats_the_order_of_an_unseeded_epoch(service: str) -> None:
    with loader(plain, service, None) as dl:
        runs = []
        for seed in (123, 321, 123):
            torch.manual_seed(seed)
            runs.append(list(dl))
    assert runs[0] == runs[2] != runs[1]


@pytest.mark.parametrize("batch", [False, True], ids=["items", "batches"])
def test_manual_seed_repeats_the_random_numbers_of_workers(batch: bool) -> None:
    def draw(x: int) -> tuple[int, float, float, float]:
        return x, random.random(), float(np.random.rand()), float(torch.rand(()))

    pipe: Any = IterableWrapper(range(SIZE)).shuffle().sharding_filter().map(draw)
    if batch:
        pipe = pipe.batch(4)
    with DataLoader2(pipe, reading_service=workers(2)) as dl:
        runs = []
        for seed in (123, 321, 123):
            torch.manual_seed(seed)
            random.seed(seed)  # has no part in it
            runs.append([tuple(row) for row in dl])
    assert runs[0] == runs[2] != runs[1]
    rows = list(itertools.chain.from_iterable(runs[0])) if batch else runs[0]
    assert all(len({row[place] for row in rows}) > SIZE // 2 for place in (1, 2, 3))


def test_manual_seed_repeats_the_random_numbers_of_functions_in_process() -> None:
    def draws() -> Iterator[Any]:
        pipe: Any = IterableWrapper(range(5)).shuffle().map(lambda x: (x, float(torch.rand(()))))
        with DataLoader2(pipe) as dl:
            yield from dl

    runs = []
    for seed in (123, 321, 123):
        torch.manual_seed(seed)
        runs.append(list(draws()))
    assert runs[0] == runs[2] != runs[1]
