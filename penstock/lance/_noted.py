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
from functools import partial
from typing import Any

from penstock.core.errors import RankError
from penstock.pipes._lance import LanceData
from penstock.pipes._own_share import torch_rank

__all__ = ["Noted", "mark", "says_version"]

_counts: weakref.WeakKeyDictionary[Any, tuple[int, Counter[str]]] = weakref.WeakKeyDictionary()


class Noted:
    """What the ranks that divide a data set have noted of its version.

    Args:
        data: the data set, as this rank has opened it.
        made_of: what else tells it from others that the program opens.
        ranks: how many divide it; as many as there turn out to be, unless given.
    """

    def __init__(self, data: LanceData, made_of: Any, ranks: int | None = None) -> None:
        self._made_of, self._ranks = repr(made_of), ranks
        self._uri, self._version, self._mark = data.uri, data.version, partial(mark, data)
        self._is_asked = False

    def other(self) -> tuple[int, str] | None:
        """Return the version, and its `mark`, of the first rank to ask, where it is another one than this rank's."""
        found = torch_rank()
        if self._is_asked or found is None:
            return None
        self._is_asked = True
        if found[1] == 1 or self._ranks not in (None, found[1]):
            return None
        noted = _first(f"{self._uri} {self._made_of}", f"{self._version} {self._mark()}", found[0]).split()
        return (int(noted[0]), noted[1]) if int(noted[0]) != self._version else None

    def check(self) -> None:
        """Ask where the process group was made late. RankError if another rank has opened another version."""
        other = self.other()
        if other is not None:
            raise self.different(other[0])

    def different(self, other: int) -> RankError:
        """Return the error of a rank that reads another version than the first one to open it."""
        rank, _ = torch_rank() or (0, 1)
        return RankError(
            f"{self._uri}: rank {rank} has opened version {self._version}, and another rank version {other}: say on "
            "all ranks which they read, by dataset_options={'version': ...}"
        )

    def __getstate__(self) -> dict[str, Any]:
        self.check()  # a worker has no process group
        return vars(self)


def mark(data: LanceData) -> str:
    """Return what tells a version of a data set from that number of another one: no two have a file in common."""
    ends = [*data.fragments[:1], *data.fragments[-1:]]
    files = [file.path for fragment in ends for file in fragment.data_files()]
    return hashlib.blake2b(repr((len(data.fragments), files)).encode(), digest_size=8).hexdigest()


def says_version(dataset: Any, options: Mapping[str, Any]) -> bool:
    """Tell whether a data set is opened at a version that the program names, or has opened itself."""
    return not isinstance(dataset, (str, os.PathLike)) or "version" in options or "asof" in options


def _first(what: str, own: str, rank: int) -> str:
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
        found: bytes = store.compare_set(f"penstock/lance/{groups}/{name}/{times[what]}", "", own)
        return found.decode()
    except (RuntimeError, AttributeError):  # the rank that has it has ended, or it is of no such kind
        return own
