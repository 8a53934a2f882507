"""Metrics: how fast a pipeline is, at any place of it, reported to wandb, mlflow, TensorBoard, or a function.

The pipe is `Monitor`, a method of every pipe: ``pipe.monitor(wandb.log)``.
"""

from penstock.core.metrics import MetricsConf
from penstock.monitor.functional import monitor_
from penstock.monitor.tensorboard import to_tensorboard
from penstock.pipes._metrics import getsize, metrics_iops, metrics_throughput
from penstock.pipes._sinks import acceptable_name
from penstock.pipes.monitor import Monitor

__all__ = [
    "MetricsConf",
    "Monitor",
    "acceptable_name",
    "getsize",
    "metrics_iops",
    "metrics_throughput",
    "monitor_",
    "to_tensorboard",
]
