"""Samples that were read one by one, as columns."""

from __future__ import annotations

from typing import Any

__all__ = ["columns_of"]


def columns_of(samples: list[Any]) -> dict[str, list[Any]]:
    """Return samples as columns.

    Raises:
        TypeError: a sample is no dict. ValueError: one has other keys than the first, or there is none.
    """
    if not samples:
        raise ValueError("there are no samples, and nothing else tells which columns a table of them would have")
    names: list[str] = []
    for number, sample in enumerate(samples):
        if not isinstance(sample, dict) or not sample:
            raise TypeError(f"a row of a table is a dict with columns, got {sample!r:.100}")
        names = names or [str(name) for name in sample]
        if [str(name) for name in sample] != names and sorted(map(str, sample)) != sorted(names):
            raise ValueError(
                f"sample {number} of a shard has the columns {sorted(map(str, sample))}, not {sorted(names)}"
            )
    return {name: [sample[name] for sample in samples] for name in names}
