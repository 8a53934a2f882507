"""Lance's face of the pipes: its datasets for torch, its samplers, and writing, under their names."""

from penstock.core.pipe import join_torch
from penstock.lance.dataset import LanceDataset
from penstock.lance.safe import SafeLanceDataset, get_safe_loader
from penstock.lance.sampler import (
    FragmentSampler,
    FullScanSampler,
    Sampler,
    ShardedBatchSampler,
    ShardedFixedBatchSampler,
    ShardedFragmentSampler,
)
from penstock.lance.writing import write_dataset

__all__ = [
    "FragmentSampler",
    "FullScanSampler",
    "LanceDataset",
    "SafeLanceDataset",
    "Sampler",
    "ShardedBatchSampler",
    "ShardedFixedBatchSampler",
    "ShardedFragmentSampler",
    "get_safe_loader",
    "write_dataset",
]

join_torch()
