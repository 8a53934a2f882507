"""The same graph in a script that begins as nearly every training script does; its batches are tensors."""

import torch  # noqa: F401, I001  # first, as users have it

import numpy as np

from benchmarks.start._report import BATCH, BATCHES, WORKERS, report
from penstock import DataLoader2, MultiProcessingReadingService
from penstock.pipes import IterableWrapper

rows = IterableWrapper(range(2 * BATCHES * BATCH)).sharding_filter().map(lambda i: np.full(16, i, np.float32))
pipe = rows.batch(BATCH).collate()
report(lambda: DataLoader2(pipe, reading_service=MultiProcessingReadingService(num_workers=WORKERS)))
