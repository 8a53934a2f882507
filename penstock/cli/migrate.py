"""``penstock migrate``: a diff, or changed files, and a list of what it cannot do."""

from __future__ import annotations

import difflib
import io
import sys
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

from penstock.cli.rewrite import Problem, rewritten

__all__ = ["migrate"]


def migrate(files: Iterable[str], *, write: bool) -> int:
    """Print the diff of each file, and what has no counterpart; change the files if ``write``. Return the status.

    The status is 0, or 2 where something was left to be done by hand.
    """
    problems = 0
    for path in _python_files(files):
        try:
            before, encoding = _read(path)
            after, found = rewritten(before)
        except (OSError, SyntaxError, UnicodeDecodeError) as error:
            line = getattr(error, "lineno", None) or 1
            before = after = ""
            found = [Problem(line, f"cannot be read: {error}")]
        if after != before:
            sys.stdout.writelines(_diff(path, before, after))
            if write:
                path.write_bytes(after.encode(encoding))
        for problem in found:
            print(f"{path}:{problem.line}: {problem.text}", file=sys.stderr)
        problems += len(found)
    if problems:
        print(f"{problems} left to be done by hand", file=sys.stderr)
    return 2 if problems else 0


def _python_files(names: Iterable[str]) -> Iterator[Path]:
    for name in names:
        path = Path(name)
        if path.is_dir():
            yield from sorted(path.rglob("*.py"))
        else:
            yield path


def _read(path: Path) -> tuple[str, str]:
    """Return a file's text, with its own line ends, and its encoding."""
    if path.suffix == ".ipynb":
        raise OSError("it is a notebook; change its imports by hand")
    data = path.read_bytes()
    encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    return data.decode(encoding), encoding


def _diff(path: Path, before: str, after: str) -> Iterator[str]:
    for line in difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), f"{path}", f"{path} (penstock)"
    ):
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
