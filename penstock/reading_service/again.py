"""Making one batch of an epoch again, by the number of its step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from penstock.core.bad import HOLE, Lossy
from penstock.core.context import WorkerInfo
from penstock.core.errors import GraphError
from penstock.core.pipe import IterDataPipe
from penstock.core.plan import plan
from penstock.core.seeds import kept_globals
from penstock.core.walk import describe
from penstock.pipes.full_sync import FullSync
from penstock.reading_service.base import Place, Progress, Run
from penstock.reading_service.lanes import END, own_lanes, read_lanes
from penstock.reading_service.split import replicable_part

__all__ = ["made_again"]


def made_again(graph: IterDataPipe[Any], run: Run, began_at: int, step: int, place: Place, service: Any) -> Any:
    """Return the batch of a step of an epoch, made again in this process and thread.

    Args:
        graph: the adapted graph.
        run: the epoch, as it was begun.
        began_at: the step that it was begun at.
        step: which one is wanted.
        place: which rank this is.
        service: the service that runs the graph.

    Raises:
        GraphError: the graph does not divide into blocks, or is changed by a function of the user's.
        IndexError: the epoch has no such step on this rank.
    """
    if isinstance(graph, FullSync):
        graph = graph.datapipe
    division = plan(graph)
    why = None
    if division.kind == "lanes":
        why = (
            f"{describe(division.because or graph)} makes the graph divide into lanes, which know no step by its number"
        )
    elif division.kind == "whole" and replicable_part(graph) is not graph:
        why = "a part of the graph runs in the main process only"
    elif any(getattr(service, name, None) for name in ("init_fn", "reset_fn", "worker_init_fn", "worker_reset_fn")):
        why = "a function of yours may change the graph in each worker or epoch"
    if why is not None:
        raise GraphError(f"no single step can be made again: {why}")
    if step < began_at and run.progress.next != began_at * place.world_size:
        raise GraphError(f"the steps ahead of {began_at} were divided among another number of ranks")
    block = place.first_block(run.progress.next + (step - began_at) * place.world_size)
    if step < 0 or block < 0:
        raise IndexError(f"steps count from 0, got {step}")
    worker = WorkerInfo(rank=place.rank, world_size=place.world_size)
    progress = Progress("blocks", 1, next=block)
    if division.kind == "whole":
        worker, progress = WorkerInfo(), Progress("lanes", 1, given={"0": 0}, behind={"0": step})
    run = replace(run, progress=progress)
    with kept_globals():
        deliveries = read_lanes(
            graph, division, run, own_lanes(progress, worker), worker=worker, own_globals=True,
            report=lambda report: None,  # monitors have counted it
        )  # fmt: skip
        try:
            item = next(deliveries).item
        finally:
            deliveries.close()  # type: ignore[attr-defined]  # a generator
    item = item.value if type(item) is Lossy else item
    if item is END:
        raise IndexError(f"the epoch has no step {step} on rank {place.rank}")
    if item is HOLE:
        raise IndexError(f"all samples of step {step} are bad")
    return item
