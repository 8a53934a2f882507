"""What JSON has no word for, in JSON: arrays, bytes, complex numbers, and floats that are no numbers.

::

    {"data": [1, 2, 3, 4], "type": "<i4", "shape": [2, 2]}     an array, in C's order; Squirrel nests the lists
    {..., "order": "F"}                                        one that was in Fortran's order; its data are in C's
    {"data": ["nan", 1.5], "type": "<f4", "shape": [2]}        JSON has no NaN
    {"data": [1.0, 2.0], "type": "<c16", "shape": [1]}         complex: real and imaginary parts in turn
    {"data": [18262], "type": "<M8[D]", "shape": [1]}          dates and durations as integers
    {"data": "AAEC...", "type": [["x", "<f4"]], "shape": [1]}  what else has bytes, in base64
    {"data": "nan", "type": "<f8"}                             a scalar (others are plain numbers)
    {"data": "AAEC...", "type": "!bytes"}
    {"data": [1.0, 2.0], "type": "!complex"}
    {"data": {...}, "type": "!dict"}                           a dict that looks like one of these

A dict is taken for one of these only if it has these keys and no other, and its type is written as numpy writes it.
Integers and floats of numpy become JSON's numbers, as they always did.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np

from penstock.core.errors import DecodeError
from penstock.serialization.arrays import fields, no_mask, repacked

__all__ = ["Hook", "dumps", "loads", "plain", "revived"]

_SCALAR, _ARRAY = {"data", "type"}, {"data", "type", "shape"}
_KEYS = (_SCALAR, _ARRAY, _ARRAY | {"order"})


def dumps() -> Callable[[Any], bytes]:
    """Return the function that turns a value into a line of JSON, without its end. It uses orjson where that is there.

    Example:
        >>> dumps()({"x": np.arange(2)})
        b'{"x":{"data":[0,1],"type":"<i8","shape":[2]}}'
    """
    try:
        import orjson
    except ImportError:
        encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
        return lambda value: encode(plain(value)).encode()
    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATETIME
    return lambda value: orjson.dumps(plain(value, native=True), option=options)


Hook = Callable[[dict[str, Any]], Any]


def loads(hook: Hook | None = None, *, exact: bool = False) -> Callable[[bytes], Any]:
    """Return the function that turns a line of JSON into what `dumps` was given.

    Args:
        hook: makes of each dict what it returns, the innermost first.
        exact: integers of any size stay what they are; it is slower. See `json_ints.has_wide`.

    Raises:
        ValueError: (when called) it is not JSON. DecodeError: an array that is none.
    """
    parse = json.loads if exact else _parser()

    def load(line: bytes) -> Any:
        try:
            value = parse(line)
            return revived(value, hook) if hook is not None or b'"type"' in line else value
        except RecursionError as error:
            raise DecodeError("lists and dicts are nested too deeply") from error

    return load


def _parser() -> Callable[[bytes], Any]:
    try:
        import orjson
    except ImportError:
        return json.loads

    def parse(line: bytes) -> Any:
        try:
            return orjson.loads(line)
        except orjson.JSONDecodeError:
            return json.loads(line)  # it knows NaN and Infinity, which Squirrel wrote

    return parse


def plain(value: Any, *, native: bool = False) -> Any:
    """Return a value in words that JSON has.

    Args:
        value: of Python's plain types, numpy's, or made of them.
        native: leave arrays of numbers as they are, for orjson.

    Raises:
        TypeError: it is, or has in it, something else.
    """
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return value
    if kind is float:
        return value if math.isfinite(value) else {"data": repr(value), "type": "<f8"}
    if kind is dict or isinstance(value, dict):
        made = {key: plain(each, native=native) for key, each in value.items()}
        return {"data": made, "type": "!dict"} if made.keys() in _KEYS else made
    if isinstance(value, (list, tuple)):
        return [plain(each, native=native) for each in value]
    if type(value) is np.ndarray or (isinstance(value, np.ndarray) and no_mask(value)):
        return _array(value, native)
    if isinstance(value, np.generic):
        return _scalar(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"data": base64.b64encode(value).decode(), "type": "!bytes"}
    if isinstance(value, complex):
        return {"data": [plain(value.real), plain(value.imag)], "type": "!complex"}
    if isinstance(value, (str, int, float)):  # a class that is derived of them
        return next(base for base in (str, int, float) if isinstance(value, base))(value)
    raise TypeError(f"JSON has no {kind.__module__}.{kind.__qualname__}, and nothing here is pickled")


def revived(value: Any, hook: Hook | None = None) -> Any:
    """Return what stands for an array, or for anything else that JSON has no word for, as that. Dicts change in place.

    Raises:
        DecodeError: what says that it is an array is none.
    """
    if type(value) is dict:
        if "data" in value and value.keys() in _KEYS and (found := _known(value, hook)) is not None:
            return found[0]
        for key, each in value.items():
            if type(each) is dict or type(each) is list:
                value[key] = revived(each, hook)
        return value if hook is None else hook(value)
    if type(value) is list:
        for at, each in enumerate(value):
            if type(each) is dict or type(each) is list:
                value[at] = revived(each, hook)
    return value


def _array(array: np.ndarray[Any, Any], native: bool) -> dict[str, Any]:
    dtype = array.dtype
    if dtype.hasobject:
        raise TypeError(f"an array of {dtype} is more than its bytes, and nothing here is pickled")
    flat = np.ascontiguousarray(array).reshape(-1)
    data: Any
    if native and dtype.kind in "biuf" and dtype.isnative and dtype.itemsize <= 8 and dtype != np.float16:
        data = flat if dtype.kind != "f" or np.isfinite(flat).all() else _numbers(flat)
    elif (dtype.kind in "biufc" and dtype.itemsize <= 8 * (1 + (dtype.kind == "c"))) or dtype.kind in "MmU":
        data = _numbers(flat)
    else:
        data = base64.b64encode(flat.tobytes()).decode()
    described: Any = dtype.str
    if dtype.names is not None:
        data = base64.b64encode(repacked(flat).tobytes()).decode()
        described = repacked(flat).dtype.descr
    encoded = {"data": data, "type": described, "shape": list(array.shape)}
    return encoded if array.flags.c_contiguous or not array.flags.f_contiguous else {**encoded, "order": "F"}


def _numbers(flat: np.ndarray[Any, Any]) -> list[Any]:
    if flat.dtype.kind in "Mm":
        return flat.view(flat.dtype.str[0] + "i8").tolist()  # type: ignore[no-any-return]
    if flat.dtype.kind == "c":
        flat = flat.view(f"{flat.dtype.str[0]}f{flat.dtype.itemsize // 2}")
    found: list[Any] = flat.tolist()
    if flat.dtype.kind == "f" and not np.isfinite(flat).all():
        return [each if math.isfinite(each) else repr(each) for each in found]
    return found


def _scalar(value: np.generic) -> Any:
    kind = value.dtype.kind
    if kind in "biu" or (kind == "f" and value.dtype.itemsize <= 8):
        return plain(value.item())
    if kind == "U":
        return str(value)
    said = _array(np.asarray(value), native=False)
    return {"data": said["data"], "type": said["type"]}


def _known(value: dict[str, Any], hook: Hook | None) -> tuple[Any] | None:
    """Return what a dict stands for, in a tuple; None if for nothing but itself."""
    said, data = value["type"], value["data"]
    try:
        if "shape" in value:
            dtype = _dtype(said)
            if dtype is None or value.get("order", "F") != "F":
                return None
            array = _shaped(data, dtype, value["shape"])
            return (np.asfortranarray(array) if "order" in value else array,)
        if said == "!dict" and type(data) is dict:
            found = {key: revived(each, hook) for key, each in data.items()}
            return (found if hook is None else hook(found),)
        if said == "!bytes":
            return (base64.b64decode(data, validate=True),)
        if said == "!complex":
            return (complex(*map(float, data)),)
        dtype = _dtype(said)
        if dtype is None:
            return None
        scalar = _shaped(data, dtype, [])[()]
        return (float(scalar) if said == "<f8" and isinstance(data, str) else scalar,)
    except (TypeError, ValueError, OverflowError) as error:
        shape = f" and shape {value['shape']}" if "shape" in value else ""
        raise DecodeError(f"not a value of type {said!r:.100}{shape}: {error}") from error


def _dtype(said: Any) -> np.dtype[Any] | None:
    if isinstance(said, list):
        return np.dtype(fields(said))
    return _simple(said) if isinstance(said, str) else None


@lru_cache(64)
def _simple(said: str) -> np.dtype[Any] | None:
    """Return the type that is written so by numpy, None if there is none."""
    try:
        dtype = np.dtype(said)
    except (TypeError, ValueError, SyntaxError):
        return None
    return None if dtype.str != said or dtype.hasobject or dtype.names is not None else dtype


def _shaped(data: Any, dtype: np.dtype[Any], shape: Any) -> np.ndarray[Any, Any]:
    """Return an array. It has memory of its own, and can be written to."""
    if isinstance(data, str) and (dtype.kind not in "fU" or shape != []):
        return np.frombuffer(bytearray(base64.b64decode(data, validate=True)), dtype).reshape(shape)
    flat = _flat(data)
    if dtype == np.uint8:
        return np.frombuffer(bytearray(flat), np.uint8).reshape(shape)
    if dtype.kind in "Mm":
        return np.fromiter(flat, dtype.str[0] + "i8").view(dtype).reshape(shape)
    if dtype.kind == "c":
        return np.fromiter(flat, f"{dtype.str[0]}f{dtype.itemsize // 2}").view(dtype).reshape(shape)
    if dtype.kind in "US":
        return np.array(flat, dtype).reshape(shape)
    return np.fromiter(flat, dtype).reshape(shape)


def _flat(data: Any) -> Iterable[Any]:
    """Return the numbers in lists of lists. Squirrel's files have as many levels as an array has dimensions."""
    if not isinstance(data, list):
        return [data]
    found: Any = data
    first = next(iter(data), None)
    while isinstance(first, list):
        found = chain.from_iterable(found)
        first = next(iter(first), None)
    return found if found is data else list(found)
