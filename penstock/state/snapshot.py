"""A loader's state as plain JSON values: no pickle, ever."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from penstock.core.errors import StateError
from penstock.core.pipe import Pipe
from penstock.core.plan import plan
from penstock.graph.fingerprint import differences, fingerprint, permutations

__all__ = ["merged", "restored", "snapshot"]

VERSION = 2
_BY_RANK = ("losses", "digest")


def snapshot(
    graph: dict[str, Any],
    seed: int,
    seeded: bool,
    epoch: int,
    lanes: int | None,
    progress: dict[str, Any] | None = None,
    delivered: int = 0,
    losses: dict[str, list[int]] | None = None,
    digest: dict[str, int] | None = None,
    lengths: dict[str, int] | None = None,
) -> dict[str, Any]:
    """Return the state of a loader.

    Args:
        graph: the fingerprint of the graph that runs.
        seed: the run's seed, or the epoch's if the run has none.
        seeded: whether the user gave it.
        epoch: the epoch that a restored loader continues, or begins where ``progress`` is None.
        lanes: how many lanes its epochs have, where the graph divides into lanes.
        progress: where that epoch stands.
        delivered: how many batches of it have been delivered.
        losses: what was counted of samples that failed, by rank.
        digest: of the batches delivered, by rank (see `penstock.state.digest`).
        lengths: of the permutations, by the names of their pipes.
    """
    return {
        "version": VERSION,
        "graph": graph,
        "seed": seed,
        "seeded": seeded,
        "epoch": epoch,
        "lanes": lanes,
        "delivered": delivered,
        "losses": losses or {},
        "digest": digest or {},
        "lengths": lengths or {},
        "progress": progress,
    }


def merged(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the state of all ranks, of their parts.

    Raises:
        StateError: there is none, or they are of different epochs or places.
    """
    if not parts:
        raise StateError("an empty list has no state to load")
    whole = {**parts[0], "progress": parts[0]["progress"] and dict(parts[0]["progress"])}
    whole.update({by_rank: dict(whole[by_rank]) for by_rank in _BY_RANK})
    for part in parts[1:]:
        for by_rank in _BY_RANK:
            whole[by_rank].update(part[by_rank])
        for key in ("version", "graph", "seed", "epoch", "delivered"):
            if part[key] != whole[key]:
                raise StateError(
                    f"the parts are of different places: {key} is {part[key]} in one, {whole[key]} in another"
                )
        if (part["progress"] is None) != (whole["progress"] is None):
            raise StateError("the parts are of different places: one is inside an epoch, and another between two")
        for key, value in (part["progress"] or {}).items():
            if isinstance(value, dict):
                whole["progress"][key] = {**whole["progress"][key], **value}
            elif value != whole["progress"][key]:
                raise StateError(f"the parts do not belong together: {key} is {value}, and {whole['progress'][key]}")
    return whole


def restored(state: Any, graph: Pipe, rank: int, world_size: int, *, strict: bool = True) -> dict[str, Any]:
    """Check a state against a graph and return it; if not ``strict``, return what fits.

    Raises:
        StateError: it is not a state, of a version that is not known, of another graph, or of a place in an order of
            more items or fewer; or lanes of this rank are missing. Says what differs.
    """
    if not isinstance(state, dict) or not {"version", "graph", "seed", "epoch", "progress"} <= set(state):
        raise StateError("this is not a state of a DataLoader2")
    if state["version"] != VERSION:
        raise StateError(f"the state is of version {state['version']}, and this penstock reads version {VERSION}")
    found = differences(state["graph"], fingerprint(graph))
    other_data = _other_lengths(state.get("lengths", {}), graph)
    if found or other_data:
        what = "of another graph" if found else "of other data"
        said = "; ".join(found + other_data)
        if strict:
            raise StateError(f"the state is {what}: {said}")
        fits = not other_data and _fits(state["graph"], graph, state["progress"])
        then = "its place in the epoch is taken" if fits else "its epoch begins anew"
        warnings.warn(f"the state is {what}, and {then}: {said}", stacklevel=4)
        state = {**state, "graph": fingerprint(graph)}
        if not fits:
            state.update(progress=None, delivered=0, losses={}, digest={}, lengths={})
    checked: dict[str, Any] = state
    progress = checked["progress"]
    if progress is not None and progress["kind"] == "lanes":
        missing = [lane for lane in range(rank, progress["lanes"], world_size) if str(lane) not in progress["given"]]
        if missing:
            raise StateError(
                f"the state is one rank's part, and lacks the lanes {', '.join(map(str, missing))}: this graph divides "
                "into lanes, of which each rank knows its own. Save what gather_state() returns, which all ranks call, "
                "or load the list of all parts"
            )
    return checked


def _other_lengths(saved: dict[str, int], graph: Pipe) -> list[str]:
    """Return, in words, which orders are of more items now, or of fewer."""
    now = {name: len(pipe) for name, pipe in permutations(graph).items() if name in saved}
    return [
        f"{name!r} had {saved[name]:,} items to put in order when it was saved, and {length:,} now"
        for name, length in now.items()
        if saved[name] != length
    ]


def _fits(saved: dict[str, Any], graph: Pipe, progress: dict[str, Any] | None) -> bool:
    """Whether a place in an epoch of one graph is one of another graph as well."""
    if progress is None:
        return True
    if (progress["kind"] == "blocks") != (plan(graph).kind == "blocks"):
        return False
    now = fingerprint(graph)
    arities = [[pipe[2]["arity"] for pipe in graph.values() if pipe[2].get("arity", 1) != 1] for graph in (saved, now)]
    named = _names_in(progress["states"]) & saved.keys()
    return arities[0] == arities[1] and all(name in now and _own(saved[name]) == _own(now[name]) for name in named)


def _own(pipe: list[Any]) -> tuple[Any, Any]:
    return pipe[0], pipe[2]


def _names_in(state: Any) -> set[str]:
    """Return the keys of all dicts in a state: those of pipes are among them."""
    if isinstance(state, dict):
        return set(state).union(*map(_names_in, state.values()))
    return set().union(*map(_names_in, state)) if isinstance(state, list) else set()
