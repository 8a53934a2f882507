"""What an epoch loses, counted where its items arrive (see `penstock.core.bad`)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from penstock.core.bad import HOLE, BadSamples, Loss, Lossy, behind
from penstock.core.errors import TooManyBadSamples

__all__ = ["Again", "Losses", "filled"]

_TOLD: Final = 3  # losses that an error names


class Again:
    """An item that is given a second time, in the place of one that was lost as a whole."""

    def __init__(self, item: Any) -> None:
        self.item = item


def filled(items: Iterable[tuple[Any, Any]], losses: Losses) -> Iterator[tuple[Any, Any]]:
    """Yield pairs of an item and a mark, and for a hole the item before it again, else the one that comes next.

    Args:
        items: the pairs.
        losses: raises where there are too many.
    """
    last: Any = HOLE
    holes: list[tuple[Lossy, Any]] = []
    for item, mark in items:
        value = losses.take(item)
        if value is not HOLE:
            last = value
        elif last is HOLE:
            holes.append((item, mark))
            continue
        for hole, of_hole in holes:
            yield Again(behind(hole, last)), of_hole
        holes.clear()
        yield (Again(behind(item, last)) if value is HOLE else item), mark


@dataclass
class Losses:
    """What an epoch has lost so far, counted where the items arrive.

    Attributes:
        policy: what is allowed.
        skipped: samples.
        retried: attempts that were repeated.
        samples: how many there were in all, as far as the graph's batches tell.
        rank: whose counts these are.
        epoch: of which they are.
        per_item: how many samples an item is made of.
        write: whether to write dead letters.
    """

    policy: BadSamples
    rank: int = 0
    epoch: int = 0
    per_item: int = 1
    write: bool = True
    skipped: int = 0
    retried: int = 0
    samples: int = 0

    def take(self, item: Any) -> Any:
        """Count an item, and return its value or `HOLE`.

        Raises:
            TooManyBadSamples: with it the limit is exceeded.
        """
        self.samples += self.per_item
        if type(item) is not Lossy:
            return item
        self.retried += item.retried
        if item.losses:
            self.skipped += len(item.losses)
            if self.write:
                self._write(item.losses)
            if self.policy.over(self.skipped, self.samples):
                raise self._too_many(item.losses)
        return item.value

    def counts(self) -> list[int]:
        """Return what a state keeps."""
        return [self.skipped, self.retried, self.samples]

    def restore(self, counts: dict[str, list[int]], world_size: int) -> None:
        """Take what a state has kept of ranks whose place this one takes."""
        for rank, (skipped, retried, samples) in counts.items():
            if int(rank) % world_size == self.rank:
                self.skipped += skipped
                self.retried += retried
                self.samples += samples

    def end(self) -> None:
        """Check a share of the whole epoch."""
        if self.policy.over(self.skipped, self.samples, at_end=True):
            raise self._too_many([])

    def _too_many(self, losses: list[Loss]) -> TooManyBadSamples:
        told = "".join(
            f"\n  {loss['place'].get('pipe')}: {loss['source']!r}: {loss['error']}" for loss in losses[:_TOLD]
        )
        return TooManyBadSamples(
            f"{self.skipped} of {max(self.samples, self.skipped)} samples were bad, and the limit is "
            f"{self.policy.limit}" + (f"; the last:{told}" if told else "")
        )

    def _write(self, losses: list[Loss]) -> None:
        if self.policy.dead_letter is None:
            return
        place = {"rank": self.rank, "epoch": self.epoch}
        lines = (json.dumps({**loss, "place": {**place, **loss["place"]}}) + "\n" for loss in losses)
        with open(self.policy.dead_letter, "a", encoding="utf-8") as file:
            file.write("".join(lines))
