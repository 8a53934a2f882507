"""lint says what a graph's author should look at, and nothing about a graph that is as it should be."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock import DataLoader2
from penstock.graph import Finding, lint, names, walk
from penstock.graph.lint import _check_shuffle_before_sharding
from penstock.pipes import IterableWrapper, IterDataPipe
from penstock.pipes.map import SequenceWrapper


def numbers() -> Any:
    return IterableWrapper(range(20))


def codes(pipe: Any) -> list[str]:
    return [finding.code for finding in lint(pipe)]


def test_a_graph_as_it_should_be_has_no_findings() -> None:
    good: Any = numbers().shuffle().sharding_filter().map(str).batch(2).collate()
    assert lint(good) == []
    a, b = numbers().shuffle().sharding_filter().fork(2)
    assert lint(a.map(str).zip(b)) == []
    joined = numbers().shuffle().sharding_filter().concat(numbers().shuffle().sharding_filter())
    assert lint(joined.map(str)) == []
    assert lint(SequenceWrapper(range(9)).shuffle().sharding_filter().map(str)) == []


def test_a_graph_without_a_sharding_point_is_read_whole_by_every_worker() -> None:
    (finding,) = lint(numbers().shuffle().map(str))
    assert finding.code == "no-sharding-point"
    assert "every worker yields every item" in finding.sentence
    assert ".sharding_filter()" in finding.advice


def test_a_branch_without_a_point_is_named_and_one_with_it_is_not() -> None:
    left = numbers().shuffle().sharding_filter().map(str)
    right = numbers().shuffle().map(repr)
    (finding,) = lint(left.concat(right).batch(2))
    assert finding.code == "branch-without-point"
    assert finding.pipe.startswith("map(repr)")
    assert codes(left.concat(right).sharding_filter())[-1:] == []


def test_a_lookup_is_not_a_branch() -> None:
    lookup = SequenceWrapper([1, 2, 3])
    pipe = IterableWrapper([0, 1]).shuffle().sharding_filter().zip_with_map(lookup, key_fn=int)
    assert lint(pipe) == []


@pytest.mark.parametrize("behind", [False, True])
def test_a_point_with_no_shuffle_ahead_of_it(behind: bool) -> None:
    pipe = numbers().sharding_filter()
    (finding,) = lint(pipe.shuffle() if behind else pipe.map(str))
    assert finding.code == "no-shuffle-ahead"
    assert ("only behind" in finding.sentence) is behind
    assert finding.pipe.startswith("sharding_filter")
    assert not _check_shuffle_before_sharding(pipe)


def test_every_path_to_a_point_must_shuffle() -> None:
    mixed = numbers().shuffle().concat(numbers()).sharding_filter()
    assert codes(mixed) == ["no-shuffle-ahead"]
    assert not _check_shuffle_before_sharding(mixed)
    both = numbers().shuffle().concat(numbers().shuffle()).sharding_filter()
    assert codes(both) == []
    assert _check_shuffle_before_sharding(both)
    assert _check_shuffle_before_sharding(numbers().shuffle().sharding_filter().map(str))
    assert _check_shuffle_before_sharding(numbers()), "no point, no complaint"
    assert _check_shuffle_before_sharding(SequenceWrapper([1]).shuffle().sharding_filter())


def test_a_stream_with_two_readers_is_read_twice() -> None:
    shuffled = numbers().shuffle().sharding_filter()
    (finding,) = lint(shuffled.map(hex).zip(shuffled.map(repr)))
    assert finding.code == "read-twice"
    assert finding.pipe.startswith("sharding_filter")
    assert "map(hex)" in finding.sentence and "map(repr)" in finding.sentence and "2 times" in finding.sentence
    assert ".fork(2)" in finding.advice
    (finding,) = lint(shuffled.zip(shuffled, shuffled))
    assert finding.code == "read-twice" and ".fork(3)" in finding.advice


def test_a_map_data_pipe_may_be_read_by_many() -> None:
    data: Any = SequenceWrapper([1, 2, 3])
    assert codes(data.shuffle().sharding_filter().concat(data.shuffle().sharding_filter())) == []


def test_work_ahead_of_the_point_is_named_as_far_as_it_could_stand_behind() -> None:
    pipe = numbers().map(str).filter(bool).map(len).shuffle().map(repr).sharding_filter()
    found = lint(pipe)
    assert [finding.code for finding in found] == ["work-ahead", "work-ahead"]
    assert [finding.pipe.split(" at ")[0] for finding in found] == ["map(len)", "map(repr)"]
    dispatched = numbers().map(str).shuffle().sharding_round_robin_dispatch()
    assert lint(dispatched) == [], "ahead of a dispatching point it runs once"


class Passed(IterDataPipe[Any]):
    """A pipe of the user's, which is replayed."""

    arity = 1

    def __init__(self, source: IterDataPipe[Any]) -> None:
        self.source = source

    def __iter__(self) -> Iterator[Any]:
        yield from self.source


