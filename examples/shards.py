"""Write shards, list them in a catalog, train from them on two workers, and go on after a stop.

python examples/shards.py [FOLDER]     (a path or a URL; a new folder unless given)
"""

import sys
import tempfile

import numpy as np

from penstock import DataLoader2, MultiProcessingReadingService
from penstock.catalog import Catalog, Source
from penstock.iterstream import SplitByWorker
from penstock.stores import SquirrelStore


def write(url: str) -> None:
    rng = np.random.default_rng(0)
    samples = ({"x": rng.normal(size=8).astype("float32"), "y": i % 2, "id": i} for i in range(2000))
    store = SquirrelStore(f"{url}/train", "msgpack", clean=True)
    print(f"wrote {store.write(samples, shard_samples=100)} samples")
    catalog = Catalog()
    catalog["toy"] = Source("messagepack", driver_kwargs={"url": f"{url}/train"}, metadata={"classes": 2})
    catalog.to_file(f"{url}/catalog.yaml")


def loader(url: str) -> DataLoader2:
    driver = Catalog.from_files([f"{url}/catalog.yaml"])["toy"].get_driver()
    stream = driver.get_iter(
        shuffle_key_buffer=20, key_hooks=[SplitByWorker], shuffle_item_buffer=300, max_workers=0
    ).batched(50, drop_last_if_not_full=False)
    return DataLoader2(stream, reading_service=MultiProcessingReadingService(2))


def main(url: str) -> None:
    write(url)
    with loader(url) as dl:
        dl.seed(1)
        whole = [[sample["id"] for sample in batch] for batch in dl]
    assert sorted(i for batch in whole for i in batch) == list(range(2000))

    with loader(url) as dl:
        dl.seed(1)
        batches = iter(dl)
        begun = [[sample["id"] for sample in next(batches)] for _ in range(7)]
        state = dl.state_dict()
    with loader(url) as dl:  # another process, some other day
        dl.load_state_dict(state)
        rest = [[sample["id"] for sample in batch] for batch in dl]
    print(f"{len(begun)} batches, a stop, and the other {len(rest)}: as without it: {begun + rest == whole}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
