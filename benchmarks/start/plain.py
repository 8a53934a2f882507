"""A script that needs numpy alone. It is not guarded by ``__name__``, and its function lives in ``__main__``."""

import numpy as np

from benchmarks.start._report import BATCH, BATCHES, WORKERS, report
from penstock import DataLoader2, MultiProcessingReadingService
from penstock.pipes import IterableWrapper

rows = IterableWrapper(range(2 * BATCHES * BATCH)).sharding_filter().map(lambda i: np.full(16, i, np.float32))
pipe = rows.batch(BATCH).map(lambda batch: np.stack(batch))
report(lambda: DataLoader2(pipe, reading_service=MultiProcessingReadingService(num_workers=WORKERS)))
