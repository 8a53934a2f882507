"""Lance's face: its page and what breaks on it with Lance itself, held sentence by sentence to what ours does."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import lance
import numpy as np
import pandas as pd
import PIL.Image
import psutil
import pyarrow as pa
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset

import penstock.lance.sampler
import penstock.lance.torch.data
from penstock import (
    DataLoader2,
    DistributedReadingService,
    GraphError,
    InProcessReadingService,
    IterableWrapper,
    MultiProcessingReadingService,
    SequentialReadingService,
    StateError,
    ThreadingReadingService,
)
from penstock.lance import (
    FragmentSampler,
    FullScanSampler,
    LanceDataset,
    SafeLanceDataset,
    Sampler,
    ShardedBatchSampler,
    ShardedFixedBatchSampler,
    ShardedFragmentSampler,
    get_safe_loader,
    write_dataset,
)
from penstock.pipes.map import LanceTable
from penstock.serialization.columns import Conversion
from ranks import ranks

SIZES = (30, 30, 30, 10)
ROWS = sum(SIZES)


@pytest.fixture
def uri(tmp_path: Path) -> str:
    """Fragments of 30, 30, 30 and 10 rows."""
    return written(tmp_path / "a.lance")


def written(path: Path) -> str:
    start = 0
    for size in SIZES:
        numbers = range(start, start + size)
        table = pa.table({"id": pa.array(numbers, pa.int32()), "word": [f"w{i}" for i in numbers]})
        lance.write_dataset(table, path, mode="append" if start else "create")
        start += size
    return str(path)


def ids(batches: Any) -> list[int]:
    return [int(i) for batch in batches for i in (batch["id"] if isinstance(batch, dict) else batch)]


def sizes(batches: Any) -> list[int]:
    return [len(batch["id"] if isinstance(batch, dict) else batch) for batch in batches]


def in_workers(dataset: Any, count: int = 2, **options: Any) -> Any:
    return DataLoader(dataset, num_workers=count, multiprocessing_context="spawn", **options)


# ------------------------------------------------------------------------------------------------------------- the page


def test_the_page_holds_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its snippets, with the imports changed and a small data set in place of the one from the hub."""
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (300, 4, 5, 3), dtype=np.uint8)
    features = datasets.Features({"image": datasets.Image(), "prompt": datasets.Value("string")})
    hf_ds = datasets.Dataset.from_dict(
        {"image": [PIL.Image.fromarray(one) for one in pixels], "prompt": [f"p{i}" for i in range(300)]}, features
    )
    penstock.lance.write_dataset(hf_ds, "diffusiondb_train.lance")

    dataset = penstock.lance.torch.data.LanceDataset(
        "diffusiondb_train.lance", columns=["image", "prompt"], batch_size=128, batch_readahead=8
    )
    seen = 0
    for batch in DataLoader(dataset):
        inputs, targets = batch["prompt"], batch["image"]
        assert inputs == [f"p{i}" for i in range(seen, seen + len(inputs))]
        for target, image in zip(targets, pixels[seen:], strict=False):
            assert torch.equal(target, torch.from_numpy(image))
        seen += len(inputs)
    assert seen == 300

    dataset = penstock.lance.torch.data.LanceDataset(
        "diffusiondb_train.lance",
        columns=["image", "prompt"],
        batch_size=128,
        batch_readahead=8,
        sampler=penstock.lance.sampler.ShardedFragmentSampler(rank=1, world_size=8),
    )
    assert [len(batch["prompt"]) for batch in dataset] == [38]  # of the one fragment, an eighth
    assert issubclass(type(dataset), torch.utils.data.IterableDataset)


def test_the_safe_loader_is_as_on_the_page(uri: str) -> None:
    loader = get_safe_loader(SafeLanceDataset(uri), num_workers=2, batch_size=16, drop_last=False)
    for _ in range(2):
        seen = 0
        for batch in loader:
            assert batch["id"].dtype == torch.int32
            assert batch["word"] == [f"w{i}" for i in batch["id"].tolist()]
            seen += batch["id"].shape[0]
        assert seen == ROWS
    assert loader.multiprocessing_context.get_start_method() == "spawn"


def test_the_safe_loader_reads_in_this_process_too_and_takes_the_loaders_arguments(uri: str) -> None:
    dataset = SafeLanceDataset(uri)
    loader = get_safe_loader(dataset, num_workers=0, batch_size=16, shuffle=True, drop_last=True)
    assert sizes(loader) == [16] * 6
    assert len(loader) == 6
    plain = get_safe_loader(
        dataset, num_workers=0, batch_size=50, collate_fn=lambda rows: [row["word"] for row in rows]
    )
    assert next(iter(plain))[:2] == ["w0", "w1"]
    sampler = ShardedFixedBatchSampler(1, 4, batch_size=10, total_num_rows=len(dataset))
    assert ids(DataLoader(dataset, batch_sampler=sampler)) == list(range(25, 50))
    batches = LanceDataset(uri, batch_size=30)
    assert sizes(get_safe_loader(batches, batch_size=None, num_workers=0)) == [30, 30, 30, 10]


def test_rows_are_pythons_and_made_when_they_are_asked_for(uri: str) -> None:
    dataset = SafeLanceDataset(uri, columns=["word", "id"])
    rows = dataset.__getitems__([5, -1, 5])
    assert list(rows) == [{"word": "w5", "id": 5}, {"word": "w99", "id": 99}, {"word": "w5", "id": 5}]
    assert rows[1:] == [rows[1], rows[2]]
    assert dataset[-1] == {"word": "w99", "id": 99}
    for wrong in (ROWS, -ROWS - 1):
        with pytest.raises(IndexError, match="100 rows"):
            dataset[wrong]
    with pytest.raises(IndexError, match="3 rows"):
        rows[3]


