"""Files read whole, checked, decoded and saved; records and tables; and the same through fsspec."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import pickle
import stat
import struct
from pathlib import Path
from typing import Any

import fsspec
import google_crc32c
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from penstock.core.errors import DecodeError, StateError
from penstock.pipes import (
    DataFrameMaker,
    FSSpecFileLister,
    FSSpecFileOpener,
    FSSpecSaver,
    HuggingFaceHubReader,
    IoPathFileLister,
    IoPathFileOpener,
    IoPathSaver,
    IterableWrapper,
)
from running import context, restores_at_every_index, trip


def written(path: Path, data: bytes | str) -> str:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return str(path)


def opened(*paths: str, mode: str = "rb", **options: Any) -> Any:
    return IterableWrapper(list(paths)).open_files(mode, **options)


class Unseekable:
    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def close(self) -> None:
        self._file.close()


# ---------------------------------------------------------------------------------------------------- read_from_stream


@pytest.mark.parametrize("mode", ["r", "rb"])
def test_streams_are_read_whole_or_in_chunks(mode: str, tmp_path: Path, no_leftovers: None) -> None:
    path, empty = written(tmp_path / "a", "abcdé" * 2), written(tmp_path / "empty", "")
    text: Any = "abcdé" * 2 if mode == "r" else ("abcdé" * 2).encode()
    assert [*opened(path, empty, path, mode=mode).read_from_stream()] == [(path, text)] * 2
    chunks = [text[i : i + 3] for i in range(0, len(text), 3)]
    pipe = opened(path, empty, path, mode=mode).read_from_stream(3)
    assert [data for _, data in pipe] == chunks * 2
    assert len(restores_at_every_index(pipe)) == 2 * len(chunks)
    assert len(restores_at_every_index(opened(path, path, mode=mode).read_from_stream())) == 2


def test_a_stream_that_cannot_seek_restores_by_reading(tmp_path: Path) -> None:
    pipe = IterableWrapper(range(2)).map(lambda i: (str(i), Unseekable(b"abcdefgh"))).read_from_stream(3)
    assert [data for _, data in pipe] == [b"abc", b"def", b"gh"] * 2
    restores_at_every_index(pipe)


def test_restoring_within_a_large_stream_seeks(tmp_path: Path) -> None:
    path = written(tmp_path / "a", bytes(1 << 20) + b"end")
    pipe = opened(path).read_from_stream(1 << 18)
    assert [len(data) for _, data in pipe] == [1 << 18] * 4 + [3]
    restores_at_every_index(pipe)
    stream = context(pipe).build(pipe)
    next(stream.it)
    state = trip(stream.state())
    stream.close()
    written(tmp_path / "a", b"short")
    with pytest.raises(StateError, match="another file"):
        next(context(pipe).build(pipe, state).it)


def test_a_chunk_is_at_least_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="chunk must be at least 1"):
        opened("a").read_from_stream(0)
    torn = written(tmp_path / "a.gz", gzip.compress(bytes(1000))[:-10])
    with pytest.raises(DecodeError, match=r"a\.gz"):
        list(opened(torn).read_from_stream())


# ---------------------------------------------------------------------------------------------------- parse_json_files


@pytest.mark.parametrize("mode", ["r", "rb"])
def test_json_files_are_parsed_whole(mode: str, tmp_path: Path, no_leftovers: None) -> None:
    paths = [written(tmp_path / f"{i}.json", json.dumps({"x": [i, None, "é"]})) for i in range(3)]
    pipe = opened(*paths, mode=mode, length=3).parse_json_files()
    assert [*pipe] == [(path, {"x": [i, None, "é"]}) for i, path in enumerate(paths)]
    assert len(pipe) == 3
    restores_at_every_index(pipe)
    hooked = opened(*paths, mode=mode).parse_json_files(object_hook=lambda found: sorted(found))
    assert [value for _, value in hooked] == [["x"]] * 3


@pytest.mark.parametrize("data", ["", "{", '{"x": 1} 2', "nan?"])
def test_a_bad_json_file_is_named_and_keeps_jsons_own_type(data: str, tmp_path: Path) -> None:
    path = written(tmp_path / "bad.json", data)
    with pytest.raises(json.JSONDecodeError, match=r"bad\.json: (Expecting|Extra)") as caught:
        list(opened(path).parse_json_files())
    assert isinstance(caught.value, DecodeError)
    assert caught.value.doc == data
    copied = pickle.loads(pickle.dumps(caught.value))
    assert (str(copied), copied.pos, type(copied)) == (str(caught.value), caught.value.pos, type(caught.value))


def test_json_that_is_no_text_is_a_decode_error(tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match=r"bad\.json"):
        list(opened(written(tmp_path / "bad.json", b'"\xff\xfe\xfa"')).parse_json_files())


# ---------------------------------------------------------------------------------------------------------- check_hash


def test_files_with_the_right_hash_pass_untouched(tmp_path: Path, no_leftovers: None) -> None:
    path = written(tmp_path / "a", b"hello" * 1000)
    for kind in ("sha256", "md5"):
        hashes = {path: hashlib.new(kind, b"hello" * 1000).hexdigest().upper()}
        ((_, handle),) = opened(path).check_hash(hashes, kind)
        assert not handle.opened
        with handle:
            assert handle.read() == b"hello" * 1000
        assert [*IterableWrapper([(path, b"hello" * 1000)]).check_hash(hashes, kind)] == [(path, b"hello" * 1000)]
        for data in (io.BytesIO(b"hello" * 1000), open(path, "rb")):  # noqa: SIM115
            ((_, stream),) = IterableWrapper([(path, data)], deepcopy=False).check_hash(hashes, kind)
            with stream:
                assert stream.read() == b"hello" * 1000
        restores_at_every_index(opened(path).check_hash(hashes, kind))


def test_without_rewinding_streams_are_left_at_their_end(tmp_path: Path, no_leftovers: None) -> None:
    path = written(tmp_path / "a", b"hello")
    hashes = {path: hashlib.sha256(b"hello").hexdigest()}
    for source in (opened(path), IterableWrapper([(path, Unseekable(b"hello"))], deepcopy=False)):
        ((_, stream),) = source.check_hash(hashes, rewind=False)
        assert stream.read() == b""
        stream.close()
    with pytest.raises(ValueError, match="rewind=False"):
        list(IterableWrapper([(path, Unseekable(b"hello"))], deepcopy=False).check_hash(hashes))


def test_the_hash_of_a_compressed_file_is_that_of_what_is_stored(tmp_path: Path, no_leftovers: None) -> None:
    path = written(tmp_path / "a.gz", gzip.compress(b"hello"))
    hashes = {path: hashlib.sha256(Path(path).read_bytes()).hexdigest()}
    ((_, handle),) = opened(path).check_hash(hashes)
    with handle:
        assert handle.read() == b"hello"
    ((_, handle),) = opened(path).map(lambda item: (item[0], item[1].read(2) and item[1])).check_hash(hashes)
    with handle:
        assert handle.read() == b"hello"


def test_a_wrong_hash_is_an_error(tmp_path: Path) -> None:
    path = written(tmp_path / "a", b"hello")
    with pytest.raises(RuntimeError, match="Unspecified hash for file"):
        list(opened(path).check_hash({}))
    with pytest.raises(RuntimeError, match="does not match"):
        list(opened(path).check_hash({path: "WRONG HASH"}))
    with pytest.raises(ValueError, match="Invalid hash_type"):
        opened(path).check_hash({}, hash_type="sha1")
    for source in (
        opened(path, mode="r"),
        IterableWrapper([(path, "hello")]),
        IterableWrapper([(path, io.StringIO("hello"))], deepcopy=False),
    ):
        with pytest.raises(TypeError, match="needs bytes"):
            list(source.check_hash({path: ""}))
    with pytest.raises(TypeError, match="a pair"):
        list(IterableWrapper([path]).check_hash({}))


# -------------------------------------------------------------------------------------------------------- save_to_disk


def savers(folder: Path) -> dict[str, Any]:
    """Each kind of saver, as a function of a source, a mode, and what makes names paths."""
    return {
        "disk": lambda source, mode, fn: source.save_to_disk(mode, fn),
        "fsspec": lambda source, mode, fn: FSSpecSaver(source, mode, fn),
        "iopath": lambda source, mode, fn: IoPathSaver(source, mode, fn),
    }


@pytest.mark.parametrize("kind", ["disk", "fsspec", "iopath"])
def test_files_are_saved_whole_under_their_names(kind: str, tmp_path: Path, no_leftovers: None) -> None:
    def path_of(name: str) -> str:
        return str(tmp_path / "new" / "folder" / name)

    save = savers(tmp_path)[kind]
    data: list[tuple[str, Any]] = [("a", b"one"), ("b", bytearray(b"two")), ("c", io.BytesIO(b"three")), ("a", b"four")]
    pipe = save(IterableWrapper(data, deepcopy=False), "wb", path_of)
    assert len(pipe) == 4
    assert [*pipe] == [path_of(name) for name, _ in data]
    assert {path.name: path.read_bytes() for path in (tmp_path / "new" / "folder").iterdir()} == {
        "a": b"four",
        "b": b"two",
        "c": b"three",
    }
    for mode, payload in (("b", b"x"), ("w", "x"), ("t", "x"), ("wt", "x")):
        assert [*save(IterableWrapper([(path_of("d"), payload)]), mode, None)] == [path_of("d")]
        assert Path(path_of("d")).read_bytes() == b"x"
    for mode, payload in (("ab", b"y"), ("a", "z")):
        list(save(IterableWrapper([("d", payload)]), mode, path_of))
    assert Path(path_of("d")).read_bytes() == b"xyz"
    restores_at_every_index(save(IterableWrapper([("a", b"1"), ("b", b"2")]), "wb", path_of))


@pytest.mark.parametrize("kind", ["disk", "fsspec"])
def test_a_file_that_fails_to_be_written_leaves_the_old_one(kind: str, tmp_path: Path, no_leftovers: None) -> None:
    class Fails(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell():
                raise KeyError("boom")
            return super().read(3)

    path = written(tmp_path / "a", b"old")
    with pytest.raises(KeyError, match="boom"):
        list(savers(tmp_path)[kind](IterableWrapper([(path, Fails(b"newer"))], deepcopy=False), "wb", None))
    assert os.listdir(tmp_path) == ["a"]
    assert Path(path).read_bytes() == b"old"
    with pytest.raises(TypeError):
        list(savers(tmp_path)[kind](IterableWrapper([(path, b"new")]), "w", None))
    assert os.listdir(tmp_path) == ["a"]


def test_a_saved_file_has_the_usual_permissions(tmp_path: Path) -> None:
    (path,) = IterableWrapper([(str(tmp_path / "a"), "x")]).save_to_disk()
    (tmp_path / "b").touch()
    assert stat.S_IMODE(os.stat(path).st_mode) == stat.S_IMODE((tmp_path / "b").stat().st_mode)


@pytest.mark.parametrize("kind", ["disk", "fsspec", "iopath"])
def test_a_saver_checks_what_it_is_given(kind: str, tmp_path: Path) -> None:
    save = savers(tmp_path)[kind]
    with pytest.raises(ValueError, match="Invalid mode"):
        save(IterableWrapper([]), "r", None)
    with pytest.raises(TypeError, match="function"):
        save(IterableWrapper([]), "w", "path")


# -------------------------------------------------------------------------------------------------------------- fsspec


@pytest.fixture
def memory() -> Any:
    files = fsspec.filesystem("memory")
    files.store.clear()
    return files


def test_a_listing_keeps_the_protocol_of_its_folder(memory: Any, tmp_path: Path) -> None:
    memory.mkdir("foo")
    for name in ("foo/bar2", "foo/bar1", "foo/sub/deep"):
        memory.touch(name)
    assert [*FSSpecFileLister("memory://foo")] == ["memory:///foo/bar1", "memory:///foo/bar2"]
    assert [*FSSpecFileLister("memory://foo/bar1")] == ["memory://foo/bar1"]
    assert [*FSSpecFileLister(["memory://foo", "memory://foo/sub"], masks=["*2", "d*"])] == [
        "memory:///foo/bar2",
        "memory:///foo/sub/deep",
    ]
    assert [*IterableWrapper(["memory://foo"]).list_files_by_fsspec("*1")] == ["memory:///foo/bar1"]
    written(tmp_path / "a", "")
    assert [*FSSpecFileLister(f"file://{tmp_path}")] == [f"file://{tmp_path}/a"]
    assert [*FSSpecFileLister(str(tmp_path))] == [*IoPathFileLister(str(tmp_path))] == [f"{tmp_path}/a"]
    with pytest.raises(TypeError, match="doesn't have valid length"):
        len(FSSpecFileLister("memory://foo"))
    with pytest.raises(FileNotFoundError):
        list(FSSpecFileLister("memory://nowhere"))


def test_a_listing_restores_at_every_index_and_refuses_another_one(memory: Any) -> None:
    for name in "abc":
        memory.touch(f"/foo/{name}")
    pipe = FSSpecFileLister(["memory://foo", "memory://foo/a"])
    assert len(restores_at_every_index(pipe)) == 4
    stream = context(pipe).build(pipe)
    next(stream.it)
    state = trip(stream.state())
    memory.touch("/foo/d")
    with pytest.raises(StateError, match="lists other files"):
        list(context(pipe).build(pipe, state).it)
    frozen = pipe.frozen()
    memory.touch("/foo/e")
    assert len([*frozen]) == 5


@pytest.mark.parametrize("opener", [FSSpecFileOpener, IoPathFileOpener])
def test_files_open_through_fsspec_when_they_are_read(opener: Any, memory: Any, no_leftovers: None) -> None:
    for name in ("file", "file2"):
        memory.pipe_file(f"/{name}", f"hello {name}\n".encode())
    files = ["memory://file", "memory://file2"]
    found = list(opener(files))
    assert [stream.read() for _, stream in found] == ["hello file\n", "hello file2\n"]
    binary = opener(IterableWrapper(files), mode="rb")
    assert len(binary) == 2
    for url, stream in binary:
        copied = pickle.loads(pickle.dumps(stream))
        assert copied.read() == b"".join(stream) == f"hello {url.removeprefix('memory://')}\n".encode()
        copied.close()
        stream.close()
    restores_at_every_index(binary)
    assert [*opener(files).readlines()] == [(url, f"hello {url.removeprefix('memory://')}") for url in files]
    with pytest.raises(ValueError, match="Invalid mode"):
        opener(files, mode="w")
    with pytest.raises(TypeError, match="int"):
        list(opener([3]))


def test_connections_and_files_get_their_own_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.gz", gzip.compress(b"hello"))
    ((_, stream),) = FSSpecFileOpener([path], kwargs_for_open={"compression": "infer"})
    with stream:
        assert stream.read() == "hello"
    new = str(tmp_path / "new" / "b")
    list(FSSpecSaver(IterableWrapper([(new, b"x")]), "wb", kwargs_for_open={"compression": "gzip"}))
    assert gzip.decompress(Path(new).read_bytes()) == b"x"
    connect, seen = fsspec.core.url_to_fs, []
    monkeypatch.setattr(fsspec.core, "url_to_fs", lambda url, **options: (seen.append(options), connect(url))[1])
    list(FSSpecFileLister(f"file://{tmp_path}", key="l"))
    list(FSSpecSaver(IterableWrapper([(path, b"x")]), "wb", key="s"))
    ((_, stream),) = FSSpecFileOpener([path], "rb", key="o")
    with stream:
        assert stream.read() == b"x"
    assert seen == [{"key": "l"}, {"key": "s"}, {"key": "o"}]


def test_path_managers_are_refused() -> None:
    for pipe in (IoPathFileLister, IoPathFileOpener, IoPathSaver):
        with pytest.raises(ValueError, match="pathmgr must be None"):
            pipe(IterableWrapper([]), pathmgr=object())


# ------------------------------------------------------------------------------------------------------- routed_decode


def test_files_are_decoded_by_extension_and_nothing_is_executed(tmp_path: Path, no_leftovers: None) -> None:
    harm = pickle.dumps(os.getcwd)
    data = {
        "a.txt": b"h\xc3\xa9",
        "b.cls": b" 7\n",
        "c.json": b"[1]",
        "d.pickle": harm,
        "e.pt": harm,
        "f": b"x",
        "g.id": b"y",
    }
    paths = [written(tmp_path / name, content) for name, content in data.items()]
    expected = ["hé", 7, [1], harm, harm, b"x", b"y"]
    assert [value for _, value in opened(*paths, length=7).routed_decode()] == expected
    assert [value for _, value in IterableWrapper([*data.items()]).routed_decode()] == expected
    assert len(opened(*paths, length=7).routed_decode()) == 7
    restores_at_every_index(opened(*paths).routed_decode())


def test_the_first_handler_that_knows_a_file_decodes_it() -> None:
    source = IterableWrapper([("a.x", b"1"), ("b.y", b"2"), ("c.z", b"3")])
    pipe = source.routed_decode(
        lambda kind, data: "x" if kind == "x" else None,
        lambda kind, data: ("second", data) if kind in "xy" else None,
    )
    assert [*pipe] == [("a.x", "x"), ("b.y", ("second", b"2")), ("c.z", b"3")]
    keyed = source.routed_decode(lambda key, data: key, key_fn=lambda path: path[0])
    assert [value for _, value in keyed] == ["a", "b", "c"]
    for wrong in ([3], []):
        with pytest.raises(TypeError, match="function"):
            source.routed_decode(*wrong, key_fn=3 if not wrong else None)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "data"), [("a.txt", b"\xff"), ("a.json", b"{")])
def test_what_cannot_be_decoded_is_named(name: str, data: bytes) -> None:
    with pytest.raises(DecodeError, match=name):
        list(IterableWrapper([(name, data)]).routed_decode())
    with pytest.raises(TypeError, match="needs bytes"):
        list(IterableWrapper([(name, "text")]).routed_decode())


# --------------------------------------------------------------------------------------------------- load_from_tfrecord


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def message(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def feature(values: Any, packed: bool = True) -> bytes:
    if isinstance(values, list) and all(isinstance(value, bytes) for value in values):
        return message(1, b"".join(message(1, value) for value in values))
    if isinstance(values[0], float):
        if packed:
            return message(2, message(1, struct.pack(f"<{len(values)}f", *values)))
        return message(2, b"".join(varint(1 << 3 | 5) + struct.pack("<f", value) for value in values))
    if packed:
        return message(3, message(1, b"".join(map(varint, values))))
    return message(3, b"".join(varint(1 << 3) + varint(value) for value in values))


def features(values: dict[str, Any], packed: bool = True) -> bytes:
    return b"".join(message(1, message(1, k.encode()) + message(2, feature(v, packed))) for k, v in values.items())


def example(values: dict[str, Any], packed: bool = True) -> bytes:
    return message(1, features(values, packed))


def sequence_example(values: dict[str, Any], steps: dict[str, list[Any]]) -> bytes:
    lists = b"".join(
        message(1, message(1, k.encode()) + message(2, b"".join(message(1, feature(step)) for step in v)))
        for k, v in steps.items()
    )
    return example(values) + message(2, lists)


def record(data: bytes) -> bytes:
    def masked(part: bytes) -> bytes:
        crc = google_crc32c.value(part)
        return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)

    size = struct.pack("<Q", len(data))
    return size + masked(size) + data + masked(data)


def numbers(i: int) -> dict[str, Any]:
    return {
        "x_float": [float(x) for x in range(10 * i, 10 * i + 10)],
        "x_int": [x * 10 for x in range(10 * i, 10 * i + 10)],
        "x_byte": [b"test str"],
    }


def steps(i: int) -> dict[str, list[Any]]:
    values = numbers(i)
    return {f"{key}_seq": [value] * (2 * i + 3) for key, value in values.items()}


@pytest.fixture
def records(tmp_path: Path) -> str:
    return written(tmp_path / "a.tfrecord", b"".join(record(example(numbers(i))) for i in range(4)))


@pytest.fixture
def sequences(tmp_path: Path) -> str:
    data = b"".join(record(sequence_example(numbers(i), steps(i))) for i in range(4))
    return written(tmp_path / "sequences.tfrecord", data)


def test_examples_come_as_tensors_and_lists_of_bytes(records: str, no_leftovers: None) -> None:
    found = [*opened(records).load_from_tfrecord()]
    assert len(found) == 4
    for i, item in enumerate(found):
        expected = numbers(i)
        assert item.keys() == expected.keys()
        assert item["x_float"].dtype == torch.float32 and item["x_float"].tolist() == expected["x_float"]
        assert item["x_int"].dtype == torch.int64 and item["x_int"].tolist() == expected["x_int"]
        assert item["x_byte"] == [b"test str"]
        item["x_float"][0] = 1  # it is the user's own memory
    with pytest.raises(TypeError, match="doesn't have valid length"):
        len(opened(records).load_from_tfrecord())
    assert len(opened(records).load_from_tfrecord(length=4)) == 4


def test_a_spec_chooses_reshapes_and_casts(records: str) -> None:
    spec = {"x_float": ((5, 2), torch.float64), "x_int": ((5, 2), torch.int32), "x_byte": ((), None)}
    for i, item in enumerate(opened(records).load_from_tfrecord(spec)):
        assert item["x_float"].dtype == torch.float64 and item["x_int"].dtype == torch.int32
        assert item["x_float"].flatten().tolist() == numbers(i)["x_float"] and item["x_float"].shape == (5, 2)
        assert item["x_byte"] == b"test str"
    assert [item.keys() for item in opened(records).load_from_tfrecord({"x_int": None})] == [{"x_int": 0}.keys()] * 4
    nested = opened(records).load_from_tfrecord({"x_byte": ((1, 1), None), "x_float": (None, torch.float16)})
    assert next(iter(nested))["x_byte"] == [[b"test str"]]


def test_sequence_examples_have_lists_of_steps(sequences: str) -> None:
    for i, item in enumerate(opened(sequences).load_from_tfrecord()):
        expected = {**numbers(i), **steps(i)}
        assert {k: [v.tolist() if torch.is_tensor(v) else v for v in item[k]] for k in item if "seq" in k} == {
            k: v for k, v in expected.items() if "seq" in k
        }
        assert item.keys() == expected.keys()
    spec = {
        "x_float_seq": ((-1, 5, 2), torch.float64),
        "x_int_seq": ((-1, 5, 2), torch.int32),
        "x_byte_seq": ((-1,), None),
        "x_byte": ((), None),
    }
    for i, item in enumerate(opened(sequences).load_from_tfrecord(spec)):
        assert [step.shape for step in item["x_float_seq"]] == [(5, 2)] * (2 * i + 3)
        assert {step.dtype for step in item["x_int_seq"]} == {torch.int32}
        assert item["x_byte_seq"] == [b"test str"] * (2 * i + 3)
        assert item["x_byte"] == b"test str"


def test_records_restore_at_every_index(records: str, sequences: str, tmp_path: Path, no_leftovers: None) -> None:
    packed = written(tmp_path / "a.tfrecord.gz", gzip.compress(Path(records).read_bytes()))
    for path in (records, packed):
        pipe = opened(path, sequences).load_from_tfrecord()
        assert len(restores_at_every_index(pipe)) == 8


def test_numbers_are_read_in_every_way_that_they_may_be_written(tmp_path: Path) -> None:
    values = {"i": [0, -1, 2**63 - 1, -(2**63), 127, 128, 300], "f": [0.0, -1.5, 3.25], "one": [5], "none": []}
    for packed in (True, False):
        data = record(
            example({k: v for k, v in values.items() if v}, packed) + message(7, b"later") + varint(9 << 3) + b"\1"
        )
        (item,) = opened(written(tmp_path / "a", data)).load_from_tfrecord()
        assert item["i"].tolist() == values["i"] and item["f"].tolist() == values["f"] and item["one"].tolist() == [5]
    (item,) = opened(written(tmp_path / "b", record(example({"none": []})))).load_from_tfrecord()
    assert item == {"none": []}
    empty = message(1, message(1, message(1, b"e") + message(2, message(3, b""))))
    (item,) = opened(written(tmp_path / "c", record(empty))).load_from_tfrecord()
    assert item["e"].tolist() == []


def test_a_record_that_does_not_fit_the_spec_is_a_runtime_error(records: str, sequences: str) -> None:
    for path, spec in (
        (records, {"unknown": ((5, 2), torch.float64), "x_int": None}),
        (records, {"x_float": ((3, 7), None)}),
        (records, {"x_byte": ((2,), None)}),
        (sequences, {"x_int_seq": ((4, 10), None)}),
    ):
        with pytest.raises(RuntimeError, match="the record at byte 0"):
            list(opened(path).load_from_tfrecord(spec))


def test_a_damaged_record_is_named_by_file_and_byte(records: str, tmp_path: Path) -> None:
    data = Path(records).read_bytes()
    second = len(record(example(numbers(0))))
    for at in (second, second + 8, second + 12, second + 60, second * 2 - 1):
        bad = written(tmp_path / "bad", data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(RuntimeError, match=f"bad: the record at byte {second}:") as caught:
            list(opened(bad).load_from_tfrecord())
        assert isinstance(caught.value, DecodeError)
    for size in (second + 1, second + 11, second + 13, second * 2 - 1):
        with pytest.raises(DecodeError, match=f"torn: the record at byte {second}: the file ends within"):
            list(opened(written(tmp_path / "torn", data[:size])).load_from_tfrecord())
    assert [*opened(written(tmp_path / "empty", b"")).load_from_tfrecord()] == []
    for rubbish in (
        b"\xff" * 12,
        message(1, b"\x0a\x7f"),
        b"\x0b",
        message(1, message(1, message(2, message(3, b"\x0a\x01\x80")))),
    ):
        with pytest.raises(DecodeError, match="the record at byte 0"):
            list(opened(written(tmp_path / "rubbish", record(rubbish))).load_from_tfrecord())


# ----------------------------------------------------------------------------------------------------------- dataframes


def test_parquet_files_come_as_a_table_for_each_row_group(tmp_path: Path, no_leftovers: None) -> None:
    path = str(tmp_path / "a.parquet")
    pq.write_table(pa.table({"x": range(10), "y": list("abcdefghij")}), path, row_group_size=4)
    pipe = IterableWrapper([path, path]).load_parquet_as_df()
    assert [table.num_rows for table in pipe] == [4, 4, 2] * 2
    assert len(restores_at_every_index(pipe)) == 6
    (first, *_) = IterableWrapper([path]).load_parquet_as_df(columns=["y"], use_threads=True)
    assert first.to_pydict() == {"y": list("abcd")}
    for dtype in (pa.schema([("x", pa.int8())]), [("x", pa.int8())], [("x", "int8")]):
        (first, *_) = IterableWrapper([path]).load_parquet_as_df(dtype)
        assert first.schema == pa.schema([("x", pa.int8())])
    with pytest.raises(TypeError, match="doesn't have valid length"):
        len(pipe)
    with pytest.raises(ValueError, match="device"):
        IterableWrapper([path]).load_parquet_as_df(device="cuda")
    with pytest.raises(DecodeError, match=r"bad\.parquet"):
        list(IterableWrapper([written(tmp_path / "bad.parquet", "rubbish")]).load_parquet_as_df())
    with pytest.raises(TypeError, match="int"):
        list(IterableWrapper([3]).load_parquet_as_df())  # type: ignore[arg-type]


def test_rows_are_gathered_into_tables() -> None:
    schema = pa.schema([("Values", pa.int32())])
    source = IterableWrapper([(i,) for i in range(10)])
    (table,) = source.dataframe(dtype=schema)
    assert (table.schema, table.to_pydict()) == (schema, {"Values": list(range(10))})
    pipe = DataFrameMaker(source, dataframe_size=4, dtype=[("Values", pa.int32())])
    assert len(pipe) == 3
    assert [table.column(0).to_pylist() for table in pipe] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(restores_at_every_index(pipe)) == 3
    generated = source.dataframe(dtype_generator=lambda: schema)
    assert next(iter(generated)).schema == schema
    (plain,) = IterableWrapper([(1, "a"), (2, "b")]).dataframe()
    assert plain.to_pydict() == {"0": [1, 2], "1": ["a", "b"]}
    (values,) = IterableWrapper([1, 2]).dataframe(columns=["x"])
    assert values.to_pydict() == {"x": [1, 2]}


def test_dicts_are_gathered_by_their_keys() -> None:
    rows = IterableWrapper([{"key": "a", "item": 1}, {"key": "b", "item": 2}])
    (table,) = rows.dataframe()
    assert table.to_pydict() == {"key": ["a", "b"], "item": [1, 2]}
    (table,) = rows.dataframe(columns=["item"], dtype=[("key", "string"), ("item", "int8")])
    assert table.schema == pa.schema([("item", pa.int8())])
    with pytest.raises(ValueError, match="at least 1"):
        rows.dataframe(0)
    with pytest.raises(ValueError, match="2 columns"):
        list(IterableWrapper([(1, 2)]).dataframe(columns=["x"]))


# -------------------------------------------------------------------------------------------------------- Hugging Face


@pytest.fixture
def jsonl(tmp_path: Path) -> list[str]:
    return [
        written(tmp_path / f"{name}.jsonl", "".join(json.dumps({"x": start + i, "y": str(i)}) + "\n" for i in range(5)))
        for start, name in ((0, "a"), (5, "b"))
    ]


def test_rows_of_a_hugging_face_data_set_restore_at_every_index(jsonl: list[str], tmp_path: Path) -> None:
    pipe = HuggingFaceHubReader("json", data_files=jsonl)
    assert [row["x"] for row in pipe] == list(range(10))
    assert len(restores_at_every_index(pipe)) == 10
    with pytest.raises(TypeError, match="doesn't have valid length"):
        len(pipe)


def test_a_hugging_face_data_set_may_be_a_folder(
    jsonl: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    saved = str(tmp_path / "saved")
    rows = datasets.Dataset.from_list([{"x": i} for i in range(5)])
    rows.save_to_disk(saved)
    pipe = HuggingFaceHubReader(saved)
    assert [row["x"] for row in pipe] == list(range(5))
    assert len(restores_at_every_index(pipe)) == 5
    splits = str(tmp_path / "splits")
    datasets.DatasetDict({"test": rows, "other": rows.select([0])}).save_to_disk(splits)
    assert [*HuggingFaceHubReader(splits, split="other")] == [{"x": 0}]
    with pytest.raises(ValueError, match="several splits"):
        list(HuggingFaceHubReader(splits))
    nameless = HuggingFaceHubReader(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="int"):
        list(nameless)
