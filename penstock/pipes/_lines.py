"""The lines of a file, with a place that can be sought.

A file is read in blocks that end at a line's end; a place is the offset of a block, the number of lines taken from it,
and the number of lines ahead of it. A record that runs over several lines (a quoted CSV field) needs no care: between
two records, the lines taken are exactly those of whole records.
"""

from __future__ import annotations

import io
import locale
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import IO, Any

from penstock.core.bad import Lossy
from penstock.core.errors import DecodeError, StateError
from penstock.core.stream import consume, counted
from penstock.pipes.handle import StreamWrapper, open_binary

__all__ = ["Lines", "Marked", "is_damage", "path_and_stream", "unreadable", "with_path"]

_BLOCK_BYTES = 1 << 18
_LINES = 64  # of a stream that is no file of ours, looked at together

Marked = Callable[[bytes], Callable[[Any], Any] | None]


def unreadable(path: str, where: str, error: Exception) -> DecodeError:
    """Return the error for bytes of a named file that are not what they should be."""
    return DecodeError(f"{path}: {where}: {type(error).__name__}: {error}")


def is_damage(error: Exception) -> bool:
    """Whether an exception is how a decoder says that its bytes are not what they should be."""
    loaded: Any = sys.modules  # what raises an error of its own has been imported
    if isinstance(error, OSError):  # bz2's and gzip's complaints, and not the system's, or a network's
        own = type(error) is OSError and error.errno is None
        return own or ("gzip" in loaded and isinstance(error, loaded["gzip"].BadGzipFile))
    if isinstance(error, (EOFError, UnicodeError, zlib.error)):
        return True
    if "lzma" in loaded and isinstance(error, loaded["lzma"].LZMAError):
        return True
    return "zstandard" in loaded and isinstance(error, loaded["zstandard"].ZstdError)


def path_and_stream(item: Any) -> tuple[str, Any]:
    """Check that an item is what ``open_files`` yields: a path and something to read."""
    if not isinstance(item, tuple) or len(item) != 2:
        raise TypeError(f"a pair of a path and a stream is expected, but got {type(item).__name__}")
    return item


def with_path(path: str, value: Any) -> Any:
    """Return a record with the file that it is of, as ``return_path`` says; a hole says it by itself."""
    return value if type(value) is Lossy else (path, value)


class Lines:
    r"""Iterate over the lines of a stream, str or bytes.

    Args:
        path: names the file in errors.
        stream: a handle of ``open_files``, or anything that iterates over lines.
        place: where to begin; None for the start.
        text: None leaves lines of a binary file as bytes; else they are decoded by (encoding, errors, newline), where
            newline is io's: "" splits at every kind of line end and keeps it, None translates it, "\n" knows only
            that.
        marked: is given many lines at once, and returns None, or what makes of each of them what it is to be.
    """

    def __init__(
        self,
        path: str,
        stream: Any,
        place: list[int] | None,
        text: tuple[str, str, str | None] | None,
        marked: Marked | None = None,
    ) -> None:
        self._path = path
        self._marked = marked
        self._offset, skip, self._ahead = place or (0, 0, 0)
        self._taken: Callable[[], int] = lambda: skip
        self._file: Any = None
        self.head: Iterator[Any] | None = None  # of a stream that cannot be opened again: its lines, from the first on
        if isinstance(stream, StreamWrapper) and not stream.opened:
            if "b" not in stream.mode:
                text = (
                    stream.encoding or locale.getpreferredencoding(False),
                    "strict",
                    "" if text is not None and text[2] == "" else None,
                )
            if text is None or _newline_is_a_byte(text[0]):
                self._file = open_binary(stream.name, stream.compression)
                self.it = self._guarded(chain.from_iterable(self._blocks(self._file, text, skip)))
                return
            self._file = io.TextIOWrapper(open_binary(stream.name, stream.compression), *text)
        else:
            self._file = stream
        lines = _decoded(iter(self._file), text)
        self.head, self._taken = counted(lines if marked is None else chain.from_iterable(_seen(lines, marked)))
        self.it = self._guarded(self.head, skip)

    @property
    def number(self) -> int:
        """The number of lines taken so far, from the start of the file."""
        return self._ahead + self._taken()

    def tell(self) -> list[int]:
        return [self._offset, self._taken(), self._ahead]

    def close(self) -> None:
        if hasattr(self._file, "close"):
            self._file.close()

    def _guarded(self, lines: Iterator[Any], skip: int = 0) -> Iterator[Any]:
        try:
            if skip:
                consume(lines, skip - self._taken())
                self._check_passed(skip - self._taken())
            yield from lines
        except Exception as error:
            if is_damage(error):
                raise unreadable(self._path, f"behind line {self.number}", error) from error
            raise

    def _check_passed(self, left: int) -> None:
        if left > 0:
            raise StateError(f"{self._path} ends {left} lines ahead of its saved place: it is another file")

    def _blocks(self, file: IO[bytes], text: tuple[str, str, str | None] | None, skip: int) -> Iterator[Iterator[Any]]:
        at = self._offset
        if at:
            file.seek(at)
        while block := file.read(_BLOCK_BYTES):
            if not block.endswith(b"\n"):
                block += file.readline()
            source: Any = (
                io.BytesIO(block) if text is None else io.StringIO(block.decode(text[0], text[1]), newline=text[2])
            )
            self._ahead += self._taken() if at != self._offset else 0
            lines, self._taken = counted(source)
            self._offset = at
            if skip:
                consume(lines, skip)
                skip -= self._taken()
            mark = None if self._marked is None else self._marked(block)
            yield lines if mark is None else map(mark, lines)
            at += len(block)
        self._check_passed(skip)


def _newline_is_a_byte(encoding: str) -> bool:
    return "\n".encode(encoding).endswith(b"\n") and len("\n\n".encode(encoding)) - len("\n".encode(encoding)) == 1


def _decoded(lines: Iterator[Any], text: tuple[str, str, str | None] | None) -> Iterator[Any]:
    if text is None:
        return lines
    encoding, errors, _ = text
    return (line.decode(encoding, errors) if isinstance(line, bytes) else line for line in lines)


def _seen(lines: Iterator[Any], marked: Marked) -> Iterator[Iterable[Any]]:
    """Yield lines, of which many are looked at together; fewer at first, so that the first one need not wait."""
    size = 1
    while True:
        group: list[Any] = []
        failed = None
        try:
            group.extend(islice(lines, size))  # what has come stays in it if the next one raises
        except Exception as error:
            failed = error
        text = bool(group) and isinstance(group[0], str)
        mark = marked("".join(group).encode(errors="replace") if text else b"".join(group))
        yield group if mark is None else map(mark, group)
        if failed is not None:
            raise failed
        if len(group) < size:
            return
        size = min(2 * size, _LINES)
