"""Drivers: what they read, in which order, on which threads, ranks and workers."""

from __future__ import annotations

import gzip
import pickle
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader

from penstock import (
    BadSamples,
    DataLoader2,
    DecodeError,
    IterableWrapper,
    MultiProcessingReadingService,
    StateError,
    ThreadingReadingService,
)
from penstock.drivers import (
    CsvDriver,
    CSVLoader,
    DirectoryDriver,
    ExcelDriver,
    FeatherDriver,
    FileDriver,
    JsonlDriver,
    JsonlLoader,
    JsonlStore,
    MapDriver,
    MessagePackDataLoader,
    MessagepackDriver,
    MessagepackStore,
    ParquetDriver,
    RecordLoader,
    RecordStore,
    Sample,
    Shard,
    StoreDriver,
)
from penstock.iterstream import Composable
from penstock.iterstream.torch_composables import SplitByRank, SplitByWorker, TorchIterable, skip_k
from penstock.serialization import MessagepackSerializer
from penstock.stores import SquirrelStore
from running import restores_at_every_index

FORMATS = {"msgpack": MessagepackDriver, "jsonl": JsonlDriver}


@pytest.fixture(params=FORMATS)
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """One that reads 7 shards of 10 samples."""
    store = SquirrelStore(str(tmp_path / "store"), request.param)
    assert store.write(range(70), shard_samples=10) == 70
    return FORMATS[request.param](str(tmp_path / "store"))


def test_get_iter_yields_all_samples_in_order_any_number_of_times(driver: Any) -> None:
    stream = driver.get_iter()
    assert isinstance(stream, Composable)
    assert stream.collect() == list(range(70)) == stream.collect()
    assert driver.get_iter(max_workers=0).collect() == list(range(70))
    assert [list(shard) for shard in driver.get_iter(flatten=False)] == [
        list(range(i, i + 10)) for i in range(0, 70, 10)
    ]
    assert list(driver.get("00002")) == list(range(20, 30))
    assert driver.get_iter(keys_iterable=["00003", "00001"]).collect() == [*range(30, 40), *range(10, 20)]
    nothing = dict.fromkeys(["shuffle_key_buffer", "prefetch_buffer", "shuffle_item_buffer", "max_workers"], 0)
    assert driver.get_iter(**nothing).collect() == list(range(70))
    assert pickle.loads(pickle.dumps(stream)).collect() == list(range(70))


def test_as_many_keys_are_fetched_at_a_time_as_workers_were_asked_for() -> None:
    together = threading.Barrier(16)

    class Meeting(MapDriver):
        name = "meeting"

        def keys(self, **kwargs: Any) -> Iterable[int]:
            return range(32)

        def get(self, key: int, **kwargs: Any) -> int:
            together.wait(timeout=30)  # which ends only once 16 of them wait
            return key

    assert Meeting().get_iter(max_workers=16).collect() == list(range(32))


@pytest.mark.parametrize(("damage", "kept"), [("line", 29), ("checksum", 20), ("key", 29)])
def test_what_is_skipped_of_a_damaged_shard_does_not_depend_on_threads(tmp_path: Path, damage: str, kept: int) -> None:
    store = JsonlStore(str(tmp_path))
    for key in "abc":
        store.set(Shard(key=key, value=[Sample(i, key=f"{key}{i}") for i in range(10)]))
    data, lines = (tmp_path / "b.gz").read_bytes(), gzip.decompress((tmp_path / "b.gz").read_bytes())
    bad = {
        "line": gzip.compress(lines.replace(b'"value":5', b'"value":?')),
        "checksum": data[:60] + bytes([data[60] ^ 1]) + data[61:],
        "key": gzip.compress(lines.replace(b"b5", b"b4")),
    }
    (tmp_path / "b.gz").write_bytes(bad[damage])
    found = []
    for max_workers in (1, 4):
        stream = JsonlLoader(str(tmp_path)).get_iter(max_workers=max_workers)
        with pytest.raises(DecodeError, match=r"b\.gz: "):
            stream.collect()
        letters = tmp_path / f"letters-{max_workers}"
        with DataLoader2(stream, bad_samples=BadSamples("skip", dead_letter=str(letters))) as loader:
            found.append([sample.key for sample in loader])
            assert loader.stats()["skipped"] == 1
        assert letters.read_text().count("b.gz") == 1
        with DataLoader2(stream, bad_samples=BadSamples("skip")) as loader:
            it = iter(loader)
            first = [next(it).key for _ in range(17)]
            state = loader.state_dict()
        with DataLoader2(stream, bad_samples=BadSamples("skip")) as loader:
            loader.load_state_dict(state)
            assert first + [sample.key for sample in loader] == found[-1]
    assert found[0] == found[1] and len(found[0]) == kept


