"""LineReader (``readlines``)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from penstock.core.context import Context
from penstock.core.pipe import IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.pipes._lines import Lines, path_and_stream
from penstock.pipes._nested import nested_parts


@functional_datapipe("readlines")
class LineReader(IterDataPipe[Any]):
    r"""Read files by lines: ``(path, handle)`` becomes ``(path, line)`` for each line (functional name: ``readlines``).

    Args:
        source_datapipe: pairs of a path and a stream, as ``open_files`` yields them.
        skip_lines: leave out so many lines at each file's start.
        strip_newline: take the line end off.
        decode: decode the lines of a binary file.
        encoding: of those lines.
        errors: what to do about bytes that cannot be decoded, as in ``bytes.decode``.
        return_path: yield pairs; else lines only.

    State: the place in the file. Restoring seeks there; in a compressed file it reads up to there.

    Example:
        >>> import io
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper([("a.txt", io.StringIO("x\ny\n"))], deepcopy=False).readlines())
        [('a.txt', 'x'), ('a.txt', 'y')]
    """

    def __init__(
        self,
        source_datapipe: IterDataPipe[tuple[str, Any]],
        *,
        skip_lines: int = 0,
        strip_newline: bool = True,
        decode: bool = False,
        encoding: str = "utf-8",
        errors: str = "ignore",
        return_path: bool = True,
    ) -> None:
        source_datapipe = check_source(self, source_datapipe)
        if skip_lines < 0:
            raise ValueError(f"'skip_lines' is required to be a positive integer, got {skip_lines}")
        self.source_datapipe = source_datapipe
        self.skip_lines = skip_lines
        self.strip_newline = strip_newline
        self.decode = decode
        self.encoding = encoding
        self.errors = errors
        self.return_path = return_path

    def build(self, ctx: Context, state: State = None) -> Stream[Any]:
        return nested_parts(self, self.source_datapipe, lambda item, place: _Part(self, item, place), ctx, state)


class _Part:
    def __init__(self, pipe: LineReader, item: Any, place: Any) -> None:
        path, stream = path_and_stream(item)
        text = (pipe.encoding, pipe.errors, "\n") if pipe.decode else None
        lines = Lines(path, stream, place, text)
        self.tell = lines.tell
        self.it = self._run(pipe, path, lines, fresh=place is None)

    def _run(self, pipe: LineReader, path: str, lines: Lines, *, fresh: bool) -> Iterator[Any]:
        try:
            it: Iterator[Any] = islice(lines.it, pipe.skip_lines, None) if fresh and pipe.skip_lines else lines.it
            if pipe.strip_newline:
                it = (line.rstrip("\r\n" if isinstance(line, str) else b"\r\n") for line in it)
            yield from ((path, line) for line in it) if pipe.return_path else it
        finally:
            lines.close()
