"""fork, demux, round_robin_demux and unzip: the source is read once, what waits is bounded, every place restores."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import cloudpickle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import DataLoader2, GraphError, MultiProcessingReadingService
from penstock.core.walk import names, walk
from penstock.pipes import Forker, IterableWrapper, IterDataPipe, UnZipper
from penstock.testing import plain
from running import context, restores_at_every_index, run, trip


class Counting(IterDataPipe[int]):
    """Numbers, and how many of them have been read by anybody."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.read: list[int] = []

    def build(self, ctx: Any, state: Any = None) -> Any:
        from penstock.core.stream import sequence_stream

        name = ctx.name(self)
        numbers = sequence_stream(range(self.size), ctx.own(self, state) or 0, lambda n: {name: n})
        return numbers.onward(self.noted(numbers.it), skip=numbers.skip)

    def noted(self, it: Iterator[int]) -> Iterator[int]:
        for number in it:
            self.read.append(number)
            yield number


def ten() -> IterableWrapper[int]:
    return IterableWrapper(range(10))


def split(kind: str, source: IterDataPipe[int], count: int) -> list[IterDataPipe[Any]]:
    if kind == "fork":
        return source.fork(count)
    if kind == "demux":
        return source.demux(count, lambda x: x * x % count)
    if kind == "round_robin_demux":
        return source.round_robin_demux(count)
    return source.map(lambda x: tuple(x + i for i in range(count))).unzip(count)


KINDS = ("fork", "demux", "round_robin_demux", "unzip")


@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_that_joins_them_reads_the_source_once(kind: str) -> None:
    source = Counting(40)
    a, b = split(kind, source, 2)
    run(a.zip(b))
    assert source.read == list(range(len(source.read)))


@pytest.mark.parametrize("kind", KINDS)
def test_by_themselves_each_reads_the_source(kind: str) -> None:
    source = Counting(2000)  # more than the buffer holds: nothing waits for a pipe that is not in the graph
    a, b = split(kind, source, 2)
    assert len(list(a)) + len(list(b)) == (2000 if "demux" in kind else 4000)


def test_by_themselves_they_still_go_together() -> None:
    a, b = IterableWrapper(range(50)).shuffle().fork(2)
    first = list(zip(a, b, strict=True))
    second = list(zip(a, b, strict=True))
    assert all(x == y for x, y in first + second)
    assert first != second, "each time in another order"


def test_a_loader_over_one_of_them_needs_no_room_for_the_other() -> None:
    train, test = IterableWrapper(range(5000)).demux(2, lambda x: int(x % 10 == 0))
    for pipe, size in ((train, 4500), (test, 500)):
        with DataLoader2(pipe.sharding_filter(), reading_service=MultiProcessingReadingService(2)) as loader:
            assert len(list(loader)) == size


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("joined", ["zip", "concat", "late", "twice", "cycle", "prefetch", "shuffled"])
def test_every_place_restores(kind: str, joined: str) -> None:
    a, b = split(kind, IterableWrapper(range(90)).shuffle(buffer_size=20), 2)
    graph = {
        "zip": lambda: a.zip(b),
        "concat": lambda: a.concat(b),
        "late": lambda: a.zip(b.batch(3)),
        "twice": lambda: a.zip(a.map(str), b),
        "cycle": lambda: a.zip(b).cycle(2),
        "prefetch": lambda: a.prefetch(3).zip(b.prefetch(2)),
        "shuffled": lambda: a.shuffle(buffer_size=8).zip(b.shuffle(buffer_size=4)),
    }[joined]()
    assert restores_at_every_index(graph)


def test_one_behind_another_restores() -> None:
    a, b = ten().fork(2)
    c, d = a.zip(b).unzip(2)
    e, f = c.zip(d).map(sum).demux(2, lambda x: int(x > 6))
    assert restores_at_every_index(e.concat(f))


def test_in_lanes_every_place_restores() -> None:
    a, b = IterableWrapper(range(80)).shuffle(buffer_size=10).sharding_filter().fork(2)
    graph = a.zip(b.map(str)).filter(lambda pair: pair[0] % 3)
    parts = [restores_at_every_index(graph, count=2, index=lane) for lane in range(2)]
    assert sorted(x for part in parts for x, _ in part) == [x for x in range(80) if x % 3]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 2), max_size=120), st.sampled_from(KINDS), st.data())
