"""HttpReader (``read_from_http``), GDriveReader (``read_from_gdrive``) and OnlineReader (``read_from_remote``)."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

from penstock.core.context import Context
from penstock.core.pipe import ONE_TO_ONE, OTHER, IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.pipes._http import HttpStream, answered, session


class _Reader(IterDataPipe[tuple[str, Any]]):
    def __init__(
        self, source_datapipe: IterDataPipe[str], timeout: float | None, skip_on_error: bool, kwargs: dict[str, Any]
    ) -> None:
        source_datapipe = check_source(self, source_datapipe)
        if timeout is not None and timeout <= 0:
            raise ValueError(f"timeout must be positive, or None, got {timeout}")
        self.source_datapipe = source_datapipe
        self.timeout = timeout
        self.skip_on_error = skip_on_error
        self.kwargs = kwargs
        self.arity = OTHER if skip_on_error else ONE_TO_ONE

    def __len__(self) -> int:
        return len(self.source_datapipe)

    def build(self, ctx: Context, state: State = None) -> Stream[tuple[str, Any]]:
        if self.skip_on_error:
            up = ctx.build(self.source_datapipe, state)
            return up.onward(self._without_errors(up.it))
        return ctx.each(self, self.source_datapipe, state, self._get)

    def _get(self, url: str) -> tuple[str, Any]:
        raise NotImplementedError

    def _without_errors(self, urls: Iterator[str]) -> Iterator[tuple[str, Any]]:
        for url in urls:
            try:
                found = self._get(url)
            except (OSError, RuntimeError) as error:
                warnings.warn(f"{error}, skipping...", stacklevel=2)
            else:
                yield found

    def _options(self) -> dict[str, Any]:
        return {**self.kwargs, "timeout": self.timeout}


@functional_datapipe("read_from_http")
class HttpReader(_Reader):
    """Read files over HTTP: ``url`` becomes ``(url, binary stream)`` (functional name: ``read_from_http``).

    Needs requests: ``pip install 'penstock[http]'``. A stream's content encoding is undone; it goes forward only.

    Args:
        source_datapipe: the URLs.
        timeout: how many seconds to wait for a connection, and for each part of an answer; for ever unless given.
        skip_on_error: warn about a URL that cannot be had, and go on; else it is an error.
        kwargs: those of ``requests.get`` (``headers``, ``auth``, ``params`` ...).

    Raises:
        ValueError: the timeout is not positive.
        OSError: (when run, or when a stream is read) names the URL; also for a body that ends too early.
        MissingExtra: (when run) requests is not installed.

    State: none of its own.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> len(IterableWrapper(["https://example.org/a", "https://example.org/b"]).read_from_http(timeout=10))
        2
    """

    def __init__(
        self,
        source_datapipe: IterDataPipe[str],
        timeout: float | None = None,
        skip_on_error: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(source_datapipe, timeout, skip_on_error, kwargs)

    def _get(self, url: str) -> tuple[str, Any]:
        return _from_http(url, self._options())


@functional_datapipe("read_from_gdrive")
class GDriveReader(_Reader):
    """Read files from Google Drive: ``url`` becomes ``(name, binary stream)`` (functional name: ``read_from_gdrive``).

    Needs requests: ``pip install 'penstock[http]'``. Links to share a file are taken, and the page that warns about
    large files is confirmed.

    Args:
        source_datapipe: the URLs.
        timeout: how many seconds to wait for a connection, and for each part of an answer; for ever unless given.
        skip_on_error: warn about a URL that cannot be had, and go on; else it is an error.
        kwargs: those of ``requests.get``.

    Raises:
        ValueError: the timeout is not positive.
        OSError: (when run, or when a stream is read) names the URL; also for a body that ends too early.
        RuntimeError: (when run) Google Drive answers with a page and not with a file: a quota is used up, say.
        MissingExtra: (when run) requests is not installed.

    State: none of its own.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> len(IterableWrapper(["https://drive.google.com/uc?id=abc"]).read_from_gdrive())
        1
    """

    def __init__(
        self,
        source_datapipe: IterDataPipe[str],
        timeout: float | None = None,
        skip_on_error: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(source_datapipe, timeout, skip_on_error, kwargs)

    def _get(self, url: str) -> tuple[str, Any]:
        return _from_google_drive(url, self._options())


@functional_datapipe("read_from_remote")
class OnlineReader(_Reader):
    """Read files over HTTP or from Google Drive, as each URL says (functional name: ``read_from_remote``).

    ``url`` becomes what `HttpReader` makes of it, or `GDriveReader` where it leads to Google Drive.

    Args:
        source_datapipe: the URLs.
        timeout: how many seconds to wait for a connection, and for each part of an answer; for ever unless given.
        skip_on_error: warn about a URL that cannot be had, and go on; else it is an error.
        kwargs: those of ``requests.get``.

    Raises:
        ValueError: the timeout is not positive.
        OSError: (when run, or when a stream is read) names the URL; also for a body that ends too early.
        MissingExtra: (when run) requests is not installed.

    State: none of its own.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> len(IterableWrapper(["https://example.org/a"]).read_from_remote())
        1
    """

    def __init__(
        self,
        source_datapipe: IterDataPipe[str],
        timeout: float | None = None,
        skip_on_error: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(source_datapipe, timeout, skip_on_error, kwargs)

    def _get(self, url: str) -> tuple[str, Any]:
        get = _from_google_drive if re.fullmatch(r"(drive|docs)\.google\.com", urlsplit(url).netloc) else _from_http
        return get(url, self._options())


def _from_http(url: str, options: dict[str, Any]) -> tuple[str, Any]:
    return url, HttpStream(url, options, answered(session(), url, options))


def _from_google_drive(url: str, options: dict[str, Any]) -> tuple[str, Any]:
    from email.message import Message

    from penstock.pipes._download_form import DownloadForm

    connection = session()
    source = _direct(url)
    response = answered(connection, source, options)
    if "content-disposition" not in response.headers:  # a page, and not the file
        page = response.text
        response.close()
        if "Quota exceeded" in page:
            connection.close()
            raise RuntimeError(f"Google drive link {url} is currently unavailable, because the quota was exceeded.")
        form = DownloadForm(page)
        source, fields = (urljoin(source, form.action), form.fields) if form.action else (source, {"confirm": "t"})
        tokens = [token for name, token in response.cookies.items() if name.startswith("download_warning")]
        fields |= {"confirm": tokens[-1]} if tokens else {}
        options = {**options, "params": {**(options.get("params") or {}), **fields}}
        response = answered(connection, source, options)
    found = Message()
    found["content-disposition"] = response.headers.get("content-disposition", "")
    name = found.get_filename()
    if name is None:
        response.close()
        connection.close()
        raise RuntimeError(
            f"Google Drive does not answer {url} with a file: headers don't contain content-disposition with a name. "
            "Is it shared with everyone who has the link?"
        )
    return name, HttpStream(source, options, response)


def _direct(url: str) -> str:
    """Return the link that downloads a file, for one that shows it."""
    parts = urlsplit(url)
    found = re.search(r"/file/d/([^/]+)", parts.path)
    ids = [found[1]] if found else parse_qs(parts.query).get("id") if parts.path == "/open" else None
    return f"{parts.scheme}://{parts.netloc}/uc?export=download&id={ids[0]}" if ids else url
