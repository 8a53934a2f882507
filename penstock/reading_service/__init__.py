"""ReadingServices: where a graph runs."""

from penstock.core.context import WorkerInfo
from penstock.reading_service.base import Epoch, ReadingService, Run, Session
from penstock.reading_service.distributed import DistributedReadingService, SequentialReadingService
from penstock.reading_service.in_process import InProcessReadingService
from penstock.reading_service.legacy import CheckpointableReadingServiceInterface, ReadingServiceInterface
from penstock.reading_service.processes import (
    MultiProcessingReadingService,
    PrototypeMultiProcessingReadingService,
)
from penstock.reading_service.threads import ThreadingReadingService

__all__ = [
    "CheckpointableReadingServiceInterface",
    "DistributedReadingService",
    "Epoch",
    "InProcessReadingService",
    "MultiProcessingReadingService",
    "PrototypeMultiProcessingReadingService",
    "ReadingService",
    "ReadingServiceInterface",
    "Run",
    "SequentialReadingService",
    "Session",
    "ThreadingReadingService",
    "WorkerInfo",
]
