"""What reads data sets: a store and a format made into a stream."""

from penstock.drivers.base import Driver, IterDriver, MapDriver
from penstock.drivers.data_frame import CsvDriver, DataFrameDriver, ExcelDriver, FeatherDriver, ParquetDriver
from penstock.drivers.file_driver import DirectoryDriver, FileDriver
from penstock.drivers.loaders import CSVLoader, JsonlLoader, MessagePackDataLoader, RecordLoader, ZarrLoader
from penstock.drivers.source_combiner import SourceCombiner
from penstock.drivers.store import JsonlDriver, MessagepackDriver, StoreDriver
from penstock.drivers.zarr import ZarrDriver
from penstock.serialization.sample import Sample, Shard
from penstock.stores.records import JsonlStore, MessagepackStore, RecordStore

__all__ = [
    "CSVLoader",
    "CsvDriver",
    "DataFrameDriver",
    "DirectoryDriver",
    "Driver",
    "ExcelDriver",
    "FeatherDriver",
    "FileDriver",
    "IterDriver",
    "JsonlDriver",
    "JsonlLoader",
    "JsonlStore",
    "MapDriver",
    "MessagePackDataLoader",
    "MessagepackDriver",
    "MessagepackStore",
    "ParquetDriver",
    "RecordLoader",
    "RecordStore",
    "Sample",
    "Shard",
    "SourceCombiner",
    "StoreDriver",
    "ZarrDriver",
    "ZarrLoader",
]
