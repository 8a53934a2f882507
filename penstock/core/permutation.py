"""A permutation of ``range(n)`` that is computed, not stored.

A Feistel network permutes 2**b numbers, b even and 2**b >= n; a number that comes out at n or above goes through again
until it is below n ("cycle walking", Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002). At most four
rounds of walking are expected, as 2**b < 4 n. Everything is vectorised over a run of positions.

Below 65,536 items the whole permutation is drawn at once, which is no more than half a megabyte, and exactly uniform.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.core.seeds import hash_key, philox

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Permutation"]

_DRAWN_BELOW = 1 << 16
_ROUNDS = 6


class Permutation:
    """A permutation of ``range(size)`` that ``key`` chooses.

    Example:
        >>> sorted(Permutation(5, (1, 2)).between(0, 5))
        [0, 1, 2, 3, 4]
    """

    def __init__(self, size: int, key: tuple[int, int]) -> None:
        import numpy as np

        self.size = size
        self._drawn: NDArray[np.int64] | None = None
        if size < _DRAWN_BELOW:
            self._drawn = philox(key).permutation(size)
        self._half_bits = max(1, ((size - 1).bit_length() + 1) // 2)
        self._round_keys = [np.uint32(hash_key(*key, number)[0] & 0xFFFF_FFFF) for number in range(_ROUNDS)]

    def between(self, low: int, high: int) -> list[int]:
        """Return what stands at the positions ``low`` to ``high - 1``."""
        if self._drawn is not None:
            drawn: list[int] = self._drawn[low:high].tolist()
            return drawn
        import numpy as np

        values = self._permuted(np.arange(low, high, dtype=np.uint64))
        while len(outside := np.flatnonzero(values >= self.size)):
            values[outside] = self._permuted(values[outside])
        places: list[int] = values.tolist()
        return places

    def _permuted(self, values: NDArray[np.uint64]) -> NDArray[np.uint64]:
        import numpy as np

        bits = np.uint64(self._half_bits)
        mask = np.uint32((1 << self._half_bits) - 1)
        left = (values >> bits).astype(np.uint32)
        right = values.astype(np.uint32) & mask
        for key in self._round_keys:
            mixed = right * np.uint32(0x9E3779B1) + key
            mixed ^= mixed >> np.uint32(16)
            mixed *= np.uint32(0x85EBCA6B)
            mixed ^= mixed >> np.uint32(13)
            mixed *= np.uint32(0xC2B2AE35)
            mixed ^= mixed >> np.uint32(16)
            left, right = right, left ^ (mixed & mask)
        return (left.astype(np.uint64) << bits) | right
