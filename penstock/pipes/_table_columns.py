"""What tables of several files have in common: the list of files, the columns that are wanted, and their types."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, Final

from penstock.core.errors import DecodeError
from penstock.core.pipe import IterDataPipe
from penstock.pipes.wrapper import IterableWrapper

__all__ = ["FORMS", "check_columns", "check_same", "listed_urls", "span_of", "wanted_schema"]

FORMS: Final = ("numpy", "torch", "arrow")
# Steps that may stand between a list of files and its reader.
_KEEP_ITEMS: Final = {
    *("shuffle", "sharding_filter", "sharding_round_robin_dispatch", "prefetch", "header", "cycle", "repeat"),
    *("list_row_groups", "list_record_batches", "list_fragments"),
}


def span_of(item: Any) -> tuple[str, int, int | None]:
    """Return the file that an item of a source names, and which of its groups: from, and up to (None: the end)."""
    if isinstance(item, (tuple, list)) and len(item) == 3:
        url, start, stop = item
        return os.fspath(url), start, stop
    if isinstance(item, (str, os.PathLike)):
        return os.fspath(item), 0, None
    raise TypeError(f"a path or URL, or a span of groups (url, start, stop), is expected, but got {item!r:.200}")


def listed_urls(source: IterDataPipe[Any]) -> Iterator[str]:
    """Return the files of the list that a source reads from, as far as can be told without running anything."""
    while source._functional_name in _KEEP_ITEMS and len(source.sources) == 1:
        source = source.sources[0]  # type: ignore[assignment]  # those read from IterDataPipes
    if not isinstance(source, IterableWrapper) or not isinstance(source.iterable, (list, tuple)):
        return
    for item in source.iterable:
        try:
            yield span_of(item)[0]
        except TypeError:
            return


def check_columns(columns: Sequence[str] | None) -> list[str] | None:
    """Return the names of columns. TypeError for one name, ValueError for none and for one that comes twice."""
    if isinstance(columns, str):
        raise TypeError(f"columns must be a list of names, got {columns!r}")
    if columns is None:
        return None
    names = list(columns)
    if not names or len(set(names)) < len(names):
        raise ValueError(f"columns must be names that differ, at least one, got {names}")
    return names


def wanted_schema(url: str, schema: Any, columns: Sequence[str] | None) -> Any:
    """Return the schema of the columns that are wanted of a file. DecodeError where it has not each of them, once."""
    import pyarrow as pa

    names = schema.names if columns is None else columns
    twice = sorted({name for name in names if schema.names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise DecodeError(f"{url} has more than one column {', '.join(map(repr, twice))}")
    missing = [name for name in names if name not in schema.names]
    if missing:
        raise DecodeError(
            f"{url} has no column {', '.join(map(repr, missing))}; it has {', '.join(map(repr, schema.names[:50]))}"
        )
    return pa.schema([schema.field(name) for name in names], schema.metadata)


def check_same(url: str, found: Any, first: str | None, wanted: Any) -> None:
    """Raise DecodeError unless two files have the same columns, in any order."""
    types = {field.name: field.type for field in found}
    others = {field.name: field.type for field in wanted}
    if types == others:
        return
    less = [f"no {name!r}" for name in others if name not in types]
    more = [f"{name!r} as well" for name in types if name not in others]
    changed = [
        f"{name!r} as {types[name]} and not {kind}"
        for name, kind in others.items()
        if name in types and types[name] != kind
    ]
    said = ", ".join([*less, *changed, *more][:20])
    instead = "; name the `columns` that they have in common" if len(less) + len(changed) < len(others) else ""
    raise DecodeError(f"{url} has other columns than {first}, the first file: {said}{instead}")
