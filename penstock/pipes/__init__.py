"""IterDataPipes: streams of items, under torchdata's class and functional names."""

import penstock.pipes.map  # noqa: F401  # registers what leads from a MapDataPipe here
from penstock.core.chunk import DataChunk
from penstock.core.pipe import ONE_TO_ONE, IterDataPipe
from penstock.core.registry import functional_datapipe
from penstock.pipes.batcher import Batcher, UnBatcher
from penstock.pipes.collator import Collator
from penstock.pipes.combining import Concater, Zipper
from penstock.pipes.csv_parser import CSVDictParser, CSVParser
from penstock.pipes.cycler import Cycler
from penstock.pipes.demux import Demultiplexer, RoundRobinDemultiplexer
from penstock.pipes.enumerator import Enumerator
from penstock.pipes.filter import Filter
from penstock.pipes.flatmap import FlatMapper
from penstock.pipes.forker import Forker
from penstock.pipes.handle import StreamWrapper
from penstock.pipes.header import Header
from penstock.pipes.jsonl_parser import JsonLinesParser
from penstock.pipes.line_reader import LineReader
from penstock.pipes.lister import FileLister
from penstock.pipes.map.to_iter import MapToIterConverter
from penstock.pipes.mapper import Mapper
from penstock.pipes.msgpack_parser import MessagePackParser
from penstock.pipes.opener import FileOpener
from penstock.pipes.prefetcher import Prefetcher
from penstock.pipes.randomness import RandomFilter, RandomMapper
from penstock.pipes.sharding import SHARDING_PRIORITIES, ShardingFilter
from penstock.pipes.shuffler import Shuffler
from penstock.pipes.unzipper import UnZipper
from penstock.pipes.wrapper import IterableWrapper

__all__ = [
    "ONE_TO_ONE",
    "SHARDING_PRIORITIES",
    "Batcher",
    "CSVDictParser",
    "CSVParser",
    "Collator",
    "Concater",
    "Cycler",
    "DataChunk",
    "Demultiplexer",
    "Enumerator",
    "FileLister",
    "FileOpener",
    "Filter",
    "FlatMapper",
    "Forker",
    "Header",
    "IterDataPipe",
    "IterableWrapper",
    "JsonLinesParser",
    "LineReader",
    "MapToIterConverter",
    "Mapper",
    "MessagePackParser",
    "Prefetcher",
    "RandomFilter",
    "RandomMapper",
    "RoundRobinDemultiplexer",
    "ShardingFilter",
    "Shuffler",
    "StreamWrapper",
    "UnBatcher",
    "UnZipper",
    "Zipper",
    "functional_datapipe",
]
