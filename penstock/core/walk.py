"""The graph behind a pipe: in which order its pipes come, and what they are called."""

from __future__ import annotations

from penstock.core.errors import GraphError
from penstock.core.pipe import Pipe

__all__ = ["Names", "describe", "kind", "names", "runs_functions", "walk"]


def walk(root: Pipe) -> list[Pipe]:
    """Return every pipe of the graph that ends in ``root``, each once, sources before what reads from them."""
    done: dict[int, Pipe] = {}
    open_: set[int] = set()
    stack: list[tuple[Pipe, bool]] = [(root, False)]
    while stack:
        pipe, ready = stack.pop()
        if ready:
            open_.discard(id(pipe))
            done[id(pipe)] = pipe
        elif id(pipe) in open_:
            raise GraphError(f"{pipe!r} reads from itself")
        elif id(pipe) not in done:
            open_.add(id(pipe))
            stack.append((pipe, True))
            stack.extend((source, False) for source in reversed(pipe.sources) if id(source) not in done)
    return list(done.values())


class Names(dict[int, str]):
    """The name of each pipe of a graph, by identity, and the pipes, sources first."""

    def __init__(self, pipes: list[Pipe]) -> None:
        self.pipes = pipes


def names(root: Pipe) -> Names:
    """Return the name of each pipe, by identity: its own, or its kind and, from the second of a kind on, an ordinal.

    Counting starts at the sources, so what is added behind a pipe does not rename it.
    """
    taken: set[str] = set()
    counts: dict[str, int] = {}
    pipes = walk(root)
    result = Names(pipes)
    for pipe in pipes:
        if pipe._name is not None:
            if pipe._name in taken:
                raise GraphError(f"two pipes of the graph are named {pipe._name!r}: {describe(pipe)} is the second one")
            taken.add(pipe._name)
            result[id(pipe)] = pipe._name
    for pipe in pipes:
        if pipe._name is None:
            base = kind(pipe)
            name = base
            while name in taken or (name == base and base in counts):
                counts[base] = counts.get(base, 0) + 1
                name = f"{base}:{counts[base]}"
            counts.setdefault(base, 0)
            taken.add(name)
            result[id(pipe)] = name
    return result


def kind(pipe: Pipe) -> str:
    """Return the functional name of the pipe's class, or the name of the class."""
    return str(vars(type(pipe)).get("_functional_name") or type(pipe).__name__)


def describe(pipe: Pipe) -> str:
    """Return what a person recognises a pipe by: ``map(decode) at train.py:31``."""
    function = next((v for v in vars(pipe).values() if callable(v) and not isinstance(v, (type, Pipe))), None)
    inside = getattr(function, "__name__", type(function).__name__) if function is not None else ""
    where = f" at {pipe._site[0]}:{pipe._site[1]}" if pipe._site else ""
    return f"{kind(pipe)}({inside}){where}"


def runs_functions(pipe: Pipe) -> bool:
    """Whether a pipe runs code of the user's, which may use the global random generators."""
    if not type(pipe).__module__.startswith("penstock."):
        return True
    return any(callable(value) and not isinstance(value, Pipe) for value in vars(pipe).values())
