"""B22, memory: MB of resident memory above what a process had before, while 4 GB of Parquet stream through it.

The data set has row groups of 64 MB and is read to batches of 1,024 rows: by this process, and by workers, of which the
one that took more counts. The kernel keeps the highest value; what of the arena a worker has touched is in it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks._pair import Side
from benchmarks._side import expect

BATCH, COLUMNS = 1024, 15
GROUP_ROWS = (64 << 20) // (8 + 4 * COLUMNS)
UNIT = "MB"
KINDS = ("all", "filtered", "shuffled")


def groups(quick: bool) -> list[list[Side]]:
    files = 1 if quick else 4
    return [
        [Side(f"memory {where}, {kind}", UNIT, memory, {"files": files, "kind": kind, "workers": workers})]
        for kind in KINDS
        for where, workers in (("in process", 0), ("of a worker", 2), ("beside workers", -2))
    ]


def memory(files: int, kind: str, workers: int) -> Iterator[float]:
    """In this process without workers; with 2 of the larger one of them, with -2 of the trainer's process."""
    import pyarrow.parquet  # noqa: F401  # what is loaded is no part of what is read

    from penstock import DataLoader2, MultiProcessingReadingService
    from penstock.pipes import IterableWrapper

    paths = data_set(files)
    rows = files * 16 * GROUP_ROWS
    condition = [("f0", "<", 0.5)] if kind == "filtered" else None
    pipe = IterableWrapper(paths).list_row_groups().shuffle().sharding_filter()
    pipe = pipe.read_parquet(filter=condition, batch_size=BATCH)
    if kind == "shuffled":
        pipe = pipe.shuffle_rows(100_000, batch_size=BATCH)
    with tempfile.TemporaryDirectory() as folder:
        before = Before(folder)
        before.take()  # once: what a round leaves in the allocator's pools is above it in the next one too
        service = MultiProcessingReadingService(abs(workers), worker_init_fn=before) if workers else None
        while True:
            with DataLoader2(pipe, reading_service=service) as loader:
                seen = sum(len(batch["id"]) for batch in loader)
                if kind != "filtered":
                    expect(seen, rows, "rows")
                yield before.most(own=workers <= 0)
            before.forget_others()


class Before:
    """What processes had when they began: each has left its number and its memory in a folder."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    def __call__(self, datapipe: Any, info: Any) -> Any:
        import pyarrow.parquet  # noqa: F401

        self.take()
        return datapipe

    def take(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # the highest value begins anew
        (self._folder / str(os.getpid())).write_text(str(_status(os.getpid(), "VmRSS")))

    def most(self, *, own: bool) -> float:
        """Return by how many MB one of them rose; this process if ``own``, else the largest of the others."""
        found = {int(path.name): int(path.read_text()) for path in self._folder.iterdir()}
        chosen = [pid for pid in found if (pid == os.getpid()) == own]
        return max(_status(pid, "VmHWM") - found[pid] for pid in chosen) / 1024

    def forget_others(self) -> None:
        for path in self._folder.iterdir():
            if path.name != str(os.getpid()):
                path.unlink()


def _status(pid: int, name: str) -> int:
    """Return a value of /proc/PID/status, in KB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def data_set(files: int) -> list[str]:
    """Files of 1 GB each, written a row group at a time; made once, and kept."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    paths = []
    for number in range(files):
        path = Path(tempfile.gettempdir()) / f"penstock-benchmark-1gb-{number}-{os.getuid()}.parquet"
        paths.append(str(path))
        if path.exists():
            continue
        draw = np.random.default_rng(number)
        making = path.with_suffix(f".{os.getpid()}")
        names = ["id", *(f"f{i}" for i in range(COLUMNS))]
        types = [pa.int64(), *[pa.float32()] * COLUMNS]
        schema = pa.schema(list(zip(names, types, strict=True)))
        with pq.ParquetWriter(making, schema, compression="none", use_dictionary=False) as writer:
            for group in range(16):
                ids = np.arange(group * GROUP_ROWS, (group + 1) * GROUP_ROWS)
                columns = [ids, *(draw.random(GROUP_ROWS, dtype=np.float32) for _ in range(COLUMNS))]
                writer.write_batch(pa.record_batch(columns, schema=schema), row_group_size=GROUP_ROWS)
        making.rename(path)
    return paths
