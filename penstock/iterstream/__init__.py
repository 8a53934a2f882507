"""Squirrel's streams: Composables, over the same pipes as everything else."""

from penstock.iterstream._steps import AsyncContent
from penstock.iterstream.base import Composable
from penstock.iterstream.multiplexer import Multiplexer, MultiplexingStrategy
from penstock.iterstream.source import FilePathGenerator, IterableSamplerSource, IterableSource
from penstock.iterstream.torch_composables import (
    PyTorchSplittingException,
    SplitByRank,
    SplitByWorker,
    TorchIterable,
    skip_k,
)

__all__ = [
    "AsyncContent",
    "Composable",
    "FilePathGenerator",
    "IterableSamplerSource",
    "IterableSource",
    "Multiplexer",
    "MultiplexingStrategy",
    "PyTorchSplittingException",
    "SplitByRank",
    "SplitByWorker",
    "TorchIterable",
    "skip_k",
]
