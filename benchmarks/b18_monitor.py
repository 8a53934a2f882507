"""B18: what `monitor` costs: with ``every_s=1`` over a stream of about a million items a second, and for each item."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from time import process_time
from typing import Any

from benchmarks._pair import Side
from benchmarks._side import expect

ITEMS = ("ints", "dicts")  # the dicts with an array of 12 KiB


def groups(quick: bool) -> list[list[Side]]:
    each = {"ints": 20_000 if quick else 200_000, "dicts": 5_000 if quick else 50_000}
    return [
        [
            Side(name, "items/s", every_second, {"size": 200_000 if quick else 3_000_000, "monitored": monitored})
            for name, monitored in (("monitor(every_s=1)", True), ("no monitor", False))
        ],
        *(
            [
                Side(f"penstock, {kind}", "items/s", penstock, {"size": each[kind], "kind": kind}),
                Side(f"Squirrel, {kind}", "items/s", squirrel, {"size": each[kind], "kind": kind}, squirrel=True),
            ]
            for kind in ITEMS
        ),
    ]


def every_second(size: int, monitored: bool) -> Iterator[float]:
    from penstock.pipes import IterableWrapper

    pipe: Any = IterableWrapper(range(size), deepcopy=False).map(microsecond)
    calls: list[dict[str, float]] = []
    rounds = _rates(pipe.monitor(calls.append, every_s=1) if monitored else pipe, size)
    for rate in rounds:
        expect(bool(calls), monitored, "calls")
        yield rate


def microsecond(item: int) -> int:
    """Take about a microsecond."""
    sum(range(170))
    return item


def penstock(size: int, kind: str) -> Iterator[float]:
    from penstock.pipes import IterableWrapper

    return _calls(lambda callback: IterableWrapper(_items(size, kind), deepcopy=False).monitor(callback), size)


def squirrel(size: int, kind: str) -> Iterator[float]:
    from squirrel.iterstream import (  # type: ignore[import-not-found, unused-ignore]  # only the peers have it
        IterableSource,
    )

    return _calls(lambda callback: IterableSource(_items(size, kind)).monitor(callback), size)


def _calls(make: Callable[[Callable[[dict[str, float]], None]], Iterable[Any]], size: int) -> Iterator[float]:
    """Items a second, with a callback that counts: one call for each item from the fifth on."""
    calls = 0

    def callback(metrics: dict[str, float]) -> None:
        nonlocal calls
        calls += 1

    stream = make(callback)
    for number, rate in enumerate(_rates(stream, size), 2):
        expect(calls, number * (size - 4), "calls")
        yield rate


def _items(size: int, kind: str) -> list[Any]:
    import numpy as np

    if kind == "ints":
        return list(range(size))
    return [{"image": np.zeros((64, 64, 3), np.uint8), "label": 3}] * size


def _rates(stream: Iterable[Any], size: int) -> Iterator[float]:
    """Items a second of processor time: what runs beside does not count. The first pass is the warm-up."""
    expect(sum(1 for _ in stream), size, "items")
    while True:
        begin_s = process_time()
        expect(sum(1 for _ in stream), size, "items")
        yield size / (process_time() - begin_s)
