"""torchdata's graph functions: what they list, what they change in place, and what they refuse."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from penstock.core.errors import MissingExtra
from penstock.graph import (
    SeedGenerator,
    apply_random_seed,
    apply_sharding,
    apply_shuffle_settings,
    find_dps,
    find_lca_non_replicable_dp,
    find_lca_round_robin_sharding_dp,
    find_non_dispatching_branches,
    find_replicable_branches,
    get_all_graph_pipes,
    list_dps,
    remove_dp,
    replace_dp,
    set_graph_random_seed,
    to_graph,
    traverse_dps,
)
from penstock.graph.dispatch import _DummyIterDataPipe
from penstock.pipes import SHARDING_PRIORITIES, IterableWrapper, IterDataPipe, Mapper, ShardingRoundRobinDispatcher
from penstock.pipes.map import SequenceWrapper


class Adaptor(IterDataPipe[Any]):
    def __init__(self, datapipe: IterDataPipe[Any]) -> None:
        self.datapipe = datapipe

    def __iter__(self) -> Iterator[Any]:
        yield from self.datapipe


class Numbers(IterDataPipe[int]):
    def __iter__(self) -> Iterator[int]:
        yield from range(10)


def both(x: int) -> list[int]:
    return [x, x + 5]


def odd(x: int) -> int:
    return x % 2


def doubled(x: int) -> int:
    return x * 2


def graph_of_torchdata() -> Any:
    src: Any = IterableWrapper(range(20))
    m1 = src.map(both)
    ub = m1.unbatch()
    c1, c2 = ub.demux(2, odd)
    m2 = c1.map(doubled)
    dp = m2.zip(c2)
    return traverse_dps(dp), (src, m1, ub, c1.main_datapipe, c1, c2, m2, dp)


def nested(graph: Any) -> list[Any]:
    """The graph without its ids."""
    return [[pipe, nested(below)] if below else [pipe] for pipe, below in graph.values()]


def test_a_pipe_on_two_paths_is_in_the_traversal_twice() -> None:
    graph, (src, m1, ub, dm, c1, c2, m2, dp) = graph_of_torchdata()
    main = [dm, [[ub, [[m1, [[src]]]]]]]
    assert nested(graph) == [[dp, [[m2, [[c1, [main]]]], [c2, [main]]]]]
    assert graph[id(dp)][1][id(m2)][0] is m2
    assert get_all_graph_pipes(graph) == [dp, m2, c1, dm, ub, m1, src, c2]


def test_only_pipes_are_traversed() -> None:
    with pytest.raises(RuntimeError, match="Expected `IterDataPipe` or `MapDataPipe`, but <class 'list'> is found"):
        traverse_dps([1])  # type: ignore[arg-type]
    pipe: Any = SequenceWrapper([1]).map(str)
    assert len(get_all_graph_pipes(traverse_dps(pipe))) == 2


def test_a_circle_ends_where_it_meets_itself() -> None:
    first: Any = Adaptor(IterableWrapper([1]))
    second = first.map(str)
    first.back = second
    (source,) = (pipe for pipe in first.sources if pipe is not second)
    assert nested(traverse_dps(second)) == [[second, [[first, [[source]]]]]]
    assert nested(traverse_dps(first)) == [[first, [[source], [second]]]]


def test_forks_in_a_row_do_not_make_the_traversal_explode() -> None:
    pipe: Any = IterableWrapper([1])
    for _ in range(40):
        a, b = pipe.fork(2)
        pipe = a.zip(b)
    graph = traverse_dps(pipe)
    assert len(list_dps(graph)) == len(get_all_graph_pipes(graph)) == 1 + 40 * 4
    assert len(find_dps(graph, IterableWrapper)) == 1


def test_find_takes_the_exact_type() -> None:
    graph, (_, m1, *_, m2, _) = graph_of_torchdata()

    class Special(Mapper[Any]):
        pass

    assert {id(pipe) for pipe in find_dps(graph, Mapper)} == {id(m1), id(m2)}
    assert find_dps(traverse_dps(Special(IterableWrapper([1]), str)), Mapper) == []


def test_pipes_are_listed_breadth_first_and_an_exclusion_covers_what_is_upstream() -> None:
    graph, (src, m1, ub, dm, c1, c2, m2, dp) = graph_of_torchdata()
    assert list_dps(graph) == [dp, m2, c2, c1, dm, ub, m1, src]
    assert list_dps(graph, exclude_dps=m1) == [dp, m2, c2, c1, dm, ub]
    assert list_dps(graph, exclude_dps=m2) == [dp, c2]
    assert list_dps(graph, exclude_dps=[m1, m2]) == [dp, c2]


def test_replace_changes_the_receiving_pipes_and_nothing_else() -> None:
    graph, (src, m1, ub, dm, c1, c2, m2, dp) = graph_of_torchdata()
    new1, new2, new3 = Adaptor(m1), Adaptor(m2), Numbers()

    def expected(*source: Any, end: Any = m2) -> list[Any]:
        main = [dm, [[ub, [list(source)]]]]
        left = [m2, [[c1, [main]]]]
        return [[dp, [left if end is m2 else [end, [left]], [c2, [main]]]]]

    graph = replace_dp(graph, m1, new1)
    assert nested(graph) == nested(traverse_dps(dp)) == expected(new1, [[m1, [[src]]]])
    graph = replace_dp(graph, m2, new2)
    assert nested(graph) == expected(new1, [[m1, [[src]]]], end=new2)
    assert len(list(dp)) == 20
    graph = replace_dp(graph, m1, new3)
    assert nested(graph) == expected(new1, [[new3]], end=new2)
    assert m1.sources == (src,)


def test_a_new_end_is_the_graph_of_the_new_pipe() -> None:
    numbers: Any = IterableWrapper([1, 2])
    graph = replace_dp(traverse_dps(numbers), numbers, numbers.map(doubled))
    ((pipe, below),) = graph.values()
    assert list(pipe) == [2, 4]
    assert [source for source, _ in below.values()] == [numbers]


def test_what_leads_from_the_new_pipe_to_the_old_one_is_left() -> None:
    numbers: Any = IterableWrapper([1, 2])
    text = numbers.map(str)
    replace_dp(traverse_dps(text), numbers, numbers.map(doubled).map(doubled))
    assert list(text) == ["4", "8"]


def test_replace_reaches_into_containers_of_attributes() -> None:
    class Several(IterDataPipe[Any]):
        def __init__(self, *pipes: Any) -> None:
            self.inner = {"a": [pipes[0]], "b": (pipes[1], 7)}

        def __iter__(self) -> Iterator[Any]:
            yield from self.inner["a"][0]
            yield from self.inner["b"][0]

    a, b, c = (IterableWrapper([i]) for i in range(3))
    pipe = Several(a, b)
    replace_dp(traverse_dps(pipe), b, c)
    replace_dp(traverse_dps(pipe), a, b)
    assert list(pipe) == [1, 2]
    assert pipe.inner["b"][1] == 7


def test_a_pipe_that_is_not_there_is_replaced_by_nothing() -> None:
    graph, (*_, dp) = graph_of_torchdata()
    before = nested(graph)
    assert nested(replace_dp(graph, IterableWrapper([1]), Numbers())) == before == nested(traverse_dps(dp))


def test_remove_joins_both_sides_in_place() -> None:
    graph, (src, m1, ub, dm, c1, c2, m2, dp) = graph_of_torchdata()
    main = [dm, [[ub, [[src]]]]]
    graph = remove_dp(graph, m1)
    assert nested(graph) == nested(traverse_dps(dp)) == [[dp, [[m2, [[c1, [main]]]], [c2, [main]]]]]
    graph = remove_dp(graph, m2)
    assert nested(graph) == [[dp, [[c1, [main]], [c2, [main]]]]]
    with pytest.raises(RuntimeError, match="Cannot remove the source DataPipe"):
        remove_dp(graph, src)
    with pytest.raises(RuntimeError, match="Cannot remove the receiving DataPipe"):
        remove_dp(graph, dp)
    assert nested(remove_dp(traverse_dps(ub), ub)) == [[src]]


def seeds(worker: int, seed: int = 123) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Those ahead of a sharding point, and the others, in torchdata's graph."""
    dp0: Any = IterableWrapper(list(range(100))).shuffle()
    dp1, dp2, dp3 = dp0.fork(3)
    dp1 = dp1.sharding_filter()
    dp2 = dp2.shuffle()
    dp3 = dp3.shuffle()
    dp4: Any = dp1.zip(dp2, dp3.sharding_filter()).shuffle()
    assert set_graph_random_seed(dp4, SeedGenerator(seed).spawn(worker)) is dp4
    return (dp0._seed, dp3._seed), (dp2._seed, dp4._seed)


