"""Columns of Arrow as numpy arrays or tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from penstock.core.errors import DecodeError

__all__ = ["Conversion"]


@dataclass(frozen=True)
class Conversion:
    """How the columns of a record batch become arrays: a stand-in."""

    nulls: str = "error"

    def to_numpy(self, batch: Any) -> dict[str, Any]:
        """Return the columns as numpy arrays that can be written into."""
        return {name: self._array(name, batch.column(i)) for i, name in enumerate(batch.schema.names)}

    def to_torch(self, batch: Any) -> dict[str, Any]:
        """Return the columns as tensors, and as lists where torch has no such type."""
        import torch

        return {
            name: torch.from_numpy(array) if array.dtype != object else array.tolist()
            for name, array in self.to_numpy(batch).items()
        }

    def _array(self, name: str, column: Any) -> Any:
        import numpy as np

        if column.null_count:
            raise DecodeError(f"column {name!r} has nulls")
        array = column.to_numpy(zero_copy_only=False)
        return array if array.flags.writeable else np.array(array)
