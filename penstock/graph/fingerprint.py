"""What makes two graphs the same, as far as a state is concerned."""

from __future__ import annotations

from typing import Any

from penstock.core.pipe import Pipe
from penstock.core.walk import names, walk

__all__ = ["differences", "divided", "fingerprint", "permutations"]


def fingerprint(root: Pipe) -> dict[str, Any]:
    """Return what each pipe is, by name: its class, its sources' names and its plain parameters.

    Functions and data are not part of it: code may be mended between two runs, and data moved.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> fingerprint(IterableWrapper([1]).batch(2))["batch"]
        ['Batcher', ['IterableWrapper'], {'arity': 2, 'batch_size': 2, 'drop_last': False}]
    """
    named = dict(names(root))
    for pipe in walk(root):
        if not pipe.is_of_state:  # a state fits the graph with it, and without
            named[id(pipe)] = named[id(pipe.sources[0])]
    return {
        named[id(pipe)]: [
            type(pipe).__name__,
            [named[id(source)] for source in pipe.sources],
            {
                key: value
                for key, value in sorted(vars(pipe).items())
                if not key.startswith("_") and type(value) in (bool, int, float, str)
            },
        ]
        for pipe in walk(root)
        if pipe.is_of_state
    }


def divided(root: Pipe) -> dict[str, Any]:
    """Return what ranks that divide a graph must have in common.

    That is the fingerprint and the data of what stands ahead of its points, and the data of what stands behind them.
    """
    pipes, named = fingerprint(root), names(root)
    points = [pipe for pipe in walk(root) if pipe.is_sharding_point]
    ahead = {id(pipe) for point in points for pipe in walk(point)}
    found = {}
    for pipe in walk(root):
        name = named[id(pipe)]
        if id(pipe) in ahead:
            found[name] = [*pipes.get(name, ()), pipe.holds()]
        elif any(other.is_sharding_point for other in walk(pipe)) and (held := pipe.holds()) is not None:
            found[name] = [held]
    return found


def permutations(root: Pipe) -> dict[str, Any]:
    """Return the pipes that put all of their data in one order, by name: with more data it is another order."""
    named = names(root)
    return {named[id(pipe)]: pipe for pipe in walk(root) if pipe.is_permutation}


def differences(saved: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return, in words, what differs between two fingerprints."""
    found = [f"it has {name!r} and the graph has not" for name in saved.keys() - now.keys()]
    found += [f"the graph has {name!r} and it has not" for name in now.keys() - saved.keys()]
    for name in saved.keys() & now.keys():
        for what, then, today in zip(("class", "sources", "parameters"), saved[name], now[name], strict=True):
            if then != today:
                found.append(f"{what} of {name!r}: {then} when it was saved, {today} now")
    return sorted(found)
