"""Functional names: ``@functional_datapipe("limit")`` makes ``pipe.limit(...)`` a real method of every pipe.

The methods of the built-in pipes are written out, typed and documented, in `penstock.core._fluent`, a file that
``make fluent`` generates from the pipes' own signatures. Registering only adds what that file does not have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from penstock.core.pipe import IterDataPipe, MapDataPipe, Pipe

__all__ = ["functional_datapipe", "register"]

C = TypeVar("C", bound=type[Pipe])


def functional_datapipe(name: str, *, on: type[Pipe] | None = None) -> Callable[[C], C]:
    """Register a pipe class under a functional name.

    Args:
        name: the method's name.
        on: the family that gets the method; the class's own family unless given.

    Raises:
        ValueError: the name is taken by another class.

    Example:
        >>> from penstock.pipes import IterableWrapper, IterDataPipe, functional_datapipe
        >>> @functional_datapipe("negated")
        ... class Negater(IterDataPipe):
        ...     def __init__(self, source_datapipe):
        ...         self.source_datapipe = source_datapipe
        ...     def __iter__(self):
        ...         return (-x for x in self.source_datapipe)
        >>> list(IterableWrapper([1, 2]).negated())
        [-1, -2]
    """

    def decorate(cls: C) -> C:
        register(on or (MapDataPipe if issubclass(cls, MapDataPipe) else IterDataPipe), name, cls)
        return cls

    return decorate


def register(family: type[Pipe], name: str, cls: type[Pipe]) -> None:
    """Make ``cls`` the pipe behind the method ``name`` of ``family``."""
    known = family.functions.get(name)
    if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
        raise ValueError(f"the functional name {name!r} of {family.__name__} is taken by {known.__qualname__}")
    if known is None and hasattr(Pipe, name):
        raise ValueError(f"{name!r} is an attribute of every pipe and cannot be a functional name")
    family.functions[name] = cls
    cls._functional_name = name
    if not hasattr(family, name):
        setattr(family, name, _method(name, cls))


def _method(function: str, cls: type[Pipe]) -> Callable[..., Any]:
    def method(self: Pipe, *args: Any, name: str | None = None, **kwargs: Any) -> Any:
        return self._make(function, name, *args, **kwargs)

    method.__name__ = function
    method.__qualname__ = f"IterDataPipe.{function}"
    method.__doc__ = cls.__doc__
    return method
