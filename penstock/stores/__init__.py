"""Keys to samples, over any file system that fsspec knows."""

from penstock.files.remote import get_fs_from_url, get_protocol
from penstock.serialization.sample import Sample, Shard
from penstock.stores.filesystem import AbstractStore, FilesystemStore
from penstock.stores.records import JsonlStore, MessagepackStore, RecordStore
from penstock.stores.squirrel_store import SquirrelStore
from penstock.stores.zarr import get_group

__all__ = [
    "AbstractStore",
    "FilesystemStore",
    "JsonlStore",
    "MessagepackStore",
    "RecordStore",
    "Sample",
    "Shard",
    "SquirrelStore",
    "get_fs_from_url",
    "get_group",
    "get_protocol",
]
