"""Calling what users gave a service: functions of a graph, and the methods of services of their own."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any

from penstock.core.context import WorkerInfo
from penstock.core.plan import plan
from penstock.core.seed_generator import SeedGenerator
from penstock.core.seeds import epoch_in_reset, hash_key
from penstock.core.walk import describe, walk
from penstock.pipes.sharding import ShardingFilter
from penstock.reading_service.base import Run

__all__ = ["call_hook", "epoch_seeds", "initialized", "is_divided", "reset"]


def epoch_seeds(run: Run) -> SeedGenerator:
    """Return the seeds of an epoch: other ones in the next epoch, and the same ones wherever the epoch runs."""
    return SeedGenerator(hash_key(run.seed, run.epoch, "hooks")[0])


def initialized(init_fn: Callable[..., Any] | None, graph: Any, info: WorkerInfo, name: str) -> Any:
    """Return the graph that an init function makes of one; a function that returns nothing leaves it as it is."""
    if init_fn is None:
        return graph
    made = call_hook(name, init_fn, graph, info)
    return graph if made is None else made


def reset(reset_fn: Callable[..., Any] | None, graph: Any, info: WorkerInfo, run: Run, name: str) -> Any:
    """Return the graph that a reset function makes of one ahead of an epoch."""
    if reset_fn is None:
        return graph
    token = epoch_in_reset.set(run.epoch)
    try:
        made = call_hook(name, reset_fn, graph, info, epoch_seeds(run).spawn(info.worker_id))
    finally:
        epoch_in_reset.reset(token)
    return graph if made is None else made


def is_divided(graph: Any, info: WorkerInfo) -> bool:
    """Tell whether a worker's init function has fixed the worker's share; warn where nothing divides the graph."""
    if info.worker_id == 0 and info.num_workers > 1 and plan(graph).kind == "whole":
        warnings.warn(
            f"the graph that ends in {describe(graph)} has no sharding point, also after worker_init_fn: "
            "every worker yields every item",
            stacklevel=2,
        )
    return any(isinstance(pipe, ShardingFilter) and pipe.is_applied for pipe in walk(graph))


def call_hook(name: str, hook: Callable[..., Any], *arguments: Any) -> Any:
    """Call a hook with as many of the arguments as it takes; an exception leaves with a note that names it."""
    try:
        return hook(*arguments[: _taken(hook, len(arguments))])
    except Exception as error:
        error.add_note(f"penstock: in {name}")
        raise


def _taken(hook: Callable[..., Any], most: int) -> int:
    """Return how many of ``most`` positional arguments a function takes."""
    try:
        parameters = inspect.signature(hook).parameters.values()
    except (TypeError, ValueError):  # one written in C need not have a signature
        return most
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return most
    return min(most, sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters))
