"""Catalog: names and versions of sources."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, KeysView, Mapping
from os import PathLike, fspath
from typing import Any, TypeVar, cast

from penstock.catalog._dump import dump, write
from penstock.catalog._load import load, read, yaml_files
from penstock.catalog.entry import AbsentSource, CatalogSource, unknown
from penstock.catalog.plugins import plugin_sources
from penstock.catalog.source import CatalogKey, Source, check_version

__all__ = ["Catalog", "CatalogKey", "CatalogSource"]

Key = str | tuple[str, int]
Paths = str | PathLike[str] | Iterable[str | PathLike[str]]
D = TypeVar("D")


class Catalog:
    """Sources by name and version, in the order in which they came.

    ``catalog[name] = source`` adds a version: 1, or one more than the latest. ``catalog[name]`` is the latest version,
    ``catalog[name][2]`` or ``catalog[name, 2]`` that one, and each of them can be set and deleted. Iterating, and
    `items`, give pairs of a name and the latest version.

    Example:
        >>> catalog = Catalog()
        >>> catalog["train"] = Source("csv", {"url": "train.csv"})
        >>> catalog["train"] = Source("parquet", {"url": "train.parquet"})
        >>> catalog["train"].driver_name, catalog["train", 1].driver_name
        ('parquet', 'csv')
        >>> catalog["tain"].get_driver()
        Traceback (most recent call last):
        penstock.catalog.source.UnknownEntry: the catalog has no entry 'tain' (did you mean 'train'?); it has 'train'...
    """

    def __init__(self) -> None:
        self._sources: dict[str, dict[int, CatalogSource]] = {}

    # ------------------------------------------------------------------------------------------------------ entries

    def __getitem__(self, key: Key) -> CatalogSource:
        identifier, version = _split(key)
        versions = self._sources.get(identifier)
        if versions is not None:
            return next(iter(versions.values()))[version]
        if isinstance(key, str):
            return cast(CatalogSource, AbsentSource(identifier, self))  # so that a version of it can be set
        raise unknown(self, identifier)

    def __setitem__(self, key: Key, source: Source) -> None:
        if not isinstance(source, Source):
            raise TypeError(f"a catalog holds Sources, got {source!r} for {key!r}")
        identifier, version = _split(key)
        versions = self._sources.get(identifier, {})
        version = max(versions, default=0) + 1 if isinstance(key, str) else check_version(version)
        versions[version] = CatalogSource(source, identifier, self, version, versions)
        self._sources[identifier] = versions

    def __delitem__(self, key: Key) -> None:
        identifier, _ = _split(key)
        if identifier not in self._sources:
            raise unknown(self, identifier)
        versions = self._sources[identifier]
        if not isinstance(key, str):
            del versions[self[key].version]
        if isinstance(key, str) or not versions:
            del self._sources[identifier]

    def __contains__(self, key: object) -> bool:
        identifier, version = _split(cast(Key, key))
        return identifier in self._sources and (version == -1 or version in self._sources[identifier])

    def __iter__(self) -> Iterator[tuple[str, CatalogSource]]:
        return ((identifier, self[identifier]) for identifier in list(self._sources))

    def __len__(self) -> int:
        return len(self._sources)

    def items(self) -> Iterator[tuple[str, CatalogSource]]:
        """Return an iterator of names and their latest sources."""
        return iter(self)

    def keys(self) -> KeysView[str]:
        """Return the names."""
        return self._sources.keys()

    def values(self) -> Iterator[CatalogSource]:
        """Return an iterator of the latest sources."""
        return (source for _, source in self)

    def get(self, key: Key, default: D | None = None) -> CatalogSource | D | None:
        """Return a source, or ``default`` where there is none."""
        if key not in self:
            return default
        return self[key]

    @property
    def sources(self) -> dict[str, CatalogSource]:
        """The latest sources, by name; each has its other versions."""
        return dict(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Catalog) and self._sources == other._sources

    __hash__ = None  # type: ignore[assignment]  # it can change

    def __repr__(self) -> str:
        return f"Catalog({sorted(self._sources, key=str.lower)})"

    # ----------------------------------------------------------------------------------------------------- set algebra
    # Each makes a new catalog, whose entries are copies. What is compared is names with versions.

    def copy(self) -> Catalog:
        """Return a copy: neither can change the other's entries."""
        return _catalog(self._all())

    def slice(self, keys: Iterable[str]) -> Catalog:
        """Return these entries, with all of their versions.

        Raises:
            UnknownEntry: there is no such entry.
        """
        return _catalog(source for key in keys for source in self[key])

    def filter(self, predicate: Callable[[CatalogSource], Any]) -> Catalog:
        """Return the versions of sources for which ``predicate`` is true."""
        return _catalog(filter(predicate, self._all()))

    def union(self, other: Catalog) -> Catalog:
        """Return what is in either; where both have a version of a name, it is ``other``'s."""
        return _catalog([*self._all(), *other._all()])

    def join(self, other: Catalog) -> Catalog:
        """Return what is in either, where they have nothing in common.

        Raises:
            ValueError: both have a version of a name.
        """
        both = [CatalogKey(source.identifier, source.version) for source in self._all() if _key(source) in other]
        if both:
            names = ", ".join(f"{identifier!r} (version {version})" for identifier, version in both)
            raise ValueError(f"only catalogs that have nothing in common can be joined, and both have {names}")
        return self.union(other)

    def intersection(self, other: Catalog) -> Catalog:
        """Return the versions of names that both have.

        Raises:
            ValueError: they mean different sources by one of them.
        """
        both = [source for source in self._all() if _key(source) in other]
        for source in both:
            if source != other[_key(source)]:
                raise ValueError(
                    f"the two catalogs mean different sources by {source.identifier!r}, version {source.version}: "
                    f"{source} and {other[_key(source)]}"
                )
        return _catalog(both)

    def difference(self, other: Catalog) -> Catalog:
        """Return the versions of names that only one of them has (the symmetric difference, as in Squirrel)."""
        return _catalog(
            source for one, two in ((self, other), (other, self)) for source in one._all() if _key(source) not in two
        )

    def _all(self) -> Iterator[CatalogSource]:
        """Every version of every source."""
        return (source for versions in self._sources.values() for source in versions.values())

    # ------------------------------------------------------------------------------------------------ to and from files

    @staticmethod
    def from_plugins() -> Catalog:
        """Return the sources of the installed plugins, and those of `register_source`.

        A plugin that cannot be used is named in a warning.
        """
        catalog = Catalog()
        for key, source in plugin_sources():
            catalog[key] = source
        return catalog

    @staticmethod
    def from_dirs(paths: Paths, *, storage_options: Mapping[str, Any] | None = None) -> Catalog:
        """Return what is in the files ``*.yaml`` and ``*.yml`` of some folders.

        Args:
            paths: the folder, or several: local paths, or URLs that fsspec knows.
            storage_options: for fsspec.

        Raises:
            NotADirectoryError: there is no such folder.
            DecodeError: a file is not a catalog; the message names the file and the line.
            ValueError: two files have the same version of a name.
            MissingExtra: PyYAML is not installed.
        """
        found = [file for path in _paths(paths) for file in yaml_files(path, storage_options or {})]
        return Catalog.from_files(found, storage_options=storage_options)

    @staticmethod
    def from_files(paths: Paths, *, storage_options: Mapping[str, Any] | None = None) -> Catalog:
        """Return what is in YAML files, which must have nothing in common.

        Args:
            paths: the file, or several: local paths, or URLs that fsspec knows.
            storage_options: for fsspec.

        Raises:
            DecodeError: a file is not a catalog; the message names the file and the line.
            ValueError: two files have the same version of a name.
            MissingExtra: PyYAML is not installed.
        """
        catalog, origin = Catalog(), dict[CatalogKey, str]()
        for path in _paths(paths):
            for key, source in load(read(path, storage_options or {}), path):
                if key in catalog:
                    raise ValueError(f"{origin[key]} and {path} both have {key.identifier!r}, version {key.version}")
                catalog[key] = source
                origin[key] = path
        return catalog

    @staticmethod
    def from_str(cat: str) -> Catalog:
        """Return what is in a YAML text.

        Raises:
            DecodeError: it is not a catalog; the message names the line.
            MissingExtra: PyYAML is not installed.
        """
        catalog = Catalog()
        for key, source in load(cat, "<text>"):
            catalog[key] = source
        return catalog

    def to_file(self, path: str | PathLike[str], *, storage_options: Mapping[str, Any] | None = None) -> None:
        """Save it as YAML. The file is complete or not there at all; its folder is made.

        Args:
            path: a local path, or a URL that fsspec knows.
            storage_options: for fsspec.

        Raises:
            TypeError: an argument of a driver, or something in the metadata, cannot be written as YAML.
            MissingExtra: PyYAML is not installed.
        """
        text = self.to_str()
        write(fspath(path), text, storage_options or {})

    def to_str(self) -> str:
        """Return it as YAML.

        Raises:
            TypeError: an argument of a driver, or something in the metadata, cannot be written as YAML.
            MissingExtra: PyYAML is not installed.

        Example:
            >>> catalog = Catalog()
            >>> catalog["train"] = Source("csv", {"url": "train.csv"})
            >>> print(catalog.to_str())
            !YamlCatalog
            version: 0.4.0
            sources:
            - !YamlSource
              identifier: train
              driver_name: csv
              driver_kwargs:
                url: train.csv
              version: 1
              metadata: {}
            <BLANKLINE>
        """
        return dump((_key(source), source) for source in self._all())


def _catalog(sources: Iterable[CatalogSource]) -> Catalog:
    catalog = Catalog()
    for source in sources:
        catalog[_key(source)] = source
    return catalog


def _key(source: CatalogSource) -> CatalogKey:
    return CatalogKey(source.identifier, source.version)


def _split(key: Key) -> CatalogKey:
    if isinstance(key, str):
        return CatalogKey(key)
    try:
        identifier, version = key
        if isinstance(identifier, str):
            return CatalogKey(identifier, version)
    except (TypeError, ValueError):
        pass
    raise TypeError(f"a catalog's key is a name, or a name and a version; got {key!r}")


def _paths(paths: Paths) -> list[str]:
    return [fspath(paths)] if isinstance(paths, (str, PathLike)) else [fspath(path) for path in paths]
