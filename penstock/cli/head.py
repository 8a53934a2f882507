"""``penstock head``: what a data set is, how large, and how it begins."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from datetime import date, time, timedelta
from itertools import islice
from typing import Any, Final

from penstock.cli._facts import Facts, facts_of, type_of
from penstock.cli.formats import FAULTS, Dataset, UnknownFormat, find, is_folder
from penstock.loader2 import DataLoader2

__all__ = ["head"]

_VALUE_WIDTH: Final = 40
_COUNTED_BYTES: Final = 64 << 20  # what is smaller is read through, where nothing else tells how many rows it has


def head(url: str, *, rows: int = 5, format: str | None = None) -> int:
    """Print a data set's format, schema, counts, size and first rows, and return the exit status.

    Args:
        url: a file, a folder, or a pattern with ``*``, at any place that fsspec knows.
        rows: how many rows to print.
        format: what it is, where names and bytes do not tell.
    """
    try:
        if rows < 0:
            raise ValueError(f"-n must be at least 0, got {rows}")
        found = _found(url, format)
        facts = facts_of(found)
        first = _first(found, max(rows, 0 if facts.schema else 1))
        count = facts.rows if facts.rows is not None or facts.size > _COUNTED_BYTES else _counted(found)
    except FAULTS as error:
        print(f"penstock head: {error}", file=sys.stderr)
        return 1
    print(url)
    print()
    _print_table(_lines(found, facts, count))
    print()
    _print_table([("column", "type"), *(facts.schema or _seen(first))])
    if rows and first:
        print()
        _print_rows(first[:rows])
    return 0


def _found(url: str, format: str | None) -> Dataset:
    """Return what is at a URL; the files in a folder where they are of no format that is known."""
    try:
        return find(url, format)
    except (UnknownFormat, FileNotFoundError):  # which are no data set, or lie in folders in it
        if format is not None or not is_folder(url):
            raise
        return find(url, "files")


def _first(found: Dataset, rows: int) -> list[Any]:
    loader: DataLoader2[Any]
    with DataLoader2(found.pipe()) as loader:
        return list(islice(loader, rows)) if rows else []


def _counted(found: Dataset) -> int:
    loader: DataLoader2[Any]
    with DataLoader2(found.pipe()) as loader:
        return sum(1 for _ in loader)


def _lines(found: Dataset, facts: Facts, count: int | None) -> list[tuple[str, str]]:
    said = "not known without reading all of it" if count is None else f"{count:,}"
    counts = [(name, f"{number:,}") for name, number in facts.counts.items()]
    return [("format", found.format), ("rows", said), *counts, ("size", _size(facts.size))]


def _size(count: int) -> str:
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit} ({count:,} bytes)"


def _seen(rows: Sequence[Any]) -> list[tuple[str, str]]:
    """Return the columns that some rows have, and of which types their first values are."""
    seen: dict[str, str] = {}
    for row in rows:
        for name, value in _as_dict(row).items():
            if seen.get(name, "NoneType") == "NoneType":
                seen[name] = type_of(value)
    return list(seen.items())


def _as_dict(row: Any) -> dict[str, Any]:
    return {str(name): value for name, value in row.items()} if isinstance(row, dict) else {"value": row}


def _print_table(lines: Sequence[Sequence[str]]) -> None:
    """Print lines of words, each under the one above."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip())


def _print_rows(rows: Sequence[Any]) -> None:
    """Print rows as a table, or below each other where that is wider than the terminal."""
    dicts = [_as_dict(row) for row in rows]
    names = list(dict.fromkeys(name for row in dicts for name in row))
    lines = [names, *([_shown(row[name]) if name in row else "" for name in names] for row in dicts)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    if sum(widths) + 2 * len(widths) <= shutil.get_terminal_size((100, 24)).columns:
        _print_table(lines)
        return
    for number, row in enumerate(dicts):
        print(f"row {number}")
        _print_table([(f"  {name}", _shown(value)) for name, value in row.items()])


def _shown(value: Any) -> str:
    """Return a value in one short line: an array as its type and shape."""
    if isinstance(value, (date, time, timedelta)) or (getattr(value, "shape", None) == () and value.dtype.kind in "mM"):
        value = str(value)
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return type_of(value)
    if isinstance(value, (bytes, bytearray)) and len(value) > _VALUE_WIDTH // 4:
        return f"{bytes(value[: _VALUE_WIDTH // 4])!r}... {len(value):,} bytes"
    text = value if isinstance(value, str) and value.isprintable() else repr(value)
    return text if len(text) <= _VALUE_WIDTH else f"{text[: _VALUE_WIDTH - 3]}..."
