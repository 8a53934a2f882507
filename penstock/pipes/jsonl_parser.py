"""JsonLinesParser (``parse_jsonl``)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from penstock.core.bad import HOLE, BadSamples, Lossy
from penstock.core.context import Context
from penstock.core.errors import DecodeError
from penstock.core.pipe import IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.pipes._lines import Lines, path_and_stream, unreadable, with_path
from penstock.pipes._nested import nested_parts


@functional_datapipe("parse_jsonl")
class JsonLinesParser(IterDataPipe[Any]):
    r"""Parse JSON lines: ``(path, handle)`` becomes the value of each line (functional name: ``parse_jsonl``).

    Empty lines are passed over. orjson is used where it is installed (``pip install 'penstock[orjson]'``).

    Args:
        source_datapipe: pairs of a path and a stream, as ``open_files`` yields them; binary is faster than text.
        return_path: yield ``(path, value)``.

    Raises:
        DecodeError: (when run) names the file and the line.

    State: the place in the file. Restoring seeks there; in a compressed file it reads up to there.

    Example:
        >>> import io
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper([("a.jsonl", io.BytesIO(b'{"x": 1}\n[2]\n'))], deepcopy=False).parse_jsonl())
        [{'x': 1}, [2]]
    """

    def __init__(self, source_datapipe: IterDataPipe[tuple[str, Any]], *, return_path: bool = False) -> None:
        source_datapipe = check_source(self, source_datapipe)
        self.source_datapipe = source_datapipe
        self.return_path = return_path

    def build(self, ctx: Context, state: State = None) -> Stream[Any]:
        parse = _values()

        def values(path: str, lines: Lines) -> Iterator[Any]:
            return parse(lines.it) if ctx.bad is None else _one_by_one(path, lines, parse, ctx.bad, ctx.place(self))

        def open_part(item: Any, place: Any) -> _Part:
            path, stream = path_and_stream(item)
            return _Part(path, Lines(path, stream, place, None), values, self.return_path)

        return nested_parts(self, self.source_datapipe, open_part, ctx, state)


class _Part:
    """One file, being parsed."""

    def __init__(
        self, path: str, lines: Lines, values: Callable[[str, Lines], Iterator[Any]], return_path: bool
    ) -> None:
        self.tell = lines.tell
        self.it = self._run(path, lines, values(path, lines), return_path)

    def _run(self, path: str, lines: Lines, values: Iterator[Any], return_path: bool) -> Iterator[Any]:
        try:
            yield from (with_path(path, value) for value in values) if return_path else values
        except ValueError as error:  # orjson's and json's decode errors are ValueErrors
            if isinstance(error, DecodeError):
                raise
            raise unreadable(path, f"line {lines.number}", error) from error
        finally:
            lines.close()


def _values() -> Callable[[Iterator[Any]], Iterator[Any]]:
    """Return the function that parses lines."""
    try:
        import orjson
    except ImportError:
        return _scanned
    return lambda lines: map(orjson.loads, (line for line in lines if not line.isspace()))


def _scanned(lines: Iterator[Any]) -> Iterator[Any]:
    """Parse lines with the standard library's scanner, without the wrapping that `json.loads` puts around each call."""
    decoder: Any = json.JSONDecoder()
    scan = decoder.scan_once  # public by name, and not in typeshed
    for line in lines:
        if type(line) is bytes:
            line = line.decode()  # cheaper here than decoded by the block, which io keeps as UCS-4
        try:
            value, end = scan(line, 0)
        except StopIteration:
            if line.isspace():
                continue
            value = json.loads(line)  # leading blanks, or the standard library's own error
        else:
            if end != len(line) - 1 and line[end:].strip():
                raise json.JSONDecodeError("Extra data", line, end)
        yield value


def _one_by_one(
    path: str, lines: Lines, parse: Callable[[Iterator[Any]], Iterator[Any]], bad: BadSamples, place: dict[str, Any]
) -> Iterator[Any]:
    """Parse each line by itself, so that one may fail."""
    for line in lines.it:
        try:
            yield from parse(iter((line,)))
        except ValueError as error:
            found = unreadable(path, f"line {lines.number}", error)
            yield Lossy(HOLE, [bad.loss(path, found, {**place, "line": lines.number})])
