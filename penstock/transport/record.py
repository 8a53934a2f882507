"""The flight recorder: what a worker was doing, for the message in case it dies.

It lies in the first page of the worker's arena, so it outlives the worker, whatever ends that. The worker writes it
over and over; the main process reads it only when the worker is gone, or hangs. No lock is needed for that: a record
that was being written at the moment of death is at worst half the one before::

    length of the text, whether the worker waits, when (CLOCK_MONOTONIC, which all processes share), resident bytes
    text: a pipe's name, a mark, and words, with a zero between them
"""

from __future__ import annotations

import mmap
import struct
import time
from dataclasses import dataclass
from typing import Final

__all__ = ["RECORD_BYTES", "Record", "read_record", "write_record"]

RECORD_BYTES: Final = mmap.PAGESIZE
_HEAD: Final = struct.Struct("<HBdQ")


@dataclass(frozen=True)
class Record:
    """What a worker wrote last.

    Attributes:
        what: what it was doing, as it stands behind "it was": ``in pipe 'map' (map(f) at train.py:3)``.
        waits: whether that was waiting for another process.
        at: when that was, by `time.monotonic`.
        resident_bytes: how much memory it had then; 0 where that is not known.
        call: whose function it had called, and the mark of what with, where somebody watches that; empty elsewhere.
    """

    what: str
    waits: bool = False
    at: float = 0.0
    resident_bytes: int = 0
    call: tuple[str, str] = ("", "")

    def waited(self, within_s: float) -> bool:
        """Whether it was waiting, and said so in the last ``within_s``: one that has stopped says nothing any more."""
        return self.waits and time.monotonic() - self.at < within_s

    def __str__(self) -> str:
        said = f"{self.what}, {max(0.0, time.monotonic() - self.at):.2f} s before"
        return f"{said}; resident memory {self.resident_bytes / (1 << 20):.0f} MiB" if self.resident_bytes else said


def write_record(
    page: mmap.mmap, what: str, *, waits: bool = False, resident_bytes: int = 0, call: tuple[str, str] = ("", "")
) -> None:
    """Write what this process is doing now."""
    data = "\0".join([*call, what]).encode()[: RECORD_BYTES - _HEAD.size]
    page[_HEAD.size : _HEAD.size + len(data)] = data
    _HEAD.pack_into(page, 0, len(data), waits, time.monotonic(), resident_bytes)


def read_record(page: mmap.mmap) -> Record:
    """Read what was written last."""
    length, waits, at, resident_bytes = _HEAD.unpack_from(page, 0)
    text = page[_HEAD.size : _HEAD.size + length].decode(errors="replace")
    pipe, _, rest = text.partition("\0")
    mark, _, what = rest.partition("\0")
    return Record(what, bool(waits), at, resident_bytes, (pipe, mark))
