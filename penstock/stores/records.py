"""RecordStore, MessagepackStore, JsonlStore: the stores of Squirrel's older API, which hold samples with keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from penstock.core.errors import DecodeError
from penstock.serialization.sample import Sample, Shard, keyed
from penstock.serialization.serializers import JsonSerializer, MessagepackSerializer
from penstock.stores.squirrel_store import SquirrelStore

__all__ = ["JsonlStore", "MessagepackStore", "RecordStore"]


class RecordStore(SquirrelStore):
    """Samples under their keys, a file each.

    Args:
        url: the folder: a local path, or a URL that fsspec knows.
        clean: delete the folder, with all that is in it, to begin with.
        compression: ``gzip``, which Squirrel reads as well, or ``zstd``.
        **storage_options: fsspec's, for the connection.

    Example:
        >>> store = RecordStore("memory://record_store")
        >>> store.set(Sample(key="my_key", value={"split": "train"}))
        >>> list(store.keys()), list(store.get("my_key"))
        (['my_key'], [Sample(key='my_key', value={'split': 'train'})])
    """

    _serializer: type[MessagepackSerializer | JsonSerializer] = MessagepackSerializer

    def __init__(self, url: str, clean: bool = False, *, compression: str = "gzip", **storage_options: Any) -> None:
        super().__init__(url, self._serializer(compression=compression), clean, **storage_options)

    def set(self, value: Any, key: Any = None, **kwargs: Any) -> None:
        """Write a `Sample`, or a `Shard` of them, under its key. Anything else is the value of a sample.

        Args:
            value: a `Sample`, a `Shard`, or a list, which is a shard; values in a shard that are no samples stay so.
            key: without a separator of folders; that of ``value`` unless given.
            **kwargs: not looked at.

        Raises:
            ValueError: the key cannot be the name of a file, or two samples have one key.
            TypeError: names the sample that the format has no word for. Nothing is written then.
        """
        if isinstance(value, (Sample, Shard)):
            key = value.key if key is None else key
        samples = list(value) if isinstance(value, (Shard, list)) else [value]
        twice = [key for key, times in Counter(s.key for s in samples if isinstance(s, Sample)).items() if times > 1]
        if twice:
            raise ValueError(f"two samples of a shard have the key {twice[0]!r}")
        super().set([_as_dict(sample) for sample in samples], key, **kwargs)

    def get(self, key: Any, **kwargs: Any) -> Iterator[Sample]:
        """Return the samples under a key, to be iterated over.

        Raises:
            FileNotFoundError: there is no such key.
            DecodeError: (when run) names the file, and the sample, line or byte.
        """

        def fail(error: DecodeError) -> Any:
            raise DecodeError(f"{self.url}: shard {str(key)!r}: {error}")

        return keyed(super().get(key, **kwargs), str(key), fail)

    def sample(self, key: Any, number: int = 0) -> Sample:
        """Return one of the samples under a key. That costs a block.

        Raises:
            IndexError: there are fewer.
        """
        value = super().sample(key, number)
        found: Sample = next(keyed([value], str(key), _raise, number))
        return found


class MessagepackStore(RecordStore):
    """Shards of samples in MessagePack, under their keys.

    Example:
        >>> store = MessagepackStore("memory://messagepack_store")
        >>> store.set(Shard(key="shard_1", value=[Sample(key="a", value=1), Sample(key="b", value=2)]))
        >>> list(store.get("shard_1"))
        [Sample(key='a', value=1), Sample(key='b', value=2)]
    """


class JsonlStore(RecordStore):
    """Shards of samples in JSON lines, under their keys. People can read the files: ``zcat shard_1.gz``."""

    _serializer = JsonSerializer


def _raise(error: DecodeError) -> Any:
    raise error


def _as_dict(sample: Any) -> Any:
    return {"key": sample.key, "value": sample.value} if isinstance(sample, Sample) else sample
