"""The command ``penstock``.

``penstock migrate FILE...`` rewrites a program's imports; ``penstock catalog list|show|check FILE...`` says what is in
catalogs, and whether it can be read; ``penstock head URL`` shows what a data set is, and how it begins; ``penstock
convert SOURCE TARGET`` writes one in another format.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from penstock.cli.migrate import migrate

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, and return the exit status."""
    parser = argparse.ArgumentParser(prog="penstock", description="Input pipelines for PyTorch.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    migrating = commands.add_parser(
        "migrate",
        help="rewrite the imports of torchdata, Squirrel and Lance programs",
        description="Rewrite the imports of torchdata's and torch's DataPipes, of Squirrel and of Lance's datasets for "
        "torch into penstock's, and print what would "
        "change as a diff. What has no counterpart is listed with its line, and the exit status is 2 then.",
    )
    migrating.add_argument("files", nargs="+", metavar="FILE", help="a Python file, or a folder of them")
    migrating.add_argument("--write", action="store_true", help="change the files")
    migrating.set_defaults(run=lambda chosen: migrate(chosen.files, write=chosen.write))
    _add_catalog(commands)
    _add_head(commands)
    _add_convert(commands)
    chosen = parser.parse_args(arguments)
    status: int = chosen.run(chosen)
    return status


def _add_catalog(commands: Any) -> None:
    about = commands.add_parser("catalog", help="list, show and check the entries of catalogs")
    actions = about.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="print each entry's name, version, driver and URL")
    showing = actions.add_parser("show", help="print one entry whole")
    checking = actions.add_parser(
        "check",
        help="try each entry",
        description="Try each version of each entry: whether its driver exists and takes its arguments, and whether "
        "there is something at its URL. What fails is named, and the exit status is 1 then.",
    )
    showing.add_argument("entry", metavar="ENTRY", help="its name, or name@version")
    showing.add_argument("--secrets", action="store_true", help="print keys, tokens and passwords, which are *** else")
    for action in (listing, showing, checking):
        action.add_argument(
            "files", nargs="*", metavar="FILE", help="a YAML file, or a folder of them: a path or a URL"
        )
        action.add_argument("--plugins", action="store_true", help="what installed plugins have, too")
        action.set_defaults(run=_catalog)
    checking.add_argument("--read", action="store_true", help="read the first item of each entry")


def _add_head(commands: Any) -> None:
    from penstock.cli.formats import READABLE

    about = commands.add_parser(
        "head",
        help="show what a data set is, and its first rows",
        description="Print a data set's format, its columns and their types, how many rows and parts it has, its size, "
        "and its first rows. What cannot be read is named, and the exit status is 1 then.",
    )
    about.add_argument("url", metavar="URL", help="a file, a folder, or a pattern with *: a path or a URL")
    about.add_argument("-n", dest="rows", type=int, default=5, metavar="ROWS", help="how many rows to print (5)")
    about.add_argument("--format", choices=READABLE, help="what it is, where names and bytes do not tell")
    about.set_defaults(run=_head)


def _head(chosen: argparse.Namespace) -> int:
    from penstock.cli.head import head

    return head(chosen.url, rows=chosen.rows, format=chosen.format)


def _add_convert(commands: Any) -> None:
    from penstock.cli.formats import FORMATS, READABLE

    about = commands.add_parser(
        "convert",
        help="write a data set in another format",
        description="Read a data set, and write it in another format, in shards. The same command goes on where it was "
        "stopped: each shard is written whole, and _convert.json, in the folder that is written, says how far it has "
        "come, until all is there. The formats are told by names (data.csv, train-parquet), a shard's by its bytes.",
    )
    about.add_argument("source", metavar="SOURCE", help="a file, a folder, or a pattern with *: a path or a URL")
    about.add_argument("target", metavar="TARGET", help="a folder, which must not be there yet: a path or a URL")
    about.add_argument("--from", dest="from_format", choices=READABLE, help="the source's format")
    about.add_argument("--to", dest="to_format", choices=FORMATS, help="the target's format")
    about.add_argument("--shard-samples", type=int, default=1000, metavar="N", help="samples in a shard (1000)")
    about.add_argument("--compression", choices=("gzip", "zstd"), default="gzip", help="of shards (gzip)")
    about.add_argument("--restart", action="store_true", help="begin anew what was stopped")
    about.set_defaults(run=_convert)


def _convert(chosen: argparse.Namespace) -> int:
    from penstock.cli.convert import convert

    return convert(
        chosen.source,
        chosen.target,
        from_format=chosen.from_format,
        to_format=chosen.to_format,
        shard_samples=chosen.shard_samples,
        compression=chosen.compression,
        restart=chosen.restart,
    )


def _catalog(chosen: argparse.Namespace) -> int:
    from penstock.cli.catalog import check, list_entries, show  # and drivers, which the other commands don't need

    if chosen.action == "list":
        return list_entries(chosen.files, plugins=chosen.plugins)
    if chosen.action == "show":
        return show(chosen.entry, chosen.files, plugins=chosen.plugins, secrets=chosen.secrets)
    return check(chosen.files, read=chosen.read, plugins=chosen.plugins)
