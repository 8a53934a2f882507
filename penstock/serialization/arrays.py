"""numpy's arrays in MessagePack, as maps whose keys are bytes: the encoding of the package msgpack-numpy.

::

    {b"nd": True,  b"type": "<f4", b"kind": b"",  b"shape": [2, 3], b"data": ...}              an array
    {b"nd": True,  b"type": [["x", "<f4"], ...], b"kind": b"V", b"shape": [2], b"data": ...}   a structured one
    {..., b"order": b"F"}    (ours)                                                            one in Fortran's order
    {b"nd": False, b"type": "<f4", b"data": ...}                                               a scalar
    {b"complex": True, b"data": "(1+2j)"}                                                      a complex number

The bytes are in C's order, always: ``order`` says how the array was, and who does not know it reads the same array.
That package pickles arrays of objects, so a file could run code when it is read. Here they are refused, both ways, but
by `decode_pickled`, which is for files that one trusts.

A sample may have a map with these keys that is no array. In a file of blocks, which has checksums and was written here,
every array is whole, and what is none comes back as the map that it was (`decode_whole`): to look for such maps when
samples are written would cost a tenth of writing. Elsewhere it would be taken for a damaged array, and is refused when
it is written (`refuse_marked`).
"""

from __future__ import annotations

import math
import operator
from functools import lru_cache
from typing import Any

import numpy as np

from penstock.core.errors import DecodeError

__all__ = [
    "decode_array",
    "decode_pickled",
    "decode_whole",
    "encode_array",
    "fields",
    "no_mask",
    "refuse_marked",
    "repacked",
]

_PLAIN = "biufcSUMm"  # the kinds of dtypes whose bytes are all there is to them


def encode_array(value: Any) -> dict[bytes, Any]:
    """Return an array, or one of numpy's scalars, as a map: the ``default`` of `msgpack.Packer`.

    Raises:
        TypeError: it is anything else, holds objects, or has a mask.

    Example:
        >>> import msgpack, numpy as np
        >>> packed = msgpack.packb({"x": np.arange(3)}, default=encode_array)
        >>> msgpack.unpackb(packed, object_hook=decode_array)
        {'x': array([0, 1, 2])}
    """
    if type(value) is np.ndarray or (isinstance(value, np.ndarray) and no_mask(value)):
        kind, value = _plain(value)
        described = value.dtype.descr if kind else value.dtype.str
        encoded = {b"nd": True, b"type": described, b"kind": kind, b"shape": value.shape, b"data": value.tobytes()}
        return encoded if value.flags.c_contiguous or not value.flags.f_contiguous else {**encoded, b"order": b"F"}
    if isinstance(value, np.generic) and value.dtype.kind in _PLAIN:
        return {b"nd": False, b"type": value.dtype.str, b"data": value.tobytes()}
    if isinstance(value, complex):
        return {b"complex": True, b"data": repr(value)}
    raise TypeError(
        f"MessagePack has no {type(value).__module__}.{type(value).__qualname__}; what it has are None, bool, int (64 "
        "bits), float, str, bytes, lists, dicts, and numpy's arrays and scalars"
    )


def decode_array(value: dict[Any, Any]) -> Any:
    """Return what a map stands for, the map itself if it is no array's: the ``object_hook`` of `msgpack.Unpacker`.

    An array has memory of its own, and can be written to.

    Raises:
        DecodeError: an array of objects, or one whose bytes do not fit its shape.
    """
    if b"nd" in value:
        return _array(value)
    if b"complex" in value:
        return _complex(value[b"complex"], value)
    return value


def decode_whole(value: dict[Any, Any]) -> Any:
    """Return what `decode_array` does, and the map itself where that raises: for what has no damaged arrays."""
    try:  # as decode_array, without another call for each array
        if b"nd" in value:
            return _array(value)
        if b"complex" in value:
            return _complex(value[b"complex"], value)
    except DecodeError:
        pass
    return value