COUNTING: dict[str, Callable[[Any], Any]] = {
    "shuffle": lambda pipe: pipe.shuffle(buffer_size=6),
    "unbatch": lambda pipe: pipe.batch(3).unbatch(),
    "flatmap": lambda pipe: pipe.flatmap(lambda x: [x, x]),
    "groupby": lambda pipe: pipe.groupby(lambda x: x % 3, group_size=4, buffer_size=20),
    "sliding": lambda pipe: pipe.sliding(2),
    "Passed": Passed,
    "async_map": lambda pipe: pipe.async_map(abs, ordered=False),
}
EXACT: dict[str, Callable[[Any], Any]] = {
    "map": lambda pipe: pipe.map(abs),
    "filter": lambda pipe: pipe.filter(lambda x: x % 5),
    "random_filter": lambda pipe: pipe.random_filter(lambda x, rng: x % 3 > 0),
    "batch and collate": lambda pipe: pipe.batch(3).collate(list),
    "prefetch": lambda pipe: pipe.prefetch(3),
    "enumerate": lambda pipe: pipe.enumerate().map(lambda pair: pair[1]),
    "header": lambda pipe: pipe.header(500),
    "zip": lambda pipe: pipe.zip(IterableWrapper(range(60)).shuffle().sharding_filter()).map(lambda pair: pair[0]),
    "concat": lambda pipe: pipe.concat(IterableWrapper(range(100, 110)).shuffle().sharding_filter()),
    "async_map in order": lambda pipe: pipe.async_map(abs, 3, 2),
    "threadpool_map": lambda pipe: pipe.threadpool_map(abs, max_workers=2),
}


@pytest.mark.parametrize("name", COUNTING)
def test_what_counts_items_that_come_in_any_order_is_named_with_who_gives_them(name: str) -> None:
    loose: Any = numbers().shuffle().sharding_filter().async_map(abs, ordered=False)
    found = [finding for finding in lint(COUNTING[name](loose.map(abs)).batch(2)) if finding.code == "counts-any-order"]
    (finding,) = found
    assert finding.pipe.startswith(f"{name}(") and "async_map(abs) at" in finding.sentence
    ahead = COUNTING[name](numbers().shuffle().sharding_filter())
    if name != "async_map":
        assert lint(ahead.async_map(abs, ordered=False).batch(2)) == [], "ahead of it"
        assert lint(COUNTING[name](numbers().shuffle().sharding_filter().async_map(abs))) == [], "in order"


@pytest.mark.parametrize("name", EXACT)
def test_what_is_exact_behind_items_in_any_order_is_not_named(name: str) -> None:
    def late(x: int) -> int:
        time.sleep(0.004 if x % 7 == 3 else 0.0003)
        return x

    graph = EXACT[name](IterableWrapper(range(60)).shuffle().sharding_filter().async_map(late, 8, 4, ordered=False))
    assert lint(graph) == []
    whole = sorted(map(str, _leaves(list(graph))))
    for stop in (1, 4, 7, 11):
        with DataLoader2(graph) as dl:
            dl.seed(1)
            it = iter(dl)
            head = [next(it) for _ in range(stop)]
            dl.load_state_dict(dl.state_dict())
            assert sorted(map(str, _leaves([*head, *dl]))) == whole


def _leaves(value: Any) -> list[Any]:
    return [leaf for each in value for leaf in _leaves(each)] if isinstance(value, list) else [value]


def test_a_pipe_of_the_users_with_apply_sharding_is_a_point() -> None:
    class Every(IterDataPipe[Any]):
        def __init__(self, source: IterDataPipe[Any]) -> None:
            self.source = source

        def apply_sharding(self, num_of_instances: int, instance_id: int) -> None: ...

        def __iter__(self) -> Iterator[Any]:
            yield from self.source

    assert lint(Every(numbers().shuffle())) == []
    assert codes(Every(numbers())) == ["no-shuffle-ahead"]


def test_a_finding_prints_as_one_line_with_the_place_where_the_pipe_was_made() -> None:
    (finding,) = lint(numbers().sharding_filter())
    line = str(finding)
    assert f"{Path(__file__).name}:" in line and "[no-shuffle-ahead]" in line and "\n" not in line
    assert finding == Finding(finding.code, finding.pipe, finding.sentence, finding.advice)
    with pytest.raises(AttributeError):
        finding.code = "other"  # type: ignore[misc]


def test_findings_come_sources_first_and_each_once_and_nothing_is_changed() -> None:
    source = numbers().map(str)
    root = source.sharding_filter().concat(source.sharding_filter())
    before = [dict(vars(pipe)) for pipe in walk(root)]
    found = lint(root)
    assert [finding.code for finding in found].count("work-ahead") == 1
    order = list(names(root).values())
    assert [order.index(finding.pipe.partition("(")[0]) for finding in found] == sorted(
        order.index(finding.pipe.partition("(")[0]) for finding in found
    )
    assert [dict(vars(pipe)) for pipe in walk(root)] == before
