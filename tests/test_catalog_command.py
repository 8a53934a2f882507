"""`penstock catalog`: what is in catalogs, and whether it can be read."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.catalog import Catalog, CatalogKey, Source
from penstock.catalog import plugins as plugins_module
from penstock.cli import main
from penstock.drivers import Driver, JsonlDriver

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.setattr(plugins_module, "_registered", plugins_module._Registered())
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(["catalog", *arguments])
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    (tmp_path / "note.txt").write_text("hello")
    JsonlDriver(str(tmp_path / "shards")).store.set([{"x": 1}], key="0")
    cat = Catalog()
    cat["train"] = Source("csv", {"url": "old.csv"})
    cat["train"] = Source("csv", {"url": "t.csv"}, {"rows": 1})
    cat["a-folder"] = Source("jsonl", {"url": "shards"})
    cat["note"] = Source("file", {"url": f"file://{tmp_path}/note.txt"})
    cat["both"] = Source("source_combiner", {"subsets": {"x": CatalogKey("train", 2), "y": CatalogKey("a-folder")}})
    return cat


def test_list_has_a_line_for_each_version(run: Run, catalog: Catalog, tmp_path: Path) -> None:
    catalog.to_file("c.yaml")
    status, out, _ = run("list", "c.yaml")
    assert status == 0
    assert [line.split() for line in out.splitlines()] == [
        ["a-folder", "1", "jsonl", "shards"],
        ["both", "1", "source_combiner"],
        ["note", "1", "file", f"file://{tmp_path}/note.txt"],
        ["train", "1", "csv", "old.csv"],
        ["train", "2", "csv", "t.csv"],
    ]
    assert len({line.index(word) for line, word in zip(out.splitlines()[3:], ["csv"] * 2, strict=True)}) == 1


def test_list_takes_files_folders_and_plugins(run: Run, tmp_path: Path) -> None:
    one, two = Catalog(), Catalog()
    one["a"], two["b"] = Source("csv"), Source("csv")
    one.to_file("one.yaml")
    two.to_file("folder/two.yaml")
    plugins_module.register_source("c", Source("csv"))
    assert run("list", "one.yaml", "folder")[1].split() == ["a", "1", "csv", "b", "1", "csv"]
    assert run("list", "--plugins")[1].split() == ["c", "1", "csv"]
    assert run("list") == (0, "", "")


def test_show_prints_an_entry_as_a_catalog(run: Run, catalog: Catalog) -> None:
    catalog.to_file("c.yaml")
    status, out, _ = run("show", "train", "c.yaml")
    assert status == 0
    assert Catalog.from_str(out) == catalog.slice(["train"])
    assert Catalog.from_str(run("show", "train@1", "c.yaml")[1]) == catalog.filter(
        lambda entry: (entry.identifier, entry.version) == ("train", 1)
    )


def test_show_prints_no_secrets_unless_it_is_told_to(run: Run) -> None:
    options = {"key": "AKIA", "secret": "s1", "token": None, "anon": False, "client_kwargs": {"aws_secret_key": "s2"}}
    catalog = Catalog()
    catalog["x"] = Source("csv", {"url": "s3://b/x.csv", "storage_options": options}, {"keywords": "a"})
    catalog.to_file("c.yaml")
    status, out, _ = run("show", "x", "c.yaml")
    masked = {"key": "***", "secret": "***", "token": None, "anon": False, "client_kwargs": {"aws_secret_key": "***"}}
    shown = Catalog.from_str(out)["x"]
    assert status == 0 and shown.driver_kwargs == {"url": "s3://b/x.csv", "storage_options": masked}
    assert shown.metadata == {"keywords": "a"}
    assert Catalog.from_str(run("show", "--secrets", "x@1", "c.yaml")[1]) == catalog


def test_show_finds_a_name_that_has_an_at_sign_in_it(run: Run) -> None:
    cat = Catalog()
    cat["a@1"] = Source("csv")
    cat.to_file("c.yaml")
    assert Catalog.from_str(run("show", "a@1", "c.yaml")[1]) == cat


@pytest.mark.parametrize(("entry", "message"), [
    ("tran", "no entry 'tran' (did you mean 'train'?)"), ("train@3", "'train' has no version 3; it has 1, 2"),
    ("@1", "no entry '@1'"), ("train@x", "no entry 'train@x'"),
])  # fmt: skip
def test_show_names_what_is_not_there(run: Run, catalog: Catalog, entry: str, message: str) -> None:
    catalog.to_file("c.yaml")
    status, out, err = run("show", entry, "c.yaml")
    assert (status, out) == (1, "") and message in err


def test_check_says_ok_of_each_entry(run: Run, catalog: Catalog) -> None:
    del catalog["train"][1]
    catalog.to_file("c.yaml")
    for arguments in (["c.yaml"], ["--read", "c.yaml"]):
        status, out, err = run("check", *arguments)
        assert status == 0 and err == ""
        assert out.splitlines() == [
            "ok      a-folder, version 1 (jsonl)",
            "ok      both, version 1 (source_combiner)",
            "ok      note, version 1 (file)",
            "ok      train, version 2 (csv)",
        ]


def broken() -> dict[str, tuple[Source, str]]:
    return {
        "driver": (Source("cvs", {"url": "t.csv"}), "no driver is called 'cvs' (did you mean 'csv'?)"),
        "arguments": (Source("csv", {"path": "t.csv"}), "missing 1 required positional argument: 'url'"),
        "spelling": (
            Source("jsonl", {"url": "shards", "deserhook": None}),
            "JsonlDriver takes no argument 'deserhook'; it takes deser_hook, serializer, storage_options, url",
        ),
        "engine": (Source("csv", {"url": "t.csv", "engine": "polars"}), "engine of CsvDriver must be one of"),
        "url": (Source("csv", {"url": "gone.csv"}), "FileNotFoundError: there is nothing at gone.csv"),
        "folder": (Source("jsonl", {"url": "gone"}), "there is nothing at gone"),
        "protocol": (Source("file", {"url": "nowhere://x"}), "nowhere"),
        "subset": (Source("source_combiner", {"subsets": {"x": CatalogKey("gone")}}), "no entry 'gone'"),
        "subset's driver": (Source("source_combiner", {"subsets": {"x": CatalogKey("driver")}}), "called 'cvs'"),
    }


def test_check_names_each_entry_that_fails_and_why(run: Run, catalog: Catalog) -> None:
    for name, (source, _) in broken().items():
        catalog[name] = source
    catalog.to_file("c.yaml")
    status, out, err = run("check", "c.yaml")
    assert status == 1
    lines = out.splitlines()
    for name, (source, message) in broken().items():
        (line,) = (line for line in lines if line.startswith(f"FAILED  {name}, version 1 ({source.driver_name}): "))
        assert message in line
    assert sum(line.startswith("FAILED") for line in lines) == len(broken()) + 1  # the old version of `train`
    assert "10 of 15" in err


def test_check_reads_an_item_of_each_only_if_told_to(run: Run, catalog: Catalog, tmp_path: Path) -> None:
    (tmp_path / "shards" / "0.gz").write_bytes(b"\x1f\x8b not gzip at all")
    (tmp_path / "empty").mkdir()
    cat = catalog.slice(["a-folder"])
    cat["empty"] = Source("jsonl", {"url": "empty"})
    cat.to_file("c.yaml")
    assert run("check", "c.yaml")[0] == 0
    status, out, _ = run("check", "--read", "c.yaml")
    assert status == 1
    assert out.splitlines()[0].startswith("FAILED  a-folder, version 1 (jsonl): ")
    assert out.splitlines()[1] == "FAILED  empty, version 1 (jsonl): ValueError: it has no items"


def test_check_knows_patterns_and_drivers_without_a_url(run: Run, tmp_path: Path) -> None:
    class Greeter(Driver):
        name = "greeter"  # what it does with its arguments is its own affair

    plugins_module.register_driver(Greeter)
    (tmp_path / "1.csv").write_text("a\n1\n")
    (tmp_path / "2.csv").write_text("a\n2\n")
    cat = Catalog()
    cat["a"] = Source("csv", {"url": "*.csv", "engine": "dask"})
    cat["b"] = Source("csv", {"url": "*.tsv", "engine": "dask"})
    cat["c"] = Source("greeter", {"whom": "world"})
    cat.to_file("c.yaml")
    status, out, _ = run("check", "--read", "c.yaml")
    assert status == 1
    assert [line.split(":")[0] for line in out.splitlines()] == [
        "ok      a, version 1 (csv)", "FAILED  b, version 1 (csv)", "ok      c, version 1 (greeter)"
    ]  # fmt: skip


def test_check_goes_on_after_a_broken_file(run: Run, tmp_path: Path) -> None:
    cat = Catalog()
    cat["a"] = Source("file", {"url": __file__})
    cat.to_file("good.yaml")
    (tmp_path / "bad.yaml").write_text("!YamlCatalog\nversion: 0.1.0\n")
    status, out, err = run("check", "bad.yaml", "gone.yaml", "good.yaml", "good.yaml")
    assert status == 1
    bad, gone, twice, good = out.splitlines()
    assert bad.startswith("FAILED  bad.yaml: bad.yaml, line 2: ")
    assert gone.startswith("FAILED  gone.yaml: FileNotFoundError")
    assert twice.startswith("FAILED  good.yaml: ") and "both have 'a' (version 1)" in twice
    assert good == "ok      a, version 1 (file)"
    assert "3 of 5" in err


@pytest.mark.parametrize("action", [["list"], ["show", "a"]])
def test_a_broken_file_is_an_exit_status(run: Run, action: list[str], tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("\n- 1\n")
    status, out, err = run(*action, "bad.yaml")
    assert (status, out) == (1, "") and "bad.yaml, line 2: this is not a catalog" in err


def test_it_runs_as_a_command(tmp_path: Path) -> None:
    cat = Catalog()
    cat["a"] = Source("file", {"url": "gone"})
    cat.to_file(tmp_path / "c.yaml")
    command = [sys.executable, "-m", "penstock", "catalog", "check", "memory://gone.yaml", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert ran.returncode == 1
    assert "FAILED  a, version 1 (file): FileNotFoundError" in ran.stdout and "FAILED  memory://gone.yaml" in ran.stdout
