"""JsonParser (``parse_json_files``)."""

from __future__ import annotations

import json
from typing import Any

from penstock.core.context import Context
from penstock.core.errors import DecodeError
from penstock.core.pipe import ONE_TO_ONE, IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.pipes._lines import is_damage, unreadable
from penstock.pipes._streams import fresh, named_stream


@functional_datapipe("parse_json_files")
class JsonParser(IterDataPipe[tuple[str, Any]]):
    """Parse JSON files: ``(path, stream)`` becomes ``(path, value)`` (functional name: ``parse_json_files``).

    Args:
        source_datapipe: pairs of a path and a stream, of text or bytes.
        kwargs: those of `json.loads`.

    Raises:
        DecodeError: (when run) names the file. It is also the `json.JSONDecodeError` that says where in it.

    State: none of its own.

    Example:
        >>> import io
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper([("a.json", io.StringIO('{"x": [1, null]}'))], deepcopy=False).parse_json_files())
        [('a.json', {'x': [1, None]})]
    """

    arity = ONE_TO_ONE

    def __init__(self, source_datapipe: IterDataPipe[tuple[str, Any]], **kwargs: Any) -> None:
        source_datapipe = check_source(self, source_datapipe)
        self.source_datapipe = source_datapipe
        self.kwargs = kwargs

    def __len__(self) -> int:
        return len(self.source_datapipe)

    def build(self, ctx: Context, state: State = None) -> Stream[tuple[str, Any]]:
        return ctx.each(self, self.source_datapipe, state, lambda item: _parsed(item, self.kwargs))


class _BadJson(DecodeError, json.JSONDecodeError):
    """Both what penstock raises for bad bytes in a file, and what `json` does."""

    def __init__(self, path: str, message: str, document: str, position: int) -> None:
        json.JSONDecodeError.__init__(self, f"{path}: {message}", document, position)
        self._arguments = path, message, document, position

    def __reduce__(self) -> tuple[Any, ...]:
        return _BadJson, self._arguments


def _parsed(item: Any, options: dict[str, Any]) -> tuple[str, Any]:
    path, stream = named_stream(item)
    file = fresh(stream, binary=False)
    try:
        return path, json.loads(file.read(), **options)
    except json.JSONDecodeError as error:
        raise _BadJson(path, error.msg, error.doc, error.pos) from error
    except Exception as error:
        if is_damage(error):
            raise unreadable(path, "the file", error) from error
        raise
    finally:
        file.close()
