"""A side of several ranks: rank 0 is the side's own process, the others are its children."""

from __future__ import annotations

import importlib
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping

from benchmarks._pair import ROOT

_WAITS, _GO, _END = "", "go", "end"


def together(work: Callable[..., Callable[[], float]], args: Mapping[str, object], world: int) -> Iterator[float]:
    """Per round, the largest number that ``work(**args)()`` gives on any rank. The first round is the warm-up."""
    import torch.distributed as dist

    with tempfile.TemporaryDirectory() as folder:
        target = f"{work.__module__}:{work.__qualname__}"
        command = [sys.executable, "-m", "benchmarks._ranks"]
        children = [
            subprocess.Popen(
                [*command, f"{folder}/store", str(rank), str(world), target, json.dumps(dict(args))], cwd=ROOT
            )
            for rank in range(1, world)
        ]
        _join(f"{folder}/store", 0, world)
        once = work(**args)
        try:
            _round(once, _GO)
            while True:
                yield _round(once, _GO)
        finally:
            _round(once, _END)
            for child in children:
                child.wait(60)
            dist.destroy_process_group()


def _join(store: str, rank: int, world: int) -> None:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", store=dist.FileStore(store, world), rank=rank, world_size=world)


def _round(once: Callable[[], float], order: str) -> float:
    """Wait for rank 0's order, work, and return the largest number of all ranks; NaN at the end."""
    import torch
    import torch.distributed as dist

    said = [order]
    dist.broadcast_object_list(said, src=0)
    if said[0] == _END:
        return math.nan
    number = torch.tensor([once()], dtype=torch.float64)
    dist.all_reduce(number, op=dist.ReduceOp.MAX)
    return number.item()


def _child(store: str, rank: str, world: str, target: str, arguments: str) -> None:
    import torch.distributed as dist

    _join(store, int(rank), int(world))
    module, _, function = target.partition(":")
    once = getattr(importlib.import_module(module), function)(**json.loads(arguments))
    while not math.isnan(_round(once, _WAITS)):
        pass
    dist.destroy_process_group()


if __name__ == "__main__":
    _child(*sys.argv[1:])
