"""An epoch that several ranks run in step: how they begin it together, and what each of them gives."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from penstock.core.errors import DifferentData, RankError
from penstock.core.losses import Again, filled
from penstock.core.witness import Witness
from penstock.pipes._agreement import Agreed, Policy
from penstock.pipes._rounds import NEVER, Channel, Exchange, Job
from penstock.reading_service.base import Epoch, Place, Progress, Run

__all__ = ["Start", "SyncedEpoch"]

# An epoch's progress is asked for so often that it takes this share of the time; what was given since is counted.
_PROGRESS_SHARE = 0.01
_HALF = 1 << 32


class Start(Job):
    """Asks the ranks for rank 0's seed, and whether all stand at the same place of the same data."""

    def __init__(self, epoch: int, run: Run, delivered: int, data: dict[str, Any]) -> None:
        self.epoch = epoch
        self.seed = run.seed
        self.done = False
        self.error: RankError | None = None
        progress = run.progress
        place = [run.epoch, delivered, progress.kind, progress.lanes, progress.next, run.seed if delivered else None]
        said = json.dumps([place, data]).encode()
        self._digest = int.from_bytes(hashlib.blake2b(said, digest_size=7).digest(), "big")
        self._data = data
        self._stands = f"epoch {run.epoch}, {delivered} batches delivered, {progress.lanes} {progress.kind}"

    def fields(self, rank: int) -> list[int]:
        seed = divmod(self.seed, _HALF) if rank == 0 else (NEVER, NEVER)
        return [self._digest, -self._digest, *seed]

    def take(self, found: list[int], exchange: Exchange) -> None:
        least, most, high, low = found[0], -found[1], *found[2:4]
        self.seed = high * _HALF + low
        if least != most:
            first, data = exchange.told((self._stands, self._data), 0)
            other = [name for name in self._data.keys() | data.keys() if self._data.get(name) != data.get(name)]
            if other:
                told = "; ".join(f"{name!r}: {self._data.get(name)}, there {data.get(name)}" for name in sorted(other))
                self.error = RankError(f"rank {exchange.rank} would divide other data than rank 0: {told}")
            else:
                self.error = RankError(
                    f"the ranks stand at different places, or divide different data: rank {exchange.rank} at "
                    f"{self._stands}; rank 0 at {first}. Every rank must load the same state, or its own part of it"
                )
        self.done = True

    def fail(self, error: RankError) -> None:
        self.error, self.done = error, True


class SyncedEpoch(Epoch):
    """A rank's epoch, as far as all ranks go; its progress is that behind the last item given."""

    def __init__(self, inner: Epoch, run: Run, place: Place, channel: Channel, policy: Policy) -> None:
        self._inner = inner
        self._world = place.world_size
        self._progress = run.progress.of(place.lanes(run.progress.lanes)).copy()
        items: Iterator[Any] = _Marked(inner)
        if run.losses is not None:
            items = filled(items, replace(run.losses, write=False))
        self._reading = Agreed(channel, items, policy, self._compared)
        self._again = False
        self.target = inner.target

    def __next__(self) -> Any:
        item, mark = next(self._reading)
        self._again = type(item) is Again
        if self._again:
            item = item.item
        progress = self._progress
        if self._reading.is_padding:
            if progress.kind == "blocks":
                progress.next += self._world
        elif isinstance(mark, Progress):
            self._progress = mark
        elif progress.kind == "blocks":
            progress.next += self._world
        else:
            for count in (progress.given, progress.behind):
                count[mark] = count.get(mark, 0) + 1
        return item

    def _compared(self, exchange: Exchange, over: bool) -> DifferentData | None:
        """Compare what the ranks have seen ahead of the sharding points; until the end, mostly how it began."""
        rank, witness, different = exchange.rank, self._inner.witness or Witness(), ""
        mark, least, most = witness.mark(whole=over)
        lowest, highest, least, most = exchange.least([mark, -mark, -least, most])
        if lowest == -highest and -least <= most:
            return None
        for said in exchange.told(witness.said() if rank == 0 else None, 0):
            try:
                witness.hear(said, "rank 0")
            except DifferentData as error:
                different = str(error)
                break
        (first,) = exchange.least([rank if different else NEVER])
        return None if first == NEVER else DifferentData(exchange.told(different, first))

    @property
    def progress(self) -> Progress:  # type: ignore[override]  # a field elsewhere
        return self._progress

    @property
    def is_padding(self) -> bool:  # type: ignore[override]  # a field elsewhere
        return self._reading.is_padding or self._again

    @property
    def dropped(self) -> int:  # type: ignore[override]  # a field elsewhere
        return self._reading.dropped

    def close(self) -> None:
        self._reading.close()
        self._inner.close()


class _Marked:
    """An epoch's items, each with the progress behind it; or with its lane, where the progress would cost too much."""

    def __init__(self, epoch: Epoch) -> None:
        self._epoch = epoch
        self._next = 0.0  # when the progress may be asked for again

    def __iter__(self) -> Iterator[tuple[Any, Progress | str]]:
        return self

    def __next__(self) -> tuple[Any, Progress | str]:
        item = next(self._epoch)
        began = time.perf_counter()
        if began < self._next:
            return item, str(self._epoch.lane)
        progress = self._epoch.progress.copy()
        now = time.perf_counter()
        self._next = now + (now - began) / _PROGRESS_SHARE
        return item, progress

    def close(self) -> None:
        self._epoch.close()
