"""One version of a source in a catalog, and what stands for a name that a catalog does not have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NoReturn

from penstock.catalog.plugins import driver_class, plugin_names
from penstock.catalog.source import Source, UnknownEntry, check_version, copied

if TYPE_CHECKING:
    from penstock.catalog.catalog import Catalog
    from penstock.drivers import Driver

__all__ = ["AbsentSource", "CatalogSource", "unknown"]


class CatalogSource(Source):
    """A source in a catalog: it has a name, a version, and other versions beside it.

    ``source[version]`` is another version of it (-1 is the latest), ``source[version] = ...`` adds or replaces one,
    ``del source[version]`` removes one, ``version in source`` asks for one. Two of them are equal where name, version,
    driver, arguments and metadata are; their other versions do not count.

    Args:
        source: what it is made of. Its dicts are copied.
        identifier: its name.
        catalog: the catalog that it is in, which its driver is given.
        version: its version, from 1.
        versions: every version of it, this one too, by number.

    Example:
        >>> from penstock.catalog import Catalog, Source
        >>> catalog = Catalog()
        >>> catalog["train"] = Source("csv", {"url": "a.csv"})
        >>> catalog["train"] = Source("csv", {"url": "b.csv"})
        >>> catalog["train"].version, catalog["train"][1].driver_kwargs
        (2, {'url': 'a.csv'})
    """

    def __init__(
        self,
        source: Source,
        identifier: str,
        catalog: Catalog | None,
        version: int = 1,
        versions: dict[int, CatalogSource] | None = None,
    ) -> None:
        super().__init__(source.driver_name, copied(source.driver_kwargs), copied(source.metadata))
        self._identifier = identifier
        self._version = check_version(version)
        self._catalog = catalog
        self._versions = {version: self} if versions is None else versions

    @property
    def identifier(self) -> str:
        """Its name."""
        return self._identifier

    @property
    def version(self) -> int:
        """Its version."""
        return self._version

    @property
    def versions(self) -> dict[int, CatalogSource]:
        """Every version of it, by number, the oldest first."""
        return dict(sorted(self._versions.items()))

    def get_driver(self, **kwargs: Any) -> Driver:
        """Return the driver that reads it, made with ``driver_kwargs``.

        Args:
            **kwargs: more arguments, or other values for them. ``storage_options`` are merged, option by option.

        Raises:
            ValueError: no driver has this name; the message says which there are.
            TypeError: the driver does not take these arguments; a note names the entry.
        """
        where = f"{self.identifier!r}, version {self.version}"
        try:
            cls = driver_class(self.driver_name)
        except ValueError as error:
            raise ValueError(f"the entry {where}: {error}") from None
        merged = {**copied(self.driver_kwargs), **kwargs}
        both = [options for given in (self.driver_kwargs, kwargs) if (options := given.get("storage_options"))]
        if both:
            merged["storage_options"] = {key: value for options in both for key, value in options.items()}
        try:
            driver: Driver = cls(catalog=self._catalog, **merged)
        except Exception as error:
            error.add_note(f"the entry {where}; its driver {self.driver_name!r} is {cls.__module__}.{cls.__qualname__}")
            raise
        return driver

    def __getitem__(self, version: int) -> CatalogSource:
        if version == -1:
            version = max(self._versions, default=-1)
        if version not in self._versions:
            raise unknown(self._catalog, self._identifier, version, self._versions)
        return self._versions[version]

    def __setitem__(self, version: int, source: Source) -> None:
        if self._catalog is not None:
            self._catalog[self._identifier, version] = source
        else:
            version = check_version(version)
            self._versions[version] = CatalogSource(source, self._identifier, None, version, self._versions)

    def __delitem__(self, version: int) -> None:
        found = self[version].version
        if self._catalog is not None and (self._identifier, found) in self._catalog:
            del self._catalog[self._identifier, found]
        else:
            del self._versions[found]

    def __contains__(self, version: object) -> bool:
        return version in self._versions or (version == -1 and bool(self._versions))

    def __iter__(self) -> Iterator[CatalogSource]:
        return iter(self.versions.values())

    def __len__(self) -> int:
        return len(self._versions)

    def __bool__(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CatalogSource) and self._content() == other._content()

    __hash__ = None  # type: ignore[assignment]  # it can change

    def _content(self) -> tuple[Any, ...]:
        return self.identifier, self.version, self.driver_name, self.driver_kwargs, self.metadata

    def __repr__(self) -> str:
        of = f" of {list(self.versions)}" if len(self) > 1 else ""
        return f"<{self.identifier!r}, version {self.version}{of}: {Source.__repr__(self)}>"


class AbsentSource:
    """What ``catalog[name]`` is for a name that it does not have: ``catalog[name][1] = source`` makes the entry.

    Anything else that one does with a source raises `UnknownEntry`.
    """

    def __init__(self, identifier: str, catalog: Catalog) -> None:
        self._identifier = identifier
        self._catalog = catalog

    @property
    def identifier(self) -> str:
        """The name that was asked for."""
        return self._identifier

    def __setitem__(self, version: int, source: Source) -> None:
        self._catalog[self._identifier, version] = source

    def __contains__(self, version: object) -> bool:
        return False

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return f"<no entry {self._identifier!r}>"

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise unknown(self._catalog, self._identifier)

    driver_name = driver_kwargs = metadata = version = versions = property(_refuse)
    get_driver = __getitem__ = __delitem__ = __iter__ = __len__ = _refuse


def unknown(
    catalog: Catalog | None, identifier: str, version: int | None = None, versions: Mapping[int, Any] | None = None
) -> UnknownEntry:
    """Return the error for a name, or a version of it, that a catalog does not have."""
    if versions:
        return UnknownEntry(f"the entry {identifier!r} has no version {version}; it has {_listed(sorted(versions))}")
    names = [] if catalog is None else list(catalog.keys())
    close = get_close_matches(identifier, names, n=3)
    meant = f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""
    plugins = plugin_names()
    return UnknownEntry(
        f"the catalog has no entry {identifier!r}{meant}; it has {_listed(sorted(names)) or 'no entries'}. "
        f"Installed plugins, whose entries Catalog.from_plugins() has: {_listed(plugins) or 'none'}"
    )


def _listed(names: list[Any]) -> str:
    most = 20
    text = ", ".join(map(repr, names[:most]))
    return f"{text} and {len(names) - most} more" if len(names) > most else text