class Wrapped(Dataset[Any]):
    """A data set of a user's, over another one, that knows nothing of many rows at once."""

    def __init__(self, dataset: Any, change: Any) -> None:
        self.dataset, self.change = dataset, change

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        return self.change(self.dataset[index])


def test_rows_that_come_one_by_one_are_columns_all_the_same(tmp_path: Path) -> None:
    """As behind a ConcatDataset, or any data set that passes rows on."""
    parts = []
    for start in (0, 5):
        vectors = pa.array(np.arange(20, dtype=np.float32) + 4 * start)
        columns = {
            "id": pa.array(range(start, start + 5), pa.int16()),
            "vector": pa.FixedSizeListArray.from_arrays(vectors, 4),
            "score": pa.array([float("nan"), 1, None, 3, 4], pa.float32()),
            "word": list("abcde"),
            "list": [[i] * (i % 3) for i in range(5)],
        }
        lance.write_dataset(pa.table(columns), tmp_path / f"{start}.lance")
        conversion = Conversion(nulls="mask")
        parts.append(SafeLanceDataset(str(tmp_path / f"{start}.lance"), conversion=conversion))
    expected = next(iter(DataLoader(parts[0], batch_size=5)))
    second = next(iter(DataLoader(parts[1], batch_size=5)))
    both = ConcatDataset(parts)
    (batch,) = DataLoader(both, 10)
    assert list(batch) == list(expected)
    for name, column in expected.items():
        if isinstance(column, torch.Tensor):
            torch.testing.assert_close(batch[name], torch.cat([column, second[name]]), rtol=0, atol=0, equal_nan=True)
        else:
            assert [repr(value) for value in batch[name]] == [repr(value) for value in [*column, *second[name]]]
    assert batch["vector"].shape == (10, 4)
    assert (batch["vector"].dtype, batch["id"].dtype) == (torch.float32, torch.int16)

    def changed(row: Any) -> Any:
        row["id"] += 0.5
        row["list"][:] = [7, 8]
        row["new"] = torch.zeros(2)
        del row["word"]
        return row

    row, label = next(iter(DataLoader(Wrapped(Subset(parts[1], [0, 1]), lambda row: (row, 1)), 2)))
    assert torch.equal(row["vector"], second["vector"][:2])
    assert label.tolist() == [1, 1]
    batch = next(iter(DataLoader(Wrapped(parts[1], changed), 2)))
    assert batch["id"].tolist() == [5.5, 6.5]
    assert torch.stack(batch["list"]).T.tolist() == [[7, 8], [7, 8]]
    assert batch["new"].shape == (2, 2)
    assert "word" not in batch
    assert torch.equal(batch["vector"], second["vector"][:2])
    sent = pickle.loads(pickle.dumps(parts[0][1]))
    assert sent == parts[0][1]
    assert sent.source is None


# --------------------------------------------------------------------------------------------------------- what is read


def test_batches_have_exact_sizes_over_the_borders_of_fragments(uri: str) -> None:
    assert sizes(LanceDataset(uri, 8)) == [8] * 12 + [4]
    assert sizes(LanceDataset(uri, 64)) == [64, 36]
    assert sizes(LanceDataset(uri, 8, drop_last=True)) == [8] * 12
    assert ids(LanceDataset(uri, 8)) == list(range(ROWS))
    assert len(LanceDataset(uri, 8)) == 13


def test_columns_one_column_and_expressions(uri: str) -> None:
    (batch, *_) = LanceDataset(uri, 4, columns=["word", "id"])
    assert list(batch) == ["word", "id"]
    assert batch["word"] == ["w0", "w1", "w2", "w3"]
    (bare, *_) = LanceDataset(uri, 4, columns=["id"])
    assert torch.equal(bare, torch.arange(4, dtype=torch.int32))
    (made, *_) = LanceDataset(uri, 4, columns={"double": "id * 2", "word": "word"})
    assert made["double"].tolist() == [0, 2, 4, 6]
    assert LanceDataset(uri, 4, columns=["id"]).schema == pa.schema([("id", pa.int32())])
    (with_id, *_) = LanceDataset(uri, 4, columns=["id"], with_row_id=True)
    assert with_id["_rowid"].dtype == torch.int64, "as Lance gives it"


def test_filters_find_their_rows_and_may_find_none(uri: str) -> None:
    assert ids(LanceDataset(uri, 8, columns=["id"], filter="id >= 90")) == list(range(90, 100))
    assert list(LanceDataset(uri, 8, filter="id > 1000")) == []
    for sampler in (ShardedBatchSampler(2, 3), ShardedFragmentSampler(2, 3), ShardedBatchSampler(2, 3, randomize=True)):
        assert list(LanceDataset(uri, 8, filter="id > 1000", sampler=sampler)) == []
        few = ids(LanceDataset(uri, 8, filter="id in (7, 70)", sampler=sampler))
        assert set(few) <= {7, 70}


