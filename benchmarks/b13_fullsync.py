"""B13: what equal steps cost a training step: 2 ranks over gloo, with `fullsync` and without it, over the same shares.

A step is about 1 ms of matrix products, a fixed number of them: they need a core and let go of the GIL, as an operator
of torch does. With one core for each rank, whatever the threads of `fullsync` do is taken from the steps, so it shows.
(Steps that wait for a GPU leave the cores to them: it would not.)

Both sides run in the same processes and take turns there, since they must do the same products. A round's number is by
how much a step of the one costs more than a step of the other: that of the rank that took longest, as in a job whose
ranks meet, from the first batch on, and the median over pairs of epochs, since what the machine itself gives changes by
the second. It is taken once in wall time, which any other load disturbs, and once in processor time over all threads.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks._pair import Side
from benchmarks._ranks import together
from benchmarks._side import expect

RANKS, LANES, BATCH = 2, 4, 8
STEP_S, SIZE = 1e-3, 128
PAIRS = 10
KINDS = ("blocks", "lanes")
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


def groups(quick: bool) -> list[list[Side]]:
    args = {"steps": 100 if quick else 500}
    return [
        [Side(f"{kind}, {clock}", "% of a step", rounds, {**args, "kind": kind, "clock": clock})]
        for kind in KINDS
        for clock in CLOCKS
    ]


def rounds(**args: Any) -> Iterator[float]:
    return together(pairs, args, RANKS)


def pairs(kind: str, clock: str, steps: int) -> Callable[[], float]:
    """Return what runs some epochs with and without `fullsync` on this rank, and gives its cost in percent."""
    import torch
    import torch.distributed as dist

    from penstock import DataLoader2, DistributedReadingService
    from penstock.pipes import IterableWrapper

    pipe: Any = IterableWrapper(range(RANKS * steps * BATCH), deepcopy=False).sharding_filter()
    pipe = (pipe.filter(anything) if kind == "lanes" else pipe).batch(BATCH)
    services: tuple[Any, Any] = DistributedReadingService(lanes=LANES), alone(LANES)
    synced, apart = (DataLoader2(pipe, reading_service=service) for service in services)
    a, b = torch.rand(SIZE, SIZE), torch.rand(SIZE, SIZE)

    def products(count: int) -> float:
        begin_s = time.perf_counter()
        for _ in range(count):
            torch.mm(a, b)
        return time.perf_counter() - begin_s

    products(1_000)
    a_step = [round(STEP_S / (min(products(1_000) for _ in range(20)) / 1_000))]
    dist.broadcast_object_list(a_step, src=0)

    def step_s(loader: Any) -> float:
        dist.barrier()
        batches = iter(loader)
        next(batches)
        begin_s = CLOCKS[clock]()
        count = 1
        for _ in batches:
            products(a_step[0])
            count += 1
        took_s = torch.tensor([CLOCKS[clock]() - begin_s], dtype=torch.float64)
        expect(count, steps, "steps")
        dist.all_reduce(took_s, op=dist.ReduceOp.MAX)
        return took_s.item() / (count - 1)

    def once() -> float:
        ratios = []
        for pair in range(PAIRS):
            took_s = {loader: step_s(loader) for loader in ((synced, apart) if pair % 2 else (apart, synced))}
            ratios.append(took_s[synced] / took_s[apart])
        return (statistics.median(ratios) - 1) * 100

    return once


def alone(lanes: int) -> Any:
    """Return a service that runs a rank's share in process, and says nothing to the other ranks."""
    import torch.distributed as dist

    from penstock import InProcessReadingService
    from penstock.reading_service.base import ALONE, Place, Session

    class Share(InProcessReadingService):
        def place(self) -> Place:
            return Place(dist.get_rank(), dist.get_world_size())

        def start(self, graph: Any, place: Place = ALONE) -> Session:
            return super().start(graph, self.place())

    return Share(lanes=lanes)


def anything(item: int) -> bool:
    return True
