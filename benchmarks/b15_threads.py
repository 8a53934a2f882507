"""B15: threads beside processes, 2 of each, where a function lets go of the GIL: zstd of 1 MB, numpy's sort, JPEG."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from benchmarks._pair import Side
from benchmarks._side import expect, rates

WORKERS, SIZE, SIDE = 2, 1 << 18, 512
UNIT = "items/s"


def groups(quick: bool) -> list[list[Side]]:
    return [
        [
            Side(f"{service}, {what}", UNIT, rounds, {"service": service, "what": what, "items": 50 if quick else 400})
            for service in ("threads", "processes")
        ]
        for what in ("zstd", "numpy", "JPEG")
    ]


def rounds(service: str, what: str, items: int) -> Iterator[float]:
    from penstock import DataLoader2, MultiProcessingReadingService, ThreadingReadingService
    from penstock.pipes import IterableWrapper

    kind: Any = ThreadingReadingService if service == "threads" else MultiProcessingReadingService
    make, size = {"zstd": (unpacking, SIZE), "numpy": (sorting, SIZE), "JPEG": (decoding, 3 * SIDE**2)}[what]
    pipe = IterableWrapper(range(items)).sharding_filter().map(make())
    loader: Any = DataLoader2(pipe, reading_service=kind(WORKERS))

    def epoch() -> float:
        expect(sum(array.size for array in loader), items * size, "values")
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


def decoding() -> Callable[[int], Any]:
    import io

    import numpy as np
    from PIL import Image

    file = io.BytesIO()
    across = np.linspace(0, 255, SIDE, dtype=np.uint8)
    Image.fromarray(np.stack([np.tile(across, (SIDE, 1)), np.tile(across[:, None], (1, SIDE))] * 2, -1)[..., :3]).save(
        file, "jpeg"
    )

    def decode(item: int) -> Any:
        return np.asarray(Image.open(io.BytesIO(file.getvalue())))

    return decode
