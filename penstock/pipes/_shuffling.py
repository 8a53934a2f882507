"""What the pipes that shuffle have in common: they can be switched off, and given a seed of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from penstock.core.seeds import epoch_in_reset, hash_key

if TYPE_CHECKING:
    from penstock.core.context import Context
    from penstock.core.pipe import Pipe

__all__ = ["Shuffling", "shuffle_key"]


class Shuffling:
    """The switch and the seed of a pipe that shuffles. Both are set before the pipe runs."""

    _enabled: bool = True
    _seed: int | None = None
    _seed_epoch: int = 0

    def set_shuffle(self, shuffle: bool = True) -> Self:
        """Switch shuffling on or off, in place."""
        self._enabled = shuffle
        return self

    def set_seed(self, seed: int) -> Self:
        """Fix the seed of this pipe, in place, whatever the run's seed is. Epochs still differ.

        Where a service's reset function calls it ahead of each epoch, each epoch is the first one of the seed that it
        gives: the same seed gives the same order.
        """
        self._seed, self._seed_epoch = seed, epoch_in_reset.get()
        return self


def shuffle_key(pipe: Pipe, ctx: Context) -> tuple[int, int]:
    """Return the key of a pipe's numbers: that of its own seed, if it has one."""
    assert isinstance(pipe, Shuffling)
    if pipe._seed is None:
        return ctx.key(pipe)
    return hash_key(pipe._seed, ctx.epoch - pipe._seed_epoch, ctx.passes, ctx.name(pipe))