def test_hooks_are_classes_functions_and_partials_of_them(driver: Any) -> None:
    class Doubled(Composable[Any]):
        def __iter__(self) -> Iterator[Any]:
            for key in self.source:
                yield from (key, key)

    assert driver.get_iter(key_hooks=[Doubled]).collect()[:20] == [*range(10), *range(10)]
    assert driver.get_iter(key_hooks=[skip_k(rank=1, world_size=2)]).collect() == [
        *range(10, 20),
        *range(30, 40),
        *range(50, 60),
    ]
    assert driver.get_iter(key_hooks=[lambda keys: (k for k in keys if k > "00004"), SplitByRank]).collect() == [
        *range(50, 70)
    ]
    assert len(driver.get_iter(key_hooks=[partial(SplitByWorker), lambda it: it]).collect()) == 70
    with pytest.raises(ValueError, match="a hook is"):
        driver.get_iter(key_hooks=[3])


def test_seeds_make_orders_that_repeat_and_loaders_others_each_epoch(driver: Any) -> None:
    def order(seed: int) -> list[int]:
        shuffled = {key: {"seed": seed} for key in ("key_shuffle_kwargs", "item_shuffle_kwargs")}
        return list(driver.get_iter(shuffle_key_buffer=10, shuffle_item_buffer=20, **shuffled).collect())

    assert order(1) == order(1) != order(2) and sorted(order(1)) == list(range(70))
    loader = DataLoader2(driver.get_iter(shuffle_key_buffer=10, max_workers=0))
    loader.seed(3)
    first, second = list(loader), list(loader)
    assert first != second and sorted(first) == sorted(second) == list(range(70))
    loader.shutdown()


@pytest.mark.parametrize("service", ["threads", "processes"])
def test_a_key_shuffle_ahead_of_a_split_loses_and_repeats_nothing(driver: Any, service: str) -> None:
    services = {"threads": ThreadingReadingService, "processes": MultiProcessingReadingService}
    stream = driver.get_iter(shuffle_key_buffer=10, shuffle_item_buffer=15, key_hooks=[SplitByWorker], max_workers=0)
    with DataLoader2(stream, reading_service=services[service](2)) as loader:
        loader.seed(1)
        epochs = [list(loader) for _ in range(2)]
    assert epochs[0] != epochs[1]
    assert [sorted(epoch) for epoch in epochs] == [list(range(70))] * 2


def test_torchs_loader_gets_each_sample_once_and_another_order_each_epoch(driver: Any) -> None:
    stream = driver.get_iter(shuffle_key_buffer=10, key_hooks=[SplitByWorker]).compose(TorchIterable)
    loader: Any = DataLoader(stream, batch_size=None, num_workers=2, multiprocessing_context="forkserver")
    epochs = [[int(sample) for sample in loader] for _ in range(2)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(70))] * 2 and epochs[0] != epochs[1]


def test_a_stream_is_restored_at_every_index(driver: Any) -> None:
    restores_at_every_index(
        driver.get_iter(shuffle_key_buffer=4, max_workers=0).batched(9, drop_last_if_not_full=False)
    )


def test_a_state_of_other_keys_is_refused(driver: Any) -> None:
    with DataLoader2(driver.get_iter(max_workers=0)) as loader:
        it = iter(loader)
        next(it)
        state = loader.state_dict()
    driver.store.set([1], key="another")
    with DataLoader2(driver.get_iter(max_workers=0)) as loader:
        loader.load_state_dict(state)
        with pytest.raises(StateError, match="other keys"):
            next(iter(loader))


