"""Pipes that work ahead or at several items at once: prefetch, threadpool_map, async_map_batches, pin_memory."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import subprocess
import sys
import threading
import time
from collections import namedtuple
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from penstock.core.pipe import IterDataPipe
from penstock.pipes import IterableWrapper
from penstock.pipes.pin_memory import PinMemory, pin_memory_fn
from running import beginning, context, merged, restores_at_every_index, run, trip


def wrap(n: int) -> IterableWrapper[int]:
    return IterableWrapper(range(n))


class Gated(IterDataPipe[int]):
    """Numbers, each of which waits until it is let through; `asked` is how many have been asked for."""

    def __init__(self, open_until: int) -> None:
        self.gate = [threading.Event() for _ in range(100)]
        self.asked: list[int] = []
        for event in self.gate[:open_until]:
            event.set()

    def __iter__(self) -> Iterator[int]:
        for number, event in enumerate(self.gate):
            self.asked.append(number)
            event.wait(20)
            yield number


def settled(value: Callable[[], Any], expected: Any) -> bool:
    """Whether a value becomes what it should be, and stays so."""
    deadline = time.monotonic() + 5
    while value() != expected and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.05)
    return bool(value() == expected)


# Those that have a thread step their source, with what they make of a number.
AHEAD: dict[str, Callable[[IterDataPipe[int], int], IterDataPipe[int]]] = {
    "prefetch": lambda source, size: source.prefetch(size),
    "threadpool_map": lambda source, size: source.threadpool_map(int, scheduled_tasks=size, max_workers=3),
    "async_map": lambda source, size: source.async_map(int, buffer=size, max_workers=3),
}


@pytest.mark.parametrize("name", AHEAD)
def test_an_item_that_is_ready_is_delivered_while_the_source_works_at_the_next(name: str, no_leftovers: None) -> None:
    source = Gated(open_until=3)
    it: Any = iter(AHEAD[name](source, 50))
    assert [next(it) for _ in range(3)] == [0, 1, 2]
    it.close()
    for event in source.gate:
        event.set()


@pytest.mark.parametrize("name", AHEAD)
def test_the_source_is_read_ahead_by_the_size_and_no_further(name: str, no_leftovers: None) -> None:
    source = Gated(open_until=100)
    it: Any = iter(AHEAD[name](source, 6))
    for taken in (1, 2, 3, 10):
        while next(it) < taken - 1:
            pass
        assert settled(lambda: len(source.asked), taken + 6)
    it.close()


@pytest.mark.parametrize("name", AHEAD)
@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_working_ahead_changes_neither_items_nor_order(name: str, size: int, no_leftovers: None) -> None:
    assert run(AHEAD[name](wrap(500), size)) == list(range(500))
    assert run(AHEAD[name](wrap(0), size)) == []
    assert run(AHEAD[name](wrap(1), size)) == [0]


@pytest.mark.parametrize("name", AHEAD)
@pytest.mark.parametrize("size", [1, 4, 30])
def test_working_ahead_restores_at_every_index(name: str, size: int) -> None:
    restores_at_every_index(AHEAD[name](wrap(11), size))
    restores_at_every_index(AHEAD[name](wrap(11).shuffle(buffer_size=4), size).batch(2))


@pytest.mark.parametrize("name", AHEAD)
def test_an_error_of_the_source_comes_behind_the_items_ahead_of_it(name: str, no_leftovers: None) -> None:
    it = iter(AHEAD[name](wrap(9).map(lambda x: 6 // (3 - x)), 8))
    assert [next(it) for _ in range(3)] == [2, 3, 6]
    with pytest.raises(ZeroDivisionError):
        next(it)
    assert list(it) == []


@pytest.mark.parametrize("name", AHEAD)
def test_what_is_skipped_before_the_first_item_costs_nothing(name: str, no_leftovers: None) -> None:
    root = AHEAD[name](wrap(10**9), 4)
    stream = context(root).build(root)
    stream.skip(10**8)
    before = trip(stream.state())
    assert next(stream.it) == 10**8
    stream.skip(2)
    assert next(stream.it) == 10**8 + 3
    stream.close()
    again = context(root).build(root, before)
    assert next(again.it) == 10**8
    again.close()


@pytest.mark.parametrize("name", AHEAD)
def test_a_consumer_that_is_dropped_stops_the_threads(name: str, no_leftovers: None) -> None:
    it = iter(AHEAD[name](wrap(10_000), 4).map(str))
    next(it)
    del it
    gc.collect()


@pytest.mark.parametrize("name", AHEAD)
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_random_numbers_behind_it_go_by_a_samples_place_on_any_worker(name: str, workers: int) -> None:
    def noisy(x: int, rng: np.random.Generator) -> Any:
        return x, float(rng.random())

    plain = wrap(23).sharding_filter().random_map(noisy, name="noise").batch(2)
    root = AHEAD[name](wrap(23).sharding_filter(), 3).random_map(noisy, name="noise").batch(2)
    assert [item for item, _ in merged(root, workers, beginning(root, workers))] == run(plain)


@pytest.mark.parametrize("name", AHEAD)
def test_a_function_sees_the_context_variables_of_the_loop(name: str) -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)
    variable.set(7)
    source = wrap(3).map(lambda x: variable.get())
    assert list(AHEAD[name](source, 2)) == [7, 7, 7]
    assert list(wrap(3).threadpool_map(lambda x: variable.get())) == [7, 7, 7]
    assert list(wrap(3).async_map(lambda x: variable.get())) == [7, 7, 7]


# ------------------------------------------------------------------------------------------------------ threadpool_map


def test_threads_work_at_several_items_at_once(no_leftovers: None) -> None:
    together = threading.Barrier(4)

    def meet(x: int) -> int:
        together.wait(20)
        return x

    assert list(wrap(8).threadpool_map(meet, max_workers=4)) == list(range(8))


def test_results_keep_the_order_whatever_each_takes() -> None:
    delays = np.random.default_rng(1).random(60) / 200

    def wait(x: int) -> int:
        time.sleep(delays[x])
        return x * x

    assert list(wrap(60).threadpool_map(wait, max_workers=8)) == [x * x for x in range(60)]


def test_no_more_threads_than_asked_for_and_none_that_are_not_needed() -> None:
    names: set[str] = set()

    def note(x: int) -> None:
        names.add(threading.current_thread().name)
        time.sleep(0.002)

    list(wrap(40).threadpool_map(note, max_workers=3, thread_name_prefix="mine"))
    assert names == {"mine_0", "mine_1", "mine_2"}
    names.clear()
    list(wrap(2).threadpool_map(note, max_workers=9))
    assert len(names) <= 2


def test_an_error_of_the_function_is_raised_at_its_place_and_ends_the_stream(no_leftovers: None) -> None:
    it: Any = iter(wrap(50).threadpool_map(lambda x: 1 // (x - 5), max_workers=4))
    assert [next(it) for _ in range(5)] == [1 // (x - 5) for x in range(5)]
    with pytest.raises(ZeroDivisionError) as raised:
        next(it)
    notes = "\n".join(raised.value.__notes__)
    assert "raised in pipe 'threadpool_map'" in notes
    assert notes.endswith("of item 5 (rank 0, worker 0): 5")
    assert list(it) == []


def test_a_stop_iteration_in_a_thread_is_an_error() -> None:
    def stop(x: int) -> int:
        if x == 2:
            raise StopIteration
        return x

    it = iter(wrap(4).threadpool_map(stop))
    assert [next(it), next(it)] == [0, 1]
    with pytest.raises(RuntimeError, match="StopIteration"):
        next(it)


def test_leaving_cancels_what_has_not_begun_and_waits_for_nothing(no_leftovers: None) -> None:
    release = threading.Event()
    begun: list[int] = []

    def slow(x: int) -> int:
        begun.append(x)
        if x:
            release.wait(20)
        return x

    it: Any = iter(wrap(100).threadpool_map(slow, max_workers=2, scheduled_tasks=50))
    assert next(it) == 0
    assert settled(lambda: len(begun), 3)
    left = time.monotonic()
    it.close()
    assert time.monotonic() - left < 5
    release.set()
    time.sleep(0.1)
    assert sorted(begun) == [0, 1, 2]


def test_a_call_that_hangs_does_not_keep_the_program_from_ending() -> None:
    program = (
        "import time\n"
        "from penstock.pipes import IterableWrapper\n"
        "pipe = IterableWrapper(range(9)).threadpool_map(lambda x: time.sleep(60) if x else x, max_workers=2)\n"
        "for x in pipe:\n"
        "    break\n"
        "print('left', flush=True)\n"
    )
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=True)
    assert done.stdout == "left\n"
    assert done.stderr == ""
    assert time.monotonic() - began < 30


def test_an_initializer_runs_once_in_each_thread_and_its_error_is_raised() -> None:
    local = threading.local()

    def begin(value: int) -> None:
        local.value = value

    pipe = wrap(9).threadpool_map(lambda x: local.value, max_workers=3, initializer=begin, initargs=(4,))
    assert list(pipe) == [4] * 9
    with pytest.raises(ZeroDivisionError):
        list(wrap(3).threadpool_map(lambda x: x, initializer=lambda: 1 // 0))


def test_columns_are_those_of_map() -> None:
    source = IterableWrapper([(1, 2, 3), (4, 5, 6)])
    for columns in (
        {"input_col": [0, 2]},
        {"input_col": [0, 2], "output_col": 1},
        {"input_col": [2, 1], "output_col": -1},
    ):
        expected = list(source.map(lambda a, b: a + b, **columns))  # type: ignore[call-overload]
        assert list(source.threadpool_map(lambda a, b: a + b, **columns)) == expected


@pytest.mark.parametrize("size", [0, -3])
def test_sizes_must_be_positive(size: int) -> None:
    with pytest.raises(ValueError, match="'scheduled_tasks' is required to be a positive integer"):
        wrap(3).threadpool_map(str, scheduled_tasks=size)
    with pytest.raises(ValueError, match="'max_workers' is required to be a positive integer"):
        wrap(3).threadpool_map(str, max_workers=size)


def test_arguments_that_make_no_sense_are_refused() -> None:
    with pytest.raises(TypeError, match="max_worker"):
        wrap(3).threadpool_map(str, max_worker=3)
    with pytest.raises(TypeError, match="function"):
        wrap(3).threadpool_map(3)  # type: ignore[arg-type]  # that is the point
    with pytest.raises(ValueError, match="output_col"):
        wrap(3).threadpool_map(str, output_col=1)


def test_restoring_runs_the_function_for_no_item_that_was_delivered() -> None:
    called: list[int] = []
    root = wrap(30).threadpool_map(lambda x: called.append(x) or x, scheduled_tasks=4)  # type: ignore[func-returns-value]
    stream = context(root).build(root)
    items = [next(stream.it) for _ in range(20)]
    state = trip(stream.state())
    stream.close()
    called.clear()
    restored = context(root).build(root, state)
    assert [*items, *restored.it] == list(range(30))
    assert min(called) == 20


# --------------------------------------------------------------------------------------------------- async_map_batches


async def doubled(x: int) -> int:
    await asyncio.sleep(0)
    return 2 * x


def test_a_batch_is_awaited_at_once_and_order_is_kept(no_leftovers: None) -> None:
    running, most = 0, 0

    async def note(x: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001 * (10 - x % 10))
        running -= 1
        return x

    assert list(wrap(25).async_map_batches(note, 10)) == list(range(25))
    assert most == 10


def test_no_more_than_max_concurrency_are_awaited_at_a_time(no_leftovers: None) -> None:
    running, most = 0, 0

    async def note(x: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        return x

    assert list(wrap(25).async_map_batches(note, 12, max_concurrency=3)) == list(range(25))
    assert most == 3


def test_unflattened_results_are_a_list_for_each_batch(no_leftovers: None) -> None:
    pipe = wrap(5).async_map_batches(doubled, 2, flatten=False)
    assert list(pipe) == [[0, 2], [4, 6], [8]]
    assert len(pipe) == 3
    assert len(wrap(5).async_map_batches(doubled, 2)) == 5
    with pytest.raises(TypeError, match="valid length"):
        len(wrap(5).filter(bool).async_map_batches(doubled, 2))
    assert list(wrap(0).async_map_batches(doubled, 2)) == []


def test_async_columns_are_those_of_map(no_leftovers: None) -> None:
    async def add(a: int, b: int) -> int:
        return a + b

    source = IterableWrapper([(1, 2, 3), (4, 5, 6)])
    for columns in (
        {"input_col": [0, 2]},
        {"input_col": [0, 2], "output_col": 1},
        {"input_col": [2, 1], "output_col": -1},
    ):
        expected = list(source.map(lambda a, b: a + b, **columns))  # type: ignore[call-overload]
        assert list(source.async_map_batches(add, 2, **columns)) == expected


def test_what_is_no_coroutine_function_is_refused() -> None:
    for fn in (str, lambda x: x):
        with pytest.raises(ValueError, match="coroutine function with an async def syntax"):
            wrap(3).async_map_batches(fn, 2)
    with pytest.raises(AssertionError, match="Batch size"):
        wrap(3).async_map_batches(doubled, 0)
    with pytest.raises(ValueError, match="max_concurrency"):
        wrap(3).async_map_batches(doubled, 2, max_concurrency=0)
    with pytest.raises(ValueError, match="output_col"):
        wrap(3).async_map_batches(doubled, 2, output_col=1)

    class Doubler:
        async def __call__(self, x: int) -> int:
            return 2 * x

    async def times(x: int, *, factor: int = 3) -> int:
        return factor * x

    assert list(wrap(3).async_map_batches(Doubler(), 2)) == [0, 2, 4]
    assert list(wrap(3).async_map_batches(partial(times, factor=5), 2)) == [0, 5, 10]


def test_an_error_is_named_and_the_others_of_its_batch_are_cancelled(no_leftovers: None) -> None:
    cancelled: list[int] = []

    async def fail(x: int) -> int:
        if x == 5:
            raise KeyError("boom")
        try:
            await asyncio.sleep(0 if x < 4 else 20)
        except asyncio.CancelledError:
            cancelled.append(x)
            raise
        return x

    it: Any = iter(wrap(9).async_map_batches(fail, 4))
    assert [next(it) for _ in range(4)] == [0, 1, 2, 3]
    began = time.monotonic()
    with pytest.raises(KeyError, match="boom") as raised:
        next(it)
    notes = "\n".join(raised.value.__notes__)
    assert "raised for item 1 of a batch of 4" in notes
    assert "raised in pipe 'async_map_batches'" in notes
    assert set(cancelled) <= {4, 6, 7} and 4 in cancelled
    assert time.monotonic() - began < 10
    assert list(it) == []


def test_a_stop_iteration_in_a_coroutine_is_an_error(no_leftovers: None) -> None:
    async def stop(x: int) -> int:
        raise StopIteration

    for flatten in (True, False):
        with pytest.raises(RuntimeError, match="StopIteration"):
            list(wrap(3).async_map_batches(stop, 2, flatten=flatten))


@pytest.mark.parametrize("flatten", [True, False])
def test_it_works_where_an_event_loop_is_running(flatten: bool, no_leftovers: None) -> None:
    async def notebook() -> list[Any]:
        it = iter(wrap(5).async_map_batches(doubled, 2, flatten=flatten))
        first = next(it)
        await asyncio.sleep(0)
        return [first, *it]

    assert asyncio.run(notebook()) == ([0, 2, 4, 6, 8] if flatten else [[0, 2], [4, 6], [8]])


def test_a_loop_is_shared_by_all_batches_of_a_stream_and_closed_with_it(no_leftovers: None) -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    async def note(x: int) -> int:
        loops.append(asyncio.get_running_loop())
        return x

    it: Any = iter(wrap(6).async_map_batches(note, 2))
    assert [next(it) for _ in range(4)] == [0, 1, 2, 3]
    assert len(set(map(id, loops))) == 1 and not loops[0].is_closed()
    it.close()
    assert loops[0].is_closed()
    it = iter(wrap(6).async_map_batches(note, 2))
    next(it)
    del it
    gc.collect()
    assert loops[-1].is_closed()
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_async_restores_at_every_index_and_runs_one_batch_again() -> None:
    called: list[int] = []

    async def note(x: int) -> int:
        called.append(x)
        return x

    restores_at_every_index(wrap(7).async_map_batches(note, 3))
    restores_at_every_index(wrap(7).async_map_batches(note, 3, flatten=False))
    restores_at_every_index(wrap(11).shuffle(buffer_size=5).async_map_batches(note, 3).prefetch(2).batch(2))
    root = wrap(99).async_map_batches(note, 4)
    stream = context(root).build(root)
    for _ in range(50):
        next(stream.it)
    state = trip(stream.state())
    called.clear()
    restored = context(root).build(root, state)
    assert next(restored.it) == 50
    assert called == [48, 49, 50, 51]
    stream.close()
    restored.close()


# ---------------------------------------------------------------------------------------------------------- pin_memory


@pytest.fixture
def _cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if there were CUDA: what the pipe's construction asks for, and nothing else."""
    monkeypatch.setattr("penstock.pipes.pin_memory._cuda_is_available", lambda: True)
    monkeypatch.setattr("penstock.pipes.pin_memory._current_device", lambda: 0)


