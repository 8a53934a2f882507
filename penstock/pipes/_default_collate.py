"""A list of samples made into one sample of tensors: the rules of torch's ``default_collate``, written over arrays.

Torch's own needs torch, and makes a new tensor for each batch; this one can write into memory that it is given, such as
a slot that the consumer sees.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any

from penstock.core.leaving import as_tensor

__all__ = ["collate"]


def collate(batch: Sequence[Any], empty: Callable[..., Any], wrap: Callable[[Any], Any]) -> Any:
    """Collate samples.

    Args:
        batch: the samples, alike in shape.
        empty: makes an array of a shape and dtype, uninitialised.
        wrap: makes an array what the batch should hold: `as_tensor` or `Deferred`.
    """
    first = batch[0]
    if isinstance(first, (str, bytes)):
        return batch if type(batch) is tuple else list(batch)  # as torch has it: a column of tuples is a tuple
    if isinstance(first, Mapping):
        values = {key: collate([sample[key] for sample in batch], empty, wrap) for key in first}
        return values if type(first) is dict else _like(first, values)
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*(collate(column, empty, wrap) for column in zip(*batch, strict=True)))
    if isinstance(first, Sequence):
        size = len(first)
        if any(len(sample) != size for sample in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        return [collate(column, empty, wrap) for column in zip(*batch, strict=True)]
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(first, torch.Tensor):
        return _stacked_tensors(batch, empty, wrap)
    return wrap(_stacked(batch, first, empty))


def _stacked(batch: Sequence[Any], first: Any, empty: Callable[..., Any]) -> Any:
    import numpy as np

    if isinstance(first, np.ndarray) and first.ndim:
        if first.dtype.kind in "OSUV":
            raise TypeError(_not_collatable(first.dtype))
        shape = first.shape
        if any(sample.shape != shape for sample in batch):
            found = sorted({sample.shape for sample in batch})
            raise RuntimeError(f"stack expects each array to be equal size, but got {found}")
        out = empty((len(batch), *shape), np.result_type(*{sample.dtype for sample in batch}))
        # concatenate into the flattened first axis: np.stack makes a view of each sample first
        np.concatenate(batch, out=out.reshape(len(batch) * shape[0], *shape[1:]))
        return out
    if isinstance(first, (bool, int, float, complex, np.generic, np.ndarray)):
        values = np.array(batch, dtype=np.float64 if type(first) is float else None)
        if values.dtype.kind in "OSUV":
            raise TypeError(_not_collatable(values.dtype))
        out = empty(values.shape, values.dtype)
        out[...] = values
        return out
    raise TypeError(_not_collatable(type(first)))


def _stacked_tensors(batch: Sequence[Any], empty: Callable[..., Any], wrap: Callable[[Any], Any]) -> Any:
    import torch

    first = batch[0]
    if wrap is as_tensor or first.dtype == torch.bfloat16 or first.layout != torch.strided or first.is_cuda:
        return torch.stack(list(batch))
    import numpy as np

    shape = (len(batch), *first.shape)
    out = empty(shape, np.dtype(str(first.dtype).removeprefix("torch.")))
    torch.stack(list(batch), out=torch.from_numpy(out))
    return wrap(out)


def _like(first: Any, values: dict[Any, Any]) -> Any:
    if isinstance(first, MutableMapping):
        import copy

        clone = copy.copy(first)
        clone.update(values)
        return clone
    try:
        return type(first)(values)  # most mappings can be made from one
    except TypeError:
        return values


def _not_collatable(found: object) -> str:
    return (
        f"default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {found}. "
        "Give collate a function of your own for other things"
    )
