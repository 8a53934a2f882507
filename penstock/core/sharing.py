"""Several pipes that read one source: the children of a fork, a demux, an unzip.

Within one run the source is read once, by whichever child asks first, and what the other children have not yet asked
for is kept for them, up to ``buffer_size`` items::

                       +-> child 0: at item 7          the source stands behind item 9
    source -> tape ----+-> child 1: at item 3   <--    items 3 to 9 are kept; child 1 lags 6 behind
                       +-> child 2: at item 9

Each child's stream is built by itself, somewhere in the graph, so they find each other in `Context.shared`. Restoring
takes two steps: first every child that is built says where it stands, then, when one of them is read for the first
time, the source is built at the place that is furthest behind and each child passes over its distance.

A child that cannot be served from there (it is built again, or only when the others are far ahead) reads a source of
its own from its own place. That is right, as any two streams over a pipe are, and only costs the work twice.

Outside a graph that joins them, two children are two runs, each of which reads the source. So that they still go
together (``for x, y in zip(*pipe.shuffle().unzip(2))``), the n-th run over each of them gets the same seed.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from penstock.core.context import Context
from penstock.core.pipe import IterDataPipe, check_source
from penstock.core.seeds import draw_seed
from penstock.core.stream import State, Stream

if TYPE_CHECKING:
    from penstock.core.shared_run import Run

__all__ = ["Child", "Shared", "Turns"]

T = TypeVar("T")


class Turns:
    """Which seed the n-th plain run over each child gets. Pickles empty: a copy has begun no run."""

    _KEPT = 64  # a child that nobody reads must not make this grow

    def __init__(self) -> None:
        self._begun: dict[int, int] = {}
        self._seeds: dict[int, int] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return Turns, ()

    def seed(self, children: Iterable[int]) -> int:
        """Return the seed of the next run over these children."""
        mine = list(children)
        turn = max(self._begun.get(child, 0) for child in mine)
        self._begun.update(dict.fromkeys(mine, turn + 1))
        seed = self._seeds.setdefault(turn, draw_seed())
        self._seeds.pop(turn - self._KEPT, None)
        return seed


class Shared(IterDataPipe[T]):
    """What stands between a source and its children: a pipe of the graph that nobody reads by itself.

    Args:
        datapipe: the source.
        num_instances: how many children.
        buffer_size: how many items may wait for children that lag behind; -1 for any number.
    """

    def __init__(self, datapipe: IterDataPipe[T], num_instances: int, buffer_size: int) -> None:
        datapipe = check_source(self, datapipe)
        self.datapipe = datapipe
        self.num_instances = num_instances
        self.buffer_size = buffer_size
        self.turns = Turns()

    def route(self, item: T, number: int) -> int | None:
        """Return which child gets an item, None for nobody. Asked only where not every child gets every item."""
        raise NotImplementedError

    def begin(self, ctx: Context, expected: set[int]) -> Run:
        """Return a new run, in which these children are expected to take part."""
        from penstock.core.shared_run import Broadcast, Routed

        routed = type(self).route is not Shared.route
        return (Routed if routed else Broadcast)(self, ctx, expected)

    def overflow(self, lagging: int, leading: int, waiting: int) -> BufferError:
        """Return the error for a child that lags too far behind."""
        return BufferError(
            f"{self!r} buffer overflow, buffer size {self.buffer_size} is insufficient: {waiting} items wait for child "
            f"{lagging}, which lags, while child {leading} reads on. Raise buffer_size (-1 for no limit), or read "
            f"child {lagging} more often"
        )


class Child(IterDataPipe[T]):
    """One of several pipes that read the same source."""

    def __init__(self, main: Shared[Any], index: int) -> None:
        self.main_datapipe = main
        self.index = index

    def __repr__(self) -> str:
        return f"{type(self)._functional_name or type(self).__name__}[{self.index}]"

    def build(self, ctx: Context, state: State = None) -> Stream[T]:
        """Return the stream of this child, over the run that it shares with the others of the context."""
        name = ctx.name(self)
        saved = ctx.own(self, state)
        run = self._join(ctx, saved)
        reader = run.reader(self.index)

        def tell() -> State:
            place = reader.tell()
            return None if place is None else {name: place}

        return Stream(reader.it, tell, closers=(reader,))

    def _join(self, ctx: Context, saved: Any) -> Run:
        """Return the run that this child takes part in: the first one of the context that it can join."""
        main, lane = self.main_datapipe, None if ctx.share is None else ctx.share.index
        number = 0
        while True:
            key = (ctx.name(main), ctx.passes, lane, number)
            run: Run | None = ctx.shared.get(key)
            if run is None:
                # The first run waits for every child in the graph; a further one serves those who come in time.
                siblings = {p.index for p in ctx.names.pipes if isinstance(p, Child) and p.main_datapipe is main}
                run = ctx.shared[key] = main.begin(ctx, siblings if number == 0 else set())
                run.on_empty = partial(ctx.shared.pop, key, None)
            if run.join(self.index, saved, ctx.thread):
                return run
            number += 1
