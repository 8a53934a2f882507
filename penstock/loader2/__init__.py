"""DataLoader2: a graph and a service, run epoch after epoch."""

from penstock.loader2.adapter import CacheTimeout, Shuffle
from penstock.loader2.iterator import DataLoader2Iterator
from penstock.loader2.loader import DataLoader2
from penstock.reading_service.legacy import CheckpointableReadingServiceInterface, ReadingServiceInterface

__all__ = [
    "CacheTimeout",
    "CheckpointableReadingServiceInterface",
    "DataLoader2",
    "DataLoader2Iterator",
    "ReadingServiceInterface",
    "Shuffle",
]
