"""Stores over a real S3 API, and over file systems that fail, are slow, and cut files short."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from object_store import s3_server, storage_options
from penstock import BadSamples, DataLoader2, DecodeError, IterableWrapper, MultiProcessingReadingService
from penstock.drivers import MessagepackDriver
from penstock.iterstream import FilePathGenerator
from penstock.serialization import MessagepackSerializer
from penstock.stores import FilesystemStore, SquirrelStore


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, Any]]:
    with s3_server() as url:
        yield storage_options(url)


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_store_in_s3(s3: dict[str, Any], compression: str) -> None:
    url = f"s3://data/store-{compression}"
    store = SquirrelStore(url, MessagepackSerializer(compression=compression), **s3)
    assert list(store.keys()) == []
    store.write(({"i": i, "x": bytes(1000)} for i in range(500)), shard_samples=100)
    store.set([], key="empty")
    assert len(FilePathGenerator(url, **s3).collect()) == 6
    assert store.count() == 500 and store.sample("00003", 42)["i"] == 342
    driver = MessagepackDriver(url, storage_options=s3)
    assert [s["i"] for s in driver.get_iter(max_workers=8)] == list(range(500))
    files = IterableWrapper(list(store.urls())).shuffle().sharding_filter().read_messagepack(storage_options=s3)
    with DataLoader2(files.batch(50), reading_service=MultiProcessingReadingService(2)) as loader:
        assert sorted(s["i"] for batch in loader for s in batch) == list(range(500))
    with pytest.raises(FileNotFoundError):
        list(store.get("nowhere"))
    assert SquirrelStore(url, "msgpack", clean=True, **s3).count() == 0


def test_a_shard_of_exactly_what_is_asked_for_at_once(s3: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from penstock.serialization import shard

    store = SquirrelStore("s3://data/exact", "msgpack", **s3)
    store.set(list(range(1000)), key="a")
    size = store.fs.size("s3://data/exact/a.gz")
    for asked in (size, size // 2, 17):  # a request that begins at the end is refused by S3
        monkeypatch.setattr(shard, "_AHEAD_BYTES", asked)
        assert list(store.get("a")) == list(range(1000))
    FilesystemStore("s3://data/exact", **s3).set(b"\x01" * 64, key="plain")
    monkeypatch.setattr(shard, "_PIECE_BYTES", 64)
    plain = IterableWrapper(["s3://data/exact/plain"]).read_messagepack(storage_options=s3)
    assert list(plain) == [1] * 64


class Faulty(MemoryFileSystem):  # type: ignore[misc]
    """Fails every n-th read, is slow, or cuts files short."""

    protocol = "faulty"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    fail_every = 0
    cut_to = 0
    slow_s = 0.0
    reads = 0

    @classmethod
    def _strip_protocol(cls, path: str) -> Any:
        return super()._strip_protocol(path.removeprefix("faulty:/"))

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> Any:
        type(self).reads += 1
        time.sleep(self.slow_s)
        if self.fail_every and self.reads % self.fail_every == 0:
            raise OSError(f"reading {path} failed")
        data = super().cat_file(path, None, None, **kwargs)
        whole = data[: self.cut_to] if self.cut_to else data
        return whole[slice(start, end)]


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Faulty]]:
    """A file system with a store of 20 shards of 10 samples."""
    fsspec.register_implementation("faulty", Faulty, clobber=True)
    SquirrelStore("faulty://shards", "msgpack", clean=True).write(range(200), shard_samples=10)
    for name in ("fail_every", "cut_to", "slow_s", "reads"):
        monkeypatch.setattr(Faulty, name, 0)
    return Faulty


def files() -> Any:
    return IterableWrapper([f"faulty://shards/{i:05d}.gz" for i in range(20)])


def test_a_read_that_fails_is_raised_tried_again_or_skipped(faulty: type[Faulty]) -> None:
    faulty.fail_every = 7
    with pytest.raises(OSError, match="failed"):
        list(files().read_messagepack())
    faulty.reads = 0
    with DataLoader2(files().read_messagepack(), bad_samples=BadSamples(retries=2, backoff_s=0)) as loader:
        assert list(loader) == list(range(200))
        assert loader.stats()["retried"] >= 2
    faulty.reads = 0
    with DataLoader2(files().read_messagepack(), bad_samples=BadSamples("skip")) as loader:
        found = list(loader)
        assert len(found) == 200 - 10 * loader.stats()["skipped"] and loader.stats()["skipped"] == 2
    faulty.reads = 0
    stream = MessagepackDriver("faulty://shards").get_iter(max_workers=4)
    with DataLoader2(stream, bad_samples=BadSamples(retries=3, backoff_s=0)) as loader:
        assert list(loader) == list(range(200))


def test_a_store_that_is_far_away_is_read_by_as_many_threads_as_are_asked_for(faulty: type[Faulty]) -> None:
    faulty.slow_s = 0.05

    def seconds(workers: int) -> float:
        begin_s = time.perf_counter()
        assert MessagepackDriver("faulty://shards").get_iter(max_workers=workers).collect() == list(range(200))
        return time.perf_counter() - begin_s

    alone, together = seconds(0), seconds(10)
    assert alone > 20 * 0.05 and together < alone / 3


def test_files_that_are_cut_short_are_named(faulty: type[Faulty]) -> None:
    faulty.cut_to = 50
    with pytest.raises(DecodeError, match=r"faulty://shards/00000\.gz: .*cut"):
        list(files().read_messagepack())
    with pytest.raises(DecodeError, match="cut"):
        SquirrelStore("faulty://shards", "msgpack").count()
    with DataLoader2(files().read_messagepack(), bad_samples=BadSamples("skip")) as loader:
        assert list(loader) == [] and loader.stats()["skipped"] == 20
