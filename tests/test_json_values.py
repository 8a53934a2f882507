"""Values in JSON lines: what JSON has no word for comes back as it was, and what only looks like it is left alone."""

from __future__ import annotations

import json
import math
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from penstock.core.errors import DecodeError
from penstock.serialization.json_values import dumps, loads

PLAIN = arrays.scalar_dtypes() | arrays.unicode_string_dtypes() | arrays.byte_string_dtypes() | arrays.array_dtypes()
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | TEXT
    | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(TEXT | st.sampled_from(["data", "type", "shape", "order"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.fixture(params=["orjson", "json"], autouse=True)
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "json":
        monkeypatch.setitem(sys.modules, "orjson", None)


def trip(value: Any) -> Any:
    line = dumps()(value)
    assert b"\n" not in line
    json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    return loads()(line)


@settings(deadline=None)
@given(arrays.arrays(PLAIN, arrays.array_shapes(min_dims=0, min_side=0, max_side=3)))
def test_an_array_of_any_type_and_shape_comes_back_as_it_was_and_can_be_written_to(array: Any) -> None:
    found = trip({"x": [array]})["x"][0]
    assert found.dtype == array.dtype and found.shape == array.shape and found.flags.writeable
    if found.tobytes() != array.tobytes():  # a NaN has many patterns of bits, and one name
        np.testing.assert_array_equal(found, array)


def test_fortran_order_is_kept_and_who_does_not_know_it_reads_the_same_array() -> None:
    for array in (np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.zeros((2, 2, 2), "M8[s]", order="F")):
        found = trip(array)
        assert found.flags.f_contiguous and not found.flags.c_contiguous and found.flags.writeable
        np.testing.assert_array_equal(found, array)
    theirs = json.loads(dumps()(np.asfortranarray([[1, 2], [3, 4]])))
    assert theirs["data"] == [1, 2, 3, 4] and theirs["order"] == "F"
    assert trip(theirs) == theirs  # a dict that looks like one is not one


@settings(deadline=None)
@given(VALUES)
def test_plain_values_come_back_also_those_that_look_like_arrays(value: Any) -> None:
    assert trip(value) == value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1 + 2j, b"\0\xff"])
def test_what_json_has_no_word_for(value: Any) -> None:
    found = trip([value])[0]
    assert type(found) is type(value) and (found == value or math.isnan(value))


@pytest.mark.parametrize(
    "value", [np.datetime64("2020-01-02"), np.complex64(1 + 2j), np.timedelta64(3, "s"), np.bytes_(b"ab")]
)
def test_scalars_that_are_no_json_numbers_keep_their_type(value: Any) -> None:
    found = trip(value)
    assert type(found) is type(value) and found == value and found.dtype == value.dtype


def test_numbers_of_numpy_become_jsons() -> None:
    assert trip([np.int8(3), np.float32(0.5), np.bool_(True), np.str_("a")]) == [3, 0.5, True, "a"]


def test_squirrels_nan_and_infinity_are_read_though_they_are_no_json() -> None:
    assert repr(loads()(b'{"x": [NaN, Infinity, -Infinity], "y": 1}')) == "{'x': [nan, inf, -inf], 'y': 1}"
    found = loads()(b'{"x": {"data": [[NaN, 1.0]], "type": "<f8", "shape": [1, 2]}}')["x"]
    np.testing.assert_array_equal(found, np.array([[math.nan, 1]]))
    with pytest.raises(ValueError, match="line 1"):
        loads()(b'{"x": NaM}')


@pytest.mark.parametrize("depth", [1000, 100_000])
def test_a_line_that_is_nested_too_deeply_is_an_error_of_the_data(depth: int) -> None:
    with pytest.raises(DecodeError, match="nested too deeply"):
        loads()(b'{"type":' + b"[" * depth + b"]" * depth + b"}")


def test_squirrels_nested_lists_are_read() -> None:
    x = b'{"data": [[1, 2], [3, 4]], "type": "|u1", "shape": [2, 2]}'
    found = loads()(b'{"x": ' + x + b', "e": {"data": [[], []], "type": "<f4", "shape": [2, 0]}}')
    assert found["x"].tolist() == [[1, 2], [3, 4]] and found["x"].dtype == np.uint8
    assert found["e"].shape == (2, 0)
    assert loads()(b'{"data": 5, "type": "<i4", "shape": []}') == np.array(5)


@pytest.mark.parametrize(
    "line",
    [
        b'{"data": [1], "type": "int", "shape": [1]}',  # not as numpy writes it
        b'{"data": [1], "type": "<i4", "shape": [1], "more": 2}',
        b'{"data": 1, "type": "|O"}',
        b'{"data": 1, "type": "sensor"}',
    ],
)
def test_a_dict_that_is_nearly_an_array_is_left_alone(line: bytes) -> None:
    assert loads()(line) == json.loads(line)


@pytest.mark.parametrize(
    "line",
    [
        b'{"data": [1, 2], "type": "<i4", "shape": [3]}',
        b'{"data": [300], "type": "|u1", "shape": [1]}',
        b'{"data": "####", "type": "|V2", "shape": [1]}',
        b'{"data": "####", "type": "!bytes"}',
        b'{"data": ["x"], "type": "<f4", "shape": [1]}',
    ],
)
def test_an_array_that_is_none_is_named(line: bytes) -> None:
    with pytest.raises(DecodeError, match="not a value of type"):
        loads()(line)


@pytest.mark.parametrize("value", [object(), np.array([object()]), {1, 2}])
def test_nothing_is_pickled(value: Any) -> None:
    with pytest.raises(TypeError, match="pickled"):
        dumps()({"x": value})
