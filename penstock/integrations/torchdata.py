"""PipeNode: a graph of pipes as a node of ``torchdata.nodes``.

torchdata's ``StatefulDataLoader`` needs nothing of this: it takes a pipe as its dataset, divides it among its workers
at its sharding point, and saves and restores the place of each. The last pipe must be one of ours: the iterator of a
class with an ``__iter__`` of its own has no state to save, and ``.map(f)`` behind it has.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from penstock.core.errors import MissingExtra
from penstock.loader2.loader import DataLoader2
from penstock.reading_service.base import ReadingService

try:
    from torchdata.nodes import BaseNode
except ImportError as error:
    raise MissingExtra("PipeNode needs torchdata: pip install 'penstock[torchdata]'") from error

__all__ = ["PipeNode"]


class PipeNode(BaseNode):  # type: ignore[misc]  # mypy reads no torchdata
    """Give the items of a graph to ``torchdata.nodes``, epoch after epoch.

    Args:
        datapipe: the graph's last pipe.
        reading_service: where the graph runs; in this process unless given.
        seed: the run's seed. Without one torch's generator draws one for each epoch.

    State: that of a DataLoader2 over the graph, and whether the epoch has ended.

    Example:
        >>> from penstock import IterableWrapper
        >>> from torchdata.nodes import Loader
        >>> loader = Loader(PipeNode(IterableWrapper(range(5)).batch(2)))
        >>> it = iter(loader)
        >>> next(it)
        [0, 1]
        >>> again = Loader(PipeNode(IterableWrapper(range(5)).batch(2)))
        >>> again.load_state_dict(loader.state_dict())
        >>> list(again)
        [[2, 3], [4]]
    """

    def __init__(
        self, datapipe: Any, reading_service: ReadingService | None = None, *, seed: int | None = None
    ) -> None:
        super().__init__()
        self._loader: DataLoader2[Any] = DataLoader2(datapipe, reading_service=reading_service)
        if seed is not None:
            self._loader.seed(seed)
        self._it: Iterator[Any] = iter(())
        self._ended = False

    def reset(self, initial_state: dict[str, Any] | None = None) -> None:
        """Begin the next epoch, or continue from a state: where its epoch had ended, nothing comes until a reset."""
        super().reset(initial_state)
        self._ended = initial_state is not None and initial_state["ended"]
        if initial_state is not None:
            self._loader.load_state_dict(initial_state["loader"])
        self._it = iter(()) if self._ended else iter(self._loader)

    def next(self) -> Any:
        """Return the next item."""
        try:
            return next(self._it)
        except StopIteration:
            self._ended = True
            raise

    def get_state(self) -> dict[str, Any]:
        """Return the place after the last item, as plain JSON values."""
        return {"loader": self._loader.state_dict(), "ended": self._ended}
