"""A source that is large and made of small objects: argv[1] strings of 64 characters."""

import sys

import numpy as np

from benchmarks.start._report import BATCH, WORKERS, report
from penstock import DataLoader2, MultiProcessingReadingService
from penstock.pipes import IterableWrapper

strings = [f"{number:064}" for number in range(int(sys.argv[1]))]
texts = IterableWrapper(strings, deepcopy=False).shuffle().sharding_filter()
rows = texts.map(lambda text: np.frombuffer(text.encode(), np.uint8))
pipe = rows.batch(BATCH).map(lambda batch: np.stack(batch))
report(lambda: DataLoader2(pipe, reading_service=MultiProcessingReadingService(num_workers=WORKERS)))
