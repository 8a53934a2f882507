"""Finding, replacing and removing pipes. Nothing is changed in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from penstock.core.errors import GraphError
from penstock.core.pipe import Pipe
from penstock.core.walk import describe, walk

__all__ = ["find", "remove", "replace"]

P = TypeVar("P", bound=Pipe)


def find(root: Pipe, what: type[P] | tuple[type[P], ...]) -> list[P]:
    """Return the pipes of a type, or of its subclasses, sources first.

    Example:
        >>> from penstock.pipes import IterableWrapper, Mapper
        >>> find(IterableWrapper([1]).map(str).batch(2), Mapper)
        [Mapper]
    """
    return [pipe for pipe in walk(root) if isinstance(pipe, what)]


def replace(root: Pipe, old: Pipe, new: Pipe | Callable[[Pipe], Pipe]) -> Pipe:
    """Return the graph with ``new`` where ``old`` stands; where ``new`` is a function, with what it makes of ``old``.

    Raises:
        GraphError: ``old`` is not in the graph.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> numbers = IterableWrapper([1, 2])
        >>> list(replace(numbers.map(str), numbers, IterableWrapper([3])))
        ['3']
    """
    made: dict[int, Pipe] = {}
    for pipe in walk(root):
        if pipe is old:
            made[id(pipe)] = new if isinstance(new, Pipe) else new(pipe)
        else:
            made[id(pipe)] = pipe.with_sources(*(made[id(source)] for source in pipe.sources))
    if id(old) not in made:
        raise GraphError(f"{describe(old)} is not in the graph that ends in {describe(root)}")
    return made[id(root)]


def remove(root: Pipe, pipe: Pipe) -> Pipe:
    """Return the graph without one pipe: what read from it reads from its source.

    Raises:
        GraphError: it has no source, or several, or is not in the graph.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> doubled = IterableWrapper([1, 2]).map(lambda x: 2 * x)
        >>> list(remove(doubled.batch(2), doubled))
        [[1, 2]]
    """
    if len(pipe.sources) != 1:
        raise GraphError(f"{describe(pipe)} has {len(pipe.sources)} sources: only a pipe with one can be removed")
    return replace(root, pipe, pipe.sources[0])