def test_seeds_are_shared_ahead_of_a_point_and_a_workers_own_elsewhere() -> None:
    shared, own = seeds(0)
    assert seeds(1)[0] == shared and seeds(0) == (shared, own)
    for others in (seeds(1)[1], seeds(0, 321)[1], seeds(0, 321)[0]):
        assert not {*shared, *own} & set(others) or others == shared
    assert len({*shared, *own}) == 4


def test_a_generators_seeds_are_fixed_by_its_seed_and_the_workers_number() -> None:
    parent = SeedGenerator(7)
    first = parent.spawn(3)
    parent.generate_seed()
    assert first.generate_seed() == parent.spawn(3).generate_seed() != parent.spawn(2).generate_seed()
    assert parent.generate_shared_seed() == first.generate_shared_seed()
    assert parent.spawn(1).generate_shared_seed() == first.generate_shared_seed(), "a child goes on where its parent is"
    assert parent.spawn(4, inplace=True) is parent
    assert parent.generate_seed() == SeedGenerator(7).spawn(4).generate_seed()
    parent.seed(7)
    assert parent.generate_seed() == SeedGenerator(7).generate_seed()
    assert SeedGenerator().generate_seed() != SeedGenerator().generate_seed()
    with pytest.raises(ValueError, match="equal or larger than 0"):
        parent.spawn(-1)
    for wrong in (-1, 1 << 64):
        with pytest.raises(ValueError, match="uint64"):
            SeedGenerator(wrong)


