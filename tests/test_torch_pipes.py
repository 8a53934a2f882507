"""torch's own DataPipes as sources: each item once over all workers, seeded by the run, restored by replay."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch.utils.data.datapipes.iter as torch_iter
import torch.utils.data.datapipes.map as torch_map

from penstock import DataLoader2, InProcessReadingService, MultiProcessingReadingService
from penstock.core.errors import GraphError, StateError
from penstock.graph import lint, walk
from penstock.pipes import (
    Batcher,
    Concater,
    Filter,
    IterableWrapper,
    IterKeyZipper,
    Mapper,
    MapToIterConverter,
    Multiplexer,
    SampleMultiplexer,
    Zipper,
    ZipperLongest,
)
from penstock.pipes.map import Concater as MapConcater
from penstock.pipes.map import Mapper as MapMapper
from penstock.pipes.map import SequenceWrapper
from penstock.pipes.map import Zipper as MapZipper
from running import context, restores_at_every_index, run


def numbers(n: int = 12) -> Any:
    return torch_iter.IterableWrapper(range(n))


def doubled(x: int) -> int:
    return 2 * x


def test_a_torch_pipe_is_a_source_of_every_kind_of_pipe() -> None:
    small = numbers(3)
    assert list(Mapper(small, doubled)) == [0, 2, 4]
    assert list(Batcher(Filter(small, bool), 2)) == [[1, 2]]
    assert list(IterableWrapper(small).map(doubled)) == [0, 2, 4]
    assert list(Zipper(small, IterableWrapper("abc"))) == [(0, "a"), (1, "b"), (2, "c")]
    assert list(ZipperLongest(IterableWrapper("ab"), small)) == [("a", 0), ("b", 1), (None, 2)]
    assert list(Concater(small, small)) == [0, 1, 2] * 2
    assert list(Multiplexer(small, small)) == [0, 0, 1, 1, 2, 2]
    assert sorted(SampleMultiplexer({small: 1.0, IterableWrapper([7]): 1.0})) == [0, 1, 2, 7]
    assert list(IterKeyZipper(small, numbers(3), key_fn=int)) == [(0, 0), (1, 1), (2, 2)]
    assert len(Mapper(small, doubled)) == len(IterableWrapper(small)) == 3
    a, b = IterableWrapper(small).fork(2)
    assert list(a.zip(b)) == [(0, 0), (1, 1), (2, 2)]


def test_a_torch_map_pipe_is_a_source_too() -> None:
    pipe = torch_map.SequenceWrapper([3, 4, 5])
    assert list(MapToIterConverter(pipe)) == [3, 4, 5]
    assert MapMapper(pipe, doubled)[2] == 10
    assert SequenceWrapper(pipe)[1] == MapConcater(pipe, pipe)[4] == 4
    assert MapZipper(pipe, pipe)[0] == (3, 3)
    assert list(DataLoader2(pipe)) == [3, 4, 5]
    with pytest.raises(TypeError, match="reads from an MapDataPipe, but got TorchIterDataPipe"):
        MapMapper(numbers(), doubled)


def test_anything_else_is_refused_as_before() -> None:
    with pytest.raises(TypeError, match="reads from an IterDataPipe, but got list"):
        Mapper([1], doubled)  # type: ignore[arg-type]


def test_iterating_leaves_the_torch_pipe_alone_and_runs_go_side_by_side() -> None:
    torch_pipe = numbers(5).shuffle()
    pipe = IterableWrapper(torch_pipe)
    one, other = iter(pipe), iter(pipe)
    pairs = list(zip(one, other, strict=True))
    assert sorted(x for x, _ in pairs) == sorted(x for _, x in pairs) == list(range(5))
    its_own = iter(torch_pipe)
    next(its_own)
    list(pipe)
    assert len(list(its_own)) == 4, "torch would have invalidated it"


def test_it_restores_at_every_index() -> None:
    graph: Any = IterableWrapper(numbers().shuffle().map(doubled)).map(doubled).batch(2)
    items = restores_at_every_index(graph)
    assert sorted(x for batch in items for x in batch) == [4 * x for x in range(12)]
    restores_at_every_index(IterableWrapper(numbers().shuffle().sharding_filter()), count=2, index=1)
    restores_at_every_index(IterableWrapper(numbers(0)))
    restores_at_every_index(IterableWrapper(numbers(1).fork(2)[0]))


def test_a_source_that_became_shorter_is_noticed() -> None:
    long, short = IterableWrapper(numbers(9)), IterableWrapper(numbers(3))
    stream = context(long).build(long)
    for _ in range(5):
        next(stream.it)
    restored = context(short).build(short, stream.state())
    with pytest.raises(StateError, match="gave 5 items when the state was saved, and now only 3"):
        next(restored.it)


def test_the_runs_seed_and_epoch_make_the_order() -> None:
    pipe = IterableWrapper(numbers(50).shuffle().shuffle())
    assert run(pipe, seed=1, epoch=0) == run(pipe, seed=1, epoch=0)
    orders = [tuple(run(pipe, seed=seed, epoch=epoch)) for seed in (1, 2) for epoch in (0, 1)]
    assert len(set(orders)) == 4


def test_a_torch_sharding_filter_divides_and_the_shuffle_ahead_of_it_agrees() -> None:
    pipe = IterableWrapper(numbers(20).shuffle().sharding_filter().map(doubled)).map(str)
    assert [p.is_sharding_point for p in walk(pipe)] == [True, False, False]
    shares = [run(pipe, count=3, index=index) for index in range(3)]
    whole = run(pipe)
    assert shares == [whole[index::3] for index in range(3)]


def test_shuffles_behind_a_torch_sharding_filter_differ() -> None:
    pipe = IterableWrapper(numbers(40).sharding_filter().shuffle())
    even, odd = (run(pipe, count=2, index=index) for index in range(2))
    assert sorted(even) == list(range(0, 40, 2))
    assert [x // 2 for x in even] != [x // 2 for x in odd]


def test_a_point_of_ours_behind_a_torch_pipe_divides_it() -> None:
    pipe: Any = IterableWrapper(numbers(20).shuffle()).sharding_filter()
    assert run(pipe, count=2, index=1) == run(pipe)[1::2]
    both: Any = IterableWrapper(numbers(20).sharding_filter()).sharding_filter()
    assert run(both, count=2, index=1) == list(range(1, 20, 2)), "a point ahead of another one divides nothing"


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.usefixtures("no_leftovers")
def test_each_item_comes_once_over_worker_processes_and_epochs_differ(workers: int) -> None:
    torch_pipe = numbers(20).shuffle().sharding_filter().map(lambda x: 2 * x)
    with DataLoader2(torch_pipe, reading_service=MultiProcessingReadingService(workers)) as loader:
        loader.seed(3)
        epochs = [list(loader) for _ in range(2)]
        loader.seed(3)
        assert list(loader) == epochs[0]
    assert sorted(epochs[0]) == sorted(epochs[1]) == [2 * x for x in range(20)]
    assert epochs[0] != epochs[1]
    with DataLoader2(torch_pipe, reading_service=InProcessReadingService(lanes=workers)) as loader:
        loader.seed(3)
        assert list(loader) == epochs[0], "the sequence does not depend on processes"


def test_a_loader_over_a_torch_pipe_resumes() -> None:
    torch_pipe = numbers(20).shuffle()
    loader = DataLoader2(torch_pipe)
    loader.seed(1)
    it = iter(loader)
    seen = [next(it) for _ in range(7)]
    again = DataLoader2.from_state(torch_pipe, loader.state_dict())
    rest = list(again)
    assert rest == list(it)
    assert sorted(seen + rest) == list(range(20))


def test_the_data_is_not_copied_for_a_stream() -> None:
    class Row:
        copies = 0

        def __deepcopy__(self, memo: Any) -> Row:
            Row.copies += 1
            return self

    rows = [Row() for _ in range(3)]
    pipe = IterableWrapper(torch_iter.IterableWrapper(rows, deepcopy=False).map(id))
    assert list(pipe) == [id(row) for row in rows]
    assert Row.copies == 0


def test_a_torch_pipe_that_cannot_be_copied_says_so() -> None:
    import threading

    torch_pipe = numbers().map(doubled)
    torch_pipe.lock = threading.Lock()
    with pytest.raises(GraphError, match="wraps a torch DataPipe, which cannot be copied"):
        list(IterableWrapper(torch_pipe))


def test_an_error_in_a_torch_pipe_keeps_its_type_and_names_the_pipe() -> None:
    def bad(x: int) -> int:
        raise KeyError(x)

    with pytest.raises(KeyError) as caught:
        list(IterableWrapper(numbers().map(bad)).map(doubled))
    assert any("TorchIterDataPipe" in note for note in getattr(caught.value, "__notes__", []))


def test_lint_sees_the_shuffles_and_sharding_filters_of_a_torch_graph() -> None:
    shuffled = numbers().shuffle()
    assert lint(IterableWrapper(shuffled.sharding_filter())) == []
    assert lint(IterableWrapper(shuffled).sharding_filter()) == []
    assert [finding.code for finding in lint(IterableWrapper(numbers().sharding_filter()))] == ["no-shuffle-ahead"]
    assert [finding.code for finding in lint(IterableWrapper(shuffled))] == ["no-sharding-point"]


def test_no_pipe_checks_its_source_and_then_reads_from_another_one() -> None:
    unused = [
        f"{path.name}:{node.lineno}"
        for path in sorted((Path(__file__).parents[1] / "penstock").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and getattr(node.value.func, "id", "") == "check_source"
    ]
    assert not unused, f"check_source returns the pipe to read from, which is another one for torch's: {unused}"


def test_torch_is_not_imported_for_it() -> None:
    program = (
        "import sys; from penstock import IterableWrapper; "
        "assert list(IterableWrapper([1]).map(str)) == ['1']; assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0
