"""The peer of ``strings``: torch's DataLoader, workers by forkserver."""

import sys

import numpy as np
import torch  # noqa: F401  # what its users' scripts import, and its workers therefore once more
from torch.utils.data import DataLoader, Dataset

from benchmarks.start._report import BATCH, WORKERS, report


class Strings(Dataset[np.ndarray]):
    def __init__(self, strings: list[str]) -> None:
        self.strings = strings

    def __len__(self) -> int:
        return len(self.strings)

    def __getitem__(self, index: int) -> np.ndarray:
        return np.frombuffer(self.strings[index].encode(), np.uint8).copy()


def make_loader(strings: list[str]) -> DataLoader[np.ndarray]:
    dataset = Strings(strings)
    return DataLoader(
        dataset, batch_size=BATCH, shuffle=True, num_workers=WORKERS, multiprocessing_context="forkserver"
    )


if __name__ == "__main__":
    texts = [f"{number:064}" for number in range(int(sys.argv[1]))]
    report(lambda: make_loader(texts))
