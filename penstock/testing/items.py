"""Items as values that can be compared."""

from __future__ import annotations

from typing import Any

__all__ = ["plain"]


def plain(item: Any) -> Any:
    """Return an item as a value that can be compared: files are read, and arrays, tensors and tables are lists.

    Example:
        >>> import numpy as np
        >>> plain({"x": (np.arange(3), "a")})
        {'x': [[0, 1, 2], 'a']}
    """
    if isinstance(item, (list, tuple)):
        return [plain(part) for part in item]
    if isinstance(item, dict):
        return {key: plain(value) for key, value in item.items()}
    if hasattr(item, "read") and hasattr(item, "close"):
        data = item.read()
        item.close()
        return data
    for name in ("to_pylist", "tolist"):
        if type(item).__module__.partition(".")[0] in ("numpy", "torch", "pyarrow") and hasattr(item, name):
            return getattr(item, name)()
    return item
