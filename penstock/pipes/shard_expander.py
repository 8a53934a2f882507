"""ShardExpander (``shard_expand``)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from penstock.core.context import Context
from penstock.core.pipe import IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.pipes._nested import nested

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


@functional_datapipe("shard_expand")
class ShardExpander(IterDataPipe[str]):
    """Turn a name with a range in braces into the names it stands for (functional name: ``shard_expand``).

    ``x-{00..03}.tar`` stands for four names. Bounds of the same width keep it, with leading zeros; several ranges in
    one name are combined, the last one running fastest. A name without a range passes.

    Args:
        source_datapipe: the source, of names.

    Raises:
        ValueError: (when run) a range whose end is not above its start, or whose bounds do not agree in leading zeros.

    State: the source's state ahead of the name, and how many of its names have been given.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper(["x-{08..10}.tar", "y.tar"]).shard_expand())
        ['x-08.tar', 'x-09.tar', 'x-10.tar', 'y.tar']
    """

    def __init__(self, source_datapipe: IterDataPipe[str]) -> None:
        source_datapipe = check_source(self, source_datapipe)
        self.datapipe = source_datapipe

    def build(self, ctx: Context, state: State = None) -> Stream[str]:
        return nested(self, self.datapipe, _expanded, ctx, state)


def _expanded(spec: str) -> Iterator[str]:
    found = _RANGE.search(spec)
    if found is None:
        yield spec
        return
    low, high = found.groups()
    if len(low) > len(high):
        raise ValueError(f"shard_expand: low bound must be shorter than high bound, in {spec!r}")
    if len(low) < len(high) and low != "0" and low.startswith("0"):
        raise ValueError(f"shard_expand: low bound must not start with 0 if low bound is shorter, in {spec!r}")
    if int(low) >= int(high):
        raise ValueError(f"shard_expand: bad range in shard spec {spec!r}: its end must be above its start")
    width = len(low) if len(low) == len(high) else 0
    for number in range(int(low), int(high) + 1):
        for rest in _expanded(spec[found.end() :]):
            yield f"{spec[: found.start()]}{number:0{width}d}{rest}"
