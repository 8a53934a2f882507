"""SequenceWrapper: any sequence as a MapDataPipe."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence, Sized
from typing import Any, Protocol, TypeVar

from penstock.core.pipe import MapDataPipe, Pipe

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Indexable(Protocol[T_co]):
    """Anything with ``[i]``. Its ``len`` is asked for when somebody wants it: a torch ``Dataset`` declares none."""

    def __getitem__(self, index: Any, /) -> T_co: ...


class SequenceWrapper(MapDataPipe[T]):
    """Wrap anything with ``[i]`` and ``len``: a list, an array, a dict, a torch ``Dataset``.

    Args:
        sequence: the data. Where it has ``__getitems__(indices)``, a batch is fetched in one call.
        deepcopy: keep a copy, made now, so that later changes to ``sequence`` do not show.

    Example:
        >>> pipe = SequenceWrapper(["a", "b"])
        >>> pipe[1], len(pipe), list(pipe)
        ('b', 2, ['a', 'b'])
    """

    def __init__(self, sequence: Indexable[T], deepcopy: bool = True) -> None:
        if deepcopy:
            try:
                sequence = copy.deepcopy(sequence)
            except TypeError:
                warnings.warn(
                    "The input sequence can not be deepcopied, please be aware of in-place modification would affect "
                    "source data.",
                    stacklevel=2,
                )
        self.sequence: Any = sequence

    @property
    def sources(self) -> tuple[Pipe, ...]:
        return (self.sequence,) if isinstance(self.sequence, Pipe) else ()

    def __getitem__(self, index: Any) -> T:
        return self.sequence[index]  # type: ignore[no-any-return]  # what `Indexable[T]` gives is a T

    def __getitems__(self, indices: Sequence[Any]) -> list[T]:
        many = getattr(self.sequence, "__getitems__", None)
        if many is not None:
            return many(indices)  # type: ignore[no-any-return]  # the protocol of torch's fetchers: a list of T
        sequence = self.sequence
        return [sequence[index] for index in indices]

    def __len__(self) -> int:
        return len(self.sequence)

    def holds(self) -> Any:
        return len(self.sequence) if isinstance(self.sequence, Sized) else None