def test_sharding_is_applied_to_whatever_has_the_method() -> None:
    seen: list[Any] = []

    class Two(Adaptor):
        def apply_sharding(self, num_of_instances: int, instance_id: int) -> None:
            seen.append((num_of_instances, instance_id))

    class Three(Adaptor):
        def apply_sharding(self, num_of_instances: int, instance_id: int, sharding_group: Any) -> None:
            seen.append((num_of_instances, instance_id, sharding_group))

    left, right = Two(Numbers()), Three(Numbers())
    root: Any = left.zip(right)
    assert apply_sharding(root, 3, 1) is root
    apply_sharding(root, 3, 2, SHARDING_PRIORITIES.DISTRIBUTED)
    default, distributed = SHARDING_PRIORITIES.DEFAULT, SHARDING_PRIORITIES.DISTRIBUTED
    assert seen == [(3, 1), (3, 1, default), (3, 2), (3, 2, distributed)]


def test_groups_of_sharding_multiply() -> None:
    pipe: Any = IterableWrapper(range(12)).sharding_filter()
    apply_sharding(pipe, 2, 1, SHARDING_PRIORITIES.DISTRIBUTED)
    apply_sharding(pipe, 3, 0, SHARDING_PRIORITIES.MULTIPROCESSING)
    assert list(pipe) == [3, 9]


def test_two_sharding_points_on_one_path_are_refused_and_nothing_is_changed() -> None:
    first: Any = IterableWrapper(range(4)).sharding_filter()
    root = first.map(str).sharding_filter()
    with pytest.raises(RuntimeError, match="Sharding twice on a single pipeline .* data loss"):
        apply_sharding(root, 2, 0)
    assert len(list(first)) == 4
    a, b = IterableWrapper(range(4)).sharding_filter().fork(2)  # one point on two paths is one
    assert list(apply_sharding(a.zip(b), 2, 0)) == [(0, 0), (2, 2)]


def test_shuffling_is_switched_in_the_whole_graph() -> None:
    pipe: Any = SequenceWrapper(range(50)).shuffle().batch(5).in_batch_shuffle().unbatch().shuffle()
    assert apply_shuffle_settings(pipe) is pipe
    assert list(apply_shuffle_settings(pipe, False)) == list(range(50))
    assert list(apply_shuffle_settings(pipe, True)) != list(range(50))
    plain: Any = IterableWrapper(range(50))
    assert apply_shuffle_settings(plain, False) is plain
    with pytest.warns(UserWarning, match="does not contain a `Shuffler`. Adding one at the end"):
        added = apply_shuffle_settings(plain, True)
    assert sorted(added) == list(range(50)) != list(added)


def test_random_seeds_come_from_torchs_generator() -> None:
    pipe: Any = SequenceWrapper(range(50)).shuffle().shuffle()
    drawn = []
    for seed in (1, 1, 2):
        assert apply_random_seed(pipe, torch.Generator().manual_seed(seed)) is pipe
        drawn.append([p._seed for p in get_all_graph_pipes(traverse_dps(pipe)) if hasattr(p, "_seed")])
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) == 2


def parts() -> Any:
    """torchdata's graph of branches: single, (multi -> fork -> zip), other -> map, all zipped."""
    single, multi, other = (IterableWrapper(list(range(10))) for _ in range(3))
    ch1, ch2 = multi.fork(2)
    both_: Any = ch1.zip(ch2)
    mapped: Any = other.map(doubled)
    end: Any = single.zip(both_, mapped)
    return types.SimpleNamespace(
        single=single, multi=multi, fork=ch1.main_datapipe, ch1=ch1, ch2=ch2, zip=both_, other=other, map=mapped,
        end=end, graph=traverse_dps(end),
    )  # fmt: skip


