"""All randomness is counter-based (Philox) and comes from hashes of (run seed, epoch, pipe name, place)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

__all__ = ["draw_seed", "epoch_in_reset", "hash_key", "kept_globals", "philox", "seed_globals"]

# The epoch that a reset function is being called for: a seed that it sets counts epochs from there.
epoch_in_reset: ContextVar[int] = ContextVar("penstock_epoch_in_reset", default=0)


def hash_key(*parts: object) -> tuple[int, int]:
    """Return 128 bits, as two words, that depend on every part and on their order."""
    import hashlib

    digest = hashlib.blake2b(repr(parts).encode(), digest_size=16).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


def philox(key: tuple[int, int]) -> np.random.Generator:
    """Return a generator over the stream that ``key`` names."""
    import numpy as np

    return np.random.Generator(np.random.Philox(key=np.array(key, dtype=np.uint64)))


def draw_seed() -> int:
    """Return a new seed: from torch's generator where torch is loaded, so that ``torch.manual_seed`` repeats a run."""
    import random

    torch: Any = sys.modules.get("torch")
    if torch is not None:
        return int(torch.empty((), dtype=torch.int64).random_().item())
    return random.getrandbits(63)


@contextmanager
def kept_globals() -> Iterator[None]:
    """Leave ``random``, ``numpy.random`` and torch's CPU generator as they are, where they are loaded."""
    import random

    # Another thread may be half way through importing one of them.
    numpy: Any = sys.modules.get("numpy.random")
    torch: Any = sys.modules.get("torch")
    kept = [(random.setstate, random.getstate())]
    if hasattr(numpy, "get_state"):
        kept.append((numpy.set_state, numpy.get_state()))
    if hasattr(torch, "get_rng_state"):
        kept.append((torch.set_rng_state, torch.get_rng_state()))
    try:
        yield
    finally:
        for restore, state in kept:
            restore(state)


def seed_globals(key: tuple[int, int]) -> None:
    """Seed ``random``, ``numpy.random`` and (where it is loaded) torch's CPU generator."""
    import random

    low, high = key
    random.seed(low)
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(high >> 32)
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(high & 0x7FFF_FFFF_FFFF_FFFF)
