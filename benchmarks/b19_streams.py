"""B19: Squirrel's streams: async_map, shuffle, leaving an async_map early, and the face against the pipes behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from time import perf_counter, sleep
from typing import Any

from benchmarks._pair import Side
from benchmarks._side import expect, rates

TASK_S, BUFFER, THREADS = 0.05, 100, 4


def groups(quick: bool) -> list[list[Side]]:
    size = {"size": 100_000 if quick else 1_000_000}
    few = {"size": 20_000 if quick else 100_000}
    return [
        [
            Side("async_map", "items/s", penstock_async, few),
            Side("Squirrel's async_map", "items/s", squirrel_async, few, squirrel=True),
        ],
        [
            Side("shuffle", "items/s", penstock_shuffle, size),
            Side("Squirrel's shuffle", "items/s", squirrel_shuffle, size, squirrel=True),
        ],
        [
            Side("leaving early", "s", penstock_leaving, {}),
            Side("leaving Squirrel's", "s", squirrel_leaving, {}, squirrel=True),
        ],
        [
            Side("four steps as a stream", "items/s", face, size),
            Side("four steps as DataPipes", "items/s", pipes, size),
        ],
    ]


def penstock_async(size: int) -> Iterator[float]:
    return _passes(_penstock(range(size)).async_map(abs), size)


def squirrel_async(size: int) -> Iterator[float]:
    return _passes(_squirrel(range(size)).async_map(abs), size)


def penstock_shuffle(size: int) -> Iterator[float]:
    return _passes(_penstock(range(size)).shuffle(), size)


def squirrel_shuffle(size: int) -> Iterator[float]:
    return _passes(_squirrel(range(size)).shuffle(), size)


def penstock_leaving() -> Iterator[float]:
    return _leaving(lambda: _penstock(range(1000)).async_map(slow, BUFFER, THREADS))


def squirrel_leaving() -> Iterator[float]:
    return _leaving(lambda: _squirrel(range(1000)).async_map(slow, BUFFER, THREADS))


def face(size: int) -> Iterator[float]:
    return _batches(_penstock(range(size)).map(add_one).filter(is_odd).shuffle(1000, 1000).batched(32), size)


def pipes(size: int) -> Iterator[float]:
    from penstock.pipes import IterableWrapper

    numbers = IterableWrapper(range(size), deepcopy=False).map(add_one).filter(is_odd)
    return _batches(numbers.shuffle(buffer_size=1000).batch(32, drop_last=True), size)


def add_one(x: int) -> int:
    return x + 1


def is_odd(x: int) -> int:
    return x & 1


def slow(x: int) -> int:
    sleep(TASK_S)
    return x


def _passes(stream: Iterable[Any], size: int) -> Iterator[float]:
    def once() -> float:
        count = 0
        for _ in stream:
            count += 1
        expect(count, size, "items")
        return size

    return rates(once)


def _batches(stream: Iterable[Any], size: int) -> Iterator[float]:
    def once() -> float:
        count = 0
        for batch in stream:
            count += len(batch)
        expect(count, size // 2 // 32 * 32, "items")
        return size

    return rates(once)


def _leaving(make: Callable[[], Any]) -> Iterator[float]:
    """Seconds until a stream that has given three items is gone."""
    while True:
        it = iter(make())
        expect([next(it) for _ in range(3)], [0, 1, 2], "items")
        begin_s = perf_counter()
        it.close() if hasattr(it, "close") else None
        del it
        yield perf_counter() - begin_s


def _penstock(items: Iterable[Any]) -> Any:
    from penstock.iterstream import IterableSource

    return IterableSource(items)


def _squirrel(items: Iterable[Any]) -> Any:
    from squirrel.iterstream import (  # type: ignore[import-not-found, unused-ignore]  # only the peers have it
        IterableSource,
    )

    return IterableSource(items)
