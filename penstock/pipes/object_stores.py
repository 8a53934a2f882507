"""torchdata's pipes for S3 and AIStore: ``list_files_by_s3``, ``load_files_by_s3``, and the same ``_by_ais``.

They work through fsspec and s3fs (``pip install 'penstock[s3]'``). AIStore has a gateway for S3's protocol.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from functools import partial
from typing import Any

from penstock.core.context import Context
from penstock.core.pipe import ONE_TO_ONE, IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.files.remote import connected, opened
from penstock.pipes._streams import LazyFile
from penstock.pipes.lister import FileLister


class _ObjectLister(FileLister):
    _options: dict[str, Any]

    def _paths(self, root: str) -> Iterator[str]:
        yield from _listed(root, self._options)


class _ObjectLoader(IterDataPipe[tuple[str, Any]]):
    arity = ONE_TO_ONE
    _options: dict[str, Any]
    _open_options: dict[str, Any]

    def __init__(self, source_datapipe: IterDataPipe[str]) -> None:
        source_datapipe = check_source(self, source_datapipe)
        self.source_datapipe = source_datapipe

    def __len__(self) -> int:
        return len(self.source_datapipe)

    def build(self, ctx: Context, state: State = None) -> Stream[tuple[str, Any]]:
        return ctx.each(self, self.source_datapipe, state, self._opened)

    def _opened(self, url: object) -> tuple[str, Any]:
        if not isinstance(url, str):
            raise TypeError(f"a URL, of type str, is expected, but got {type(url).__name__}")
        options = _only_for_s3(url, self._options)
        return url, LazyFile(url, partial(opened, _as_s3(url), "rb", options, self._open_options))


@functional_datapipe("list_files_by_s3")
class S3FileLister(_ObjectLister):
    """List objects in S3: a URL's prefix becomes the URLs that begin so (functional name: ``list_files_by_s3``).

    It works through fsspec and s3fs: ``pip install 'penstock[s3]'``. Where and as whom to connect is found as boto3
    does (the environment, ``~/.aws``), or given in ``kwargs``.

    Args:
        source_datapipe: prefixes: ``s3://bucket``, ``s3://bucket/folder/``, ``s3://bucket/begin``.
        length: what ``len`` should say; unknown if negative.
        request_timeout_ms: how long to wait for a connection, and for an answer; s3fs's default if negative.
        region: of the bucket; as configured unless given.
        kwargs: options of `s3fs.S3FileSystem` (``key``, ``secret``, ``endpoint_url``, ``anon`` ...).

    Raises:
        MissingExtra: (when run) s3fs is not installed.

    State: the index in a prefix's listing, and the listing's hash; another listing on restoring is a StateError.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> urls = IterableWrapper(["s3://bucket/train/"]).list_files_by_s3(length=3, region="eu-central-1")
        >>> len(urls)
        3
    """

    def __init__(
        self,
        source_datapipe: IterDataPipe[str],
        length: int = -1,
        request_timeout_ms: int = -1,
        region: str = "",
        **kwargs: Any,
    ) -> None:
        source_datapipe = check_source(self, source_datapipe)
        super().__init__(source_datapipe, length=length)
        self._options = _s3_options(request_timeout_ms, region, kwargs)


@functional_datapipe("load_files_by_s3")
class S3FileLoader(_ObjectLoader):
    """Open objects in S3: ``url`` becomes ``(url, binary stream)`` (functional name: ``load_files_by_s3``).

    It works through fsspec and s3fs: ``pip install 'penstock[s3]'``. An object is read when its stream is.

    Args:
        source_datapipe: URLs: ``s3://bucket/key``.
        request_timeout_ms: how long to wait for a connection, and for an answer; s3fs's default if negative.
        region: of the bucket; as configured unless given.
        buffer_size: how many bytes to request at once; s3fs's default unless given.
        multi_part_download: accepted for torchdata's sake, and without effect.
        kwargs: options of `s3fs.S3FileSystem` (``key``, ``secret``, ``endpoint_url``, ``anon`` ...).

    Raises:
        MissingExtra: (when a stream is read) s3fs is not installed.

    State: none of its own.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> len(IterableWrapper(["s3://bucket/a", "s3://bucket/b"]).load_files_by_s3(region="eu-central-1"))
        2
    """

    def __init__(
        self,
        source_datapipe: IterDataPipe[str],
        request_timeout_ms: int = -1,
        region: str = "",
        buffer_size: int | None = None,
        multi_part_download: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(source_datapipe)
        self._options = _s3_options(request_timeout_ms, region, kwargs)
        self._open_options = {"block_size": buffer_size} if buffer_size else {}


@functional_datapipe("list_files_by_ais")
class AISFileLister(_ObjectLister):
    """List objects in AIStore: a URL's prefix becomes the URLs that begin so (functional name: ``list_files_by_ais``).

    It works through fsspec and s3fs (``pip install 'penstock[s3]'``), by AIStore's S3 gateway, ``url/s3``.

    Args:
        source_datapipe: prefixes: ``ais://bucket``, ``ais://bucket/folder/``; or of the stores behind AIStore
            (``aws://``, ``gcp://``, ``azure://``).
        url: where AIStore's proxy is: ``http://host:port``.
        length: what ``len`` should say; unknown if negative.
        kwargs: options of `s3fs.S3FileSystem`; without them, no credentials are sent.

    Raises:
        MissingExtra: (when run) s3fs is not installed.

    State: the index in a prefix's listing, and the listing's hash; another listing on restoring is a StateError.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> len(IterableWrapper(["ais://bucket/train/"]).list_files_by_ais("http://localhost:8080", length=3))
        3
    """

    def __init__(self, source_datapipe: IterDataPipe[str], url: str, length: int = -1, **kwargs: Any) -> None:
        source_datapipe = check_source(self, source_datapipe)
        super().__init__(source_datapipe, length=length)
        self._options = _ais_options(url, kwargs)


@functional_datapipe("load_files_by_ais")
class AISFileLoader(_ObjectLoader):
    """Open objects in AIStore: ``url`` becomes ``(url, binary stream)`` (functional name: ``load_files_by_ais``).

    It works through fsspec and s3fs (``pip install 'penstock[s3]'``), by AIStore's S3 gateway, ``url/s3``.

    Args:
        source_datapipe: URLs: ``ais://bucket/key``, or of the stores behind AIStore (``aws://``, ``gcp://``).
        url: where AIStore's proxy is: ``http://host:port``.
        length: accepted for torchdata's sake; the length is that of the source.
        kwargs: options of `s3fs.S3FileSystem`; without them, no credentials are sent.

    Raises:
        MissingExtra: (when a stream is read) s3fs is not installed.

    State: none of its own.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> len(IterableWrapper(["ais://bucket/a", "ais://bucket/b"]).load_files_by_ais("http://localhost:8080"))
        2
    """

    def __init__(self, source_datapipe: IterDataPipe[str], url: str, length: int = -1, **kwargs: Any) -> None:
        super().__init__(source_datapipe)
        self._options = _ais_options(url, kwargs)
        self._open_options = {}


def _s3_options(request_timeout_ms: int, region: str, kwargs: dict[str, Any]) -> dict[str, Any]:
    options = dict(kwargs)
    if region:
        options["client_kwargs"] = {"region_name": region, **options.get("client_kwargs", {})}
    if request_timeout_ms >= 0:
        seconds = request_timeout_ms / 1000
        limits = {"connect_timeout": seconds, "read_timeout": seconds}
        options["config_kwargs"] = {**limits, **options.get("config_kwargs", {})}
    return options


def _ais_options(url: str, kwargs: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(url, str):
        raise TypeError(f"url should be where AIStore is, of type str, but got {type(url).__name__}")
    address = url if "://" in url else f"http://{url}"
    return {"anon": True, "endpoint_url": f"{address.rstrip('/')}/s3", **kwargs}


# The provider in AIStore's URLs. Its gateway takes a bucket of any of them as an S3 bucket.
_PROVIDERS = ("ais://", "aws://", "gcp://", "azure://", "ht://")


def _as_s3(url: str) -> str:
    return next((f"s3://{url[len(p) :]}" for p in _PROVIDERS if url.startswith(p)), url)


def _only_for_s3(url: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a connection: they are s3fs's, and other file systems do not know them."""
    return options if _as_s3(url).startswith(("s3://", "s3a://")) else {}


def _listed(prefix: str, options: dict[str, Any]) -> list[str]:
    """Return the objects whose URLs begin with ``prefix``, in order."""
    inner = _as_s3(prefix)
    fs, path = connected(inner, _only_for_s3(prefix, options))
    protocol, separator, _ = prefix.partition("://")
    is_folder = prefix.endswith("/") or "/" not in path  # or a bucket: there are no beginnings to compare
    folder, begin = (path, "") if is_folder else posixpath.split(path)
    hint = {"prefix": begin} if begin and inner.startswith("s3") else {}  # the store need not list the rest
    found = [name for name in fs.find(folder, **hint) if posixpath.relpath(name, folder).startswith(begin)]
    return [f"{protocol}://{name}" if separator else name for name in sorted(found)]
