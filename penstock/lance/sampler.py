"""Which rows of a Lance data set a process reads, and in which order: Lance's samplers, where Lance itself has them."""

from penstock.lance._planner import FragmentSampler, FullScanSampler, Sampler
from penstock.lance._sharded import ShardedBatchSampler, ShardedFixedBatchSampler, ShardedFragmentSampler

__all__ = [
    "FragmentSampler",
    "FullScanSampler",
    "Sampler",
    "ShardedBatchSampler",
    "ShardedFixedBatchSampler",
    "ShardedFragmentSampler",
]