def test_shards_are_read_and_decoded_by_the_threads_that_were_asked_for(
    driver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from penstock.serialization import shard

    threads = Counter()  # type: ignore[var-annotated]
    read_blocks = shard.read_blocks

    def noted(*args: Any) -> Any:
        threads[threading.current_thread().name] += 1
        time.sleep(0.01)
        return read_blocks(*args)

    monkeypatch.setattr(shard, "read_blocks", noted)
    assert driver.get_iter(max_workers=4).collect() == list(range(70))
    assert sum(threads.values()) == 7 and len(threads) > 1 and threading.current_thread().name not in threads


class Slow(MapDriver):
    """A user's driver, which does not call its base's constructor."""

    name = "slow"

    def __init__(self, count: int) -> None:
        self.count = count

    def keys(self, first: int = 0) -> Any:
        return range(first, self.count)

    def get(self, key: Any, times: int = 1) -> Any:
        return np.full(3, key * times)


def test_a_place_without_shards_is_warned_of(tmp_path: Path) -> None:
    for url in (tmp_path, tmp_path / "nowhere"):
        with pytest.warns(UserWarning, match="nothing to read"):
            assert MessagepackDriver(str(url)).get_iter().collect() == []


def test_a_driver_of_ones_own_needs_keys_and_get() -> None:
    found = Slow(4).get_iter(flatten=True, keys_kwargs={"first": 2}, get_kwargs={"times": 10}).collect()
    assert [int(x) for x in found] == [20, 20, 20, 30, 30, 30]


def test_options_of_the_drivers_of_stores(tmp_path: Path) -> None:
    SquirrelStore(str(tmp_path / "j"), "jsonl").set([{"a": {"b": 1}}], key="k")
    found = JsonlDriver(str(tmp_path / "j"), deser_hook=lambda d: {**d, "seen": True}).get_iter().collect()
    assert found == [{"a": {"b": 1, "seen": True}, "seen": True}]
    SquirrelStore(str(tmp_path / "m"), "msgpack").set([[1, [2]]], key="k")
    assert MessagepackDriver(str(tmp_path / "m"), use_list=False).get_iter().collect() == [(1, (2,))]
    assert StoreDriver(str(tmp_path / "m"), MessagepackSerializer(), catalog=None).get_iter().collect() == [[1, [2]]]
    for kind in (MessagepackDriver, JsonlDriver):
        with pytest.raises(ValueError, match="opens its store by itself"):
            kind("url", store=1)


def test_a_cache_of_fsspecs_keeps_what_was_read(tmp_path: Path) -> None:
    store = SquirrelStore(f"memory://cached-{tmp_path.name}", "msgpack")
    store.set([1, 2], key="a")
    cache = tmp_path / "cache"
    options = {"protocol": "simplecache", "target_protocol": "memory", "cache_storage": str(cache)}
    driver = MessagepackDriver(store.url, storage_options=options)
    assert next(iter(driver.get("a"))) == 1 and driver.get_iter().collect() == [1, 2]
    (kept,) = cache.iterdir()
    assert list(driver.store.serializer.deserialize_shard_from_file(str(kept))) == [1, 2]
    store.fs.rm(store.url, recursive=True)
    assert list(driver.get("a")) == [1, 2]


# Files and tables.


def test_file_driver_opens_and_makes_folders(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with pytest.raises(FileNotFoundError):
        FileDriver(str(path)).open("w")
    with FileDriver(str(path)).open("w", create_if_not_exists=True) as file:
        file.write("hello")
    with FileDriver(str(path)).open() as file:
        assert file.read() == "hello"
    with FileDriver(f"memory://{tmp_path.name}/deep/a.gz").get_store("wb", create_if_not_exists=True) as file:
        file.write(b"x")
    assert DirectoryDriver(str(tmp_path)).get_iter().collect() == [b"hello"]
    assert list(DirectoryDriver(str(tmp_path)).keys()) == ["new/a.txt"]


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_a_torchscript_model_goes_through_a_file_driver(tmp_path: Path) -> None:
    url = f"memory://{tmp_path.name}/models/model.pt"
    model = torch.nn.Linear(3, 2)
    with FileDriver(url).get_store(mode="wb", create_if_not_exists=True) as file:
        torch.jit.save(torch.jit.script(model), file)
    with FileDriver(url).get_store(mode="rb") as file:
        loaded = torch.jit.load(file)
    x = torch.ones(1, 3)
    assert torch.equal(loaded(x), model(x))


FRAMES = {"csv": CsvDriver, "parquet": ParquetDriver, "feather": FeatherDriver, "excel": ExcelDriver}


@pytest.mark.parametrize("engine", ["pandas", "dask"])
@pytest.mark.parametrize("name", FRAMES)
def test_tables_are_frames_and_streams_of_rows(tmp_path: Path, name: str, engine: Any) -> None:
    kind = FRAMES[name]
    path = tmp_path / f"table.{ {'excel': 'xlsx'}.get(name, name) }"
    frame = pd.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "z"]})
    write = getattr(frame, f"to_{name}")
    write(path) if name in ("feather", "parquet") else write(path, index=False)
    if engine not in kind.engines:
        with pytest.raises(ValueError, match="engine of"):
            kind(str(path), engine=engine)
        return
    driver = kind(str(path), engine=engine, df_hooks=[lambda df: df[df.a > 1]])
    found = driver.get_df()
    assert list((found.compute() if engine == "dask" else found).b) == ["y", "z"]
    stream = driver.get_iter()
    assert [(row.a, row.b) for row in stream] == [(2, "y"), (3, "z")] == [(row.a, row.b) for row in stream]
    assert stream.collect()[0]._asdict() == {"Index": 1, "a": 2, "b": "y"}
    assert pickle.loads(pickle.dumps(kind(str(path)).get_iter())).collect()[0].a == 1


