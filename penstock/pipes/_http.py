"""Streams over HTTP."""

from __future__ import annotations

import io
from functools import partial
from typing import Any

from penstock.core.errors import MissingExtra
from penstock.pipes._streams import LazyFile, buffered

__all__ = ["HttpError", "HttpStream", "answered", "session"]


class HttpError(OSError):
    """Something went wrong on the way: the network's fault, and not that of the file."""


class HttpStream(LazyFile):
    """The body of an answer, with its content encoding (gzip, deflate) undone.

    An answer that ends too early is an OSError, and never a short file. A stream goes forward only: `seek` reads up to
    the place. A copy that another process gets asks again, when it is first read.

    Args:
        url: what was asked for.
        options: those of ``requests.get``.
        response: the answer; asked for when the stream is first read unless given.
    """

    def __init__(self, url: str, options: dict[str, Any], response: Any = None) -> None:
        super().__init__(url, partial(_body, url, options))
        self._options = options
        self._at = 0
        if response is not None:
            self._file = _reader(response)

    def _call(self, method: str, *arguments: Any) -> Any:
        import requests
        import urllib3

        try:
            result = super()._call(method, *arguments)
        except (urllib3.exceptions.HTTPError, requests.RequestException) as error:
            raise HttpError(f"Could not read {self.name} behind byte {self._at}: {error}") from error
        if method == "readlines":
            self._at += sum(map(len, result))
        elif isinstance(result, (bytes, int)) and method != "seekable":
            self._at += result if isinstance(result, int) else len(result)
        return result

    def seekable(self) -> bool:
        return False

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        target = offset + (self._at if whence == io.SEEK_CUR else 0)
        if whence == io.SEEK_END or target < self._at:
            raise io.UnsupportedOperation(f"{self.name}: a stream over HTTP goes forward only")
        while self._at < target and self.read(min(target - self._at, 1 << 16)):
            pass
        return self._at

    def __reduce__(self) -> tuple[Any, ...]:
        if self._at:
            raise TypeError(f"{self.name}: a stream over HTTP that has been read from cannot be pickled; read it first")
        return HttpStream, (self.name, self._options)


class _Response:
    """An answer as something to read from and to close."""

    def __init__(self, response: Any) -> None:
        self._response = response

    def read(self, size: int) -> bytes:
        data: bytes = self._response.raw.read(size, decode_content=True)
        return data

    def close(self) -> None:
        self._response.close()
        self._response.connection.close()  # the adapter, with its pool of one connection


def _reader(response: Any) -> io.BufferedReader:
    return buffered(_Response(response))


def _body(url: str, options: dict[str, Any]) -> io.BufferedReader:
    return _reader(answered(session(), url, options))


def session() -> Any:
    """Return a new session. MissingExtra without requests."""
    try:
        import requests
    except ImportError:
        raise MissingExtra("reading over HTTP needs requests: pip install 'penstock[http]'") from None
    return requests.Session()


def answered(connection: Any, url: str, options: dict[str, Any]) -> Any:
    """Return the answer to a request for ``url``, its body still to be read. OSError names the URL that fails."""
    import requests

    try:
        response = connection.get(url, stream=True, **options)
    except requests.RequestException as error:
        connection.close()
        raise HttpError(f"Could not get the file at {url}: {type(error).__name__}: {error}") from error
    if not response.ok:
        response.close()
        connection.close()
        raise HttpError(f"Could not get the file at {url}: HTTP status {response.status_code} {response.reason}")
    return response
