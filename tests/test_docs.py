"""The code in the documentation runs as it is printed."""

from __future__ import annotations

import doctest
import importlib
import json
import re
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from penstock.pipes import IterableWrapper, IterDataPipe

ROOT = Path(__file__).parents[1]


def test_the_quickstart_runs_as_one_script_without_a_guard(tmp_path: Path) -> None:
    for name in ("train1.csv", "train2.csv"):
        tmp_path.joinpath(name).write_text("".join(f"{i},{i + 1},{i % 10}\n" for i in range(50)))
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/quickstart.md").read_text(), re.M | re.S)
    assert blocks
    script = tmp_path / "quickstart.py"
    script.write_text("\n".join(blocks))
    done = subprocess.run(
        [sys.executable, "-W", "error", script], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr


def test_the_programs_for_who_comes_from_squirrel_run_without_a_guard(tmp_path: Path) -> None:
    text = (ROOT / "docs/migrate-from-squirrel.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    assert len(blocks) == 3
    for number, block in enumerate(blocks):
        script = tmp_path / f"{number}.py"
        script.write_text(block)
        done = subprocess.run([sys.executable, "-W", "error", script], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr


def test_the_programs_of_the_page_on_catalogs_run_and_its_file_is_one(tmp_path: Path) -> None:
    text = (ROOT / "docs/catalog.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    assert len(blocks) == 6
    for number, block in enumerate(blocks):
        (tmp_path / f"{number}.py").write_text(block)
        command = [sys.executable, "-W", "error", f"{number}.py"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    (file,) = re.findall(r"^```yaml\n(.*?)^```", text, re.M | re.S)
    saved = (tmp_path / "catalog.yaml").read_text()
    assert saved.startswith(file)


def test_the_page_on_formats_runs_and_has_a_row_for_all_that_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "docs/formats.md").read_text()
    (block,) = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    script = tmp_path / "formats.py"
    script.write_text(block)
    command = [sys.executable, "-W", "error", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    tables = re.findall(r"^\| (\w+), rows.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.M)
    monkeypatch.syspath_prepend(ROOT)
    measured = importlib.import_module("benchmarks._format_files").FORMATS
    assert {data: tuple(re.findall(r"^\| ([\w.]+) ", rows, re.M)) for data, rows in tables} == measured


def test_the_page_on_stores_runs_as_one_script_without_a_guard(tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/stores.md").read_text(), re.M | re.S)
    assert len(blocks) == 3
    script = tmp_path / "stores.py"
    script.write_text("\n".join(blocks))
    done = subprocess.run([sys.executable, "-W", "error", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_the_pipe_of_the_contributing_guide_restores_at_every_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = re.search(r"^```python\n(.*?)^```", (ROOT / "CONTRIBUTING.md").read_text(), re.M | re.S)
    assert source
    (tmp_path / "strider.py").write_text(source[1])
    monkeypatch.syspath_prepend(tmp_path)
    strider = importlib.import_module("strider")
    try:
        assert doctest.testmod(strider).failed == 0
        pipe = IterableWrapper(range(10)).every(3)  # type: ignore[attr-defined]
        for index in range(5):
            run = iter(pipe)
            assert list(islice(run, index)) == [0, 3, 6, 9][:index]
            restored = iter(pipe)
            restored.load_state_dict(json.loads(json.dumps(run.state_dict())))
            assert restored.state_dict() == run.state_dict()
            assert list(restored) == [0, 3, 6, 9][index:]
    finally:
        del IterDataPipe.functions["every"], IterDataPipe.every  # type: ignore[attr-defined]
        del sys.modules["strider"]


def test_the_readmes_first_program_is_the_example_and_trains(tmp_path: Path) -> None:
    example = ROOT / "examples" / "train_csv.py"
    program = example.read_text().split('"""', 2)[2].strip()
    assert (ROOT / "README.md").read_text().split("```python", 1)[1].split("```", 1)[0].strip() == program
    for number in range(2):
        rows = (f"{i % 10}," + ",".join(str((i % 10) * (p % 3) % 17) for p in range(64)) for i in range(200))
        (tmp_path / f"{number}.csv").write_text("\n".join(rows) + "\n")
    ran = subprocess.run([sys.executable, example, tmp_path], capture_output=True, text=True, timeout=100, check=False)
    losses = [float(line.rpartition(" ")[2]) for line in ran.stdout.splitlines()]
    assert len(losses) == 10, ran.stderr
    assert losses[-1] < losses[0]


def test_the_page_on_lance_runs_as_one_script_without_a_guard(tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/lance.md").read_text(), re.M | re.S)
    assert len(blocks) == 3
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks))
    command = [sys.executable, "-W", "error", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_example_of_embeddings_trains_and_goes_on_as_without_a_stop(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "examples" / "embeddings.py", tmp_path]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert ran.returncode == 0, ran.stderr
    first, second, last = ran.stdout.splitlines()
    assert float(second.rpartition(" ")[2]) < float(first.rpartition(" ")[2])
    assert last.endswith("as without it: True")


def test_the_example_of_shards_goes_on_as_without_a_stop(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "examples" / "shards.py", tmp_path]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1].endswith("as without it: True")


def test_the_example_of_text_learns() -> None:
    command = [sys.executable, "-W", "error", ROOT / "examples" / "text.py"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert ran.returncode == 0, ran.stderr
    assert re.search(r"epoch 1: loss 0\.\d+, (9\d|100)% right", ran.stdout), ran.stdout


def test_the_example_of_tables_trains_and_goes_on_as_without_a_stop(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "examples" / "tabular.py", tmp_path]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert ran.returncode == 0, ran.stderr
    *epochs, last = ran.stdout.splitlines()
    losses = [float(line.rpartition(" ")[2]) for line in epochs]
    assert len(losses) == 3 and losses[-1] < losses[0] / 2
    assert last.endswith("as without it: True")
