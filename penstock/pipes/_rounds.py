"""Rounds: what the ranks say to each other, one after another, in a thread of each rank's (see `_agreement`)."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final, Protocol

from penstock.core.errors import RankError

__all__ = ["LOOK_EVERY_S", "NEVER", "Channel", "Exchange", "Job", "Wish"]

NEVER: Final = 1 << 62
LOOK_EVERY_S: Final = 1.0  # how often a wait makes sure that there is still somebody to wait for
_FIELDS: Final = 9
_BYE_S: Final = 1.0  # how long a rank that closes waits for the others, so that none of them is left in a round


class Exchange(Protocol):
    """The ways between the ranks. One thread at a time uses it.

    Attributes:
        rank: this one.
    """

    rank: int

    def least(self, row: list[int]) -> list[int]:
        """Return, field by field, the least that any rank has handed in. Waits for all of them."""
        ...

    def told(self, content: Any, by: int) -> Any:
        """Return what one rank hands in. Waits for it."""
        ...

    def close(self) -> None:
        """Give back what the way took. Nobody waits in it."""
        ...


class Job(ABC):
    """What a rank takes part in a round for.

    Attributes:
        epoch: in which it is wanted; a greater one is a later one.
    """

    epoch: int

    @abstractmethod
    def fields(self, rank: int) -> list[int]:
        """Return what this rank has to say, at most `_FIELDS` - 3 numbers."""

    @abstractmethod
    def take(self, found: list[int], exchange: Exchange) -> None:
        """Note what all ranks have said."""

    @abstractmethod
    def fail(self, error: RankError) -> None:
        """Note that there will be no more rounds for this."""


class Wish(Job):
    """A job that is there for a whole epoch, and wants rounds now and then."""

    @abstractmethod
    def wants(self) -> bool:
        """Whether this rank has something to say."""


class Channel:
    """The rounds of one rank, in a thread of their own.

    Args:
        exchange: the way to the other ranks.
        timeout_s: how long to wait for the other ranks.
    """

    def __init__(self, exchange: Exchange, timeout_s: float) -> None:
        self.rank = exchange.rank
        self.timeout_s = timeout_s
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)  # for the consumer
        self._wanted = threading.Condition(self.lock)  # for the messenger
        self.reading: Wish | None = None
        self._exchange = exchange
        self._asked: Job | None = None  # comes before what `reading` wants
        self._epoch = 0
        self._gone: RankError | None = None
        self._closing = False
        self.learned = 0  # how far the last epoch read ahead in the end, for the next one to begin with
        self._thread: threading.Thread | None = None

    def next_epoch(self) -> int:
        """Begin an epoch, and return its number; what still runs of the last one is left."""
        with self.changed:
            self._epoch += 1
            self.reading = None
        return self._epoch

    @property
    def epoch(self) -> int:
        return self._epoch

    def ask(self, job: Job, done: Callable[[], bool]) -> None:
        """Take part in rounds for a job until it is done.

        Raises:
            RankError: another rank is gone, or did not come in time.
        """
        self.start()
        until = time.monotonic() + self.timeout_s
        with self.changed:
            self._asked = job
            self._wanted.notify()
            while not done():
                if self._gone is not None:
                    raise self._gone
                if time.monotonic() > until:
                    self._asked = None
                    raise self.late("to begin an epoch")
                self.changed.wait(LOOK_EVERY_S)

    def late(self, what: str) -> RankError:
        """Return the error for ranks that do not come."""
        return RankError(
            f"Fail to fetch data within {self.timeout_s:g} seconds: rank {self.rank} waited {what}, and another rank "
            "is gone, or slower than that"
        )

    def wake(self) -> None:
        """Let the thread look again for what it can do. Called under the lock."""
        self._wanted.notify()

    def start(self) -> None:
        """Start the thread, unless it runs."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="penstock-fullsync", daemon=True)
            self._thread.start()

    @property
    def gone(self) -> RankError | None:
        """Why there are no more rounds; None as long as there are."""
        if self._gone is None and self._thread is not None and not self._thread.is_alive():
            return RankError("the thread that speaks to the other ranks has ended without a word")
        return self._gone

    def close(self) -> None:
        """Take leave of the other ranks, as far as they come in time. Closing twice does nothing."""
        with self.changed:
            self._closing = True
            self._wanted.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_BYE_S)

    def _job(self) -> Job | None:
        if self._asked is not None:
            return self._asked
        if self.reading is not None and self.reading.wants():
            return self.reading
        return _Bye() if self._closing else None

    def _serve(self) -> None:
        try:
            self._rounds()
        finally:
            self._exchange.close()

    def _rounds(self) -> None:
        while True:
            with self.changed:
                while (job := self._job()) is None:
                    self._wanted.wait(LOOK_EVERY_S)
                left = self.rank if isinstance(job, _Bye) else NEVER
                fields = job.fields(self.rank)
            row = [job.epoch, -job.epoch, left, *fields, *[NEVER] * (_FIELDS - 3 - len(fields))]
            try:
                found = self._exchange.least(row)
                least, last, left, *said = found[0], -found[1], *found[2:]
                if least == last:
                    job.take(said, self._exchange)
            except Exception as error:
                if not isinstance(error, RankError):
                    gone = RankError(f"another rank is gone: {str(error).strip() or type(error).__name__}")
                    gone.__cause__ = error
                    error = gone
                self._end(error, job)
                return
            with self.changed:
                if left != NEVER:
                    self._end(RankError(f"rank {left} has shut its loader down"), job)
                    return
                if least == last:
                    if job is self._asked:
                        self._asked = None
                elif job.epoch < last:
                    job.fail(
                        RankError(
                            f"rank {self.rank} is still in an epoch that others have left: every rank must leave an "
                            "epoch at the same item"
                        )
                    )
                    if job is self._asked:
                        self._asked = None
                self.changed.notify_all()

    def _end(self, error: RankError, job: Job) -> None:
        with self.changed:
            self._gone = error
            job.fail(error)
            if self.reading is not None:
                self.reading.fail(error)
            self.changed.notify_all()


class _Bye(Job):
    """The last word of a rank: later than any epoch."""

    epoch = NEVER - 1

    def fields(self, rank: int) -> list[int]:
        return []

    def take(self, found: list[int], exchange: Exchange) -> None:
        pass

    def fail(self, error: RankError) -> None:
        pass
