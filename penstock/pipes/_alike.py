"""Arrays of one length, by rows, and whether those of several files have the same columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from penstock.core.errors import DecodeError
from penstock.core.pipe import IterDataPipe
from penstock.pipes.wrapper import IterableWrapper

__all__ = ["Alike", "Rows", "check_like"]

# Steps that may stand between a list of arrays and its reader.
_KEPT: Final = {
    *("shuffle", "sharding_filter", "sharding_round_robin_dispatch", "prefetch", "header", "cycle", "repeat"),
    *("list_zarr_chunks", "list_npy_rows"),
}


class Rows(Protocol):
    """Arrays of one length, by rows.

    Attributes:
        url: what they are called in messages.
        names: those of the columns; None where it is one array that is not one of several.
        name: what the column is called where there is no other name for it.
        length: the number of rows.
        span: how many rows a span has, but for the last.
        kinds: of each array, the dtype and the shape of a row, by name; of one by itself by an empty one.
    """

    @property
    def url(self) -> str: ...
    @property
    def names(self) -> tuple[str, ...] | None: ...
    @property
    def name(self) -> str: ...
    @property
    def length(self) -> int: ...
    @property
    def span(self) -> int: ...
    @property
    def kinds(self) -> dict[str, tuple[Any, tuple[int, ...]]]: ...

    def read(self, start: int, stop: int) -> Any:
        """Return some rows: an array, or a dict of arrays, that nobody else has."""
        ...


class Alike:
    """What the first arrays have for columns, which others must have as well.

    These are the first of the list that a pipe reads from, whoever reads what of it; where there is no list, the first
    that the stream itself reads.

    Attributes:
        name: what the first of a list is called; None where there is no list, as the first that is read is another one
            after a restart.
    """

    def __init__(
        self,
        source: IterDataPipe[Any],
        opened: Callable[[Any], tuple[Any, Rows]],
        columns: Sequence[str] | None = None,
        column: str | None = None,
    ) -> None:
        self._source, self._opened = source, opened
        self._columns, self._column = columns, column
        self._first: Rows | None = None
        self.name: str | None = None

    def check(self, rows: Rows) -> None:
        """Raise DecodeError unless some arrays have the columns of the first."""
        if self._first is None:
            listed = self._listed()
            self.name = None if listed is None else listed.name
            self._first = listed or rows
        name = self._column or self._first.name
        if self._columns is not None and self._first.names is None and list(self._columns) != [name]:
            raise DecodeError(f"{self._first.url} has one column, {name!r}, and not {list(self._columns)}")
        check_like(rows, self._first)

    def _listed(self) -> Rows | None:
        source: Any = self._source
        while not isinstance(source, IterableWrapper) and len(source.sources) == 1 and source._functional_name in _KEPT:
            source = source.sources[0]
        if not isinstance(source, IterableWrapper) or not isinstance(source.iterable, (list, tuple)):
            return None
        for item in source.iterable:
            try:
                return self._opened(item[0] if isinstance(item, (tuple, list)) and len(item) == 3 else item)[1]
            except (DecodeError, OSError):  # it is named where it is read
                continue
            except TypeError:
                return None
        return None


def check_like(rows: Rows, first: Rows) -> None:
    """Raise DecodeError unless two have the same columns, in any order, of the same types."""
    if rows.kinds == first.kinds:
        return
    less = [f"no {_called(name)}" for name in first.kinds if name not in rows.kinds]
    more = [f"{_called(name)} as well" for name in rows.kinds if name not in first.kinds]
    changed = [
        f"{_called(name)} as {_said(rows.kinds[name])} and not {_said(kind)}"
        for name, kind in first.kinds.items()
        if name in rows.kinds and rows.kinds[name] != kind
    ]
    found = ", ".join([*less, *changed, *more][:20])
    raise DecodeError(f"{rows.url} has other columns than {first.url}, the first: {found}")


def _called(name: str) -> str:
    return repr(name) if name else "'' (an array by itself)"


def _said(kind: tuple[Any, Sequence[int]]) -> str:
    dtype, shape = kind
    return f"{dtype}{list(shape)}" if shape else str(dtype)
