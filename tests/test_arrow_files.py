"""Arrow's IPC files and streams as batches of columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from penstock import BadSamples, DataLoader2, DecodeError, MultiProcessingReadingService
from penstock.pipes import IterableWrapper
from running import restores_at_every_index

TABLE = pa.table({"x": np.arange(23), "s": [f"s{i}" for i in range(23)]})


def write(path: Path, form: str, table: Any = TABLE, batch: int = 5, **options: Any) -> str:
    new = pa.ipc.new_stream if form == "stream" else pa.ipc.new_file
    with new(str(path), table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=batch)
    return str(path)


def column(batches: Any) -> list[Any]:
    return [value for batch in batches for value in batch["x"].tolist()]


@pytest.mark.parametrize("compression", [None, "zstd"])
@pytest.mark.parametrize("as_", ["numpy", "torch", "arrow"])
@pytest.mark.parametrize("form", ["file", "stream"])
def test_batches_have_the_rows_in_order(tmp_path: Path, form: str, as_: Any, compression: Any) -> None:
    path = write(tmp_path / "a", form, compression=compression)
    batches = list(IterableWrapper([path] * 2).read_arrow(batch_size=3, as_=as_))
    assert column(batches) == list(range(23)) * 2
    assert [len(batch["x"]) for batch in batches] == [3, 2, 3, 2, 3, 2, 3, 2, 3] * 2


@pytest.mark.parametrize("form", ["file", "stream"])
def test_columns_and_filters(tmp_path: Path, form: str) -> None:
    path = write(tmp_path / "a", form)
    pipe = IterableWrapper([path]).read_arrow(["x"], pc.field("s") > "s5", as_="arrow")
    assert {name for batch in pipe for name in batch.schema.names} == {"x"}
    assert column(pipe) == [6, 7, 8, 9]


@pytest.mark.parametrize("form", ["file", "stream"])
def test_files_at_other_places_are_read(tmp_path: Path, form: str) -> None:
    path = write(tmp_path / "a", form)
    fsspec.filesystem("memory").pipe(f"/{form}.arrow", Path(path).read_bytes())
    assert column(IterableWrapper([f"memory://{form}.arrow"]).read_arrow()) == list(range(23))


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("form", ["file", "stream"])
def test_it_resumes_at_every_index(tmp_path: Path, form: str, listed: bool) -> None:
    paths: Any = IterableWrapper([write(tmp_path / "a", form), write(tmp_path / "b", form, TABLE[:7])])
    source = paths.list_record_batches().shuffle() if listed else paths
    assert sum(map(len, restores_at_every_index(source.read_arrow(batch_size=2, as_="arrow")))) == 30


@pytest.mark.parametrize("form", ["file", "stream"])
def test_record_batches_are_dealt_to_workers(tmp_path: Path, form: str) -> None:
    pipe = IterableWrapper([write(tmp_path / "a", form)]).list_record_batches().shuffle().sharding_filter()
    assert len(IterableWrapper([write(tmp_path / "a", form)]).list_record_batches(2)) == 3
    with DataLoader2(pipe.read_arrow(as_="arrow"), reading_service=MultiProcessingReadingService(2)) as loader:
        assert sorted(column(loader)) == list(range(23))


def test_a_record_batch_of_a_local_file_is_a_view_of_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a", "file", pa.table({"x": np.arange(1_000_000)}), 1_000_000)
    before = pa.total_allocated_bytes()
    for batch in IterableWrapper([path]).read_arrow(as_="arrow"):
        assert pa.total_allocated_bytes() - before < 1_000_000
        assert len(batch)


@pytest.mark.parametrize("form", ["file", "stream"])
@pytest.mark.parametrize("how", ["empty", "truncated", "text", "offsets", "columns"])
def test_a_damaged_file_is_named_and_can_be_skipped(tmp_path: Path, form: str, how: str) -> None:
    path = tmp_path / "bad.arrow"
    good, data = write(tmp_path / "a", form), Path(write(path, form)).read_bytes()
    if how == "empty":
        path.write_bytes(b"")
    elif how == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif how == "text":
        path.write_text("id,label\n" * 100)
    elif how == "offsets":
        at = data.index(np.arange(0, 11, 2, dtype=np.int32).tobytes())
        path.write_bytes(data[: at + 8] + b"\xff\xff\xff\x7f" + data[at + 12 :])
    else:
        write(path, form, TABLE.select(["s"]))
    with pytest.raises(DecodeError, match=r"bad\.arrow"):
        list(IterableWrapper([good, str(path)]).read_arrow())
    with DataLoader2(IterableWrapper([good, str(path), good]).read_arrow(), bad_samples=BadSamples("skip")) as loader:
        found = column(loader)
        assert loader.stats()["skipped"] == 1
    assert found[:23] == found[-23:] == list(range(23))
