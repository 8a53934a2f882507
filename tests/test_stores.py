"""Stores: what goes in comes out, whole or not at all, and nothing leaves the folder."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import random
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import msgpack
import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import BadSamples, DataLoader2, DecodeError, IterableWrapper
from penstock.drivers import MessagepackDriver, StoreDriver
from penstock.serialization import JsonSerializer, MessagepackSerializer, SquirrelSerializer
from penstock.serialization.blocks import has_blocks, pack, read_blocks, read_index
from penstock.serialization.shard import write_shard
from penstock.stores import FilesystemStore, JsonlStore, MessagepackStore, RecordStore, Sample, Shard, SquirrelStore

FORMATS = ["msgpack", "jsonl"]
COMPRESSIONS = ["gzip", "zstd"]
SERIALIZERS = {"msgpack": MessagepackSerializer, "jsonl": JsonSerializer}


def store_at(path: Path | str, format: str, compression: str = "gzip") -> SquirrelStore:
    return SquirrelStore(str(path), SERIALIZERS[format](compression=compression))


def samples(count: int, size: int = 3000) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    return [{"i": i, "x": rng.integers(0, 255, size, dtype=np.uint8)} for i in range(count)]


def same(a: list[Any], b: list[Any]) -> bool:
    return [s["i"] for s in a] == [s["i"] for s in b] and all(
        np.array_equal(s["x"], t["x"]) for s, t in zip(a, b, strict=True)
    )


@pytest.fixture(params=["local", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "local":
        yield str(tmp_path / "store")
    else:
        yield f"memory://{tmp_path.name}-{random.getrandbits(32)}"


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("format", FORMATS)
def test_what_goes_in_comes_out_by_shard_and_by_sample(place: str, format: str, compression: str) -> None:
    store = store_at(place, format, compression)
    assert list(store.keys()) == [] and store.count() == 0 and not store.fs.exists(store.url)
    given = samples(150)
    store.set(given[:100], key="b")
    store.set(given[100:], key="a")
    store.set([], key="c")
    again = pickle.loads(pickle.dumps(store_at(place, format)))  # told gzip, it finds zstd as well
    assert list(again.keys()) == ["a", "b", "c"]
    assert same(list(again.get("b")), given[:100]) and list(again.get("c")) == []
    assert again.count() == 150 and again.count("a") == 50
    assert again.sample("b", 77)["i"] == 77 and np.array_equal(again.sample("b", 99)["x"], given[99]["x"])
    with pytest.raises(IndexError, match="100 samples"):
        again.sample("b", 100)
    assert again.get("b").__next__()["x"].flags.writeable


@pytest.mark.parametrize("format", FORMATS)
def test_one_sample_costs_a_block_and_a_count_the_end(format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_at("memory://costs", format)
    store.set(samples(2000), key="a")
    read = []
    cat_file = type(store.fs).cat_file

    def counted(self: Any, path: str, start: int | None = None, end: int | None = None, **kw: Any) -> bytes:
        data = cat_file(self, path, start, end, **kw)
        read.append(len(data))
        return data

    monkeypatch.setattr(type(store.fs), "cat_file", counted)
    assert store.count() == 2000 and sum(read) < 70_000
    read.clear()
    assert store.sample("a", 1234)["i"] == 1234 and sum(read) < 200_000 and len(read) == 1


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_any_tool_reads_the_files_as_one_stream(tmp_path: Path, format: str, compression: str) -> None:
    store_at(tmp_path, format, compression).set([{"x": i} for i in range(5)], key="a")
    (path,) = tmp_path.iterdir()
    assert path.name == {"gzip": "a.gz", "zstd": "a.zst"}[compression]
    if compression == "gzip":
        data = subprocess.run(["gzip", "-dc", path], check=True, capture_output=True).stdout
    else:
        data = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(path.read_bytes()), read_across_frames=True).read()
    read = list(msgpack.Unpacker(io.BytesIO(data))) if format == "msgpack" else list(map(json.loads, data.splitlines()))
    assert read == [{"x": i} for i in range(5)]


@pytest.mark.usefixtures("inflater")
@pytest.mark.parametrize("packed", ["gzip", "two gzip streams", "zstd", "two zstd frames"])
@pytest.mark.parametrize("format", FORMATS)
def test_files_of_others_are_read_whatever_their_compression(tmp_path: Path, format: str, packed: str) -> None:
    encode = msgpack.packb if format == "msgpack" else lambda value: json.dumps(value).encode() + b"\n"
    parts = [b"".join(encode({"x": list(range(i))}) for i in span) for span in (range(300), range(300, 500))]
    data = {
        "gzip": gzip.compress(b"".join(parts)),
        "two gzip streams": b"".join(map(gzip.compress, parts)),
        "zstd": zstandard.compress(b"".join(parts)),
        "two zstd frames": b"".join(map(zstandard.compress, parts)),
    }[packed]
    (tmp_path / "a.gz").write_bytes(data)
    store = store_at(tmp_path, format)
    assert [s["x"] for s in store.get("a")] == [list(range(i)) for i in range(500)]
    assert store.count() == 500 and store.sample("a", 3) == {"x": [0, 1, 2]} and store.index("a") is None
    with pytest.raises(IndexError, match="no sample 500"):
        store.sample("a", 500)
    (tmp_path / "plain").write_bytes(b"".join(parts))
    reader = "read_messagepack" if format == "msgpack" else "read_jsonl"
    assert sum(1 for _ in getattr(IterableWrapper([str(tmp_path / "plain")]), reader)()) == 500
    (tmp_path / "b.gz").write_bytes(b"".join(parts))
    with pytest.raises(DecodeError, match="not compressed"):
        list(store.get("b"))


def test_a_file_of_squirrels_with_a_pickle_needs_an_opt_in(tmp_path: Path) -> None:
    evil = {b"nd": True, b"type": "|O", b"kind": b"O", b"shape": (1,), b"data": pickle.dumps(np.array([{1}, None]))}
    (tmp_path / "a.gz").write_bytes(gzip.compress(msgpack.packb({"y": 1}) + msgpack.packb({"x": evil})))
    with pytest.raises(DecodeError, match=r"a\.gz: sample 1: .*unpickled"):
        list(store_at(tmp_path, "msgpack").get("a"))
    trusting = SquirrelStore(str(tmp_path), MessagepackSerializer(allow_pickle=True))
    assert list(trusting.get("a"))[1]["x"].tolist() == [{1}, None]
    with pytest.raises(TypeError, match="pickled") as raised:
        trusting.set([{}, {"x": np.array([object()])}], key="b")
    assert "sample 1" in raised.value.__notes__[0] and list(trusting.keys()) == ["a"]


def test_lists_come_as_lists_or_as_tuples_as_in_squirrel(tmp_path: Path) -> None:
    store_at(tmp_path, "msgpack").set([{"x": [1, (2,)]}], key="a")
    assert list(store_at(tmp_path, "msgpack").get("a")) == [{"x": [1, [2]]}]
    assert list(SquirrelStore(str(tmp_path), MessagepackSerializer(use_list=False)).get("a")) == [{"x": (1, (2,))}]


@pytest.mark.parametrize(
    "said", [{"unpacker_kwargs": {"use_list": False}, "mode": "rb"}, {"use_list": False, "block_size": 1024}]
)
def test_get_takes_what_squirrels_takes(tmp_path: Path, said: dict[str, Any]) -> None:
    store = store_at(tmp_path, "msgpack")
    store.set([{"x": [1]}], key="a")
    assert list(store.get("a", **said)) == [{"x": (1,)}]
    assert MessagepackDriver(str(tmp_path)).get_iter(get_kwargs=said).collect() == [{"x": (1,)}]
    file = str(tmp_path / "a.gz")
    assert list(MessagepackSerializer().deserialize_shard_from_file(file, store.fs, **said)) == [{"x": (1,)}]
    assert list(MessagepackSerializer().deserialize_shard_from_file(file, store.fs, "rb")) == [{"x": [1]}]


@pytest.mark.parametrize("serializer", [MessagepackSerializer, JsonSerializer])
def test_a_serializer_may_be_given_as_its_class(tmp_path: Path, serializer: type[SquirrelSerializer]) -> None:
    store = SquirrelStore(str(tmp_path), serializer)
    store.set([{"x": 1}], key="a")
    assert StoreDriver(str(tmp_path), serializer).get_iter().collect() == list(store.get("a")) == [{"x": 1}]
    files = FilesystemStore(str(tmp_path / "files"), serializer)
    files.set({"x": 1}, key="b")
    assert files.get("b") == {"x": 1}


@pytest.mark.parametrize("key", ["", "..", "../x", "a/b", "a\\b", ".hidden", "a\0", "/etc/x"])
def test_a_key_that_is_no_name_of_a_file_is_refused(tmp_path: Path, key: str) -> None:
    store = store_at(tmp_path / "store", "msgpack")
    with pytest.raises(ValueError, match="key"):
        store.set([1], key=key)
    with pytest.raises(ValueError, match="key"):
        Sample(1, key=key)
    assert not list(tmp_path.rglob("*.gz"))
    if key != "a/b":
        with pytest.raises(ValueError, match="key"):
            FilesystemStore(str(tmp_path)).set(b"", key=key)
        with pytest.raises(ValueError, match="key"):
            store.get(key)


def test_keys_and_values_may_be_numbers_and_missing_keys_are_named(tmp_path: Path) -> None:
    store = store_at(tmp_path, "msgpack")
    for i in (12, 3, 1007):
        store.set(value=i, key=i)
    keys = list(store.keys())
    assert [list(store.get(key)) for key in keys] == [[1007], [12], [3]]
    store.set({})
    assert len(list(store.keys())) == 4 and store.count() == 4
    with pytest.raises(FileNotFoundError, match="no shard 'nowhere'"):
        list(store.get("nowhere"))


class _Torn:
    """A value at which writing fails."""


def test_a_write_that_fails_leaves_what_was_there(place: str) -> None:
    store = store_at(place, "msgpack")
    store.set([1, 2], key="a")
    with pytest.raises(TypeError, match="MessagePack has no"):
        store.set([1, _Torn()], key="a")
    assert list(store.get("a")) == [1, 2]
    store.set([3], key="a")
    assert list(store.get("a")) == [3] and store.count("a") == 1
    assert len(store.fs.ls(store.url, detail=False)) == 1


def test_nobody_sees_half_a_shard_while_it_is_written_again_and_again(tmp_path: Path) -> None:
    store, seen, done = store_at(tmp_path, "msgpack"), [], threading.Event()
    store.set(samples(200), key="a")

    def write() -> None:
        for _ in range(20):
            store.set(samples(200), key="a")
        done.set()

    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(write)
        while not done.is_set():
            seen.append(sum(1 for _ in store_at(tmp_path, "msgpack").get("a")))
            assert [*store.keys()] == ["a"]
        written.result()
    assert set(seen) == {200}


def test_another_compression_replaces_a_shard_and_two_of_one_key_are_refused(tmp_path: Path) -> None:
    store_at(tmp_path, "msgpack").set([1], key="a")
    store_at(tmp_path, "msgpack", "zstd").set([2], key="a")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zst"]
    assert list(store_at(tmp_path, "msgpack").get("a")) == [2]
    (tmp_path / "a.gz").write_bytes(gzip.compress(b""))
    with pytest.raises(DecodeError, match=r"a\.gz and a\.zst are of one key|a\.zst and a\.gz are of one key"):
        list(store_at(tmp_path, "msgpack").keys())


def test_clean_empties_the_folder_and_makes_none(tmp_path: Path) -> None:
    store = store_at(tmp_path / "s", "msgpack")
    store.set([1])
    again = SquirrelStore(str(tmp_path / "s"), "msgpack", clean=True)
    assert not again.fs.exists(again.url) and list(again.keys()) == []
    SquirrelStore(str(tmp_path / "s"), "msgpack", clean=True).set([1])
    assert len(list(again.keys())) == 1


def test_any_number_of_samples_are_written_as_shards_of_a_size(tmp_path: Path) -> None:
    store = store_at(tmp_path, "jsonl")
    assert store.write(({"i": i} for i in range(25)), shard_samples=10, prefix="train-") == 25
    keys = list(store.keys())
    assert keys == ["train-00000", "train-00001", "train-00002"]
    assert [store.count(key) for key in keys] == [10, 10, 5]
    assert [s["i"] for key in keys for s in store.get(key)] == list(range(25))
    with pytest.raises(ValueError, match="shard_samples"):
        store.write([], shard_samples=0)


def test_many_threads_write_and_read_one_store(tmp_path: Path) -> None:
    store = store_at(tmp_path, "msgpack")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: store.set([{"i": i}] * 10, key=i), range(40)))
        found = list(pool.map(lambda key: [s["i"] for s in store.get(key)], store.keys()))
    assert sorted(found) == [[i] * 10 for i in range(40)] and store.count() == 400


class Reversing(SquirrelSerializer):
    """Somebody's own format."""

    def serialize(self, obj: Any) -> bytes:
        return str(obj)[::-1].encode()

    def deserialize(self, obj: bytes) -> Any:
        return obj.decode()[::-1]

    def serialize_shard_to_file(self, shard: Any, fp: str, fs: Any = None, **kwargs: Any) -> None:
        with fs.open(fp, "wb") as file:
            file.write(b"\n".join(map(self.serialize, shard)))

    def deserialize_shard_from_file(self, fp: str, fs: Any = None, **kwargs: Any) -> Iterator[Any]:
        with fs.open(fp, "rb") as file:
            yield from map(self.deserialize, file.read().split(b"\n"))


