"""npy and npz files: batches of columns from any place, spans that are shuffled and dealt, and rows by number."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
import zarr

from penstock import (
    BadSamples,
    DataLoader2,
    DecodeError,
    InProcessReadingService,
    MultiProcessingReadingService,
    StateError,
    ThreadingReadingService,
)
from penstock.pipes import IterableWrapper
from penstock.pipes._zarr_column import Column
from penstock.pipes.map import ArrayTable
from running import restores_at_every_index

X = np.arange(23 * 3, dtype=np.float32).reshape(23, 3)
Y = np.arange(23)
RECORDS = np.array(
    [(i, i / 2, (i, i + 1), f"r{i}") for i in range(5)],
    dtype=[("a", "i4"), ("b", "f8"), ("v", "i2", 2), ("s", "U3")],
)
SERVICES: dict[str, Any] = {
    "in process": InProcessReadingService,
    "2 workers": lambda: MultiProcessingReadingService(2),
    "2 threads": lambda: ThreadingReadingService(2),
}


def npy(path: Any, data: Any) -> str:
    np.save(path, data, allow_pickle=True)
    return str(path)


def npz(path: Any, compressed: bool = False, **arrays: Any) -> str:
    (np.savez_compressed if compressed else np.savez)(path, **arrays)
    return str(path)


def read(*sources: Any, **options: Any) -> list[Any]:
    return list(IterableWrapper([*sources]).read_npy(**options))


@pytest.fixture
def memory() -> Iterator[Any]:
    fs = fsspec.filesystem("memory")
    yield fs
    for name in fs.ls("/", detail=False):
        fs.rm(name, recursive=True)


DATA = {
    "float32": X,
    "Fortran order": np.asfortranarray(X),
    "3 axes, Fortran order": np.asfortranarray(np.arange(24, dtype=np.float16).reshape(6, 2, 2)),
    "one axis": Y,
    "bool": Y > 2,
    "complex64": Y.astype(np.complex64),
    "datetime64": Y.astype("datetime64[s]"),
    "big-endian": Y.astype(">i4"),
    "bytes": np.array([b"a", b"bc", b"def"]),
    "unicode": np.array(["a", "été", "x"]),
    "raw": np.array([b"ab", b"cd"], dtype="V2"),
    "no rows": np.zeros((0, 3)),
    "empty rows": np.zeros((5, 0)),
}


@pytest.mark.parametrize("data", DATA.values(), ids=DATA)
@pytest.mark.parametrize("kind", ["npy", "npz", "compressed npz"])
@pytest.mark.parametrize("remote", [False, True], ids=["local", "remote"])
def test_columns_are_the_arrays(tmp_path: Path, memory: Any, data: Any, kind: str, remote: bool) -> None:
    if kind == "npy":
        url = npy(tmp_path / "x.npy", data)
    else:
        url = npz(tmp_path / "x.npz", kind != "npz", x=data)
    if remote:
        memory.pipe_file("/some/" + Path(url).name, Path(url).read_bytes())
        url = "memory://some/" + Path(url).name
    for options in ({}, {"span": 2}, {"batch_size": 3}):
        batches = read(url, **options)
        if len(data):
            found = np.concatenate([batch["x"] for batch in batches])
            assert np.array_equal(found, data) and found.dtype == data.dtype.newbyteorder("=")
        for batch in batches:
            assert batch["x"].dtype == data.dtype
            batch["x"][:] = batch["x"][::-1].copy()  # it may be written into
    table = ArrayTable(url)
    assert len(table) == len(data)
    numbers = [len(data) - 1, 0, 0] if len(data) else []
    taken = table.take(numbers)["x"]
    assert np.array_equal(taken, data[numbers]) and taken.dtype == data.dtype
    assert np.array_equal(np.concatenate([batch["x"] for batch in read(url)] or [data]), data), "files are unchanged"


def test_tensors_of_every_type_that_torch_has(tmp_path: Path) -> None:
    data = {name: values for name, values in DATA.items() if len(values) == 23}
    (batch,) = read(npz(tmp_path / "a.npz", **data), as_="torch")
    assert {name: column.dtype for name, column in batch.items()} == {
        "float32": torch.float32,
        "Fortran order": torch.float32,
        "one axis": torch.int64,
        "bool": torch.bool,
        "complex64": torch.complex64,
        "datetime64": torch.int64,
        "big-endian": torch.int32,
    }
    assert batch["big-endian"].tolist() == list(range(23))
    assert np.array_equal(batch["Fortran order"].numpy(), X)


@pytest.mark.parametrize("as_", ["numpy", "torch"])
def test_fields_are_columns(tmp_path: Path, as_: Any) -> None:
    path = npy(tmp_path / "a.npy", RECORDS)
    for batch in (*read(path, as_=as_), ArrayTable(path, as_=as_).take(range(5))):
        assert list(batch) == ["a", "b", "v", "s"]
        assert batch["a"].tolist() == list(range(5)) and batch["b"].tolist() == [0, 0.5, 1, 1.5, 2]
        assert batch["v"].shape == (5, 2) and list(batch["s"]) == ["r0", "r1", "r2", "r3", "r4"]
    assert [list(batch) for batch in read(path, columns=["s", "a"], span=3)] == [["s", "a"]] * 2
    (batch,) = read({"r": path, "y": npy(tmp_path / "y.npy", np.arange(5))})
    assert batch["r"]["b"].tolist() == [0, 0.5, 1, 1.5, 2] and batch["y"].tolist() == list(range(5))
    assert ArrayTable(path, ["b"])[3] == {"b": 1.5}


def test_a_folder_a_dict_and_an_archive_are_the_same_table(tmp_path: Path) -> None:
    files = {"x": npy(tmp_path / "x.npy", X), "y": npy(tmp_path / "y.npy", Y)}
    archive = npz(tmp_path / "a.npz", x=X, y=Y)
    for source in (str(tmp_path), f"file://{tmp_path}/", files, archive):
        assert [batch["y"].tolist() for batch in read(source, batch_size=9)] == [
            list(range(9)),
            list(range(9, 18)),
            list(range(18, 23)),
        ]
        assert [list(batch) for batch in read(source, columns=["y"])] == [["y"]]
        assert list(ArrayTable(source, ["y", "x"])[4]) == ["y", "x"]


def test_an_array_by_itself_is_named_as_its_file_or_as_is_said(tmp_path: Path) -> None:
    paths = [npy(tmp_path / f"tokens-{part}.npy", Y) for part in range(2)]
    assert [list(batch) for batch in read(*paths)] == [["tokens-0"]] * 2, "one table has one name for its column"
    assert [list(batch) for batch in read(*paths, column="t")] == [["t"]] * 2
    assert [len(batch["t"]) for batch in IterableWrapper(paths).read_npy(column="t").rebatch(40)] == [40, 6]
    assert list(ArrayTable(paths)[30]) == ["tokens-0"] and ArrayTable(paths, column="t")[30] == {"t": 7}
    assert read(paths[0], columns=["tokens-0"], column=None)[0]["tokens-0"].tolist() == list(range(23))


def test_an_array_without_an_axis_stands_in_every_row(tmp_path: Path) -> None:
    for compressed in (False, True):
        path = npz(tmp_path / "a.npz", compressed, x=X, scale=np.float32(0.5))
        assert [batch["scale"].tolist() for batch in read(path, batch_size=20)] == [[0.5] * 20, [0.5] * 3]
        assert ArrayTable(path)[22]["scale"] == 0.5
    assert read(npy(tmp_path / "b.npy", np.array(7)))[0]["b"].tolist() == [7]


def test_spans_hold_a_few_megabytes_or_what_is_said(tmp_path: Path) -> None:
    path = npy(tmp_path / "x.npy", np.zeros((3000, 1000), np.float32))
    spans = [(start, stop) for _, start, stop in IterableWrapper([path]).list_npy_rows()]
    assert spans == [(0, 1048), (1048, 2096), (2096, 3000)]
    assert len(IterableWrapper([path]).list_npy_rows()) == 3 == len(IterableWrapper([path]).read_npy())
    assert len(IterableWrapper([path]).read_npy(batch_size=1000)) == 5
    tokens = npy(tmp_path / "tokens.npy", np.arange(1000, dtype=np.uint16))
    windows = IterableWrapper([tokens]).list_npy_rows(span=100).shuffle().read_npy()
    assert {batch["tokens"].shape for batch in windows} == {(100,)} and len(windows.source_datapipe) == 10


@pytest.mark.parametrize("service", SERVICES)
def test_spans_are_shuffled_and_dealt_once_each(tmp_path: Path, service: str) -> None:
    tables = [{"x": npy(tmp_path / f"x{i}.npy", X + 69 * i), "y": npy(tmp_path / f"y{i}.npy", Y)} for i in range(2)]
    pipe = (
        IterableWrapper(tables)
        .list_npy_rows(span=4)
        .shuffle()
        .sharding_filter()
        .read_npy(batch_size=3, as_="torch")
        .shuffle_rows(10, batch_size=4)
        .select(["x"])
    )
    with DataLoader2(pipe, reading_service=SERVICES[service]()) as loader:
        loader.seed(3)
        found = [row for batch in loader for row in batch["x"][:, 0].tolist()]
    assert sorted(found) == [3.0 * i for i in range(46)] != found


def test_a_worker_that_reads_to_tensors_need_not_load_torch(tmp_path: Path) -> None:
    files = {"x": npy(tmp_path / "x.npy", X), "at": npy(tmp_path / "at.npy", Y.astype("datetime64[s]"))}
    seen = tmp_path / "seen"

    def note(item: Any) -> Any:
        import sys

        with seen.open("a") as file:
            file.write(f"{'torch' in sys.modules}\n")
        return item

    spans = IterableWrapper([files]).list_npy_rows(span=4).sharding_filter().map(note)
    table = ArrayTable(files, as_="torch").shuffle().sharding_filter()
    for pipe in (spans.read_npy(as_="torch", batch_size=3), spans.read_npy().to_tensors(), table.take_rows(4)):
        with DataLoader2(pipe, reading_service=MultiProcessingReadingService(1)) as loader:
            batches = list(loader)
        assert {type(column) for batch in batches for column in batch.values()} == {torch.Tensor}
        assert sorted(int(at) for batch in batches for at in batch["at"]) == list(range(23))
    assert set(seen.read_text().split()) == {"False"}


@pytest.mark.parametrize("compressed", [False, True])
def test_it_restores_at_every_index(tmp_path: Path, compressed: bool) -> None:
    sources = [npz(tmp_path / f"{i}.npz", compressed, x=X + i, y=Y) for i in range(2)]
    wrapped = IterableWrapper(sources)
    restores_at_every_index(wrapped.read_npy(batch_size=3, span=7))
    restores_at_every_index(wrapped.list_npy_rows(span=5).shuffle().read_npy(batch_size=2))
    restores_at_every_index(wrapped.read_npy(span=5).rebatch(4).rows())


def test_a_file_that_has_changed_is_not_resumed(tmp_path: Path) -> None:
    path = npy(tmp_path / "x.npy", X)
    for pipe in (
        IterableWrapper([path]).read_npy(batch_size=5, span=20),
        IterableWrapper([path]).list_npy_rows(span=3),
    ):
        npy(path, X)
        with DataLoader2(pipe) as loader:
            it = iter(loader)
            for _ in range(4):
                next(it)
            state = loader.state_dict()
        npy(path, X[:4])
        with DataLoader2(pipe) as loader:
            loader.load_state_dict(state)
            with pytest.raises(StateError, match=r"x\.npy has "):
                list(loader)


# Rows by number


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, Any]:
    """The same 46 rows in every shape, of two tables each, and the name of none twice."""
    found: dict[str, Any] = {"dicts": [], "npz": [], "compressed npz": [], "remote": [], "zarr": []}
    fs = fsspec.filesystem("memory")
    for i in range(2):
        arrays = {"x": X + 69 * i, "y": Y + 23 * i}
        found["dicts"].append({name: npy(tmp_path / f"{name}{i}.npy", data) for name, data in arrays.items()})
        found["npz"].append(npz(tmp_path / f"{i}.npz", **arrays))
        found["compressed npz"].append(npz(tmp_path / f"c{i}.npz", True, **arrays))
        fs.pipe_file(f"/rows/{i}.npz", Path(found["npz"][i]).read_bytes())
        found["remote"].append(f"memory://rows/{i}.npz")
        group = zarr.create_group(str(tmp_path / f"{i}.zarr"))
        for name, data in arrays.items():
            group.create_array(name, data=data, chunks=(5, *data.shape[1:]))
        found["zarr"].append(str(tmp_path / f"{i}.zarr"))
    return found


KINDS = ["dicts", "npz", "compressed npz", "remote", "zarr"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("as_", ["numpy", "torch"])
@pytest.mark.parametrize("cache_bytes", [0, 1 << 20])
def test_rows_are_had_by_number(tables: Any, kind: str, as_: Any, cache_bytes: int) -> None:
    table = ArrayTable(tables[kind], ["y", "x"], as_=as_, cache_bytes=cache_bytes)
    numbers = [45, 0, 23, 22, 0, -1]
    batch = table.take(numbers)
    assert list(batch) == ["y", "x"] and batch["y"].tolist() == [45, 0, 23, 22, 0, 45]
    assert batch["x"].tolist() == [[3.0 * i, 3.0 * i + 1, 3.0 * i + 2] for i in (45, 0, 23, 22, 0, 45)]
    assert isinstance(batch["x"], torch.Tensor if as_ == "torch" else np.ndarray)
    assert [int(row["y"]) for row in table.__getitems__(numbers)] == [45, 0, 23, 22, 0, 45]
    assert len(table) == 46 and int(table[-2]["y"]) == 44
    assert table.take([])["x"].shape == (0, 3)
    batch["x"][:] = 0  # a copy
    assert int(table[1]["x"][0]) == 3 and int(table[45]["x"][0]) == 135
    for wrong in (46, -47):
        with pytest.raises(IndexError, match="46 rows"):
            table[wrong]


@pytest.mark.parametrize("kind", ["dicts", "compressed npz", "zarr"])
@pytest.mark.parametrize("service", SERVICES)
def test_a_shuffle_of_all_rows_is_the_same_under_every_service(tables: Any, kind: str, service: str) -> None:
    pipe = ArrayTable(tables[kind], as_="torch").shuffle().sharding_filter().take_rows(8)
    orders = []
    for made in (SERVICES[service], InProcessReadingService):
        with DataLoader2(pipe, reading_service=made()) as loader:
            loader.seed(2)
            orders.append([batch["y"].tolist() for batch in loader])
    assert orders[0] == orders[1] and len(pipe) == 6
    assert sorted(sum(orders[0], [])) == list(range(46)) != sum(orders[0], [])


def test_a_shuffle_restores_at_every_index(tables: Any) -> None:
    for kind in ("dicts", "zarr"):
        restores_at_every_index(ArrayTable(tables[kind]).shuffle().take_rows(7))


def test_threads_and_processes_may_share_a_table(tables: Any) -> None:
    for kind in KINDS:
        table = ArrayTable(tables[kind], cache_bytes=1)
        before = len(pickle.dumps(table))
        with ThreadPoolExecutor(4) as pool:
            assert [int(row["y"]) for row in pool.map(table.__getitem__, list(range(46)) * 2)] == [*range(46)] * 2
        assert len(pickle.dumps(table)) == before
        assert pickle.loads(pickle.dumps(table))[30]["y"] == 30


def test_each_chunk_is_decoded_once_where_it_can_be_kept(tables: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = []
    fetch = Column._fetched
    monkeypatch.setattr(Column, "_fetched", lambda self, *span: fetched.append(span) or fetch(self, *span))
    list(ArrayTable(tables["zarr"]).shuffle().take_rows(3))
    assert len(fetched) == 2 * 2 * 5  # tables, arrays, chunks


def test_a_mapped_table_holds_no_rows(tmp_path: Path) -> None:
    path = npy(tmp_path / "x.npy", np.zeros((1 << 16, 256), np.float32))  # 64 MiB
    import tracemalloc

    table = ArrayTable(path)
    table.take([0])
    tracemalloc.start()
    for batch in table.shuffle().take_rows(128):
        assert batch["x"].shape == (128, 256)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_a_zarr_array_by_itself_is_one_column(tmp_path: Path) -> None:
    path = str(tmp_path / "images.zarr")
    zarr.create_array(path, data=X, chunks=(4, 3))
    assert ArrayTable(path)[22]["images"].tolist() == [66.0, 67.0, 68.0]
    assert list(ArrayTable(path, column="x")[0]) == ["x"]
    with pytest.raises(DecodeError, match="no column 'z'"):
        ArrayTable(path, ["z"])[0]


# What is wrong


def damaged(folder: Path) -> dict[str, tuple[Any, str]]:
    good = io.BytesIO()
    np.save(good, X)
    whole = good.getvalue()
    np.savez(folder / "a.npz", x=X, y=Y)
    archive = (folder / "a.npz").read_bytes()
    np.savez_compressed(folder / "b.npz", x=X)
    packed = bytearray((folder / "b.npz").read_bytes())
    packed[len(packed) // 3] ^= 0xFF
    made = {
        "empty": (b"", r"is empty: it has 0 bytes"),
        "noise": (b"noise" * 50, r"is no \.npy and no \.npz file"),
        "cut": (whole[:-8], r"was cut: it has 396 of 404 bytes"),
        "cut in its head": (whole[:40], r"was cut: its head has 30 of 118 bytes"),
        "a head of nonsense": (whole.replace(b"'descr'", b"'dwarf'"), r"its head: KeyError"),
        "a head that calls": (whole.replace(b"'<f4'", b"f(4) "), r"its head: ValueError"),
        "a negative length": (whole.replace(b"(23, 3)", b"(-3, 3)"), r"its head: ValueError: a shape"),
        "a cut archive": (archive[:-30], r"its directory: BadZipFile"),
        "a damaged member": (bytes(packed), r"array 'x': its bytes"),
        "no arrays": (b"PK\x05\x06" + bytes(18), r"has no arrays"),
    }
    found: dict[str, tuple[Any, str]] = {}
    for number, (name, (data, message)) in enumerate(made.items()):
        path = folder / f"damaged-{number}.npy"
        path.write_bytes(data)
        found[name] = (str(path), rf"damaged-{number}\.npy.*{message}")
    objects = npy(folder / "objects.npy", np.array([{"a": 1}, None], dtype=object))
    found["objects"] = (objects, r"objects\.npy has Python objects, and nothing is unpickled")
    found["objects in an archive"] = (
        npz(folder / "objects.npz", x=np.array([None, 1])),
        r"objects\.npz: array 'x' has Python objects",
    )
    short = npz(folder / "short.npz", x=X, y=Y[:5])
    found["other lengths"] = (short, r"short\.npz: the columns of a table must have one length")
    (folder / "none").mkdir()
    found["an empty folder"] = (str(folder / "none"), r"none: the folder has no \.npy files")
    return found


DAMAGED = [
    *("empty", "noise", "cut", "cut in its head", "a head of nonsense", "a head that calls", "a negative length"),
    *("a cut archive", "a damaged member", "no arrays", "objects", "objects in an archive", "other lengths"),
    "an empty folder",
]


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_named_and_can_be_skipped(tmp_path: Path, name: str) -> None:
    bad, message = damaged(tmp_path)[name]
    with pytest.raises(DecodeError, match=message):
        read(bad)
    with pytest.raises(DecodeError, match=message):
        ArrayTable(bad)[0]
    good = npz(tmp_path / "good.npz", x=X)
    pipe = IterableWrapper([good, bad, good]).read_npy()
    with DataLoader2(pipe, bad_samples=BadSamples("skip")) as loader:
        assert [len(batch["x"]) for batch in loader] == [23, 23]
        assert loader.stats()["skipped"] == 1
    assert set(DAMAGED) == set(damaged_names(tmp_path))


def damaged_names(folder: Path) -> list[str]:
    (folder / "none").rmdir()
    return list(damaged(folder))


def test_a_missing_file_is_the_systems_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(str(tmp_path / "none.npy"))


def test_tables_that_differ_from_the_first_are_named(tmp_path: Path) -> None:
    first = npz(tmp_path / "a.npz", x=X, y=Y)
    others = {
        "type": (npz(tmp_path / "b.npz", x=X.astype("f8"), y=Y), r"b\.npz .* 'x' as float64\[3\] and not float32\[3\]"),
        "shape": (npz(tmp_path / "c.npz", x=X[:, :2], y=Y), r"c\.npz .* 'x' as float32\[2\]"),
        "missing": (npz(tmp_path / "d.npz", x=X), r"d\.npz .* no 'y'"),
        "more": (npz(tmp_path / "e.npz", x=X, y=Y, z=Y), r"e\.npz .* 'z' as well"),
    }
    for other, message in others.values():
        with pytest.raises(DecodeError, match=message):
            read(first, other)
        with pytest.raises(DecodeError, match=message):
            len(ArrayTable([first, other]))
        pipe = IterableWrapper([first, other]).list_npy_rows().read_npy()
        with pytest.raises(DecodeError, match=message):
            list(pipe)
    assert len(read(first, others["more"][0], columns=["x"])) == 2
    with pytest.raises(DecodeError, match=r"d\.npz has no column 'y'; it has 'x'"):
        read(others["missing"][0], columns=["y"])


def test_files_with_fields_are_read_one_behind_another(tmp_path: Path) -> None:
    kind = [("a", "i4"), ("b", "f8")]
    paths = [str(tmp_path / name) for name in ("r0.npy", "r1.npy")]
    for number, path in enumerate(paths):
        np.save(path, np.full(number + 2, number, kind))
    for columns in (None, ["b"]):
        batches = list(IterableWrapper(paths).read_npy(columns))
        assert [batch["b"].tolist() for batch in batches] == [[0, 0], [1, 1, 1]]
        assert all(list(batch) == (columns or ["a", "b"]) for batch in batches)
        assert ArrayTable(paths, columns).take([0, 4])["b"].tolist() == [0, 1]


def test_an_array_by_itself_is_called_after_the_first_file(tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in ("a.npy", "b.npy")]
    for path in paths:
        np.save(path, np.arange(2))
    np.save(tmp_path / "c.npy", np.arange(2, dtype=np.int32))
    source = IterableWrapper(paths)
    for pipe in (source.read_npy(["a"]), source.list_npy_rows(columns=["a"]).read_npy(["a"])):
        assert [batch["a"].tolist() for batch in pipe] == [[0, 1]] * 2
    assert ArrayTable(paths, ["a"]).take([3])["a"].tolist() == [1]
    assert [list(batch) for batch in source.read_npy(["z"], column="z")] == [["z"]] * 2
    with pytest.raises(DecodeError, match=r"a\.npy has one column, 'a', and not \['b'\]"):
        list(source.read_npy(["b"]))
    with pytest.raises(DecodeError, match=r"c\.npy has other .*as int32 and not int64"):
        list(IterableWrapper([paths[0], str(tmp_path / "c.npy")]).read_npy())


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"x" * 20)
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(DecodeError, match="array 'x' is encrypted"):
        read(str(path))


def test_arguments_are_checked() -> None:
    files = IterableWrapper(["x.npy"])
    for options, message in (
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"span": 0}, "span must be at least 1"),
        ({"as_": "arrow"}, "as_ must be one of numpy, torch"),
        ({"columns": []}, "at least one"),
    ):
        with pytest.raises(ValueError, match=message):
            files.read_npy(**options)
    with pytest.raises(ValueError, match="at least one array"):
        ArrayTable([])
    with pytest.raises(TypeError, match="a path or URL, or a dict"):
        read(5)
