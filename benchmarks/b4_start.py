"""B4: how long one waits: for ``import penstock``, and from making the loader to its first batch from 2 workers.

The first batch is timed in scripts of their own (``benchmarks/start``), for what they import first is what matters:
torch's workers import the user's script again, and torch with it. The import of torch into the script is not counted.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from statistics import median
from time import perf_counter

from benchmarks._pair import Side

UNIT = "s"


def groups(quick: bool) -> list[list[Side]]:
    few = {"strings": 200_000 if quick else 2_000_000}  # of 64 characters: 128 MB of text
    return [
        [Side("import penstock", UNIT, import_penstock)],
        [
            Side("first batch", UNIT, first_batch, {"script": "plain"}),
            Side("first batch, torch", UNIT, first_batch, {"script": "with_torch"}),
            Side("torch first batch", UNIT, first_batch, {"script": "torch_loader"}, peer=True),
        ],
        [
            Side("first batch, strings", UNIT, first_batch, {"script": "strings", **few}),
            Side("torch first batch, strings", UNIT, first_batch, {"script": "torch_strings", **few}, peer=True),
        ],
    ]


def import_penstock(repeats: int = 5) -> Iterator[float]:
    """An interpreter that imports it, less one that does nothing: the median of neighbouring pairs."""
    interpreter_s("import penstock")  # fills the caches: the disk's, and Python's of compiled files
    while True:
        yield median(interpreter_s("import penstock") - interpreter_s("pass") for _ in range(repeats))


def interpreter_s(code: str) -> float:
    start_s = perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return perf_counter() - start_s


def first_batch(script: str, strings: int = 0) -> Iterator[float]:
    run_script(script, strings)  # fills the caches
    while True:
        yield run_script(script, strings)["first_batch_s"]


def run_script(script: str, strings: int = 0) -> dict[str, float]:
    """What the script in ``benchmarks/start`` reports, see ``benchmarks/start/_report.py``."""
    command = [sys.executable, "-m", f"benchmarks.start.{script}", str(strings)]
    shown = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    report: dict[str, float] = json.loads(shown.splitlines()[-1])
    return report
