"""IndexAdder (``add_index``)."""

from __future__ import annotations

from typing import Any

from penstock.core.context import Context
from penstock.core.pipe import ONE_TO_ONE, IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.pipes._places import placed


@functional_datapipe("add_index")
class IndexAdder(IterDataPipe[dict[Any, Any]]):
    """Number dict items: ``{...}`` becomes ``{..., "index": i}`` (functional name: ``add_index``).

    The number is the item's place, as `enumerate` gives it. The item is copied, so the source's own stays as it is.

    Args:
        source_datapipe: the source, of dicts.
        index_name: the key of the number.

    Raises:
        NotImplementedError: (when run) an item is not a dict.

    State: the count, where the sharding point does not know it.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper([{"x": "a"}, {"x": "b"}]).add_index())
        [{'x': 'a', 'index': 0}, {'x': 'b', 'index': 1}]
    """

    arity = ONE_TO_ONE

    def __init__(self, source_datapipe: IterDataPipe[dict[Any, Any]], index_name: str = "index") -> None:
        source_datapipe = check_source(self, source_datapipe)
        self.datapipe: IterDataPipe[dict[Any, Any]] = source_datapipe
        self.index_name = index_name

    def __len__(self) -> int:
        return len(self.datapipe)

    def build(self, ctx: Context, state: State = None) -> Stream[dict[Any, Any]]:
        up, places, tell, skip = placed(self, self.datapipe, ctx, state)
        indexed = ctx.guarded(self, self._indexed)
        it = (indexed(item, place) for item, place in zip(up.it, places, strict=False))
        return up.onward(it, state=tell, skip=skip, places=up.places)

    def _indexed(self, item: dict[Any, Any], place: int) -> dict[Any, Any]:
        if not isinstance(item, dict):
            raise NotImplementedError(
                f"We only support adding index to row or batch in dict type, but got {type(item).__name__}"
            )
        return {**item, self.index_name: place}
