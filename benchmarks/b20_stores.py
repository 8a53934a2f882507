"""B20: stores of shards: writing, reading, reading Squirrel's old files, and reading from a store that is far away.

A sample is a dict with an image of 32 x 32 x 3 random bytes (3 KiB), a label and a key; a shard has 100.
"""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from time import sleep
from typing import Any

from benchmarks._pair import Side
from benchmarks._side import expect, rates

PER_SHARD = 100
FAR_SHARDS, FAR_S, FAR_THREADS = 200, 0.02, 16


def groups(quick: bool) -> list[list[Side]]:
    found = []
    for format, shards in (("msgpack", 40), ("jsonl", 10)):
        size = {"format": format, "shards": shards // 4 if quick else shards}
        few = {"format": format, "shards": {"msgpack": 10, "jsonl": 2}[format]}
        for what, ours, theirs, how in (
            ("write", penstock_write, squirrel_write, few),
            ("read", penstock_read, squirrel_read, size),
            ("read old", penstock_read_old, squirrel_read_old, size),
        ):
            found.append(
                [
                    Side(f"{what} {format}", "samples/s", ours, how),
                    Side(f"Squirrel's {what} {format}", "samples/s", theirs, how, squirrel=True),
                ]
            )
    found.append(
        [
            Side("far away, 16 threads", "shards/s", penstock_far, {"threads": FAR_THREADS}),
            Side("far away, one at a time", "shards/s", penstock_far, {"threads": 0}),
            Side("Squirrel's far away, 16 threads", "shards/s", squirrel_far, {"threads": FAR_THREADS}, squirrel=True),
        ]
    )
    return found


def penstock_write(format: str, shards: int) -> Iterator[float]:
    return _writing(_penstock_store(format), shards)


def squirrel_write(format: str, shards: int) -> Iterator[float]:
    return _writing(_squirrel_store(format), shards)


def penstock_read(format: str, shards: int) -> Iterator[float]:
    return _reading(_written(_penstock_store(format), shards), _penstock_driver(format), shards)


def squirrel_read(format: str, shards: int) -> Iterator[float]:
    return _reading(_written(_squirrel_store(format), shards), _squirrel_driver(format), shards)


def penstock_read_old(format: str, shards: int) -> Iterator[float]:
    return _reading(_old_files(format, shards), _penstock_driver(format), shards)


def squirrel_read_old(format: str, shards: int) -> Iterator[float]:
    return _reading(_old_files(format, shards), _squirrel_driver(format), shards)


def penstock_far(threads: int) -> Iterator[float]:
    from penstock.drivers import MessagepackDriver

    return _far(MessagepackDriver(_far_away()), threads)


def squirrel_far(threads: int) -> Iterator[float]:
    from squirrel.driver import (  # type: ignore[import-not-found, unused-ignore]  # only the peers have it
        MessagepackDriver,
    )

    return _far(MessagepackDriver(_far_away()), threads)


def _penstock_store(format: str) -> Callable[[str], Any]:
    from penstock.stores import SquirrelStore

    return lambda url: SquirrelStore(url, format)


def _squirrel_store(format: str) -> Callable[[str], Any]:
    from squirrel.serialization import (  # type: ignore[import-not-found, unused-ignore]  # only the peers have it
        JsonSerializer,
        MessagepackSerializer,
    )
    from squirrel.store import (  # type: ignore[import-not-found, unused-ignore]  # only the peers have it
        SquirrelStore,
    )

    serializer = {"msgpack": MessagepackSerializer, "jsonl": JsonSerializer}[format]()
    return lambda url: SquirrelStore(url, serializer)


def _penstock_driver(format: str) -> Any:
    from penstock.drivers import JsonlDriver, MessagepackDriver

    return {"msgpack": MessagepackDriver, "jsonl": JsonlDriver}[format]


def _squirrel_driver(format: str) -> Any:
    from squirrel.driver import (  # type: ignore[import-not-found, unused-ignore]  # only the peers have it
        JsonlDriver,
        MessagepackDriver,
    )

    return {"msgpack": MessagepackDriver, "jsonl": JsonlDriver}[format]


def _writing(make: Callable[[str], Any], shards: int) -> Iterator[float]:
    def once() -> float:
        with tempfile.TemporaryDirectory() as folder:
            store = make(folder)
            for number in range(shards):
                store.set(_samples(number), key=f"{number:05d}")
            expect(len(list(store.keys())), shards, "shards")
        return shards * PER_SHARD

    _samples(0)
    return rates(once)


def _written(make: Callable[[str], Any], shards: int) -> str:
    folder = _folder()
    store = make(folder)
    for number in range(shards):
        store.set(_samples(number), key=f"{number:05d}")
    return folder


def _reading(folder: str, driver: Any, shards: int) -> Iterator[float]:
    def once() -> float:
        count = labels = 0
        for sample in driver(folder).get_iter():
            count += 1
            labels += sample["label"]
        expect((count, labels), (shards * PER_SHARD, PER_SHARD * sum(range(shards))), "samples, labels")
        return count

    expect(
        next(iter(driver(folder).get_iter(max_workers=0)))["image"].tolist(), _samples(0)[0]["image"].tolist(), "image"
    )
    return rates(once)


def _old_files(format: str, shards: int) -> str:
    """Write what Squirrel writes: one gzip stream, level 9, of samples without blocks or index."""
    import msgpack

    folder = _folder()
    for number in range(shards):
        if format == "msgpack":
            data = b"".join(msgpack.packb(sample, default=_nd) for sample in _samples(number))
        else:
            data = b"".join(json.dumps(sample, default=_nested).encode() + b"\n" for sample in _samples(number))
        (Path(folder) / f"{number:05d}.gz").write_bytes(gzip.compress(data, 9))
    return folder


def _nd(array: Any) -> dict[bytes, Any]:
    return {b"nd": True, b"type": array.dtype.str, b"kind": b"", b"shape": array.shape, b"data": array.tobytes()}


def _nested(array: Any) -> dict[str, Any]:
    return {"data": array.tolist(), "type": array.dtype.str, "shape": array.shape}


@cache
def _samples(number: int) -> list[dict[str, Any]]:
    import numpy as np

    rng = np.random.default_rng(number)
    images = rng.integers(0, 256, (PER_SHARD, 32, 32, 3), dtype=np.uint8)
    return [{"image": image, "label": number, "key": f"{number}-{i}"} for i, image in enumerate(images)]


def _folder() -> str:
    """Return a folder that is gone when this process ends."""
    folder = tempfile.TemporaryDirectory()
    _FOLDERS.append(folder)
    return folder.name


_FOLDERS: list[tempfile.TemporaryDirectory[str]] = []


def _far_away() -> str:
    """Return the URL of a store in which whatever is asked for takes 20 ms; its shards have one sample."""
    import fsspec
    import msgpack
    from fsspec.implementations.memory import MemoryFileSystem

    class FarAway(MemoryFileSystem):  # type: ignore[misc, unused-ignore]  # fsspec has no types
        protocol = "faraway"
        store: dict[str, Any] = {}  # noqa: RUF012  # a store of its own
        pseudo_dirs = [""]  # noqa: RUF012

        @classmethod
        def _strip_protocol(cls, path: str) -> Any:
            return super()._strip_protocol(path.removeprefix("faraway:/"))

        def _open(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:
            sleep(FAR_S)
            return super()._open(path, mode, **kwargs)

        def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> Any:
            sleep(FAR_S)
            return super().cat_file(path, start, end, **kwargs)

    fsspec.register_implementation("faraway", FarAway, clobber=True)
    fs = FarAway()
    for number in range(FAR_SHARDS):
        MemoryFileSystem.pipe_file(fs, f"/shards/{number:05d}.gz", gzip.compress(msgpack.packb({"label": number})))
    return "faraway://shards"


def _far(driver: Any, threads: int) -> Iterator[float]:
    def once() -> float:
        stream = driver.get_iter(max_workers=threads, prefetch_buffer=2 * FAR_THREADS)
        expect([sample["label"] for sample in stream], list(range(FAR_SHARDS)), "labels")
        return FAR_SHARDS

    return rates(once)
