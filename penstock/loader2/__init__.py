"""DataLoader2: a graph and a service, run epoch after epoch."""

from penstock.loader2.loader import DataLoader2, DataLoader2Iterator

__all__ = ["DataLoader2", "DataLoader2Iterator"]
