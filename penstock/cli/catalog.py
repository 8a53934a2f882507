"""``penstock catalog``: what catalogs have, and whether it can be read."""

from __future__ import annotations

import inspect
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike
from typing import Any

from penstock.catalog import Catalog, CatalogKey, CatalogSource, Source, UnknownEntry
from penstock.core.errors import PenstockError
from penstock.drivers import Driver, FileDriver, SourceCombiner

__all__ = ["check", "list_entries", "show"]

_SECRET = re.compile(r"secret|token|passw|passphrase|credential|(^|_)key$", re.IGNORECASE)
_EITHER = inspect.Parameter.POSITIONAL_OR_KEYWORD


def list_entries(files: Sequence[str], *, plugins: bool = False) -> int:
    """Print each version of each entry: its name, version, driver and URL. Return the exit status."""
    try:
        catalog = _catalog(files, plugins=plugins)
    except (PenstockError, OSError, ValueError) as error:
        return _failed(error)
    rows = [
        (entry.identifier, str(entry.version), entry.driver_name, str(entry.driver_kwargs.get("url", "")))
        for entry in _entries(catalog)
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)] if rows else []
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    return 0


def show(name: str, files: Sequence[str], *, plugins: bool = False, secrets: bool = False) -> int:
    """Print an entry whole, as YAML: all of its versions, or the one of ``name@version``.

    Args:
        name: the entry's.
        files: the catalogs.
        plugins: also look among the entries of plugins.
        secrets: print keys, tokens and passwords among the driver's arguments as they are; else they are ``***``.

    Returns:
        The exit status.
    """
    try:
        catalog = _catalog(files, plugins=plugins)
        identifier, _, version = name.rpartition("@")
        if name not in catalog and identifier and version.isdecimal():
            found = catalog[CatalogKey(identifier, int(version))]
            one = Catalog()
            one[identifier, found.version] = found
        else:
            one = catalog.slice([name])
        print((one if secrets else _masked(one)).to_str(), end="")
    except (PenstockError, OSError, ValueError, TypeError) as error:
        return _failed(error)
    return 0


def check(files: Sequence[str], *, read: bool = False, plugins: bool = False) -> int:
    """Print for each entry whether it can be used: its driver, the driver's arguments, and what the URL names.

    Args:
        files: the catalogs.
        read: also read the first item of each.
        plugins: also check the entries of plugins.

    Returns:
        The exit status: 1 where anything cannot be used.
    """
    failed = 0
    catalog = Catalog.from_plugins() if plugins else Catalog()
    for file in files:
        try:
            catalog = catalog.join(_catalog([file]))
        except (PenstockError, OSError, ValueError) as error:
            print(f"FAILED  {file}: {_described(error)}")
            failed += 1
    entries = list(_entries(catalog))
    for entry in entries:
        name = f"{entry.identifier}, version {entry.version} ({entry.driver_name})"
        try:
            _try(entry, read=read)
        except Exception as error:  # whatever a driver, a file system or a file may raise
            print(f"FAILED  {name}: {_described(error)}")
            failed += 1
        else:
            print(f"ok      {name}")
    if failed:
        print(f"{failed} of {len(entries) + len(files)} files and entries failed", file=sys.stderr)
    return 1 if failed else 0


def _try(entry: CatalogSource, *, read: bool) -> None:
    driver = entry.get_driver()
    _check_arguments(type(driver), entry.driver_kwargs)
    if isinstance(driver, SourceCombiner):
        for subset in driver.subsets:
            driver.get_source(subset).get_driver()
    url = getattr(driver, "url", None)
    if isinstance(url, (str, PathLike)):
        _reach(str(url), getattr(driver, "storage_options", None) or {})
    if read:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is found is said here
            _read(driver)


def _check_arguments(cls: type[Driver], given: Iterable[str]) -> None:
    """Find arguments that a driver of penstock's own would not look at; of others one cannot tell."""
    if not cls.__module__.startswith("penstock."):
        return
    every = [
        parameter
        for base in cls.__mro__
        if "__init__" in vars(base)
        for parameter in inspect.signature(vars(base)["__init__"]).parameters.values()
    ]
    known = {parameter.name for parameter in every if parameter.kind in (_EITHER, inspect.Parameter.KEYWORD_ONLY)}
    unknown = sorted(set(given) - known)
    if unknown:
        takes = ", ".join(sorted(known - {"self", "catalog"}))
        raise TypeError(f"{cls.__name__} takes no argument {' or '.join(map(repr, unknown))}; it takes {takes}")


def _reach(url: str, storage_options: dict[str, Any]) -> None:
    from fsspec.utils import stringify_path

    from penstock.files.remote import connected

    fs, path = connected(stringify_path(url), storage_options)
    if any(character in path for character in "*?[") and fs.glob(path):
        return
    if fs.isdir(path):
        fs.ls(path, detail=False)
    elif not fs.exists(path):
        raise FileNotFoundError(f"there is nothing at {url}")


def _read(driver: Driver) -> None:
    get_iter = getattr(driver, "get_iter", None)
    if get_iter is not None:
        items = iter(get_iter())
        try:
            for _ in items:
                return
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()
        raise ValueError("it has no items")
    if isinstance(driver, FileDriver):
        with driver.open("rb") as file:
            file.read(1)


def _catalog(files: Iterable[str], *, plugins: bool = False) -> Catalog:
    """What is in files and folders of files."""
    from penstock.files.remote import connected

    found: list[str] = []
    catalog = Catalog.from_plugins() if plugins else Catalog()
    for file in files:
        fs, path = connected(file, {})
        if fs.isdir(path):
            catalog = catalog.join(Catalog.from_dirs(file))
        else:
            found.append(file)
    return catalog.join(Catalog.from_files(found))


def _masked(catalog: Catalog) -> Catalog:
    """The catalog with ``***`` for each text whose name says that it is a secret."""
    found = Catalog()
    for entry in _entries(catalog):
        kwargs = {name: _without_secrets(name, value) for name, value in entry.driver_kwargs.items()}
        found[entry.identifier, entry.version] = Source(entry.driver_name, kwargs, entry.metadata)
    return found


def _without_secrets(name: Any, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {inner: _without_secrets(inner, each) for inner, each in value.items()}
    return "***" if isinstance(value, str) and _SECRET.search(str(name)) else value


def _entries(catalog: Catalog) -> Iterator[CatalogSource]:
    for _, latest in sorted(catalog.items(), key=lambda pair: pair[0]):
        yield from latest


def _described(error: BaseException) -> str:
    text = f"{error}" if isinstance(error, PenstockError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())


def _failed(error: BaseException) -> int:
    print(_described(error) if not isinstance(error, UnknownEntry) else error, file=sys.stderr)
    return 1
