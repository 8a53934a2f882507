"""FileDriver, DirectoryDriver: files as they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from penstock.drivers.base import MapDriver, UrlDriver
from penstock.files.remote import connected
from penstock.stores.filesystem import FilesystemStore

__all__ = ["DirectoryDriver", "FileDriver"]


class FileDriver(UrlDriver):
    """Opens one file.

    Args:
        url: the file: a local path, or a URL that fsspec knows.
        storage_options: fsspec's, for the connection.
        catalog: that which made it, if one did.
        **kwargs: not looked at.

    Example:
        >>> with FileDriver("memory://file_driver/hello.txt").open("w", create_if_not_exists=True) as file:
        ...     _ = file.write("hello")
        >>> with FileDriver("memory://file_driver/hello.txt").open() as file:
        ...     print(file.read())
        hello
    """

    name = "file"

    def open(self, mode: str = "r", create_if_not_exists: bool = False, **kwargs: Any) -> Any:
        """Return the file, opened, for a ``with``.

        Args:
            mode: of Python's ``open``.
            create_if_not_exists: make the folder that it is in.
            **kwargs: of fsspec's ``open``: ``compression``, ``encoding``.

        Raises:
            FileNotFoundError: there is no file to read, or no folder to write to.
        """
        fs, path = connected(self.url, self.storage_options)
        if create_if_not_exists:
            fs.makedirs(fs._parent(path), exist_ok=True)
        return fs.open(path, mode, **kwargs)

    def get_store(self, mode: str = "r", create_if_not_exists: bool = False, **kwargs: Any) -> Any:
        """Return the file, opened, for a ``with``: the older name of ``open``."""
        return self.open(mode, create_if_not_exists, **kwargs)


class DirectoryDriver(UrlDriver, MapDriver):
    """Reads the files of a folder, as bytes. Their keys are their names below the folder.

    Args:
        url: the folder: a local path, or a URL that fsspec knows.
        storage_options: fsspec's, for the connection.
        catalog: that which made it, if one did.
        **kwargs: not looked at.

    Example:
        >>> FilesystemStore("memory://directory_driver").set(b"hello", key="a.txt")
        >>> DirectoryDriver("memory://directory_driver").get_iter().collect()
        [b'hello']
    """

    name = "directory"

    def __init__(
        self, url: str, storage_options: dict[str, Any] | None = None, catalog: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(url, storage_options, catalog)
        self.store = FilesystemStore(self.url, **self.storage_options)

    def get(self, key: Any, **kwargs: Any) -> Any:
        """Return what is in a file."""
        return self.store.get(key, **kwargs)

    def keys(self, nested: bool = True, **kwargs: Any) -> Iterator[str]:
        """Yield the names of the files, in order."""
        return self.store.keys(nested, **kwargs)
