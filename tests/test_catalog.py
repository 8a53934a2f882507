"""Catalogs: versions, set algebra, files that Squirrel wrote and can read, drivers by name."""

from __future__ import annotations

import builtins
import copy
import datetime
import inspect
import os
import pickle
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import drivers
from penstock.catalog import (
    Catalog,
    CatalogKey,
    CatalogSource,
    Source,
    UnknownEntry,
    list_driver_names,
    register_driver,
)
from penstock.catalog import plugins as plugins_module
from penstock.core.errors import DecodeError, MissingExtra
from penstock.drivers import Driver


class Kept(Driver):
    """Keeps what it is made with."""

    name = "kept"

    def __init__(self, url: str, storage_options: dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.url = url
        self.storage_options = storage_options
        self.kwargs = kwargs


class Strict(Driver):
    """Takes no storage_options."""

    name = "strict"

    def __init__(self, url: str, catalog: Catalog | None = None) -> None:
        super().__init__(catalog)
        self.url = url


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins_module, "_registered", plugins_module._Registered())
    register_driver(Kept)
    register_driver(Strict)


def source(url: str = "x", **metadata: Any) -> Source:
    return Source("kept", {"url": url}, metadata)


def catalog(**urls: str | list[str]) -> Catalog:
    made = Catalog()
    for name, versions in urls.items():
        for url in [versions] if isinstance(versions, str) else versions:
            made[name] = source(url)
    return made


# ---------------------------------------------------------------------------------------------------------- versions


def test_assigning_a_name_adds_a_version() -> None:
    cat = catalog(s=["a", "b"])
    assert cat["s"].version == 2
    assert list(cat["s"].versions) == [1, 2]
    assert [version.driver_kwargs["url"] for version in cat["s"]] == ["a", "b"]
    assert cat["s"][1] == cat["s", 1] == cat[CatalogKey("s", 1)] != cat["s"]
    assert cat["s"][-1] is cat["s", -1] is cat[CatalogKey("s")] is cat["s"] is cat["s"][1][2]


def test_a_version_can_be_set_for_a_name_that_is_not_there() -> None:
    cat = Catalog()
    cat["s"][3] = source("c")
    cat["s"][1] = source("a")
    cat["t", 5] = source("e")
    assert list(cat["s"].versions) == [1, 3]
    assert cat["s"].version == 3
    cat["s"] = source("d")
    assert cat["s"].version == 4
    assert cat["t"].version == 5


def test_a_version_is_replaced_in_place() -> None:
    cat = catalog(s=["a", "b"])
    cat["s"][1] = source("other")
    assert cat["s", 1].driver_kwargs == {"url": "other"}
    assert cat["s"].version == 2


def test_deleting_the_last_version_deletes_the_entry() -> None:
    cat = catalog(s=["a", "b"], t="c")
    held = cat["s"]
    del cat["s"][1]
    assert list(cat["s"].versions) == [2]
    del cat["s", -1]
    assert "s" not in cat and len(cat) == 1
    held[7] = source("again")  # what was got before still belongs to the catalog
    assert cat["s"].version == 7
    del cat["s"]
    with pytest.raises(UnknownEntry):
        del cat["s"]


@pytest.mark.parametrize("version", [0, -1, -2, 1.5, True, "1", None])
def test_a_version_is_an_integer_from_one(version: Any) -> None:
    cat = catalog(s="a")
    with pytest.raises(ValueError, match="version must be an integer from 1"):
        cat["s"][version] = source()
    with pytest.raises(ValueError, match="version must be an integer from 1"):
        cat["new"][version] = source()
    assert cat == catalog(s="a")


def test_contains_asks_for_names_and_versions() -> None:
    cat = catalog(s=["a", "b"])
    assert "s" in cat and ("s", 2) in cat and ("s", -1) in cat and CatalogKey("s") in cat
    assert "t" not in cat and ("s", 3) not in cat and ("t", -1) not in cat
    assert 2 in cat["s"] and -1 in cat["s"] and 3 not in cat["s"]
    assert 1 not in cat["t"] and not cat["t"]


