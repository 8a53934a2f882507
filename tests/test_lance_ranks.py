"""Ranks that read a Lance data set which is written to meanwhile: they read one version, or are told so."""

from __future__ import annotations

import logging
import shutil
import warnings
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pytest
import torch.distributed as dist
from torch.utils.data import DataLoader

from penstock import DataLoader2, DistributedReadingService, IterableWrapper, RankError
from penstock.lance import LanceDataset, SafeLanceDataset, ShardedBatchSampler, ShardedFragmentSampler
from penstock.pipes.map import LanceTable
from ranks import ranks


@pytest.fixture
def uri(tmp_path: Path) -> str:
    """Version 1 has the rows 0 to 12, version 2 those up to 29."""
    path = str(tmp_path / "a.lance")
    append(path, 0, 13)
    append(path, 13, 30)
    return path


def append(path: str, start: int, stop: int) -> None:
    mode = "append" if start else "create"
    lance.write_dataset(
        pa.table({"id": range(start, stop), "word": list(map(str, range(start, stop)))}), path, mode=mode
    )


def ids(batches: Any) -> list[int]:
    return [i for batch in batches for i in batch["id"].tolist()]


# ------------------------------------------------------------------------------------------------------- one version


def opened_late(rank: int, path: str, make: Any) -> list[Any]:
    """Open a data set twice, on rank 0 ahead of a write, and on rank 1 behind it."""
    found = []
    for turn in range(2):
        dist.barrier()
        dataset = make(rank, path) if rank == 0 else None
        dist.barrier()
        if rank == 0:
            append(path, 30 + turn, 31 + turn)
        dist.barrier()
        dataset = dataset or make(rank, path)
        found.append((len(dataset), ids(DataLoader(dataset, batch_size=None))))
    return found


@pytest.mark.parametrize(
    "make",
    [
        lambda rank, path: LanceDataset(path, 4),
        lambda rank, path: LanceDataset(path, 4, shuffle=True, drop_last=True),
        lambda rank, path: LanceDataset(path, 4, filter="id > 2", cache=True),
        lambda rank, path: LanceDataset(path, 4, sampler=ShardedFragmentSampler(rank, 2)),
        lambda rank, path: LanceDataset(path, 4, rank=rank, world_size=2, shard_granularity="batch"),
    ],
    ids=["plain", "shuffle", "cache", "fragments", "batches"],
)
def test_ranks_read_the_version_of_the_first_of_them(uri: str, make: Any) -> None:
    of_ranks = ranks.values(2, opened_late, uri, make)
    for (first_len, first), (second_len, second) in zip(*of_ranks, strict=True):
        assert first_len == second_len
        assert not set(first) & set(second)
    first_pass, second_pass = ([set(rank[turn][1]) for rank in of_ranks] for turn in range(2))
    assert 30 not in set.union(*first_pass)
    if len(set.union(*second_pass)) > 28:  # none was dropped: what was opened behind the write has it
        assert 30 in set.union(*second_pass)
        assert 31 not in set.union(*second_pass)


def of_another(rank: int, path: str) -> int:
    """What rank 1 finds at the path is another data set, which has more versions: on another machine, say."""
    version = 0
    for turn in range(2):
        if turn == rank == 1:
            shutil.rmtree(path)
            for start in range(4):
                append(path, start, start + 1)
        if turn == rank:
            version = LanceDataset(path, 4).table.version
        dist.barrier()
    return version


def test_a_version_of_another_data_set_is_nobody_elses(uri: str) -> None:
    assert ranks.values(2, of_another, uri) == [2, 4]


def read_in_turn(rank: int, path: str, options: Any, store: str | None) -> list[int] | str:
    """Read on rank 0, and then on rank 1; with a store, what was opened ahead of the process group."""
    made = None
    if store is not None:
        dist.barrier()  # so that all have connected
        dist.destroy_process_group()
        made = LanceDataset(path, 4, **options[rank])
        dist.init_process_group("gloo", store=dist.FileStore(store, 2), rank=rank, world_size=2)
    found: Any = None
    for turn in range(2):
        if turn == rank:
            try:
                found = ids(DataLoader(made or LanceDataset(path, 4, **options[rank]), batch_size=None))
            except RankError as error:
                found = str(error)
        dist.barrier()
    return found


@pytest.mark.parametrize("is_late", [False, True])
def test_ranks_that_say_which_version_are_compared_and_others_are_left_alone(
    uri: str, tmp_path: Path, is_late: bool
) -> None:
    def read(options: Any) -> Any:
        return ranks.values(2, read_in_turn, uri, options, str(tmp_path / "store") if is_late else None)

    says = [{"dataset_options": {"version": version}} for version in (1, 2)]
    first, second = read(says)
    assert first == [0, 1, 2, 3, 8, 9, 10, 11]
    assert "rank 1 has opened version 2, and another rank version 1: say on all" in second
    if not is_late:
        assert read([{**say, "auto_detect_rank": False} for say in says]) == [list(range(13)), list(range(30))]
        assert read([says[0], {}]) == [[0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12]]


