"""Others' checkpoints carry a loader's place: StatefulDataLoader, torchdata.nodes, torch's DCP, and Lightning."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from penstock import (
    DataLoader2,
    DistributedReadingService,
    InProcessReadingService,
    IterableWrapper,
    MultiProcessingReadingService,
    SequentialReadingService,
    StateError,
)
from penstock.graph import apply_sharding
from ranks import ranks
from running import trip

SEED = 3


def blocks(size: int = 60) -> Any:
    return IterableWrapper(range(size)).shuffle(buffer_size=20).sharding_filter().map(lambda x: -x).batch(2)


def lanes(size: int = 60) -> Any:
    pipe = IterableWrapper(range(size)).shuffle(buffer_size=20).sharding_filter().filter(lambda x: x % 7)
    return pipe.flatmap(lambda x: [x, 1000 + x]).shuffle(buffer_size=5).batch(2)


GRAPHS = pytest.mark.parametrize("graph", [blocks, lanes])


def flat(batches: list[Any]) -> list[int]:
    return sorted(x for batch in batches for x in batch)


# ------------------------------------------------------------------------------------------------- StatefulDataLoader


def stateful(graph: Any, workers: int, persistent: bool) -> Any:
    loaders = pytest.importorskip("torchdata.stateful_dataloader")
    return loaders.StatefulDataLoader(graph(), batch_size=None, num_workers=workers, persistent_workers=persistent)


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
@GRAPHS
@pytest.mark.parametrize(("workers", "persistent"), [(0, False), (2, False), (2, True)])
@pytest.mark.parametrize("after", [0, 1, 9])
@pytest.mark.parametrize("epoch", [0, 1])
def test_torchdatas_loader_gives_exactly_the_rest(
    graph: Any, workers: int, persistent: bool, after: int, epoch: int
) -> None:
    loader = stateful(graph, workers, persistent)
    for _ in range(epoch):
        list(loader)
    it = iter(loader)
    head = [next(it) for _ in range(after)]
    state = trip(loader.state_dict()) if not persistent and not workers else loader.state_dict()
    rest = list(it)
    assert flat(head + rest) == flat(list(graph())), "the workers divide the data"
    again = stateful(graph, workers, persistent)
    again.load_state_dict(state)
    assert list(again) == rest
    following = list(again)
    assert flat(following) == flat(rest + head) and following != head + rest
    if persistent:  # others draw the next epoch's seed from torch's generator, which is no part of the state
        assert following == list(loader)


def divided(graph: Any, rank: int) -> Any:
    """The graph of one of two ranks."""
    return apply_sharding(graph(), 2, rank)


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
@GRAPHS
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_torchdatas_loader_divides_a_ranks_share_further_among_its_workers(graph: Any, workers: int) -> None:
    import torch

    found: list[Any] = []
    for rank in range(2):
        torch.manual_seed(5)  # as on every rank
        loader = stateful(lambda rank=rank: divided(graph, rank), workers, False)
        it = iter(loader)
        found += [next(it), next(it)]
        again = stateful(lambda rank=rank: divided(graph, rank), workers, False)
        again.load_state_dict(loader.state_dict())
        rest = list(it)
        assert list(again) == rest
        found += rest
    assert flat(found) == flat(list(graph()))


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
def test_what_a_worker_of_torchs_is_given_by_its_own_function_is_all_of_its_share() -> None:
    from torch.utils.data import DataLoader, get_worker_info

    def own_share(number: int) -> None:
        info: Any = get_worker_info()
        apply_sharding(info.dataset, info.num_workers, number)

    found = list(DataLoader(blocks(), batch_size=None, num_workers=2, worker_init_fn=own_share))
    assert flat(found) == flat(list(blocks()))


# ---------------------------------------------------------------------------------------------------- torchdata.nodes


def nodes(graph: Any, prefetch: int, service: Any, restart: bool = True) -> Any:
    module = pytest.importorskip("torchdata.nodes")
    from penstock.integrations.torchdata import PipeNode

    node = PipeNode(graph(), service, seed=SEED)
    return module.Loader(module.Prefetcher(node, prefetch) if prefetch else node, restart_on_stop_iteration=restart)


@GRAPHS
@pytest.mark.parametrize(("prefetch", "workers"), [(0, 0), (3, 0), (3, 2)])
def test_a_node_goes_on_at_every_index_and_its_epochs_are_the_loaders(graph: Any, prefetch: int, workers: int) -> None:
    def service() -> Any:
        return MultiProcessingReadingService(workers) if workers else None

    with DataLoader2(graph(), reading_service=service()) as dl:
        dl.seed(SEED)
        expected = [list(dl) for _ in range(3)]
    loader = nodes(graph, prefetch, service())
    states = [trip(loader.state_dict())]
    for i, batch in enumerate(loader):
        assert batch == expected[0][i]
        states.append(trip(loader.state_dict()))
    assert len(states) == len(expected[0]) + 1
    assert list(loader) == expected[1]
    for i, state in list(enumerate(states))[:: 7 if workers else 1]:
        again = nodes(graph, prefetch, service())
        again.load_state_dict(state)
        assert list(again) == (expected[0][i:] or expected[1])
        assert list(again) == (expected[1] if expected[0][i:] else expected[2])


def test_a_node_whose_epoch_has_ended_is_restored_as_ended() -> None:
    loader = nodes(blocks, 0, None, restart=False)
    first = list(loader)
    again = nodes(blocks, 0, None, restart=False)
    again.load_state_dict(trip(loader.state_dict()))
    assert list(again) == []
    assert list(again) == list(loader) != first


# ---------------------------------------------------------------------------------------- torch.distributed.checkpoint


def service(lanes: int | None = None, timeout: float = 30) -> Any:
    return SequentialReadingService(DistributedReadingService(timeout), InProcessReadingService(lanes=lanes))


def together(parts: list[list[Any]], first: int = 0) -> list[Any]:
    """The batches of all ranks, step by step, from the batch of that number on, which is rank ``first mod world``'s."""
    first %= len(parts)
    return [batch for step in zip(*parts[first:], *parts[:first], strict=True) for batch in step]


