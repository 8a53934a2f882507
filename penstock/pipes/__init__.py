"""IterDataPipes: streams of items, under torchdata's class and functional names."""

import penstock.pipes.map  # noqa: F401  # registers what leads from a MapDataPipe here
from penstock.core.chunk import DataChunk
from penstock.core.pipe import ONE_TO_ONE, IterDataPipe
from penstock.core.registry import functional_datapipe
from penstock.pipes.arrow_reader import ArrowReader, RecordBatchLister
from penstock.pipes.async_mapper import BatchAsyncMapper
from penstock.pipes.batch_mapper import BatchMapper
from penstock.pipes.batcher import Batcher, UnBatcher
from penstock.pipes.bucket_batcher import BucketBatcher
from penstock.pipes.bucketizer import MaxTokenBucketizer
from penstock.pipes.collator import Collator
from penstock.pipes.column_steps import ColumnSelector, RowUnpacker, ToNumpy, ToTensors
from penstock.pipes.columnar import Rows2Columnar
from penstock.pipes.combining import Concater, Zipper
from penstock.pipes.csv_columns import CSVColumnsReader
from penstock.pipes.csv_parser import CSVDictParser, CSVParser
from penstock.pipes.cycler import Cycler
from penstock.pipes.dataframe_maker import DataFrameMaker
from penstock.pipes.decompressor import Bz2FileLoader, Decompressor, Extractor, XzFileLoader
from penstock.pipes.demux import Demultiplexer, RoundRobinDemultiplexer
from penstock.pipes.disk_cache import EndOnDiskCacheHolder, OnDiskCacheHolder
from penstock.pipes.enumerator import Enumerator
from penstock.pipes.executor_mapper import ExecutorMapper
from penstock.pipes.filter import Filter
from penstock.pipes.flatmap import FlatMapper
from penstock.pipes.forker import Forker
from penstock.pipes.fsspec_files import FSSpecFileLister, FSSpecFileOpener, FSSpecSaver
from penstock.pipes.full_sync import FullSync
from penstock.pipes.grouper import Grouper
from penstock.pipes.handle import StreamWrapper
from penstock.pipes.hash_checker import HashChecker
from penstock.pipes.header import Header
from penstock.pipes.http_reader import GDriveReader, HttpReader, OnlineReader
from penstock.pipes.huggingface import HuggingFaceHubReader
from penstock.pipes.huggingface_columns import HuggingFaceReader, from_huggingface
from penstock.pipes.in_batch_shuffler import InBatchShuffler
from penstock.pipes.index_adder import IndexAdder
from penstock.pipes.iopath_files import IoPathFileLister, IoPathFileOpener, IoPathSaver
from penstock.pipes.json_parser import JsonParser
from penstock.pipes.jsonl_columns import JsonLinesColumnsReader
from penstock.pipes.jsonl_parser import JsonLinesParser
from penstock.pipes.key_zipper import IterKeyZipper, MapKeyZipper
from penstock.pipes.lance_reader import FragmentLister, LanceReader
from penstock.pipes.length_setter import LengthSetter
from penstock.pipes.line_reader import LineReader
from penstock.pipes.lister import FileLister
from penstock.pipes.map.to_iter import MapToIterConverter
from penstock.pipes.mapper import Mapper
from penstock.pipes.memory_cache import InMemoryCacheHolder
from penstock.pipes.monitor import Monitor
from penstock.pipes.msgpack_parser import MessagePackParser
from penstock.pipes.multiplexer import Multiplexer, MultiplexerLongest
from penstock.pipes.npy_reader import NpyReader, NpyRowLister
from penstock.pipes.numba_mapper import NumbaMapper
from penstock.pipes.object_stores import AISFileLister, AISFileLoader, S3FileLister, S3FileLoader
from penstock.pipes.opener import FileOpener
from penstock.pipes.paragraphs import ParagraphAggregator
from penstock.pipes.parquet_loader import ParquetDataFrameLoader
from penstock.pipes.parquet_reader import ParquetReader, RowGroupLister
from penstock.pipes.pin_memory import PinMemory
from penstock.pipes.prefetcher import Prefetcher
from penstock.pipes.random_splitter import RandomSplitter
from penstock.pipes.randomness import RandomFilter, RandomMapper
from penstock.pipes.rar_loader import RarArchiveLoader
from penstock.pipes.rebatcher import Rebatcher
from penstock.pipes.repeater import Repeater
from penstock.pipes.routed_decoder import RoutedDecoder
from penstock.pipes.row_filter import RowFilter
from penstock.pipes.row_shuffler import RowShuffler
from penstock.pipes.row_taker import RowTaker
from penstock.pipes.sample_multiplexer import SampleMultiplexer
from penstock.pipes.sampler import Sampler
from penstock.pipes.saver import Saver
from penstock.pipes.selecting import Dropper, Flattener, Slicer
from penstock.pipes.shard_expander import ShardExpander
from penstock.pipes.shard_reader import JsonLinesReader, MessagePackReader, RecordReader
from penstock.pipes.sharding import SHARDING_PRIORITIES, ShardingFilter, ShardingRoundRobinDispatcher
from penstock.pipes.shuffled_flatmap import ShuffledFlatMapper
from penstock.pipes.shuffler import Shuffler
from penstock.pipes.slider import Slider
from penstock.pipes.stream_reader import StreamReader
from penstock.pipes.table_rows import ExcelReader, FeatherReader
from penstock.pipes.tar_loader import TarArchiveLoader
from penstock.pipes.tfrecord_loader import TFRecordLoader
from penstock.pipes.threadpool_mapper import ThreadPoolMapper
from penstock.pipes.unzipper import UnZipper
from penstock.pipes.webdataset import WebDataset
from penstock.pipes.wrapper import IterableWrapper
from penstock.pipes.zarr_chunk_lister import ZarrChunkLister
from penstock.pipes.zarr_opener import ZarrOpener
from penstock.pipes.zarr_reader import ZarrReader
from penstock.pipes.zip_loader import ZipArchiveLoader
from penstock.pipes.zip_longest import ZipperLongest

