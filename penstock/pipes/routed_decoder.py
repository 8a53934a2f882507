"""RoutedDecoder (``routed_decode``)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from penstock.core.context import Context
from penstock.core.errors import DecodeError
from penstock.core.pipe import ONE_TO_ONE, IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.pipes._columns import check_callable
from penstock.pipes._lines import is_damage, path_and_stream, unreadable
from penstock.pipes._streams import fresh

_TEXT = ("txt", "text", "transcript")
_NUMBER = ("cls", "cls2", "class", "count", "index", "inx", "id")
_JSON = ("json", "jsn")


@functional_datapipe("routed_decode")
class RoutedDecoder(IterDataPipe[tuple[str, Any]]):
    """Decode files by extension: ``(path, stream)`` becomes ``(path, value)`` (functional name: ``routed_decode``).

    Without handlers, text becomes str (``txt``, ``text``, ``transcript``), numbers int (``cls``, ``class``, ``count``,
    ``index``, ``id`` ...) and JSON what it says (``json``, ``jsn``). Nothing is executed: pickles stay bytes. torch's
    handlers can be given (``torch.utils.data.datapipes.utils.decoder.imagehandler("torch")``).

    Args:
        datapipe: pairs of a path and a binary stream or bytes.
        handlers: functions of an extension and bytes. The first result that is not None counts; bytes that no handler
            knows stay bytes.
        key_fn: makes a path what handlers get; what it ends in behind the last dot unless given.

    Raises:
        TypeError: a handler or ``key_fn`` cannot be called; or (when run) a stream of text.
        DecodeError: (when run) names a file that is damaged, or no text or JSON as its name says.

    State: none of its own.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> files = [("a.txt", b"hello"), ("a.cls", b"7"), ("a.json", b"[1]"), ("a.bin", b"x")]
        >>> list(IterableWrapper(files).routed_decode())
        [('a.txt', 'hello'), ('a.cls', 7), ('a.json', [1]), ('a.bin', b'x')]
    """

    arity = ONE_TO_ONE

    def __init__(
        self,
        datapipe: IterDataPipe[tuple[str, Any]],
        *handlers: Callable[[Any, bytes], Any],
        key_fn: Callable[[str], Any] | None = None,
    ) -> None:
        datapipe = check_source(self, datapipe)
        for function in (*handlers, *([key_fn] if key_fn is not None else [])):
            check_callable(function)
        self.datapipe = datapipe
        self.handlers = handlers
        self.key_fn = key_fn or _extension

    def __len__(self) -> int:
        return len(self.datapipe)

    def build(self, ctx: Context, state: State = None) -> Stream[tuple[str, Any]]:
        return ctx.each(self, self.datapipe, state, self._decoded)

    def _decoded(self, item: Any) -> tuple[str, Any]:
        path, data = path_and_stream(item)
        if hasattr(data, "read"):
            data = _read(path, data)
        if not isinstance(data, (bytes, bytearray)):
            raise TypeError(f"{path}: routed_decode needs bytes, but got {type(data).__name__}")
        key = self.key_fn(path)
        if not self.handlers:
            return path, _basic(path, key, data)
        results = (handler(key, bytes(data)) for handler in self.handlers)
        return path, next((result for result in results if result is not None), data)


def _extension(path: str) -> str:
    return os.path.splitext(path)[1][1:]


def _read(path: str, stream: Any) -> Any:
    file = fresh(stream)
    try:
        return file.read()
    except Exception as error:
        if is_damage(error):
            raise unreadable(path, "the file", error) from error
        raise
    finally:
        file.close()


def _basic(path: str, key: str, data: bytes | bytearray) -> Any:
    try:
        if key in _TEXT:
            return data.decode("utf-8")
        if key in _JSON:
            return json.loads(data)
    except ValueError as error:
        raise DecodeError(f"{path}: {type(error).__name__}: {error}") from error
    if key in _NUMBER:
        try:
            return int(data)
        except ValueError:  # as torch has it: not a number, then bytes
            pass
    return data
