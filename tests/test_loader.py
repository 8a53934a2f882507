"""DataLoader2: one epoch at a time, lengths, forwarding, and what it counts."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tqdm.auto import tqdm

from penstock import (
    DataLoader2,
    InProcessReadingService,
    IterableWrapper,
    MultiProcessingReadingService,
    SequenceWrapper,
)

# tqdm keeps one thread and one semaphore for the life of the program, once a bar has been shown.
tqdm.monitor_interval = 0
tqdm.get_lock()

pytestmark = pytest.mark.usefixtures("no_leftovers")


def services() -> list[Any]:
    return [InProcessReadingService(), MultiProcessingReadingService(2)]


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("drop_last", [False, True])
def test_the_length_is_what_an_epoch_gives(workers: int, drop_last: bool) -> None:
    source = IterableWrapper(range(23)).shuffle().sharding_filter()
    graphs = [source.map(str).batch(4, drop_last=drop_last), source.shuffle().batch(4, drop_last=drop_last)]
    for graph in graphs:
        with DataLoader2(graph, reading_service=MultiProcessingReadingService(workers)) as dl:
            before = len(dl)
            assert before == sum(1 for _ in dl) == len(dl) == len(iter(dl))


def test_the_length_of_a_graph_without_a_sharding_point_counts_every_worker() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        dl = DataLoader2(IterableWrapper(range(5)), reading_service=MultiProcessingReadingService(3, lanes=2))
    with dl:
        assert len(dl) == 15 == sum(1 for _ in dl)


def test_a_graph_that_cannot_tell_its_length_says_so() -> None:
    dl = DataLoader2(IterableWrapper(range(5)).filter(bool))
    with pytest.raises(TypeError, match="doesn't have valid length"):
        len(dl)
    assert list(dl) == [1, 2, 3, 4]


@pytest.mark.parametrize("service", services(), ids=["in process", "workers"])
def test_a_new_iterator_ends_the_old_one(service: Any) -> None:
    with DataLoader2(IterableWrapper(range(50)).sharding_filter(), reading_service=service) as dl:
        old = iter(dl)
        assert next(old) == 0
        new = iter(dl)
        assert next(new) == 0
        with pytest.raises(RuntimeError, match="This iterator has been invalidated"):
            next(old)
        del old
        assert list(new) == list(range(1, 50)), "dropping the old one does not end the new one"
        with pytest.raises(StopIteration):
            next(new)


@pytest.mark.parametrize("service", services(), ids=["in process", "workers"])
def test_iterating_after_shutdown_is_an_error(service: Any) -> None:
    dl = DataLoader2(IterableWrapper(range(5)).sharding_filter(), reading_service=service)
    it = iter(dl)
    next(it)
    dl.shutdown()
    dl.shutdown()
    with pytest.raises(RuntimeError, match="Cannot iterate over the DataLoader as it has already been shut down"):
        iter(dl)
    with pytest.raises(RuntimeError, match="shut down"):
        next(it)


def test_seeds_outside_64_bits_are_refused() -> None:
    dl = DataLoader2(IterableWrapper(range(5)).shuffle())
    for seed in (-1, 1 << 64):
        with pytest.raises(ValueError, match="Expected an uint64 seed"):
            dl.seed(seed)
    dl.seed((1 << 64) - 1)
    assert sorted(dl) == list(range(5))


@pytest.mark.parametrize(("graph", "total"), [(lambda p: p.batch(4), "/6 "), (lambda p: p.filter(bool), "22")])
def test_the_progress_bar_shows_the_length(graph: Callable[[Any], Any], total: str, capsys: Any) -> None:
    pipe = graph(IterableWrapper(range(23)).sharding_filter())
    with DataLoader2(pipe, reading_service=MultiProcessingReadingService(2), progress={"mininterval": 0}) as dl:
        count = sum(1 for _ in dl)
    err = capsys.readouterr().err
    assert total in err and "batch" in err and str(count) in err


def test_a_progress_bar_of_a_resumed_epoch_starts_where_it_was(capsys: Any) -> None:
    dl = DataLoader2(IterableWrapper(range(10)))
    it = iter(dl)
    for _ in range(4):
        next(it)
    state = dl.state_dict()
    resumed = DataLoader2(IterableWrapper(range(10)), progress=True)
    resumed.load_state_dict(state)
    assert list(resumed) == list(range(4, 10))
    assert "10/10" in capsys.readouterr().err


@pytest.mark.parametrize("service", services(), ids=["in process", "workers"])
def test_torch_datasets_are_sources(service: Any) -> None:
    import torch

    class Squares(torch.utils.data.Dataset[int]):
        def __len__(self) -> int:
            return 7

        def __getitem__(self, i: int) -> int:
            if i >= 7:
                raise IndexError(i)
            return i * i

    with DataLoader2(Squares(), reading_service=service) as dl:
        assert len(dl) == 7 and list(dl) == [i * i for i in range(7)]
        assert list(dl) == [i * i for i in range(7)]


def test_torch_iterable_datasets_are_sources() -> None:
    import torch

    class Stream(torch.utils.data.IterableDataset[int]):
        def __iter__(self) -> Iterator[int]:
            return iter(range(6))

    assert list(DataLoader2(Stream())) == list(range(6))
    pipe = IterableWrapper(Stream()).shuffle().sharding_filter().map(lambda x: x + 1).batch(2)
    with DataLoader2(pipe, reading_service=MultiProcessingReadingService(2)) as dl:
        got = list(dl)
    assert sorted(sum(got, [])) == list(range(1, 7)) and list(map(len, got)) == [2, 2, 2]


def test_what_is_no_source_is_refused() -> None:
    with pytest.raises(TypeError, match="a DataPipe or a torch Dataset is expected, but got int"):
        DataLoader2(3)


def test_attributes_come_from_the_pipe() -> None:
    dl = DataLoader2(IterableWrapper(range(9)).batch(4))
    assert dl.batch_size == 4 and dl.datapipe.batch_size == 4
    with pytest.raises(AttributeError):
        dl.nothing_of_that_name  # noqa: B018


def test_adapters_run_in_order() -> None:
    adapters = [lambda g: g.map(lambda x: x + 1), lambda g: g.batch(2)]
    assert list(DataLoader2(IterableWrapper([1, 2, 3]), adapters)) == [[2, 3], [4]]
    assert list(DataLoader2(IterableWrapper([1, 2, 3]), adapters[0])) == [2, 3, 4]


def test_a_map_pipe_is_iterated_by_index() -> None:
    assert list(DataLoader2(SequenceWrapper([5, 6, 7]))) == [5, 6, 7]


def test_the_users_graph_is_not_changed() -> None:
    pipe = IterableWrapper(range(6)).shuffle().sharding_filter()
    shown = repr(pipe), dict(vars(pipe))
    with DataLoader2(pipe, reading_service=MultiProcessingReadingService(2)) as dl:
        list(dl)
    assert (repr(pipe), dict(vars(pipe))) == shown
    assert sorted(pipe) == list(range(6))


def test_stats_count_what_was_delivered() -> None:
    with DataLoader2(
        IterableWrapper(range(10)).sharding_filter().batch(2), reading_service=MultiProcessingReadingService(2)
    ) as dl:
        assert dl.stats()["delivered_total"] == 0
        dl.seed(1)
        list(dl)
        it = iter(dl)
        next(it)
        assert dl.stats() == {
            "epoch": 1,
            "delivered": 1,
            "delivered_total": 6,
            "division": "blocks",
            "lanes": dl.stats()["lanes"],
            "restarts": 0,
            "dropped": 0,
            "digest": dl.stats()["digest"],
            "skipped": 0,
            "retried": 0,
        }


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="num_workers must not be negative, got -1"):
        MultiProcessingReadingService(-1)
    with pytest.raises(ValueError, match="lanes"):
        MultiProcessingReadingService(1, lanes=0)
    with pytest.raises(ValueError, match="lanes"):
        InProcessReadingService(lanes=0)
    with pytest.raises(AssertionError, match="forkserver"):
        MultiProcessingReadingService(1, "thread")
    with pytest.raises(ValueError, match="prefetch"):
        MultiProcessingReadingService(1, worker_prefetch_cnt=-1)
    with pytest.warns(UserWarning, match="num_workers is 0"):
        MultiProcessingReadingService(0)


@pytest.mark.parametrize("item", [10**5000, [10**5000, 1], {"x": 1, "y": 10**5000}], ids=["int", "list", "dict"])
def test_what_cannot_be_looked_at_is_delivered(item: Any) -> None:
    """The digest of what an epoch has delivered looks at items."""
    assert list(DataLoader2(IterableWrapper([item]))) == [item]


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
def test_tensors_without_numbers_at_hand_are_delivered() -> None:
    import torch

    for tensor in (torch.eye(2).to_sparse(), torch.eye(2).to_sparse_csr(), torch.ones(2, device="meta")):
        [[got]] = [list(DataLoader2(IterableWrapper([tensor], deepcopy=False)))]
        assert got is tensor
