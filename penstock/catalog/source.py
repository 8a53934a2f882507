"""What a catalog holds: sources, and the keys that name them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from penstock.core.errors import PenstockError

__all__ = ["CatalogKey", "Source", "UnknownEntry", "check_version", "copied"]


class CatalogKey(NamedTuple):
    """The name of a source in a catalog, and its version; -1 means the latest."""

    identifier: str
    version: int = -1


@dataclass
class Source:
    """How some data is read: a driver's name and its arguments, and what else is known about the data.

    Attributes:
        driver_name: the name under which the driver is registered: ``csv``, ``messagepack`` ...
        driver_kwargs: the arguments that the driver is made with.
        metadata: anything else.

    Example:
        >>> Source("csv", {"url": "train.csv"}, {"samples": 100})
        Source(driver_name='csv', driver_kwargs={'url': 'train.csv'}, metadata={'samples': 100})
    """

    driver_name: str
    driver_kwargs: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.driver_name, str):
            raise TypeError(f"driver_name is the name of a driver, as text; got {self.driver_name!r}")
        for name in ("driver_kwargs", "metadata"):
            value = getattr(self, name)
            if value is None:
                setattr(self, name, {})
            elif not isinstance(value, Mapping):
                raise TypeError(f"{name} must be a dict, got {value!r}")


class UnknownEntry(PenstockError, KeyError):
    """A catalog has no such source, or not this version of it. The message says what there is."""

    __str__ = Exception.__str__  # a KeyError shows its message in quotes, with its line ends escaped


def check_version(version: object) -> int:
    """Return a version that a source can have."""
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError(f"a version must be an integer from 1, got {version!r}")
    return version


def copied(value: Any) -> Any:
    """Return a copy of nested dicts, lists, tuples and sets, with the same values in them.

    Values may be anything (a function, an open file system), so `copy.deepcopy` would not do.
    """
    if isinstance(value, dict):
        return {key: copied(below) for key, below in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(copied, value))
    if type(value) in (list, tuple, set):
        return type(value)(map(copied, value))
    return value
