"""Passing over steps of an epoch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from penstock.core.bad import HOLE
from penstock.reading_service.base import Place

if TYPE_CHECKING:
    from penstock.loader2.iterator import Running
    from penstock.reading_service.base import Session

__all__ = ["passed_over"]


def passed_over(session: Session, running: Running, steps: int, place: Place) -> None:
    """Let a running epoch go on ``steps`` batches further on.

    Blocks are passed over ahead of the sharding point. What lanes give is made, and dropped.
    """
    progress = running.epoch.progress
    if progress.kind == "blocks":
        progress = replace(progress, next=progress.next + steps * place.world_size)
        running.epoch.close()
        losses = None if running.losses is None else replace(running.losses)
        run = replace(running.run, progress=progress, losses=losses)
        run = session.agreed(run, running.delivered + steps)
        running.epoch = session.epoch(run)
    else:
        for _ in range(steps):
            for item in running.epoch:
                if running.losses is None or running.losses.take(item) is not HOLE:
                    break
    running.delivered += steps
