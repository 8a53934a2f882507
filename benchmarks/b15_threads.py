"""B15: threads beside processes, 2 of each, where the function lets go of the GIL: zstd of 1 MB, and numpy's sort."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from benchmarks._pair import Side
from benchmarks._side import expect, rates

WORKERS, SIZE = 2, 1 << 18
UNIT = "items/s"


def groups(quick: bool) -> list[list[Side]]:
    return [
        [
            Side(f"{service}, {what}", UNIT, rounds, {"service": service, "what": what, "items": 50 if quick else 400})
            for service in ("threads", "processes")
        ]
        for what in ("zstd", "numpy")
    ]


def rounds(service: str, what: str, items: int) -> Iterator[float]:
    from penstock import DataLoader2, MultiProcessingReadingService, ThreadingReadingService
    from penstock.pipes import IterableWrapper

    kind: Any = ThreadingReadingService if service == "threads" else MultiProcessingReadingService
    pipe = IterableWrapper(range(items)).sharding_filter().map(unpacking() if what == "zstd" else sorting())
    loader: Any = DataLoader2(pipe, reading_service=kind(WORKERS))

    def epoch() -> float:
        expect(sum(int(array[-1]) for array in loader), items * (SIZE - 1), "the last values")
        return items

    try:
        yield from rates(epoch)
    finally:
        loader.shutdown()


def unpacking() -> Callable[[int], Any]:
    import numpy as np
    import zstandard

    packed = zstandard.compress(np.arange(SIZE, dtype=np.int32).tobytes())

    def unpack(item: int) -> Any:
        return np.frombuffer(zstandard.decompress(packed), np.int32)

    return unpack


def sorting() -> Callable[[int], Any]:
    import numpy as np

    mixed = np.random.default_rng(0).permutation(SIZE).astype(np.int32)

    def sort(item: int) -> Any:
        return np.sort(mixed)

    return sort
