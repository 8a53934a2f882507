"""Graphs are looked at and rewritten without being changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from penstock.core.errors import GraphError
from penstock.graph import differences, find, fingerprint, mermaid, names, remove, replace, text, walk
from penstock.pipes import Batcher, IterableWrapper, IterDataPipe, Mapper, Shuffler


def decode(x: Any) -> Any:
    return x


def diamond() -> tuple[IterDataPipe[Any], IterDataPipe[Any]]:
    source = IterableWrapper(range(4)).shuffle(buffer_size=2)
    return source, source.map(decode).zip(source.map(str)).batch(2)


def test_walk_gives_each_pipe_once_sources_first() -> None:
    source, root = diamond()
    kinds = [type(pipe).__name__ for pipe in walk(root)]
    assert kinds == ["IterableWrapper", "Shuffler", "Mapper", "Mapper", "Zipper", "Batcher"]
    assert walk(root)[1] is source


def test_names_are_kinds_and_ordinals_and_what_the_user_says() -> None:
    root = IterableWrapper([1]).map(str).map(str, name="mine").map(str).batch(2)
    given = [names(root)[id(pipe)] for pipe in walk(root)]
    assert given == ["IterableWrapper", "map", "mine", "map:1", "batch"]


def test_what_is_added_behind_a_pipe_does_not_rename_it() -> None:
    root = IterableWrapper([1]).map(str).map(str)
    assert set(names(root).values()) < set(names(root.map(str).batch(2)).values())


def test_a_name_that_looks_like_an_ordinal_is_not_given_twice() -> None:
    root = IterableWrapper([1]).map(str, name="map").map(str).map(str, name="map:2").map(str).map(str)
    assert len(set(names(root).values())) == 6


def test_sources_are_found_in_containers_and_swapped_there() -> None:
    class Several(IterDataPipe[Any]):
        def __init__(self, *pipes: Any) -> None:
            self.by_name = {"a": pipes[0], "more": [pipes[1], (pipes[2],)]}
            self.again = pipes[0]

        def __iter__(self) -> Any:
            yield from self.again
            yield from self.by_name["more"][1][0]

    a, b, c = (IterableWrapper([i]) for i in range(3))
    pipe = Several(a, b, c)
    assert pipe.sources == (a, b, c)
    new = pipe.with_sources(b, b, IterableWrapper([7]))
    assert (list(new), list(pipe)) == ([1, 7], [0, 2])
    assert pipe.with_sources(a, b, c) is pipe
    with pytest.raises(ValueError, match="3 sources"):
        pipe.with_sources(a)


def test_a_long_list_of_data_is_no_graph() -> None:
    assert IterableWrapper(list(range(100_000))).sources == ()


def test_a_pipe_that_reads_from_itself_is_refused() -> None:
    first: Any = IterableWrapper([1]).map(str)
    second = first.map(str)
    first.datapipe = second
    with pytest.raises(GraphError, match="reads from itself"):
        walk(second)


def test_find_gives_pipes_by_type() -> None:
    source, root = diamond()
    assert find(root, Shuffler) == [source]
    assert len(find(root, (Mapper, Batcher))) == 3
    assert find(root, IterDataPipe) == walk(root)


def test_replace_returns_a_new_graph_and_leaves_the_old_one() -> None:
    source, root = diamond()
    before = [dict(vars(pipe)) for pipe in walk(root)]
    new = replace(root, source, IterableWrapper([8, 9]))
    assert list(new) == [[(8, "8"), (9, "9")]]
    assert [vars(pipe) for pipe in walk(root)] == before
    doubled = replace(root, source, lambda pipe: pipe.map(decode, name="extra"))
    assert "extra" in names(doubled).values()
    assert replace(root, root, source) is source
    with pytest.raises(GraphError, match="not in the graph"):
        replace(root, IterableWrapper([1]), source)


def test_remove_joins_what_was_on_both_sides() -> None:
    source, root = diamond()
    assert [type(pipe).__name__ for pipe in walk(remove(root, source))].count("Shuffler") == 0
    (zipped,) = (pipe for pipe in walk(root) if len(pipe.sources) == 2)
    for pipe in (zipped, walk(root)[0]):
        with pytest.raises(GraphError, match="sources"):
            remove(root, pipe)


def test_a_fingerprint_is_the_same_for_the_same_graph_and_tells_others_apart() -> None:
    _, root = diamond()
    assert fingerprint(root) == fingerprint(cloudpickle.loads(cloudpickle.dumps(root))) == fingerprint(diamond()[1])
    assert differences(fingerprint(root), fingerprint(root)) == []
    changed = IterableWrapper(range(4)).shuffle(buffer_size=3).map(decode).batch(3)
    found = "\n".join(differences(fingerprint(root), fingerprint(changed)))
    for words in ("'zip'", "'map:1'", "parameters of 'shuffle'", "parameters of 'batch'", "sources of 'batch'"):
        assert words in found


def test_text_names_each_pipe_its_function_and_its_place() -> None:
    _, root = diamond()
    lines = text(root).splitlines()
    assert len(lines) == 6
    assert "map(decode)" in lines[2] and f"{Path(__file__).name}:" in lines[2]
    assert lines[3].endswith("<- shuffle")
    assert lines[4].endswith("<- map, map:1")


def test_mermaid_draws_every_pipe_and_arrow_and_the_sharding_point_as_a_hexagon() -> None:
    root = IterableWrapper([1]).sharding_filter().map(lambda x: x)
    drawn = mermaid(root).splitlines()
    assert drawn[0] == "flowchart TD"
    assert drawn[2].strip() == 'p1{{"sharding_filter"}}'
    assert "&lt;lambda&gt;" in drawn[3]
    assert [line.strip() for line in drawn[4:]] == ["p0 --> p1", "p1 --> p2"]


def test_a_notebook_shows_the_graph() -> None:
    root = IterableWrapper([1]).map(lambda x: x)
    bundle = root._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html", "text/vnd.mermaid"}
    assert root._repr_html_() == bundle["text/html"]
    assert "<lambda>" not in bundle["text/html"] and "&lt;lambda&gt;" in bundle["text/html"]
    assert repr(root) == "Mapper"
