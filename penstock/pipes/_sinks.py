"""What takes metrics: names that it accepts, and the thread that it must be called in."""

from __future__ import annotations

import inspect
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

__all__ = ["acceptable_name", "distinct_prefixes", "is_mlflow", "of_this_run"]

_MLFLOW_REFUSES: Final = re.compile(r"[^\w\-. /:]" if os.name != "nt" else r"[^\w\-. /]")
_MLFLOW_LONGEST: Final = 200  # of 250 characters, so that the metric's own name has room behind a prefix


def is_mlflow(callback: Callable[..., object] | None) -> bool:
    """Whether a callback is one of mlflow's functions."""
    return (getattr(_function(callback), "__module__", None) or "").partition(".")[0] == "mlflow"


def acceptable_name(name: str, sink: str = "mlflow") -> str:
    """Return a metric's name, or the beginning of one, as a sink accepts it.

    ``mlflow`` takes letters, digits, and ``_ - . / :`` and the space (no colon on Windows), and names that are paths in
    their plainest form: what else there is, is left out. ``wandb`` and ``tensorboard`` take any name.

    Raises:
        ValueError: the sink is none of these.

    Example:
        >>> acceptable_name("(before async_map) IOPS number/s")
        'before async_map IOPS number/s'
    """
    if sink not in ("mlflow", "tensorboard", "wandb"):
        raise ValueError(f"sink must be 'mlflow', 'tensorboard' or 'wandb', got {sink!r}")
    if sink != "mlflow":
        return name
    *folders, last = _MLFLOW_REFUSES.sub("", name).split("/")
    plain = "/".join([*(folder for folder in folders if folder not in ("", ".", "..")), last])
    return plain.lstrip("./ ")[:_MLFLOW_LONGEST]


def distinct_prefixes(prefixes: Iterable[str]) -> dict[str, str]:
    """Return what stands for each prefix with mlflow. Two that would become the same one are told apart by a number.

    Example:
        >>> distinct_prefixes(["(train) ", "train ", "val "])
        {'train ': 'train ', 'val ': 'val ', '(train) ': 'train 2 '}
    """
    found: dict[str, str] = {}
    for prefix in sorted(dict.fromkeys(prefixes), key=lambda prefix: acceptable_name(prefix) != prefix):
        plain = acceptable_name(prefix)
        name, number = plain, 1
        while name in found.values():
            number += 1
            name = f"{plain.rstrip()} {number} ".lstrip()
        found[prefix] = name
    return found


def of_this_run(callback: Callable[..., Any]) -> Callable[..., Any]:
    """Return an mlflow function that logs to the run that is active here, whatever thread calls it.

    mlflow's active run is a thread's own. In a thread that has none (of a ``prefetch``, or an ``async_map``) a metric
    would begin another run. Told the run's id, mlflow reads all that the run has, each time, which takes a file
    store 0.3 s behind 40,000 values. So metrics go to its client there, which only writes.
    """
    mlflow: Any = sys.modules["mlflow"]
    run, thread = mlflow.active_run(), threading.get_ident()
    if run is None or "run_id" not in inspect.signature(callback).parameters:
        return callback
    client, run_id = mlflow.MlflowClient(), run.info.run_id

    def log(metrics: Any, **kw: Any) -> Any:
        if threading.get_ident() == thread:
            return callback(metrics, **kw)
        given = {**callback.keywords, **kw} if isinstance(callback, partial) else kw
        if _function(callback) is not mlflow.log_metrics or given.keys() - {"step", "synchronous", "timestamp"}:
            return callback(metrics, **{"run_id": run_id, **kw})
        step, ms = given.get("step") or 0, given.get("timestamp") or time.time_ns() // 1_000_000
        batch = [mlflow.entities.Metric(name, value, ms, step) for name, value in metrics.items()]
        return client.log_batch(run_id, metrics=batch, synchronous=given.get("synchronous"))

    return log


def _function(callback: Callable[..., object] | None) -> Callable[..., object] | None:
    while isinstance(callback, partial):
        callback = callback.func
    return callback
