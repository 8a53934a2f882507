"""Programs written for Lance's classes: what they derive from them, hand to them, and get by name."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import lance
import lance.sampler
import numpy as np
import PIL.Image
import pyarrow as pa
import pytest
import torch
from torch.utils.data import ConcatDataset

from penstock import DataLoader2, DistributedReadingService, MultiProcessingReadingService, RankError
from penstock.lance import (
    FragmentSampler,
    LanceDataset,
    SafeLanceDataset,
    Sampler,
    ShardedBatchSampler,
    ShardedFixedBatchSampler,
    ShardedFragmentSampler,
    write_dataset,
)
from ranks import ranks

ROWS = 100


@pytest.fixture
def uri(tmp_path: Path) -> str:
    """10 fragments of 10 rows."""
    path = str(tmp_path / "a.lance")
    lance.write_dataset(
        pa.table({"id": range(ROWS), "word": [f"w{i}" for i in range(ROWS)]}), path, max_rows_per_file=10
    )
    return path


def ids(batches: Any) -> list[int]:
    return [int(i) for batch in batches for i in batch["id"]]


# ------------------------------------------------------------------------------------------------------------ samplers


@pytest.mark.parametrize("kind", [ShardedFragmentSampler, ShardedBatchSampler, ShardedFixedBatchSampler])
@pytest.mark.parametrize("workers", [0, 2])
def test_ranks_that_draw_seeds_of_their_own_divide_one_order(uri: str, kind: Any, workers: int) -> None:
    def of_rank(rank: int) -> list[list[int]]:
        torch.manual_seed(rank)
        dataset = LanceDataset(uri, 8, sampler=kind(rank, 2, randomize=True, seed=0))
        service = MultiProcessingReadingService(workers) if workers else None
        with DataLoader2(dataset, reading_service=service) as dl:
            found = [ids(dl)]
            dl.seed(rank)
            return [*found, ids(dl), ids(dl)]

    epochs = list(zip(of_rank(0), of_rank(1), strict=True))
    for epoch in epochs:
        assert sorted(epoch[0] + epoch[1]) == list(range(ROWS))
    assert epochs[1] != epochs[2], "another order in each"


class Backwards(ShardedFragmentSampler):
    def iter_fragments(self, dataset: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        return iter(list(super().iter_fragments(dataset))[::-1])


class Low(ShardedBatchSampler):
    def __call__(self, dataset: Any, **kwargs: Any) -> Iterator[Any]:
        return super().__call__(dataset, **{**kwargs, "filter": "id < 5"})


def test_what_a_subclass_of_a_sampler_changes_is_what_is_read(uri: str) -> None:
    expected = [i for start in range(80, -1, -20) for i in range(start, start + 10)]
    assert ids(LanceDataset(uri, 8, sampler=Backwards(0, 2))) == expected
    assert ids(LanceDataset(uri, 8, sampler=Low(1, 2))) == [1, 3]


class Own(Sampler):
    """Keeps what it was told and given."""

    def __init__(self) -> None:
        self.epoch, self.given = 0, {}

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __call__(self, dataset: Any, **kwargs: Any) -> Iterator[Any]:
        self.given = kwargs
        yield from dataset.scanner(columns=kwargs["columns"], batch_size=kwargs["batch_size"]).to_batches()


def test_a_sampler_of_ones_own_is_told_the_columns_and_the_epoch(uri: str) -> None:
    own = Own()
    dataset = LanceDataset(uri, 8, sampler=own)
    dataset.set_epoch(3)
    assert ids(dataset) == list(range(ROWS))
    assert own.given["columns"] == ["id", "word"] and own.epoch == 3
    list(LanceDataset(uri, 8, columns=["word"], sampler=own))
    assert own.given["columns"] == ["word"]


class Single(Sampler):
    """Yields rows one by one, then many, then nothing."""

    def __call__(self, dataset: Any, *, columns: Any = None, **kwargs: Any) -> Iterator[Any]:
        table = dataset.to_table(columns=columns).combine_chunks()
        (whole,) = table.to_batches()
        for start, count in [(i, 1) for i in range(20)] + [(20, 30), (50, 0), (50, 3)]:
            yield whole.slice(start, count)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_a_sampler_yields_is_put_together_up_to_a_batch(uri: str, workers: int) -> None:
    dataset = LanceDataset(uri, 8, sampler=Single())
    service = MultiProcessingReadingService(workers) if workers else None
    with DataLoader2(dataset, reading_service=service) as dl:
        found = list(dl)
    assert sorted(map(len, (batch["id"] for batch in found))) == [3, 4, 8, 8, 30]
    assert ids(found) == list(range(53))


class Half(FragmentSampler):
    def __init__(self, rank: int) -> None:
        self._rank = rank

    def iter_fragments(self, dataset: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        return iter(dataset.get_fragments()[self._rank :: 2])


def test_lances_own_samplers_are_as_good_as_ours(uri: str) -> None:
    for theirs, ours in (
        (lance.sampler.ShardedBatchSampler(1, 2), ShardedBatchSampler(1, 2)),
        (lance.sampler.ShardedFragmentSampler(1, 2, True, 7), ShardedFragmentSampler(1, 2, True, 7)),
        (lance.sampler.ShardedFixedBatchSampler(1, 2), ShardedFixedBatchSampler(1, 2)),
    ):
        expected = list(LanceDataset(uri, 8, sampler=ours))
        assert str(list(LanceDataset(uri, 8, sampler=theirs))) == str(expected)
    assert ids(LanceDataset(uri, 8, sampler=lance.sampler.FullScanSampler())) == list(range(ROWS))


def test_under_a_service_with_ranks_nothing_is_divided_twice_in_silence(uri: str) -> None:
    def of_rank(rank: int) -> Any:
        found = []
        for sampler in (lance.sampler.ShardedBatchSampler(rank, 2), lance.sampler.ShardedFragmentSampler(rank, 2)):
            service = DistributedReadingService(timeout=20)
            with DataLoader2(LanceDataset(uri, 5, sampler=sampler), reading_service=service) as dl:
                found.append(ids(dl))
        for own in (Half(rank), Backwards(rank, 2), Low(rank, 2)):
            service = DistributedReadingService(timeout=20)
            dataset = LanceDataset(uri, 5, sampler=own)
            with DataLoader2(dataset, reading_service=service) as dl, pytest.raises(RankError):
                list(dl)
        return found

    for shares in zip(*ranks.values(2, of_rank), strict=True):
        assert sorted(shares[0] + shares[1]) == list(range(ROWS))


# ------------------------------------------------------------------------------------------------ functions of a batch


def hf_images(count: int = 3) -> Any:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 4, 5, 3), dtype=np.uint8)
    features = datasets.Features({"image": datasets.Image(), "n": datasets.Value("int64")})
    images = [PIL.Image.fromarray(one) for one in pixels]
    return datasets.Dataset.from_dict({"image": images, "n": range(count)}, features), pixels


def test_a_function_of_a_batch_gets_what_lance_gives_by_name(uri: str, tmp_path: Path) -> None:
    rows, pixels = hf_images()
    path = str(tmp_path / "images.lance")
    write_dataset(rows, path)

    def converted(batch: Any, *, hf_converter: Any = None) -> Any:
        return [np.asarray(image) for image in hf_converter.to_pytorch("image", batch["image"])]

    (found,) = LanceDataset(path, 4, to_tensor_fn=converted)
    assert np.array_equal(found, pixels)
    seen = []
    list(LanceDataset(uri, ROWS, to_tensor_fn=lambda batch, **named: seen.append(named)))
    assert seen == [{"hf_converter": None, "use_blob_api": False}]
    assert [len(batch) for batch in LanceDataset(uri, 50, to_tensor_fn=lambda batch: batch["id"])] == [50, 50]


def test_row_ids_are_numbers_that_torch_counts_with(uri: str) -> None:
    (batch,) = LanceDataset(uri, ROWS, columns=["id"], with_row_id=True, filter="id >= 98")
    assert batch["_rowid"].dtype == torch.int64
    assert (batch["_rowid"] - batch["_rowid"][0]).tolist() == [0, 1]
    (batch,) = LanceDataset(uri, ROWS, columns={"_rowid": "word", "_rowaddr": "cast(id as int)"})
    assert batch["_rowid"][1] == "w1" and batch["_rowaddr"].dtype == torch.int32, "names of other columns"
    dataset = LanceDataset(uri, ROWS, columns=["id"], with_row_id=True)
    with DataLoader2(dataset, reading_service=MultiProcessingReadingService(1)) as dl:
        (far,) = dl
    assert far["_rowid"].dtype == torch.int64 and len(far["_rowid"].unique()) == ROWS


def test_none_of_a_list_or_a_number_is_what_it_is_for_lance(uri: str) -> None:
    assert ids(LanceDataset(uri, 10, samples=None)) == list(range(ROWS))
    (batch, *_) = LanceDataset(uri, 10, columns=[])
    assert list(batch) == ["id", "word"]


def test_rows_by_number_add_up_to_one_data_set(uri: str) -> None:
    both = SafeLanceDataset(uri) + SafeLanceDataset(uri)
    assert isinstance(both, ConcatDataset)
    assert len(both) == 2 * ROWS and both[ROWS + 3]["id"] == 3


# ------------------------------------------------------------------------------------------------------------- writing


def test_rows_are_written_by_lances_names_for_them(tmp_path: Path) -> None:
    path = str(tmp_path / "a.lance")
    write_dataset(data_obj=pa.table({"x": [1]}), uri=path, mode="create")
    assert lance.dataset(path).to_table().to_pydict() == {"x": [1]}


def test_a_column_that_a_sample_lacks_is_null_if_the_schema_lets_it_be(tmp_path: Path) -> None:
    schema = pa.schema([("x", pa.int32()), ("y", pa.string())])
    found = write_dataset([{"x": 1}, {"x": 2, "y": "b"}], str(tmp_path / "a.lance"), schema=schema)
    assert found.to_table().to_pydict() == {"x": [1, 2], "y": [None, "b"]}
    strict = pa.schema([("x", pa.int32()), pa.field("y", pa.string(), nullable=False)])
    with pytest.raises(ValueError, match="'y'"):
        write_dataset([{"x": 1}], str(tmp_path / "b.lance"), schema=strict)
    with pytest.raises(ValueError, match="'z'"):
        write_dataset([{"x": 1, "z": 1}], str(tmp_path / "c.lance"), schema=schema)


def test_a_schema_changes_types_and_leaves_what_images_are(tmp_path: Path) -> None:
    rows, pixels = hf_images()
    schema = pa.schema([rows.features.arrow_schema.field("image"), ("n", pa.int16())])
    path = str(tmp_path / "a.lance")
    write_dataset(rows, path, schema=schema)
    (batch,) = LanceDataset(path, 4)
    assert batch["n"].dtype == torch.int16
    assert np.array_equal(np.stack([np.asarray(image) for image in batch["image"]]), pixels)
    assert lance.dataset(path).to_table()["image"][0].as_py()["bytes"] == _png(pixels[0])


def _png(pixels: Any) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