def test_iterating_gives_names_and_latest_sources() -> None:
    cat = catalog(s=["a", "b"], t="c")
    assert list(cat) == list(cat.items()) == [("s", cat["s", 2]), ("t", cat["t"])]
    assert list(cat.keys()) == ["s", "t"]
    assert list(cat.values()) == [cat["s"], cat["t"]]
    assert cat.sources == dict(cat) == {"s": cat["s"], "t": cat["t"]}
    assert cat.get("s") == cat["s"] and cat.get("u") is None and cat.get(("s", 3), 5) == 5


@pytest.mark.parametrize("key", [5, ("a",), ("a", 1, 2), (1, 2), None])
def test_a_key_is_a_name_or_a_name_and_a_version(key: Any) -> None:
    with pytest.raises(TypeError, match="a catalog's key"):
        Catalog()[key]


def test_only_sources_are_kept() -> None:
    with pytest.raises(TypeError, match="a catalog holds Sources"):
        Catalog()["s"] = {"driver_name": "csv"}  # type: ignore[assignment]
    with pytest.raises(TypeError, match="driver_name is the name of a driver"):
        Source(len)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="driver_kwargs must be a dict"):
        Source("csv", ["url"])  # type: ignore[arg-type]
    assert Source("csv", None, None) == Source("csv")  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------ unknown names


def test_an_unknown_name_is_named_with_what_there_is() -> None:
    cat = catalog(train="a", test="b")
    for use in (
        lambda absent: absent.get_driver(), lambda absent: absent.version, lambda absent: absent.versions,
        lambda absent: absent.metadata, lambda absent: absent.driver_kwargs, lambda absent: absent.driver_name,
        lambda absent: absent[1], lambda absent: len(absent), list, lambda absent: absent.__delitem__(1),
    ):  # fmt: skip
        with pytest.raises(
            UnknownEntry, match="no entry 'tran' .did you mean 'train'.*it has 'test', 'train'.*plugins"
        ):
            use(cat["tran"])
    with pytest.raises(KeyError, match="no entry 'tran'"):
        cat["tran", 1]
    with pytest.raises(UnknownEntry, match="it has no entries"):
        Catalog()["s"].get_driver()
    assert "no entry" in repr(cat["tran"]) and cat["tran"].identifier == "tran"
    assert len(cat) == 2


def test_an_unknown_version_is_named_with_those_there_are() -> None:
    cat = catalog(s=["a", "b"])
    with pytest.raises(UnknownEntry, match="'s' has no version 3; it has 1, 2"):
        cat["s"][3]
    with pytest.raises(UnknownEntry, match="no version 3"):
        del cat["s", 3]


def test_an_unknown_driver_is_named_with_those_there_are() -> None:
    cat = Catalog()
    cat["s"] = Source("kapt")
    with pytest.raises(
        ValueError, match="'s', version 1: no driver is called 'kapt' .did you mean 'kept'.*csv.*strict"
    ):
        cat["s"].get_driver()


# ---------------------------------------------------------------------------------------------------------- equality


def test_equal_means_name_version_driver_arguments_and_metadata() -> None:
    def made(identifier: str = "s", version: int = 1, **fields: Any) -> CatalogSource:
        fields = {"driver_name": "kept", "driver_kwargs": {"url": "x"}, "metadata": {"n": 1}} | fields
        return CatalogSource(Source(**fields), identifier, None, version)

    assert made() == made()
    others = [
        made("t"), made(version=2), made(driver_name="strict"), made(driver_kwargs={"url": "y"}), made(metadata={})
    ]  # fmt: skip
    assert all(made() != other for other in others)
    assert made() != Source("kept", {"url": "x"}, {"n": 1})
    one, two = catalog(s="a"), catalog(s="a")
    assert one == two
    two["s"][1] = Source("strict", {"url": "a"})
    assert one != two
    two["s"][1], two["s"][2] = source("a"), source("b")
    assert one != two