def refuse_marked(value: Any) -> None:
    """Raise for a map, in a sample that is to be written, that would be taken for an array, or a damaged one.

    Raises:
        TypeError: there is one.
    """
    if isinstance(value, dict):
        if b"nd" in value or b"complex" in value:
            raise TypeError(
                "in MessagePack a map with the bytes b'nd' or b'complex' as a key stands for an array of numpy's, or a "
                "complex number; use str for the key"
            )
        for each in value.values():
            refuse_marked(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            refuse_marked(each)


def decode_pickled(value: dict[Any, Any]) -> Any:
    """Return what `decode_array` does, and unpickle arrays of objects: **this runs what the file says**."""
    if b"nd" in value and value.get(b"kind") == b"O":
        import pickle

        return pickle.loads(value[b"data"])
    return decode_array(value)


def no_mask(array: np.ndarray[Any, Any]) -> bool:
    """Return True for an array that has no mask.

    Raises:
        TypeError: it has one, which neither format has a word for; numpy's bytes of it are those of its fill values.
    """
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(
            "a masked array would be written as its fill values; write x.filled(value), or two arrays: x.data and "
            "numpy.ma.getmaskarray(x)"
        )
    return True


def _plain(array: np.ndarray[Any, Any]) -> tuple[bytes, np.ndarray[Any, Any]]:
    """Return the kind of an array's type, and an array whose bytes are all there is to it."""
    if array.dtype.kind in _PLAIN:
        return b"", array
    if array.dtype.names is not None and not array.dtype.hasobject:
        return b"V", repacked(array)
    raise TypeError(f"an array of {array.dtype} is more than its bytes, and nothing here is pickled")


def repacked(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return a structured array without what stands between its fields, which has no place in what describes them."""
    from numpy.lib.recfunctions import repack_fields

    found: np.ndarray[Any, Any] = repack_fields(array, recurse=True)
    return found


def _array(value: dict[Any, Any]) -> Any:
    try:
        described, shape = value[b"type"], tuple(map(operator.index, value[b"shape"])) if value[b"nd"] else ()
        dtype, size = (_form if type(described) in (str, bytes) else _formed)(described, shape)
        data = bytearray(value[b"data"])
    except (KeyError, TypeError, ValueError, SyntaxError) as error:
        raise DecodeError(f"not an array of numpy's: {error!r}") from error
    if size != len(data):
        raise DecodeError(f"an array of shape {shape} and type {dtype} has {size} bytes, got {len(data)}")
    array: Any = np.ndarray(shape, dtype, data)
    if b"order" in value:
        array = np.asfortranarray(array)
    return array if value[b"nd"] else array[()]


def _formed(described: Any, shape: tuple[int, ...]) -> tuple[np.dtype[Any], int]:
    """Return the type of an array, and how many bytes it has."""
    plain = type(described) in (str, bytes)
    dtype: np.dtype[Any] = np.dtype(_text(described) if plain else fields(described))
    if dtype.hasobject:
        raise DecodeError(f"an array of {dtype} would have to be unpickled, which runs what the file says")
    if shape and min(shape) < 0:
        raise DecodeError(f"an array cannot have the shape {shape}")
    return dtype, dtype.itemsize * math.prod(shape)


_form = lru_cache(256)(_formed)


def _complex(said: Any, value: dict[Any, Any]) -> Any:
    try:
        return complex(_text(value[b"data"])) if said is True else value
    except (KeyError, TypeError, ValueError) as error:
        raise DecodeError(f"not a complex number: {error!r}") from error


def fields(described: Any) -> list[Any]:
    """Return the fields of a structured type. Names may come as bytes, and tuples come as lists."""
    return [_field(*field) for field in described]


def _field(name: Any, kind: Any, *shape: Any) -> Any:
    inner = fields(kind) if isinstance(kind, (list, tuple)) else _text(kind)
    return (_name(name), inner, *(tuple(each) for each in shape))


def _name(value: Any) -> Any:
    return tuple(map(_text, value)) if isinstance(value, (list, tuple)) else _text(value)  # with a title


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value
