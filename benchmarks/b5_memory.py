"""B5: what a worker costs in private memory (USS), shared slots aside, after 50 small batches of a numpy-only graph.

The script imports torch before all else, as training scripts do: the larger worker of the two counts.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks._pair import Side
from benchmarks.b4_start import run_script

UNIT = "MB"


def groups(quick: bool) -> list[list[Side]]:
    return [
        [
            Side("penstock", UNIT, worker_memory, {"script": "with_torch"}),
            Side("torch DataLoader", UNIT, worker_memory, {"script": "torch_loader"}, peer=True),
        ]
    ]


def worker_memory(script: str) -> Iterator[float]:
    while True:
        yield run_script(script)["worker_mb"]
