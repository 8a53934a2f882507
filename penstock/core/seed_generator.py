"""SeedGenerator: torchdata's source of seeds, for the hooks that get one."""

from __future__ import annotations

from penstock.core.seeds import draw_seed, hash_key

__all__ = ["SeedGenerator"]

_LIMIT = 1 << 64


class SeedGenerator:
    """Draws seeds: shared ones, the same in every worker, and its own.

    Args:
        seed: below 2**64; drawn from torch's generator unless given.

    Example:
        >>> a, b = SeedGenerator(7).spawn(0), SeedGenerator(7).spawn(1)
        >>> a.generate_shared_seed() == b.generate_shared_seed(), a.generate_seed() == b.generate_seed()
        (True, False)
    """

    def __init__(self, seed: int | None = None) -> None:
        self.seed(draw_seed() if seed is None else seed)

    def seed(self, seed: int) -> None:
        """Start again from a seed."""
        if not 0 <= seed < _LIMIT:
            raise ValueError(f"Expected an uint64 seed, but got {seed}.")
        self._shared = ("shared", seed)
        self._own: tuple[object, ...] = ("worker", seed)
        self._shared_count = self._own_count = 0

    def generate_shared_seed(self) -> int:
        """Return a seed that every generator spawned from the same one draws too."""
        self._shared_count += 1
        return hash_key(self._shared, self._shared_count)[0] >> 1

    def generate_seed(self) -> int:
        """Return a seed that no other worker draws."""
        self._own_count += 1
        return hash_key(self._own, self._own_count)[0] >> 1

    def spawn(self, worker_id: int, inplace: bool = False) -> SeedGenerator:
        """Return the generator of a worker: its own seeds differ, its shared seeds do not.

        What it draws is fixed by this one's seed and ``worker_id``, and by how many shared seeds have been drawn.

        Args:
            worker_id: which worker.
            inplace: make this generator the worker's, and return it.

        Raises:
            ValueError: a negative ``worker_id``.
        """
        if worker_id < 0:
            raise ValueError(f"Expected `rank` equal or larger than 0, but got {worker_id}.")
        if inplace:
            child = self
        else:
            child = SeedGenerator(0)
            child._shared, child._shared_count = self._shared, self._shared_count
        child._own, child._own_count = ("spawned", self._own, worker_id), 0
        return child