def test_any_distance_between_them_restores(classes: list[int], kind: str, data: Any) -> None:
    source = IterableWrapper(list(enumerate(classes)))
    pipes = {
        "fork": lambda: source.fork(3),
        "demux": lambda: source.demux(3, lambda x: x[1]),
        "round_robin_demux": lambda: source.round_robin_demux(3),
        "unzip": lambda: source.map(lambda x: (*x, 0)).unzip(3),
    }[kind]()
    root = pipes[0].zip(pipes[1].batch(2), pipes[2].batch(5))
    items = run(root)
    stop = data.draw(st.integers(0, len(items)))
    ctx = context(root)
    stream = ctx.build(root)
    for _ in range(stop):
        next(stream.it)
    state = trip(stream.state())
    stream.close()
    restored = context(root).build(root, state)
    assert trip(restored.state()) == state
    assert [plain(item) for item in restored.it] == items[stop:]


@pytest.mark.parametrize("size", [1_000, 20_000])
def test_restoring_reads_a_bounded_number_of_items_wherever_it_stands(size: int) -> None:
    source = Counting(size)
    rare, common = source.demux(2, lambda x: int(x % 97 != 0), buffer_size=size)
    graph = rare.zip(common.batch(50))
    for taken in (1, size // 200, size // 99):
        stream = context(graph).build(graph)
        for _ in range(taken):
            next(stream.it)
        state = trip(stream.state())
        stream.close()
        source.read.clear()
        restored = context(graph).build(graph, state)
        next(restored.it)
        restored.close()
        held = sum(d.bit_count() for part in state["zip"] for _, _, d in _tape(part)[3])
        assert len(source.read) <= 200 * (held + 1) + 97


def _tape(state: Any) -> Any:
    (own,) = (value for key, value in state.items() if key.startswith("demux"))
    return own


@pytest.mark.parametrize("kind", KINDS)
def test_an_overflow_says_who_lags_and_what_to_raise(kind: str) -> None:
    source = IterableWrapper(range(100))
    a, b = {
        "fork": lambda: source.fork(2, buffer_size=5),
        "demux": lambda: source.demux(2, lambda x: int(x > 3), buffer_size=5),
        "round_robin_demux": lambda: source.round_robin_demux(2, buffer_size=5),
        "unzip": lambda: source.map(lambda x: (x, x)).unzip(2, buffer_size=5),
    }[kind]()
    with pytest.raises(
        BufferError, match=r"buffer overflow, buffer size 5 is insufficient.*child 1.*lags.*Raise buffer"
    ):
        list(a.concat(b))


def test_a_fork_may_be_ahead_by_exactly_its_buffer() -> None:
    a, b = ten().fork(2, buffer_size=4)
    it = iter(a.concat(b))
    assert [next(it) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(BufferError):
        next(it)


@pytest.mark.parametrize("ahead", [(2, 3), (3, 2), (1, 1)])
def test_an_error_that_one_thread_meets_is_not_the_end_for_another(ahead: tuple[int, int]) -> None:
    for _ in range(10):
        a, b = ten().map(lambda x: 1 // (5 - x)).fork(2)
        with pytest.raises(ZeroDivisionError):
            list(a.prefetch(ahead[0]).zip(b.prefetch(ahead[1])))


def test_iterating_leaves_what_a_pipe_pickles_to_as_it_is() -> None:
    pipe = IterableWrapper(range(10)).fork(2)[0]
    before = cloudpickle.dumps(pipe)
    list(pipe)
    assert cloudpickle.dumps(pipe) == before


@pytest.mark.parametrize("function", ["fork", "unzip"])
def test_a_buffer_as_long_as_the_source_holds_all_of_it(function: str) -> None:
    source = IterableWrapper([(i, i) for i in range(10)])
    a, b = getattr(source, function)(2, buffer_size=10)
    assert len(restores_at_every_index(a.concat(b))) == 20


@pytest.mark.parametrize("function", ["fork", "demux", "round_robin_demux", "unzip"])
def test_a_buffer_without_a_bound_brings_a_warning(function: str) -> None:
    source = IterableWrapper([(i, i) for i in range(3000)])
    arguments = (2, lambda x: x[0] // 1500) if function == "demux" else (2,)
    with pytest.warns(UserWarning, match=f"Unlimited buffer size is set for `{function}`"):
        a, b = getattr(source, function)(*arguments, buffer_size=-1)
    assert len(list(a.concat(b))) == (3000 if "demux" in function else 6000)


@pytest.mark.parametrize(
    ("copy", "same", "same_inside"), [(None, True, True), ("shallow", False, True), ("deep", False, False)]
)
def test_fork_copies_as_it_is_told(copy: str | None, same: bool, same_inside: bool) -> None:
    a, b = IterableWrapper([[[1]], [[2]]]).fork(2, copy=copy)
    for x, y in a.zip(b):
        assert x == y
        assert (x is y, x[0] is y[0]) == (same, same_inside)


def test_wrong_arguments_are_refused() -> None:
    for function, arguments in (("fork", ()), ("demux", (len,)), ("round_robin_demux", ())):
        with pytest.raises(ValueError, match="Expected `num_instances` larger than 0, but 0 is found"):
            getattr(ten(), function)(0, *arguments)
    with pytest.raises(ValueError, match="Unknown copy method `deeper` for `Forker`"):
        ten().fork(2, copy="deeper")
    with pytest.raises(TypeError):
        ten().demux(2, 3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="sequence_length"):
        ten().unzip(0)
    with pytest.raises(RuntimeError, match="All columns are being filtered out"):
        ten().unzip(2, columns_to_skip=[0, 1])


def test_one_instance_is_the_source_itself() -> None:
    source = ten()
    assert source.fork(1)[0] is source
    with pytest.warns(UserWarning, match="is an no-op"):
        (only,) = source.round_robin_demux(1)
    assert only is source


@pytest.mark.parametrize("result", [2, -1, None])
def test_a_class_that_is_none_of_them_is_refused(result: int | None) -> None:
    a, b = ten().demux(2, lambda x: result)
    with pytest.raises(ValueError, match="Output of the classification fn should be between 0 and 1"):
        list(a.zip(b))


def test_items_without_a_class_can_be_dropped() -> None:
    a, b = ten().demux(2, lambda x: x % 3 if x % 3 < 2 else None, drop_none=True)
    assert (list(a), list(b)) == ([0, 3, 6, 9], [1, 4, 7])


def test_lengths() -> None:
    assert [len(pipe) for pipe in ten().fork(2)] == [10, 10]
    assert [len(pipe) for pipe in ten().round_robin_demux(3)] == [4, 3, 3]
    assert [len(pipe) for pipe in UnZipper(IterableWrapper([(1, 2)] * 4), sequence_length=2)] == [4, 4]
    with pytest.raises(TypeError, match="doesn't have valid length"):
        len(ten().demux(2, lambda x: 0)[0])


def test_unzip_skips_columns() -> None:
    source = IterableWrapper([(i, i + 10, i + 20) for i in range(3)])
    assert list(source.unzip(3, columns_to_skip=[0, 2], buffer_size=0)[0]) == [10, 11, 12]
    assert [list(pipe) for pipe in source.unzip(3, columns_to_skip=[-1])] == [[0, 1, 2], [10, 11, 12]]


def test_an_iterator_in_the_source_is_never_split_in_silence() -> None:
    a, b = IterableWrapper(iter(range(10))).fork(2)
    assert list(a.zip(b)) == [(i, i) for i in range(10)]
    a, b = IterableWrapper(iter(range(10))).fork(2)
    with pytest.raises(GraphError, match="another stream has begun to read it"):
        list(zip(a, b, strict=True))


def test_an_error_upstream_reaches_the_loop_whoever_asked() -> None:
    a, b = ten().map(lambda x: 1 // (5 - x)).fork(2)
    with pytest.raises(ZeroDivisionError) as raised:
        list(a.zip(b))
    assert "raised in pipe 'map'" in "\n".join(raised.value.__notes__)


def test_a_name_names_each() -> None:
    a, b = ten().fork(2, name="views")
    named = names(a.zip(b))
    assert [named[id(pipe)] for pipe in (a, b)] == ["views[0]", "views[1]"]


def test_the_graph_shows_both_and_their_source_once() -> None:
    a, b = Forker(ten(), 2)
    assert [repr(pipe) for pipe in walk(a.zip(b))] == ["IterableWrapper", "Forked", "fork[0]", "fork[1]", "Zipper"]


@pytest.mark.parametrize("kind", KINDS)
def test_lanes_that_read_two_of_them_give_every_item_once(kind: str) -> None:
    a, b = split(kind, IterableWrapper(range(60)).shuffle(buffer_size=7).sharding_filter(), 2)
    graph = a.concat(b)
    with DataLoader2(graph) as loader:
        loader.seed(3)
        whole = list(loader)
    with DataLoader2(graph, reading_service=MultiProcessingReadingService(2)) as loader:
        loader.seed(3)
        assert sorted(map(str, loader)) == sorted(map(str, whole))


def test_no_warning_of_an_unlimited_buffer_otherwise() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ten().fork(2)