def test_reading_options_reach_the_engine(tmp_path: Path) -> None:
    fsspec.filesystem("memory").pipe(f"/{tmp_path.name}.csv", b"a;b\n1;2\n")
    driver = CsvDriver(
        f"memory://{tmp_path.name}.csv", read_kwargs={"sep": ";"}, storage_options={"skip_instance_cache": True}
    )
    assert [row.b for row in driver.get_iter()] == [2]
    assert list(driver.get_df(usecols=["a"]).columns) == ["a"]
    assert [row.a for row in driver.get_iter({"index": False}, {"nrows": 0})] == []
    loader = CSVLoader(f"memory://{tmp_path.name}.csv", read_kwargs={"sep": ";"})
    assert loader.get_iter().map(lambda row: row.a).collect() == [1]
    with loader.get_store() as file:
        assert file.read() == "a;b\n1;2\n"


# The older API, as its page has it.


@pytest.mark.parametrize(
    ("loader", "store"),
    [(RecordLoader, RecordStore), (MessagePackDataLoader, MessagepackStore), (JsonlLoader, JsonlStore)],
)
def test_loaders_of_the_older_api(tmp_path: Path, loader: Any, store: Any) -> None:
    url = str(tmp_path)
    values = [{"image": np.full((2, 2), i), "split": "train" if i % 2 else "test", "meta": {}} for i in range(6)]
    if store is RecordStore:
        for i, value in enumerate(values):
            store(url).set(Sample(key=f"s{i}", value=value))
    else:
        for at in (0, 3):
            store(url).set(
                Shard([Sample(key=f"s{at + i}", value=v) for i, v in enumerate(values[at : at + 3])], key=f"k{at}")
            )
    it = loader(url).get_iter()
    assert isinstance(it, Composable) and all(isinstance(sample, Sample) for sample in it)
    assert isinstance(loader(url=url).get_store(), RecordStore) and type(loader(url).get_store()) is store
    train = it.filter(lambda sample: sample.values["split"] == "train").map(lambda sample: sample.key)
    assert train.batched(2, drop_last_if_not_full=False).collect() == [["s1", "s3"], ["s5"]]
    last = "s5" if store is RecordStore else "k3"
    assert (
        loader(url).get_iter(key_iterator=[last], shuffle_item_buffer=10, prefetch_buffer=2).collect()[-1].key[0] == "s"
    )
    assert len(loader(url).get_iter(key_iterator=[last], max_workers=2).collect()) == (1 if store is RecordStore else 3)


# As steps of a graph.


@pytest.mark.parametrize("format", FORMATS)
def test_shards_are_steps_of_a_graph_and_divided_by_file(tmp_path: Path, format: str) -> None:
    store = SquirrelStore(str(tmp_path), format)
    store.write(range(60), shard_samples=10)
    files = IterableWrapper(list(store.urls())).shuffle().sharding_filter()
    pipe = (files.read_messagepack() if format == "msgpack" else files.read_jsonl()).batch(4)
    expected = None
    for workers in (1, 2, 3):
        with DataLoader2(pipe, reading_service=MultiProcessingReadingService(workers, lanes=6)) as loader:
            loader.seed(5)
            found = list(loader)
        assert sorted(sum(found, [])) == list(range(60))
        expected = expected or found
        assert found == expected