def test_a_serializer_of_ones_own(place: str) -> None:
    store = SquirrelStore(place, Reversing())
    store.set(["abc", "de"], key="a")
    assert list(store.get("a")) == ["abc", "de"] and store.count() == 2 and store.sample("a", 1) == "de"
    assert list(store.keys()) == ["a"] and len(store.fs.ls(store.url)) == 1
    files = FilesystemStore(place, Reversing())
    files.set("xyz", key="b")
    assert files.get("b") == "xyz" and files.fs.cat_file(f"{files.fs._strip_protocol(files.url)}/b") == b"zyx"


def test_samples_and_shards_of_the_older_api(place: str) -> None:
    store = RecordStore(place)
    value = {"image": np.ones((2, 2)), "split": "train", "meta": {}}
    store.set(Sample(key="my_key", value=value))
    (found,) = store.get("my_key")
    assert isinstance(found, Sample) and found.key == "my_key" and found.values["split"] == "train"
    assert np.array_equal(found.value["image"], value["image"]) and list(store.keys()) == ["my_key"]
    assert store.sample("my_key").key == "my_key"
    for kind in (MessagepackStore, JsonlStore):
        shards = kind(f"{place}-{kind.__name__}", compression="zstd")
        shards.set(Shard(key="s", value=[Sample(key="a", value=value), Sample(key="b", value=value), {"plain": 1}]))
        shards.set(Shard([{"x": 1}]))
        first, second, third = shards.get("s")
        assert [first.key, second.key, third.key, third.value] == ["a", "b", "s-2", {"plain": 1}]
        assert isinstance(shards, RecordStore) and len(list(shards.keys())) == 2 and shards.sample("s", 1).key == "b"
    assert len(Shard([1, 2])) == 2 and Sample(1).key != Sample(1).key


