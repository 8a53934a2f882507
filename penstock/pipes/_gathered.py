"""What the `monitor` pipes of several workers report, put together in the main process.

Each worker counts what passes in it; its reports travel with its items::

    worker 0: Report("monitor", items, bytes, began, until) --+
                                                              +--> Tally --> the callback of "monitor"
    worker 1: Report("monitor", items, bytes, began, until) --+

The callback (a live run, an open file) stays in the main process, and can mostly not be pickled: the graph goes to
worker processes without it.
"""

from __future__ import annotations

from typing import TypeVar

from penstock.core.pipe import Pipe
from penstock.core.walk import names, walk
from penstock.pipes._tally import Report, Tally
from penstock.pipes.monitor import Monitor, caller

__all__ = ["Gathered", "without_callbacks"]

P = TypeVar("P", bound=Pipe)


class Gathered:
    """Calls the callbacks of a graph's monitors, in one epoch, with what its workers report.

    Made in the thread that iterates, which is where mlflow's active run is.
    """

    def __init__(self, root: Pipe) -> None:
        named = names(root)
        self._tallies = {
            named[id(pipe)]: Tally(caller(pipe, named), pipe.gathers_every_s)
            for pipe in named.pipes
            if isinstance(pipe, Monitor)
        }

    def take(self, report: Report) -> None:
        """Count what a worker reports. One whose graph a function of the user's has changed may have other pipes."""
        tally = self._tallies.get(report.pipe)
        if tally is not None:
            tally.add(report)

    def end(self) -> None:
        """Note that the epoch has ended."""
        for tally in self._tallies.values():
            tally.end()


def without_callbacks(root: P) -> P:
    """Return the graph as it goes to worker processes, without the callbacks of the monitors that are gathered."""
    made: dict[int, Pipe] = {}
    for pipe in walk(root):
        copied = pipe.with_sources(*(made[id(source)] for source in pipe.sources))
        made[id(pipe)] = copied.without_callback() if isinstance(copied, Monitor) and copied.gather else copied
    return made[id(root)]  # type: ignore[return-value]  # a copy of it
