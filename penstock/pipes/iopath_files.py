"""torchdata's pipes for iopath: ``list_files_by_iopath``, ``open_files_by_iopath``, ``save_by_iopath``.

They work through fsspec, which knows the same protocols and more; iopath is not needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from penstock.core.pipe import IterDataPipe
from penstock.core.registry import functional_datapipe
from penstock.pipes.fsspec_files import FSSpecFileLister, FSSpecFileOpener, FSSpecSaver


@functional_datapipe("list_files_by_iopath")
class IoPathFileLister(FSSpecFileLister):
    """List the files of a folder: a path or URL becomes its files' (functional name: ``list_files_by_iopath``).

    It works through fsspec, as `FSSpecFileLister` does: iopath is not needed.

    Args:
        root: folders, as URLs or local paths: one, an iterable or a pipe of them. A file stands for itself.
        masks: yield only the names that match one of these patterns.
        pathmgr: None. Handlers of iopath's cannot be used; a protocol is registered with
            ``fsspec.register_implementation``.

    State: the index in the folder's listing, and the listing's hash.

    Example:
        >>> import os, tempfile
        >>> from penstock.pipes import IoPathFileLister
        >>> folder = tempfile.mkdtemp()
        >>> open(os.path.join(folder, "a.txt"), "w").close()
        >>> [os.path.basename(path) for path in IoPathFileLister(folder)]
        ['a.txt']
    """

    def __init__(
        self, root: str | Iterable[str] | IterDataPipe[str], masks: str | Sequence[str] = "", *, pathmgr: None = None
    ) -> None:
        _check(pathmgr)
        super().__init__(root, masks)


@functional_datapipe("open_files_by_iopath")
class IoPathFileOpener(FSSpecFileOpener):
    """Open files: a path or URL becomes ``(path, stream)`` (functional name: ``open_files_by_iopath``).

    It works through fsspec, as `FSSpecFileOpener` does: iopath is not needed.

    Args:
        source_datapipe: URLs or local paths, a pipe or any iterable.
        mode: ``r``, ``t``, ``rt`` for text; ``b``, ``rb`` for bytes.
        pathmgr: None, as for `IoPathFileLister`.

    State: none of its own.

    Example:
        >>> import fsspec
        >>> from penstock.pipes import IoPathFileOpener
        >>> fsspec.filesystem("memory").pipe_file("/opened", b"hello")
        >>> [stream.read() for _, stream in IoPathFileOpener(["memory://opened"])]
        ['hello']
    """

    def __init__(self, source_datapipe: Iterable[str], mode: str = "r", pathmgr: None = None) -> None:
        _check(pathmgr)
        super().__init__(source_datapipe, mode)


@functional_datapipe("save_by_iopath")
class IoPathSaver(FSSpecSaver):
    """Save data to files: ``(meta, data)`` becomes the path or URL written (functional name: ``save_by_iopath``).

    It works through fsspec, as `FSSpecSaver` does: iopath is not needed.

    Args:
        source_datapipe: pairs of what tells the path, and bytes, text, or a stream of them.
        mode: ``w``, ``t``, ``wt`` for text; ``wb``, ``b`` for bytes; ``a``, ``ab`` append, where the file system can.
        filepath_fn: makes ``meta`` the path; ``meta`` itself is the path unless given.
        pathmgr: None, as for `IoPathFileLister`.

    State: none of its own.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> data = IterableWrapper([("a.txt", b"hello")])
        >>> list(data.save_by_iopath("wb", lambda name: f"memory://saved/{name}"))
        ['memory://saved/a.txt']
    """

    def __init__(
        self,
        source_datapipe: IterDataPipe[tuple[Any, Any]],
        mode: str = "w",
        filepath_fn: Callable[[Any], str] | None = None,
        *,
        pathmgr: None = None,
    ) -> None:
        _check(pathmgr)
        super().__init__(source_datapipe, mode, filepath_fn)


def _check(pathmgr: object) -> None:
    if pathmgr is not None:
        raise ValueError(
            f"pathmgr must be None, got {type(pathmgr).__name__}: files are read through fsspec; a protocol of your "
            "own is registered with fsspec.register_implementation"
        )
