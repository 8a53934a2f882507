"""What every script here reports: seconds to the first batch, and the memory of its workers after 50."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from itertools import islice
from time import perf_counter
from typing import Any

import psutil  # type: ignore[import-untyped, unused-ignore]  # ships no types

WORKERS, BATCH, BATCHES = 2, 32, 50


def report(make_loader: Callable[[], Iterable[Any]]) -> None:
    """Time from the call of ``make_loader`` to the first batch; then read on, and look at the workers."""
    start_s = perf_counter()
    loader = make_loader()
    batches = iter(loader)
    first = next(batches)
    first_batch_s = perf_counter() - start_s
    if len(first) != BATCH or len(list(islice(batches, BATCHES - 1))) != BATCHES - 1:
        raise ValueError("the loader delivered less than it had to")
    print(json.dumps({"first_batch_s": first_batch_s, "worker_mb": max(map(private_mb, workers()))}), flush=True)


def workers() -> list[psutil.Process]:
    """The leaves of our tree of processes: not the forkserver, which has children, nor multiprocessing's tracker."""
    descendants = psutil.Process().children(recursive=True)
    leaves = [one for one in descendants if not one.children() and "resource_tracker" not in " ".join(one.cmdline())]
    if len(leaves) != WORKERS:
        raise RuntimeError(f"found {len(leaves)} workers instead of {WORKERS}: {leaves}")
    return leaves


def private_mb(process: psutil.Process) -> float:
    """USS, less shared memory that happens to be mapped by nobody else at this moment: the transport's slots."""
    maps = process.memory_maps(grouped=False)
    own = (one for one in maps if not one.path.startswith(("/memfd:", "/dev/shm/")))
    return float(sum(one.private_clean + one.private_dirty for one in own)) / 1e6