def test_two_samples_of_one_key_are_refused_in_a_shard(tmp_path: Path) -> None:
    store = MessagepackStore(str(tmp_path))
    with pytest.raises(ValueError, match="two samples of a shard have the key 'a'"):
        store.set(Shard([Sample(1, "a"), Sample(2, "a")]))
    same = {"key": "a", "value": 1}
    SquirrelStore(str(tmp_path), "msgpack").set(
        [same, {"key": "b", "value": 2}, same, {"key": "../x", "value": 3}], "s"
    )
    with pytest.raises(DecodeError, match="shard 's': sample 2: its key, 'a', is that of another"):
        list(store.get("s"))
    pipe = IterableWrapper([str(tmp_path / "s.gz")]).read_records()
    with pytest.raises(DecodeError, match=r"s\.gz: sample 2: its key"):
        list(pipe)
    with DataLoader2(pipe, bad_samples=BadSamples("skip")) as loader:
        assert [sample.key for sample in loader] == ["a", "b"] and loader.stats()["skipped"] == 2


def test_filesystem_store_keeps_files_in_folders(place: str) -> None:
    store = FilesystemStore(place)
    store.set(b"1", key="a/b/c.bin")
    store.set("text", key="d.txt")
    assert list(store.keys()) == ["a/b/c.bin", "d.txt"] and list(store.keys(nested=False)) == ["a", "d.txt"]
    assert store.get("a/b/c.bin") == b"1" and store.get("d.txt", mode="r") == "text"


