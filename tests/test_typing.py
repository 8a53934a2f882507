"""The functional methods as tools see them: mypy, pyright, and jedi (which completes names in IPython and Jupyter)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jedi
import pytest

from penstock.pipes import IterDataPipe
from penstock.pipes.map import MapDataPipe

ROOT = Path(__file__).parents[1]
CHAINS = ROOT / "tests/typing/chains.py"
WRONG = ROOT / "tests/typing/wrong.py"

# What a checker says about a file: the kind of each message ("note" or "error"), its line and its text.
Messages = list[tuple[str, int, str]]


def mypy(path: Path) -> Messages:
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--no-pretty", "--hide-error-context", path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = re.findall(rf"^{re.escape(str(path.relative_to(ROOT)))}:(\d+): (note|error): (.*)$", done.stdout, re.M)
    return [(kind, int(line), text) for line, kind, text in found]


def pyright(path: Path) -> Messages:
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return [
        ("note" if it["severity"] == "information" else it["severity"], it["range"]["start"]["line"] + 1, it["message"])
        for it in json.loads(done.stdout)["generalDiagnostics"]
    ]


both_checkers = pytest.mark.parametrize("check", [mypy, pyright])


@both_checkers
def test_a_chain_has_the_type_of_its_items(check: Callable[[Path], Messages]) -> None:
    messages = check(CHAINS)
    assert [message for message in messages if message[0] == "error"] == []
    revealed = {line: plain(text) for _, line, text in messages if text.startswith(("Revealed type is", "Type of"))}
    lines = CHAINS.read_text().splitlines()
    expected = {n: line.split("  # ")[1] for n, line in enumerate(lines, 1) if "reveal_type(" in line}
    assert revealed == expected


@both_checkers
def test_a_wrong_program_is_refused_and_a_right_one_is_not(check: Callable[[Path], Messages]) -> None:
    refused = {line for kind, line, _ in check(WRONG) if kind == "error"}
    assert refused == {n for n, line in enumerate(WRONG.read_text().splitlines(), 1) if line.endswith("# wrong")}


def plain(message: str) -> str:
    """The type in a checker's message, without the modules of its names: 'IterDataPipe[DataChunk[int]]'."""
    revealed = message.split('"')[-2]
    return re.sub(r"\b(?:\w+\.)+(?=\w)", "", revealed)


@pytest.mark.parametrize(
    ("family", "pipe"),
    [
        (IterDataPipe, "IterableWrapper([1])"),
        (IterDataPipe, "IterableWrapper([1]).map(str).batch(2)"),
        (MapDataPipe, "SequenceWrapper([1])"),
    ],
)
def test_an_editor_completes_every_functional_name(family: type[IterDataPipe] | type[MapDataPipe], pipe: str) -> None:
    program = f"from penstock.pipes import IterableWrapper\nfrom penstock.pipes.map import SequenceWrapper\n{pipe}."
    completed = {completion.name for completion in jedi.Script(program, project=jedi.Project(ROOT)).complete()}
    # An example in a docstring registers pipes, too, but no module has them.
    built_in = {
        name
        for name, cls in family.functions.items()
        if getattr(sys.modules.get(cls.__module__), cls.__name__, 0) is cls
    }
    assert built_in
    assert built_in - completed == set()
