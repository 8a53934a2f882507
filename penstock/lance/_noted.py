"""One version for all ranks of torch.distributed, which open a data set at different moments.

Who opens it first notes its version in the store that the process group has; the others find it there, and read that
one. So nobody waits for anybody. What ranks open is told apart by how it is made, and by how often that was done:
ranks run the same program.
"""

from __future__ import annotations

import hashlib
import os
import weakref
from collections import Counter
from collections.abc import Mapping
from typing import Any

from penstock.core.errors import RankError
from penstock.pipes._own_share import torch_rank

__all__ = ["Noted", "different", "says_version"]

_counts: weakref.WeakKeyDictionary[Any, tuple[int, Counter[str]]] = weakref.WeakKeyDictionary()


class Noted:
    """The version of a data set as the ranks that divide it have it.

    Args:
        uri: where it is.
        made_of: what else tells it from others that the program opens.
        ranks: how many divide it; as many as there turn out to be, unless given.
    """

    def __init__(self, uri: str, made_of: Any, ranks: int | None = None) -> None:
        self._uri, self._made_of, self._ranks = uri, repr(made_of), ranks
        self._own = 0
        self._is_asked = False

    def version(self, own: int) -> int:
        """Return the version that the ranks read: what the first one of them had, or ``own`` where none did."""
        self._own = own
        found = torch_rank()
        if self._is_asked or found is None:
            return own
        self._is_asked = True
        if found[1] == 1 or self._ranks not in (None, found[1]):
            return own
        return _first(f"{self._uri} {self._made_of}", own, found[0])

    def check(self) -> None:
        """Ask where the process group was made late. RankError if another rank has opened another version."""
        own = self._own
        first = self.version(own)
        if first != own:
            raise different(self._uri, own, first)

    def __getstate__(self) -> dict[str, Any]:
        self.check()  # a worker has no process group
        return vars(self)


def says_version(dataset: Any, options: Mapping[str, Any]) -> bool:
    """Tell whether a data set is opened at a version that the program names, or has opened itself."""
    return not isinstance(dataset, (str, os.PathLike)) or "version" in options or "asof" in options


def different(uri: str, own: int, first: int) -> RankError:
    """Return the error of a rank that reads another version than the first one to open it."""
    rank, _ = torch_rank() or (0, 1)
    return RankError(
        f"{uri}: rank {rank} has opened version {own}, and another rank version {first}: say on all ranks which they "
        "read, by dataset_options={'version': ...}"
    )


def _first(what: str, own: int, rank: int) -> int:
    from torch import distributed
    from torch.distributed import distributed_c10d

    group: Any = distributed.group.WORLD
    try:
        store: Any = distributed_c10d._get_default_store()
        if group not in _counts:  # a store may be used again, for the next group
            _counts[group] = (store.add(f"penstock/lance/rank {rank}", 1), Counter())
        groups, times = _counts[group]
        times[what] += 1
        name = hashlib.blake2b(what.encode(), digest_size=16).hexdigest()
        return int(store.compare_set(f"penstock/lance/{groups}/{name}/{times[what]}", "", str(own)))
    except (
        RuntimeError,
        AttributeError,
    ):  # the rank that has it has ended, or it is of no such kind
        return own
