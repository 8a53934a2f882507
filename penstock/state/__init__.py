"""Snapshots of a loader: what `DataLoader2.state_dict` returns, and what it takes back."""

from penstock.state.snapshot import restored, snapshot

__all__ = ["restored", "snapshot"]