# Bad input: named, and skipped where the policy says so.


def packed(count: int, compression: str = "gzip", block_bytes: int = 40, format: str = "jsonl") -> bytes:
    lines = (json.dumps({"i": i}).encode() + b"\n" for i in range(count))
    encoded = lines if format == "jsonl" else (msgpack.packb({"i": i}) for i in range(count))
    return b"".join(pack(encoded, compression, block_bytes=block_bytes))


def _other_index(data: bytes) -> bytes:
    """A file with the index of another file."""
    at = data.rindex(b"PS", 0, data.rindex(b"PS"))
    other = packed(30)
    return data[: at - 12] + other[other.rindex(b"PS", 0, other.rindex(b"PS")) - 12 :]


def cut_between_blocks(data: bytes) -> bytes:
    return data[: list(read_blocks(lambda start, stop: data[start:stop]))[2].stop]


BAD: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "an empty file": ("jsonl", lambda: b"", "empty"),
    "a shard cut within a block": ("jsonl", lambda: packed(20)[:-200], "cut"),
    "a shard cut between two blocks": ("jsonl", lambda: cut_between_blocks(packed(20)), "without its index"),
    "truncated gzip of Squirrel's": ("jsonl", lambda: gzip.compress(b'{"i": 0}\n' * 99)[:-9], "cut"),
    "truncated zstd": ("jsonl", lambda: zstandard.compress(b'{"i": 0}\n' * 99)[:-9], "cut"),
    "torn msgpack": ("msgpack", lambda: gzip.compress(msgpack.packb({"i": 700})[:-1]), "sample 0: the file ends"),
    "a byte that is no msgpack": ("msgpack", lambda: gzip.compress(msgpack.packb({"i": 0}) + b"\xc1"), "sample 1"),
    "a wrong checksum": ("jsonl", lambda: gzip.compress(b'{"i": 0}\n')[:-8] + b"\0" * 8, "decompressed"),
    "a wrong checksum in a block": ("jsonl", lambda: packed(2, "zstd")[:-70] + b"\0" + packed(2, "zstd")[-69:], "byte"),
    "an index that disagrees": ("jsonl", lambda: _other_index(packed(20)), "index"),
    "invalid JSON in line 2": ("jsonl", lambda: gzip.compress(b'{"i": 0}\n{"i": \n{"i": 2}\n'), "line 2"),
    "something behind the index": ("jsonl", lambda: packed(3) + b"more", "follows"),
}  # fmt: skip


