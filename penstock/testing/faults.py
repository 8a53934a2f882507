"""Faults at a chosen item, for tests of what a loop survives.

Each function here makes one that stands in a ``map``: it acts on the items that are chosen, so often over all processes
and their replacements, and passes every item on. With ``fn`` it stands in the place of that function::

    pipe.map(faults.kill(at=17))              # a worker dies once, at item 17
    pipe.map(faults.fail(at=17, fn=decode))   # decode raises, once, at item 17
    pipe.map(faults.slow(at=lambda x: x % 100 == 0, times=None, seconds=0.5))
"""

from __future__ import annotations

import copy
import itertools
import os
import shutil
import signal
import tempfile
import time
import weakref
from collections.abc import Callable
from typing import Any

__all__ = ["Fault", "fail", "hang", "kill", "slow", "truncate"]


class Fault:
    """A function for ``map`` that does something on chosen items, and passes items on.

    A process that is killed has no memory, so how often the fault has acted is counted in files, in a temporary folder.
    That lives as long as the fault that was made first; copies of it that travelled to workers count along.

    Args:
        act: what it does.
        at: on which items: those that equal this value, or for which this function is true.
        times: how often at most, over all processes; None for every time.
        fn: what it makes of the items; they pass unchanged unless given.
    """

    def __init__(
        self, act: Callable[[], object], *, at: Any, times: int | None = 1, fn: Callable[[Any], Any] | None = None
    ) -> None:
        if times is not None and times < 1:
            raise ValueError(f"times must be at least 1, or None for every time, got {times}")
        self._act = act
        self._at = at
        self._times = times
        self._fn = fn
        self._folder = tempfile.mkdtemp(prefix="penstock-fault-")
        self._finalizer: Any = weakref.finalize(self, _remove, self._folder, os.getpid())
        self.__name__ = getattr(act, "__name__", "fault") if fn is None else getattr(fn, "__name__", "fn")

    @property
    def count(self) -> int:
        """How often it has acted, in any process."""
        return len(os.listdir(self._folder))

    def __call__(self, item: Any) -> Any:
        """Act if this item is one of those; pass it on."""
        at = self._at
        if (at(item) if callable(at) else item == at) and self._claim():
            self._act()
        return item if self._fn is None else self._fn(item)

    def _claim(self) -> bool:
        """Count one; False if it has acted as often as it may."""
        for number in itertools.count() if self._times is None else range(self._times):
            try:
                os.close(os.open(os.path.join(self._folder, str(number)), os.O_CREAT | os.O_EXCL))  # only one can
                return True
            except FileExistsError:
                continue
        return False

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_finalizer": None}


def kill(at: Any, *, times: int | None = 1, fn: Callable[[Any], Any] | None = None, sig: int = signal.SIGKILL) -> Fault:
    """Make a function for ``map`` that kills its own process on chosen items, as running out of memory does.

    Args:
        at: on which items: those that equal this value, or for which this function is true.
        times: how often at most, over all processes; None for every time.
        fn: what it makes of the items; they pass unchanged unless given.
        sig: the signal.

    Example:
        >>> from penstock import DataLoader2, IterableWrapper, MultiProcessingReadingService
        >>> pipe = IterableWrapper(range(40)).sharding_filter().map(kill(at=17)).batch(4)
        >>> with DataLoader2(pipe, reading_service=MultiProcessingReadingService(2)) as dl:
        ...     batches = list(dl)
        ...     print(dl.stats()["restarts"])
        1
        >>> [x for batch in batches for x in batch] == list(range(40))
        True
    """

    def kill() -> None:
        os.kill(os.getpid(), sig)
        time.sleep(60)  # a signal may take a moment; nothing must be made meanwhile

    return Fault(kill, at=at, times=times, fn=fn)


def hang(
    at: Any, *, times: int | None = 1, fn: Callable[[Any], Any] | None = None, seconds: float = 24 * 3600.0
) -> Fault:
    """Make a function for ``map`` that hangs on chosen items. See `kill` for the other arguments.

    Args:
        at: on which items.
        times: how often at most.
        fn: what it makes of the items.
        seconds: for how long.

    Example:
        >>> from penstock import DataLoader2, IterableWrapper, MultiProcessingReadingService
        >>> pipe = IterableWrapper(range(20)).sharding_filter().map(hang(at=9))
        >>> with DataLoader2(pipe, reading_service=MultiProcessingReadingService(2, worker_timeout_s=2)) as dl:
        ...     list(dl) == list(range(20))
        True
    """

    def hang() -> None:
        time.sleep(seconds)

    return Fault(hang, at=at, times=times, fn=fn)


def slow(at: Any, *, seconds: float, times: int | None = None, fn: Callable[[Any], Any] | None = None) -> Fault:
    """Make a function for ``map`` that takes long on chosen items, each time unless ``times`` is given.

    Args:
        at: on which items.
        seconds: how much longer.
        times: how often at most.
        fn: what it makes of the items.

    Example:
        >>> from penstock import IterableWrapper
        >>> list(IterableWrapper(range(3)).map(slow(at=1, seconds=0.01)))
        [0, 1, 2]
    """

    def slow() -> None:
        time.sleep(seconds)

    return Fault(slow, at=at, times=times, fn=fn)


def fail(
    at: Any, *, times: int | None = 1, fn: Callable[[Any], Any] | None = None, error: BaseException | None = None
) -> Fault:
    """Make a function for ``map`` that raises on chosen items. See `kill` for the other arguments.

    What failed is run again, to find out which pipe it was. That counts: an exception that is to name the pipe and the
    item needs ``times=2``; one that is raised once cannot be found again.

    Args:
        at: on which items.
        times: how often at most.
        fn: what it makes of the items.
        error: what to raise; an OSError unless given.

    Example:
        >>> from penstock import IterableWrapper
        >>> pipe = IterableWrapper(range(3)).map(fail(at=1, times=2, error=KeyError("no such row")))
        >>> try:
        ...     list(pipe)
        ... except KeyError as error:
        ...     print(error.__notes__[-1].splitlines()[-1])
        penstock: on its item 0 of item 1 (rank 0, worker 0): 1
        >>> list(pipe)
        [0, 1, 2]
    """
    what = OSError("a fault made for a test") if error is None else error

    def fail() -> None:
        raise copy.copy(what)  # so that what is noted on one stays with it

    return Fault(fail, at=at, times=times, fn=fn)


def truncate(path: str | os.PathLike[str], at: int) -> None:
    """Cut a file to its first bytes, as a full disk or a torn download does.

    Args:
        path: the file.
        at: how many bytes to keep; a negative number drops so many from the end.

    Example:
        >>> import tempfile, pathlib
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "a.txt")
        ...     _ = path.write_text("one two")
        ...     truncate(path, 3)
        ...     truncate(path, -1)
        ...     path.read_text()
        'on'
    """
    size = os.path.getsize(path)
    kept = at if at >= 0 else size + at
    if not 0 <= kept <= size:
        raise ValueError(f"{os.fspath(path)} has {size} bytes: it cannot be cut at {at}")
    os.truncate(path, kept)


def _remove(folder: str, pid: int) -> None:
    if os.getpid() == pid:  # a fork has it too, and is not the last to count
        shutil.rmtree(folder, ignore_errors=True)
