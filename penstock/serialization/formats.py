"""The two formats of samples: MessagePack, which keeps arrays as they are, and JSON lines, which people can read.

A format is a pair of functions: one turns a sample into bytes, the other turns the pieces of a file, wherever they are
cut, back into samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

from penstock.core.errors import DecodeError

__all__ = ["FORMATS", "Format", "torn"]

Failed = Callable[[DecodeError], Any]
"""What becomes of a sample that cannot be read: it raises, or returns what is yielded instead."""


@dataclass(frozen=True)
class Format:
    """How samples are bytes.

    Attributes:
        name: ``msgpack`` or ``jsonl``.
        encoder: ``encoder(alone=False)`` makes the function that turns a sample into bytes. It raises TypeError for
            what it has no word for. ``alone`` says that the bytes will be in no file of blocks.
        decode: ``decode(pieces, failed, first=0, whole=False, **params)`` turns the pieces of a file, or of a part of
            it that begins with sample ``first``, into samples. ``whole`` says that they were written here, and are as
            they were.
    """

    name: str
    encoder: Callable[..., Callable[[Any], bytes]]
    decode: Callable[..., Iterator[Any]]


def _msgpack_encoder(*, alone: bool = False) -> Callable[[Any], bytes]:
    import msgpack

    from penstock.serialization.arrays import encode_array, refuse_marked

    pack: Callable[[Any], bytes] = msgpack.Packer(default=encode_array).pack

    def checked(sample: Any) -> bytes:
        data = pack(sample)
        if b"\xc4\x02nd" in data or b"\xc4\x07complex" in data:  # the keys of an array, or of a map that has them
            refuse_marked(sample)
        return data

    return checked if alone else pack


def _msgpack_decode(
    pieces: Iterable[bytes],
    failed: Failed,
    first: int = 0,
    *,
    whole: bool = False,
    allow_pickle: bool = False,
    use_list: bool = True,
    **params: Any,
) -> Iterator[Any]:
    import msgpack

    from penstock.serialization.arrays import decode_array, decode_pickled, decode_whole

    hook = decode_whole if whole else decode_pickled if allow_pickle else decode_array
    options = {"object_hook": hook, "use_list": use_list, "strict_map_key": False, "max_buffer_size": 0, **params}
    unpacker = msgpack.Unpacker(**options)
    fed, number = 0, first
    for piece in pieces:
        unpacker.feed(piece)
        fed += len(piece)
        try:
            for sample in unpacker:
                yield sample
                number += 1
        except (ValueError, TypeError, msgpack.UnpackException) as error:  # TypeError: a key that is a map
            yield failed(DecodeError(f"sample {number}: {error or type(error).__name__}"))
            return  # where the next one would begin nobody knows
    if torn(unpacker, fed):
        yield failed(DecodeError(f"sample {number}: the file ends within it"))


def torn(unpacker: Any, fed: int) -> bool:
    """Return whether a `msgpack.Unpacker` that has no more objects, and was given so many bytes, stands within one.

    Of an object that it has begun it counts what is complete (the head of a map, its keys) among the bytes that it has
    used, so where it stands does not say. It is given a nil: that comes back only if nothing was waiting for it.
    """
    if unpacker.tell() != fed:
        return True
    unpacker.feed(b"\xc0")
    try:
        return next(unpacker, unpacker) is not None
    except Exception:  # what the nil made whole is refused, by the unpacker or a hook
        return True


def _jsonl_encoder(*, alone: bool = False) -> Callable[[Any], bytes]:
    from penstock.serialization.json_values import dumps

    encode = dumps()
    return lambda sample: encode(sample) + b"\n"


def _jsonl_decode(
    pieces: Iterable[bytes],
    failed: Failed,
    first: int = 0,
    *,
    whole: bool = False,
    object_hook: Callable[[dict[str, Any]], Any] | None = None,
) -> Iterator[Any]:
    from penstock.serialization.json_ints import has_wide
    from penstock.serialization.json_values import loads

    fast, exact = loads(object_hook), loads(object_hook, exact=True)
    numbers = count(first + 1)
    for text in _whole_lines(pieces):
        parse = exact if has_wide(text) else fast
        for line, number in zip(text.split(b"\n"), numbers, strict=False):
            if line and not line.isspace():
                try:
                    sample = parse(line)
                except ValueError as error:
                    sample = failed(DecodeError(f"line {number}: {error}"))
                yield sample


def _whole_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield as many lines at once as a piece has, without the last one's end."""
    rest = b""
    for piece in pieces:
        text, end, rest = (rest + piece).rpartition(b"\n")
        if end:
            yield text
    if rest:
        yield rest


FORMATS = {
    "msgpack": Format("msgpack", _msgpack_encoder, _msgpack_decode),
    "jsonl": Format("jsonl", _jsonl_encoder, _jsonl_decode),
}
