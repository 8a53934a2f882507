"""Squirrel's serializers: a format as an object, for stores that are told which one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from functools import update_wrapper
from itertools import chain
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from penstock.core.errors import DecodeError
from penstock.files.remote import connected, ranged
from penstock.files.saving import put
from penstock.serialization.formats import FORMATS
from penstock.serialization.shard import ShardReader, write_shard

__all__ = ["FormatSerializer", "JsonSerializer", "MessagepackSerializer", "SquirrelSerializer"]

P = ParamSpec("P")
T = TypeVar("T")


class _OfClassToo(Generic[P, T]):
    """A method that can be called on the class as well: on an object then that is made without arguments.

    In Squirrel these are static, and programs call them so; here an object says which compression, and how to read.
    Their ``self`` is positional only, as mypy wants it where the method takes keywords of any name.
    """

    def __init__(self, method: Callable[Concatenate[Any, P], T]) -> None:
        self._method = method
        update_wrapper(self, method)  # type: ignore[arg-type]  # it is called through what `__get__` returns

    def __get__(self, instance: Any, owner: type) -> Callable[P, T]:
        if instance is not None:
            return self._method.__get__(instance, owner)  # type: ignore[no-any-return]

        def of_class(*args: P.args, **kwargs: P.kwargs) -> T:
            return self._method(owner(), *args, **kwargs)

        return update_wrapper(of_class, self._method)


class SquirrelSerializer(ABC):
    """What a store needs to know of a format. One of your own writes and reads its files as it likes."""

    @abstractmethod
    def serialize(self, obj: Any) -> bytes:
        """Return one sample as bytes."""

    @abstractmethod
    def deserialize(self, obj: bytes) -> Any:
        """Return the sample."""

    @abstractmethod
    def serialize_shard_to_file(self, shard: Iterable[Any], fp: str, fs: Any = None, **kwargs: Any) -> None:
        """Write a file of samples."""

    @abstractmethod
    def deserialize_shard_from_file(self, fp: str, fs: Any = None, **kwargs: Any) -> Iterator[Any]:
        """Yield the samples in a file."""


class FormatSerializer(SquirrelSerializer):
    """A format that is known here. Its files have an index, and are there whole or not at all.

    What it reads and writes with can be called on the class as well: ``MessagepackSerializer.serialize(sample)``.

    Args:
        compression: ``gzip``, which Squirrel reads as well, or ``zstd``.
        level: the compression's.
        **params: of reading.
    """

    format: str

    def __init__(self, *, compression: str = "gzip", level: int | None = None, **params: Any) -> None:
        if compression not in ("gzip", "zstd"):
            raise ValueError(f"compression must be gzip or zstd, got {compression!r}")
        self.compression = compression
        self.level = level
        self.params = params

    @_OfClassToo
    def serialize(self, obj: Any) -> bytes:
        """Return one sample as bytes.

        Raises:
            TypeError: the format has no word for it, or for what is in it.
        """
        return FORMATS[self.format].encoder(alone=True)(obj)

    @_OfClassToo
    def deserialize(self, obj: bytes) -> Any:
        """Return the one sample that the bytes are.

        Raises:
            DecodeError: they are none, or not just one.
        """
        found = list(FORMATS[self.format].decode((obj,), _raise, **self.params))
        if len(found) != 1:
            raise DecodeError(f"{len(found)} samples instead of one")
        return found[0]

    @_OfClassToo
    def serialize_shard_to_file(
        self, /, shard: Iterable[Any], fp: str, fs: Any = None, mode: str = "wb", **kwargs: Any
    ) -> None:
        """Write a file of samples. ``mode`` and ``kwargs`` were for opening the file, and are not looked at."""
        fs, path = (fs, fp) if fs is not None else connected(fp, {})
        put(fs, path, b"".join(write_shard(shard, self.format, self.compression, self.level)))

    @_OfClassToo
    def deserialize_shard_from_file(
        self,
        /,
        fp: str,
        fs: Any = None,
        mode: str = "rb",
        unpacker_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Iterator[Any]:
        """Yield the samples in a file: of ours or of Squirrel's, compressed or not.

        Args:
            fp: its path.
            fs: its file system, of fsspec's; that of the path unless given.
            mode: kept for Squirrel's programs.
            unpacker_kwargs: of `msgpack.Unpacker`.
            **kwargs: see `reading`.

        Raises:
            DecodeError: names the file and the sample.
        """
        params = self.reading(unpacker_kwargs=unpacker_kwargs, **kwargs)
        return chain.from_iterable(self.reader(fp, fs, **params).samples())

    def reading(self, unpacker_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> dict[str, Any]:
        """Return what is said of reading by arguments as Squirrel's `get` takes them: others were for opening a file.

        Args:
            unpacker_kwargs: of `msgpack.Unpacker`.
            **kwargs: ``use_list``, ``allow_pickle`` or ``object_hook``, which win over the serializer's.
        """
        return {**(unpacker_kwargs or {}), **{key: kwargs[key] for key in self.params.keys() & kwargs.keys()}}

    def reader(self, fp: str, fs: Any = None, **params: Any) -> ShardReader:
        """Return what reads a file."""
        fs, path = (fs, fp) if fs is not None else connected(fp, {})
        return ShardReader(fp, ranged(fs, path), self.format, **{**self.params, **params})


class MessagepackSerializer(FormatSerializer):
    """MessagePack: arrays come back with their type, and can be written to. Nothing is pickled.

    Args:
        compression: ``gzip``, which Squirrel reads as well, or ``zstd``.
        level: the compression's.
        allow_pickle: unpickle arrays of objects in files that Squirrel wrote. **That runs what the file says.**
        use_list: False makes tuples of lists, as Squirrel did.

    Example:
        >>> MessagepackSerializer().deserialize(MessagepackSerializer().serialize({"x": [1, 2]}))
        {'x': [1, 2]}
    """

    format = "msgpack"

    def __init__(
        self,
        *,
        compression: str = "gzip",
        level: int | None = None,
        allow_pickle: bool = False,
        use_list: bool = True,
    ) -> None:
        super().__init__(compression=compression, level=level, allow_pickle=allow_pickle, use_list=use_list)


class JsonSerializer(FormatSerializer):
    r"""JSON lines: people can read them. Arrays come back with their type.

    Args:
        deser_hook: makes of each dict what it returns, the innermost first.
        compression: ``gzip``, which Squirrel reads as well, or ``zstd``.
        level: the compression's.

    Example:
        >>> JsonSerializer().serialize({"x": [1, 2]})
        b'{"x":[1,2]}\n'
    """

    format = "jsonl"

    def __init__(
        self,
        deser_hook: Callable[[dict[str, Any]], Any] | None = None,
        *,
        compression: str = "gzip",
        level: int | None = None,
    ) -> None:
        super().__init__(compression=compression, level=level, object_hook=deser_hook)


def _raise(error: DecodeError) -> Any:
    raise error
