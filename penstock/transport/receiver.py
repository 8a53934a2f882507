"""The main process's end of a worker's socket. See `penstock.transport.wire` for what passes."""

from __future__ import annotations

import pickle
import select
import socket
import time
from collections.abc import Sequence
from typing import Any

from penstock.transport.arena import Arena
from penstock.transport.lending import Lender
from penstock.transport.record import Record
from penstock.transport.wire import CHUNK, COMMAND, HEAD, INLINE, NO_SLOT, Disconnected, Message, table

__all__ = ["Receiver"]


class Receiver:
    """The main process's end: receives items, and sends commands and acks. One thread at a time uses it."""

    def __init__(self, sock: socket.socket, arena: Arena, ack_every: int) -> None:
        self._sock = sock
        self._arena = arena
        self._lender = Lender(arena)
        self._ack_every = ack_every
        self._taken = 0  # items taken and not yet acknowledged
        self._inbox = bytearray(CHUNK)
        self._begin = self._end = 0  # what of the inbox is filled and not yet used
        self._outbox = b""
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        sock.setblocking(False)

    def command(self, *command: Any, fds: Sequence[int] = ()) -> None:
        """Send a command, and descriptors with it.

        Raises:
            OSError: descriptors cannot be sent: the other end is closed, or does not read what was sent before.
        """
        data = pickle.dumps(command, 5)
        if fds:
            if self._outbox:
                raise BlockingIOError("the other end does not read, and descriptors cannot wait")
            socket.send_fds(self._sock, [COMMAND.pack(len(data)) + data], list(fds))
            return
        self._outbox += COMMAND.pack(len(data)) + data
        self._flush()

    def fileno(self) -> int:
        """Return the descriptor of the socket."""
        return self._sock.fileno()

    def receive(self, epoch: int, timeout_s: float) -> Message | None:
        """Return the next message of an epoch, or None if none came in time. Those of other epochs are dropped.

        Raises:
            Disconnected: the worker has closed its end, or died.
        """
        self._acknowledge(force=False)
        deadline = None
        while True:
            message = self._parse(epoch)
            if message is not None:
                return message
            if not self._fill():
                self._acknowledge(force=True)
                now = time.monotonic()
                deadline = deadline or now + timeout_s
                if now >= deadline:
                    return None
                self._poll.poll(min(1000.0, (deadline - now) * 1000 + 1))

    def recorded(self) -> Record:
        """Return what the worker said that it was doing."""
        return self._arena.recorded()

    def close(self) -> None:
        """Close this end. What has been lent stays valid."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)  # a fork of this process may hold the socket too
        except OSError:  # the worker is gone, or this end has been closed before
            pass
        self._sock.close()
        self._arena.close()

    def _acknowledge(self, *, force: bool) -> None:
        slots = self._lender.returned()
        if slots or self._taken >= self._ack_every or (force and self._taken):
            self.command("ack", self._taken, slots)
            self._taken = 0
        elif self._outbox:
            self._flush()

    def _flush(self) -> None:
        try:
            while self._outbox:
                self._outbox = self._outbox[self._sock.send(self._outbox) :]
        except BlockingIOError:
            pass
        except (BrokenPipeError, ConnectionResetError):
            self._outbox = b""  # reading will say that the worker is gone, after what it sent before

    def _fill(self) -> bool:
        """Read what is there; tell whether there was anything."""
        if self._end == len(self._inbox):
            rest = self._inbox[self._begin : self._end]
            if len(rest) * 2 > len(self._inbox):
                self._inbox = bytearray(2 * len(self._inbox))
            self._inbox[: len(rest)] = rest
            self._begin, self._end = 0, len(rest)
        try:
            n = self._sock.recv_into(memoryview(self._inbox)[self._end :])
        except BlockingIOError:
            return False
        except ConnectionResetError:
            n = 0
        if not n:
            raise Disconnected
        self._end += n
        return True

    def _parse(self, epoch: int) -> Message | None:
        """Take one whole message out of the inbox."""
        while True:
            have = self._end - self._begin
            if have < HEAD.size:
                return None
            head = HEAD.unpack_from(self._inbox, self._begin)
            kind, count, its_epoch, slot, slot_bytes, data_bytes, inline_bytes, items = head
            begin = self._begin + HEAD.size
            total = HEAD.size + table(count).size + data_bytes + inline_bytes
            if have < total:
                if total > len(self._inbox):
                    self._inbox.extend(bytes(total - len(self._inbox) + CHUNK))
                return None
            self._begin += total
            self._taken += items
            if its_epoch == epoch:
                content = self._content(begin, count, slot, slot_bytes, data_bytes, inline_bytes)
                if self._begin == self._end:
                    self._begin = self._end = 0
                return Message(kind, its_epoch, content)
            if slot != NO_SLOT:
                self._lender.discard(slot)

    def _content(self, begin: int, count: int, slot: int, slot_bytes: int, data_bytes: int, inline_bytes: int) -> Any:
        form = table(count)
        inbox = memoryview(self._inbox)
        data_at = begin + form.size
        inline_at = data_at + data_bytes
        data: Any = inbox[data_at:inline_at]
        inline = memoryview(bytearray(inbox[inline_at : inline_at + inline_bytes]))
        lent = None if slot == NO_SLOT else self._lender.view(slot, slot_bytes).data
        buffers = []
        places = iter(form.unpack_from(inbox, begin))
        for offset, size in zip(places, places, strict=True):
            if offset & INLINE:
                offset &= ~INLINE
                buffers.append(inline[offset : offset + size])
            else:
                assert lent is not None
                buffers.append(lent[offset : offset + size])
        if not data_bytes:
            data = buffers.pop()
        try:
            return pickle.loads(data, buffers=buffers)
        finally:
            data.release()
            inbox.release()
