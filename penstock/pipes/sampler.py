"""Sampler: what a torch sampler gives."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from penstock.core.context import Context
from penstock.core.errors import StateError
from penstock.core.pipe import IterDataPipe, MapDataPipe
from penstock.core.stream import State, Stream, consume, counted


class Sampler(IterDataPipe[Any]):
    """Yield what a torch sampler gives for a data set: as a rule, indices.

    Args:
        datapipe: the data set, a pipe with a length. The sampler gets it as ``data_source``; nothing is read from it.
        sampler: the sampler's class; torch's ``SequentialSampler`` unless given.
        sampler_args: further positional arguments of the sampler.
        sampler_kwargs: further keyword arguments of the sampler. One that takes a ``generator`` gets one that is seeded
            from the run's seed and the epoch, unless it is given here; of other random numbers we know nothing, and a
            sampler that draws them cannot be restored.

    Raises:
        AssertionError: the pipe has no length.

    State: how many items have been given. Restoring asks the sampler for them again: indices, not data.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> list(Sampler(IterableWrapper("abc")))
        [0, 1, 2]
    """

    def __init__(
        self,
        datapipe: IterDataPipe[Any] | MapDataPipe[Any],
        sampler: Callable[..., Iterable[Any]] | None = None,
        sampler_args: tuple[Any, ...] | None = None,
        sampler_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(datapipe, (IterDataPipe, MapDataPipe)):
            raise TypeError(f"Sampler reads from an IterDataPipe or MapDataPipe, but got {type(datapipe).__name__}")
        try:
            len(datapipe)
        except TypeError:
            raise AssertionError("Sampler class requires input datapipe implemented `__len__`") from None
        self.datapipe = datapipe
        self.sampler = sampler
        self.sampler_args = () if sampler_args is None else sampler_args
        self.sampler_kwargs = dict(sampler_kwargs or {})
        self._made({})  # what does not fit together should fail here

    def __len__(self) -> int:
        return len(self._made({}))  # type: ignore[arg-type]  # a TypeError is what an unsized sampler should give

    def build(self, ctx: Context, state: State = None) -> Stream[Any]:
        name = ctx.name(self)
        begin: int = ctx.own(self, state) or 0
        it = iter(self._made(self._generator(ctx)))
        items, count = counted(it)
        consume(items, begin)
        if count() < begin:
            raise StateError(f"{name!r} gave {begin} items when the state was saved, and now only {count()}")
        closers = (it,) if hasattr(it, "close") else ()
        return Stream(items, lambda: {name: count()} if count() else None, closers=closers)

    def _made(self, more: dict[str, Any]) -> Iterable[Any]:
        if self.sampler is None:
            return range(len(self.datapipe))  # as a SequentialSampler, without torch
        return self.sampler(*self.sampler_args, **{**more, **self.sampler_kwargs, "data_source": self.datapipe})

    def _generator(self, ctx: Context) -> dict[str, Any]:
        if self.sampler is None or "generator" not in inspect.signature(self.sampler).parameters:
            return {}
        import torch

        return {"generator": torch.Generator().manual_seed(ctx.key(self)[0] & 0x7FFF_FFFF_FFFF_FFFF)}
