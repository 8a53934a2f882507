"""The whole way from CSV files to a trained model, on real handwritten digits. ``make demo`` runs it.

scikit-learn's package ships 1,797 images of 8x8 pixels. They are written as several CSV files and read back through the
graph of the DataLoader2 tutorial, by two worker processes. The last part shows that 0, 1 and 2 workers give one
sequence.
"""

import csv
import gzip
import tempfile
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch

from penstock import DataLoader2, FileLister, InProcessReadingService, IterDataPipe, MultiProcessingReadingService
from penstock.graph import text

EPOCHS = 20
TRAINING_FILES = 6


def write_digits(folder: Path) -> None:
    """Write the images as CSV files, a label and 64 pixels a row: six to train on, one to test on."""
    shipped = files("sklearn.datasets").joinpath("data", "digits.csv.gz")
    with shipped.open("rb") as raw, gzip.open(raw, "rt") as lines:
        rows = [[int(float(value)) for value in row] for row in csv.reader(lines)]
    order = np.random.default_rng(0).permutation(len(rows))
    parts = np.array_split(order, TRAINING_FILES + 1)
    for part, indices in enumerate(parts):
        name = f"train-{part}.csv" if part < TRAINING_FILES else "test.csv"
        with open(folder / name, "w", newline="") as file:
            csv.writer(file).writerows([rows[i][-1], *rows[i][:-1]] for i in indices)


def sample(row: list[str]) -> tuple[np.ndarray, int]:
    """Make a row of strings a sample: 64 pixels in [0, 1], and the label."""
    values = np.array(row, dtype=np.float32)
    return values[1:] / 16, int(values[0])


def pipeline(folder: Path) -> IterDataPipe[Any]:
    """Return the graph: the tutorial's, with files listed and batches collated."""
    datapipe = FileLister(str(folder), "train-*.csv")
    rows = datapipe.open_files(encoding="utf-8").parse_csv()
    rows = rows.shuffle().sharding_filter()
    return rows.map(sample).batch(32).collate()


def accuracy(model: torch.nn.Module, folder: Path) -> float:
    """Return the share of the test images that the model names rightly."""
    test = FileLister(str(folder), "test.csv").open_files(encoding="utf-8").parse_csv()
    x, y = next(iter(test.map(sample).batch(10_000).collate()))
    with torch.no_grad():
        return (model(x).argmax(1) == y).float().mean().item()


def batches(folder: Path, workers: int) -> Iterator[Any]:
    """Yield two epochs of batches, read by so many workers."""
    service = MultiProcessingReadingService(num_workers=workers) if workers else InProcessReadingService()
    with DataLoader2(pipeline(folder), reading_service=service) as dl:
        dl.seed(7)
        for _ in range(2):
            yield from dl


def main() -> None:
    """Run the demo; exit with an error unless the model learns and the sequences agree."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # the network is tiny: threads would only fight the workers for the cores
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_digits(folder)
        datapipe = pipeline(folder)
        print(f"The graph:\n{text(datapipe)}\n")

        model = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        samples, begin = 0, time.perf_counter()
        bar: dict[str, Any] = {"leave": False}
        dl = DataLoader2(datapipe, reading_service=MultiProcessingReadingService(num_workers=2), progress=bar)
        for epoch in range(EPOCHS):
            dl.seed(epoch)
            bar["desc"] = f"epoch {epoch}"
            for x, y in dl:
                loss = torch.nn.functional.cross_entropy(model(x), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                samples += len(y)
        seconds = time.perf_counter() - begin
        dl.shutdown()
        reached = accuracy(model, folder)
        speed = f"{samples / seconds:,.0f} samples per second, workers' start included"
        print(f"{EPOCHS} epochs, {samples:,} samples: {speed}")
        print(f"test accuracy: {reached:.1%}")

        sequences = [list(batches(folder, workers)) for workers in (0, 1, 2)]
        same = all(
            len(sequence) == len(sequences[0])
            and all(
                torch.equal(x, x0) and torch.equal(y, y0)
                for (x, y), (x0, y0) in zip(sequence, sequences[0], strict=True)
            )
            for sequence in sequences
        )
        print(f"0, 1 and 2 workers, {len(sequences[0])} batches each: {'identical' if same else 'DIFFERENT'}")
    if reached <= 0.95 or not same:
        raise SystemExit("the demo failed")


if __name__ == "__main__":
    main()
