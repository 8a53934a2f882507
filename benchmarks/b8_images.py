"""B8: 60,000 images of 28x28 uint8 with labels, in memory, shuffled, in batches of 256 from 2 workers.

Once with a dataset that can fetch a batch in one go (``__getitems__``, which torch's DataLoader uses as well), once
item by item. The plain loop is one process without any loader: what workers must not be slower than.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from benchmarks._pair import Side
from benchmarks._side import expect, rates

if TYPE_CHECKING:
    import numpy as np

    Sample = tuple[np.ndarray[Any, Any], int]

IMAGES, BATCH, WORKERS = 60_000, 256, 2
UNIT = "samples/s"


def groups(quick: bool) -> list[list[Side]]:
    args = {"epochs": 1 if quick else 3}
    return [
        [
            Side("penstock __getitems__", UNIT, penstock, {**args, "batched": True}),
            Side("plain loop", UNIT, plain_loop, args, peer=True),
            Side("penstock", UNIT, penstock, {**args, "batched": False}),
            Side("torch DataLoader __getitems__", UNIT, torch_loader, {**args, "batched": True}, peer=True),
            Side("torch DataLoader", UNIT, torch_loader, {**args, "batched": False}, peer=True),
        ]
    ]


def penstock(epochs: int, batched: bool) -> Iterator[float]:
    from penstock import DataLoader2, MultiProcessingReadingService
    from penstock.pipes.map import MapDataPipe

    class Images(MapDataPipe["Sample"]):
        def __init__(self) -> None:
            self.images, self.labels = data()

        def __len__(self) -> int:
            return IMAGES

        def __getitem__(self, index: int) -> Sample:
            return self.images[index], self.labels[index]

    class BatchedImages(Images):
        def __getitems__(self, indices: Sequence[int]) -> list[Sample]:
            return fetch(self.images, self.labels, indices)

    pipe = (BatchedImages if batched else Images)().shuffle().sharding_filter().batch(BATCH).collate()
    loader = DataLoader2(pipe, reading_service=MultiProcessingReadingService(num_workers=WORKERS))
    try:
        yield from _rounds(epochs, lambda: loader)
    finally:
        loader.shutdown()


def torch_loader(epochs: int, batched: bool) -> Iterator[float]:
    from torch.utils.data import DataLoader, Dataset

    class Images(Dataset["Sample"]):
        def __init__(self) -> None:
            self.images, self.labels = data()

        def __len__(self) -> int:
            return IMAGES

        def __getitem__(self, index: int) -> Sample:
            return self.images[index], self.labels[index]

    class BatchedImages(Images):
        def __getitems__(self, indices: Sequence[int]) -> list[Sample]:
            return fetch(self.images, self.labels, indices)

    loader = DataLoader(
        (BatchedImages if batched else Images)(),
        batch_size=BATCH,
        shuffle=True,
        num_workers=WORKERS,
        multiprocessing_context="fork",
        persistent_workers=True,
    )
    return _rounds(epochs, lambda: loader)


def plain_loop(epochs: int) -> Iterator[float]:
    import numpy as np
    from torch.utils.data import default_collate

    images, labels = data()
    random = np.random.default_rng(0)

    def batches() -> Iterator[Any]:
        order = random.permutation(IMAGES).tolist()
        for start in range(0, IMAGES, BATCH):
            yield default_collate([(images[i], labels[i]) for i in order[start : start + BATCH]])

    return _rounds(epochs, batches)


@cache
def data() -> tuple[np.ndarray[Any, Any], list[int]]:
    """Images and labels; an image's first pixel is its label, so that a consumer sees whether they still belong."""
    import numpy as np

    images = np.random.default_rng(0).integers(0, 256, (IMAGES, 28, 28), dtype=np.uint8)
    labels = [index % 10 for index in range(IMAGES)]
    images[:, 0, 0] = labels
    return images, labels


def fetch(images: np.ndarray[Any, Any], labels: Sequence[int], indices: Sequence[int]) -> list[Sample]:
    return list(zip(images[indices], [labels[i] for i in indices], strict=True))


def _rounds(epochs: int, batches: Callable[[], Iterable[Any]]) -> Iterator[float]:
    def work() -> float:
        for _ in range(epochs):
            count = total = 0
            for images, labels in batches():
                sum_of_labels = int(labels.sum())
                expect(int(images[:, 0, 0].sum()), sum_of_labels, "first pixels")
                count += len(labels)
                total += sum_of_labels
            expect((count, total), (IMAGES, IMAGES // 10 * 45), "images and sum of labels")
        return epochs * IMAGES

    return rates(work)
