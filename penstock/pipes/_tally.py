"""Adding up what streams pass on, until it is time to call back."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

__all__ = ["Report", "Tally"]


class Report(NamedTuple):
    """What a pipe has passed on between two moments of `time.perf_counter`, which all processes of a machine share."""

    pipe: str
    items: int
    size_bytes: float
    began: float
    until: float


class Tally:
    """Adds up what one pipe's streams report, and calls ``call(items, bytes, seconds)`` at most every ``every_s``.

    The seconds are those from the first moment that anything is known of to the last one: each item counts once, and
    the rates are those of all streams together, however they take turns. (Adding up the latest rate of each stream was
    rejected: what rate has one that has ended, or hangs, or makes an item a minute?)
    """

    def __init__(self, call: Callable[[float, float, float], object], every_s: float) -> None:
        self._call = call
        self._every_s = every_s
        self._items, self._bytes = 0, 0.0
        self._since: float | None = None  # the end of the last call's time; of the first one the beginning, so far
        self._until = 0.0
        self._called = False

    def add(self, report: Report) -> None:
        """Count what a stream has passed on."""
        self._items += report.items
        self._bytes += report.size_bytes
        self._until = max(self._until, report.until)
        if self._since is None or (not self._called and report.began < self._since):
            self._since = report.began
        if self._until - self._since >= self._every_s:
            self._tell(self._since)

    def end(self) -> None:
        """Call back at the end of a run that was too short for a call."""
        if not self._called and self._items and self._since is not None:
            self._tell(self._since)

    def _tell(self, since: float) -> None:
        items, size_bytes, self._items, self._bytes = self._items, self._bytes, 0, 0.0
        self._since, self._called = self._until, True
        self._call(items, size_bytes, self._until - since)
