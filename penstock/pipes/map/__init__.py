"""MapDataPipes: random access, ``pipe[i]``, under torchdata's class and functional names."""

from penstock.core.chunk import DataChunk
from penstock.core.pipe import MapDataPipe
from penstock.core.registry import functional_datapipe
from penstock.pipes.map.array_table import ArrayTable
from penstock.pipes.map.batcher import Batcher
from penstock.pipes.map.cache import InMemoryCacheHolder
from penstock.pipes.map.combining import Concater, Zipper
from penstock.pipes.map.huggingface_table import HuggingFaceTable
from penstock.pipes.map.lance_table import LanceTable
from penstock.pipes.map.mapper import Mapper
from penstock.pipes.map.parquet_table import ParquetTable
from penstock.pipes.map.shuffler import Shuffler
from penstock.pipes.map.to_iter import MapToIterConverter
from penstock.pipes.map.to_map import IterToMapConverter
from penstock.pipes.map.unzipper import UnZipper
from penstock.pipes.map.wrapper import SequenceWrapper

__all__ = [
    "ArrayTable",
    "Batcher",
    "Concater",
    "DataChunk",
    "HuggingFaceTable",
    "InMemoryCacheHolder",
    "IterToMapConverter",
    "LanceTable",
    "MapDataPipe",
    "MapToIterConverter",
    "Mapper",
    "ParquetTable",
    "SequenceWrapper",
    "Shuffler",
    "UnZipper",
    "Zipper",
    "functional_datapipe",
]