def test_a_source_needs_no_catalog_to_have_versions() -> None:
    alone = CatalogSource(source("a"), "s", None)
    alone[2] = source("b")
    assert len(alone) == 2 and alone[-1].version == 2 and alone[2][1] is alone
    assert "'s', version 1 of [1, 2]" in repr(alone)
    del alone[1]
    assert list(alone[2].versions) == [2]
    driver: Any = CatalogSource(source("a"), "s", None).get_driver()
    assert driver._catalog is None


def test_a_catalog_keeps_copies() -> None:
    original = Source("kept", {"url": "x", "hooks": [len], "nested": {"list": [1]}}, {"n": 1})
    cat = Catalog()
    cat["a"], cat["b"] = original, original
    cat["a"].driver_kwargs["nested"]["list"].append(2)
    cat["a"].metadata["n"] = 2
    assert cat["b"].driver_kwargs == original.driver_kwargs == {"url": "x", "hooks": [len], "nested": {"list": [1]}}
    assert cat["b"].metadata == original.metadata == {"n": 1}
    copied = cat.copy()
    assert copied == cat and copied["a"].driver_kwargs["hooks"] == [len]
    copied["a"].metadata["n"] = 3
    copied["c"] = original
    assert cat["a"].metadata == {"n": 2} and "c" not in cat
    assert copied["c"].get_driver()._catalog is copied


def test_a_catalog_pickles_and_copies() -> None:
    cat = catalog(s=["a", "b"])
    assert pickle.loads(pickle.dumps(cat)) == cat == copy.deepcopy(cat)


# -------------------------------------------------------------------------------------------------------- set algebra


def test_set_operations_go_by_name_and_version() -> None:
    one, two = catalog(a="a", b="b", c="c"), catalog(a="a", b=["b", "bb"], d="d")
    assert one.intersection(two) == catalog(a="a", b="b")
    assert one.union(two) == two.union(one) == catalog(a="a", b=["b", "bb"], c="c", d="d")
    assert one.difference(two) == two.difference(one)
    assert [(name, list(latest.versions)) for name, latest in one.difference(two)] == [
        ("c", [1]),
        ("b", [2]),
        ("d", [1]),
    ]
    assert one.intersection(two).join(one.difference(two)) == one.union(two)
    assert two.slice(["b"]) == catalog(b=["b", "bb"])
    assert two.filter(lambda entry: entry.version == 1) == catalog(a="a", b="b", d="d")


def test_a_union_takes_the_others_where_both_have_one() -> None:
    assert catalog(a="old").union(catalog(a="new")) == catalog(a="new")


def test_what_cannot_be_is_named() -> None:
    one, two = catalog(a="a", b="b"), catalog(b="other")
    with pytest.raises(ValueError, match="both have 'b' .version 1"):
        one.join(two)
    with pytest.raises(ValueError, match="different sources by 'b', version 1"):
        one.intersection(two)
    with pytest.raises(UnknownEntry, match="no entry 'z'"):
        one.slice(["a", "z"])


# ------------------------------------------------------------------------------------------------------------ drivers


def test_a_driver_gets_the_arguments_and_the_catalog() -> None:
    cat = Catalog()
    cat["s"] = Source("kept", {"url": "x", "a": 1})
    driver: Any = cat["s"].get_driver(a=2, b=3)
    assert (driver.url, driver.kwargs["a"], driver.kwargs["b"], driver._catalog) == ("x", 2, 3, cat)
    assert cat["s"].driver_kwargs == {"url": "x", "a": 1}


def test_storage_options_are_merged_one_by_one() -> None:
    cat = Catalog()
    cat["s"] = Source("kept", {"url": "x", "storage_options": {"anon": True, "key": "k"}})
    driver: Any = cat["s"].get_driver(storage_options={"key": "other", "more": 1})
    assert driver.storage_options == {"anon": True, "key": "other", "more": 1}
    driver.storage_options["anon"] = False
    assert cat["s"].driver_kwargs["storage_options"] == {"anon": True, "key": "k"}


