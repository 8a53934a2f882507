"""What passes between the two ends of a worker's socket.

A message from the worker is a fixed head, a table of buffers, the pickle, and the buffers that are too small to be
worth a slot. The others lie in one slot of the arena, whose offset is in the head::

    head: kind, number of buffers, epoch, slot, slot's bytes, pickle's bytes, inline bytes, number of items
    table: (offset, size) for each buffer; the top bit of offset says that it is inline
    pickle, then inline buffers

Back go commands, and *acks*: how many items the main process has taken (so that the worker knows how far it is
ahead), and which slots have come back. No lock and no queue is shared: a worker that dies takes nothing with it.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Any, Final, NamedTuple

from penstock.transport.arena import ALIGN

__all__ = [
    "ALIGN",
    "CHUNK",
    "COMMAND",
    "HEAD",
    "INLINE",
    "INLINE_BYTES",
    "NO_SLOT",
    "Disconnected",
    "Message",
    "padded",
    "table",
]

HEAD = struct.Struct("<BxHIQQIII")
INLINE: Final = 1 << 63
NO_SLOT: Final = (1 << 64) - 1
INLINE_BYTES: Final = 64 << 10  # up to here, a copy through the socket costs less than a slot's round trip
COMMAND = struct.Struct("<I")
CHUNK: Final = 1 << 18  # bytes to read at once


class Disconnected(Exception):
    """The other end of the socket is closed."""


class Message(NamedTuple):
    """What a worker has to say: its kind and content, and the epoch it belongs to."""

    kind: int
    epoch: int
    content: Any


def padded(size: int) -> int:
    """Return ``size`` up to the next place where a buffer may begin."""
    return -(-size // ALIGN) * ALIGN


@lru_cache(64)
def table(count: int) -> struct.Struct:
    """Return the table of so many buffers: an offset and a size for each."""
    return struct.Struct(f"<{2 * count}Q")
