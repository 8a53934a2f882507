"""Rows of Parquet files by number, and a shuffle of all of them."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock import (
    BadSamples,
    DataLoader2,
    DecodeError,
    InProcessReadingService,
    MultiProcessingReadingService,
    ThreadingReadingService,
)
from penstock.pipes import IterableWrapper
from penstock.pipes._table_files import ParquetFile
from penstock.pipes.map import ParquetTable, SequenceWrapper
from running import restores_at_every_index

FORMS = ("numpy", "torch", "arrow")


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    found = []
    for number, rows in enumerate((11, 0, 12)):
        start = 11 * (number > 1)
        x = np.arange(start, start + rows)
        table = pa.table({"x": x, "s": pa.array([f"s{i}" for i in x], pa.string())})
        found.append(str(tmp_path / f"{number}.parquet"))
        pq.write_table(table, found[-1], row_group_size=4)
    return found


@pytest.mark.parametrize("as_", FORMS)
def test_a_row_is_a_dict(paths: list[str], as_: Any) -> None:
    table = ParquetTable(paths, as_=as_)
    assert len(table) == 23
    assert [int(table[i]["x"]) for i in (0, 11, 22, -1)] == [0, 11, 22, 22]
    assert table[5]["s"] == "s5"
    assert [int(row["x"]) for row in table.__getitems__([7, 7, 1])] == [7, 7, 1]
    for wrong in (23, -24):
        with pytest.raises(IndexError, match="23 rows"):
            table[wrong]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(numbers=st.lists(st.integers(-23, 22)), as_=st.sampled_from(FORMS), cache_bytes=st.sampled_from([0, 1 << 20]))
def test_a_batch_has_the_rows_in_the_order_of_their_numbers(
    paths: list[str], numbers: list[int], as_: Any, cache_bytes: int
) -> None:
    batch = ParquetTable(paths, ["s", "x"], as_=as_, cache_bytes=cache_bytes).take(numbers)
    assert batch["x"].tolist() == [number % 23 for number in numbers]
    assert (batch["s"].to_pylist() if as_ == "arrow" else batch["s"]) == [f"s{number % 23}" for number in numbers]


def test_each_row_group_is_decoded_once_where_it_can_be_kept(paths: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    blocks = ParquetFile.blocks

    def counting(self: Any, group: int, *rest: Any) -> Any:
        read.append(group)
        return blocks(self, group, *rest)

    monkeypatch.setattr(ParquetFile, "blocks", counting)
    table = ParquetTable(paths)
    for _ in range(2):
        list(table.shuffle().take_rows(3))
    assert len(read) == 6
    read.clear()
    list(ParquetTable(paths, cache_bytes=1).to_iter_datapipe().take_rows(5))
    assert len(read) == 6, "in the order of the rows the last one is all that it takes"


SERVICES = {
    "in process": InProcessReadingService,
    "2 workers": lambda: MultiProcessingReadingService(2),
    "2 threads": lambda: ThreadingReadingService(2),
}


@pytest.mark.parametrize("as_", FORMS)
@pytest.mark.parametrize("service", SERVICES)
def test_a_shuffle_of_all_rows_is_the_same_under_every_service(paths: list[str], service: str, as_: Any) -> None:
    pipe = ParquetTable(paths, as_=as_).shuffle().sharding_filter().take_rows(4)
    assert len(pipe) == 6
    orders = []
    for made in (SERVICES[service], InProcessReadingService):
        with DataLoader2(pipe, reading_service=made()) as loader:
            loader.seed(2)
            orders.append([batch["x"].tolist() for batch in loader])
    assert orders[0] == orders[1]
    assert [len(part) for part in orders[0]] == [4] * 5 + [3]
    assert sorted(sum(orders[0], [])) == list(range(23)) != sum(orders[0], [])


def test_lanes_of_one_process_take_rows_as_those_of_several(paths: list[str]) -> None:
    """A step that may leave rows out divides into lanes, and a process of a smaller machine has several of them."""
    pipe = ParquetTable(paths).shuffle().sharding_filter().take_rows(3).filter_rows([("x", ">", 3)]).rebatch(4)

    def read(service: Any, state: Any = None) -> list[tuple[list[int], Any]]:
        with DataLoader2(pipe, reading_service=service) as dl:
            dl.seed(2)
            if state is not None:
                dl.load_state_dict(state)
            return [(batch["x"].tolist(), dl.state_dict()) for batch in dl]

    expected = read(MultiProcessingReadingService(2))
    batches = [batch for batch, _ in expected]
    assert sorted(i for batch in batches for i in batch) == list(range(4, 23))
    assert [batch for batch, _ in read(InProcessReadingService(lanes=2))] == batches
    for place, (_, state) in enumerate(expected):
        for service in (InProcessReadingService(), ThreadingReadingService(1), ThreadingReadingService(3)):
            assert [batch for batch, _ in read(service, state)] == batches[place + 1 :]
    with DataLoader2(pipe, reading_service=InProcessReadingService(lanes=3), bad_samples=BadSamples("skip")) as dl:
        assert sorted(i for batch in dl for i in batch["x"].tolist()) == list(range(4, 23))


def test_it_restores_at_every_index(paths: list[str]) -> None:
    restores_at_every_index(ParquetTable(paths).shuffle().take_rows(3, drop_last=True))
    restores_at_every_index(ParquetTable(paths).to_iter_datapipe([3, 9, 21, 4]).take_rows(3).rebatch(2))


def test_how_much_memory_it_may_take_is_no_part_of_its_state(paths: list[str]) -> None:
    def pipe(cache_bytes: int) -> Any:
        return ParquetTable(paths, cache_bytes=cache_bytes).shuffle().sharding_filter().take_rows(4)

    with DataLoader2(pipe(0)) as dl:
        dl.seed(1)
        it: Any = iter(dl)
        next(it)
        state, rest = dl.state_dict(), [batch["x"].tolist() for batch in it]
    with DataLoader2(pipe(1 << 20)) as dl:
        dl.load_state_dict(state)
        assert [batch["x"].tolist() for batch in dl] == rest


def test_a_table_travels_without_what_it_has_decoded(paths: list[str]) -> None:
    table = ParquetTable(paths)
    before = len(pickle.dumps(table))
    table.take(range(23))
    assert len(pickle.dumps(table)) == before
    assert pickle.loads(pickle.dumps(table))[3] == table[3]


def test_threads_may_share_a_table(paths: list[str]) -> None:
    table = ParquetTable(paths, cache_bytes=1)
    with ThreadPoolExecutor(4) as pool:
        assert [int(row["x"]) for row in pool.map(table.__getitem__, list(range(23)) * 4)] == list(range(23)) * 4


def test_what_is_no_table_is_refused() -> None:
    for source in (IterableWrapper([1]), SequenceWrapper([1]).shuffle()):
        with pytest.raises(TypeError, match="rows of a table"):
            list(source.take_rows(2))


def test_files_that_differ_and_damaged_ones_are_named(paths: list[str], tmp_path: Path) -> None:
    other = str(tmp_path / "other.parquet")
    pq.write_table(pa.table({"x": ["a"], "s": ["a"]}), other)
    with pytest.raises(DecodeError, match=r"other\.parquet has other columns"):
        len(ParquetTable([*paths, other]))
    (tmp_path / "empty.parquet").write_bytes(b"")
    with pytest.raises(DecodeError, match=r"empty\.parquet"):
        len(ParquetTable([*paths, str(tmp_path / "empty.parquet")]))
    assert ParquetTable([*paths, other], ["s"])[23] == {"s": "a"}
    pq.write_table(pa.table({"x": [1, None]}), other)
    with pytest.raises(DecodeError, match=r"other\.parquet: column 'x' .* has a null"):
        ParquetTable(other).take([0, 1])


def test_a_row_group_that_is_damaged_can_be_skipped(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(
        pa.table({"x": np.arange(12)}), path, row_group_size=4, write_page_checksum=True, use_dictionary=False
    )
    chunk = pq.ParquetFile(path).metadata.row_group(1).column(0)
    at = chunk.data_page_offset + chunk.total_compressed_size - 4
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)
    pipe = ParquetTable(str(path)).to_iter_datapipe().take_rows(4)
    with pytest.raises(DecodeError, match=r"a\.parquet: row group 1"):
        list(pipe)
    with DataLoader2(pipe, bad_samples=BadSamples("skip")) as loader:
        assert [batch["x"].tolist() for batch in loader] == [[0, 1, 2, 3], [8, 9, 10, 11]]
        assert loader.stats()["skipped"] == 1
