"""Data sets of Hugging Face's `datasets`: told apart, chosen from, loaded; without importing it unless it is needed."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from penstock.core.errors import MissingExtra

__all__ = ["check_dataset", "chosen", "imported", "is_streamed", "on_disk"]


def imported() -> Any:
    """Return the package. MissingExtra where it is not installed."""
    try:
        import datasets
    except ImportError:
        raise MissingExtra("reading this needs datasets: pip install 'penstock[huggingface]'") from None
    return datasets


def check_dataset(dataset: Any, split: str | None, columns: Sequence[str] | None) -> Any:
    """Return a ``Dataset`` or ``IterableDataset``: what was given, one of its splits, or the path of a folder.

    TypeError for anything else. ValueError where a split must be chosen and is not, or is chosen of what has none, and
    for a column that is not there.
    """
    if isinstance(dataset, (str, os.PathLike)):
        return os.fspath(dataset)
    datasets: Any = sys.modules.get("datasets")
    if datasets is not None and isinstance(dataset, dict) and type(dataset).__module__.startswith("datasets"):
        dataset = chosen(dataset, split)
    elif split is not None:
        raise ValueError(f"split= is of a DatasetDict, or a folder that has one, but got {type(dataset).__name__}")
    if datasets is None or not isinstance(dataset, (datasets.Dataset, datasets.IterableDataset)):
        raise TypeError(
            "a Dataset or IterableDataset of Hugging Face's, or the folder of save_to_disk, is expected, but got "
            f"{type(dataset).__name__}"
        )
    there = dataset.column_names  # None where that is known only when it is read
    if there is not None and (missing := [name for name in columns or () if name not in there]):
        raise ValueError(f"the data set has no column {', '.join(map(repr, missing))}; it has {', '.join(there)}")
    return dataset


def is_streamed(dataset: Any) -> bool:
    """Whether what `check_dataset` returned has no rows by number."""
    datasets: Any = sys.modules.get("datasets")
    return datasets is not None and isinstance(dataset, datasets.IterableDataset)


def chosen(splits: Any, split: str | None) -> Any:
    """Return one of several splits."""
    if split is None or split not in splits:
        asked = "" if split is None else f", and not {split!r}"
        raise ValueError(f"there are the splits {', '.join(splits)}{asked}: choose one with split=")
    return splits[split]


def on_disk(path: str, split: str | None) -> Any:
    """Load what ``save_to_disk`` wrote; its tables are mapped into memory."""
    found = imported().load_from_disk(path)
    if isinstance(found, dict):
        return chosen(found, split)
    if split is not None:
        raise ValueError(f"{path} has no splits, and split={split!r} is asked for")
    return found
