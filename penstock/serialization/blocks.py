"""A file of samples in compressed blocks, with an index: what is in it is known without reading it.

::

    note: B, stored bytes, plain bytes, samples       block   a gzip member, or a zstd frame, of whole samples
    ...
    note: I, (stored bytes, samples) of each block    index   in as many notes as it takes
    note: E, where the index begins, blocks, samples  end     the last bytes of every such file

Any tool that reads gzip or zstd reads such a file as one stream, and passes over the notes (see `_notes`). A block has
the checksum of its compression, the index one of its own, and a file that ends without its end was cut.

Rejected: an index in a file beside it (two files are not written at once, and each costs a request); blocks that are
found by decompressing (a reader could not go to one without reading those ahead of it).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple

from penstock.core.errors import DecodeError
from penstock.serialization._notes import COMPRESSIONS, NOTE_HEAD_BYTES, PACKERS, inflate, note_bytes, said_by

__all__ = [
    "BLOCK_BYTES",
    "COMPRESSIONS",
    "Block",
    "Index",
    "ReadBytes",
    "has_blocks",
    "pack",
    "read_blocks",
    "read_index",
]

BLOCK_BYTES = 1 << 17  # of plain samples: to fetch one sample costs a block, and longer ones hardly pack better

ReadBytes = Callable[[int, int], bytes]
"""Returns the bytes of a file from ``start`` to ``stop``, fewer where it ends. A negative start counts from the end."""

_BLOCK, _INDEX, _END = b"BIE"
_HEADER = struct.Struct("<BIII")  # B, stored bytes, plain bytes, samples
_ENTRY = struct.Struct("<II")  # stored bytes, samples
_FOOTER = struct.Struct("<BQIQI")  # E, where the index begins, blocks, samples, checksum of the index
_ENTRIES = 8000  # in a note of the index: gzip's extra field has room for 65,535 bytes

_TAIL_BYTES = 1 << 16  # read at once for the index: that of 8,000 blocks, a gigabyte


class Block(NamedTuple):
    """The samples of one block, decompressed.

    Attributes:
        start: the byte of the file at which it begins.
        stop: the byte behind it.
        data: the samples' bytes.
        samples: how many there are.
    """

    start: int
    stop: int
    data: bytes
    samples: int


@dataclass(frozen=True)
class Index:
    """Where the blocks of a file are.

    Attributes:
        starts: the byte at which each block begins; one more, for where the last one ends.
        firsts: the number of each block's first sample; one more, for how many samples there are.
    """

    starts: list[int]
    firsts: list[int]

    @property
    def samples(self) -> int:
        """How many samples are in the file."""
        return self.firsts[-1]


def pack(
    samples: Iterable[bytes], compression: str, level: int | None = None, block_bytes: int = BLOCK_BYTES
) -> Iterator[bytes]:
    """Yield the pieces of a file: a block as soon as there are ``block_bytes`` of samples, and the index last.

    Args:
        samples: the bytes of each.
        compression: ``gzip`` or ``zstd``.
        level: the compression's; 1 for gzip and 3 for zstd unless given.
        block_bytes: of a block, before it is compressed. A longer sample is a block of its own.
    """
    note, compress = PACKERS[compression]
    compressed = compress(level)
    entries: list[tuple[int, int]] = []
    held: list[bytes] = []

    def block() -> bytes:
        data = b"".join(held)
        stored = compressed(data)
        packed = note(_HEADER.pack(_BLOCK, len(stored), len(data), len(held))) + stored
        entries.append((len(packed), len(held)))
        held.clear()
        return packed

    size = 0
    for sample in samples:
        held.append(sample)
        size += len(sample)
        if size >= block_bytes:
            yield block()
            size = 0
    if held:
        yield block()
    index = b"".join(_ENTRY.pack(*entry) for entry in entries)
    step = _ENTRIES * _ENTRY.size
    yield from (note(bytes([_INDEX]) + index[at : at + step]) for at in range(0, len(index), step))
    at, total = (sum(column) for column in zip(*entries, strict=True)) if entries else (0, 0)
    yield note(_FOOTER.pack(_END, at, len(entries), total, zlib.crc32(index)))


def has_blocks(head: bytes) -> bool:
    """Whether a file is one of blocks, by its first 16 bytes."""
    return said_by(head) is not None


def read_blocks(read: ReadBytes, start: int = 0) -> Iterator[Block]:
    """Yield the blocks of a file, from the one that begins at byte ``start`` on, and see that the index agrees.

    Raises:
        DecodeError: says at which byte, and what is wrong there.
    """
    at = start
    blocks = samples = 0
    while True:
        payload, behind = _note(read, at)
        if payload[0] != _BLOCK:
            break
        _, stored, plain, number = _unpacked(_HEADER, payload, at)
        data = inflate(_exactly(read, behind, stored), plain, behind)
        yield Block(at, behind + stored, data, number)
        at, blocks, samples = behind + stored, blocks + 1, samples + number
    begin = at
    while payload[0] == _INDEX:
        at = behind
        payload, behind = _note(read, at)
    said = _unpacked(_FOOTER, payload, at)[1:4]
    if said[0] != begin or (start == 0 and said[1:] != (blocks, samples)):
        raise DecodeError(
            f"byte {at}: the index has {said[1]} blocks with {said[2]} samples, ending at byte {said[0]}; there are "
            f"{blocks} with {samples}, ending at byte {begin}"
        )
    if read(behind, behind + 1):
        raise DecodeError(f"byte {behind}: something follows the index, which ends a file")


def read_index(read: ReadBytes) -> Index:
    """Return the index of a file of blocks, from its last bytes.

    Raises:
        DecodeError: there is none, as in a file that was cut; or it is damaged.
    """
    tail = read(-_TAIL_BYTES, 0)
    for note, _ in PACKERS.values():
        size = len(note(bytes(_FOOTER.size)))
        payload = said_by(tail[-size:]) if len(tail) >= size else None
        if payload is not None and payload[:1] == bytes([_END]) and len(payload) == _FOOTER.size:
            break
    else:
        raise DecodeError("its end: there is no index, so it was cut, or damaged")
    _, begin, blocks, samples, checksum = _FOOTER.unpack(payload)
    needed = size + blocks * _ENTRY.size + (blocks // _ENTRIES + 1) * len(note(b" "))
    if needed > len(tail) == _TAIL_BYTES:
        tail = read(-needed, 0)
    entries = _entries(tail[:-size], blocks)
    if zlib.crc32(entries) != checksum:
        raise DecodeError("its index: the checksum is not that of its bytes")
    stored, numbers = zip(*_ENTRY.iter_unpack(entries), strict=True) if blocks else ((), ())
    index = Index(list(accumulate(stored, initial=0)), list(accumulate(numbers, initial=0)))
    if (index.starts[-1], index.samples) != (begin, samples):
        raise DecodeError(
            f"its index has {index.samples} samples in {index.starts[-1]} bytes, and {samples} in {begin} by its end"
        )
    return index


def _entries(tail: bytes, blocks: int) -> bytes:
    """Return the index without the notes that it is in; ``tail`` ends with it."""
    pieces = []
    left = blocks
    while left > 0:  # from the last note on
        number = left % _ENTRIES or _ENTRIES
        size = 1 + number * _ENTRY.size
        for note, _ in PACKERS.values():
            whole = len(note(b"")) + size
            payload = said_by(tail[-whole:]) if len(tail) >= whole else None
            if payload is not None and len(payload) == size and payload[0] == _INDEX:
                break
        else:
            raise DecodeError(f"its index: {left} of {blocks} entries are missing")
        pieces.append(payload[1:])
        tail = tail[:-whole]
        left -= number
    return b"".join(reversed(pieces))


def _note(read: ReadBytes, at: int) -> tuple[bytes, int]:
    """Return what a note says, and the byte behind it."""
    head = read(at, at + NOTE_HEAD_BYTES)
    size = note_bytes(head)
    if size is None:
        raise DecodeError(f"byte {at}: it ends without its index, so it was cut" if not head else _no_note(head, at))
    payload = said_by(head + read(at + NOTE_HEAD_BYTES, at + size))
    if not payload:
        raise DecodeError(f"byte {at}: it ends within the header of a block, so it was cut")
    if payload[0] not in (_BLOCK, _INDEX, _END):
        raise DecodeError(f"byte {at}: a block of a kind that is not known here, {payload[:1]!r}")
    return payload, at + size


def _no_note(head: bytes, at: int) -> str:
    if len(head) < NOTE_HEAD_BYTES:
        return f"byte {at}: it ends within the header of a block, so it was cut"
    return f"byte {at}: a block should begin here, and does not"


def _exactly(read: ReadBytes, start: int, size: int) -> bytes:
    data = read(start, start + size)
    if len(data) < size:
        raise DecodeError(f"byte {start}: a block of {size} bytes ends after {len(data)}, so it was cut")
    return data


def _unpacked(form: struct.Struct, payload: bytes, at: int) -> tuple[Any, ...]:
    if len(payload) != form.size:
        raise DecodeError(f"byte {at}: the header of a block has {len(payload)} bytes instead of {form.size}")
    return form.unpack(payload)
