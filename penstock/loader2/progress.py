"""A progress bar over an epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import Any, TypeVar

__all__ = ["with_bar"]

T = TypeVar("T")


def with_bar(loader: Sized, items: Iterator[T], done: int, options: bool | dict[str, Any]) -> Iterator[T]:
    """Yield items and show a tqdm bar, with the length where the loader knows it."""
    from tqdm.auto import tqdm

    try:
        total: int | None = len(loader)
    except TypeError:
        total = None
    arguments = {"total": total, "initial": done, "unit": "batch", **(options if isinstance(options, dict) else {})}
    with tqdm(**arguments) as bar:
        for item in items:
            yield item
            bar.update()