@pytest.fixture(params=["zlib", "zlib_ng.zlib_ng"])
def inflater(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """gzip is read by zlib-ng where it is installed, and by Python's own zlib where it is not."""
    module = pytest.importorskip(request.param)
    monkeypatch.setattr("penstock.serialization._notes.inflater", lambda: module)
    monkeypatch.setattr("penstock.serialization.shard.inflater", lambda: module)


@pytest.mark.usefixtures("inflater")
@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named_and_can_be_skipped(tmp_path: Path, name: str) -> None:
    format, make, message = BAD[name]
    good, bad = tmp_path / "a.gz", tmp_path / "b.gz"
    good.write_bytes(packed(3, format=format))
    bad.write_bytes(make())
    pipe = IterableWrapper([str(good), str(bad), str(good)])
    read = pipe.read_jsonl() if format == "jsonl" else pipe.read_messagepack()
    with pytest.raises(DecodeError, match=rf"b\.gz: .*({message})"):
        list(read)
    loader = DataLoader2(read, bad_samples=BadSamples("skip"))
    found = [sample["i"] for sample in loader]
    assert found[:3] == [0, 1, 2] and found[-3:] == [0, 1, 2] and loader.stats()["skipped"] == 1
    if name == "invalid JSON in line 2":
        assert found == [0, 1, 2, 0, 2, 0, 1, 2]  # one line is lost, and no more
    loader.shutdown()


def test_messagepack_that_was_cut_is_an_error_wherever_it_was(tmp_path: Path) -> None:
    sample = msgpack.packb({"i": 1, "l": [1, [None]], "s": "abc", "x": {"y": {}}, "n": None})
    for size in range(1, 2 * len(sample)):
        (tmp_path / "a.gz").write_bytes(gzip.compress((2 * sample)[:size]))  # whole for gzip, which tells nothing
        found, error = outcome(lambda: list(store_at(tmp_path, "msgpack").get("a")))
        if size == len(sample):
            assert error is None and len(found) == 1
        else:
            assert f"a.gz: sample {size // len(sample)}: the file ends within it" in str(error)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_shard_gives_what_was_written_or_a_named_error(data: st.DataObject) -> None:
    format = data.draw(st.sampled_from(FORMATS))
    whole = packed(20, data.draw(st.sampled_from(COMPRESSIONS)), format=format)
    how = data.draw(st.sampled_from(["cut", "flip", "insert", "random"]))
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = {
        "cut": lambda: whole[:at],
        "flip": lambda: whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :],
        "insert": lambda: whole[:at] + data.draw(st.binary(min_size=1, max_size=4)) + whole[at:],
        "random": lambda: data.draw(st.binary(max_size=60)),
    }[how]()
    fsspec.filesystem("memory").pipe("/damaged/a.gz", damaged)
    store = SquirrelStore("memory://damaged", format)
    found, error = outcome(lambda: list(store.get("a")))
    if error is None and how != "random" and has_blocks(damaged[:16]):
        assert found == [{"i": i} for i in range(20)]
    for each in (error, outcome(store.count)[1]):
        assert each is None or "memory://damaged/a.gz" in str(each)


