"""B2: gigabytes a second from 2 workers: batches of 64x3x224x224, of samples that lie ready in the workers' memory.

Every consumer looks at one value of each sample. What is measured is a later epoch of running workers.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks._pair import Side
from benchmarks._ring import Ring
from benchmarks._side import expect, rates
from benchmarks.bars import TORCH_PREFETCHES

if TYPE_CHECKING:
    import numpy as np
    import torch

SAMPLES, BATCH, SHAPE, WORKERS = 8, 64, (3, 224, 224), 2
UNIT = "GB/s"


def groups(quick: bool) -> list[list[Side]]:
    return [_group("uint8", 50 if quick else 200), _group("float32", 20 if quick else 100)]


def _group(dtype: str, batches: int) -> list[Side]:
    args: dict[str, object] = {"batches": batches, "dtype": dtype}
    return [
        Side(f"penstock {dtype}", UNIT, penstock, args),
        Side(f"bare ring {dtype}", UNIT, bare_ring, args, peer=True),
        *(
            Side(f"torch DataLoader {dtype}, prefetch {n}", UNIT, torch_loader, {**args, "prefetch": n}, peer=True)
            for n in TORCH_PREFETCHES
        ),
    ]


def penstock(batches: int, dtype: str) -> Iterator[float]:
    from penstock import DataLoader2, MultiProcessingReadingService

    loader = DataLoader2(graph(batches, dtype), reading_service=MultiProcessingReadingService(num_workers=WORKERS))
    try:
        yield from rates(lambda: consume(loader, batches))
    finally:
        loader.shutdown()


def graph(batches: int, dtype: str) -> Any:
    """The batches that the workers make."""
    from penstock.pipes import IterableWrapper

    pipe = IterableWrapper(range(batches * BATCH), deepcopy=False).sharding_filter()
    return pipe.map(partial(pick, samples(dtype))).batch(BATCH).collate()


def torch_loader(batches: int, dtype: str, prefetch: int) -> Iterator[float]:
    import torch
    from torch.utils.data import DataLoader, Dataset

    ready = [torch.from_numpy(sample) for sample in samples(dtype)]

    class Ready(Dataset[torch.Tensor]):
        def __len__(self) -> int:
            return batches * BATCH

        def __getitem__(self, index: int) -> torch.Tensor:
            return ready[index % SAMPLES]

    loader = DataLoader(
        Ready(),
        batch_size=BATCH,
        num_workers=WORKERS,
        multiprocessing_context="fork",
        persistent_workers=True,
        prefetch_factor=prefetch,
    )
    return rates(lambda: consume(loader, batches))


def bare_ring(batches: int, dtype: str) -> Iterator[float]:
    """What reused shared memory gives with nothing around it: no graph, no state, no errors, one fixed shape."""
    with Ring(samples(dtype), batch=BATCH, workers=WORKERS) as ring:
        yield from rates(lambda: consume(ring.epoch(batches), batches))


def samples(dtype: str) -> list[np.ndarray[Any, Any]]:
    """The samples; the first value of sample k is k, so that a consumer can tell them apart."""
    import numpy as np

    random = np.random.default_rng(0)
    ready = [random.integers(0, 255, SHAPE).astype(dtype) for _ in range(SAMPLES)]
    for number, sample in enumerate(ready):
        sample[0, 0, 0] = number
    return ready


def pick(ready: list[np.ndarray[Any, Any]], index: int) -> np.ndarray[Any, Any]:
    return ready[index % SAMPLES]


def consume(loader: Any, batches: int) -> float:
    """Read an epoch, check one value in each sample, and say how many GB it was."""
    wanted = [index % SAMPLES for index in range(BATCH)]
    count = size_bytes = 0
    batch: torch.Tensor
    for batch in loader:
        expect(batch[:, 0, 0, 0].tolist(), wanted, "first values of the samples")
        count += 1
        size_bytes += batch.nbytes
    expect(count, batches, "batches")
    return size_bytes / 1e9
