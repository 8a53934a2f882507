"""What will be a tensor. A worker collates to arrays and need not load torch; on arrival they are tensors."""

from __future__ import annotations

from typing import Any

__all__ = ["Deferred", "as_tensor"]


class Deferred:
    """An array that unpickles as a torch tensor over the same memory."""

    __slots__ = ("array",)

    def __init__(self, array: Any) -> None:
        self.array = array

    def __reduce__(self) -> tuple[Any, ...]:
        return as_tensor, (self.array,)


def as_tensor(array: Any) -> Any:
    """Return a tensor that shares the array's memory."""
    import torch

    return torch.from_numpy(array)
