"""The keys of a driver, as the source of a stream."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterable
from typing import Any

from penstock.core.context import Context
from penstock.core.errors import StateError
from penstock.core.pipe import IterDataPipe
from penstock.core.stream import State, Stream, sequence_stream
from penstock.drivers.base import MapDriver

__all__ = ["Keys"]


class Keys(IterDataPipe[Any]):
    """A driver's keys. Those who divide the work have one listing of them.

    Args:
        driver: whose they are.
        url: where they are; a warning names it if there are none.
        kwargs: of the driver's ``keys``.
    """

    def __init__(self, driver: MapDriver, url: str, kwargs: dict[str, Any]) -> None:
        self.driver = driver
        self.url = url
        self.kwargs = kwargs
        self._listed: list[Any] | None = None

    def frozen(self) -> Keys:
        copied = Keys(self.driver, self.url, self.kwargs)
        copied._listed = self._list()
        return copied

    def holds(self) -> Any:
        return None if self._listed is None else [len(self._listed), _hash(self._listed)]

    def build(self, ctx: Context, state: State = None) -> Stream[Any]:
        name = ctx.name(self)
        keys = self._list()
        digest = _hash(keys)
        given, seen = ctx.own(self, state) or (0, digest)
        if seen != digest:
            raise StateError(f"{name!r} has other keys than when the state was saved")
        return sequence_stream(keys, given, lambda at: {name: [at, digest]})

    def _list(self) -> list[Any]:
        if self._listed is not None:
            return self._listed
        found = list(self.driver.keys(**self.kwargs))
        if not found:
            warnings.warn(f"{self.url} has nothing to read: is that the right place?", stacklevel=2)
        return found


def _hash(keys: Iterable[Any]) -> int:
    return zlib.crc32("\0".join(map(str, keys)).encode(errors="replace"))
