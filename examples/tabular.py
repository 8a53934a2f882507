"""Train on a table from Parquet files with two workers, stop in the middle, and go on from there.

python examples/tabular.py [FOLDER]     (a new folder unless given)
"""

import json
import sys
import tempfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from penstock import DataLoader2, IterableWrapper, MultiProcessingReadingService

FEATURES = [f"f{i}" for i in range(8)]


def write(folder):
    """Write 20,000 rows in two files; whether a row's label is 1, its features and its word say."""
    rng = np.random.default_rng(0)
    paths = [f"{folder}/part-{number}.parquet" for number in range(2)]
    for path in paths:
        x = rng.normal(size=(10_000, 8)).astype(np.float32)
        word = rng.choice(["red", "green", "blue"], 10_000)
        label = (x[:, 0] + x[:, 1] * x[:, 2] + (word == "red") > 0).astype(np.int64)
        table = {**{name: x[:, i] for i, name in enumerate(FEATURES)}, "word": word, "label": label}
        pq.write_table(pa.table(table), path, row_group_size=2_000)
    return paths


def features(batch):
    """Make the words numbers, and all of them one matrix: runs in the workers, on whole columns."""
    words = batch.pop("word")
    red = np.fromiter((word == "red" for word in words), np.float32, len(words))
    return {"x": np.stack([*(batch[name] for name in FEATURES), red], axis=1), "label": batch["label"]}


def loader(paths):
    pipe = IterableWrapper(paths).list_row_groups().shuffle().sharding_filter()
    pipe = pipe.read_parquet([*FEATURES, "word", "label"]).shuffle_rows(4_000, batch_size=128)
    pipe = pipe.map_batches(features).to_tensors()
    return DataLoader2(pipe, reading_service=MultiProcessingReadingService(num_workers=2))


def main(folder):
    paths = write(folder)
    torch.manual_seed(0)
    torch.set_num_threads(1)  # for so small a network; the other cores are the workers'
    model = torch.nn.Sequential(torch.nn.Linear(9, 64), torch.nn.ReLU(), torch.nn.Linear(64, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

    def step(batch):
        loss = torch.nn.functional.cross_entropy(model(batch["x"]), batch["label"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    with loader(paths) as dl:
        for epoch in range(3):
            losses = [step(batch) for batch in dl]
            print(f"epoch {epoch}: {len(losses)} batches, loss {np.mean(losses):.3f}")
        dl.seed(1)
        seen = []
        for batch in dl:
            seen.append(batch["x"].sum().item())
            if len(seen) == 50:
                state = json.dumps(dl.state_dict())  # to lie beside the model's own checkpoint
    with loader(paths) as dl:  # another process, some other day
        dl.load_state_dict(json.loads(state))
        rest = [batch["x"].sum().item() for batch in dl]
    print(f"50 batches, a stop, and the other {len(rest)}: as without it: {rest == seen[50:]}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
