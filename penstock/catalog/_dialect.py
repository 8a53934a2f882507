"""The YAML of catalogs.

The format is Squirrel's, since its version 0.4: one document, tagged ``!YamlCatalog``, of ``!YamlSource``s; a driver's
arguments may have ``!CatalogKey``s in them. No other tag makes an object: nothing that is read is executed.

Squirrel reads and writes YAML 1.2, where ``on`` and ``no`` are text and ``1e3`` is a number; PyYAML follows 1.1, where
they are True, False and text. So reading has rules of its own here, those of 1.2, and what is written is quoted where
either version would see anything but text in it: our files mean the same to both.
"""

from __future__ import annotations

import re
from typing import Any

from penstock.core.errors import MissingExtra

__all__ = ["VERSION", "pyyaml", "resolvers"]

# What is written, and the oldest that is read. The format has not changed since; Squirrel refuses what is older.
VERSION = "0.4.0"

# How text without quotes is read: tag, pattern, and the characters that it may begin with.
_PLAIN = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    (
        "float",
        r"[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
        r"|[-+]?\.[0-9_]+(?:[eE][-+][0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
    ("int", r"[-+]?(?:0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*)", "-+0123456789"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
    (
        "timestamp",
        r"[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}"
        r"(?:\.[0-9]*)?(?:[ \t]*(?:Z|[-+][0-9]{1,2}(?::[0-9]{2})?))?",
        "0123456789",
    ),
)


def resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """Return how text without quotes is read: by its first character, the tags and patterns to try."""
    found: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for tag, pattern, first in _PLAIN:
        for character in first:
            found.setdefault(character, []).append((f"tag:yaml.org,2002:{tag}", re.compile(f"(?:{pattern})\\Z")))
    return found


def pyyaml() -> Any:
    """Return the package ``yaml``."""
    try:
        import yaml
    except ImportError:
        raise MissingExtra("a catalog's files need PyYAML: pip install 'penstock[catalog]'") from None
    return yaml
