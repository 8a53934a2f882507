"""Files through fsspec: ``list_files_by_fsspec``, ``open_files_by_fsspec``, ``save_by_fsspec``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from penstock.core.context import Context
from penstock.core.pipe import ONE_TO_ONE, IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.files.remote import listed, opened, saved
from penstock.files.saving import write_mode
from penstock.pipes._columns import check_callable
from penstock.pipes._streams import LazyFile
from penstock.pipes.lister import FileLister
from penstock.pipes.wrapper import IterableWrapper


@functional_datapipe("list_files_by_fsspec")
class FSSpecFileLister(FileLister):
    """List the files of a remote folder: ``url`` becomes its files' URLs (functional name: ``list_files_by_fsspec``).

    Files come in order, and folders in the folder are left out. A URL's protocol is kept in the names.

    Args:
        root: folders, as URLs of any protocol that fsspec knows or local paths: one, an iterable or a pipe of them. A
            file stands for itself.
        masks: yield only the names that match one of these patterns.
        kwargs: options of the connection (fsspec's storage options).

    Raises:
        OSError: (when run) a folder is missing.
        MissingExtra: (when run) the protocol needs a package that is not installed.

    State: the index in the folder's listing, and the listing's hash; another listing on restoring is a StateError.

    Example:
        >>> import fsspec
        >>> from penstock.pipes import FSSpecFileLister
        >>> files = fsspec.filesystem("memory")
        >>> for name in ("b", "a"):
        ...     files.pipe_file(f"/listed/{name}", b"")
        >>> list(FSSpecFileLister("memory://listed"))
        ['memory:///listed/a', 'memory:///listed/b']
    """

    def __init__(
        self, root: str | Iterable[str] | IterDataPipe[str], masks: str | Sequence[str] = "", **kwargs: Any
    ) -> None:
        super().__init__(root, masks)
        self.kwargs = kwargs

    def _paths(self, root: str) -> Iterator[str]:
        yield from listed(root, [self.masks] if isinstance(self.masks, str) else list(self.masks), self.kwargs)


@functional_datapipe("open_files_by_fsspec")
class FSSpecFileOpener(IterDataPipe[tuple[str, Any]]):
    """Open remote files: ``url`` becomes ``(url, stream)`` (functional name: ``open_files_by_fsspec``).

    A stream opens its file when it is first read. Bytes come as they are stored; ``kwargs_for_open`` may ask for
    ``{"compression": "infer"}``.

    Args:
        source_datapipe: URLs of any protocol that fsspec knows or local paths, a pipe or any iterable.
        mode: ``r``, ``t``, ``rt`` for text; ``b``, ``rb`` for bytes.
        kwargs_for_open: options of the file system's ``open``.
        kwargs: options of the connection (fsspec's storage options).

    Raises:
        ValueError: another mode.
        TypeError: (when run) a URL that is not a string.

    State: none of its own.

    Example:
        >>> import fsspec
        >>> from penstock.pipes import FSSpecFileOpener
        >>> fsspec.filesystem("memory").pipe_file("/opened", b"hello")
        >>> for url, stream in FSSpecFileOpener(["memory://opened"]):
        ...     print(url, stream.read())
        memory://opened hello
    """

    arity = ONE_TO_ONE

    def __init__(
        self,
        source_datapipe: Iterable[str],
        mode: str = "r",
        *,
        kwargs_for_open: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if mode not in ("b", "t", "r", "rb", "rt"):
            raise ValueError(f"Invalid mode {mode!r}: one of b, t, r, rb, rt")
        self.source_datapipe: IterDataPipe[str] = (
            source_datapipe if isinstance(source_datapipe, IterDataPipe) else IterableWrapper(source_datapipe)
        )
        self.mode = mode
        self.kwargs_for_open = kwargs_for_open
        self.kwargs = kwargs

    def __len__(self) -> int:
        return len(self.source_datapipe)

    def build(self, ctx: Context, state: State = None) -> Stream[tuple[str, Any]]:
        return ctx.each(self, self.source_datapipe, state, self._opened)

    def _opened(self, url: object) -> tuple[str, Any]:
        if not isinstance(url, str):
            raise TypeError(f"a URL or path, of type str, is expected, but got {type(url).__name__}")
        mode = "rb" if "b" in self.mode else "r"
        return url, LazyFile(url, partial(opened, url, mode, self.kwargs, self.kwargs_for_open or {}))


@functional_datapipe("save_by_fsspec")
class FSSpecSaver(IterDataPipe[str]):
    """Save data to remote files: ``(meta, data)`` becomes the URL written (functional name: ``save_by_fsspec``).

    A file has another name until it is complete, so a crash never leaves half of it. Folders are made as needed.

    Args:
        source_datapipe: pairs of what tells the URL, and bytes, text, or a stream of them.
        mode: ``w``, ``t``, ``wt`` for text; ``wb``, ``b`` for bytes; ``a``, ``ab`` append, where the file system can.
        filepath_fn: makes ``meta`` the URL; ``meta`` itself is the URL unless given.
        kwargs_for_open: options of the file system's ``open``.
        kwargs: options of the connection (fsspec's storage options).

    Raises:
        ValueError: another mode.
        TypeError: ``filepath_fn`` cannot be called; or (when run) data that does not fit the mode.

    State: none of its own.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> data = IterableWrapper([("a.txt", b"hello")])
        >>> list(data.save_by_fsspec("wb", lambda name: f"memory://saved/{name}"))
        ['memory://saved/a.txt']
    """

    arity = ONE_TO_ONE

    def __init__(
        self,
        source_datapipe: IterDataPipe[tuple[Any, Any]],
        mode: str = "w",
        filepath_fn: Callable[[Any], str] | None = None,
        *,
        kwargs_for_open: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        source_datapipe = check_source(self, source_datapipe)
        if filepath_fn is not None:
            check_callable(filepath_fn)
        self.source_datapipe = source_datapipe
        self.mode = mode
        self._mode = write_mode(mode)
        self.filepath_fn = filepath_fn
        self.kwargs_for_open = kwargs_for_open
        self.kwargs = kwargs

    def __len__(self) -> int:
        return len(self.source_datapipe)

    def build(self, ctx: Context, state: State = None) -> Stream[str]:
        return ctx.each(self, self.source_datapipe, state, lambda pair: self._saved(*pair))

    def _saved(self, meta: Any, data: Any) -> str:
        url: str = meta if self.filepath_fn is None else self.filepath_fn(meta)
        saved(url, data, self._mode, self.kwargs, self.kwargs_for_open or {})
        return url
