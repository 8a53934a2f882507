"""numpy's arrays in MessagePack: every type comes back as it was, and nothing is pickled."""

from __future__ import annotations

import io
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as arrays

from penstock.core.errors import DecodeError
from penstock.pipes import IterableWrapper
from penstock.serialization.arrays import decode_array, encode_array


def trip(value: Any) -> Any:
    packed = msgpack.packb(value, default=encode_array)
    return msgpack.unpackb(packed, object_hook=decode_array, strict_map_key=False)


def same(a: Any, b: Any) -> bool:
    return bool(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes())


PLAIN = arrays.scalar_dtypes() | arrays.unicode_string_dtypes() | arrays.byte_string_dtypes() | arrays.array_dtypes()


@settings(deadline=None)
@given(arrays.arrays(PLAIN, arrays.array_shapes(min_dims=0, min_side=0, max_side=3)))
def test_an_array_of_any_type_and_shape_comes_back_as_it_was_and_can_be_written_to(array: Any) -> None:
    found = trip({"x": [array]})["x"][0]
    assert same(found, array)
    assert found.flags.writeable and found.flags.owndata is False


@pytest.mark.parametrize(
    "scalar", [np.float32(1.5), np.int64(-3), np.bool_(True), np.datetime64("2020-01-02"), np.complex64(1 + 2j)]
)
def test_a_scalar_comes_back_with_its_type(scalar: Any) -> None:
    found = trip(scalar)
    assert type(found) is type(scalar) and found == scalar


def test_fortran_order_is_kept_other_strides_and_padding_are_not() -> None:
    turned = np.arange(6).reshape(2, 3).T
    assert same(trip(turned), turned) and trip(turned).flags.f_contiguous and not trip(turned).flags.c_contiguous
    assert encode_array(turned)[b"data"] == turned.tobytes()  # in C's order, for those who know no other
    assert same(trip(np.arange(9)[::2]), np.arange(0, 9, 2)) and trip(np.arange(9)[::2]).flags.c_contiguous
    aligned = np.zeros(3, np.dtype([("a", "i1"), ("b", "f8")], align=True))
    aligned["b"] = [1, 2, 3]
    found = trip(aligned)
    assert found.dtype == np.dtype([("a", "i1"), ("b", "f8")]) and found["b"].tolist() == [1, 2, 3]


def test_complex_numbers_and_maps_that_are_no_arrays() -> None:
    assert trip([1 + 2j, {"nd": True}, {1: 2}, {}]) == [1 + 2j, {"nd": True}, {1: 2}, {}]


def test_bytes_are_those_of_msgpack_numpy() -> None:
    assert encode_array(np.array([[1, 2]], "<i2")) == {
        b"nd": True,
        b"type": "<i2",
        b"kind": b"",
        b"shape": (1, 2),
        b"data": b"\1\0\2\0",
    }
    theirs: dict[bytes, Any] = {b"nd": True, b"type": None, b"kind": b"V", b"shape": [1], b"data": b"\1\0"}
    for wrap in (list, tuple):  # as `use_list` of the unpacker has it
        theirs[b"type"] = wrap([wrap([b"x", b"<i2"])])
        assert same(decode_array(theirs), np.array([(1,)], [("x", "<i2")]))


@pytest.mark.parametrize(
    "value", [np.array([object()]), np.array([(None,)], [("x", "O")]), np.zeros(2, "V3"), object(), {1, 2}]
)
def test_what_would_be_pickled_is_refused_when_it_is_written(value: Any) -> None:
    with pytest.raises(TypeError, match=r"pickled|MessagePack has no"):
        trip(value)


@pytest.mark.parametrize(
    "damage",
    [
        {b"type": "O"},
        {b"type": "|O"},
        {b"type": [["x", "O"]]},
        {b"type": "no type"},
        {b"type": None},
        {b"type": [["x"]]},
        {b"shape": [3]},
        {b"shape": [1]},
        {b"shape": [-1]},
        {b"shape": [2.0]},
        {b"shape": None},
        {b"data": "text"},
        {b"data": b""},
    ],
)
def test_an_array_that_is_damaged_or_pickled_is_an_error_when_it_is_read(damage: dict[bytes, Any]) -> None:
    good = {b"nd": True, b"type": "<i2", b"kind": b"", b"shape": [2], b"data": b"\1\0\2\0"}
    with pytest.raises(DecodeError):
        decode_array(good | damage)
    for key in (b"type", b"data", b"shape"):
        with pytest.raises(DecodeError):
            decode_array({k: v for k, v in good.items() if k != key})


def test_a_file_with_a_bad_array_is_named() -> None:
    data = msgpack.packb({"x": {b"nd": True, b"type": "O", b"kind": b"O", b"shape": [1], b"data": b"\x80"}})
    pipe = IterableWrapper([("bad.msgpack", io.BytesIO(data))], deepcopy=False)
    with pytest.raises(DecodeError, match="pickled") as raised:
        list(pipe.parse_msgpack(object_hook=decode_array))
    assert "bad.msgpack" in str(raised.value) + "\n".join(raised.value.__notes__)
