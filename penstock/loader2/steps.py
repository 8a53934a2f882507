"""Passing over steps of an epoch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

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
        run = session.agreed(replace(running.run, progress=progress), running.delivered + steps)
        running.epoch = session.epoch(run)
    else:
        for _ in range(steps):
            for _item in running.epoch:
                break
    running.delivered += steps
