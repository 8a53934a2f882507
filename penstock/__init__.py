"""penstock feeds PyTorch training.

An input pipeline is a graph of DataPipes, a ReadingService runs it, and DataLoader2 reads from it.
"""

from penstock.core.bad import BadSamples
from penstock.core.errors import (
    DecodeError,
    DifferentData,
    ForkedProcess,
    GraphError,
    MissingExtra,
    PenstockError,
    RankError,
    StateError,
    TooManyBadSamples,
    TransportError,
    WorkerDied,
)
from penstock.loader2 import DataLoader2
from penstock.pipes import (
    DataChunk,
    FileLister,
    FileOpener,
    IterableWrapper,
    IterDataPipe,
    functional_datapipe,
)
from penstock.pipes.map import MapDataPipe, SequenceWrapper
from penstock.reading_service import (
    DistributedReadingService,
    InProcessReadingService,
    MultiProcessingReadingService,
    SequentialReadingService,
    ThreadingReadingService,
    WorkerInfo,
)

__all__ = [
    "BadSamples",
    "DataChunk",
    "DataLoader2",
    "DecodeError",
    "DifferentData",
    "DistributedReadingService",
    "FileLister",
    "FileOpener",
    "ForkedProcess",
    "GraphError",
    "InProcessReadingService",
    "IterDataPipe",
    "IterableWrapper",
    "MapDataPipe",
    "MissingExtra",
    "MultiProcessingReadingService",
    "PenstockError",
    "RankError",
    "SequenceWrapper",
    "SequentialReadingService",
    "StateError",
    "ThreadingReadingService",
    "TooManyBadSamples",
    "TransportError",
    "WorkerDied",
    "WorkerInfo",
    "functional_datapipe",
]

__version__ = "0.1.0"
