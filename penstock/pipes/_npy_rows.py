"""The rows of ``.npy`` and ``.npz`` files: one array, an archive of arrays, or files that are the columns of a table.

A span is what a few megabytes have: nothing in such a file ends anywhere, so any number of rows will do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, Final

from penstock.core.errors import DecodeError
from penstock.files.remote import connected, listed
from penstock.pipes._batches import as_columns, selected
from penstock.pipes._npy_file import Keep, NpyArray, Whole, array_of, is_npz, members_of

__all__ = ["NpyRows", "npy_opener"]

_SPAN_BYTES: Final = 4 << 20
_SPAN_ROWS: Final = 1 << 16
_OPENED: Final = 256  # of how many tables a reader keeps the heads


class NpyRows:
    """Arrays of one length, from ``.npy`` or ``.npz`` files.

    An array without an axis is a constant: each row has it, and by itself it is one row.

    Args:
        source: a ``.npy`` or ``.npz`` file, a folder of ``.npy`` files, or a dict that names the file of each column.
        columns: the names of those that are wanted; all unless given.
        column: what an array by itself is called; as its file unless given.
        span: how many rows a span has.
        options: of the connection.
        whole: where arrays are kept that have to be read whole.

    Attributes:
        url: what the source is called.
        names: the columns; None where it is one array without fields.
        name: the file, without its end.
        length: the number of rows.
        span: how many rows a span has, but for the last.
        kinds: of each array, the dtype and the shape of a row.
    """

    def __init__(
        self,
        source: Any,
        columns: Sequence[str] | None,
        column: str | None,
        span: int | None,
        options: Mapping[str, Any],
        whole: Whole,
    ) -> None:
        self.url = str(source)
        stem = "" if isinstance(source, dict) else os.path.splitext(source.rstrip("/").rpartition("/")[2])[0]
        self.name = column or stem
        keep = partial(whole.get, self.url)
        found = _arrays(source, options, keep, columns)
        self._arrays: dict[str, NpyArray] = found
        self._single = next(iter(found)) if list(found) == [""] else None
        self._wanted: list[str] | None = None
        fields = found[""].dtype.names if self._single is not None else None
        if self._single is None:
            self.names: tuple[str, ...] | None = tuple(found)
        else:
            self.names = fields  # what an array without any is called, the first file says
            if columns is not None and fields is not None:
                self._wanted = _checked(self.url, columns, fields)
                self.names = tuple(self._wanted)
        lengths = {name: array.shape[0] for name, array in found.items() if array.shape}
        if len(set(lengths.values())) > 1:
            raise DecodeError(f"{self.url}: the columns of a table must have one length, but these have {lengths}")
        self.length: int = next(iter(lengths.values()), 1)
        self.kinds = {name: (array.dtype, array.shape[1:]) for name, array in found.items()}
        row_bytes = sum(array.row_bytes for array in found.values())
        self.span = span or max(1, min(_SPAN_ROWS, _SPAN_BYTES // max(row_bytes, 1)))

    def read(self, start: int, stop: int) -> Any:
        """Return some rows: an array, or a dict of arrays, that nobody else has."""
        return self._given(lambda array: array.rows(start, stop))

    def mapped(self) -> dict[str, Any] | None:
        """Return all rows as views of local files; None where they cannot be mapped."""
        import numpy as np

        if any(array.path is None for array in self._arrays.values()):
            return None

        def view(array: NpyArray) -> Any:
            values = array.mapped()
            return values if array.shape else np.broadcast_to(values, (self.length,))

        return as_columns(self._given(view), self.name, copy=False)

    def _given(self, values: Callable[[NpyArray], Any]) -> Any:
        if self._single is None:
            return {name: values(array) for name, array in self._arrays.items()}
        found = values(self._arrays[""])
        return found if self._wanted is None else selected(as_columns(found, self.name, copy=False), self._wanted)


def npy_opener(
    columns: Sequence[str] | None, column: str | None, span: int | None, options: Mapping[str, Any]
) -> Callable[[Any], tuple[Any, NpyRows]]:
    """Return what makes a file, a folder or a dict of files its name, as spans have it, and the rows in it."""
    whole = Whole()

    @lru_cache(_OPENED)
    def rows(key: Any) -> NpyRows:
        return NpyRows(dict(key) if isinstance(key, tuple) else key, columns, column, span, options, whole)

    def opened(item: Any) -> tuple[Any, NpyRows]:
        if isinstance(item, os.PathLike):
            item = os.fspath(item)
        if isinstance(item, Mapping) and item and all(isinstance(name, str) for name in item):
            found = {name: os.fspath(url) for name, url in item.items()}
            return found, rows(tuple(found.items()))
        if isinstance(item, str):
            return item, rows(item)
        raise TypeError(
            f"a path or URL, or a dict of columns' names and paths, is expected, but got {item!r:.200} of type "
            f"{type(item).__name__}"
        )

    return opened


def _arrays(source: Any, options: Mapping[str, Any], keep: Keep, columns: Sequence[str] | None) -> dict[str, NpyArray]:
    """Return arrays by name; one that is alone has none."""
    if isinstance(source, str):
        if not source.endswith((".npy", ".npz")) and _is_folder(source, options):
            urls = listed(source.rstrip("/"), ["*.npy"], options)
            if not urls:
                raise DecodeError(f"{source}: the folder has no .npy files")
            source = {url.rpartition("/")[2].removesuffix(".npy"): url for url in urls}
        elif is_npz(source, options):
            members = members_of(source, options, keep)
            if not members:
                raise DecodeError(f"{source} has no arrays")
            names = members if columns is None else _checked(source, columns, members)
            return {name: members[name]() for name in names}
        else:
            return {"": array_of(source, options, keep)}
    names = source if columns is None else _checked(str(source), columns, source)
    return {name: array_of(source[name], options, keep) for name in names}


def _checked(url: str, columns: Sequence[str], there: Any) -> list[str]:
    missing = [name for name in columns if name not in there]
    if missing:
        has = ", ".join(map(repr, list(there)[:50]))
        raise DecodeError(f"{url} has no column {', '.join(map(repr, missing))}; it has {has}")
    return list(columns)


def _is_folder(url: str, options: Mapping[str, Any]) -> bool:
    fs, path = connected(url, options)
    return bool(fs.isdir(path))
