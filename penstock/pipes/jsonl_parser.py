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
from penstock.pipes._lines import Lines, Marked, path_and_stream, unreadable, with_path
from penstock.pipes._nested import nested_parts


@functional_datapipe("parse_jsonl")
class JsonLinesParser(IterDataPipe[Any]):
    r"""Parse JSON lines: ``(path, handle)`` becomes the value of each line (functional name: ``parse_jsonl``).

    Empty lines are passed over. orjson is used where it is installed (``pip install 'penstock[orjson]'``); values are
    those of Python's json with it, too: integers of any size, NaN and Infinity.

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
        parse, marked = _parser()

        def values(path: str, lines: Lines) -> Iterator[Any]:
            if ctx.bad is None:
                return _parsed(parse, lines.it)
            return _one_by_one(path, lines, parse, ctx.bad, ctx.place(self))

        def open_part(item: Any, place: Any) -> _Part:
            path, stream = path_and_stream(item)
            return _Part(path, Lines(path, stream, place, None, marked), values, self.return_path)

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
        except (ValueError, RecursionError) as error:  # orjson's and json's decode errors are ValueErrors
            if isinstance(error, DecodeError):
                raise
            raise unreadable(path, f"line {lines.number}", error) from error
        finally:
            lines.close()


_Parse = Callable[[Iterator[Any]], tuple[Iterator[Any], Callable[[ValueError], Any]]]
"""Parses lines: returns their values, and what is given the error of one and returns its value, or raises."""


def _parser() -> tuple[_Parse, Marked | None]:
    """Return what parses lines, and what marks those that are of the standard library's scanner."""
    try:
        import orjson
    except ImportError:
        return lambda lines: (_scanned(lines), _raise), None
    from penstock.serialization.json_ints import has_wide

    def parse(lines: Iterator[Any]) -> tuple[Iterator[Any], Callable[[ValueError], Any]]:
        line: Any = None

        def each() -> Iterator[Any]:
            nonlocal line
            for line in lines:
                if not line.isspace():
                    yield line

        def again(error: ValueError) -> Any:
            """Read the line that orjson refuses: it is marked, has NaN or Infinity, or is bad."""
            if not isinstance(error, orjson.JSONDecodeError):
                raise error
            return next(_scanned(iter((line,))))

        return map(orjson.loads, each()), again  # the map goes on behind an error

    return parse, lambda text: _marked if has_wide(text) else None


def _raise(error: ValueError) -> Any:
    raise error


class _Bytes(bytes):
    """A line that orjson refuses, as it is of another class: it would make floats of long integers."""


class _Text(str):
    """The same as text."""


def _marked(line: Any) -> Any:
    return _Text(line) if isinstance(line, str) else _Bytes(line)


def _parsed(parse: _Parse, lines: Iterator[Any]) -> Iterator[Any]:
    values, again = parse(lines)
    while True:
        try:
            yield from values
            return
        except ValueError as error:
            value = again(error)
        yield value


def _scanned(lines: Iterator[Any]) -> Iterator[Any]:
    """Parse lines with the standard library's scanner, without the wrapping that `json.loads` puts around each call."""
    decoder: Any = json.JSONDecoder()
    scan = decoder.scan_once  # public by name, and not in typeshed
    for line in lines:
        if isinstance(line, bytes):
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


def _one_by_one(path: str, lines: Lines, parse: _Parse, bad: BadSamples, place: dict[str, Any]) -> Iterator[Any]:
    """Parse each line by itself, so that one may fail."""
    for line in lines.it:
        try:
            yield from _parsed(parse, iter((line,)))
        except (ValueError, RecursionError) as error:
            found = unreadable(path, f"line {lines.number}", error)
            yield Lossy(HOLE, [bad.loss(path, found, {**place, "line": lines.number})])
