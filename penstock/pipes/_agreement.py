"""How ranks agree, ahead of time, on how many items each of them gives.

A training step of several ranks meets in a collective call, so a rank that stops earlier than another hangs it. Each
rank therefore gives an item only once all ranks are known to have one for that step::

    source -> reader (a thread) -> ready: items read ahead -> the consumer, as far as is agreed
                                       |                               ^
                                       v                               |
                   messenger (a thread): "I can give 12" -> the least of all ranks: 10

A *round* is one `all_reduce` of nine integers with the minimum, whatever the number of ranks. A rank joins the next
round when it can give more than is agreed, and no more than a quarter of what it reads ahead is agreed and still to be
given; half of that while it is still reading, so that a round does not pass for one item. So rounds happen while the
training step runs, and the quicker the steps are, the more of them one round serves: gloo took 0.5 to 2 ms of processor
time for one on a busy machine of 2 cores (the thread that it receives in spins while another holds a connection's lock,
also where the system has taken that one's core). Items that are small may wait in greater number, so that there are
fewer rounds: with 64 of them they took 3% of a step of 1 ms, with 256 less than 1% (B13).

Each thread has a condition of its own over the one lock, and is woken only for something that it can do; the reader
reads on when half of what it had read has been given, many items at once. With one condition that every item notified,
three threads woke for each step, and took 10% of a step of 1 ms on 2 ranks and 2 cores (B13).

What a round carries begins with the number of the epoch. A rank that has left an epoch (a `break`) may have joined a
round that others enter with their next epoch: then nothing of it counts, who is ahead repeats it, and who is behind
knows that the others have gone on. What goes wrong on one rank is raised on each, behind the last item that is agreed.

A rank that waits stands in a round already, and gives up there when its time is over. So a round that a rank comes late
to passes as any other, and would let it go on alone. Hence who comes to one so late that another may have given up says
so in it, and then all say whether they have.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Generic, Literal, TypeVar

from penstock.core.errors import RankError
from penstock.pipes._rounds import LOOK_EVERY_S, NEVER, Channel, Exchange, Wish
from penstock.pipes._sizes import size_bytes

__all__ = ["Agreed", "Policy"]

T = TypeVar("T")
Policy = Literal["shortest", "longest"]

_READ_AHEAD_AT_FIRST, _READ_AHEAD_AT_MOST = 2, 64
_SMALL_BYTES, _MORE = 1 << 16, 4  # of items as small as that, so many times as many are read ahead
_BURSTS_FROM = 16  # the reader reads on item by item while it is less far ahead: steps are long then, or few
_OFTEN_S, _SELDOM_S = 0.03, 0.2  # rounds that follow each other sooner or later than that change how far is read ahead


class Agreed(Wish, Generic[T]):
    """The items of one epoch, as far as all ranks have one. An iterator.

    Args:
        channel: the rounds.
        items: the source. Stepped, and closed if it can be, in a thread of its own.
        policy: ``shortest`` ends with the rank that has the fewest items; with ``longest`` a rank that has no more
            gives its last one again, or another rank's first one if it never had any.
        compare: asks the ranks, in some of the rounds and (told so) in the last one, for what must be the same on all,
            and returns the error if it is not.

    Attributes:
        is_padding: whether the last item given was such a repeated one.
        dropped: how many items were read and never given.
    """

    def __init__(
        self,
        channel: Channel,
        items: Iterator[T],
        policy: Policy,
        compare: Callable[[Exchange, bool], BaseException | None] = lambda exchange, over: None,
    ) -> None:
        self.epoch = channel.epoch
        self.is_padding = False
        self.dropped = 0
        self._channel = channel
        self._items = items
        self._compare = compare
        self._rounds, self._compared_at = 0, 2  # in this epoch; the same on all ranks
        self._longest = policy == "longest"
        self._ready: deque[T] = deque()
        self._read = self._given = self._agreed = 0
        self._last: Any = None
        self._ended = self._over = self._closed = False
        self._gave_up = False  # others came too late
        self._in_vain = NEVER  # a rank that has items, where another has none, so that none gives any
        self._error: BaseException | None = None  # why it ends, if not because there is no more
        self._own: BaseException | None = None  # what this rank's source raised
        self._ahead = channel.learned or _READ_AHEAD_AT_FIRST
        self._more: int | None = None  # 1, or _MORE where items are small; of the first one that was looked at
        self._round_at = time.monotonic()
        self._room = threading.Condition(channel.lock)  # for the reader
        self._full = False  # the reader waits for room
        channel.start()
        with channel.changed:
            channel.reading = self
        self._reader = threading.Thread(target=self._run, name="penstock-fullsync-read", daemon=True)
        self._reader.start()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        channel = self._channel
        changed = channel.changed
        with changed:
            since = None
            while self._given >= self._agreed:
                if self._over or self._closed:
                    self._raise()
                if channel.gone is not None:
                    self._over, self._error = True, self._own or channel.gone
                    continue
                if self._read > self._given or self._ended:  # from here on it is the others that are waited for
                    since = since or time.monotonic()
                    if time.monotonic() - since > channel.timeout_s:
                        self._gave_up = True
                        self._over, self._error = True, self._own or channel.late(f"for its item {self._given}")
                        continue
                changed.wait(LOOK_EVERY_S if since is None else min(LOOK_EVERY_S, channel.timeout_s / 4))
            self.is_padding = self._given >= self._read
            if not self.is_padding:
                item = self._ready.popleft()
                if self._longest:
                    self._last = item
            else:
                item = self._last
            self._given += 1
            self._wake()
            return item

    def _wake(self) -> None:
        """Wake the reader if it has room, and the messenger if there is something to say."""
        low = self._ahead // 2 if self._ahead >= _BURSTS_FROM else self._ahead - 1
        if self._full and self._read - self._given <= low:
            self._full = False
            self._room.notify()
        elif self.wants():
            self._channel.wake()

    def _raise(self) -> None:
        self._stop()
        error, self._error = self._error, None
        vain, self._in_vain = self._in_vain, NEVER
        if error is None and vain != NEVER:
            import logging

            logging.getLogger("penstock").warning(
                "no rank gives anything in this epoch: rank %d could, but another rank has nothing, and with "
                "policy='shortest' all stop there. With policy='longest' that one would repeat what others have",
                vain,
            )
        if error is not None:
            try:
                raise error
            finally:
                del error  # its traceback refers to this frame
        raise StopIteration

    def close(self) -> None:
        """Stop wanting items. The reader closes the source behind the item that it is at."""
        with self._channel.changed:
            self._over = True
            self._stop()

    def _stop(self) -> None:
        if not self._closed:
            self._closed = True
            self.dropped += len(self._ready)
            self._ready.clear()
            self._last = None
            if self._channel.reading is self:
                self._channel.reading = None
            self._full = False
            self._room.notify()
            self._channel.changed.notify_all()

    # -- the reader

    def _run(self) -> None:
        changed = self._channel.changed
        try:
            while True:
                with changed:
                    if self._read - self._given >= self._ahead:
                        self._full = not self._closed
                        self._wake()
                    while self._full:
                        self._room.wait(LOOK_EVERY_S)
                    if self._closed:
                        return
                for item in self._items:  # noqa: B007  # used behind the loop: this takes one item, or sees the end
                    break
                else:
                    return
                self._keep(item)
                del item
        except BaseException as error:
            self._own = error
        finally:
            with changed:
                self._ended = True
                changed.notify_all()
                self._channel.wake()
            close = getattr(self._items, "close", None)
            if close is not None:
                close()

    def _keep(self, item: T) -> None:
        with self._channel.changed:
            if self._closed:
                self.dropped += 1
                return
            self._ready.append(item)
            self._read += 1
            if self.wants():
                self._channel.wake()

    # -- rounds

    def wants(self) -> bool:
        """Whether this rank has something to say that lets the others go on, and is near enough to need it."""
        if self._over or self._closed:
            return False
        if not self._ended and self._read <= self._agreed:
            return False
        left = max(1, self._ahead // 4) if self._full or self._ended else self._ahead // 8
        return self._agreed - self._given <= left

    def fields(self, rank: int) -> list[int]:
        failed = rank if self._own is not None and self._agreed >= self._read else NEVER  # its good items come first
        ended = self._ended and self._own is None
        if self._longest:
            can = NEVER if ended and self._read else self._read
            end = -self._read if ended else -NEVER
        else:
            can, end = self._read, self._read if ended else NEVER
        without = rank if self._longest and ended and not self._read and self._last is None else NEVER
        donor = rank if self._read and without == NEVER else NEVER
        late = rank if time.monotonic() - self._round_at > self._channel.timeout_s / 2 else NEVER
        return [can, end, failed, without, donor, late]

    def take(self, found: list[int], exchange: Exchange) -> None:
        can, end, failed, without, donor, late = found
        if late != NEVER and self._given_up(exchange, late):
            return
        said = first = different = None
        if failed != NEVER:
            said = exchange.told(_in_words(self._own) if failed == exchange.rank else None, failed)
        elif without != NEVER and donor != NEVER:  # so nothing is agreed yet, and the donor still has its first item
            first = exchange.told(self._ready[0] if donor == exchange.rank else None, donor)
        over = end != -NEVER if self._longest else end <= can
        self._rounds += 1
        if over or self._rounds == self._compared_at:
            self._compared_at *= 16
            different = None if failed != NEVER else self._compare(exchange, over)
        with self._channel.changed:
            if failed != NEVER:
                self._agreed, self._over = can, True
                self._error = self._own or RankError(f"rank {failed} failed at its item {can}: {said}")
            elif over:
                self._agreed, self._over = abs(end), True
                if not end:
                    self._in_vain = donor
            else:
                self._agreed = can
            if different is not None:
                self._over, self._error = True, different
            if first is not None and self._ended and not self._read:
                self._last = first
            if self._more is None and self._ready:
                self._more = _MORE if size_bytes(self._ready[-1]) <= _SMALL_BYTES else 1
            now, more = time.monotonic(), self._more or 1
            if now - self._round_at < more * _OFTEN_S:
                self._ahead = min(2 * self._ahead, more * _READ_AHEAD_AT_MOST)
            elif now - self._round_at > more * _SELDOM_S:
                self._ahead = max(self._ahead // 2, _READ_AHEAD_AT_FIRST)
            self._round_at = now
            self._channel.learned = self._ahead
            self._wake()

    def _given_up(self, exchange: Exchange, late: int) -> bool:
        """Ask all ranks whether they have given up waiting; what they waited for ends there, for each of them."""
        (who,) = exchange.least([exchange.rank if self._gave_up else NEVER])
        if who == NEVER:
            return False
        timeout_s = self._channel.timeout_s
        with self._channel.changed:
            self.fail(RankError(f"rank {who} waited for longer than {timeout_s:g} seconds, until rank {late} came"))
        return True

    def fail(self, error: RankError) -> None:
        self._over, self._error = True, self._own or error


def _in_words(error: BaseException | None) -> str:
    return "" if error is None else "\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())])
