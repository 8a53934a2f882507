"""DataChunk: what ``batch`` yields."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

T = TypeVar("T")


class DataChunk(list[T]):
    """A batch: a list. ``items`` (torchdata's name for its content) is the list itself."""

    def as_str(self, indent: str = "") -> str:
        """Return the batch as text, behind ``indent``."""
        return indent + "[" + ", ".join(map(str, self)) + "]"

    @property
    def items(self) -> DataChunk[T]:
        """The content: this list."""
        return self

    def raw_iterator(self) -> Iterator[T]:
        """Yield the items."""
        yield from self