def test_tensors_can_be_written_into_and_share_no_memory_with_the_next_pass(uri: str) -> None:
    dataset = LanceDataset(uri, 32, columns=["id"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for batch in dataset:
            batch += 1000
    assert ids(dataset) == list(range(ROWS))


def test_to_tensor_fn_gets_record_batches(uri: str) -> None:
    def lances(batch: pa.RecordBatch, *, hf_converter: Any = None, use_blob_api: bool = False) -> list[int]:
        return batch["id"].to_pylist()

    def required(batch: pa.RecordBatch, *, hf_converter: Any, use_blob_api: bool) -> int:
        assert hf_converter is None
        return batch.num_rows

    assert next(iter(LanceDataset(uri, 3, to_tensor_fn=lances))) == [0, 1, 2]
    assert next(iter(LanceDataset(uri, 3, to_tensor_fn=required))) == 3
    raw = next(iter(LanceDataset(uri, 3, to_tensor_fn=None)))
    assert isinstance(raw, pa.RecordBatch)
    assert raw["id"].to_pylist() == [0, 1, 2]


def test_nulls_follow_a_policy_and_are_an_error_without_one(tmp_path: Path) -> None:
    path = str(tmp_path / "a.lance")
    lance.write_dataset(pa.table({"n": pa.array([1, None, 3], pa.int16())}), path)
    with pytest.raises(ValueError, match=r"a\.lance: column 'n'"):
        list(LanceDataset(path, 3))
    (filled,) = LanceDataset(path, 3, conversion=Conversion(nulls=-1))
    assert filled.tolist() == [1, -1, 3]
    assert filled.dtype == torch.int16
    (masked,) = LanceDataset(path, 3, conversion=Conversion(nulls="mask"))
    assert masked["n_is_null"].tolist() == [False, True, False]


def test_arguments_that_make_no_sense_are_refused(uri: str) -> None:
    for options, said in (
        ({"batch_size": 0}, "batch_size"),
        ({"batch_readahead": 0}, "batch_readahead"),
        ({"shard_granularity": "row"}, "shard_granularity"),
        ({"rank": 1}, "world_size"),
        ({"sampler": FullScanSampler(), "samples": 3}, "sampler"),
        ({"sampler": OwnScan(), "drop_last": True}, "drop_last"),
        ({"rank": 0, "world_size": 2, "samples": 3}, "rank"),
        ({"rank": 2, "world_size": 2}, "rank 2 of 2"),
    ):
        with pytest.raises(ValueError, match=said):
            LanceDataset(uri, **{"batch_size": 3, **options})
    with pytest.raises(TypeError, match="no_such"):
        LanceDataset(uri, 3, no_such=1)  # type: ignore[call-arg]


def test_samples_are_of_the_size_asked_for_and_others_in_each_epoch(uri: str) -> None:
    dataset = LanceDataset(uri, 8, columns=["id"], samples=20)
    first = ids(dataset)
    assert len(set(first)) == 20
    assert ids(dataset) == first
    dataset.set_epoch(1)
    assert set(ids(dataset)) != set(first)
    assert len(ids(LanceDataset(uri, 8, samples=1000))) == ROWS
    assert set(ids(LanceDataset(uri, 8, samples=5, filter="id < 10"))) < set(range(10))


@pytest.mark.parametrize("filter", [None, "id >= 40"])
def test_a_cache_serves_all_passes_also_behind_one_that_was_left_early(
    uri: str, tmp_path: Path, filter: str | None
) -> None:
    options: dict[str, Any] = {"filter": filter, "with_row_id": True}
    sampler = lambda: ShardedFragmentSampler(0, 2, randomize=True)  # noqa: E731
    without = LanceDataset(uri, 8, sampler=sampler(), **options)
    cached = LanceDataset(uri, 8, sampler=sampler(), cache=True, **options)
    kept = LanceDataset(uri, 8, sampler=sampler(), cache=str(tmp_path / "kept"), **options)
    expected = []
    for epoch in range(2):
        without.set_epoch(epoch)
        expected.append(list(without))
    shutil.rmtree(uri)
    for dataset in (cached, kept):
        next(iter(dataset))
        for epoch in range(2):
            dataset.set_epoch(epoch)
            found = list(dataset)
            assert ids(found) == ids(expected[epoch])
            assert [batch["_rowid"].tolist() for batch in found] == [b["_rowid"].tolist() for b in expected[epoch]]
    folder = Path(cached.table.data.uri).parent
    assert folder.exists()
    del cached, dataset, kept, found
    assert not folder.exists()
    assert len(os.listdir(tmp_path / "kept")) == 1


@pytest.mark.parametrize(
    "how", [{}, {"shuffle": True}, {"cache": True}, {"cache": True, "filter": "id % 2 = 1"}], ids=str
)
@pytest.mark.parametrize("with_row_id", [False, True])
@pytest.mark.parametrize("columns", [["a.b", "_rowid"], ["_rowid", "id", "a.b"], ["id", "a.b", "two words", "_own"]])
def test_parts_of_structs_and_row_ids_are_columns_like_others(
    tmp_path: Path, columns: list[str], with_row_id: bool, how: Any
) -> None:
    path = str(tmp_path / "a.lance")
    numbers = list(range(20))
    content = {"id": numbers, "a": [{"b": i, "c": str(i)} for i in numbers], "two words": numbers, "_own": numbers}
    table = lance.write_dataset(pa.table(content), path, max_rows_per_file=7)
    row_ids = table.to_table(columns=["_rowid"])["_rowid"].to_pylist()
    found: dict[str, list[int]] = {}
    for batch in LanceDataset(path, 6, columns=columns, with_row_id=with_row_id, **how):
        for name, column in batch.items():
            found.setdefault(name, []).extend(column.tolist())
    assert list(found) == columns + ["_rowid"] * (with_row_id and "_rowid" not in columns)
    own = found["a.b"]
    assert sorted(own) == (numbers[1::2] if "filter" in how else numbers)
    for name, values in found.items():
        assert values == ([row_ids[i] for i in own] if name == "_rowid" else own)


# ------------------------------------------------------------------------------------------------------------- samplers


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    world=st.integers(1, 9),
    batch_size=st.integers(1, 40),
    options=st.fixed_dictionaries({}, optional={"randomize": st.booleans(), "seed": st.integers(0, 3)}),
    kind=st.sampled_from([ShardedBatchSampler, ShardedFixedBatchSampler, ShardedFragmentSampler]),
    limit=st.sampled_from([None, 0, 1, 5, 13, 64, 97]),
    drop_last=st.booleans(),
)
def test_ranks_have_each_row_once_and_as_many_steps(
    uri: str, world: int, batch_size: int, options: Any, kind: Any, limit: int | None, drop_last: bool
) -> None:
    filter = None if limit is None else f"id < {limit}"
    parts = [
        list(LanceDataset(uri, batch_size, filter=filter, sampler=kind(rank, world, **options), drop_last=drop_last))
        for rank in range(world)
    ]
    rows = ROWS if limit is None else limit
    assert len({len(part) for part in parts}) == 1
    given = Counter(ids(batch for part in parts for batch in part))
    if drop_last:
        assert set(given.values()) <= {1}
        assert all(size == batch_size for part in parts for size in sizes(part))
        return
    assert set(given) == set(range(rows))
    assert all(size <= batch_size for part in parts for size in sizes(part))
    assert given.total() - rows <= (0 if rows >= world and batch_size > 1 else world - 1)


def test_samplers_divide_in_lances_order(uri: str) -> None:
    fragments = LanceDataset(uri, 8, columns=["id"], sampler=ShardedFragmentSampler(1, 2))
    assert ids(fragments) == [*range(30, 60), *range(90, 100)]
    batches = LanceDataset(uri, 10, columns=["id"], sampler=ShardedBatchSampler(1, 2))
    assert ids(batches) == [i for i in range(ROWS) if i // 10 % 2]
    filtered = LanceDataset(uri, 4, columns=["id"], filter="id % 2 = 0", sampler=ShardedBatchSampler(3, 5))
    assert ids(filtered) == list(range(6, 100, 10))
    by_rank = LanceDataset(uri, 8, columns=["id"], rank=1, world_size=2)
    assert ids(by_rank) == ids(fragments)
    assert ids(LanceDataset(uri, 10, rank=1, world_size=2, shard_granularity="batch")) == ids(batches)
    assert ids(LanceDataset(uri, 8, sampler=FullScanSampler())) == list(range(ROWS))


@pytest.mark.parametrize("kind", [ShardedFragmentSampler, ShardedBatchSampler, ShardedFixedBatchSampler])
def test_the_epoch_and_the_seed_count_and_python_s_own_generator_is_left_alone(uri: str, kind: Any) -> None:
    import random

    random.seed(1)
    before = random.getstate()
    orders = []
    for seed in (0, 1):
        sampler = kind(0, 1, randomize=True, seed=seed)
        dataset = LanceDataset(uri, 7, columns=["id"], sampler=sampler)
        for epoch in (0, 1, 2, 0):
            sampler.set_epoch(epoch)
            orders.append(ids(dataset))
    assert orders[0] == orders[3]
    assert orders[4] == orders[7]
    assert (
        len({tuple(order) for order in orders}) == 6
        if kind is not ShardedFragmentSampler
        else len(set(map(tuple, orders))) > 2
    )
    assert random.getstate() == before


def test_a_fixed_batch_sampler_is_a_batch_sampler() -> None:
    sampler = ShardedFixedBatchSampler(1, 4, batch_size=100, total_num_rows=1000)
    assert [(batch[0], batch[-1]) for batch in sampler] == [(250, 349), (350, 449), (450, 499)]
    assert len(sampler) == 3
    shuffled = ShardedFixedBatchSampler(1, 4, True, batch_size=10, total_num_rows=1000)
    first = list(shuffled)
    shuffled.set_epoch(1)
    assert sorted(map(tuple, shuffled)) == sorted(map(tuple, first))
    assert list(shuffled) != first
    with pytest.raises(ValueError, match="batch_size"):
        len(ShardedFixedBatchSampler(0, 1, total_num_rows=3))


class Backwards(FragmentSampler):
    def iter_fragments(self, dataset: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        return reversed(dataset.get_fragments())


class OwnScan(Sampler):
    def __call__(self, dataset: Any, *, batch_size: int = 128, columns: Any = None, **options: Any) -> Iterator[Any]:
        for start in range(0, 40, batch_size):
            yield dataset.scanner(columns=columns, offset=start, limit=batch_size).to_table().to_batches()[0]


def test_samplers_of_the_users_work_also_with_workers(uri: str) -> None:
    backwards = LanceDataset(uri, 10, columns=["id"], sampler=Backwards())
    assert ids(backwards) == [*range(90, 100), *range(60, 90), *range(30, 60), *range(30)]
    own = LanceDataset(uri, 10, columns=["id", "word"], sampler=OwnScan())
    assert ids(own) == list(range(40))
    both = torch.utils.data.ChainDataset([own, backwards])  # each of an even number of batches
    assert ids(in_workers(both, batch_size=None)) == [*range(40), *ids(backwards)]
    assert [batch.num_rows for batch in Backwards()(lance.dataset(uri), batch_size=64)] == [64, 36]


# ------------------------------------------------------------------------------------------------------- torch's loader


CASES: dict[str, Any] = {
    "all": dict,
    "filter": lambda: {"filter": "id > 20"},
    "shuffle": lambda: {"shuffle": True},
    "samples": lambda: {"samples": 40},
    "sampler": lambda: {"sampler": ShardedFragmentSampler(0, 2, randomize=True)},
    "batch sampler": lambda: {"sampler": ShardedBatchSampler(1, 2)},
    "rank": lambda: {"rank": 1, "world_size": 2},
}


def test_workers_take_turns_and_give_what_one_process_gives(uri: str) -> None:
    """All cases in one pass: as the two workers of a loader import torch, which takes seconds."""
    parts = [LanceDataset(uri, 8, **make()) for make in CASES.values()]
    together = torch.utils.data.ChainDataset(parts)
    found = list(in_workers(together, batch_size=None))
    expected = list(together)
    assert sorted(ids(found)) == sorted(ids(expected))
    assert sorted(map(tuple, (batch["id"].tolist() for batch in found))) == sorted(
        tuple(batch["id"].tolist()) for batch in expected
    )


def test_the_loader_gives_batches_as_they_are_in_order_and_persistent_workers_count_epochs(uri: str) -> None:
    dataset = LanceDataset(uri, 8, sampler=ShardedBatchSampler(0, 1, randomize=True))
    loader = in_workers(dataset, persistent_workers=True)
    epochs = [list(loader), list(loader)]
    for epoch, batches in enumerate(epochs):
        dataset.set_epoch(epoch)
        assert ids(batches) == ids(dataset)
        assert sizes(batches) == sizes(dataset)
        assert batches[0]["word"][0] == f"w{int(batches[0]['id'][0])}"
    assert ids(epochs[0]) != ids(epochs[1])
    assert sizes(DataLoader(LanceDataset(uri, 8), batch_size=2))[0] == 16


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
def test_torchdatas_loader_keeps_its_state(uri: str) -> None:
    from torchdata.stateful_dataloader import StatefulDataLoader

    def loader() -> Any:
        return StatefulDataLoader(LanceDataset(uri, 8, shuffle=True), batch_size=None)

    first = loader()
    it = iter(first)
    begun = [next(it) for _ in range(5)]
    state = first.state_dict()
    rest = ids(it)
    again = loader()
    again.load_state_dict(state)
    assert ids(again) == rest
    assert sorted(ids(begun) + rest) == list(range(ROWS))


def test_forked_workers_are_told_what_to_do(uri: str) -> None:
    loader: Any = DataLoader(LanceDataset(uri, 8), batch_size=None, num_workers=1, multiprocessing_context="fork")
    with pytest.raises(RuntimeError, match="'forkserver'"):
        list(loader)
    del loader  # torch waits five seconds for a worker that has failed


ALONE = """
import sys
from penstock.lance import LanceDataset
assert "torch" not in sys.modules
dataset = LanceDataset(sys.argv[1], 8)
from torch.utils.data import ChainDataset, DataLoader, IterableDataset
assert issubclass(LanceDataset, IterableDataset)
print(len(list(DataLoader(dataset, batch_size=None))), isinstance(dataset + dataset, ChainDataset))
"""
OWN = """
import os, sys
import penstock.lance
import lance
lance.dataset(sys.argv[1])
child = os.fork()
if child:
    sys.exit(os.waitpid(child, 0)[1])
try:
    penstock.lance.LanceDataset(sys.argv[1], 8)
except penstock.ForkedProcess:
    os._exit(0)
os._exit(3)
"""


def test_a_data_set_that_is_made_before_torch_is_imported_is_one_for_torch(uri: str) -> None:
    done = subprocess.run([sys.executable, "-c", ALONE, uri], capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.returncode) == ("13 True\n", 0), done.stderr


def test_a_fork_of_a_program_that_loaded_lance_itself_is_noticed(uri: str) -> None:
    done = subprocess.run([sys.executable, "-c", OWN, uri], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_persistent_workers_hear_of_the_epoch(uri: str) -> None:
    dataset = LanceDataset(uri, 8, shuffle=True)
    loader = in_workers(dataset, batch_size=None, persistent_workers=True)
    told = []
    for epoch in (0, 2, 0):
        dataset.set_epoch(epoch)
        told.append((ids(loader), ids(dataset)))
    assert all(found == alone for found, alone in told)
    assert told[0] == told[2] != told[1]


def test_a_state_has_the_epoch_that_was_told() -> None:
    with tempfile.TemporaryDirectory() as folder:
        uri = written(Path(folder) / "a.lance")
        dataset = LanceDataset(uri, 8, shuffle=True)
        dataset.set_epoch(3)
        with DataLoader2(dataset) as dl, DataLoader2(LanceDataset(uri, 8, shuffle=True)) as other:
            dl.seed(7)
            it = iter(dl)
            begun = ids([next(it) for _ in range(5)])
            other.load_state_dict(dl.state_dict())
            rest = ids(it)
            assert ids(other) == rest
        assert sorted(begun + rest) == list(range(ROWS))


PIPES: dict[str, Any] = {
    "LanceDataset": lambda uri, version: LanceDataset(
        uri, 8, shuffle=True, dataset_options={"version": version} if version else {}
    ),
    "a sampler of the user's": lambda uri, version: LanceDataset(
        uri, 8, sampler=OwnScan(), dataset_options={"version": version} if version else {}
    ),
    "LanceTable": lambda uri, version: LanceTable(uri, version=version).shuffle().sharding_filter().take_rows(8),
    "read_lance": lambda uri, version: IterableWrapper([uri]).read_lance(batch_size=8, version=version),
    "list_fragments": lambda uri, version: (
        IterableWrapper([uri]).list_fragments(version=version).sharding_filter().read_lance(version=version)
    ),
}


def test_a_cache_is_of_the_data_set_that_is_there(uri: str, tmp_path: Path) -> None:
    """One that is deleted and written anew has the path and the version number of the old one."""
    folder = str(tmp_path / "cache")
    lance.write_dataset(pa.table({"id": range(8)}), f"{uri}.new")
    with DataLoader2(LanceDataset(f"{uri}.new", 4, cache=folder)) as dl:
        it = iter(dl)
        next(it)
        state = dl.state_dict()
        assert ids(it) == list(range(4, 8))
    shutil.rmtree(f"{uri}.new")
    lance.write_dataset(pa.table({"id": range(8, 16)}), f"{uri}.new")
    assert ids(LanceDataset(f"{uri}.new", 4, cache=folder)) == list(range(8, 16))
    lance.write_dataset(pa.table({"id": range(16, 24)}), f"{uri}.new", mode="append")
    with DataLoader2(LanceDataset(f"{uri}.new", 4, cache=folder)) as dl, pytest.raises(StateError, match="version"):
        dl.load_state_dict(state)


@pytest.mark.parametrize("how", PIPES)
def test_a_state_of_one_version_is_not_resumed_at_another_and_is_where_that_is_asked_for(uri: str, how: str) -> None:
    begun = lance.dataset(uri).version
    with DataLoader2(PIPES[how](uri, None)) as dl:
        dl.seed(1)
        it = iter(dl)
        next(it)
        state = dl.state_dict()
        rest = ids(it)
    lance.write_dataset(pa.table({"id": range(1000, 1200)}), uri, mode="overwrite")
    with DataLoader2(PIPES[how](uri, None)) as dl, pytest.raises(StateError, match=rf"version.*\b{begun}\b"):
        dl.load_state_dict(state)
        list(dl)
    with DataLoader2(PIPES[how](uri, begun)) as dl:
        dl.load_state_dict(state)
        assert ids(dl) == rest


def test_what_is_sent_to_workers_stays_at_its_version(uri: str) -> None:
    safe, batches = SafeLanceDataset(uri), LanceDataset(uri, 50)
    sent = pickle.dumps((safe, batches))
    table = pa.table({"id": pa.array([100], pa.int32()), "word": ["new"]})
    lance.write_dataset(table, uri, mode="append")
    for one, other in (pickle.loads(sent), (safe, batches)):
        assert len(one) == ROWS
        assert len(ids(other)) == ROWS
    old = LanceDataset(uri, 50, dataset_options={"version": 1})
    assert len(ids(old)) == SIZES[0]


# ---------------------------------------------------------------------------------------------------------- DataLoader2


@pytest.mark.parametrize("case", CASES)
def test_every_service_gives_the_same_batches_and_resumes_exactly(uri: str, case: str) -> None:
    make = CASES[case]
    services = [InProcessReadingService(), ThreadingReadingService(3), MultiProcessingReadingService(2)]
    with DataLoader2(LanceDataset(uri, 8, **make())) as dl:
        dl.seed(4)
        batches = list(dl)
        epochs = [ids(batches), ids(dl)]
    if case in ("shuffle", "samples"):
        assert epochs[0] != epochs[1]
    states = []
    for service in services:
        with DataLoader2(LanceDataset(uri, 8, **make()), reading_service=service) as dl:
            dl.seed(4)
            it: Any = iter(dl)
            begun = ids([next(it) for _ in range(3)])
            states.append((begun, dl.state_dict()))
            assert begun + ids(it) == epochs[0]
            assert ids(dl) == epochs[1]
            assert len(dl) == len(batches)
    for (begun, state), service in zip(states, [*services[1:], services[0]], strict=True):
        with DataLoader2(LanceDataset(uri, 8, **make()), reading_service=service) as dl:
            dl.load_state_dict(state)
            assert begun + ids(dl) == epochs[0]
            assert ids(dl) == epochs[1]


def test_a_state_behind_the_last_batch_of_a_worker_is_not_behind_those_of_others(uri: str) -> None:
    """It looks for more to take in one go, and finds the end; a slow step lets it tell its state behind each batch."""

    def slow(batch: Any) -> Any:
        time.sleep(0.002)
        return batch

    pipe = LanceDataset(uri, 8, samples=40).map(slow)
    with DataLoader2(pipe, reading_service=ThreadingReadingService(3)) as dl, DataLoader2(pipe) as other:
        dl.seed(1)
        list(dl)  # behind which it is known how many rows are best taken together
        whole, states = [], []
        for batch in dl:
            whole.append(batch["id"].tolist())
            states.append(dl.state_dict())
        assert len(whole) == 5
        for number, state in enumerate(states):
            other.load_state_dict(state)
            assert [batch["id"].tolist() for batch in other] == whole[number + 1 :]


def test_a_service_s_workers_need_no_torch_for_tensors(uri: str) -> None:
    others = {child.pid for child in psutil.Process().children(recursive=True)}  # of other tests
    with DataLoader2(LanceDataset(uri, 8), reading_service=MultiProcessingReadingService(2)) as dl:
        batch = next(iter(dl))
        assert batch["id"].dtype == torch.int32
        batch["id"] += 1
        found = [child for child in psutil.Process().children(recursive=True) if child.pid not in others]
        maps = [Path(f"/proc/{child.pid}/maps").read_text() for child in found]
        assert sum("lance" in each for each in maps) == 2
        assert not any("libtorch" in each for each in maps)


# ---------------------------------------------------------------------------------------------------------------- ranks


def loaded(rank: int, path: str, options: Any, workers: int) -> list[list[int]]:
    dataset = LanceDataset(path, 8, **options)
    loader: Any = (
        dataset
        if workers < 0
        else in_workers(dataset, workers, batch_size=None)
        if workers
        else DataLoader(dataset, batch_size=None)
    )
    return [batch["id"].tolist() for batch in loader]


@pytest.mark.parametrize("options", [{}, {"shuffle": True}, {"filter": "id >= 13"}], ids=str)
def test_ranks_find_their_share_and_take_as_many_steps(uri: str, options: Any) -> None:
    for workers in (-1, 0):
        found = ranks.values(3, loaded, uri, options, workers)
        assert sorted(i for rank in found for batch in rank for i in batch) == list(
            range(13 if "filter" in options else 0, ROWS)
        )
        assert len({len(rank) for rank in found}) == 1


@pytest.mark.parametrize("width", [3, 40_000], ids=["small", "large"])
def test_batches_from_torchs_workers_are_what_they_were(tmp_path: Path, width: int) -> None:
    table = pa.table(
        {
            "id": pa.array(range(64), pa.int16()),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(np.arange(64 * width, dtype="f4")), width),
            "several": [list(range(i % 5)) for i in range(64)],
            "word": [f"w{i}" for i in range(64)],
            "raw": [bytes([i]) for i in range(64)],
        }
    )
    path = str(tmp_path / "a.lance")
    lance.write_dataset(table, path)
    loader = get_safe_loader(SafeLanceDataset(path), batch_size=16, num_workers=2)
    expected = [SafeLanceDataset(path).__getitems__(range(n, n + 16)).columns() for n in range(0, 64, 16)]
    for batch, other in zip(loader, expected, strict=True):
        assert list(batch) == list(other)
        for name, column in batch.items():
            if isinstance(column, torch.Tensor):
                assert column.dtype == other[name].dtype
                assert torch.equal(column, other[name])
                column.zero_()
            elif isinstance(column[0], torch.Tensor):
                assert all(map(torch.equal, column, other[name]))
            else:
                assert column == other[name]
        assert batch["id"].count_nonzero() == 0, "it can be written to"
        assert batch["vector"].is_shared() == (width > 3), "a small one comes as bytes, a large one in shared memory"


def test_workers_that_spawn_know_their_rank(uri: str) -> None:
    """They have no process group: a data set that asks torch there takes itself for the only rank."""
    found = ranks.values(2, loaded, uri, {}, 2)
    assert sorted(i for rank in found for batch in rank for i in batch) == list(range(ROWS))
    assert len(found[0]) == len(found[1])
    assert found == ranks.values(2, loaded, uri, {}, 0)


def unaware(rank: int, path: str) -> int:
    with (
        DataLoader2(LanceDataset(path, 8)) as dl,
        pytest.warns(UserWarning, match=f"rank {rank} of 2 reads what every"),
    ):
        return len(ids(dl))


def test_a_service_that_knows_no_ranks_is_warned_of(uri: str) -> None:
    assert ranks.values(2, unaware, uri) == [ROWS, ROWS]


def served(rank: int, path: str, options: Any, stop: int) -> Any:
    service = SequentialReadingService(DistributedReadingService(), MultiProcessingReadingService(2))
    sampler = options.pop("sharded", None)
    if sampler is not None:
        options["sampler"] = getattr(penstock.lance, sampler)(rank, 2)
    with DataLoader2(LanceDataset(path, 8, **options), reading_service=service) as dl:
        dl.seed(2)
        it: Any = iter(dl)
        begun = [next(it)["id"].tolist() for _ in range(stop)]
        return begun, dl.state_dict(), [batch["id"].tolist() for batch in it]


@pytest.mark.parametrize(
    "options", [{"shuffle": True}, {"sharded": "ShardedBatchSampler"}, {"sharded": "ShardedFragmentSampler"}], ids=str
)
def test_ranks_under_a_service_take_as_many_steps_and_resume_in_one_process(uri: str, options: Any) -> None:
    found = ranks.values(2, served, uri, options, 2)
    batches = [[*begun, *rest] for begun, _, rest in found]
    assert len(batches[0]) == len(batches[1]) == 6  # the 13th batch would be a rank's alone
    together = [i for pair in zip(*batches, strict=True) for batch in pair for i in batch]
    assert len(set(together)) == 96
    alone = {} if "sharded" in options else options
    with DataLoader2(LanceDataset(uri, 8, **alone)) as dl:
        dl.seed(2)
        assert ids(dl)[:96] == together
        dl.load_state_dict(found[0][1])
        assert ids(dl)[: 96 - 32] == together[32:]


def wrong_world(rank: int, path: str) -> None:
    dataset = LanceDataset(path, 8, sampler=ShardedBatchSampler(rank, 8))
    with DataLoader2(dataset, reading_service=DistributedReadingService()) as dl:
        list(dl)


def test_a_sampler_for_another_number_of_ranks_is_refused(uri: str) -> None:
    for outcome in ranks.run(2, wrong_world, uri):
        assert outcome.error is not None
        assert "8 ranks, and the service has 2" in outcome.error
    assert issubclass(GraphError, Exception)


def test_samplers_of_torch_ask_it_for_their_rank(uri: str) -> None:
    def made(rank: int) -> list[tuple[int, int]]:
        samplers = [kind.from_torch() for kind in (ShardedFragmentSampler, ShardedBatchSampler)]
        samplers.append(ShardedFixedBatchSampler.from_torch(8, 100))
        return [(sampler.rank, sampler.world_size) for sampler in samplers]

    assert ranks.values(2, made) == [[(0, 2)] * 3, [(1, 2)] * 3]
    with pytest.raises(RuntimeError, match="init_process_group"):
        ShardedBatchSampler.from_torch()


# -------------------------------------------------------------------------------------------------------------- writing


def test_hugging_face_s_data_sets_are_written_as_they_are_now(tmp_path: Path) -> None:
    features = datasets.Features({"x": datasets.Value("int16"), "word": datasets.Value("string")})
    whole = datasets.Dataset.from_dict({"x": range(3000), "word": [f"w{i}" for i in range(3000)]}, features)
    for number, data in enumerate(
        [
            whole.select([7, 3, 3, 1]),
            whole.shuffle(seed=1),
            whole.filter(lambda row: row["x"] % 2),
            whole.with_format("torch"),
        ]
    ):
        written = write_dataset(data, tmp_path / f"{number}.lance")
        assert written.to_table()["x"].to_pylist() == data.with_format(None)["x"][:]
        assert written.schema.field("x").type == pa.int16()
        assert b"huggingface" in written.schema.metadata
    found = write_dataset(datasets.DatasetDict({"train": whole, "test": whole.select(range(5))}), tmp_path / "both")
    assert {split: len(data.to_table()) for split, data in found.items()} == {"train": 3000, "test": 5}
    assert lance.dataset(tmp_path / "both" / "test.lance").count_rows() == 5
    stream = whole.to_iterable_dataset().filter(lambda row: row["x"] > 2990)
    assert write_dataset(stream, tmp_path / "stream.lance").to_table()["x"].to_pylist() == list(range(2991, 3000))


def test_images_come_back_as_they_were_written(tmp_path: Path) -> None:
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "png")
    data = datasets.Dataset.from_dict({"image": [{"bytes": file.getvalue(), "path": None}] * 3})
    write_dataset(data.cast_column("image", datasets.Image()), tmp_path / "a.lance")
    (batch,) = LanceDataset(tmp_path / "a.lance", 4)
    assert [image.tolist() for image in batch] == [pixels.tolist()] * 3
    (encoded,) = LanceDataset(tmp_path / "a.lance", 4, conversion=Conversion(images="encoded"))
    assert encoded == [file.getvalue()] * 3


def test_pipes_tables_and_frames_are_written(tmp_path: Path) -> None:
    rows = [
        {
            "x": i,
            "v": np.full(2, i, np.float32),
            "m": np.full((2, 3), i % 99, np.uint8),
            "s": None if i == 1 else f"s{i}",
        }
        for i in range(2000)
    ]
    written = write_dataset(IterableWrapper(rows), tmp_path / "rows.lance")
    assert written.schema.field("v").type == pa.list_(pa.float32(), 2)
    assert written.schema.field("m").type == pa.fixed_shape_tensor(pa.uint8(), (2, 3))
    (batch, *_) = LanceDataset(tmp_path / "rows.lance", 2000, conversion=Conversion(nulls={"s": ""}))
    assert batch["m"].shape == (2000, 2, 3)
    assert batch["v"][1999].tolist() == [1999.0, 1999.0]
    batches = IterableWrapper([{"x": torch.arange(3), "s": ["a", "b", "c"]}] * 2)
    assert write_dataset(batches, tmp_path / "b.lance", batched=True).count_rows() == 6
    arrow = IterableWrapper([tmp_path / "rows.lance"]).read_lance(["x"], as_="arrow")
    assert write_dataset(arrow, tmp_path / "c.lance").count_rows() == 2000
    for number, data in enumerate(
        [
            pa.table({"x": [1]}),
            pd.DataFrame({"x": [1]}),
            pa.record_batch({"x": [1]}),
            [{"x": 1}],
            [pa.record_batch({"x": [1]})],
        ]
    ):
        assert write_dataset(data, tmp_path / f"t{number}.lance").to_table().to_pydict() == {"x": [1]}
    schema = pa.schema([("x", pa.int8())])
    assert write_dataset([{"x": 1}], tmp_path / "t9.lance", schema).schema.field("x").type == pa.int8()
    assert write_dataset(iter([]), tmp_path / "t10.lance", schema).count_rows() == 0


def test_rows_that_do_not_fit_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no rows"):
        write_dataset(IterableWrapper([]), tmp_path / "a.lance")
    with pytest.raises(ValueError, match="'y'"):
        write_dataset(IterableWrapper([{"x": 1}, {"x": 1, "y": 2}]), tmp_path / "b.lance")
    with pytest.raises(TypeError, match="sample"):
        write_dataset(IterableWrapper([1, 2]), tmp_path / "c.lance")


def test_a_stream_of_hugging_face_s_without_features_is_written_by_the_schema(tmp_path: Path) -> None:
    """It guesses the types of each piece of its own: of nulls alone, null."""

    def rows() -> Any:
        return ({"id": i, "n": None if i < 500 else i} for i in range(1500))

    stream = datasets.IterableDataset.from_generator(rows)
    schema = pa.schema({"id": pa.int64(), "n": pa.int32()})
    write_dataset(stream, tmp_path / "a.lance", schema)
    found = lance.dataset(str(tmp_path / "a.lance")).to_table()
    assert (found.schema, found.num_rows, found["n"].null_count) == (schema, 1500, 500)


@pytest.mark.parametrize("late", [1.5, "a"])
def test_rows_that_come_late_and_do_not_fit_are_a_value_error_and_nothing_is_written(tmp_path: Path, late: Any) -> None:
    rows = [{"x": i} for i in range(1500)] + [{"x": late}]
    with pytest.raises(ValueError, match="to int64"):
        write_dataset(IterableWrapper(rows), tmp_path / "a.lance")
    assert not list(tmp_path.rglob("*.manifest"))


def test_what_a_pipe_raises_while_it_is_written_is_raised(tmp_path: Path) -> None:
    def halved(row: dict[str, int]) -> dict[str, float]:
        return {"x": 1 / (1500 - row["x"])}

    with pytest.raises(ZeroDivisionError):
        write_dataset(IterableWrapper([{"x": i} for i in range(2000)]).map(halved), tmp_path / "a.lance")
