"""Lance's datasets for torch, where Lance itself has them."""

from penstock.lance.dataset import LanceDataset
from penstock.lance.safe import SafeLanceDataset, get_safe_loader

__all__ = ["LanceDataset", "SafeLanceDataset", "get_safe_loader"]
