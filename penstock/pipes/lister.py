"""FileLister (``list_files``)."""

from __future__ import annotations

import copy
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatch
from typing import Any

from penstock.core.context import Context
from penstock.core.errors import StateError
from penstock.core.pipe import IterDataPipe, no_length
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream, sequence_stream
from penstock.pipes._nested import nested_parts
from penstock.pipes.wrapper import IterableWrapper


@functional_datapipe("list_files")
class FileLister(IterDataPipe[str]):
    """List the files of folders: ``folder`` becomes its files' paths (functional name: ``list_files``).

    Files come in order within each folder, a folder's own ahead of those of the folders in it. A listing that goes to
    worker processes is read once, so that all of them see the same one.

    Args:
        root: folders, local or fsspec URLs: one, an iterable or a pipe of them.
        masks: yield only the names that match one of these patterns.
        recursive: go into folders.
        abspath: yield absolute paths.
        non_deterministic: leave the order to the file system. Such a pipe cannot be restored.
        length: what ``len`` should say; unknown if negative.

    Raises:
        OSError: (when run) a folder is missing.

    State: the index in the folder's listing, and the listing's hash; another listing on restoring is a StateError.

    Example:
        >>> import os, tempfile
        >>> folder = tempfile.mkdtemp()
        >>> for name in ("b.csv", "a.csv", "c.txt"):
        ...     open(os.path.join(folder, name), "w").close()
        >>> from penstock.pipes import FileLister
        >>> [os.path.basename(path) for path in FileLister(folder, "*.csv")]
        ['a.csv', 'b.csv']
    """

    def __init__(
        self,
        root: str | Iterable[str] = ".",
        masks: str | Sequence[str] = "",
        *,
        recursive: bool = False,
        abspath: bool = False,
        non_deterministic: bool = False,
        length: int = -1,
    ) -> None:
        if isinstance(root, str):
            root = [root]
        self.datapipe: IterDataPipe[str] = root if isinstance(root, IterDataPipe) else IterableWrapper(root)
        self.masks = masks
        self.recursive = recursive
        self.abspath = abspath
        self.non_deterministic = non_deterministic
        self.length = length
        self._listed: dict[str, list[str]] = {}

    def __len__(self) -> int:
        if self.length < 0:
            raise no_length(self)
        return self.length

    def frozen(self) -> FileLister:
        if not isinstance(self.datapipe, IterableWrapper):
            return self
        copied = copy.copy(self)
        copied._listed = {root: self._list(root) for root in self.datapipe.iterable}
        return copied

    def holds(self) -> Any:
        found = [path.removeprefix(root) for root, paths in self._listed.items() for path in paths]
        return [len(found), zlib.crc32("\n".join(found).encode(errors="replace"))] if self._listed else None

    def build(self, ctx: Context, state: State = None) -> Stream[str]:
        name = ctx.name(self)
        return nested_parts(
            self, self.datapipe, lambda root, place: _Listing(self._list(root), place, name), ctx, state
        )

    def _list(self, root: str) -> list[str]:
        return self._listed[root] if root in self._listed else list(self._paths(root))

    def _paths(self, root: str) -> Iterator[str]:
        masks = [self.masks] if isinstance(self.masks, str) else list(self.masks)

        def wanted(file: str) -> bool:
            return masks in ([], [""]) or any(fnmatch(file, mask) for mask in masks)

        for folder, folders, files in _walked(root):
            if not self.non_deterministic:
                folders.sort()
                files.sort()
            for file in filter(wanted, files):
                path = f"{folder}/{file}" if "://" in folder else os.path.join(folder, file)
                yield os.path.abspath(path) if self.abspath and "://" not in path else path
            if not self.recursive:
                return


def _walked(root: str) -> Iterator[tuple[str, list[str], list[str]]]:
    if "://" in root:
        import fsspec

        fs, path = fsspec.core.url_to_fs(root)
        for folder, folders, files in fs.walk(path, on_error="raise"):
            yield fs.unstrip_protocol(folder), folders, files
    elif os.path.isfile(root):
        yield os.path.dirname(root), [], [os.path.basename(root)]
    else:

        def fail(error: OSError) -> None:
            raise error

        yield from os.walk(root, onerror=fail)


class _Listing:
    """A folder's listing, being given out."""

    def __init__(self, paths: list[str], place: Any, name: str) -> None:
        import hashlib

        digest = hashlib.blake2b("\0".join(paths).encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
        given, seen = place or (0, digest)
        if seen != digest:
            raise StateError(f"{name!r} lists other files than when the state was saved")
        stream = sequence_stream(paths, given)
        self.it = stream.it
        self.tell = lambda: [stream.state(), digest]