LCA = [
    (["single"], "single*"),
    (["multi"], "multi*"),
    (["ch1"], "zip"),
    (["other"], "other*"),
    (["map"], "map*"),
    (["single", "multi"], "end"),
    (["single", "ch1"], "end"),
    (["multi", "ch1"], "zip"),
    (["single", "other"], "end"),
    ([], None),
]


@pytest.mark.parametrize(("where", "expected"), LCA)
def test_the_dispatching_part_ends_where_all_dispatching_pipes_join(where: list[str], expected: str | None) -> None:
    it = parts()
    graph, put = it.graph, {}
    for name in where:
        pipe = getattr(it, name)
        put[f"{name}*"] = ShardingRoundRobinDispatcher(pipe, SHARDING_PRIORITIES.MULTIPROCESSING)
        graph = replace_dp(graph, pipe, put[f"{name}*"])
    found = None if expected is None else put[expected] if expected in put else getattr(it, expected)
    assert find_lca_round_robin_sharding_dp(graph) is found
    assert find_lca_non_replicable_dp(graph) is found


NON_REPLICABLE = [
    ([], ["end"]),
    (["single"], ["zip", "map"]),
    (["zip"], ["single", "ch1", "ch2", "map"]),
    (["ch1"], ["single", "fork", "map"]),
    (["map"], ["single", "zip", "other"]),
    (["end"], ["single", "zip", "map"]),
    (["single", "multi"], ["map"]),
    (["single", "ch1"], ["fork", "map"]),
    (["single", "zip"], ["ch1", "ch2", "map"]),
    (["single", "map"], ["zip", "other"]),
    (["fork", "ch1"], ["single", "multi", "map"]),
    (["fork", "map"], ["single", "multi", "other"]),
    (["zip", "map"], ["single", "ch1", "ch2", "other"]),
]


@pytest.mark.parametrize(("once", "expected"), NON_REPLICABLE)
def test_replicable_branches_are_the_highest_pipes_with_nothing_upstream_that_runs_once(
    once: list[str], expected: list[str]
) -> None:
    it = parts()
    for name in once:
        getattr(it, name).is_replicable = lambda: False
    assert find_replicable_branches(it.graph) == [getattr(it, name) for name in expected]


CUT = [
    ("single", ["zip", "map"]),
    ("multi", ["single", "map"]),
    ("ch1", ["single", "ch2", "map"]),
    ("map", ["single", "zip"]),
    ("zip", ["single", "map"]),
    ("end", []),
]


@pytest.mark.parametrize(("cut", "expected"), CUT)
def test_branches_without_a_placeholder_are_found(cut: str, expected: list[str]) -> None:
    it = parts()
    graph = replace_dp(it.graph, getattr(it, cut), _DummyIterDataPipe())
    assert find_non_dispatching_branches(graph) == [getattr(it, name) for name in expected]


def test_a_pipe_that_runs_once_by_its_own_word_is_a_lowest_ancestor_too() -> None:
    it = parts()
    it.ch1.is_replicable = lambda: False
    assert find_lca_non_replicable_dp(it.graph) is it.zip
    assert find_lca_round_robin_sharding_dp(it.graph) is None


def test_to_graph_draws_every_pipe_and_a_forks_children_only_for_debugging() -> None:
    import graphviz

    dp1: Any = IterableWrapper(range(10))
    dp3 = dp1.map(lambda x: x + 1).filter(lambda x: x > 5)
    c1, c2 = dp3.fork(num_instances=2)
    dp4 = c1.zip(c2)
    c3, c4 = dp4.demux(num_instances=2, classifier_fn=lambda x: x % 2)
    dp5 = c3.concat(c4)
    for pipe, debug, nodes in ((dp1, False, 1), (dp4, False, 5), (dp4, True, 7), (c3, True, 9), (dp5, False, 7),
                               (dp5, True, 11), (c1, False, 5)):  # fmt: skip
        drawing = to_graph(pipe, debug=debug)
        assert isinstance(drawing, graphviz.Digraph)
        lines = drawing.source.splitlines()
        assert sum("label=" in line for line in lines) == nodes, (pipe, debug)
    assert "<lambda>" in to_graph(dp3).source


def test_without_graphviz_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "graphviz", None)
    with pytest.raises(MissingExtra, match=r"pip install 'penstock\[graph\]'") as caught:
        to_graph(IterableWrapper([1]))
    assert isinstance(caught.value, ModuleNotFoundError)
