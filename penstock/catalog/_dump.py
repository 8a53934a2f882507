"""Sources to YAML."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from functools import cache
from os import PathLike, fspath
from typing import Any

from penstock.catalog._dialect import VERSION, pyyaml, resolvers
from penstock.catalog.source import CatalogKey, Source

__all__ = ["dump", "write"]


def write(url: str, text: str, storage_options: Mapping[str, Any]) -> None:
    """Write a text to a file, which is there whole or not at all."""
    from penstock.files.remote import connected
    from penstock.files.saving import put

    put(*connected(url, storage_options), text.encode())


def dump(sources: Iterable[tuple[CatalogKey, Source]]) -> str:
    """Return sources as YAML.

    Raises:
        TypeError: something cannot be written as YAML. The message says what, and where it is.
    """
    yaml = pyyaml()
    entries = []
    for key, source in sources:
        where = f"the entry {key.identifier!r}, version {key.version}: "
        fields = {
            "identifier": key.identifier,
            "driver_name": source.driver_name,
            "driver_kwargs": _plain(source.driver_kwargs, where + "driver_kwargs"),
            "version": key.version,
            "metadata": _plain(source.metadata, where + "metadata"),
        }
        entries.append(_Tagged("!YamlSource", fields))
    root = _Tagged("!YamlCatalog", {"version": VERSION, "sources": entries})
    text: str = yaml.dump(root, Dumper=_dumper(), sort_keys=False, allow_unicode=True, width=1000)
    return text


class _Tagged:
    def __init__(self, tag: str, fields: dict[str, Any]) -> None:
        self.tag = tag
        self.fields = fields


def _plain(value: Any, where: str) -> Any:
    """What YAML can hold of a value: numpy's numbers become Python's, tuples become lists, and paths text."""
    if isinstance(value, CatalogKey):
        return value
    if isinstance(value, Mapping):
        return {_plain(key, where): _plain(below, f"{where}[{key!r}]") for key, below in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(below, f"{where}[{index}]") for index, below in enumerate(value)]
    if isinstance(value, (set, frozenset)):
        return {_plain(below, where) for below in value}
    if isinstance(value, PathLike):
        return str(fspath(value))
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.generic):
        value = value.item()
    if isinstance(value, bool):
        return value
    if isinstance(value, int):  # or a class of the user's that is derived from it
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return str(value)
    if value is None or isinstance(value, bytes) or type(value).__module__ == "datetime":
        return value
    raise TypeError(f"{where} is {value!r}, which cannot be written as YAML")


@cache
def _dumper() -> Any:
    yaml = pyyaml()

    old, new = yaml.SafeDumper.yaml_implicit_resolvers, resolvers()
    both = {first: [*old.get(first, []), *new.get(first, [])] for first in {*old, *new}}

    class Dumper(yaml.SafeDumper):  # type: ignore[misc, name-defined]
        # Text is quoted where one of the two versions would see anything else in it.
        yaml_implicit_resolvers = both

        def ignore_aliases(self, data: Any) -> bool:
            return True

    def tagged(dumper: Any, value: _Tagged) -> Any:
        return dumper.represent_mapping(value.tag, value.fields)

    def key(dumper: Any, value: CatalogKey) -> Any:
        return dumper.represent_sequence("!CatalogKey", list(value), flow_style=True)

    def text(dumper: Any, value: str) -> Any:
        # PyYAML writes these line ends as they are, and then reads them as blanks.
        style = '"' if any(end in value for end in "\x85\u2028\u2029") else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style)

    Dumper.add_representer(str, text)
    Dumper.add_representer(_Tagged, tagged)
    Dumper.add_representer(CatalogKey, key)
    return Dumper
