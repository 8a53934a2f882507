"""The command ``penstock``: ``penstock migrate FILE...`` rewrites a torchdata program's imports."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from penstock.cli.migrate import migrate

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, and return the exit status."""
    parser = argparse.ArgumentParser(prog="penstock", description="Input pipelines for PyTorch.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    migrating = commands.add_parser(
        "migrate",
        help="rewrite the imports of torchdata programs",
        description="Rewrite the imports of torchdata's and torch's DataPipes into penstock's, and print what would "
        "change as a diff. What has no counterpart is listed with its line, and the exit status is 2 then.",
    )
    migrating.add_argument("files", nargs="+", metavar="FILE", help="a Python file, or a folder of them")
    migrating.add_argument("--write", action="store_true", help="change the files")
    chosen = parser.parse_args(arguments)
    return migrate(chosen.files, write=chosen.write)
