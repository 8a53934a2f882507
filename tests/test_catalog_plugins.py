"""Plugins of the catalog: packages with entry points, as pip installs them."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.catalog import Catalog, CatalogKey, Source, list_driver_names, register_driver, register_source
from penstock.catalog import plugins as plugins_module
from penstock.drivers import Driver

Install = Callable[..., None]


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins_module, "_registered", plugins_module._Registered())


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a package: its module, and the metadata with its entry point."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(package: str, source: str, group: str = "penstock", value: str = "", name: str = "") -> None:
        module = package.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{name or package} = {value or module}\n")
        importlib.invalidate_caches()

    yield install
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(f"{tmp_path}/"):
            del sys.modules[name]


BIRDS = """
from penstock.catalog import CatalogKey, Source
from penstock.drivers import Driver

class BirdDriver(Driver):
    name = "bird"
    def __init__(self, url, **kwargs):
        super().__init__(**kwargs)
        self.url = url

def {group}_drivers():
    return [BirdDriver]

def {group}_sources():
    return [
        (CatalogKey("birds", 2), Source("bird", {{"url": "b2"}})),
        (CatalogKey("birds", 1), Source("bird", {{"url": "b1"}})),
        (CatalogKey("more"), Source("bird", {{"url": "m"}})),
    ]
"""


@pytest.mark.parametrize("group", ["penstock", "squirrel"])
def test_a_plugin_brings_sources_and_the_drivers_that_read_them(install: Install, group: str) -> None:
    install("bird-data", BIRDS.format(group=group), group)
    cat = Catalog.from_plugins()
    assert list(cat["birds"].versions) == [1, 2]
    driver: Any = cat["birds"].get_driver()
    assert (type(driver).__name__, driver.url, driver._catalog) == ("BirdDriver", "b2", cat)
    assert cat["more"].version == 1
    assert "bird" in list_driver_names()


def test_an_entry_point_may_be_any_object(install: Install) -> None:
    source = "class plugin:\n    @staticmethod\n    def penstock_drivers():\n        return []\n"
    install("objects", source, value="objects:plugin")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(Catalog.from_plugins()) == 0


def test_a_driver_of_penstocks_own_is_found_without_importing_any_plugin(install: Install) -> None:
    install("broken", "raise RuntimeError('imported')")
    cat = Catalog()
    cat["file"] = Source("file", {"url": "x"})
    cat["file"].get_driver()
    assert "broken" not in sys.modules


def test_messages_name_the_plugins_that_are_installed(install: Install) -> None:
    install("bird-data", BIRDS.format(group="penstock"), name="birds")
    with pytest.raises(KeyError, match=r"no entry 'birds'.*plugins.*: 'birds \(of bird-data\)'"):
        Catalog()["birds"].get_driver()
    assert "bird_data" not in sys.modules
    cat = Catalog()
    cat["x"] = Source("brid")
    with pytest.raises(ValueError, match=r"'brid' \(did you mean 'bird'.*Installed plugins: birds \(of bird-data\)"):
        cat["x"].get_driver()


SKIPPED = {
    "needs squirrel": (
        "from squirrel.framework.plugins.hookimpl import hookimpl",
        "squirrel",
        r"plugin bad is left out: it needs Squirrel itself \(bad\)",
    ),
    "needs something else": ("import surely_not_installed", "penstock", "bad is left out: No module named 'surely_not"),
    "fails": (
        "def penstock_drivers():\n    raise OSError('no disk')\n",
        "penstock",
        "bad is left out: OSError: no disk",
    ),
    "has drivers of somebody else": (
        "class D:\n    name = 'd'\ndef squirrel_drivers():\n    return [D]",
        "squirrel",
        "a driver of the plugin bad is left out: a driver is a class derived from penstock.drivers.Driver",
    ),
    "has a driver without a name": (
        "from penstock.drivers import Driver\nclass D(Driver):\n    pass\ndef penstock_drivers():\n    return [D]",
        "penstock",
        "bad is left out: D must have a name",
    ),
}


@pytest.mark.parametrize(("source", "group", "message"), SKIPPED.values(), ids=SKIPPED)
def test_a_plugin_that_cannot_be_used_is_named_and_the_others_are_used(
    install: Install, source: str, group: str, message: str
) -> None:
    install("bad", source, group)
    install("good", BIRDS.format(group="penstock"))
    with pytest.warns(UserWarning, match=message):
        assert "bird" in list_driver_names()


def test_sources_of_somebody_else_are_left_out_by_name(install: Install) -> None:
    install("bad", "def squirrel_sources():\n    return [(('a', 1), {'driver_name': 'csv'})]", "squirrel")
    with pytest.warns(UserWarning, match="a source of the plugin bad is left out: it must be a pair of penstock's"):
        assert len(Catalog.from_plugins()) == 0


def test_of_two_plugins_with_one_name_the_first_counts_and_the_other_is_named(install: Install) -> None:
    install("a", BIRDS.format(group="penstock"))
    install("b", BIRDS.format(group="penstock").replace('"b1"', '"other"'))
    with pytest.warns(
        UserWarning, match=r"a source of the plugin b is left out: a has 'birds', version 1, and another"
    ):
        cat = Catalog.from_plugins()
    assert cat["birds", 1].driver_kwargs == {"url": "b1"}
    with pytest.warns(UserWarning, match=r"a driver of the plugin b is left out: a has a driver 'bird'"):
        driver = cat["birds"].get_driver()
    assert type(driver).__module__ == "a"


def test_a_plugin_does_not_replace_a_driver_of_penstocks_own(install: Install) -> None:
    install("a", BIRDS.format(group="penstock").replace('name = "bird"', 'name = "csv"'))
    with pytest.warns(UserWarning, match="a driver of the plugin a is left out: penstock has a driver 'csv'"):
        assert "csv" in list_driver_names()


# ------------------------------------------------------------------------------------------ what a program registers


class Mine(Driver):
    name = "mine"


def test_what_a_program_registers_comes_first(install: Install) -> None:
    install("a", BIRDS.format(group="penstock"))

    class Bird(Driver):
        name = "bird"

    register_driver(Bird)
    register_source("birds", Source("bird"), 2)
    with pytest.warns(UserWarning, match="a has|this program has"):
        cat = Catalog.from_plugins()
    assert type(cat["birds"].get_driver()) is Bird
    assert list(cat["birds"].versions) == [1, 2]


def test_registering_again_replaces() -> None:
    register_driver(Mine)
    again = type("Mine", (Driver,), {"name": "mine"})
    assert register_driver(again) is again
    register_source("s", Source("csv"))
    register_source("s", Source("mine"))
    cat = Catalog.from_plugins()
    assert cat["s"].driver_name == "mine" and len(cat["s"].versions) == 1
    assert type(cat["s"].get_driver()) is again
    assert list_driver_names().count("mine") == 1
    cat["s"].metadata["n"] = 1
    assert Catalog.from_plugins()["s"].metadata == {}


@pytest.mark.parametrize("driver", [Source, "csv", Driver, type("D", (Driver,), {"name": ""}), None])
def test_a_driver_is_a_class_with_a_name(driver: Any) -> None:
    with pytest.raises(TypeError, match="derived from|must have a name"):
        register_driver(driver)


def test_only_sources_are_registered() -> None:
    with pytest.raises(TypeError, match="only a Source"):
        register_source("s", {"driver_name": "csv"})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a version must be"):
        register_source("s", Source("csv"), 0)
    assert CatalogKey("s") == ("s", -1)
