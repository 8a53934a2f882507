"""Long lists of strings as one string each, in the pickle of an item.

Pickle writes, and makes, the strings of a list one by one, and remembers each in case it comes again; joined they are
one. Of batches of 1,024 rows with nine columns of numbers and one of words, sending takes 82 µs in place of 110, and
making them again, which is the trainer's share, 61 in place of 77.

An item may hold such a list in several places, also where nobody looks (in an object of a user's class), and must
arrive with one list in all of them. So nothing is replaced in the item. The lists are pickled ahead of it, and pickle
is told that it has written them: wherever it meets one, it refers to what it wrote::

    split(joined) MEMOIZE  split(joined) MEMOIZE ... POP   the item, with references for the lists
    ──────────── one pickle, of stand-ins ──────────────   ── a second one, by the same pickler ──

The first pickle's STOP is overwritten by POP, so that both together are one.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

from penstock.core.leaving import Tensors

__all__ = ["dump"]

_LONG: Final = 128  # shorter lists are not worth the search for them
_LOOKED_AT: Final = 64  # containers in which lists are looked for, and parts of each
_SAMPLE: Final = 32
_SEPARATOR: Final = "\0"
_CONTAINERS: Final = frozenset({list, tuple, dict})


def dump(pickler: Any, file: io.BytesIO, item: object) -> None:
    """Pickle an item into a file that is empty."""
    found = _found(item)
    if found:
        stand_ins = [_StandIn(joined) for _, joined in found]
        pickler.dump(stand_ins)
        memo = pickler.memo.copy()
        for (words, _), stand_in in zip(found, stand_ins, strict=True):
            index, _ = memo.pop(id(stand_in))
            memo[id(words)] = index, words
        pickler.memo = memo
        file.getbuffer()[-1:] = pickle.POP
    pickler.dump(item)


class _StandIn:
    """What is pickled in place of a list."""

    def __init__(self, joined: str) -> None:
        self._joined = joined

    def __reduce__(self) -> tuple[Any, ...]:
        return _split, (self._joined,)


def _split(joined: str) -> list[str]:
    return joined.split(_SEPARATOR)


def _found(item: object) -> list[tuple[list[str], str]]:
    """Return lists of strings in an item's tuples, lists, dicts and batches, not all perhaps, and each one joined."""
    found: dict[int, tuple[list[str], str]] = {}
    todo, looked_at = [item] if type(item) in _CONTAINERS else [], 0
    while todo and looked_at < _LOOKED_AT:
        container: Any = todo.pop()
        looked_at += 1
        children: Iterable[Any] = container.values() if type(container) is dict else container
        for child in islice(children, _LOOKED_AT):
            if type(child) is Tensors:
                child = child.columns
            if type(child) not in _CONTAINERS or not child:
                continue
            if type(child) is list and type(child[0]) is str:
                if len(child) >= _LONG and id(child) not in found:
                    joined = _joined(child)
                    if joined is not None:
                        found[id(child)] = child, joined
            else:
                todo.append(child)
    return list(found.values())


def _joined(words: list[str]) -> str | None:
    """Return one string from which a list can be made again, None where there is none, or where pickle is as good."""
    import numpy as np

    if len(set(map(id, islice(words, _SAMPLE)))) < _SAMPLE:
        return None  # few strings that come often, which pickle writes once
    if list(map(type, words)).count(str) < len(words):  # in half the time of a set of the types
        return None
    joined = _SEPARATOR.join(words)
    data = np.frombuffer(joined.encode("utf8", "surrogatepass"), np.uint8)
    return joined if len(data) - np.count_nonzero(data) == len(words) - 1 else None  # str.count takes ten times as long
