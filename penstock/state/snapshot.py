"""A loader's state as plain JSON values: no pickle, ever."""

from __future__ import annotations

from typing import Any

from penstock.core.errors import StateError
from penstock.core.pipe import Pipe
from penstock.graph.fingerprint import differences, fingerprint

__all__ = ["restored", "snapshot"]

VERSION = 1


def snapshot(
    graph: Pipe, seed: int, seeded: bool, epoch: int, progress: dict[str, Any] | None, delivered: int
) -> dict[str, Any]:
    """Return the state of a loader.

    Args:
        graph: the graph that runs; its fingerprint goes into the state.
        seed: the run's seed, or the epoch's if the run has none.
        seeded: whether the user gave it.
        epoch: the epoch that a restored loader continues, or begins where ``progress`` is None.
        progress: where that epoch stands.
        delivered: how many batches of it have been delivered.
    """
    return {
        "version": VERSION,
        "graph": fingerprint(graph),
        "seed": seed,
        "seeded": seeded,
        "epoch": epoch,
        "delivered": delivered,
        "progress": progress,
    }


def restored(state: Any, graph: Pipe) -> dict[str, Any]:
    """Check a state against a graph and return it.

    Raises:
        StateError: it is not a state, of a version that is not known, or of another graph. Says what differs.
    """
    if not isinstance(state, dict) or not {"version", "graph", "seed", "epoch", "progress"} <= set(state):
        raise StateError("this is not a state of a DataLoader2")
    if state["version"] != VERSION:
        raise StateError(f"the state is of version {state['version']}, and this penstock reads version {VERSION}")
    found = differences(state["graph"], fingerprint(graph))
    if found:
        raise StateError("the state is of another graph: " + "; ".join(found))
    return state
