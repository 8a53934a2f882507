"""PinMemory (``pin_memory``): a thread that copies tensors into memory from which a GPU can fetch them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from penstock.core.context import Context
from penstock.core.pipe import ONE_TO_ONE, IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.pipes._ahead import work_ahead

__all__ = ["PinMemory", "pin_memory_fn"]

T = TypeVar("T")

_AHEAD = 2  # pinned memory is scarce: one item is copied to the GPU while the next one is being pinned


def pin_memory_fn(data: Any, device: Any = None) -> Any:
    """Return ``data`` with its tensors in pinned memory.

    Looks into mappings, sequences, named tuples, and whatever has a method ``pin_memory`` of its own; strings, bytes
    and all else come back as they are. ``device`` is there for functions that need it: torch pins for the current one.

    Example:
        >>> class Batch:
        ...     def pin_memory(self):
        ...         return "pinned"
        >>> pin_memory_fn({"a": [Batch(), 1], "b": (Batch(), "text")})
        {'a': ['pinned', 1], 'b': ('pinned', 'text')}
    """
    if hasattr(data, "pin_memory"):
        return data.pin_memory()
    if isinstance(data, (str, bytes, bytearray)):
        return data
    if isinstance(data, Mapping):
        return _like(data, {key: pin_memory_fn(value, device) for key, value in data.items()})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*(pin_memory_fn(value, device) for value in data))
    if isinstance(data, Sequence) and not isinstance(data, range):
        return _like(data, [pin_memory_fn(value, device) for value in data])
    return data


@functional_datapipe("pin_memory")
class PinMemory(IterDataPipe[T]):
    """Copy the tensors of each item into pinned memory (functional name: ``pin_memory``).

    A thread does it, two items ahead of their use. Place it last, in the process that trains.

    Args:
        source_datapipe: the source.
        device: the CUDA device that the items will go to; the current one unless given.
        pin_memory_fn: what pins an item: a function of the item and the device; `pin_memory_fn` of this module unless
            given.

    Raises:
        RuntimeError: there is no CUDA.

    State: that after the last item delivered. None of its own.

    Example:
        >>> import torch
        >>> from penstock.pipes import IterableWrapper
        >>> source = IterableWrapper([torch.zeros(2)])
        >>> not torch.cuda.is_available() or next(iter(source.pin_memory())).is_pinned()
        True
    """

    arity = ONE_TO_ONE

    def __init__(
        self,
        source_datapipe: IterDataPipe[T],
        device: Any = None,
        pin_memory_fn: Callable[[T, Any], T] | None = None,
    ) -> None:
        source_datapipe = check_source(self, source_datapipe)
        if pin_memory_fn is not None and not callable(pin_memory_fn):
            raise TypeError(f"pin_memory_fn must be a function, but got {type(pin_memory_fn).__name__}")
        if not _cuda_is_available():
            raise RuntimeError(
                "`pin_memory` needs CUDA, and torch.cuda.is_available() is False here: leave `pin_memory` out of the "
                "graph on a machine without a GPU"
            )
        self.datapipe = source_datapipe
        self.device = _current_device() if device is None else device
        self.pin_memory_fn = pin_memory_fn

    def __len__(self) -> int:
        return len(self.datapipe)

    def build(self, ctx: Context, state: State = None) -> Stream[T]:
        pin, device = self.pin_memory_fn or pin_memory_fn, self.device
        where = ctx if ctx.trace is not None else ctx.in_thread(self)
        pinned = where.each(self, self.datapipe, state, lambda x: pin(x, device))
        if ctx.trace is not None:  # a second thread would only blur what is being traced
            return pinned
        return work_ahead(pinned, _AHEAD, "pin_memory", begin=lambda: _use_device(device))


def _like(data: Any, copied: Any) -> Any:
    """Return a copy as an object of the class that ``data`` has, where the class can be made from it."""
    if type(data) is type(copied):
        return copied
    try:
        return type(data)(copied)
    except TypeError:
        return copied


def _cuda_is_available() -> bool:
    import torch

    return torch.cuda.is_available()


def _current_device() -> int:
    import torch

    return torch.cuda.current_device()


def _use_device(device: Any) -> None:
    """Make the device the thread's current one: pinning would otherwise open a context on device 0."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_device(device)