def test_a_driver_without_storage_options_is_not_given_any() -> None:
    cat = Catalog()
    cat["s"] = Source("strict", {"url": "x"})
    assert cat["s"].get_driver().url == "x"  # type: ignore[attr-defined]


def test_arguments_that_do_not_fit_keep_the_error_and_name_the_entry() -> None:
    cat = Catalog()
    cat["s"] = Source("strict", {"path": "x"})
    with pytest.raises(TypeError) as caught:
        cat["s"].get_driver()
    assert "entry 's', version 1" in caught.value.__notes__[0] and "Strict" in caught.value.__notes__[0]


# -------------------------------------------------------------------------------------------------------------- files

AMBIGUOUS = [
    "on", "No", "y", "yes", "1e3", "1.", "0o17", "012", "0x1F", "0b1", "1_000", "1:30", "1:30.5", "+1", ".5", ".inf",
    ".NaN", "~", "null", "", "=", "<<", "2020-01-01", "2001-12-14t21:59:43.10-05:00", "é ü", "a: b", "# x", "x #y",
    "- a", "-", "?", "!tag", "&a", "*a", "%x", "@x", "`x", "'", '"', "two\nlines", " led", "trailed ", "\t", "\x85",
    "😀", "[", "]", "{",
    "}", ",", "|", ">", "---", "...", "true", "False", "a" * 500, "0.4.0", "\\n", "nul\x00l", "\ufeff",
]  # fmt: skip


def everything() -> Catalog:
    cat = Catalog()
    when = datetime.datetime(2020, 1, 2, 3, 4, 5)
    cat["plain"] = Source(
        "kept",
        {
            "url": "s3://bucket/träin/", "numbers": [0, -1, 12, 10**30, 1.5, 1e30, 1e-7, float("inf"), -0.0],
            "others": [True, False, None, b"\x00\xff", datetime.date(2020, 1, 2), when, {"a", "b"}], "empty": [[], {}],
            "subsets": {"one": CatalogKey("a", 1), "two": CatalogKey("b")}, "on": "off",
        },
        {"samples": 5, "note": "x", 1: 2, None: 3, 0.5: True},
    )  # fmt: skip
    cat["plain"] = Source("strict")
    cat["text"] = Source("kept", {"text": AMBIGUOUS}, {text: text for text in AMBIGUOUS})
    return cat


def test_what_is_saved_is_loaded_as_it_was() -> None:
    cat = everything()
    loaded = Catalog.from_str(cat.to_str())
    assert loaded == cat
    assert Catalog.from_str(loaded.to_str()).to_str() == cat.to_str()
    assert type(loaded["plain", 1].driver_kwargs["subsets"]["two"]) is CatalogKey


PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.binary() | st.dates() | st.text()
NESTED = st.recursive(PLAIN, lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(), below, max_size=3))


@settings(max_examples=100, deadline=None)
@given(
    kwargs=st.dictionaries(st.text(string.ascii_letters, min_size=1), NESTED, max_size=3),
    metadata=st.dictionaries(st.text() | st.integers(), NESTED, max_size=3),
    name=st.text(min_size=1),
    version=st.integers(1, 2**70),
)
def test_any_plain_values_survive(kwargs: dict[str, Any], metadata: dict[Any, Any], name: str, version: int) -> None:
    cat = Catalog()
    cat[name, version] = Source("kept", kwargs, metadata)
    assert Catalog.from_str(cat.to_str()) == cat


def test_numpys_numbers_tuples_and_paths_are_written_as_what_they_mean() -> None:
    cat = Catalog()
    kwargs = {"n": np.int64(5), "x": np.float32(0.5), "b": np.True_, "shape": (3, 4), "path": Path("a/b")}
    cat["s"] = Source("kept", kwargs)
    assert Catalog.from_str(cat.to_str())["s"].driver_kwargs == {
        "n": 5, "x": 0.5, "b": True, "shape": [3, 4], "path": "a/b"
    }  # fmt: skip


