"""The peer of ``with_torch``: torch's DataLoader, workers by forkserver."""

import numpy as np
import torch  # noqa: F401  # what its users' scripts import, and its workers therefore once more
from torch.utils.data import DataLoader, Dataset

from benchmarks.start._report import BATCH, BATCHES, WORKERS, report


class Rows(Dataset[np.ndarray]):
    def __len__(self) -> int:
        return 2 * BATCHES * BATCH

    def __getitem__(self, index: int) -> np.ndarray:
        return np.full(16, index, np.float32)


def make_loader() -> DataLoader[np.ndarray]:
    return DataLoader(Rows(), batch_size=BATCH, num_workers=WORKERS, multiprocessing_context="forkserver")


if __name__ == "__main__":
    report(make_loader)
