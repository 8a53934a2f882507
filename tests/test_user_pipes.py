"""Pipes that users wrote for torchdata run unchanged, and pipes run unchanged in torch's own DataLoader."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch.utils.data
from torch.utils.data.datapipes.iter import IterableWrapper as TorchWrapper

from penstock import DataLoader2
from penstock.core.context import current_context
from penstock.core.pipe import ONE_TO_ONE
from penstock.core.plan import plan
from penstock.pipes import IterableWrapper, IterDataPipe, Mapper, functional_datapipe
from penstock.pipes.map import MapDataPipe, SequenceWrapper
from running import beginning, merged, run


def wrap(n: int) -> IterableWrapper[int]:
    return IterableWrapper(range(n))


class Plus(IterDataPipe[Any]):
    def __init__(self, source_datapipe: Any, by: int = 0) -> None:
        self.source_datapipe = source_datapipe
        self.by = by

    def __iter__(self) -> Iterator[Any]:
        for x in self.source_datapipe:
            yield x + self.by

    def __len__(self) -> int:
        return len(self.source_datapipe)


def test_a_users_pipe_around_a_shuffle_gives_what_the_built_in_chain_gives() -> None:
    built_in = wrap(50).shuffle().map(lambda x: x + 3)
    assert run(Plus(wrap(50).shuffle(), 3)) == run(built_in)
    assert run(Plus(wrap(50).shuffle(), 3), epoch=7) == run(built_in, epoch=7) != run(built_in)
    assert len(Plus(wrap(50))) == 50


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_users_pipe_runs_for_its_own_share(count: int) -> None:
    for index in range(count):
        ours = Plus(wrap(50).shuffle().sharding_filter(), 3)
        assert run(ours, count=count, index=index) == run(
            wrap(50).shuffle().sharding_filter().filter(lambda x: True).map(lambda x: x + 3), count=count, index=index
        )


def test_a_pipe_hidden_in_a_closure_runs_in_the_context_of_the_stream() -> None:
    hidden = wrap(50).shuffle()

    class Closure(IterDataPipe[int]):
        def __iter__(self) -> Iterator[int]:
            assert current_context.get() is not None
            yield from hidden

    assert Closure().sources == ()
    assert run(Closure()) == run(hidden)
    assert run(Closure(), epoch=9) == run(hidden, epoch=9)
    assert current_context.get() is None


def test_a_hidden_sharding_point_of_the_same_name_does_not_join_the_graphs() -> None:
    class Beside(IterDataPipe[Any]):
        def __init__(self, source_datapipe: Any) -> None:
            self.source_datapipe = source_datapipe

        def __iter__(self) -> Iterator[Any]:
            other = iter(wrap(100).sharding_filter())
            for x in self.source_datapipe:
                yield x, next(other)

    root = Beside(wrap(12).sharding_filter())
    for workers in (1, 2):
        found = [item for item, _ in merged(root, workers, beginning(root, 2))]
        assert found == [[x, x] for x in range(12)]


def test_the_source_may_be_iterated_again_and_asked_for_its_length() -> None:
    class Twice(IterDataPipe[Any]):
        def __init__(self, source_datapipe: Any) -> None:
            self.source_datapipe = source_datapipe

        def __iter__(self) -> Iterator[Any]:
            yield len(self.source_datapipe)
            yield from self.source_datapipe
            yield from self.source_datapipe

    assert run(Twice(wrap(2))) == [2, 0, 1, 0, 1]


def test_reset_and_set_seed_are_called_on_the_copy_that_runs() -> None:
    class Hooked(IterDataPipe[Any]):
        def __init__(self) -> None:
            self.calls: list[Any] = []
            self.seed = 0

        def reset(self) -> None:
            self.calls = [*self.calls, "reset"]

        def set_seed(self, seed: int) -> None:
            self.seed = seed

        def __iter__(self) -> Iterator[Any]:
            yield self.calls, self.seed

    pipe = Hooked()
    ((calls, seed),) = run(pipe)
    assert calls == ["reset"] and seed > 0
    assert run(pipe, epoch=1)[0][1] != seed
    assert run(pipe)[0][1] == seed
    assert (pipe.calls, pipe.seed) == ([], 0)


def test_apply_sharding_of_a_users_pipe_is_honoured() -> None:
    class Mine(IterDataPipe[int]):
        def __init__(self, source_datapipe: Any) -> None:
            self.source_datapipe = source_datapipe
            self.share = (1, 0)

        def apply_sharding(self, num_of_instances: int, instance_id: int, sharding_group: Any = None) -> None:
            self.share = (num_of_instances, instance_id)

        def __iter__(self) -> Iterator[int]:
            count, index = self.share
            for i, x in enumerate(self.source_datapipe):
                if i % count == index:
                    yield x

    root = Mine(wrap(9).shuffle())
    assert plan(root).kind == "lanes"
    assert run(root, count=2, index=1) == run(wrap(9).shuffle())[1::2]
    for workers in (1, 2, 3):
        assert [item for item, _ in merged(root, workers, beginning(root, 3))] == run(wrap(9).shuffle())


def squares() -> MapDataPipe[int]:
    return SequenceWrapper([x * x for x in range(20)])


class OneToOne(Plus):
    arity = ONE_TO_ONE


class Table(IterDataPipe[Any]):
    """Looks items up in a MapDataPipe."""

    arity = ONE_TO_ONE

    def __init__(self, source_datapipe: IterDataPipe[Any], table: MapDataPipe[Any]) -> None:
        self.source_datapipe = source_datapipe
        self.table = table

    def __iter__(self) -> Iterator[Any]:
        for x in self.source_datapipe:
            yield self.table[x]


@pytest.mark.parametrize("own", [lambda source: OneToOne(source, 1), lambda source: Table(source, squares())])
@pytest.mark.parametrize("then", ["batch", "enumerate", "random_map"])
def test_a_users_pipe_that_says_it_is_one_to_one_keeps_blocks_on_any_workers(then: str, own: Any) -> None:
    root: Any = own(wrap(20).shuffle().sharding_filter())
    root = {
        "batch": lambda: root.batch(3),
        "enumerate": lambda: root.enumerate().batch(2),
        "random_map": lambda: root.random_map(lambda x, rng: (x, rng.random())),
    }[then]()
    assert plan(root).kind == "blocks"
    for workers in (1, 2, 3):
        seen = list(merged(root, workers, beginning(root, workers)))
        assert [x for x, _ in seen] == run(root)
        for i, (_, progress) in enumerate(seen):
            assert [x for x, _ in merged(root, workers % 3 + 1, progress)] == [x for x, _ in seen[i + 1 :]]


def test_an_exception_keeps_its_type_and_names_the_users_pipe() -> None:
    class Failing(Plus):
        def __iter__(self) -> Iterator[Any]:
            for x in self.source_datapipe:
                if x == 2:
                    raise LookupError("two")
                yield x

    with pytest.raises(LookupError, match="two") as raised:
        list(Failing(wrap(5)).map(str))
    assert "raised in pipe 'Failing'" in "\n".join(raised.value.__notes__)


def test_a_functional_name_of_ones_own_makes_a_method() -> None:
    @functional_datapipe("test_user_pipes_minus")
    class Minus(Plus):
        """Subtract."""

        def __iter__(self) -> Iterator[Any]:
            for x in self.source_datapipe:
                yield x - self.by

    made: Any = wrap(3)
    assert list(made.test_user_pipes_minus(by=1, name="mine").map(str)) == ["-1", "0", "1"]
    with pytest.raises(ValueError, match="is taken by"):
        functional_datapipe("test_user_pipes_minus")(Plus)
    with pytest.raises(ValueError, match="is taken by"):
        functional_datapipe("map")(Plus)
    IterDataPipe.register_function("test_user_pipes_last", lambda self: list(self)[-1])
    assert made.test_user_pipes_last() == 2
    del IterDataPipe.functions["test_user_pipes_minus"]


def test_a_pipe_of_torch_is_a_source() -> None:
    assert list(IterableWrapper(TorchWrapper([1, 2])).map(str)) == ["1", "2"]


# -------------------------------------------------------------------------------------------------- torch's DataLoader


def graph(n: int) -> IterDataPipe[int]:
    return wrap(n).shuffle().sharding_filter().map(lambda x: x)


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")
@pytest.mark.parametrize("batch_size", [None, 8])
@pytest.mark.parametrize("persistent", [False, True])
def test_torchs_loader_gives_each_sample_once_and_epochs_differ(batch_size: int | None, persistent: bool) -> None:
    loader = torch.utils.data.DataLoader(
        graph(50),  # type: ignore[arg-type]
        batch_size=batch_size,
        num_workers=4,
        persistent_workers=persistent,
        multiprocessing_context="fork",
    )
    epochs = [[int(x) for batch in loader for x in np.atleast_1d(batch)] for _ in range(3)]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    del loader


def test_torchs_loader_without_workers_takes_pipes_as_they_are() -> None:
    loader = torch.utils.data.DataLoader(graph(20), batch_size=5)  # type: ignore[arg-type]
    epochs = [torch.cat(list(loader)).tolist() for _ in range(2)]
    assert sorted(epochs[0]) == list(range(20)) and epochs[0] != epochs[1]
    assert isinstance(graph(2), torch.utils.data.IterableDataset)


def test_torchs_loader_gives_each_sample_once_through_lanes_and_users_pipes() -> None:
    root = Plus(wrap(50).shuffle().sharding_filter(), 1).filter(lambda x: x % 5)
    loader = torch.utils.data.DataLoader(root, batch_size=None, num_workers=2)  # type: ignore[arg-type]
    assert sorted(loader) == [x for x in range(1, 51) if x % 5]


SCRIPT = """
from penstock.pipes import IterableWrapper
early = IterableWrapper(range(40)).shuffle().sharding_filter()  # made before torch was loaded
import torch.utils.data

