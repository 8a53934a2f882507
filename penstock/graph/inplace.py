"""torchdata's graph functions that change a graph in place, for programs and services that were written for them.

`replace` and `remove` return a new graph instead, and are what new programs should use.
"""

from __future__ import annotations

from penstock.core.pipe import Pipe
from penstock.core.walk import describe
from penstock.graph.traverse import DataPipeGraph, get_all_graph_pipes, root_of, traverse_dps

__all__ = ["remove_dp", "replace_dp"]


def replace_dp(graph: DataPipeGraph, old_datapipe: Pipe, new_datapipe: Pipe) -> DataPipeGraph:
    """Let all that reads from ``old_datapipe`` read from ``new_datapipe``, in place; return the graph as it is then.

    The new pipe may itself read from the old one, directly or through others.

    Args:
        graph: what `traverse_dps` returns. Where the old pipe is not in it, nothing changes.
        old_datapipe: the pipe that goes. At the end of the graph, the graph of the new pipe is returned.
        new_datapipe: the pipe that comes.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> numbers = IterableWrapper([1, 2])
        >>> text = numbers.map(str)
        >>> _ = replace_dp(traverse_dps(text), numbers, numbers.map(lambda x: -x))
        >>> list(text)
        ['-1', '-2']
    """
    root = root_of(graph)
    added = _up_to(new_datapipe, old_datapipe)
    for pipe in get_all_graph_pipes(graph):
        if id(pipe) not in added:
            _exchange(pipe, old_datapipe, new_datapipe)
    return traverse_dps(new_datapipe if root is old_datapipe else root)


def remove_dp(graph: DataPipeGraph, datapipe: Pipe) -> DataPipeGraph:
    """Let all that reads from a pipe read from its source, in place; return the graph as it is then.

    Raises:
        RuntimeError: the pipe has no source, or several.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> doubled = IterableWrapper([1, 2]).map(lambda x: 2 * x)
        >>> batches = doubled.batch(2)
        >>> _ = remove_dp(traverse_dps(batches), doubled)
        >>> list(batches)
        [[1, 2]]
    """
    sources = datapipe.sources
    if not sources:
        raise RuntimeError(f"Cannot remove the source DataPipe {describe(datapipe)}: it reads from no other")
    if len(sources) > 1:
        raise RuntimeError(
            f"Cannot remove the receiving DataPipe {describe(datapipe)}: it reads from {len(sources)} others"
        )
    return replace_dp(graph, datapipe, sources[0])


def _up_to(new: Pipe, old: Pipe) -> set[int]:
    """Return the identities of the pipes that ``new`` reads from, itself included, as far as ``old``."""
    met = {id(old)}
    stack = [new]
    while stack:
        pipe = stack.pop()
        if id(pipe) not in met:
            met.add(id(pipe))
            stack.extend(pipe.sources)
    # Where `new` does not lead to `old`, nothing in it is changed by the exchange either way.
    return met - {id(old)}


def _exchange(pipe: Pipe, old: Pipe, new: Pipe) -> None:
    """Change the attributes of one pipe, also those in lists, tuples and dicts."""
    sources = pipe.sources
    if any(source is old for source in sources):
        changed = pipe.with_sources(*(new if source is old else source for source in sources))
        vars(pipe).update(vars(changed))