def noted(item: Any, device: Any) -> Any:
    return [item, device, threading.current_thread().name]


@pytest.mark.usefixtures("_cuda")
def test_a_thread_pins_each_item_in_order(no_leftovers: None) -> None:
    assert run(wrap(3).pin_memory(5, noted)) == [[x, 5, "penstock-pin_memory"] for x in range(3)]
    assert run(wrap(1).pin_memory(pin_memory_fn=noted))[0][:2] == [0, 0]
    assert len(wrap(3).pin_memory(5, noted)) == 3
    restores_at_every_index(wrap(7).shuffle(buffer_size=3).pin_memory(0, lambda item, device: item))


@pytest.mark.usefixtures("_cuda")
def test_two_items_are_pinned_ahead_and_an_error_comes_at_its_place(no_leftovers: None) -> None:
    source = Gated(open_until=100)
    it: Any = iter(source.pin_memory(0, lambda x, device: x))
    assert next(it) == 0
    assert settled(lambda: len(source.asked), 3)
    it.close()
    it = iter(wrap(9).pin_memory(0, lambda x, device: 6 // (2 - x)))
    assert [next(it), next(it)] == [3, 6]
    with pytest.raises(ZeroDivisionError) as raised:
        next(it)
    assert "raised in pipe 'pin_memory'" in "\n".join(raised.value.__notes__)


@pytest.mark.usefixtures("_cuda")
def test_pin_memory_fn_must_be_a_function() -> None:
    with pytest.raises(TypeError, match="pin_memory_fn"):
        wrap(3).pin_memory(0, 3)  # type: ignore[arg-type]  # that is the point


def test_tensors_are_pinned_wherever_they_are_in_an_item() -> None:
    class Pinnable:
        def pin_memory(self) -> str:
            return "pinned"

    class Columns(dict):  # type: ignore[type-arg]
        pass

    Pair = namedtuple("Pair", "a b")
    p = Pinnable()
    assert pin_memory_fn(p) == "pinned"
    assert pin_memory_fn([p, 1, "text", b"bytes", None]) == ["pinned", 1, "text", b"bytes", None]
    assert pin_memory_fn((p, [p])) == ("pinned", ["pinned"])
    assert pin_memory_fn({"a": {"b": p}, "c": range(3)}) == {"a": {"b": "pinned"}, "c": range(3)}
    found = pin_memory_fn(Columns(a=p))
    assert found == {"a": "pinned"} and type(found) is Columns
    found = pin_memory_fn(Pair(p, 2))
    assert found == ("pinned", 2) and type(found) is Pair


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs CUDA to be missing")
def test_without_cuda_it_is_refused_when_it_is_made() -> None:
    with pytest.raises(RuntimeError, match="`pin_memory` needs CUDA"):
        wrap(3).pin_memory()
    with pytest.raises(RuntimeError, match="`pin_memory` needs CUDA"):
        PinMemory(wrap(3), 0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_tensors_arrive_in_pinned_memory(no_leftovers: None) -> None:
    pipe = wrap(4).map(lambda x: {"x": torch.full((3,), x)}).pin_memory()
    for number, item in enumerate(pipe):
        assert item["x"].is_pinned()
        assert item["x"].tolist() == [number] * 3
