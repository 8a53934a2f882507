"""B3: batches a second from 2 workers where the data is next to nothing: 32 dicts of 16 float32, an int and a str."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from benchmarks._pair import Side
from benchmarks._side import expect, rates

SAMPLES, BATCH, WORKERS, PREFETCH = 1_024, 32, 2, 4
UNIT = "batches/s"


def groups(quick: bool) -> list[list[Side]]:
    args = {"batches": 500 if quick else 3_000}
    return [[Side("penstock", UNIT, penstock, args), Side("torch DataLoader", UNIT, torch_loader, args, peer=True)]]


def penstock(batches: int) -> Iterator[float]:
    from penstock import DataLoader2, MultiProcessingReadingService

    loader = DataLoader2(graph(batches), reading_service=MultiProcessingReadingService(num_workers=WORKERS))
    try:
        yield from rates(lambda: consume(loader, batches))
    finally:
        loader.shutdown()


def graph(batches: int) -> Any:
    """The batches that the workers make."""
    from penstock.pipes import IterableWrapper

    pipe = IterableWrapper(range(batches * BATCH), deepcopy=False).sharding_filter()
    return pipe.map(partial(pick, samples())).batch(BATCH).collate()


def torch_loader(batches: int) -> Iterator[float]:
    import torch
    from torch.utils.data import DataLoader, Dataset

    ready = [{**sample, "x": torch.from_numpy(sample["x"])} for sample in samples()]

    class Ready(Dataset[dict[str, Any]]):
        def __len__(self) -> int:
            return batches * BATCH

        def __getitem__(self, index: int) -> dict[str, Any]:
            return pick(ready, index)

    loader = DataLoader(
        Ready(),
        batch_size=BATCH,
        num_workers=WORKERS,
        multiprocessing_context="fork",
        persistent_workers=True,
        prefetch_factor=PREFETCH,
    )
    return rates(lambda: consume(loader, batches))


def samples() -> list[dict[str, Any]]:
    import numpy as np

    return [{"x": np.full(16, i, np.float32), "i": i, "s": f"sample {i}"} for i in range(SAMPLES)]


def pick(ready: list[dict[str, Any]], index: int) -> dict[str, Any]:
    return ready[index % SAMPLES]


def consume(loader: Any, batches: int) -> float:
    """Read an epoch, check the last sample of each batch in all its fields, and say how many batches it was."""
    count = 0
    for batch in loader:
        count += 1
        last = (count * BATCH - 1) % SAMPLES
        expect((float(batch["x"][-1, -1]), int(batch["i"][-1]), batch["s"][-1]), (last, last, f"sample {last}"), "last")
    expect(count, batches, "batches")
    return count
