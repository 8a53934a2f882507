"""Train on embeddings in a Lance data set: batches of random rows from all of it, on two workers, and on after a stop.

python examples/embeddings.py [FOLDER]     (a new folder unless given)
"""

import os
import sys
import tempfile

import numpy as np
import torch

from penstock import DataLoader2, IterableWrapper, MultiProcessingReadingService
from penstock.lance import write_dataset
from penstock.pipes.map import LanceTable

CLASSES, WIDTH, ROWS = 4, 32, 8192


def write(uri: str) -> None:
    """What an encoder would have made: a vector for each text, near the middle of its class."""
    rng = np.random.default_rng(0)
    middles = rng.normal(size=(CLASSES, WIDTH))
    labels = rng.integers(0, CLASSES, ROWS)
    vectors = (middles[labels] + rng.normal(size=(ROWS, WIDTH))).astype("float32")
    pipe = IterableWrapper(range(ROWS)).map(
        lambda i: {"vector": vectors[i], "label": int(labels[i]), "text": f"text {i}"}
    )
    write_dataset(pipe, uri, mode="overwrite", max_rows_per_file=2048)


def loader(uri: str) -> DataLoader2:
    table = LanceTable(uri, ["vector", "label"], as_="torch")  # at the version of now, in every worker
    pipe = table.shuffle().sharding_filter().take_rows(256)
    return DataLoader2(pipe, reading_service=MultiProcessingReadingService(2))


def train(batches, model, optimizer) -> float:
    loss = torch.zeros(())
    for batch in batches:
        loss = torch.nn.functional.cross_entropy(model(batch["vector"]), batch["label"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


def main(folder: str) -> None:
    uri = os.path.join(folder, "embeddings.lance")
    write(uri)
    torch.manual_seed(0)
    model = torch.nn.Linear(WIDTH, CLASSES)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    with loader(uri) as dl:
        dl.seed(1)
        print(f"epoch 0: loss {train(dl, model, optimizer):.3f}")
        batches = iter(dl)
        begun = [next(batches)["label"] for _ in range(10)]
        state = dl.state_dict()  # a few hundred bytes of JSON
        rest = [batch["label"] for batch in batches]
    with loader(uri) as dl:  # another process, some other day
        dl.load_state_dict(state)
        again = [batch["label"] for batch in dl]
        print(f"epoch 2: loss {train(dl, model, optimizer):.3f}")
    same = len(again) == len(rest) and all(map(torch.equal, again, rest))
    print(f"{len(begun)} batches, a stop, and the other {len(again)}: as without it: {same}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
