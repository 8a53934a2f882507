"""MapDataPipes: random access, ``pipe[i]``, under torchdata's class and functional names."""

from penstock.core.chunk import DataChunk
from penstock.core.pipe import MapDataPipe
from penstock.core.registry import functional_datapipe
from penstock.pipes.map.batcher import Batcher
from penstock.pipes.map.mapper import Mapper
from penstock.pipes.map.shuffler import Shuffler
from penstock.pipes.map.to_iter import MapToIterConverter
from penstock.pipes.map.wrapper import SequenceWrapper

__all__ = [
    "Batcher",
    "DataChunk",
    "MapDataPipe",
    "MapToIterConverter",
    "Mapper",
    "SequenceWrapper",
    "Shuffler",
    "functional_datapipe",
]
