"""Lance data sets as batches of columns and as rows by number: what is read, at which version, and what goes wrong."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock import (
    BadSamples,
    DataLoader2,
    DecodeError,
    InProcessReadingService,
    MultiProcessingReadingService,
    StateError,
    ThreadingReadingService,
)
from penstock.core.errors import ForkedProcess
from penstock.lance import SafeLanceDataset
from penstock.pipes import IterableWrapper
from penstock.pipes.map import LanceTable
from running import restores_at_every_index

FORMS = ("numpy", "torch", "arrow")
KEPT = [x for x in range(25) if x not in (3, 9)]


def rows(numbers: Any) -> pa.Table:
    x = np.array(numbers, np.int64)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.repeat(x, 3).astype(np.float32)), 3)
    return pa.table({"x": x, "s": [f"s{i}" for i in x], "v": vectors})


@pytest.fixture
def uri(tmp_path: Path) -> str:
    """Fragments of 8, 8, 8 and 1 rows, of which two have been deleted since."""
    lance.write_dataset(rows(range(25)), tmp_path / "a.lance", max_rows_per_file=8).delete("x in (3, 9)")
    return str(tmp_path / "a.lance")


def xs(batches: Any) -> list[int]:
    return [int(x) for batch in batches for x in np.asarray(batch["x"])]


def as_rows(service: Any, graph: Any, **options: Any) -> list[int]:
    with DataLoader2(graph, reading_service=service, **options) as dl:
        dl.seed(1)
        return xs(dl)


# ------------------------------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize("as_", FORMS)
@pytest.mark.parametrize("batch_size", [1, 3, 100, None])
def test_every_row_comes_once_in_order(uri: str, as_: Any, batch_size: int | None) -> None:
    batches = list(IterableWrapper([uri]).read_lance(batch_size=batch_size, as_=as_))
    assert xs(batches) == KEPT
    assert max(len(batch["x"]) for batch in batches) == min(8, batch_size or 8)


def test_columns_and_filters_are_lances_own(uri: str) -> None:
    pipe = IterableWrapper([uri])
    assert [set(batch) for batch in pipe.read_lance(["s"])] == [{"s"}] * 4
    assert [batch["y"].tolist() for batch in pipe.read_lance({"y": "x * 2"}, "x > 22")] == [[46], [48]]
    between = (pc.field("x") >= 7) & (pc.field("x") < 11)
    for condition in ("x >= 7 and x < 11", between, [("x", ">=", 7), ("x", "<", 11)]):
        assert xs(pipe.read_lance(filter=condition)) == [7, 8, 10]
    ids = np.concatenate([batch["_rowid"] for batch in pipe.read_lance(["x"], with_row_id=True)])
    assert ids.dtype == np.uint64
    assert len(set(ids.tolist())) == len(KEPT)


@pytest.mark.parametrize("filter", [None, "x % 2 = 0"])
def test_reading_restores_at_every_index(uri: str, filter: str | None) -> None:
    restores_at_every_index(IterableWrapper([uri] * 2).read_lance(["x"], filter, batch_size=3))


@pytest.mark.parametrize(
    "service", [InProcessReadingService(), ThreadingReadingService(2), MultiProcessingReadingService(2)]
)
def test_fragments_are_shuffled_and_dealt(uri: str, service: Any) -> None:
    pipe = IterableWrapper([uri]).list_fragments().shuffle().sharding_filter().read_lance(["x"], batch_size=2)
    got = as_rows(service, pipe)
    assert sorted(got) == KEPT
    assert got != KEPT


def test_a_state_names_fragment_row_and_version_and_is_small(tmp_path: Path) -> None:
    path = str(tmp_path / "a.lance")
    lance.write_dataset(pa.table({"x": range(100_000)}), path)
    it: Any = iter(IterableWrapper([path]).read_lance(batch_size=100))
    for _ in range(900):
        next(it)
    state = it.state_dict()
    assert [0, 90_000, 1] in state["state"]["read_lance"]
    again: Any = iter(IterableWrapper([path]).read_lance(batch_size=100))
    again.load_state_dict(state)
    assert next(again)["x"][0] == 90_000


# ------------------------------------------------------------------------------------------------------------ versions


def test_a_table_stays_at_its_version_in_every_process(uri: str) -> None:
    table = LanceTable(uri, ["x"])
    lance.write_dataset(rows([100]), uri, mode="append")
    assert len(table) == len(pickle.loads(pickle.dumps(table))) == 23
    assert len(LanceTable(uri)) == 24
    assert len(LanceTable(uri, version=1)) == 25
    assert len(LanceTable(lance.dataset(uri, version=1))) == 25
    assert as_rows(MultiProcessingReadingService(2), table.to_iter_datapipe().sharding_filter().take_rows(4)) == KEPT


def test_workers_read_the_version_that_there_was_when_they_began(uri: str) -> None:
    pipe = IterableWrapper([uri]).list_fragments().sharding_filter().read_lance(["x"], batch_size=4)
    with DataLoader2(pipe, reading_service=MultiProcessingReadingService(2)) as dl:
        dl.seed(0)
        first = sorted(xs(dl))
        lance.write_dataset(rows([100]), uri, mode="append")
        assert sorted(xs(dl)) == first == KEPT


def test_a_place_at_another_version_is_refused_and_the_old_one_can_be_asked_for(uri: str) -> None:
    it: Any = iter(IterableWrapper([uri]).read_lance(["x"], batch_size=4))
    begun = xs([next(it)])
    state = it.state_dict()
    lance.write_dataset(rows([100]), uri, mode="append")
    later: Any = iter(IterableWrapper([uri]).read_lance(["x"], batch_size=4))
    later.load_state_dict(state)
    with pytest.raises(StateError, match="at version 3, .* saved at version 2"):
        next(later)
    again: Any = iter(IterableWrapper([uri]).read_lance(["x"], batch_size=4, version=2))
    again.load_state_dict(state)
    assert begun + xs(again) == KEPT


def test_what_is_not_there_is_named(uri: str, tmp_path: Path) -> None:
    for wrong in (lambda: LanceTable(tmp_path / "b.lance"), lambda: list(IterableWrapper(["b.lance"]).read_lance())):
        with pytest.raises(FileNotFoundError, match=r"b\.lance: no Lance data set is there"):
            wrong()
    with pytest.raises(FileNotFoundError, match="it has no version 99"):
        LanceTable(uri, version=99)
    with pytest.raises(DecodeError, match=r"a\.lance: .*no_such"):
        LanceTable(uri, ["no_such"])
    with pytest.raises(DecodeError, match=r"a\.lance: .*no_such"):
        len(LanceTable(uri, filter="no_such > 1"))
    with pytest.raises(TypeError, match="int"):
        LanceTable(3)


# ------------------------------------------------------------------------------------------------------ rows by number


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    numbers=st.lists(st.integers(-12, 11)),
    as_=st.sampled_from(FORMS),
    filter=st.sampled_from(["x >= 12", "x != 14 and x < 16"]),
)
def test_a_batch_has_the_rows_in_the_order_of_their_numbers(
    uri: str, numbers: list[int], as_: Any, filter: str
) -> None:
    kept = [x for x in KEPT if (x >= 12 if filter == "x >= 12" else x != 14 and x < 16)]
    table = LanceTable(uri, filter=filter, as_=as_)
    assert len(table) == len(kept)
    there = [number for number in numbers if -len(kept) <= number < len(kept)]
    batch = table.take(there)
    assert xs([batch]) == [kept[number] for number in there]
    words = batch["s"].to_pylist() if as_ == "arrow" else batch["s"]
    assert words == [f"s{kept[number]}" for number in there]


def test_a_row_is_a_dict_and_a_wrong_number_an_index_error(uri: str) -> None:
    table = LanceTable(uri)
    assert table[-1]["s"] == "s24"
    assert [row["x"] for row in table.__getitems__([7, 7, 1])] == [8, 8, 1]
    assert table[4]["v"].tolist() == [5.0, 5.0, 5.0]
    for wrong in (23, -24):
        with pytest.raises(IndexError, match="23 rows"):
            table[wrong]


@pytest.mark.parametrize(
    "service", [InProcessReadingService(), ThreadingReadingService(3), MultiProcessingReadingService(3)]
)
def test_a_shuffle_of_all_rows_is_the_same_on_every_service(uri: str, service: Any) -> None:
    pipe = LanceTable(uri, ["x"], as_="torch").shuffle().sharding_filter().take_rows(4)
    got = as_rows(service, pipe)
    assert sorted(got) == KEPT
    assert got == as_rows(InProcessReadingService(), pipe)


@pytest.mark.parametrize("at_once", [0, 5, 8, 100])
@pytest.mark.parametrize("drop_last", [False, True])
def test_batches_that_are_taken_together_restore_at_every_index(
    uri: str, at_once: int, drop_last: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LanceTable, "rows_at_once", property(lambda table: at_once))
    pipe = LanceTable(uri, ["x"]).shuffle().take_rows(3, drop_last)
    items = restores_at_every_index(pipe)
    assert len(items) == (7 if drop_last else 8)
    stream: Any = iter(pipe)
    stream.close()


def test_batches_that_are_taken_together_can_be_passed_over(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LanceTable, "rows_at_once", property(lambda table: 9))
    with DataLoader2(LanceTable(uri, ["x"]).to_iter_datapipe().take_rows(2)) as dl:
        dl.seed(0)
        dl.skip_steps(3, 7)
        assert xs(dl) == KEPT[:6] + KEPT[14:]


def test_a_bad_row_is_lost_with_its_own_batch_only(tmp_path: Path) -> None:
    path = str(tmp_path / "a.lance")
    lance.write_dataset(pa.table({"x": pa.array([*range(6), None, *range(7, 12)])}), path)
    pipe = LanceTable(path).to_iter_datapipe().sharding_filter().take_rows(2)
    with pytest.raises(DecodeError, match=r"a\.lance: .*null"):
        as_rows(InProcessReadingService(), pipe)
    assert as_rows(InProcessReadingService(), pipe, bad_samples=BadSamples("skip")) == [*range(6), *range(8, 12)]


def test_a_worker_that_reads_to_tensors_does_not_load_torch(uri: str) -> None:
    import psutil
    import torch

    others = {child.pid for child in psutil.Process().children(recursive=True)}  # of other tests
    pipe = LanceTable(uri, ["x", "s", "v"], as_="torch").to_iter_datapipe().sharding_filter().take_rows(1)
    with DataLoader2(pipe, reading_service=MultiProcessingReadingService(1)) as dl:
        batch = next(iter(dl))
        assert torch.equal(batch["v"], torch.zeros(1, 3))
        batch["v"] += 1
        workers = [child for child in psutil.Process().children(recursive=True) if child.pid not in others]
        workers = [worker for worker in workers if _maps(worker, "lance")]
        assert workers
        assert not any(_maps(worker, "libtorch") for worker in workers)


def _maps(process: Any, word: str) -> bool:
    with open(f"/proc/{process.pid}/maps") as file:
        return any(word in line for line in file)


# --------------------------------------------------------------------------------------------------------------- blobs


@pytest.mark.parametrize("version", ["2.0", "2.1", "2.2"])
def test_blobs_are_bytes_of_either_kind(tmp_path: Path, version: str) -> None:
    blob = pa.field("blob", pa.large_binary(), metadata={"lance-encoding:blob": "true"})
    data = [b"a" * 10, b"", b"c" * 100_000, b"d"]
    table = pa.table({"x": range(4), "blob": data}, schema=pa.schema([pa.field("x", pa.int64()), blob]))
    path = str(tmp_path / "a.lance")
    lance.write_dataset(table, path, data_storage_version=version)
    assert [batch["blob"] for batch in IterableWrapper([path]).read_lance()] == [data]
    rows = LanceTable(path)
    assert rows.take([3, 0, 3, 2])["blob"] == [data[3], data[0], data[3], data[2]]
    assert rows.take(range(4))["blob"] == data
    assert rows[2]["blob"] == data[2]
    renamed = LanceTable(path, {"data": "blob", "blob": "x"})
    assert renamed.take([3, 0])["data"] == [data[3], data[0]] and renamed.take(range(4))["data"] == data
    assert renamed.take([3, 0])["blob"].tolist() == [3, 0] and renamed[2] == {"data": data[2], "blob": 2}


# --------------------------------------------------------------------------------------------- damage, and forks


def test_damage_names_the_data_set_and_can_be_skipped(uri: str) -> None:
    file = next((Path(uri) / "data").iterdir())
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    pipe = IterableWrapper([uri]).list_fragments().sharding_filter().read_lance(["x"], batch_size=4)
    with pytest.raises(DecodeError, match=r"a\.lance: fragment \d"):
        as_rows(InProcessReadingService(), pipe)
    left = as_rows(MultiProcessingReadingService(2), pipe, bad_samples=BadSamples("skip"))
    assert len(left) in (15, 16, 22)
    assert set(left) < set(KEPT)


@pytest.mark.parametrize("kind", [LanceTable, SafeLanceDataset])
def test_a_forked_process_is_told_what_to_do(uri: str, kind: Any) -> None:
    table = kind(uri)
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            table.take([0])
        except ForkedProcess as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    said = os.read(read, 1 << 16).decode()
    os.close(read)
    os.close(write)
    assert "forkserver" in said
    assert f"process {pid} was forked from process {os.getpid()}" in said


def test_a_service_that_forks_says_what_to_do(uri: str, no_leftovers: None) -> None:
    pipe = LanceTable(uri).to_iter_datapipe().sharding_filter().take_rows(4)
    with pytest.raises(ForkedProcess, match="'forkserver'"):
        as_rows(MultiProcessingReadingService(2, multiprocessing_context="fork"), pipe)
