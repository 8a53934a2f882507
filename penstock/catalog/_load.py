"""YAML to sources. Whatever is wrong with a file is a DecodeError that names the file and the line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from penstock.catalog._dialect import VERSION, pyyaml, resolvers
from penstock.catalog.source import CatalogKey, Source
from penstock.core.errors import DecodeError

__all__ = ["load", "read", "yaml_files"]

_FIELDS = {"identifier", "driver_name", "driver_kwargs", "version", "metadata"}


def read(url: str, storage_options: Mapping[str, Any]) -> str:
    """Return the text of a file."""
    from penstock.files.remote import opened

    with opened(url, "rb", storage_options, {}) as file:
        data: bytes = file.read()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DecodeError(f"{url}, line {line}: it is not UTF-8: {error.reason}") from None


def yaml_files(url: str, storage_options: Mapping[str, Any]) -> list[str]:
    """Return the YAML files of a folder, in order."""
    from penstock.files.remote import connected, listed

    fs, path = connected(url, storage_options)
    if not fs.isdir(path):
        raise NotADirectoryError(f"{url} is not a folder")
    return listed(url, ["*.yaml", "*.yml"], storage_options)


def load(text: str, name: str) -> Iterator[tuple[CatalogKey, Source]]:
    """Yield the keys and sources of a YAML text.

    Raises:
        DecodeError: it is not a catalog. The message has the name and the line.
    """
    yaml = pyyaml()
    loader = None
    try:
        loader = _loader()(text)
        node = loader.get_single_node()
        if node is None or node.tag != "!YamlCatalog":
            line = 1 if node is None else _line(node)
            raise DecodeError(f"{name}, line {line}: this is not a catalog: it does not begin with !YamlCatalog")
        yield from _sources(loader, node, name)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}, line {mark.line + 1}, column {mark.column + 1}" if mark else name
        raise DecodeError(f"{where}: {', '.join(filter(None, (error.context, error.problem)))}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise DecodeError(f"{name}, line {line}: {error.reason}") from None
    except RecursionError:
        raise DecodeError(f"{name}: it is nested too deeply") from None
    finally:
        if loader is not None:
            loader.dispose()


def _sources(loader: Any, root: Any, name: str) -> Iterator[tuple[CatalogKey, Source]]:
    fields = _mapping(root, name, "!YamlCatalog", {"version", "sources"})
    if "version" in fields:
        _check_version(fields["version"], name)
    sources = fields.get("sources")
    if sources is None or (sources.id == "scalar" and loader.construct_object(sources) is None):
        return
    if sources.id != "sequence":
        raise DecodeError(f"{name}, line {_line(sources)}: sources must be a list")
    lines: dict[CatalogKey, int] = {}
    for node in sources.value:
        key, source = _source(loader, node, name)
        if key in lines:
            again = f"{key.identifier!r}, version {key.version}"
            raise DecodeError(f"{name}, line {_line(node)}: {again}, is in line {lines[key]} already")
        lines[key] = _line(node)
        yield key, source


def _source(loader: Any, node: Any, name: str) -> tuple[CatalogKey, Source]:
    where = f"{name}, line {_line(node)}"
    if node.tag != "!YamlSource":
        raise DecodeError(f"{where}: a source is tagged !YamlSource, and this is {node.tag}")
    fields = _mapping(node, name, "!YamlSource", _FIELDS)
    values = {}
    for field, value in fields.items():
        try:
            values[field] = loader.construct_object(value, deep=True)
        except (ValueError, OverflowError) as error:  # a date that is none
            raise DecodeError(f"{name}, line {_line(value)}: {field}: {error}") from None
    for field, kind, default in (
        ("identifier", str, None), ("driver_name", str, None), ("version", int, 1),
        ("driver_kwargs", dict, {}), ("metadata", dict, {}),
    ):  # fmt: skip
        if values.get(field) is None:
            if default is None:
                raise DecodeError(f"{where}: a !YamlSource must have {field}")
            values[field] = default
        if not isinstance(values[field], kind) or isinstance(values[field], bool):
            raise DecodeError(
                f"{name}, line {_line(fields[field])}: {field} must be {kind.__name__}, and is {values[field]!r}"
            )
    if values["version"] < 1:
        raise DecodeError(f"{name}, line {_line(fields['version'])}: a version is at least 1, got {values['version']}")
    if not all(isinstance(argument, str) for argument in values["driver_kwargs"]):
        raise DecodeError(f"{name}, line {_line(fields['driver_kwargs'])}: the names of arguments must be text")
    key = CatalogKey(values["identifier"], values["version"])
    return key, Source(values["driver_name"], values["driver_kwargs"], values["metadata"])


def _mapping(node: Any, name: str, tag: str, known: set[str]) -> dict[str, Any]:
    """The nodes of an object's fields."""
    if node.id != "mapping":
        raise DecodeError(f"{name}, line {_line(node)}: {tag} must be a mapping")
    fields: dict[str, Any] = {}
    for key, value in node.value:
        if key.value not in known if key.id == "scalar" else True:
            raise DecodeError(f"{name}, line {_line(key)}: {tag} has no field {key.value!r}; it has {_listed(known)}")
        if key.value in fields:
            raise DecodeError(f"{name}, line {_line(key)}: {key.value} is given twice")
        fields[key.value] = value
    return fields


def _check_version(node: Any, name: str) -> None:
    # As it is written: 0.20 is a number to YAML, and would be 0.2.
    found = re.match(r"(\d+)\.(\d+)", node.value) if node.id == "scalar" else None
    if found is None:
        raise DecodeError(f"{name}, line {_line(node)}: version must be one such as {VERSION}, got {node.value!r}")
    if (int(found[1]), int(found[2])) < (0, 4):
        raise DecodeError(
            f"{name}, line {_line(node)}: the catalog is of version {node.value}; what is older than 0.4 is not read"
        )


def _line(node: Any) -> int:
    return int(node.start_mark.line) + 1


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


@cache
def _loader() -> Any:
    yaml = pyyaml()

    # Not CSafeLoader, which is 8 times as fast and takes the process down (SIGSEGV) over a file that is nested deeply.
    class Loader(yaml.SafeLoader):  # type: ignore[misc, name-defined]
        yaml_implicit_resolvers = resolvers()

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen = set()
            for key, _ in node.value:
                if key.id == "scalar" and key.tag != "tag:yaml.org,2002:merge":
                    if (key.tag, key.value) in seen:
                        raise refusal(f"{key.value!r} is given twice", key)
                    seen.add((key.tag, key.value))
            return super().construct_mapping(node, deep)

    def refusal(problem: str, node: Any) -> Exception:
        error: Exception = yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return error

    def integer(loader: Any, node: Any) -> int:
        text = node.value.replace("_", "")
        digits = text.lstrip("+-")
        base = {"0b": 2, "0o": 8, "0x": 16}.get(digits[:2], 10)
        value = int(digits if base == 10 else digits[2:], base)
        return -value if text.startswith("-") else value

    def key(loader: Any, node: Any) -> CatalogKey:
        values = loader.construct_sequence(node) if node.id == "sequence" else []
        if [type(value) for value in values] not in ([str], [str, int]):
            raise refusal("a !CatalogKey is [name, version]", node)
        return CatalogKey(*values)

    def refuse(loader: Any, node: Any) -> Any:
        raise refusal(f"no object is made of {node.tag!r}; a catalog has plain values, and !CatalogKey", node)

    Loader.add_constructor(None, refuse)
    Loader.add_constructor("tag:yaml.org,2002:int", integer)
    Loader.add_constructor("!CatalogKey", key)
    return Loader
