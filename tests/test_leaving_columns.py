"""What a worker's last step reads becomes tensors and strings where it arrives: the same as from one process."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import DataLoader2, MultiProcessingReadingService
from penstock.core.context import Context
from penstock.core.leaving import Deferred, Words
from penstock.core.stream import State, Stream
from penstock.pipes import IterableWrapper
from penstock.pipes._tensors_later import to_leave
from penstock.pipes.parquet_reader import ParquetReader
from penstock.serialization.columns import Conversion
from penstock.testing import plain

COLUMNS: dict[str, Any] = {
    "x": pa.array(range(40), pa.int16()),
    "word": pa.array([f"w{i}" for i in range(40)]),
    "large": pa.array([f"ä{i}" for i in range(40)], pa.large_string()),
    "with zeros": pa.array(["a\0b" if i == 7 else f"{i}" for i in range(40)]),
    "empty": pa.array([""] * 40),
    "bytes": pa.array([b"%d" % i for i in range(40)]),
    "when": pa.array(range(40), pa.timestamp("us")),
    "vector": pa.array([[i, i] for i in range(40)], pa.list_(pa.float32(), 2)),
    "ragged": pa.array([[0] * (i % 3) for i in range(40)]),
    "choice": pa.array(["a", "b"] * 20).dictionary_encode(),
    "struct": pa.array([{"y": i} for i in range(40)]),
}


def same(one: Any, other: Any) -> bool:
    return str(plain(one)) == str(plain(other))


@pytest.mark.parametrize("as_", ["numpy", "torch", "arrow"])
@pytest.mark.parametrize(
    "names", [["x", "word", "large", "with zeros", "empty", "bytes", "when", "vector"], list(COLUMNS)]
)
def test_batches_from_workers_are_those_of_one_process(tmp_path: Path, as_: Any, names: list[str]) -> None:
    path = str(tmp_path / "a.parquet")
    pq.write_table(pa.table({name: COLUMNS[name] for name in names}), path, row_group_size=10)
    pipe = IterableWrapper([path]).list_row_groups().sharding_filter().read_parquet(batch_size=4, as_=as_)
    with DataLoader2(pipe) as one, DataLoader2(pipe, reading_service=MultiProcessingReadingService(2, lanes=1)) as two:
        expected, found = list(one), list(two)
    assert len(expected) == len(found) == 12
    for batch, other in zip(found, expected, strict=True):
        assert type(batch) is type(other)
        if as_ == "arrow":
            assert batch.equals(other)
            continue
        assert list(batch) == list(other) == names
        for name in names:
            assert type(batch[name]) is type(other[name])
            assert same(batch[name], other[name]), name


@pytest.mark.parametrize("nulls", ["mask", "", {"word": None}])
def test_a_policy_for_nulls_is_followed_where_there_are_none_in_a_batch(tmp_path: Path, nulls: Any) -> None:
    path = str(tmp_path / "a.parquet")
    pq.write_table(pa.table({"word": ["a", "b", None, "d"]}), path, row_group_size=2)
    pipe = IterableWrapper([path]).list_row_groups().sharding_filter()
    pipe = pipe.read_parquet(batch_size=2, conversion=Conversion(nulls=nulls))
    with DataLoader2(pipe) as one, DataLoader2(pipe, reading_service=MultiProcessingReadingService(1)) as two:
        assert list(map(str, one)) == list(map(str, two))


def test_masks_stand_beside_their_columns(tmp_path: Path) -> None:
    path = str(tmp_path / "a.parquet")
    pq.write_table(pa.table({"a": [1, None], "b": [2, 3]}), path)
    pipe = IterableWrapper([path]).sharding_filter().read_parquet(conversion=Conversion(nulls="mask"))
    for service in (None, MultiProcessingReadingService(1)):
        with DataLoader2(pipe, reading_service=service) as dl:
            assert [list(batch) for batch in dl] == [["a", "a_is_null", "b", "b_is_null"]]


def test_arrays_of_any_kind_become_the_same_in_workers(tmp_path: Path) -> None:
    path = str(tmp_path / "a.npy")
    np.save(path, np.arange(1000))

    def batch(k: int) -> dict[str, Any]:
        rows = slice(k, k + 100)
        return {
            "mapped": np.load(path, mmap_mode="r")[rows],
            "long": np.arange(100, dtype=np.longdouble),
            "ulonglong": np.arange(100, dtype=np.ulonglong),
            "big": np.arange(100, dtype=">i4"),
            "every other": np.arange(200)[::2],
            "strings": np.array(["a"] * 100),
        }

    pipe = IterableWrapper(range(0, 1000, 100)).sharding_filter().map(batch).to_tensors()
    with DataLoader2(pipe) as one, DataLoader2(pipe, reading_service=MultiProcessingReadingService(2, lanes=1)) as two:
        expected, found = list(one), list(two)
    assert len(found) == len(expected) == 10
    for got, other in zip(found, expected, strict=True):
        assert [type(column) for column in got.values()] == [type(column) for column in other.values()]
        assert all(same(got[name], other[name]) for name in other)
    assert [type(column).__name__ for column in found[0].values()] == [
        *("Tensor", "ndarray", "Tensor", "Tensor", "Tensor", "list")
    ]


@settings(max_examples=100, deadline=None)
@given(words=st.lists(st.text(max_size=4)), large=st.booleans(), data=st.data())
def test_words_arrive_as_the_list_that_they_are(words: list[str], large: bool, data: Any) -> None:
    column = Words(pa.array(words, pa.large_string() if large else pa.string()))
    assert len(column) == len(words)
    assert pickle.loads(pickle.dumps(column, 5)) == words
    low = data.draw(st.integers(0, len(words)))
    high = data.draw(st.integers(low, len(words)))
    assert pickle.loads(pickle.dumps(column[low:high], 5)) == words[low:high]
    if words:
        assert pickle.loads(pickle.dumps(Words.joined([column, column[low:high]]), 5)) == words + words[low:high]


class SumReader(ParquetReader):
    """Sums of a file's batches: a user's class that looks at what the class that it extends makes."""

    def build(self, ctx: Context, state: State = None) -> Stream[Any]:
        batches = super().build(ctx, state)
        return batches.onward({"n": len(batch["x"]), "sum": batch["x"].sum().item()} for batch in batches.it)


@pytest.mark.parametrize("as_", ["numpy", "torch"])
def test_a_class_that_extends_a_last_step_looks_at_the_same_batches_in_a_worker(tmp_path: Path, as_: Any) -> None:
    path = str(tmp_path / "a.parquet")
    pq.write_table(pa.table({"x": range(40)}), path, row_group_size=10)
    pipe = SumReader(IterableWrapper([path]).list_row_groups().sharding_filter(), batch_size=4, as_=as_)
    with DataLoader2(pipe, reading_service=MultiProcessingReadingService(1, lanes=1)) as dl:
        found = list(dl)
    assert len(found) == 12 and sum(batch["sum"] for batch in found) == sum(range(40))


def test_what_leaves_is_the_least_work_that_there_is() -> None:
    batch = pa.record_batch({name: COLUMNS[name] for name in ("x", "word", "when")})
    found = to_leave(Conversion(), torch=True)(batch)
    assert [type(column) for column in found.values()] == [Deferred, Words, Deferred]
    assert found["when"].array.dtype == np.int64
    nulls = pa.record_batch({"word": pa.array(["a", None])})
    with pytest.raises(ValueError, match="null"):
        to_leave(Conversion(), torch=False)(nulls)
    twice = pa.RecordBatch.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["word", "word"])
    with pytest.raises(ValueError, match="two columns"):
        to_leave(Conversion(), torch=False)(twice)
