"""SourceCombiner: several sources of a catalog as one data set."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from penstock import DataLoader2, MultiProcessingReadingService
from penstock.catalog import Catalog, CatalogKey, Source, UnknownEntry
from penstock.drivers import MessagepackDriver, SourceCombiner
from running import restores_at_every_index


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    cat = Catalog()
    for name, shards in {"a": [[1, 2], [3]], "b": [[10]], "c": [[20, 21, 22], [23, 24]]}.items():
        store = MessagepackDriver(str(tmp_path / name)).store
        for key, shard in enumerate(shards):
            store.set(shard, key=str(key))
        cat[name] = Source("messagepack", {"url": str(tmp_path / name)})
    (tmp_path / "t.csv").write_text("x;y\n1;2\n")
    cat["table"] = Source("csv", {"url": str(tmp_path / "t.csv")})
    cat["all"] = Source(
        "source_combiner", {"subsets": {"one": CatalogKey("a"), "two": CatalogKey("b", 1), "three": "c"}}
    )
    cat["tables"] = Source("source_combiner", {"subsets": {"t": ["table", 1]}})
    return cat


def combiner(catalog: Catalog, name: str = "all") -> SourceCombiner:
    driver = catalog[name].get_driver()
    assert isinstance(driver, SourceCombiner)
    return driver


TURNS = [1, 10, 20, 2, 21, 3, 22, 23, 24]


def test_subsets_take_turns_until_all_have_ended(catalog: Catalog) -> None:
    driver = combiner(catalog)
    assert driver.subsets == ["one", "two", "three"]
    stream = driver.get_iter()
    assert stream.collect() == TURNS
    assert stream.collect() == TURNS, "a stream can be iterated over again"
    assert stream.map(lambda x: -x).batched(4).collect() == [[-1, -10, -20, -2], [-21, -3, -22, -23]]
    assert driver.get_iter("one").collect() == [1, 2, 3]


def test_arguments_go_to_each_driver(catalog: Catalog) -> None:
    assert combiner(catalog).get_iter(flatten=False, max_workers=0).map(list).collect() == [
        [1, 2], [10], [20, 21, 22], [3], [23, 24]
    ]  # fmt: skip
    assert combiner(catalog).get_iter("three", keys_iterable=["1"]).collect() == [23, 24]


def test_keys_and_items_of_a_subset(catalog: Catalog) -> None:
    driver = combiner(catalog)
    assert list(driver.keys("three")) == ["0", "1"]
    assert list(driver.get("three", "1")) == [23, 24]
    assert sorted(driver.get_store("two").keys()) == ["0"]
    assert driver.get_source("two") == catalog["b", 1]


def test_get_df_passes_its_arguments_on(catalog: Catalog) -> None:
    assert combiner(catalog, "tables").get_df("t", sep=";")["y"].tolist() == [2]


def test_sampling_gives_each_item_once(catalog: Catalog) -> None:
    driver = combiner(catalog)
    drawn = driver.get_iter_sampler(probs=[0.1, 0.1, 0.8], seed=3)
    assert sorted(drawn.collect()) == sorted(TURNS)
    assert driver.get_iter_sampler(seed=3).collect() == driver.get_iter_sampler(seed=3).collect()


def test_it_restores_at_every_index(catalog: Catalog) -> None:
    restores_at_every_index(combiner(catalog).get_iter(max_workers=0))


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_divide_it_and_give_the_sequence_of_one_process(catalog: Catalog, workers: int) -> None:
    stream = combiner(catalog).get_iter().split_by_worker_pytorch().batched(2, drop_last_if_not_full=False)
    with DataLoader2(stream, reading_service=MultiProcessingReadingService(workers)) as loader:
        assert [item for batch in loader for item in batch] == TURNS


def test_a_combiner_may_be_a_subset(catalog: Catalog) -> None:
    catalog["more"] = Source("source_combiner", {"subsets": {"x": "all", "y": "a"}})
    assert combiner(catalog, "more").get_iter("x").collect() == TURNS
    assert combiner(catalog, "more").get_iter().collect()[:4] == [1, 1, 10, 2]


def test_it_survives_files_copies_and_pickles(catalog: Catalog) -> None:
    loaded = Catalog.from_str(catalog.to_str())
    assert loaded == catalog.copy() == catalog
    assert combiner(loaded).get_iter().collect() == TURNS
    assert pickle.loads(pickle.dumps(combiner(catalog))).get_iter().collect() == TURNS


def test_what_is_not_there_is_named(catalog: Catalog) -> None:
    with pytest.raises(KeyError, match="no subset 'four'; there are 'one', 'two', 'three'"):
        combiner(catalog).get_iter("four")
    with pytest.raises(UnknownEntry, match="no entry 'z'"):
        SourceCombiner({"x": "z"}, catalog).get_iter()
    with pytest.raises(UnknownEntry, match="'a' has no version 7"):
        SourceCombiner({"x": ("a", 7)}, catalog).get_iter()
    with pytest.raises(ValueError, match="needs the catalog"):
        SourceCombiner({"x": "a"})
    with pytest.raises(ValueError, match="at least one subset"):
        SourceCombiner({}, catalog)


@pytest.mark.parametrize("key", [5, ("a",), ("a", "1"), None, {"a": 1}])
def test_a_subset_is_a_name_or_a_name_and_a_version(catalog: Catalog, key: Any) -> None:
    with pytest.raises(TypeError, match="the subset 'x' must be"):
        SourceCombiner({"x": key}, catalog)
