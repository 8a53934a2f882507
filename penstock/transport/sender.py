"""The worker's end of its socket. See `penstock.transport.wire` for what passes, `slots` for where it lies."""

from __future__ import annotations

import pickle
import select
import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from penstock.core.errors import TransportError
from penstock.transport.arena import RECORD_BYTES, Arena
from penstock.transport.codec import encode
from penstock.transport.slots import Slots
from penstock.transport.wire import (
    ALIGN,
    CHUNK,
    COMMAND,
    HEAD,
    INLINE,
    INLINE_BYTES,
    NO_SLOT,
    Disconnected,
    padded,
    table,
)

__all__ = ["Sender"]

_PADDING = bytes(ALIGN)


class Sender:
    """The worker's end: sends items, and receives commands and acks. Any thread may call it."""

    copies = True

    def __init__(self, sock: socket.socket, arena: Arena) -> None:
        self._sock = sock
        self._arena = arena
        self._slots = Slots(RECORD_BYTES, arena.size)
        self._most = (arena.size - RECORD_BYTES) // 2  # bytes of a batch
        self._memory = memoryview(arena.map)
        self._base = _address(self._memory)
        self._lock = threading.RLock()
        self._inbox = bytearray()
        self._open: int | None = None  # the slot that `empty` gives room from
        self._used = 0
        self._typical = 0  # bytes of the largest batch so far
        self.commands: deque[Any] = deque()
        self.fds: deque[int] = deque()  # descriptors that came with commands
        self.sent = 0
        self.taken = 0

    def close(self) -> None:
        """Close the socket and the arena."""
        self._sock.close()
        self._memory.release()
        self._arena.close()

    def fileno(self) -> int:
        """Return the descriptor of the socket."""
        return self._sock.fileno()

    @property
    def ahead(self) -> int:
        """How many items the main process has not taken yet."""
        return self.sent - self.taken

    def is_ahead(self, wait_s: float = 0.0) -> bool:
        """Whether the main process has yet to take something that was sent: now, or once it has taken something more.

        Args:
            wait_s: how long to wait for that, or for a command.
        """
        if self.ahead and (not wait_s or select.select([self._sock], [], [], wait_s)[0]):
            self.receive(wait=False)
        return self.ahead > 0

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Return an array in the slot that the next message will be in; an ordinary one if it does not fit."""
        import numpy as np

        dtype = np.dtype(dtype)
        size = dtype.itemsize
        for n in shape:
            size *= n
        with self._lock:
            if self._open is None and INLINE_BYTES < size <= self._most:  # `send` complains of what is more
                self._open = self._take(max(size, min(self._typical, self._most)))
                self._used = 0
            if self._open is None or self._used + size > self._slots.size_of(self._open):
                return np.empty(shape, dtype)
            at = self._open + self._used
            self._used = padded(self._used + size)
        return np.frombuffer(self._arena.map, dtype, size // dtype.itemsize, at).reshape(shape)

    def send(self, kind: int, epoch: int, content: Any, *, count: int = 1, beside: bool = False) -> int:
        """Send a message of ``count`` items, and return its bytes. Waits while the socket, or the arena, is full.

        One that is sent ``beside`` the work of the main thread leaves the slot alone that `empty` gives room from.
        """
        data, buffers = encode(content)
        views = [buffer.raw() for buffer in buffers]
        whole = len(data) + sum(view.nbytes for view in views)
        if len(data) > INLINE_BYTES:
            views.append(memoryview(data))
            data = b""
        with self._lock:
            kept = (self._open, self._used)
            if beside:
                self._open, self._used = None, 0
            slot, places, inline, inline_bytes = self._placed(views)
            size = NO_SLOT if slot is None else self._slots.size_of(slot)
            at = NO_SLOT if slot is None else slot
            head = HEAD.pack(kind, len(views), epoch, at, size, len(data), inline_bytes, count)
            parts = [head, table(len(views)).pack(*places), data, *inline]
            self._write(b"".join(parts) if inline_bytes + len(data) <= 2 * INLINE_BYTES else parts)
            self.sent += count
            self._open, self._used = kept if beside else (None, 0)
        return whole

    def _placed(self, views: list[memoryview]) -> tuple[int | None, list[int], list[Any], int]:
        """Put each buffer into the slot or into the message; return the table, and what goes inline.

        A batch of columns has a dozen buffers of a few KB, so what is done for each of them counts.
        """
        sizes = [view.nbytes for view in views]
        whole = [-(-size // ALIGN) * ALIGN for size in sizes]  # `padded`, without a call for each
        total = sum(whole)
        slot = self._open
        inside: list[int | None] = [None] * len(views)
        outside = total
        if slot is not None:
            inside = [self._inside(slot, view) for view in views]
            outside = sum(size for size, at in zip(whole, inside, strict=True) if at is None)
        fits = slot is not None and self._used + outside <= self._slots.size_of(slot)
        if not fits and outside > INLINE_BYTES:
            self._typical = max(self._typical, total)
            fresh = self._take(total)
            if fresh is not None:
                if slot is not None:
                    self._slots.give(slot)  # its arrays are copied below, before anything can be put there
                slot, self._used, inside, fits = fresh, 0, [None] * len(views), True
        self._typical = max(self._typical, total)
        places: list[int] = []
        inline: list[Any] = []
        at_inline = 0
        for view, size, room, at in zip(views, sizes, whole, inside, strict=True):
            if at is not None or fits:
                assert slot is not None
                if at is None:
                    at = slot + self._used
                    self._copy(view, size, at)
                    self._used += room
                places += (at - slot, size)
            else:
                places += (at_inline | INLINE, size)
                inline += (view, _PADDING[: room - size])
                at_inline += room
        if slot is not None and len(inline) == 2 * len(views):
            self._slots.give(slot)
            slot = None
        return slot, places, inline, at_inline

    def _copy(self, view: memoryview, size: int, at: int) -> None:
        if size <= INLINE_BYTES:
            self._memory[at : at + size] = view
        else:
            import numpy as np

            # The other threads may run meanwhile, which they may not in the line above.
            np.frombuffer(self._memory, np.uint8, size, at)[:] = np.frombuffer(view, np.uint8)

    def _inside(self, slot: int, view: memoryview) -> int | None:
        if not view.nbytes:
            return None
        at = _address(view) - self._base
        return at if slot <= at < slot + self._slots.size_of(slot) else None

    def _take(self, size: int) -> int | None:
        """Return a slot; None if the consumer holds so much that there is none, and nothing is on its way to it."""
        if size > self._most:
            raise TransportError(
                f"a batch of {size:,} bytes does not fit: a worker's share of the shared memory is "
                f"{2 * self._most:,} bytes, and a batch may take half of it; raise `buffer_bytes` of the reading "
                "service, or make batches smaller"
            )
        while (offset := self._slots.take(size)) is None:
            if not self.ahead:
                return None
            self.receive(wait=True)
        return offset

    def wait_until(self, done: Callable[[], object]) -> None:
        """Take in what the main process sends, until something is so.

        No other thread takes anything in between the question and the wait: it might take what would be waited for.
        """
        with self._lock:
            while not done():
                self._take_in()

    def receive(self, *, wait: bool) -> None:
        """Take in what the main process has sent: acks take effect, commands go to `commands`."""
        with self._lock:  # two threads that both see something to read must not both read
            if wait or select.select([self._sock], [], [], 0)[0]:
                self._take_in()

    def _take_in(self) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(self._sock, CHUNK, 4)
        except ConnectionResetError:
            data, fds = b"", []
        self.fds.extend(fds)
        if not data:
            raise Disconnected
        self._inbox += data
        at = 0
        while len(self._inbox) - at >= COMMAND.size:
            (size,) = COMMAND.unpack_from(self._inbox, at)
            if len(self._inbox) - at - COMMAND.size < size:
                break
            name, *rest = pickle.loads(memoryview(self._inbox)[at + COMMAND.size : at + COMMAND.size + size])
            at += COMMAND.size + size
            if name == "ack":
                self.taken += rest[0]
                for offset in rest[1]:
                    self._slots.give(offset)
            else:
                self.commands.append((name, *rest))
        del self._inbox[:at]

    def _write(self, parts: bytes | list[Any]) -> None:
        try:
            for part in [parts] if isinstance(parts, bytes) else parts:
                self._sock.sendall(part)
        except (BrokenPipeError, ConnectionResetError):
            raise Disconnected from None


def _address(view: memoryview) -> int:
    import numpy as np

    return int(np.frombuffer(view, np.uint8).__array_interface__["data"][0])