if __name__ == "__main__":
    late = early.map(str).map(int)
    for persistent in (False, True):
        loader = torch.utils.data.DataLoader(
            late, batch_size=8, num_workers=4, persistent_workers=persistent, multiprocessing_context="fork"
        )
        epochs = [torch.cat(list(loader)).tolist() for _ in range(2)]
        assert all(sorted(epoch) == list(range(40)) for epoch in epochs), epochs
        assert epochs[0] != epochs[1]
    print("each once")
"""


def test_torchs_loader_in_a_program_that_loads_torch_late() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=100)
    assert done.stdout == "each once\n", done.stderr


class Tagged(Mapper[Any]):
    """A subclass of a built-in pipe, with an ``__iter__`` of its own."""

    def __iter__(self) -> Iterator[Any]:
        for x in super().__iter__():
            yield "tagged", x


def test_an_iter_of_a_users_subclass_goes_before_the_built_in_pipes_build() -> None:
    assert list(Tagged(wrap(3), str).batch(2)) == [[("tagged", "0"), ("tagged", "1")], [("tagged", "2")]]


class Numbering:
    """An iterator that saves its own place and its source's."""

    def __init__(self, source: Any) -> None:
        self.source = iter(source)
        self.number = 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        item = next(self.source)
        self.number += 1
        return self.number, item

    def state_dict(self) -> dict[str, Any]:
        return {"number": self.number, "source": self.source.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.number = state_dict["number"]
        self.source.load_state_dict(state_dict["source"])


class Numbered(IterDataPipe[Any]):
    def __init__(self, source_datapipe: Any) -> None:
        self.source_datapipe = source_datapipe

    def __iter__(self) -> Iterator[Any]:
        return Numbering(self.source_datapipe)


def test_a_users_stateful_iterator_saves_its_source_too() -> None:
    pipe = Numbered(wrap(20).shuffle(buffer_size=6)).map(lambda pair: pair)
    for stop in range(21):
        whole = iter(pipe)
        for _ in range(stop):
            next(whole)
        saved = json.loads(json.dumps(whole.state_dict()))  # type: ignore[attr-defined]  # a PipeIterator
        again = iter(pipe)
        again.load_state_dict(saved)  # type: ignore[attr-defined]  # likewise
        assert list(again) == list(whole)


class Tallying(IterDataPipe[Any]):
    """Its iterator's state is a dict that changes as it runs."""

    def __iter__(self) -> Iterator[Any]:
        return Tally()


class Tally:
    def __init__(self) -> None:
        self.seen: dict[str, list[int]] = {"seen": []}

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> int:
        self.seen["seen"].append(len(self.seen["seen"]))
        return self.seen["seen"][-1]

    def state_dict(self) -> dict[str, Any]:
        return self.seen

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seen = state_dict


def test_a_state_stays_what_it_was_when_it_was_taken() -> None:
    loader = DataLoader2(Tallying())
    it = iter(loader)
    next(it), next(it)
    state = loader.state_dict()
    then = json.dumps(state)
    next(it), next(it)
    assert json.dumps(state) == then
    loader.shutdown()