def test_what_yaml_cannot_hold_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    cat = Catalog()
    cat["s"] = Source("kept", {"url": "x", "hooks": [len]})
    file = tmp_path / "c.yaml"
    file.write_text("before")
    with pytest.raises(
        TypeError, match=r"entry 's', version 1: driver_kwargs\['hooks'\]\[0\] is <built-in function len>"
    ):
        cat.to_file(file)
    assert file.read_text() == "before"


# Written by Squirrel 0.20.2, which leaves text without quotes that YAML 1.1 reads as something else.
BY_SQUIRREL = """\
!YamlCatalog
version: 0.20.2
sources:
- !YamlSource
  identifier: a
  driver_name: csv
  driver_kwargs:
    url: x
    words:
    - on
    - yes
    - '1e3'
    - 1:30
    - '='
    - '2020-01-01'
    - 2020-01-02
    - 1e+30
    - 012
    -
    - !!binary |
      YWI=
    sub:
      k: !CatalogKey
      - b
      - 2
  version: 1
  metadata:
    n: 1
- !YamlSource
  identifier: a
  driver_name: csv
  driver_kwargs: {}
  version: 3
  metadata: {}
"""


def test_a_file_of_squirrels_is_read_as_squirrel_reads_it() -> None:
    cat = Catalog.from_str(BY_SQUIRREL)
    assert cat["a", 1].driver_kwargs == {
        "url": "x",
        "words": ["on", "yes", "1e3", "1:30", "=", "2020-01-01", datetime.date(2020, 1, 2), 1e30, 12, None, b"ab"],
        "sub": {"k": CatalogKey("b", 2)},
    }
    assert cat["a", 1].metadata == {"n": 1}
    assert list(cat["a"].versions) == [1, 3]


def test_a_document_may_be_indented_and_leave_out_what_has_a_default() -> None:
    text = """
    !YamlCatalog
    version: 0.4.0
    sources:
    - !YamlSource
      identifier: cs
      driver_name: csv
      driver_kwargs:
      metadata:
    """
    cat = Catalog.from_str(text)
    assert cat["cs"].version == 1 and cat["cs"].driver_kwargs == {} == cat["cs"].metadata
    assert Catalog.from_str("!YamlCatalog {}") == Catalog.from_str("!YamlCatalog\nsources:") == Catalog()


def test_anchors_merge_as_yaml_has_it() -> None:
    text = """!YamlCatalog
version: 0.20.2
sources:
- !YamlSource {identifier: a, driver_name: csv, driver_kwargs: {storage_options: &s {anon: true}}}
- !YamlSource {identifier: b, driver_name: csv, driver_kwargs: {storage_options: {<<: *s, anon: false, key: 1}}}
"""
    cat = Catalog.from_str(text)
    assert cat["b"].driver_kwargs == {"storage_options": {"anon": False, "key": 1}}
    cat["a"].driver_kwargs["storage_options"]["anon"] = 5
    assert cat["b"].driver_kwargs["storage_options"]["anon"] is False


