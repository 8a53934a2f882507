"""OnDiskCacheHolder (``on_disk_cache``) and EndOnDiskCacheHolder (``end_caching``): work that is done once, into files.

What stands between the two is the *section*: it makes files of an item (downloads a URL, unpacks an archive)::

    source -> on_disk_cache -> read_from_http -> ... -> end_caching -> paths
              `------------------ the section -------------------'

The end pipe does the work. It takes the source's items one by one and yields the paths of each one's files, in the
source's order, whether they were there or had to be made: neither the order nor the state depends on what was cached.

An item is cached where all its files are there and pass the checks. If it is not, the end pipe takes the item's lock,
looks again (somebody may have made them meanwhile), and runs the section over this one item: it builds the section's
last pipe in a context of its own, in which the holder's stream is that item alone. Each (name, data) that the section
yields goes into a temporary file beside its target. When the section has come to its end, they are all renamed. So a
file that is there is whole, and an item of several files is cached when the last one is in place.

    not cached --lock--> still not cached --section--> temporary files --rename--> cached, lock removed
                 |                                         | a crash: the kernel drops the lock, and whoever
                 `--> made by another process              v comes next writes over the temporary files

The lock is an advisory one (`penstock.pipes._file_lock`), which the kernel releases when its process dies.

Which files a section makes may be known only when it has run (the members of an archive). Then a list of them, one path
a line, is left beside the declared path, as ``<path>.torchdata_list``: torchdata's name and form, so its caches serve.
The list is renamed behind the files that only it names, and ahead of the declared ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal, TypeVar

from penstock.core.context import Context
from penstock.core.pipe import IterDataPipe, Pipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.pipes._columns import check_callable
from penstock.pipes._file_lock import locked
from penstock.pipes._files_of_item import FilesOfItem, Rules
from penstock.pipes._nested import nested

T = TypeVar("T")

_MODES = {"w", "wb", "wt", "b", "t", "bw", "tw"}


@functional_datapipe("on_disk_cache")
class OnDiskCacheHolder(IterDataPipe[T]):
    """Begin a section whose results are kept in files, up to ``end_caching`` (functional name: ``on_disk_cache``).

    In the section an item is what it is in the source; it is seen only where its files are missing.

    Args:
        source_datapipe: the source.
        filepath_fn: returns the path of an item's file, or a list, tuple or generator of paths; without it the item is
            the path.
        hash_dict: the hexadecimal digests of files, by path. A file that has one and does not match is made anew.
        hash_type: ``"sha256"`` or ``"md5"``.
        extra_check_fn: tells of a path whether its file is as it should be; if not, it is made anew.

    Raises:
        ValueError: another ``hash_type``.
        RuntimeError: (when run) no ``end_caching`` follows.

    State: none of its own.

    Example:
        >>> import os, tempfile
        >>> from penstock.pipes import IterableWrapper
        >>> folder, made = tempfile.TemporaryDirectory(), []
        >>> def slow(x):
        ...     made.append(x)
        ...     return x, str(x) * 3
        >>> def path(x):
        ...     return os.path.join(folder.name, f"{x}.txt")
        >>> pipe = IterableWrapper([1, 2]).on_disk_cache(path).map(slow).end_caching("w", same_filepath_fn=True)
        >>> [os.path.basename(p) for p in pipe], [os.path.basename(p) for p in pipe], made
        (['1.txt', '2.txt'], ['1.txt', '2.txt'], [1, 2])
        >>> folder.cleanup()
    """

    def __init__(
        self,
        source_datapipe: IterDataPipe[T],
        filepath_fn: Callable[[Any], Any] | None = None,
        hash_dict: Mapping[str, str] | None = None,
        hash_type: str = "sha256",
        extra_check_fn: Callable[[str], bool] | None = None,
    ) -> None:
        source_datapipe = check_source(self, source_datapipe)
        for function in (filepath_fn, extra_check_fn):
            if function is not None:
                check_callable(function)
        if hash_dict is not None and hash_type not in ("sha256", "md5"):
            raise ValueError(f"Invalid hash_type requested, should be one of ('sha256', 'md5'), but got {hash_type!r}")
        self.datapipe = source_datapipe
        self.filepath_fn = filepath_fn
        self.hash_dict = hash_dict
        self.hash_type: Literal["sha256", "md5"] = "md5" if hash_type == "md5" else "sha256"
        self.extra_check_fn = extra_check_fn

    def build(self, ctx: Context, state: State = None) -> Stream[T]:
        item = ctx.shared.get(("on_disk_cache", ctx.name(self)))
        if item is None:
            raise RuntimeError("Please call `end_caching()` before iteration: `on_disk_cache` has no end.")
        return Stream(iter(item), lambda: None)


@functional_datapipe("end_caching")
class EndOnDiskCacheHolder(IterDataPipe[str]):
    """End a section that began with ``on_disk_cache``: yields the paths of files (functional name: ``end_caching``).

    The section's items are (name, data), where data is bytes, text, or a stream of either. What it makes of one of the
    source's items is written to files; where they are there already, it does not run.

    Args:
        datapipe: the end of the section.
        mode: how files are written: ``"wb"``, ``"w"``, ``"t"`` and the like. Text is written as UTF-8.
        filepath_fn: returns the path for a name; without it the name is the path.
        same_filepath_fn: use that of ``on_disk_cache``.
        skip_read: write data as it is, and don't read from it.
        timeout: how many seconds to wait for another process that is making the same file.

    Raises:
        ValueError: both ``filepath_fn`` and ``same_filepath_fn``, or an unknown ``mode``.
        RuntimeError: there is no ``on_disk_cache``, or it has an end already; or (when run) the section makes no file
            for a path that was declared, or one that does not match its hash.
        TimeoutError: (when run) another process takes longer than ``timeout``.

    State: the source's state ahead of the item, and how many of its paths have been given.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from penstock.pipes import IterableWrapper
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     source = IterableWrapper([str(Path(folder, "a")), str(Path(folder, "b"))])
        ...     cached = source.on_disk_cache().map(lambda path: (path, Path(path).name * 4)).end_caching("w")
        ...     [Path(path).read_text() for path in cached]
        ['aaaa', 'bbbb']
    """

    def __init__(
        self,
        datapipe: IterDataPipe[Any],
        mode: str = "wb",
        filepath_fn: Callable[[Any], Any] | None = None,
        *,
        same_filepath_fn: bool = False,
        skip_read: bool = False,
        timeout: float = 300,
    ) -> None:
        datapipe = check_source(self, datapipe)
        if filepath_fn is not None:
            if same_filepath_fn:
                raise ValueError("`filepath_fn` is mutually exclusive with `same_filepath_fn`")
            check_callable(filepath_fn)
        if mode not in _MODES:
            raise ValueError(f"mode must be one of {sorted(_MODES)}, but got {mode!r}")
        _holder(datapipe)
        self.datapipe = datapipe
        self.mode = mode
        self.filepath_fn = filepath_fn
        self.same_filepath_fn = same_filepath_fn
        self.skip_read = skip_read
        self.timeout = timeout

    def build(self, ctx: Context, state: State = None) -> Stream[str]:
        holder = _holder(self.datapipe)
        key = ("on_disk_cache", ctx.name(holder))
        target = holder.filepath_fn if self.same_filepath_fn else self.filepath_fn
        rules = Rules(holder.hash_dict, holder.hash_type, holder.extra_check_fn, self.skip_read)

        def run(item: Any) -> Iterator[tuple[Any, Any]]:
            section = replace(ctx, shared={key: (item,)}).build(self.datapipe)
            try:
                for name, data in section.it:
                    yield (name if target is None else target(name)), data
            finally:
                section.close()

        def expand(item: Any) -> list[str]:
            files = FilesOfItem(item, _paths(item, holder.filepath_fn), rules)
            if (paths := files.cached()) is None:
                with locked(files.paths[0], self.timeout, lambda: files.cached() is not None):
                    paths = files.cached()
                    if paths is None:
                        paths = files.make(run(item))
            return paths

        return nested(self, holder.datapipe, expand, ctx, state)


def _paths(item: Any, filepath_fn: Callable[[Any], Any] | None) -> list[str]:
    import os

    paths = item if filepath_fn is None else filepath_fn(item)
    several: Iterable[Any] = [paths] if isinstance(paths, (str, os.PathLike)) else paths
    if isinstance(several, (bytes, Mapping)) or not isinstance(several, Iterable):
        raise TypeError(f"on_disk_cache expects the path of an item's file, or several, but got {paths!r}")
    found = [os.fspath(path) for path in several]
    if not found:
        raise ValueError(f"on_disk_cache got no path for the item {item!r}")
    return found


def _holder(datapipe: Pipe) -> OnDiskCacheHolder[Any]:
    """Return the pipe with which the section begins that ends in ``datapipe``."""
    todo, found, ended = [datapipe], {}, False
    seen: set[int] = set()
    while todo:
        pipe = todo.pop()
        if id(pipe) in seen:
            continue
        seen.add(id(pipe))
        if isinstance(pipe, OnDiskCacheHolder):
            found[id(pipe)] = pipe
        elif isinstance(pipe, EndOnDiskCacheHolder):
            ended = True
        else:
            todo.extend(pipe.sources)
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        raise RuntimeError(f"`end_caching` ends one `OnDiskCacheHolder`, but {len(found)} lead to it")
    if ended:
        raise RuntimeError("`end_caching` can only be invoked once after `OnDiskCacheHolder`")
    raise RuntimeError("Expected `OnDiskCacheHolder` existing in pipeline when `end_caching` is invoked")