def saved(rank: int, graph: Any, after: int, path: str, state: Any = None) -> Any:
    """Some batches of an epoch, saved behind them with a tensor beside; optionally behind another checkpoint."""
    import torch
    import torch.distributed.checkpoint as dcp

    from penstock.integrations.checkpoint import LoaderState

    with DataLoader2(graph, reading_service=service(8)) as dl:
        dl.seed(SEED)
        carried = LoaderState(dl, state)
        if state is not None:
            dcp.load({"loader": carried}, checkpoint_id=state)
        it = iter(dl)
        seen = [next(it) for _ in range(after)]
        dcp.save({"model": {"w": torch.full((3,), 7.0)}, "loader": carried}, checkpoint_id=path)
        return seen


def loaded(rank: int, graph: Any, path: str, named: bool = True) -> Any:
    """The rest of the epoch, and the next one."""
    import torch
    import torch.distributed.checkpoint as dcp

    from penstock.integrations.checkpoint import LoaderState

    with DataLoader2(graph, reading_service=service()) as dl:
        model = {"w": torch.zeros(3)}
        dcp.load({"model": model, "loader": LoaderState(dl, path if named else None)}, checkpoint_id=path)
        assert model["w"].tolist() == [7.0] * 3
        return [list(dl), list(dl)]


def epochs_alone(graph: Any) -> list[Any]:
    with DataLoader2(graph, reading_service=InProcessReadingService(lanes=8)) as dl:
        dl.seed(SEED)
        return [list(dl), list(dl)]


