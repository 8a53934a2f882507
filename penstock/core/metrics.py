"""Which metrics a `monitor` reports."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["MetricsConf"]


@dataclass
class MetricsConf:
    """Which metrics `monitor` reports, and the unit of the throughput.

    Args:
        iops: report the items a second.
        throughput: report the bytes a second.
        throughput_unit: ``bytes``, ``KB``, ``MB`` or ``GB``, which are powers of 1,024. Any other means bytes, and
            `monitor` says so.

    Example:
        >>> MetricsConf(throughput=False).asdict()
        {'iops': True, 'throughput': False, 'throughput_unit': 'MB'}
    """

    iops: bool = True
    throughput: bool = True
    throughput_unit: str = "MB"

    def asdict(self) -> dict[str, Any]:
        """Return the fields as a dict."""
        return asdict(self)
