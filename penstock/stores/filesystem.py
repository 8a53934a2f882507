"""FilesystemStore: keys to files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from penstock.files.remote import connected
from penstock.files.saving import put
from penstock.serialization.sample import check_key, random_key
from penstock.serialization.serializers import SquirrelSerializer

__all__ = ["AbstractStore", "FilesystemStore", "FolderStore", "path_of"]


class AbstractStore(ABC):
    """Keys to values."""

    @abstractmethod
    def set(self, value: Any, key: Any = None, **kwargs: Any) -> None:
        """Put a value under a key; under a random one unless given."""

    @abstractmethod
    def get(self, key: Any, **kwargs: Any) -> Any:
        """Return what is under a key."""

    @abstractmethod
    def keys(self, **kwargs: Any) -> Iterable[Any]:
        """Return all keys."""


class FolderStore(AbstractStore):
    """A store that is a folder, at any URL that fsspec knows. The folder is made with its first file.

    Args:
        url: the folder.
        clean: delete the folder, with all that is in it, to begin with.
        **storage_options: fsspec's, for the connection.
    """

    def __init__(self, url: str, clean: bool, **storage_options: Any) -> None:
        self.url = str(url).rstrip("/")
        self.storage_options = storage_options
        self.fs, self._folder = connected(self.url, storage_options)
        if clean and self.fs.exists(self._folder):
            self.fs.rm(self._folder, recursive=True)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def names(self, nested: bool, **kwargs: Any) -> Iterator[str]:
        """Yield the names of the files, in order.

        Args:
            nested: those in folders below as well; else the names of these folders.
            **kwargs: of fsspec's ``find`` or ``ls``.
        """
        self.fs.invalidate_cache(self._folder)
        listing = self.fs.find if nested else partial(self.fs.ls, detail=False)
        try:
            found = listing(self._folder, **kwargs)
        except FileNotFoundError:  # nothing has been written yet
            return
        start = len(self.fs._strip_protocol(self._folder).rstrip("/")) + 1
        yield from sorted(str(path)[start:] for path in found)


class FilesystemStore(FolderStore):
    """Files under their names, in a folder at any URL that fsspec knows.

    The folder is made with the first file. A file is there whole or not at all.

    Args:
        url: the folder.
        serializer: what values are written and read with, or its class; without one they are bytes.
        clean: delete the folder, with all that is in it, to begin with.
        **storage_options: fsspec's, for the connection.

    Example:
        >>> store = FilesystemStore("memory://filesystem_store")
        >>> store.set(b"hello", key="a/b.txt")
        >>> list(store.keys()), store.get("a/b.txt")
        (['a/b.txt'], b'hello')
    """

    def __init__(
        self,
        url: str,
        serializer: SquirrelSerializer | type[SquirrelSerializer] | None = None,
        clean: bool = False,
        **storage_options: Any,
    ) -> None:
        super().__init__(url, clean, **storage_options)
        self.serializer = serializer() if isinstance(serializer, type) else serializer

    def get(self, key: Any, mode: str = "rb", **kwargs: Any) -> Any:
        """Return what a file has in it.

        Args:
            key: its name, below the folder.
            mode: ``rb``, or ``r`` for text.
            **kwargs: of fsspec's ``open``.

        Raises:
            FileNotFoundError: there is none.
        """
        with self.fs.open(f"{self._folder}/{path_of(key)}", mode, **kwargs) as file:
            data = file.read()
        return data if self.serializer is None else self.serializer.deserialize(data)

    def set(self, value: Any, key: Any = None, mode: str = "wb", **kwargs: Any) -> None:
        """Write a file.

        Args:
            value: bytes, or text, or what the serializer takes.
            key: its name, below the folder; a random one unless given.
            mode: kept for Squirrel's programs: what is written is bytes or text by itself.
            **kwargs: likewise.

        Raises:
            ValueError: the name would lead out of the folder.
        """
        if self.serializer is not None:
            value = self.serializer.serialize(value)
        data = value.encode() if isinstance(value, str) else bytes(value)
        put(self.fs, f"{self._folder}/{random_key() if key is None else path_of(key)}", data)

    def keys(self, nested: bool = True, **kwargs: Any) -> Iterator[str]:
        """Yield the names of the files, in order.

        Args:
            nested: those in folders below as well; else the names of these folders.
            **kwargs: of fsspec's ``find`` or ``ls``.
        """
        return self.names(nested, **kwargs)


def path_of(key: Any) -> str:
    """Return a key that may be in folders below. ValueError if it leads out of the store."""
    return "/".join(map(check_key, str(key).split("/")))