HEAD = "!YamlCatalog\nversion: 0.20.2\nsources:\n"
BROKEN = {
    "nothing": ("", 1, "does not begin with !YamlCatalog"),
    "no tag": ("\nversion: 0.20.2\n", 2, "does not begin with !YamlCatalog"),
    "another document": (f"{HEAD}---\nx\n", 4, "another document"),
    "not yaml": (f"{HEAD}- !YamlSource\n  a: [1,\n", 6, "expected the node content|did not find expected"),
    "a tab": (f"{HEAD}\t- x\n", 4, "cannot start any token|found character"),
    "a control character": (f"{HEAD}- \x01", 4, "special characters|control characters"),
    "an old version": ("!YamlCatalog\nversion: 0.3.9\n", 2, "older than 0.4"),
    "no version": ("!YamlCatalog\nversion: new\n", 2, "version must be one such as"),
    "another field": ("!YamlCatalog\nversion: 0.4.0\nsourcs: []\n", 3, "no field 'sourcs'"),
    "sources that are no list": ("!YamlCatalog\nsources:\n  a: 1\n", 3, "sources must be a list"),
    "a source without a tag": (f"{HEAD}- identifier: a\n", 4, "tagged !YamlSource"),
    "no identifier": (f"{HEAD}- !YamlSource\n  driver_name: csv\n", 4, "must have identifier"),
    "no driver": (f"{HEAD}- !YamlSource\n  identifier: a\n", 4, "must have driver_name"),
    "a source's other field": (f"{HEAD}- !YamlSource\n  identifier: a\n  drivr_name: csv\n", 6, "no field 'drivr"),
    "a field twice": (f"{HEAD}- !YamlSource\n  identifier: a\n  identifier: b\n", 6, "given twice"),
    "arguments that are no mapping": (
        f"{HEAD}- !YamlSource\n  identifier: a\n  driver_name: csv\n  driver_kwargs: [1]\n", 7, "must be dict"
    ),
    "an argument that is no name": (
        f"{HEAD}- !YamlSource\n  identifier: a\n  driver_name: csv\n  driver_kwargs: {{1: 2}}\n", 7, "must be text"
    ),
    "a number for a name": (f"{HEAD}- !YamlSource\n  identifier: 5\n  driver_name: csv\n", 5, "identifier must be str"),
    "a version that is none": (
        f"{HEAD}- !YamlSource\n  identifier: a\n  driver_name: csv\n  version: 0\n", 7, "at least 1"
    ),
    "a version that is text": (
        f"{HEAD}- !YamlSource\n  identifier: a\n  driver_name: csv\n  version: one\n", 7, "version must be int"
    ),
    "the same twice": (
        HEAD + "- !YamlSource {identifier: a, driver_name: csv}\n" * 2, 5, "'a', version 1, is in line 4 already"
    ),
    "a key twice": (
        f"{HEAD}- !YamlSource\n  identifier: a\n  driver_name: csv\n  driver_kwargs:\n    b: 1\n    b: 2\n", 9, "'b' is"
    ),
    "a date that is none": (
        f"{HEAD}- !YamlSource\n  identifier: a\n  driver_name: csv\n  metadata: 2020-13-45\n", 7, "metadata: month"
    ),
    "no key": (
        f"{HEAD}- !YamlSource\n  identifier: a\n  driver_name: csv\n  metadata:\n    - !CatalogKey []\n", 8, "is .name,"
    ),
    "an alias to itself": (
        f"{HEAD}- !YamlSource\n  identifier: a\n  driver_name: csv\n  metadata: &m\n    x: *m\n", 7, "recursive"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "line", "problem"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_named_with_the_line(text: str, line: int, problem: str, tmp_path: Path) -> None:
    file = tmp_path / "broken.yaml"
    file.write_bytes(text.encode())
    with pytest.raises(DecodeError, match=problem) as caught:
        Catalog.from_files(file)
    assert f"{file}, line {line}" in str(caught.value)


def test_what_is_not_text_is_named_with_the_line(tmp_path: Path) -> None:
    file = tmp_path / "broken.yaml"
    file.write_bytes(HEAD.encode() + b"- \xff\n")
    with pytest.raises(DecodeError, match="broken.yaml, line 4: it is not UTF-8"):
        Catalog.from_files([file])


def test_a_file_that_is_nested_too_deeply_is_named() -> None:
    with pytest.raises(DecodeError):
        Catalog.from_str(HEAD + "- !YamlSource\n  metadata: " + "[" * 100_000)


TAGS = [
    "!!python/object/apply:os.mkdir [{0}]", "!!python/object/new:os.mkdir [{0}]", "!!python/name:os.mkdir",
    "!!python/module:this", "!!python/object:builtins.object {{}}", "!!python/tuple [1]",
    "!!python/object/apply:os.mkdir\n    - {0}",
    "!<tag:yaml.org,2002:python/object/apply:os.mkdir> [{0}]", "!mine {{}}", "!YamlSource {{}}",
]  # fmt: skip


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("place", ["metadata", "driver_kwargs", "driver_name", "identifier", "version"])
def test_no_tag_makes_an_object(tag: str, place: str, tmp_path: Path) -> None:
    made = tmp_path / "made"
    fields = {"identifier": "a", "driver_name": "csv"} | {place: tag.format(made)}
    text = HEAD + "- !YamlSource\n" + "".join(f"  {name}: {value}\n" for name, value in fields.items())
    with pytest.raises(DecodeError, match="<text>, line [567].*no object is made of"):
        Catalog.from_str(text)
    assert not made.exists()


# ----------------------------------------------------------------------------------------------------- files, anywhere


@pytest.fixture(params=["local", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "local":
        yield str(tmp_path / "new" / "folder")
        return
    import fsspec

    memory = fsspec.filesystem("memory")
    yield "memory://catalogs/new"
    if memory.exists("/catalogs"):
        memory.rm("/catalogs", recursive=True)


def test_a_catalog_is_saved_to_any_url_and_loaded_again(folder: str) -> None:
    cat = everything()
    cat.to_file(f"{folder}/c.yaml")
    assert Catalog.from_files(f"{folder}/c.yaml") == Catalog.from_files([f"{folder}/c.yaml"]) == cat
    cat["more"] = source()
    cat.to_file(f"{folder}/c.yaml")
    assert Catalog.from_dirs(folder) == cat  # and nothing else is left in the folder


def test_folders_and_files_are_joined(folder: str) -> None:
    catalog(a="a").to_file(f"{folder}/one/1.yaml")
    catalog(b="b").to_file(f"{folder}/one/2.yml")
    catalog(c="c").to_file(f"{folder}/two/3.yaml")
    catalog(d="d").to_file(f"{folder}/two/not-yaml.txt")
    assert Catalog.from_dirs([f"{folder}/one", f"{folder}/two"]) == catalog(a="a", b="b", c="c")
    with pytest.raises(ValueError, match=r"one/1.yaml and .*one/1.yaml both have 'a', version 1"):
        Catalog.from_files([f"{folder}/one/1.yaml"] * 2)
    with pytest.raises(NotADirectoryError, match="three"):
        Catalog.from_dirs([f"{folder}/three"])


def test_a_save_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.implementations.local import LocalFileOpener

    catalog(a="old").to_file(tmp_path / "c.yaml")

    def fail(self: Any, data: bytes) -> int:
        raise OSError("no space left")

    monkeypatch.setattr(LocalFileOpener, "write", fail, raising=False)
    with pytest.raises(OSError, match="no space"):
        catalog(a="new").to_file(tmp_path / "c.yaml")
    assert os.listdir(tmp_path) == ["c.yaml"]
    assert Catalog.from_files(tmp_path / "c.yaml") == catalog(a="old")


def test_without_pyyaml_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "yaml":
            raise ImportError(name)
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    for use in (lambda: Catalog.from_str("x"), Catalog().to_str):
        with pytest.raises(MissingExtra, match=r"penstock\[catalog\]"):
            use()
    assert catalog(a="a").copy() == catalog(a="a")


def test_the_names_of_penstocks_own_drivers_are_listed() -> None:
    names = list_driver_names()
    assert names == sorted(set(names))
    assert {"kept", "strict", "csv", "file", "jsonl", "messagepack", "parquet", "source_combiner"} <= set(names)


def test_each_of_penstocks_own_drivers_has_a_name_of_its_own() -> None:
    public = [getattr(drivers, name) for name in drivers.__all__]
    classes = [
        cls for cls in public if isinstance(cls, type) and issubclass(cls, Driver) and not inspect.isabstract(cls)
    ]
    named = {vars(cls).get("name", cls.__name__) for cls in classes if cls not in (Driver, drivers.DataFrameDriver)}
    assert len(named) == len([cls for cls in classes if cls not in (Driver, drivers.DataFrameDriver)])
    assert named <= set(list_driver_names())


def test_a_catalog_prints_its_names() -> None:
    assert repr(catalog(b="x", A="y")) == "Catalog(['A', 'b'])"
