"""Zarr groups as Squirrel's programs know them: `get_group`, `ZarrDriver`, and the loader of the older API."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import zarr

from penstock import DataLoader2, MultiProcessingReadingService
from penstock.drivers import ZarrDriver, ZarrLoader
from penstock.drivers.base import MapDriver
from penstock.iterstream import Composable, SplitByWorker
from penstock.stores import get_group
from penstock.testing import plain

KEYS = [f"key_{i}" for i in range(7)]


@pytest.fixture(params=[2, 3])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A group of seven arrays, each of shape (4, 3)."""
    path = str(tmp_path / "group")
    zarr.create_group(path, zarr_format=request.param)
    root = get_group(path)
    for i, key in enumerate(KEYS):
        root.create_array(key, data=np.full((4, 3), i), chunks=(2, 3), attributes={"key": key})
    return path


def total(group: zarr.Group, key: str) -> int:
    return int(np.asarray(group[key][:]).sum())  # type: ignore[index, call-overload, unused-ignore]


def listings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of the store from now on, by name."""
    found: list[str] = []
    for name in ("get", "list_dir"):
        method: Callable[..., Any] = getattr(zarr.storage.LocalStore, name)

        def noted(self: Any, *args: Any, name: str = name, method: Any = method, **kwargs: Any) -> Any:
            found.append(name)
            return method(self, *args, **kwargs)

        monkeypatch.setattr(zarr.storage.LocalStore, name, noted)
    return found


def test_a_group_is_made_opened_and_made_anew_as_its_mode_says(tmp_path: Path) -> None:
    path = str(tmp_path / "group")
    for mode in ("r", "r+"):
        with pytest.raises(FileNotFoundError):
            get_group(path, mode)
    root = get_group(path)
    assert isinstance(root, zarr.Group) and root.metadata.zarr_format == 3
    root.create_array("a", data=np.arange(3), chunks=(2,))
    assert list(get_group(path).keys()) == ["a"]
    with pytest.raises(ValueError, match="read-only"):
        get_group(path, "r").create_array("b", data=np.arange(3), chunks=(2,))
    get_group(path, "r+").create_array("b", data=np.arange(3), chunks=(2,))
    with pytest.raises(ValueError, match="overwrite needs a mode"):
        get_group(path, "r", overwrite=True)
    assert list(get_group(path, overwrite=True).keys()) == []


def test_the_keys_of_a_group_take_one_listing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    root = get_group(url, "a")
    root.create_group("deep").create_array("x", data=np.arange(3), chunks=(2,))
    asked = listings(monkeypatch)
    assert list(root.keys()) == ["deep", *KEYS]
    assert asked == ["list_dir"]
    assert list(root.keys("deep")) == list(root.keys(prefix="deep/")) == ["x"]
    assert list(pickle.loads(pickle.dumps(root)).keys()) == ["deep", *KEYS]


def test_a_driver_gives_what_lies_under_each_key(url: str) -> None:
    driver = ZarrDriver(url=url, anything="else")
    assert isinstance(driver, MapDriver) and driver.name == "zarr"
    assert list(driver.keys()) == list(driver.get_root_group().keys()) == KEYS
    found = driver.get_iter()
    assert isinstance(found, Composable)
    assert [array.shape for array in found] == [(4, 3)] * 7
    assert [array.attrs["key"] for array in found] == KEYS
    (array,) = driver.get("key_2")
    assert np.array_equal(array[:], np.full((4, 3), 2))


@pytest.mark.parametrize("max_workers", [0, 10])
def test_a_driver_calls_a_function_of_the_group_and_the_key(url: str, max_workers: int) -> None:
    driver = ZarrDriver(url)
    sums = [12 * i for i in range(7)]
    assert driver.get_iter(total, max_workers=max_workers).collect() == sums
    assert [list(one) for one in driver.get_iter(total, max_workers=max_workers, flatten=False)] == [[x] for x in sums]
    some = driver.get_iter(total, keys_iterable=["key_3", "key_1"], max_workers=max_workers)
    assert some.collect() == [36, 12]
    shuffled = driver.get_iter(total, shuffle_key_buffer=10, key_shuffle_kwargs={"seed": 1}, max_workers=max_workers)
    assert sorted(shuffled) == sums and list(shuffled) != sums


def test_options_of_the_driver_and_of_a_call_are_both_honoured(url: str, tmp_path: Path) -> None:
    mine = {"protocol": "simplecache", "target_protocol": "file", "cache_storage": str(tmp_path / "mine")}
    theirs = {"cache_storage": str(tmp_path / "theirs")}
    driver = ZarrDriver(url, mine, catalog="a catalog")
    assert sum(driver.get_iter(total)) == 12 * 21
    assert (tmp_path / "mine").exists() and not (tmp_path / "theirs").exists()
    assert sum(driver.get_iter(total, theirs)) == 12 * 21
    assert (tmp_path / "theirs").exists()
    assert theirs == {"cache_storage": str(tmp_path / "theirs")}


def test_options_may_be_called_key_as_those_of_s3_are() -> None:
    get_group("memory://zarr_driver_options", overwrite=True).create_array("a", data=np.ones(3), chunks=(3,))
    driver = ZarrDriver("memory://zarr_driver_options")
    assert driver.get_iter(total, {"key": "AKIA", "secret": "s"}).collect() == [3]
    assert driver.storage_options == {} and driver.get_iter(total).collect() == [3]


def test_a_group_is_opened_once_and_does_not_travel(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = ZarrDriver(url)
    root = driver.get_root_group()
    assert driver.get_root_group() is root and driver.get_root_group("a") is not root
    copied = cloudpickle.loads(cloudpickle.dumps(driver))
    asked = listings(monkeypatch)
    assert copied.get_iter(total, max_workers=0).collect() == [12 * i for i in range(7)]
    assert asked.count("list_dir") == 1


def test_workers_give_each_key_once_and_another_loader_goes_on(url: str) -> None:
    def stream() -> Composable[int]:
        return ZarrDriver(url).get_iter(total, shuffle_key_buffer=10, key_hooks=[SplitByWorker], max_workers=2)

    with DataLoader2(stream(), reading_service=MultiProcessingReadingService(2)) as loader:
        loader.seed(4)
        whole = list(loader)
        assert sorted(whole) == [12 * i for i in range(7)]
        loader.seed(4)
        it = iter(loader)
        assert [next(it), next(it), next(it)] == whole[:3]
        state = loader.state_dict()
    with DataLoader2(stream(), reading_service=MultiProcessingReadingService(1)) as loader:
        loader.load_state_dict(state)
        assert list(loader) == whole[3:]


def test_the_loader_of_the_older_api(url: str) -> None:
    def fetcher(store: zarr.Group, key: str) -> Any:
        return store[key]

    loader = ZarrLoader(url)
    assert [plain(np.asarray(array)) for array in loader.get_iter(fetcher_func=fetcher)] == [
        [[i] * 3] * 4 for i in range(7)
    ]
    assert loader.get_iter(total, key_iterator=["key_1"]).collect() == [12]
    root = loader.get_store()
    assert isinstance(root, zarr.Group) and root.read_only and list(root.keys()) == KEYS
