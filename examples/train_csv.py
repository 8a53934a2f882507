"""Train on CSV files with two worker processes.

    python examples/train_csv.py FOLDER

A row is the label of an image, 0 to 9, and its 64 pixels, 0 to 16. ``examples/demo.py`` shows where to get some.
"""

import sys

import numpy as np
import torch

from penstock import DataLoader2, FileLister, MultiProcessingReadingService


def sample(row):
    values = np.array(row, dtype=np.float32)
    return values[1:] / 16, int(values[0])


datapipe = FileLister(sys.argv[1], "*.csv")
datapipe = datapipe.open_files(encoding="utf-8").parse_csv()
datapipe = datapipe.shuffle().sharding_filter()
datapipe = datapipe.map(sample).batch(32).collate()

model = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

dl = DataLoader2(datapipe, reading_service=MultiProcessingReadingService(num_workers=2))
for epoch in range(10):
    dl.seed(epoch)
    losses = []
    for x, y in dl:
        loss = torch.nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print(f"epoch {epoch}: loss {sum(losses) / len(losses):.3f}")
dl.shutdown()