__all__ = [
    "ONE_TO_ONE",
    "SHARDING_PRIORITIES",
    "AISFileLister",
    "AISFileLoader",
    "ArrowReader",
    "BatchAsyncMapper",
    "BatchMapper",
    "Batcher",
    "BucketBatcher",
    "Bz2FileLoader",
    "CSVColumnsReader",
    "CSVDictParser",
    "CSVParser",
    "Collator",
    "ColumnSelector",
    "Concater",
    "Cycler",
    "DataChunk",
    "DataFrameMaker",
    "Decompressor",
    "Demultiplexer",
    "Dropper",
    "EndOnDiskCacheHolder",
    "Enumerator",
    "ExcelReader",
    "ExecutorMapper",
    "Extractor",
    "FSSpecFileLister",
    "FSSpecFileOpener",
    "FSSpecSaver",
    "FeatherReader",
    "FileLister",
    "FileOpener",
    "Filter",
    "FlatMapper",
    "Flattener",
    "Forker",
    "FragmentLister",
    "FullSync",
    "GDriveReader",
    "Grouper",
    "HashChecker",
    "Header",
    "HttpReader",
    "HuggingFaceHubReader",
    "HuggingFaceReader",
    "InBatchShuffler",
    "InMemoryCacheHolder",
    "IndexAdder",
    "IoPathFileLister",
    "IoPathFileOpener",
    "IoPathSaver",
    "IterDataPipe",
    "IterKeyZipper",
    "IterableWrapper",
    "JsonLinesColumnsReader",
    "JsonLinesParser",
    "JsonLinesReader",
    "JsonParser",
    "LanceReader",
    "LengthSetter",
    "LineReader",
    "MapKeyZipper",
    "MapToIterConverter",
    "Mapper",
    "MaxTokenBucketizer",
    "MessagePackParser",
    "MessagePackReader",
    "Monitor",
    "Multiplexer",
    "MultiplexerLongest",
    "NpyReader",
    "NpyRowLister",
    "NumbaMapper",
    "OnDiskCacheHolder",
    "OnlineReader",
    "ParagraphAggregator",
    "ParquetDataFrameLoader",
    "ParquetReader",
    "PinMemory",
    "Prefetcher",
    "RandomFilter",
    "RandomMapper",
    "RandomSplitter",
    "RarArchiveLoader",
    "Rebatcher",
    "RecordBatchLister",
    "RecordReader",
    "Repeater",
    "RoundRobinDemultiplexer",
    "RoutedDecoder",
    "RowFilter",
    "RowGroupLister",
    "RowShuffler",
    "RowTaker",
    "RowUnpacker",
    "Rows2Columnar",
    "S3FileLister",
    "S3FileLoader",
    "SampleMultiplexer",
    "Sampler",
    "Saver",
    "ShardExpander",
    "ShardingFilter",
    "ShardingRoundRobinDispatcher",
    "ShuffledFlatMapper",
    "Shuffler",
    "Slicer",
    "Slider",
    "StreamReader",
    "StreamWrapper",
    "TFRecordLoader",
    "TarArchiveLoader",
    "ThreadPoolMapper",
    "ToNumpy",
    "ToTensors",
    "UnBatcher",
    "UnZipper",
    "WebDataset",
    "XzFileLoader",
    "ZarrChunkLister",
    "ZarrOpener",
    "ZarrReader",
    "ZipArchiveLoader",
    "Zipper",
    "ZipperLongest",
    "from_huggingface",
    "functional_datapipe",
]
