"""SquirrelStore: keys to shards of samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from typing import Any

from penstock.core.errors import DecodeError
from penstock.files.remote import ranged
from penstock.serialization.blocks import COMPRESSIONS, Index, ReadBytes
from penstock.serialization.sample import check_key, random_key
from penstock.serialization.serializers import (
    FormatSerializer,
    JsonSerializer,
    MessagepackSerializer,
    SquirrelSerializer,
)
from penstock.serialization.shard import ShardReader, bare
from penstock.stores.filesystem import FolderStore, path_of

__all__ = ["SquirrelStore"]

_AT_A_TIME = 16  # requests for the indexes of shards
_SERIALIZERS = {"msgpack": MessagepackSerializer, "jsonl": JsonSerializer}


class SquirrelStore(FolderStore):
    """Shards of samples, in a folder at any URL that fsspec knows: ``key.gz`` or ``key.zst``.

    Squirrel's folders are read as they are, and with gzip Squirrel reads ours. What is written here has an index in it
    (`penstock.serialization.blocks`): how many samples there are is known, and one can be fetched, without reading the
    rest. The folder is made with the first shard; a shard is there whole or not at all, and takes the place of one of
    the same key. Stores pickle, and can be used by any number of threads and processes at a time.

    Args:
        url: the folder.
        serializer: ``"msgpack"``, ``"jsonl"``, or a serializer (or its class): its options are those of the store.
        clean: delete the folder, with all that is in it, to begin with.
        **storage_options: fsspec's, for the connection.

    Example:
        >>> store = SquirrelStore("memory://squirrel_store", "msgpack")
        >>> store.set([{"x": 1}, {"x": 2}], key="a")
        >>> list(store.keys()), list(store.get("a")), store.count(), store.sample("a", 1)
        (['a'], [{'x': 1}, {'x': 2}], 2, {'x': 2})
    """

    def __init__(
        self,
        url: str,
        serializer: SquirrelSerializer | type[SquirrelSerializer] | str,
        clean: bool = False,
        **storage_options: Any,
    ) -> None:
        if isinstance(serializer, str) and serializer not in _SERIALIZERS:
            raise ValueError(f"serializer must be one of {', '.join(_SERIALIZERS)}, or an object, got {serializer!r}")
        super().__init__(url, clean, **storage_options)
        made = _SERIALIZERS[serializer] if isinstance(serializer, str) else serializer
        self.serializer: SquirrelSerializer = made() if isinstance(made, type) else made
        self._indexes: dict[str, Index] = {}

    def set(self, value: Any, key: Any = None, **kwargs: Any) -> None:
        """Write a shard.

        Args:
            value: a list of samples; anything else is one sample.
            key: without a separator of folders; a random one unless given. One that is there is replaced.
            **kwargs: of the serializer.

        Raises:
            ValueError: the key cannot be the name of a file.
            TypeError: names the sample that the format has no word for. Nothing is written then.
        """
        key = random_key() if key is None else check_key(key)
        samples = value if isinstance(value, list) else [value]
        if isinstance(self.serializer, FormatSerializer):
            end = COMPRESSIONS[self.serializer.compression]
            self.serializer.serialize_shard_to_file(samples, f"{self._folder}/{key}{end}", self.fs, **kwargs)
        else:
            end = ".gz"
            self._set_by(self.serializer, samples, key, kwargs)
        for other in set(COMPRESSIONS.values()) - {end}:
            if self.fs.exists(path := f"{self._folder}/{key}{other}"):
                self.fs.rm(path)
        self._indexes.pop(key, None)

    def write(self, samples: Iterable[Any], shard_samples: int = 1000, prefix: str = "") -> int:
        """Write any number of samples, a shard whenever there are so many: ``prefix00000``, ``prefix00001`` ...

        Returns:
            How many samples were written.

        Raises:
            ValueError: ``shard_samples`` is below 1.
        """
        if shard_samples < 1:
            raise ValueError(f"shard_samples must be at least 1, got {shard_samples}")
        it, written = iter(samples), 0
        for number in range(1 << 62):
            shard = list(islice(it, shard_samples))
            if not shard:
                break
            self.set(shard, f"{prefix}{number:05d}")
            written += len(shard)
        return written

    def get(self, key: Any, **kwargs: Any) -> Iterator[Any]:
        """Return the samples of a shard, to be iterated over. It is read as they are.

        Args:
            key: the shard's.
            **kwargs: of the serializer's ``deserialize_shard_from_file``: ``use_list``, ``unpacker_kwargs``.

        Raises:
            FileNotFoundError: there is none.
            DecodeError: (when run) names the file, and the sample, line or byte.
        """
        return self._samples(path_of(key), kwargs)

    def sample(self, key: Any, number: int) -> Any:
        """Return one sample of a shard. Where the shard has an index, that costs a block of it.

        Raises:
            IndexError: there are fewer.
        """
        index = self.index(key)
        if index is not None:
            return self.reader(key).sample(index, number)
        found = next(islice(self.get(key), number, None), _NONE) if number >= 0 else _NONE
        if found is _NONE:
            raise IndexError(f"shard {key!r} of {self.url} has no sample {number}")
        return found

    def count(self, key: Any = None) -> int:
        """Return how many samples there are in a shard, or in all of them.

        Shards that were not written here have no index: these are read.
        """
        if key is None:
            with ThreadPoolExecutor(_AT_A_TIME) as pool:
                return sum(pool.map(self.count, self.keys()))
        index = self.index(key)
        return sum(1 for _ in self.get(key)) if index is None else index.samples

    def index(self, key: Any) -> Index | None:
        """Return where the samples of a shard are, None if it does not say so. It is read once."""
        key = path_of(key)
        if key not in self._indexes and isinstance(self.serializer, FormatSerializer):
            index = self.reader(key).index()
            if index is not None:
                self._indexes[key] = index
        return self._indexes.get(key)

    def keys(self, nested: bool = False, **kwargs: Any) -> Iterator[str]:
        """Yield the keys, in order.

        Args:
            nested: also those in folders below.
            **kwargs: of fsspec's ``find`` or ``ls``.

        Raises:
            DecodeError: two files are of one key.
        """
        return map(bare, self._names(nested, kwargs))

    def urls(self) -> Iterator[str]:
        """Yield the URLs of the shards, in the order of their keys."""
        return (f"{self.url}/{name}" for name in self._names())

    def _names(self, nested: bool = False, kwargs: dict[str, Any] | None = None) -> Iterator[str]:
        before = ""
        ends = tuple(COMPRESSIONS.values())
        for name in sorted((n for n in self.names(nested, **(kwargs or {})) if n.endswith(ends)), key=bare):
            if before and bare(before) == bare(name):
                raise DecodeError(f"{self.url}: {before} and {name} are of one key")
            before = name
            yield name

    def _samples(self, key: str, kwargs: dict[str, Any]) -> Iterator[Any]:
        if isinstance(self.serializer, FormatSerializer):
            return chain.from_iterable(self.reader(key, **self.serializer.reading(**kwargs)).samples())
        return iter(self.serializer.deserialize_shard_from_file(f"{self._folder}/{key}.gz", fs=self.fs, **kwargs))

    def reader(
        self,
        key: Any,
        failed: Callable[[DecodeError], Any] | None = None,
        patient: Callable[[ReadBytes], ReadBytes] = lambda read: read,
        **params: Any,
    ) -> ShardReader:
        """Return what reads a shard. Under which of its two names it is shows with the first request.

        Args:
            key: the shard's.
            failed: see `ShardReader`.
            patient: wraps what reads bytes, for trying again.
            **params: of the format; they win over the serializer's.
        """
        key = path_of(key)
        assert isinstance(self.serializer, FormatSerializer)
        own = COMPRESSIONS[self.serializer.compression]
        ends = [own, *(end for end in COMPRESSIONS.values() if end != own)]

        def read(start: int, stop: int) -> bytes:
            while True:
                try:
                    return ranged(self.fs, f"{self._folder}/{key}{ends[0]}")(start, stop)
                except FileNotFoundError:
                    if len(ends) == 1:
                        raise FileNotFoundError(f"{self.url} has no shard {key!r}") from None
                    ends.pop(0)
                    reader.path = f"{self.url}/{key}{ends[0]}"

        params = {**self.serializer.params, **params}
        reader = ShardReader(f"{self.url}/{key}{own}", patient(read), self.serializer.format, failed, **params)
        return reader

    def _set_by(self, serializer: SquirrelSerializer, samples: list[Any], key: str, kwargs: dict[str, Any]) -> None:
        """Have somebody else's serializer write a shard, under another name until it is complete."""
        self.fs.makedirs(self._folder, exist_ok=True)
        partial = f"{self._folder}/.{key}.{random_key()}.part"
        try:
            serializer.serialize_shard_to_file(samples, partial, fs=self.fs, **kwargs)
            self.fs.mv(partial, f"{self._folder}/{key}.gz")
        except BaseException:
            if self.fs.exists(partial):
                self.fs.rm(partial)
            raise


_NONE: Any = object()
