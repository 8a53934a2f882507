"""B2's yardstick: a bare ring of reused shared memory.

    consumer  --(batch, slot)-->  worker w      the slot is free: fill it
    consumer  <------ slot ------  worker w      it is full; the consumer reads it in place, then sends it out again

Batch b comes from worker b mod W. Each worker has slots of its own, and fills them in the order in which they come.
"""

from __future__ import annotations

import mmap
import multiprocessing
from collections.abc import Iterator, Sequence
from multiprocessing.queues import SimpleQueue
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import numpy as np
    import torch

SLOTS_PER_WORKER = 4


class Ring:
    """Workers by fork, which stack ``samples`` (index modulo their number) into batches until the ring is closed."""

    def __init__(self, samples: Sequence[np.ndarray[Any, Any]], *, batch: int, workers: int) -> None:
        import numpy as np
        import torch

        fork = multiprocessing.get_context("fork")
        shape, dtype = (batch, *samples[0].shape), samples[0].dtype
        self._slots = [
            [
                np.frombuffer(mmap.mmap(-1, batch * samples[0].nbytes), dtype).reshape(shape)
                for _ in range(SLOTS_PER_WORKER)
            ]
            for _ in range(workers)
        ]
        self._tensors = [[torch.from_numpy(slot) for slot in slots] for slots in self._slots]
        self._free: list[SimpleQueue[tuple[int, int] | None]] = [fork.SimpleQueue() for _ in range(workers)]
        self._full: list[SimpleQueue[int]] = [fork.SimpleQueue() for _ in range(workers)]
        self._processes = [
            fork.Process(target=_fill, args=(samples, *parts), daemon=True)
            for parts in zip(self._slots, self._free, self._full, strict=True)
        ]

    def __enter__(self) -> Self:
        for process in self._processes:
            process.start()
        return self

    def __exit__(self, *_: object) -> None:
        for free in self._free:
            free.put(None)
        for process in self._processes:
            process.join()

    def epoch(self, batches: int) -> Iterator[torch.Tensor]:
        """Yield the batches in order; each is valid until the next one is asked for."""
        workers = len(self._processes)
        for number in range(min(batches, workers * SLOTS_PER_WORKER)):
            self._free[number % workers].put((number, number // workers))
        for number in range(batches):
            worker = number % workers
            slot = self._full[worker].get()
            yield self._tensors[worker][slot]
            following = number + workers * SLOTS_PER_WORKER
            if following < batches:
                self._free[worker].put((following, slot))


def _fill(
    samples: Sequence[np.ndarray[Any, Any]],
    slots: Sequence[np.ndarray[Any, Any]],
    free: SimpleQueue[tuple[int, int] | None],
    full: SimpleQueue[int],
) -> None:
    import numpy as np

    batch = len(slots[0])
    while (job := free.get()) is not None:
        number, slot = job
        first = number * batch
        np.stack([samples[index % len(samples)] for index in range(first, first + batch)], out=slots[slot])
        full.put(slot)
