"""CSVParser (``parse_csv``) and CSVDictParser (``parse_csv_as_dict``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from penstock.core.context import Context
from penstock.core.errors import DecodeError
from penstock.core.pipe import IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.pipes._lines import Lines, path_and_stream, unreadable, with_path
from penstock.pipes._nested import nested_parts


class _CSVBase(IterDataPipe[Any]):
    """What both parsers share: the options, and reading rows with a place."""

    def __init__(
        self,
        source_datapipe: IterDataPipe[tuple[str, Any]],
        skip_lines: int,
        decode: bool,
        encoding: str,
        errors: str,
        return_path: bool,
        fmtparams: dict[str, Any],
    ) -> None:
        source_datapipe = check_source(self, source_datapipe)
        if skip_lines < 0:
            raise ValueError(f"'skip_lines' is required to be a positive integer, got {skip_lines}")
        self.source_datapipe = source_datapipe
        self.skip_lines = skip_lines
        self.decode = decode
        self.encoding = encoding
        self.errors = errors
        self.return_path = return_path
        self.fmtparams = fmtparams

    def _lines(self, path: str, stream: Any, place: Any) -> Lines:
        return Lines(path, stream, place, (self.encoding, self.errors, "") if self.decode else None)


@functional_datapipe("parse_csv")
class CSVParser(_CSVBase):
    r"""Parse CSV files: ``(path, handle)`` becomes a list of strings for each row (functional name: ``parse_csv``).

    Args:
        source_datapipe: pairs of a path and a stream, as ``open_files`` yields them.
        skip_lines: leave out so many lines at each file's start (a header).
        decode: decode the lines of a binary file.
        encoding: of those lines.
        errors: what to do about bytes that cannot be decoded, as in ``bytes.decode``.
        return_path: yield ``(path, row)``.
        as_tuple: rows as tuples.
        fmtparams: those of `csv.reader` (``delimiter``, ``quotechar`` ...).

    Raises:
        DecodeError: (when run) names the file and the line.

    State: the place in the file. Restoring seeks there; in a compressed file it reads up to there.

    Example:
        >>> import io
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper([("a.csv", io.StringIO("x,1\ny,2\n"))], deepcopy=False).parse_csv())
        [['x', '1'], ['y', '2']]
    """

    def __init__(
        self,
        source_datapipe: IterDataPipe[tuple[str, Any]],
        *,
        skip_lines: int = 0,
        decode: bool = True,
        encoding: str = "utf-8",
        errors: str = "ignore",
        return_path: bool = False,
        as_tuple: bool = False,
        **fmtparams: Any,
    ) -> None:
        super().__init__(source_datapipe, skip_lines, decode, encoding, errors, return_path, fmtparams)
        self.as_tuple = as_tuple

    def build(self, ctx: Context, state: State = None) -> Stream[Any]:
        def rows(path: str, lines: Lines, fresh: bool, _: Any) -> Iterator[Any]:
            found: Iterator[Any] = _reader(self, lines.it, fresh)
            return map(tuple, found) if self.as_tuple else found

        return nested_parts(self, self.source_datapipe, lambda item, place: _Part(self, item, place, rows), ctx, state)


@functional_datapipe("parse_csv_as_dict")
class CSVDictParser(_CSVBase):
    r"""Parse CSV files: ``(path, handle)`` becomes a dict for each row (functional name: ``parse_csv_as_dict``).

    The first row names the columns, unless ``fieldnames`` does.

    Args:
        source_datapipe: pairs of a path and a stream, as ``open_files`` yields them.
        skip_lines: leave out so many lines at each file's start.
        decode: decode the lines of a binary file.
        encoding: of those lines.
        errors: what to do about bytes that cannot be decoded, as in ``bytes.decode``.
        return_path: yield ``(path, row)``.
        fmtparams: those of `csv.DictReader`. Where ``restval`` is not given, a row that is too short is an error.

    Raises:
        DecodeError: (when run) names the file and the line.

    State: the place in the file, as in `CSVParser`; restoring also reads the first row again.

    Example:
        >>> import io
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper([("a.csv", io.StringIO("k,v\nx,1\n"))], deepcopy=False).parse_csv_as_dict())
        [{'k': 'x', 'v': '1'}]
    """

    def __init__(
        self,
        source_datapipe: IterDataPipe[tuple[str, Any]],
        *,
        skip_lines: int = 0,
        decode: bool = True,
        encoding: str = "utf-8",
        errors: str = "ignore",
        return_path: bool = False,
        **fmtparams: Any,
    ) -> None:
        super().__init__(source_datapipe, skip_lines, decode, encoding, errors, return_path, fmtparams)

    def build(self, ctx: Context, state: State = None) -> Stream[Any]:
        options = dict(self.fmtparams)
        restkey, fieldnames = options.pop("restkey", None), options.pop("fieldnames", None)
        strict = "restval" not in options
        restval = options.pop("restval", None)

        def rows(path: str, lines: Lines, fresh: bool, reopen: Callable[[], Lines]) -> Iterator[Any]:
            reader = _reader(self, lines.it, fresh, options)
            names = fieldnames
            if names is None and fresh:
                names = next(filter(None, reader), [])
            elif names is None and lines.head is not None:
                names = next(filter(None, _reader(self, lines.head, True, options)), [])
            elif names is None:
                start = reopen()
                names = next(filter(None, _reader(self, start.it, True, options)), [])
                start.close()
            width = len(names)

            def odd(row: list[str]) -> dict[Any, Any]:
                if len(row) < width and strict:
                    raise DecodeError(f"{path}: line {lines.number}: {len(row)} columns where {width} are named")
                return _uneven(names, row, restkey, restval)

            odd = ctx.guarded(self, odd)
            for row in reader:
                if len(row) == width:
                    yield dict(zip(names, row, strict=True))
                elif row:
                    yield odd(row)

        return nested_parts(self, self.source_datapipe, lambda item, place: _Part(self, item, place, rows), ctx, state)


def _uneven(names: list[str], row: list[str], restkey: Any, restval: Any) -> dict[Any, Any]:
    width = len(names)
    found: dict[Any, Any] = dict(zip(names, row + [restval] * (width - len(row)), strict=False))
    if len(row) > width:
        found[restkey] = row[width:]
    return found


def _reader(
    pipe: _CSVBase, lines: Iterator[Any], fresh: bool, options: dict[str, Any] | None = None
) -> Iterator[list[str]]:
    import csv

    it = islice(lines, pipe.skip_lines, None) if fresh and pipe.skip_lines else lines
    return csv.reader(it, **(pipe.fmtparams if options is None else options))


class _Part:
    """One file, being parsed."""

    def __init__(self, pipe: _CSVBase, item: Any, place: Any, rows: Callable[..., Iterator[Any]]) -> None:
        path, stream = path_and_stream(item)
        lines = pipe._lines(path, stream, place)
        self.tell = lines.tell
        self.it = self._run(
            pipe, path, lines, rows(path, lines, place is None, lambda: pipe._lines(path, stream, None))
        )

    def _run(self, pipe: _CSVBase, path: str, lines: Lines, rows: Iterator[Any]) -> Iterator[Any]:
        import csv

        try:
            if pipe.return_path:
                rows = (with_path(path, row) for row in rows)
            yield from rows
        except csv.Error as error:
            raise unreadable(path, f"line {lines.number}", error) from error
        finally:
            lines.close()
