"""Reading ``tf.train.Example`` and ``tf.train.SequenceExample``: as much of the protobuf format as they need.

    Example          1: Features
    SequenceExample  1: Features (the context)   2: FeatureLists
    Features         1: entries of a map         FeatureLists  1: entries of a map
    entry            1: key                      2: Feature, or FeatureList
    FeatureList      1: Features, one for each step
    Feature          1: BytesList  2: FloatList  3: Int64List, each with its values in field 1

A message is fields one after the other: a key (number * 8 + wire type), and a varint, 4 or 8 bytes, or a length and so
many bytes. Lists of numbers may be packed into one field, or stand in a field for each.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Malformed", "Value", "parsed"]

Value: TypeAlias = "npt.NDArray[np.float32] | npt.NDArray[np.int64] | list[bytes]"

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class Malformed(Exception):
    """The bytes are no such message."""


def parsed(record: bytes) -> tuple[dict[str, Value], dict[str, list[Value]]]:
    """Return the features of an example, and the feature lists, which only a SequenceExample has."""
    features: dict[str, Value] = {}
    lists: dict[str, list[Value]] = {}
    for number, data in _fields(memoryview(record)):
        if number == 1:
            for key, entry in _entries(data):
                features[key] = _feature(entry)
        elif number == 2:
            for key, entry in _entries(data):
                lists[key] = [_feature(step) for field, step in _fields(entry) if field == 1]
    return features, lists


def _entries(data: Any) -> Iterator[tuple[str, Any]]:
    for number, entry in _fields(data):
        if number == 1:
            fields = dict(_fields(entry))
            yield str(fields.get(1, b""), "utf-8"), fields.get(2, memoryview(b""))


def _feature(data: Any) -> Value:
    import numpy as np

    kind, values = 0, memoryview(b"")
    for kind, values in _fields(data):  # noqa: B007  # one of three: the last one counts
        pass
    items = [value for number, value in _fields(values) if number == 1] if kind else []
    if kind == 2:
        return np.frombuffer(b"".join(items), "<f4").astype(np.float32)
    if kind == 3:
        return _varints(b"".join(_packed(item) for item in items))
    return [bytes(item) for item in items]


def _packed(item: Any) -> bytes:
    """Return an int64 as a varint again, where it stood in a field of its own."""
    if not isinstance(item, int):
        return bytes(item)
    out = bytearray()
    while item > 127:
        out.append(item & 127 | 128)
        item >>= 7
    return bytes([*out, item])


def _varints(data: bytes) -> npt.NDArray[np.int64]:
    """Decode packed varints, all at once: each has 7 bits in a byte, lowest first, and ends below 128."""
    import numpy as np

    if not data:
        return np.zeros(0, np.int64)
    codes = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(codes < 128)
    if not len(ends) or ends[-1] != len(codes) - 1:
        raise Malformed("a list of integers ends within one")
    starts = np.concatenate(([0], ends[:-1] + 1))
    if int((ends - starts).max()) > 9:
        raise Malformed("an integer has more than 64 bits")
    places = np.arange(len(codes)) - np.repeat(starts, ends - starts + 1)
    bits = (codes & 127).astype(np.uint64) << (7 * places).astype(np.uint64)
    return np.add.reduceat(bits, starts).view(np.int64)


def _fields(data: Any) -> Iterator[tuple[int, Any]]:
    """Yield the number and the value of each field: an int, or a view of bytes."""
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        wire = key & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if wire == _BYTES:
            size, at = _varint(data, at)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise Malformed(f"wire type {wire}")
        if at + size > end:
            raise Malformed("a field ends behind its message")
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: Any, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise Malformed("an integer does not end")