def outcome(run: Callable[[], Any]) -> tuple[Any, DecodeError | None]:
    try:
        return run(), None
    except DecodeError as error:
        return None, error


@settings(deadline=None)
@given(st.lists(st.binary(max_size=50), max_size=60), st.sampled_from(COMPRESSIONS), st.integers(1, 200))
def test_blocks_come_back_and_the_index_tells_where_they_are(records: list[bytes], compression: str, size: int) -> None:
    data = b"".join(pack(records, compression, block_bytes=size))

    def read(start: int, stop: int) -> bytes:
        return data[start:] if start < 0 else data[start:stop]

    blocks = list(read_blocks(read))
    index = read_index(read)
    assert b"".join(block.data for block in blocks) == b"".join(records)
    assert index.samples == len(records) and index.starts[:-1] == [block.start for block in blocks]
    assert b"".join(block.data for block in read_blocks(read, index.starts[-1] if not blocks else blocks[0].stop)) == (
        b"".join(block.data for block in blocks[1:])
    )


def test_a_large_index_is_read_in_pieces() -> None:
    data = b"".join(pack((b"%d" % i for i in range(20_000)), "gzip", level=0, block_bytes=1))
    index = read_index(lambda start, stop: data[start:] if start < 0 else data[start:stop])
    assert index.samples == 20_000 and len(index.starts) == 20_001


def test_write_shard_takes_a_level() -> None:
    text = ["the same again and again " * 40] * 100
    sizes = [
        len(b"".join(write_shard(text, "jsonl", compression, level)))
        for compression, level in (("gzip", 9), ("zstd", 19))
    ]
    assert max(sizes) < 5000
