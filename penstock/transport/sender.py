"""The worker's end of its socket. See `penstock.transport.wire` for what passes, `slots` for where it lies."""

from __future__ import annotations

import pickle
import select
import socket
import threading
from collections import deque
from typing import Any

from penstock.core.errors import TransportError
from penstock.transport.arena import RECORD_BYTES, Arena
from penstock.transport.codec import encode
from penstock.transport.slots import Slots
from penstock.transport.wire import CHUNK, COMMAND, ENTRY, HEAD, INLINE, INLINE_BYTES, NO_SLOT, Disconnected, padded

__all__ = ["Sender"]


class Sender:
    """The worker's end: sends items, and receives commands and acks. Any thread may call it."""

    def __init__(self, sock: socket.socket, arena: Arena) -> None:
        self._sock = sock
        self._arena = arena
        self._slots = Slots(RECORD_BYTES, arena.size)
        self._most = (arena.size - RECORD_BYTES) // 2  # bytes of a batch
        self._base = _address(memoryview(arena.map))
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
        self._arena.close()

    def fileno(self) -> int:
        """Return the descriptor of the socket."""
        return self._sock.fileno()

    @property
    def ahead(self) -> int:
        """How many items the main process has not taken yet."""
        return self.sent - self.taken

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
            slot, table, inline = self._placed(views)
            size = NO_SLOT if slot is None else self._slots.size_of(slot)
            inline_bytes = sum(map(len, inline))
            at = NO_SLOT if slot is None else slot
            head = HEAD.pack(kind, len(views), epoch, at, size, len(data), inline_bytes, count)
            parts = [head, *(ENTRY.pack(*entry) for entry in table), data, *inline]
            self._write(b"".join(parts) if inline_bytes + len(data) <= 2 * INLINE_BYTES else parts)
            self.sent += count
            self._open, self._used = kept if beside else (None, 0)
        return whole

    def _placed(self, views: list[memoryview]) -> tuple[int | None, list[tuple[int, int]], list[Any]]:
        """Put each buffer into the slot or into the message."""
        import numpy as np

        total = sum(padded(view.nbytes) for view in views)
        slot = self._open
        inside = [None if slot is None else self._inside(slot, view) for view in views]
        outside = sum(padded(view.nbytes) for view, at in zip(views, inside, strict=True) if at is None)
        fits = slot is not None and self._used + outside <= self._slots.size_of(slot)
        if not fits and outside > INLINE_BYTES:
            self._typical = max(self._typical, total)
            fresh = self._take(total)
            if fresh is not None:
                if slot is not None:
                    self._slots.give(slot)  # its arrays are copied below, before anything can be put there
                slot, self._used, inside, fits = fresh, 0, [None] * len(views), True
        self._typical = max(self._typical, total)
        table: list[tuple[int, int]] = []
        inline: list[Any] = []
        at_inline = 0
        for view, at in zip(views, inside, strict=True):
            if at is None and fits:
                assert slot is not None
                at = slot + self._used
                np.frombuffer(self._arena.map, np.uint8, view.nbytes, at)[:] = np.frombuffer(view, np.uint8)
                self._used = padded(self._used + view.nbytes)
            if at is None:
                table.append((at_inline | INLINE, view.nbytes))
                inline += [view, bytes(padded(view.nbytes) - view.nbytes)]
                at_inline += padded(view.nbytes)
            else:
                assert slot is not None
                table.append((at - slot, view.nbytes))
        if slot is not None and len(inline) == 2 * len(views):
            self._slots.give(slot)
            slot = None
        return slot, table, inline

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

    def receive(self, *, wait: bool) -> None:
        """Take in what the main process has sent: acks take effect, commands go to `commands`."""
        if not wait and not select.select([self._sock], [], [], 0)[0]:
            return
        with self._lock:
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
