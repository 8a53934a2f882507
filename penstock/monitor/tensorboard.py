"""TensorBoard as a monitor's callback."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Protocol

__all__ = ["to_tensorboard"]


class Writer(Protocol):
    """What is needed of a ``SummaryWriter``, be it torch's or tensorboardX's."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> Any:
        """Write a value."""
        ...


def to_tensorboard(writer: Writer) -> Callable[..., None]:
    """Return a callback that writes metrics by a ``SummaryWriter``; each metric's calls are its steps, from 0 on.

    One callback serves any number of monitors. ``step=`` gives another number: ``pipe.monitor(callback, step=3)``.

    Example:
        >>> class Writer:
        ...     def add_scalar(self, tag, scalar_value, global_step):
        ...         print(tag, scalar_value, global_step)
        >>> log = to_tensorboard(Writer())
        >>> log({"IOPS number/s": 2.5}), log({"IOPS number/s": 3.5})
        IOPS number/s 2.5 0
        IOPS number/s 3.5 1
        (None, None)
    """
    steps: Counter[str] = Counter()

    def log(metrics: Mapping[str, float], step: int | None = None) -> None:
        for name, value in metrics.items():
            writer.add_scalar(name, value, steps[name] if step is None else step)
            steps[name] += 1

    return log