@GRAPHS
@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("then", [1, 2])
def test_dcp_gives_exactly_the_rest_on_other_ranks(graph: Any, world: int, then: int, tmp_path: Path) -> None:
    expected = epochs_alone(graph(320))
    head = together(ranks.values(world, saved, graph(320), 14 // world, str(tmp_path / "a")))
    head += together(
        ranks.values(then, saved, graph(320), 8 // then, str(tmp_path / "b"), str(tmp_path / "a")), len(head)
    )
    assert head == expected[0][:22]
    for last in (world, then):
        found = ranks.values(last, loaded, graph(320), str(tmp_path / "b"))
        whole = head + together([of_rank[0] for of_rank in found], len(head))
        # Where lanes are not equally long, ranks are not in the same round at the end, and stop with the shortest.
        even = len(expected[0]) if graph is blocks or last == 1 else len(expected[0]) * 3 // 4
        assert len(whole) >= even and whole[:even] == expected[0][:even]
        assert together([of_rank[1] for of_rank in found])[:even] == expected[1][:even]


def test_dcp_between_two_epochs(tmp_path: Path) -> None:
    path = str(tmp_path)
    ranks.values(2, saved, lanes(320), 0, path)
    found = ranks.values(2, loaded, lanes(320), path)
    even = len(epochs_alone(lanes(320))[0]) * 3 // 4
    assert together([of_rank[0] for of_rank in found])[:even] == epochs_alone(lanes(320))[0][:even]


def test_dcp_needs_the_checkpoint_to_know_the_lanes_and_blocks_do_without(tmp_path: Path) -> None:
    expected = epochs_alone(blocks(320))
    head = together(ranks.values(2, saved, blocks(320), 5, str(tmp_path / "blocks")))
    rest = ranks.values(2, loaded, blocks(320), str(tmp_path / "blocks"), False)
    assert head + together([of_rank[0] for of_rank in rest]) == expected[0]
    ranks.values(2, saved, lanes(320), 5, str(tmp_path / "lanes"))
    for outcome in ranks.run(2, loaded, lanes(320), str(tmp_path / "lanes"), False):
        assert "StateError" in (outcome.error or "") and "LoaderState(loader, checkpoint)" in (outcome.error or "")


def test_dcp_tells_that_ranks_stood_at_different_places_or_that_there_is_no_loader(tmp_path: Path) -> None:
    def apart(rank: int, path: str) -> None:
        import torch.distributed.checkpoint as dcp

        from penstock.integrations.checkpoint import LoaderState

        with DataLoader2(lanes(), reading_service=InProcessReadingService(lanes=2)) as dl:
            it = iter(dl)
            for _ in range(1 + rank):
                next(it)
            state = LoaderState(dl)
            values = {key: value for key, value in state.state_dict().items() if key in ("shared", f"lane{rank}")}
            dcp.save({"loader": values}, checkpoint_id=path)

    ranks.values(2, apart, str(tmp_path))
    for outcome in ranks.run(1, loaded_alone, str(tmp_path), "loader"):
        assert "stood at different places" in (outcome.error or "")
    for outcome in ranks.run(1, loaded_alone, str(tmp_path), "loade"):
        assert "no state of a LoaderState under 'loade'" in (outcome.error or "")


def loaded_alone(rank: int, path: str, key: str) -> None:
    import torch.distributed.checkpoint as dcp

    from penstock.integrations.checkpoint import LoaderState

    dcp.load({key: LoaderState(DataLoader2(lanes()), path, key=key)}, checkpoint_id=path)


# ---------------------------------------------------------------------------------------------------------- Lightning


def trained(loader: Any, folder: Path | str | None, ckpt: Path | str | None = None, **options: Any) -> list[Any]:
    """The batches that Lightning trains from, each with its epoch; a checkpoint behind each batch, and each epoch."""
    lightning = pytest.importorskip("lightning.pytorch")
    import torch
    from lightning.pytorch.callbacks import ModelCheckpoint

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Model(lightning.LightningModule):  # type: ignore[misc, name-defined]  # mypy reads no lightning
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(1, 1)
            self.seen: list[Any] = []

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.seen.append((self.trainer.current_epoch, [int(x) for x in batch]))
            return self.linear(torch.ones(1, 1)).sum()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    savers = []
    if folder is not None:
        common: dict[str, Any] = {"dirpath": folder, "save_top_k": -1, "auto_insert_metric_name": False}
        savers += [ModelCheckpoint(every_n_train_steps=1, filename="step-{step}", **common)]
        savers += [ModelCheckpoint(every_n_epochs=1, filename="epoch-{epoch}", **common)]
    settings: dict[str, Any] = {"accelerator": "cpu", "max_epochs": 3, "logger": False, **options}
    trainer = lightning.Trainer(
        callbacks=[loader, *savers],
        enable_checkpointing=bool(savers),
        enable_progress_bar=False,
        enable_model_summary=False,
        **settings,
    )
    model = Model()
    trainer.fit(model, loader, ckpt_path=ckpt)
    return model.seen


def lightning_loader(graph: Any, reading_service: Any = None) -> Any:
    pytest.importorskip("lightning.pytorch")
    from penstock.integrations.lightning import LightningLoader

    dl = DataLoader2(graph, reading_service=reading_service)
    dl.seed(SEED)
    return LightningLoader(dl)


def dropping(size: int) -> Any:
    """A graph of lanes whose length nobody knows ahead of time, so that Lightning reads a batch ahead."""
    return IterableWrapper(range(size)).shuffle().sharding_filter().filter(lambda x: x % 7).shuffle().batch(2)


@pytest.mark.filterwarnings("ignore")  # Lightning's own, many
@pytest.mark.parametrize("graph", [blocks, dropping])
@pytest.mark.parametrize("options", [{}, {"limit_train_batches": 3}], ids=["whole", "limited"])
def test_lightning_resumes_with_the_next_batch_behind_every_step_and_epoch(
    graph: Any, options: Any, tmp_path: Path
) -> None:
    def loader() -> Any:
        return lightning_loader(graph(12), InProcessReadingService(lanes=2))

    expected = trained(loader(), tmp_path, **options)
    with DataLoader2(graph(12), reading_service=InProcessReadingService(lanes=2)) as dl:
        dl.seed(SEED)
        epochs = [list(dl)[: options.get("limit_train_batches")] for _ in range(3)]
    assert expected == [(i, epochs[i][k]) for i in range(3) for k in range(len(epochs[i]))]
    for step in range(1, len(expected) + 1):
        assert trained(loader(), None, tmp_path / f"step-{step}.ckpt", **options) == expected[step:]
    for epoch in range(3):
        rest = [(i, batch) for i, batch in expected if i > epoch]
        assert trained(loader(), None, tmp_path / f"epoch-{epoch}.ckpt", **options) == rest


@pytest.mark.filterwarnings("ignore")
def test_a_lightning_loader_that_is_no_callback_says_so() -> None:
    with pytest.raises(RuntimeError, match="belongs among the callbacks"):
        iter(lightning_loader(blocks()))


def trained_on_rank(rank: int, world: int, graph: Any, folder: str | None, ckpt: str | None = None) -> list[Any]:
    """Train by a real Trainer on each rank of the group that there is."""
    from lightning.fabric.plugins import ClusterEnvironment
    from lightning.pytorch.strategies import DDPStrategy

    class Here(ClusterEnvironment):  # type: ignore[misc]  # mypy reads no lightning
        creates_processes_externally = True
        main_address = "localhost"
        main_port = 0

        @staticmethod
        def detect() -> bool:
            return True

        def world_size(self) -> int:
            return world

        def set_world_size(self, size: int) -> None: ...

        def global_rank(self) -> int:
            return rank

        def set_global_rank(self, rank: int) -> None: ...

        def local_rank(self) -> int:
            return rank

        def node_rank(self) -> int:
            return 0

    strategy = DDPStrategy(cluster_environment=Here(), process_group_backend="gloo")
    loader = lightning_loader(graph, service(4))
    return trained(loader, folder, ckpt, strategy=strategy, devices=world)


@pytest.mark.parametrize("graph", [blocks, dropping])
def test_lightning_on_two_ranks_writes_the_state_of_both(graph: Any, tmp_path: Path) -> None:
    pytest.importorskip("lightning.pytorch")
    expected = ranks.values(2, trained_on_rank, 2, graph(40), str(tmp_path))
    for step in (4, 11):
        found = ranks.values(2, trained_on_rank, 2, graph(40), None, str(tmp_path / f"step-{step}.ckpt"))
        assert found == [of_rank[step:] for of_rank in expected]
    found = ranks.values(2, trained_on_rank, 2, graph(40), None, str(tmp_path / "epoch-0.ckpt"))
    assert found == [[(epoch, batch) for epoch, batch in of_rank if epoch] for of_rank in expected]


@pytest.mark.filterwarnings("ignore")
def test_a_training_step_that_reads_further_ahead_cannot_be_saved() -> None:
    loader = lightning_loader(blocks())
    progress = SimpleNamespace(total=SimpleNamespace(ready=0), current=SimpleNamespace(ready=1), is_last_batch=False)
    trainer = SimpleNamespace(fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress)))
    loader.setup(trainer, None, "fit")
    it = iter(loader)
    states = [loader.loader.state_dict() for _ in range(2) if next(it)]
    assert loader.state_dict() == states[0], "of the one batch that has been trained, of two that were read"
    next(it)
    with pytest.raises(StateError, match="1 batches have been trained of 3 that were read"):
        loader.state_dict()
