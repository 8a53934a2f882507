"""Reading and writing a shard: a file of samples, compressed or not, ours or Squirrel's.

What a file is tells its content, and never its name: ours begin with a block (`blocks`), any other gzip or zstd file is
one stream, as Squirrel writes it, and anything else is not compressed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from penstock.core.errors import DecodeError, MissingExtra
from penstock.serialization._notes import inflater
from penstock.serialization.blocks import COMPRESSIONS, Index, ReadBytes, has_blocks, pack, read_blocks, read_index
from penstock.serialization.formats import FORMATS

__all__ = ["ShardReader", "bare", "write_shard"]

_GZIP, _ZSTD, _SKIPPABLE = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x2a\x4d\x18"
_AHEAD_BYTES = 1 << 22  # of a file, read at once
_PIECE_BYTES = 1 << 16  # of a stream, decompressed at once: it stays in the processor's cache


def write_shard(
    samples: Iterable[Any], format: str, compression: str = "gzip", level: int | None = None
) -> Iterator[bytes]:
    """Yield the pieces of a file.

    Args:
        samples: what is in it.
        format: ``msgpack`` or ``jsonl``.
        compression: ``gzip``, which Squirrel reads as well, or ``zstd``.
        level: the compression's.

    Raises:
        TypeError: names the sample that the format has no word for.
    """
    encode = FORMATS[format].encoder()

    def encoded() -> Iterator[bytes]:
        for number, sample in enumerate(samples):
            try:
                yield encode(sample)
            except Exception as error:
                error.add_note(f"penstock: writing sample {number} of a shard: {sample!r:.200}")
                raise

    return pack(encoded(), compression, level)


def bare(path: str) -> str:
    """Return a path without ``.gz`` or ``.zst``.

    Example:
        >>> bare("store/part-0.zst")
        'store/part-0'
    """
    return next((path.removesuffix(end) for end in COMPRESSIONS.values() if path.endswith(end)), path)


class ShardReader:
    """One file, read from its start or from a place in it, or one sample of it.

    Args:
        path: names the file in errors.
        read: returns bytes of the file.
        format: ``msgpack`` or ``jsonl``.
        failed: makes of the error of a sample what is yielded in its place; raises it unless given.
        **params: the format's own.
    """

    def __init__(
        self,
        path: str,
        read: ReadBytes,
        format: str,
        failed: Callable[[DecodeError], Any] | None = None,
        **params: Any,
    ) -> None:
        self.path = path
        self._read = read
        self._decode = FORMATS[format].decode
        self.failed = failed or self._raise
        self._params = params
        self.run = [0, 0]  # the run that was yielded last: the byte at which it begins, and its first sample's number

    def samples(self, run: Sequence[int] = (0, 0)) -> Iterator[Iterator[Any]]:
        """Yield runs of samples, to be chained.

        Args:
            run: the run to begin with, as ``self.run`` was while it was the last one.

        Raises:
            DecodeError: (when run) names the file, and the sample, line or byte.
        """
        read = _ReadAhead(self._read)
        self.run = list(run)
        try:
            if run[0] == 0:
                head = read(0, 16)
                if not head:
                    raise DecodeError("the file is empty; a shard without samples is not")
                if not has_blocks(head):
                    if bare(self.path) != self.path and not _is_compressed(head):
                        raise DecodeError("it is not compressed, as its name says, or its beginning is damaged")
                    yield self._decode(self._naming(_inflated(_pieces(read), head)), self.failed, **self._params)
                    return
            first = run[1]
            for block in read_blocks(read, run[0]):
                self.run = [block.start, first]
                samples = list(self._decode((block.data,), self.failed, first, whole=True, **self._params))
                if len(samples) != block.samples:
                    raise DecodeError(f"byte {block.start}: a block of {block.samples} samples has {len(samples)}")
                yield iter(samples)
                first += block.samples
        except DecodeError as error:
            raise self.named(error) from error.__cause__

    def index(self) -> Index | None:
        """Return where the samples are, None for a file that does not say so.

        Raises:
            DecodeError: the file is empty, was cut, or is damaged.
        """
        try:
            return read_index(self._read) if has_blocks(self._read(0, 16)) else None
        except DecodeError as error:
            raise self.named(error) from None

    def sample(self, index: Index, number: int) -> Any:
        """Return one sample of a file that has an index; it costs a block.

        Raises:
            IndexError: there are fewer. DecodeError: the file is damaged, or is not the one that the index is of.
        """
        if not 0 <= number < index.samples:
            raise IndexError(f"{self.path} has {index.samples} samples, got {number}")
        at = bisect_right(index.firsts, number) - 1
        start, stop = index.starts[at : at + 2]
        try:
            block = next(read_blocks(_Piece(start, self._read(start, stop)), start))
            samples = list(self._decode((block.data,), self._raise, index.firsts[at], whole=True, **self._params))
            if len(samples) != index.firsts[at + 1] - index.firsts[at]:
                raise DecodeError(f"byte {start}: a block has {len(samples)} samples, and another number by the index")
        except DecodeError as error:
            raise self.named(error) from error.__cause__
        return samples[number - index.firsts[at]]

    def _naming(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        try:
            yield from pieces
        except DecodeError as error:
            raise self.named(error) from error.__cause__

    def _raise(self, error: DecodeError) -> Any:
        raise self.named(error)

    def named(self, error: DecodeError) -> DecodeError:
        """Return the error as one that names the file."""
        return error if str(error).startswith(self.path) else DecodeError(f"{self.path}: {error}")


class _Piece:
    """A piece of a file, as what reads the file."""

    def __init__(self, start: int, data: bytes) -> None:
        self._start = start
        self._data = data

    def __call__(self, start: int, stop: int) -> bytes:
        return self._data[start - self._start : stop - self._start]


class _ReadAhead:
    """Reads a file from its start to its end in few requests."""

    def __init__(self, read: ReadBytes) -> None:
        self._read = read
        self._start = 0
        self._held = b""
        self._ended = False

    def __call__(self, start: int, stop: int) -> bytes:
        if start < self._start:
            raise AssertionError(f"byte {start} was passed, at {self._start}")
        if start > self._start + len(self._held):
            self._start, self._held = start, b""
        while not self._ended and self._start + len(self._held) < stop:
            at = self._start + len(self._held)
            asked = max(stop - at, _AHEAD_BYTES)
            more = self._read(at, at + asked)
            self._ended = len(more) < asked
            self._held = self._held[start - self._start :] + more
            self._start = start
        return self._held[start - self._start : stop - self._start]


def _pieces(read: ReadBytes) -> Iterator[bytes]:
    at = 0
    while piece := read(at, at + _PIECE_BYTES):
        yield piece
        at += len(piece)


def _inflated(pieces: Iterator[bytes], head: bytes) -> Iterator[bytes]:
    """Decompress one stream after the other, of the kind that the first bytes tell."""
    if head.startswith(_GZIP):
        return _decompressed(pieces, lambda: inflater().decompressobj(31))
    if _is_compressed(head):
        try:
            import zstandard
        except ImportError:
            raise MissingExtra("zstd needs zstandard: pip install 'penstock[zstd]'") from None
        return _decompressed(pieces, zstandard.ZstdDecompressor().decompressobj)
    return pieces


def _is_compressed(head: bytes) -> bool:
    return head.startswith((_GZIP, _ZSTD)) or head[1:4] == _SKIPPABLE


def _decompressed(pieces: Iterator[bytes], new: Callable[[], Any]) -> Iterator[bytes]:
    stream = new()
    begun = False
    at = 0
    for piece in pieces:
        while piece:
            try:
                data = stream.decompress(piece)
            except Exception as error:  # zlib's or zstandard's
                raise DecodeError(f"a stream that cannot be decompressed, behind byte {at}: {error}") from error
            if data:
                yield data
            begun = not stream.eof
            piece, stream = (stream.unused_data, new()) if stream.eof else (b"", stream)
        at += _PIECE_BYTES
    if begun:
        raise DecodeError("it ends within a compressed stream, so it was cut")