def test_a_table_of_rows_keeps_its_version_and_says_so(uri: str) -> None:
    def made(rank: int, path: str) -> tuple[int, list[str]]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            dataset = SafeLanceDataset(path) if rank == 0 else None
            dist.barrier()
            if rank == 0:
                append(path, 30, 31)
            dist.barrier()
            dataset = dataset or SafeLanceDataset(path)
        return len(dataset), [str(warning.message) for warning in caught if "version" in str(warning.message)]

    (first, silent), (second, (warning,)) = ranks.values(2, made, uri)
    assert (first, second, silent) == (30, 31, [])
    assert "rank 1 has opened version 3, and another rank version 2" in warning


def served(rank: int, path: str) -> list[str]:
    """What each graph says on this rank, where it reads version 1 on rank 0 and version 2 on rank 1."""
    version = rank + 1
    graphs: list[Any] = [
        IterableWrapper([path]).list_fragments(version=version).sharding_filter().read_lance(version=version),
        IterableWrapper([path]).sharding_filter().read_lance(version=version),
        IterableWrapper([path]).read_lance(version=version).sharding_filter(),
        LanceTable(path, version=version).shuffle().sharding_filter().take_rows(4),
    ]
    told = []
    for graph in graphs:
        with DataLoader2(graph, reading_service=DistributedReadingService()) as dl:
            try:
                told.append(str(ids(dl)))
            except RankError as error:
                told.append(str(error))
    return told


def test_under_a_service_other_versions_are_an_error_on_each_rank(uri: str) -> None:
    first, second = ranks.values(2, served, uri)
    assert len(first) == len(second) == 4
    assert all("or divide different data" in told or "would divide other data" in told for told in first)
    assert all("rank 1 would divide other data than rank 0" in told for told in second)


def test_fragments_are_read_at_the_version_at_which_they_were_listed(uri: str) -> None:
    listed = IterableWrapper([uri]).list_fragments().frozen()
    append(uri, 30, 31)
    reader = listed.sharding_filter().read_lance().frozen()
    assert reader.holds() == listed.holds() == [2]
    assert ids(reader) == list(range(30))
    assert IterableWrapper([uri]).read_lance().frozen().holds() == [3]


# ---------------------------------------------------------------------------------------------------- as many steps


def counted(rank: int, path: str, options: Any) -> tuple[int, list[int]]:
    sampler = options.pop("sampler", None)
    dataset = LanceDataset(path, **options, sampler=sampler and sampler(rank, 2))
    batches = list(DataLoader(dataset, batch_size=None))
    assert len(dataset) == len(batches)
    return len(batches), ids(batches)


@pytest.mark.parametrize(
    ("options", "steps", "again"),
    [
        ({"batch_size": 1, "filter": "id < 13"}, 7, [0]),
        ({"batch_size": 1, "filter": "id < 1"}, 1, [0]),
        ({"batch_size": 4, "filter": "id < 1", "sampler": ShardedFragmentSampler}, 1, [0]),
        ({"batch_size": 4, "filter": "id < 1", "sampler": ShardedBatchSampler}, 1, [0]),
        ({"batch_size": 4, "filter": "id < 0"}, 0, []),
        ({"batch_size": 4, "filter": "id > 11", "sampler": ShardedFragmentSampler}, 3, []),
        ({"batch_size": 4, "samples": 7}, 1, None),
        ({"batch_size": 2, "filter": "id < 5", "drop_last": True}, 1, None),
    ],
    ids=str,
)
def test_ranks_take_as_many_steps_of_however_few_rows(
    uri: str, options: Any, steps: int, again: list[int] | None
) -> None:
    (first_steps, first), (second_steps, second) = ranks.values(2, counted, uri, options)
    assert first_steps == second_steps == steps
    seen = [*first, *second]
    if again is None:
        assert len(set(seen)) == len(seen)
    else:
        passing = lance.dataset(uri).to_table(filter=options["filter"])["id"].to_pylist()
        assert sorted(seen) == sorted([*passing, *again])


def too_few(rank: int, path: str, policy: Any) -> tuple[list[int], list[str]]:
    told: list[str] = []

    class Heard(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record.getMessage())

    heard = Heard(logging.WARNING)
    logging.getLogger("penstock").addHandler(heard)
    service = DistributedReadingService(policy=policy)
    with DataLoader2(LanceDataset(path, 8, filter="id < 5"), reading_service=service) as dl:
        found = ids(dl)
    logging.getLogger("penstock").removeHandler(heard)
    return found, told


def test_a_filter_that_leaves_too_little_for_each_rank_is_told_of(uri: str) -> None:
    for batches, told in ranks.values(2, too_few, uri, "shortest"):
        assert batches == []
        assert len(told) == 1 and "rank 0 could, but another rank has nothing" in told[0]
    assert ranks.values(2, too_few, uri, "longest") == [([0, 1, 2, 3, 4], [])] * 2
