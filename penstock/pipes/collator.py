"""Collator (``collate``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from penstock.core.context import Context
from penstock.core.leaving import Deferred, as_tensor
from penstock.core.pipe import ONE_TO_ONE, IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.pipes._columns import check_callable
from penstock.pipes._default_collate import collate

T = TypeVar("T")


@functional_datapipe("collate")
class Collator(IterDataPipe[Any]):
    """Make each batch, a list of samples, one sample of tensors (functional name: ``collate``).

    Without a function the rules are those of torch's ``default_collate``: arrays and numbers are stacked into tensors,
    strings stay lists, and dicts, tuples and lists are collated inside. At the end of a worker's graph the tensors are
    written straight into the memory that the main process sees, and the worker does not load torch.

    Args:
        datapipe: the source, of lists.
        conversion: a function of a list of samples.
        collate_fn: the same, under torch's name.

    State: none of its own.

    Example:
        >>> import numpy as np
        >>> from penstock.pipes import IterableWrapper
        >>> samples = IterableWrapper([(np.zeros(3, np.float32), 1), (np.ones(3, np.float32), 2)])
        >>> x, y = next(iter(samples.batch(2).collate()))
        >>> x.shape, y
        (torch.Size([2, 3]), tensor([1, 2]))
    """

    arity = ONE_TO_ONE

    def __init__(
        self,
        datapipe: IterDataPipe[Any],
        conversion: Callable[[list[Any]], Any] | None = None,
        collate_fn: Callable[[list[Any]], Any] | None = None,
    ) -> None:
        datapipe = check_source(self, datapipe)
        function = collate_fn or conversion
        if function is not None:
            check_callable(function)
        self.datapipe = datapipe
        self.collate_fn = function

    def __len__(self) -> int:
        return len(self.datapipe)

    def build(self, ctx: Context, state: State = None) -> Stream[Any]:
        if self.collate_fn is not None:
            return ctx.each(self, self.datapipe, state, self.collate_fn)
        empty: Callable[..., Any]
        wrap: Callable[[Any], Any]
        if ctx.outlet is not None and ctx.outlet.pipe == ctx.name(self):
            empty, wrap = ctx.outlet.empty, Deferred
        else:
            import numpy as np

            empty, wrap = np.empty, as_tensor
        return ctx.each(self, self.datapipe, state, lambda batch: collate(batch, empty, wrap))
