"""Items and bytes a second: what `monitor` measures, and what its callback is given."""

from __future__ import annotations

import logging
import pickle
import sys
from collections.abc import Callable
from math import floor
from typing import Any, Final

from penstock.core.metrics import MetricsConf

__all__ = ["Metrics", "getsize", "item_bytes", "metrics_iops", "metrics_throughput", "metrics_under"]

Metrics = dict[str, float]

_UNITS: Final = {"bytes": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}
_PLAIN: Final = frozenset((int, float, str, bytes, bool, type(None)))
_SHORTEST_S: Final = 1e-9  # what two looks at a coarse clock that show the same time are apart
_ENTRIES: Final = 64  # a container with more is data, and not a record of arrays


def getsize(item: Any) -> int:
    """Return an item's size in bytes: of the data of a numpy array, and of the pickle of anything else.

    Example:
        >>> import numpy as np
        >>> getsize(np.zeros(3)), getsize(b"abc") > 3
        (24, True)
    """
    size: int = item.nbytes if _is_array(item) else len(pickle.dumps(item))
    return size


def item_bytes(item: Any) -> int:
    """Return an item's size as `getsize` does, but count the arrays of a dict, list or tuple by their data as well.

    To pickle a dict with an array of 12 KiB takes 24 microseconds, nearly all of them for the array. The pickle is 150
    bytes longer, for the array's type and shape.
    """
    if type(item) in _PLAIN:
        return len(pickle.dumps(item))
    if _is_array(item):
        return int(item.nbytes)
    if type(item) in (dict, list, tuple) and len(item) <= _ENTRIES:
        entries = item.values() if type(item) is dict else item
        arrays: list[int] = [entry.nbytes for entry in entries if _is_array(entry)]
        if arrays:
            rest = [entry for entry in entries if not _is_array(entry)]
            return sum(arrays) + len(pickle.dumps([*item, rest] if type(item) is dict else rest))
    return len(pickle.dumps(item))


def _is_array(item: Any) -> bool:
    numpy: Any = sys.modules.get("numpy")
    return numpy is not None and isinstance(item, numpy.ndarray)


def metrics_iops(count: float, duration: float) -> float:
    """Return how many items a second ``count`` in ``duration`` seconds are, to two digits.

    Example:
        >>> metrics_iops(5, 2)
        2.5
    """
    return round(count / duration, 2)


def metrics_throughput(size: float, duration: float, unit: str = "bytes") -> float:
    """Return how much a second ``size`` bytes in ``duration`` seconds are, to two digits.

    A unit that is none of ``bytes``, ``KB``, ``MB`` and ``GB`` means bytes, and is warned of in the log.

    Example:
        >>> metrics_throughput(3 << 20, 2, "MB")
        1.5
    """
    return round(size / duration / _UNITS[known_unit(unit)], 2)


def known_unit(unit: str) -> str:
    """Return a unit, or bytes in the place of one that is unknown."""
    if unit in _UNITS:
        return unit
    logging.getLogger("penstock").warning(
        "%r is no unit of throughput; it must be one of %s. Bytes are used.", unit, ", ".join(_UNITS)
    )
    return "bytes"


def metrics_under(prefix: str, conf: MetricsConf | type[MetricsConf]) -> Callable[[float, float, float], Metrics]:
    """Return what makes the metrics of so many items, of so many bytes, in so many seconds.

    One that is switched off is there, and 0.
    """
    iops, throughput, unit = conf.iops, conf.throughput, known_unit(conf.throughput_unit)
    iops_name, throughput_name, size = f"{prefix}IOPS number/s", f"{prefix}throughput {unit}/s", _UNITS[unit]

    def metrics(items: float, size_bytes: float, seconds: float) -> Metrics:
        seconds = seconds or _SHORTEST_S
        return {
            iops_name: _rounded(items / seconds) if iops else 0,
            throughput_name: _rounded(size_bytes / seconds / size) if throughput else 0,
        }

    return metrics


def _rounded(value: float) -> float:
    """Return ``round(value, 2)``, in 0.1 microseconds and not 0.27: there are two for each item.

    Only where the third digit is about 5, or there are so many ahead of the point that it cannot be told, is it left to
    `round`.
    """
    hundredths = value * 100
    nearest = floor(hundredths + 0.5)
    if abs(hundredths - nearest) > 0.499 or value > 1e9:
        return round(value, 2)
    return nearest / 100
