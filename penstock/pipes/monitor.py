"""Monitor (``monitor``): how many items and bytes pass a place of the graph in a second."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, Final, Self, TypeVar

from penstock.core.context import Context
from penstock.core.metrics import MetricsConf
from penstock.core.pipe import ONE_TO_ONE, IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.core.trace import raised_in
from penstock.core.walk import Names
from penstock.pipes._metrics import item_bytes, metrics_under
from penstock.pipes._passing import Call, Holes, Out, Sizes, in_pieces, windowed
from penstock.pipes._sinks import distinct_prefixes, is_mlflow, of_this_run
from penstock.pipes._tally import Report, Tally

__all__ = ["Monitor", "caller", "calling"]

T = TypeVar("T")

_GATHER_S: Final = 1.0  # from call to call where workers are gathered, unless said otherwise
# A worker reports so often in the time between two calls; at first each time that it has run by a tenth longer, so that
# little is missing from an epoch that is short.
_REPORTS: Final = 10
_FIRST_S: Final = 1e-3

_UNSIZED: Final = "penstock: an item's size is that of its pickle; MetricsConf(throughput=False) does without it"


@functional_datapipe("monitor")
class Monitor(IterDataPipe[T]):
    """Pass the items on, and report how many pass in a second (functional name: ``monitor``).

    ``callback`` gets a dict of two metrics: ``"IOPS number/s"``, items a second, and ``"throughput MB/s"``. It may be
    ``wandb.log``, ``mlflow.log_metrics``, `penstock.monitor.to_tensorboard`, or a function of your own. What is
    measured is all that stands ahead, and how fast the items are taken.

    Unless ``every_s`` is given, it is called for each item once ``window_size`` items have passed, over the last
    ``window_size``. With ``every_s`` it is called at most so often, over all items since the last call; a run that is
    shorter makes one call at its end. A stream of a million items a second is slowed by less than 5% then.

    On workers, each counts what passes there, and the callback is called in the main process, at most every ``every_s``
    (1 second unless given), with the sums. Ahead of the sharding point that may be more than an epoch has: what one
    worker reads and leaves to another has been read.

    The size of an item is that of the data of numpy arrays, alone or in a dict, list or tuple, and of the pickle of
    anything else. With ``every_s``, sizes are taken of samples, in 1% of the time.

    Args:
        source_datapipe: the source.
        callback: called with the metrics, and ``kw``.
        prefix: stands ahead of the metrics' names, to tell several monitors apart. Where the callback is mlflow's, what
            it refuses in a name (parentheses) is left out.
        metrics_conf: which metrics are reported, and the unit of the throughput. One that is switched off is 0; with
            both off there is nothing to call.
        window_size: over how many items a rate is taken, at least 1.
        every_s: seconds between two calls, at least.
        gather: on workers, call back in the main process. Otherwise each worker calls a copy of the callback, which
            must be one that can be pickled, in itself.
        **kw: for the callback.

    Raises:
        TypeError: ``callback`` cannot be called.
        ValueError: ``window_size`` or ``every_s`` is not positive.

    State: none of its own.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> calls = []
        >>> list(IterableWrapper(range(6)).monitor(calls.append, prefix="(read) ", window_size=5))
        [0, 1, 2, 3, 4, 5]
        >>> len(calls), list(calls[0])
        (2, ['(read) IOPS number/s', '(read) throughput MB/s'])
    """

    arity = ONE_TO_ONE
    is_of_state = False

    def __init__(
        self,
        source_datapipe: IterDataPipe[T],
        callback: Callable[..., object],
        prefix: str | None = None,
        metrics_conf: MetricsConf | type[MetricsConf] = MetricsConf,
        window_size: int = 5,
        *,
        every_s: float | None = None,
        gather: bool = True,
        **kw: Any,
    ) -> None:
        source_datapipe = check_source(self, source_datapipe)
        if not callable(callback):
            raise TypeError(f"callback must be a function of a dict of metrics, got {callback!r}")
        if window_size < 1:
            raise ValueError(f"window_size must be at least 1, got {window_size}")
        if every_s is not None and not every_s > 0:
            raise ValueError(f"every_s must be positive, got {every_s}")
        self.datapipe = source_datapipe
        self.callback: Callable[..., object] | None = callback
        self.prefix = prefix or ""
        self.metrics_conf = MetricsConf(metrics_conf.iops, metrics_conf.throughput, metrics_conf.throughput_unit)
        self.window_size = window_size
        self.every_s = every_s
        self.gather = gather
        self.kw = kw

    def __len__(self) -> int:
        return len(self.datapipe)

    @property
    def gathers_every_s(self) -> float:
        """Seconds between two calls where workers are gathered."""
        return self.every_s or _GATHER_S

    def without_callback(self) -> Self:
        """Return a copy for a worker, which reports and does not call."""
        copied = copy.copy(self)
        copied.callback, copied.kw = None, {}
        return copied

    def build(self, ctx: Context, state: State = None) -> Stream[T]:
        up = ctx.build(self.datapipe, state, holes=True)
        conf, report = self.metrics_conf, ctx.report if self.gather else None
        if ctx.trace is not None or not (conf.iops or conf.throughput) or (report is None and self.callback is None):
            return up
        size_of = _sized(raised_in(ctx.name(self), self)) if conf.throughput else None
        if report is None and self.every_s is None:
            running = windowed(up.it, caller(self, ctx.names), self.window_size, size_of)
            return up.onward(running, skip=up.skip, places=up.places)
        holes = Holes(up.it) if ctx.bad is not None else None
        pieces = in_pieces(up.it if holes is None else holes.it, Sizes(size_of), self._out(ctx, report), holes)
        it: Iterator[T] = chain.from_iterable(pieces)
        return Stream(it, up.state, skip=up.skip, places=up.places, closers=(pieces, up))

    def _out(self, ctx: Context, report: Callable[[Report], object] | None) -> Out:
        name, every_s = ctx.name(self), self.gathers_every_s
        if report is not None:
            return Out(name, report, lambda ran_s: min(every_s, max(ran_s, _FIRST_S)) / _REPORTS)
        tally = Tally(caller(self, ctx.names), every_s)
        return Out(name, tally.add, lambda ran_s: every_s, tally.end)


def caller(pipe: Monitor[Any], named: Names) -> Call:
    """Return what calls the callback of a monitor of a graph."""
    assert pipe.callback is not None
    others = [other.prefix for other in named.pipes if isinstance(other, Monitor) and is_mlflow(other.callback)]
    where = raised_in(named[id(pipe)], pipe)
    return calling(pipe.callback, pipe.prefix, pipe.metrics_conf, pipe.kw, others, where)


def calling(
    callback: Callable[..., object],
    prefix: str,
    conf: MetricsConf | type[MetricsConf],
    kw: dict[str, Any],
    others: Iterable[str] = (),
    where: str = "penstock: raised by the callback of monitor_",
) -> Call:
    """Return what calls a callback.

    ``others`` are the prefixes from which mlflow must be able to tell this one, and ``where`` is a note for an error.
    """
    if is_mlflow(callback):
        prefix, callback = distinct_prefixes([*others, prefix])[prefix], of_this_run(callback)
    metrics = metrics_under(prefix, conf)

    def call(items: float, size_bytes: float, seconds: float) -> None:
        try:
            callback(metrics(items, size_bytes, seconds), **kw)
        except Exception as error:
            error.add_note(where)
            raise

    return call


def _sized(where: str) -> Callable[[Any], int]:
    """Return `item_bytes`, with a note for an error."""

    def size_of(item: Any) -> int:
        try:
            return item_bytes(item)
        except Exception as error:
            error.add_note(f"{where}\n{_UNSIZED}")
            raise

    return size_of
