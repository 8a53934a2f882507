"""Squirrel's name for `penstock.monitor`."""

from penstock.monitor import MetricsConf, metrics_iops, metrics_throughput

__all__ = ["MetricsConf", "metrics_iops", "metrics_throughput"]
