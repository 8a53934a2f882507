"""torchdata's view of a graph: nested dicts, from the last pipe to the sources, and the lists made of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias, TypeVar

from penstock.core.errors import GraphError
from penstock.core.pipe import Pipe
from penstock.core.walk import walk

__all__ = ["DataPipe", "DataPipeGraph", "find_dps", "get_all_graph_pipes", "list_dps", "root_of", "traverse_dps"]

P = TypeVar("P", bound=Pipe)
DataPipe: TypeAlias = Pipe
DataPipeGraph: TypeAlias = dict[int, tuple[Pipe, "DataPipeGraph"]]


def traverse_dps(datapipe: Pipe) -> DataPipeGraph:
    """Return the graph that ends in a pipe as ``{id: (pipe, {id of a source: (source, {...})})}``.

    A pipe that two others read from is there twice. A pipe that reads from itself, through an attribute, is not listed
    again where the circle closes.

    Raises:
        RuntimeError: it is no pipe.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> doubled = IterableWrapper([1, 2]).map(lambda x: 2 * x)
        >>> traverse_dps(doubled)[id(doubled)][1].values()
        dict_values([(IterableWrapper, {})])
    """
    if not isinstance(datapipe, Pipe):
        raise RuntimeError(f"Expected `IterDataPipe` or `MapDataPipe`, but {type(datapipe)} is found")
    try:
        pipes = walk(datapipe)
    except GraphError:  # a circle: what is below a pipe depends on the way that led to it
        return {id(datapipe): (datapipe, _below(datapipe, {id(datapipe)}))}
    # Twenty forks one behind another have a million paths, so what is below a pipe is one dict, however often it is in.
    entries: dict[int, tuple[Pipe, DataPipeGraph]] = {}
    for pipe in pipes:
        entries[id(pipe)] = (pipe, {id(source): entries[id(source)] for source in pipe.sources})
    return {id(datapipe): entries[id(datapipe)]}


def _below(pipe: Pipe, met: set[int]) -> DataPipeGraph:
    return {
        id(source): (source, _below(source, met | {id(source)})) for source in pipe.sources if id(source) not in met
    }


def root_of(graph: DataPipeGraph) -> Pipe:
    """Return the pipe that a graph ends in. ValueError unless there is one."""
    if len(graph) != 1:
        raise ValueError(f"a graph ends in one pipe, as traverse_dps returns it, but this one ends in {len(graph)}")
    return next(iter(graph.values()))[0]


def find_dps(graph: DataPipeGraph, dp_type: type[P]) -> list[P]:
    """Return the pipes whose type is exactly ``dp_type``, each once; `find` takes subclasses as well.

    Example:
        >>> from penstock.pipes import IterableWrapper, Mapper
        >>> find_dps(traverse_dps(IterableWrapper([1]).map(str).batch(2)), Mapper)
        [Mapper]
    """
    return [pipe for pipe in get_all_graph_pipes(graph) if type(pipe) is dp_type]


def list_dps(graph: DataPipeGraph, exclude_dps: Pipe | Iterable[Pipe] | None = None) -> list[Pipe]:
    """Return every pipe once, breadth first from the end of the graph.

    Args:
        graph: what `traverse_dps` returns.
        exclude_dps: a pipe or several to leave out, with all that they read from.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> text = IterableWrapper([1]).map(str)
        >>> list_dps(traverse_dps(text.batch(2))), list_dps(traverse_dps(text.batch(2)), exclude_dps=text)
        ([Batcher, Mapper, IterableWrapper], [Batcher])
    """
    excluded = () if exclude_dps is None else (exclude_dps,) if isinstance(exclude_dps, Pipe) else exclude_dps
    seen = {id(below) for pipe in excluded for below in get_all_graph_pipes(traverse_dps(pipe))}
    found: list[Pipe] = []
    level: list[Any] = list(graph.items())
    while level:
        behind: list[Any] = []
        for key, (pipe, below) in level:
            if key not in seen:
                seen.add(key)
                found.append(pipe)
                behind.extend(below.items())
        level = behind
    return found


def get_all_graph_pipes(graph: DataPipeGraph) -> list[Pipe]:
    """Return every pipe once, each ahead of what it reads from, one branch behind another."""
    found: dict[int, Pipe] = {}
    stack: list[Any] = [iter(list(graph.items()))]
    while stack:
        for key, (pipe, below) in stack[-1]:
            if key not in found:
                found[key] = pipe
                stack.append(iter(list(below.items())))
                break
        else:
            stack.pop()
    return list(found.values())
