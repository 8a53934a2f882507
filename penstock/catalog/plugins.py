"""What catalogs can use: the drivers of penstock, of installed plugins, and those that a program registers.

A plugin is an entry point in the group ``penstock``, of a module or any object that has one of these, or both::

    def penstock_drivers() -> list[type[Driver]]: ...
    def penstock_sources() -> list[tuple[CatalogKey, Source]]: ...

The group ``squirrel`` is looked through as well, for ``squirrel_drivers`` and ``squirrel_sources``: a plugin that was
written for Squirrel serves here once its imports are penstock's. One that still needs Squirrel is named in a warning,
and left out.

Entry points are looked up each time that they are needed, which takes milliseconds and happens for names that are not
penstock's own; nothing of theirs is kept, and none is imported before.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from penstock import drivers
from penstock.catalog.source import CatalogKey, Source, check_version
from penstock.drivers import Driver

__all__ = ["driver_class", "list_driver_names", "plugin_names", "plugin_sources", "register_driver", "register_source"]

_GROUPS = ("penstock", "squirrel")


class _Registered:
    """What a program has registered. There is one of it, as there is one set of installed plugins."""

    def __init__(self) -> None:
        self.drivers: dict[str, type[Driver]] = {}
        self.sources: dict[CatalogKey, Source] = {}


_registered = _Registered()


def register_driver(driver: type[Driver]) -> type[Driver]:
    """Make a driver known to catalogs, by its ``name``. It comes before penstock's own and those of plugins.

    Args:
        driver: a subclass of `Driver` with a ``name``.

    Returns:
        The class, so that this can decorate it.

    Example:
        >>> from penstock.drivers import Driver
        >>> @register_driver
        ... class Greeter(Driver):
        ...     name = "greeter"
        ...     def __init__(self, whom, **kwargs):
        ...         super().__init__(**kwargs)
        ...         self.greeting = f"Hello {whom}!"
        >>> from penstock.catalog import Catalog, Source
        >>> catalog = Catalog()
        >>> catalog["world"] = Source("greeter", {"whom": "world"})
        >>> catalog["world"].get_driver().greeting
        'Hello world!'
    """
    _registered.drivers[_name(driver)] = driver
    return driver


def register_source(identifier: str, source: Source, version: int = 1) -> None:
    """Add a source to what `Catalog.from_plugins` returns. It comes before those of plugins.

    Args:
        identifier: its name.
        source: the source.
        version: its version, from 1.
    """
    if not isinstance(source, Source):
        raise TypeError(f"only a Source can be registered, got {source!r}")
    _registered.sources[CatalogKey(identifier, check_version(version))] = source


def list_driver_names() -> list[str]:
    """Return the names of all drivers that a catalog can use."""
    return sorted(_drivers())


def driver_class(name: str) -> type[Driver]:
    """Return the driver of this name.

    Raises:
        ValueError: there is none; the message says which there are.
    """
    found = _registered.drivers.get(name) or _own().get(name)
    if found is not None:
        return found
    known = _drivers()
    if name in known:
        return known[name]
    close = get_close_matches(name, known, n=1)
    meant = f" (did you mean {close[0]!r}?)" if close else ""
    raise ValueError(
        f"no driver is called {name!r}{meant}; there are {', '.join(sorted(known))}. "
        f"Installed plugins: {', '.join(plugin_names()) or 'none'}"
    )


def plugin_names() -> list[str]:
    """Return the names of installed plugins, and of the packages that they are of, without importing any."""
    return sorted({f"{_described(point)}" for point, _ in _points()})


def plugin_sources() -> Iterator[tuple[CatalogKey, Source]]:
    """Yield the sources of plugins and those that were registered, each key once."""
    seen: dict[CatalogKey, tuple[Source, str]] = {}
    for key, source in _registered.sources.items():
        seen[key] = source, "this program"
        yield key, source
    for point, offered in _offered("sources"):
        for entry in offered:
            if not (isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[1], Source)):
                _skipped(point, f"it must be a pair of penstock's CatalogKey and Source, got {entry!r}", "a source")
                continue
            key = CatalogKey(*entry[0])
            key = key._replace(version=1) if key.version == -1 else key
            known, whose = seen.setdefault(key, (entry[1], _described(point)))
            if known is entry[1]:
                yield key, known
            elif known != entry[1]:
                _skipped(point, f"{whose} has {key.identifier!r}, version {key.version}, and another one", "a source")


def _drivers() -> dict[str, type[Driver]]:
    """Every driver by name: those of plugins, hidden by penstock's own, hidden by those that were registered."""
    own = _own()
    found: dict[str, tuple[type[Driver], str]] = {}
    for point, offered in _offered("drivers"):
        for cls in offered:
            try:
                name = _name(cls)
            except TypeError as error:
                _skipped(point, f"{error}", "a driver")
                continue
            known, whose = (own[name], "penstock") if name in own else found.get(name, (cls, ""))
            if known is not cls:
                _skipped(point, f"{whose} has a driver {name!r}, and another one", "a driver")
            else:
                found[name] = cls, _described(point)
    return {name: cls for name, (cls, _) in found.items()} | own | _registered.drivers


def _own() -> dict[str, type[Driver]]:
    public = (getattr(drivers, name) for name in drivers.__all__)
    classes = [cls for cls in public if inspect.isclass(cls) and issubclass(cls, Driver)]
    return {cls.name: cls for cls in classes if "name" in vars(cls)}


def _name(cls: Any) -> str:
    if not (inspect.isclass(cls) and issubclass(cls, Driver)):
        raise TypeError(f"a driver is a class derived from penstock.drivers.Driver, got {cls!r}")
    name = getattr(cls, "name", None)
    if not (isinstance(name, str) and name):
        raise TypeError(f"{cls.__qualname__} must have a name, by which catalogs know it; its name is {name!r}")
    return name


def _points() -> Iterator[tuple[EntryPoint, str]]:
    """The entry points, and the group of each, in an order that does not depend on the file system."""
    for group in _GROUPS:
        for point in sorted(entry_points(group=group), key=lambda point: (point.name, point.value)):
            yield point, group


def _offered(what: str) -> Iterator[tuple[EntryPoint, list[Any]]]:
    """What each plugin has of ``what``: drivers or sources."""
    for point, group in _points():
        try:
            function = getattr(point.load(), f"{group}_{what}", None)
            offered = [] if function is None else list(function())
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            _skipped(point, "it needs Squirrel itself" if missing == "squirrel" else f"{error}")
        except Exception as error:  # a plugin's own code, which must not keep the others from being used
            _skipped(point, f"{type(error).__name__}: {error}")
        else:
            yield point, offered


def _described(point: EntryPoint) -> str:
    package = point.dist.name if point.dist is not None else ""
    return point.name if package in ("", point.name) else f"{point.name} (of {package})"


def _skipped(point: EntryPoint, reason: str, what: str = "") -> None:
    of = f"{what} of " if what else ""
    warnings.warn(f"{of}the plugin {_described(point)} is left out: {reason} ({point.value})", stacklevel=2)
