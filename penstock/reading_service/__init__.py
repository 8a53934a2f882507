"""ReadingServices: where a graph runs."""

from penstock.core.context import WorkerInfo
from penstock.reading_service.base import Epoch, ReadingService, Run, Session
from penstock.reading_service.in_process import InProcessReadingService
from penstock.reading_service.legacy import CheckpointableReadingServiceInterface, ReadingServiceInterface
from penstock.reading_service.processes import (
    MultiProcessingReadingService,
    PrototypeMultiProcessingReadingService,
)
from penstock.reading_service.threads import ThreadingReadingService

__all__ = [
    "CheckpointableReadingServiceInterface",
    "Epoch",
    "InProcessReadingService",
    "MultiProcessingReadingService",
    "PrototypeMultiProcessingReadingService",
    "ReadingService",
    "ReadingServiceInterface",
    "Run",
    "Session",
    "ThreadingReadingService",
    "WorkerInfo",
]
