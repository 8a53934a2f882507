"""`monitor_`: the measurement over any iterable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from penstock.core.metrics import MetricsConf
from penstock.pipes._metrics import item_bytes
from penstock.pipes._passing import windowed
from penstock.pipes.monitor import calling

__all__ = ["monitor_"]

T = TypeVar("T")


def monitor_(
    iterable: Iterable[T],
    callback: Callable[..., object],
    prefix: str | None = None,
    metrics_conf: MetricsConf | type[MetricsConf] = MetricsConf,
    *,
    window_size: int = 5,
    **kw: Any,
) -> Iterator[T]:
    """Yield the items of any iterable, and report how many pass in a second: `Monitor` for each item, without a graph.

    Raises:
        ValueError: ``window_size`` is not positive.

    Example:
        >>> calls = []
        >>> list(monitor_(range(5), calls.append, window_size=5))
        [0, 1, 2, 3, 4]
        >>> len(calls)
        1
    """
    if window_size < 1:
        raise ValueError(f"window_size must be at least 1, got {window_size}")
    if not (metrics_conf.iops or metrics_conf.throughput):
        return iter(iterable)
    call = calling(callback, prefix or "", metrics_conf, kw)
    return windowed(iterable, call, window_size, item_bytes if metrics_conf.throughput else None)
