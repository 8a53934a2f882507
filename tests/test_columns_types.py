"""Every Arrow type becomes what docs/types.md says, in memory of its own, however it is sliced and chunked."""

from __future__ import annotations

import ctypes
import datetime as dt
import io
import json
import math
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.lib
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from penstock.core.errors import DecodeError
from penstock.serialization.columns import Conversion

PAGE = Path(__file__).parents[1] / "docs" / "types.md"
SAME: Any = object()  # of a row: torch has the same values in a list


@dataclass(frozen=True)
class Row:
    """A row of the table: values as Arrow has them, and what they become."""

    values: list[Any]
    type: Any
    numpy: Any
    torch: Any  # what numpy's arrays become: a dtype; SAME for lists; or an exception
    null: Any = None  # what takes the place of a null; None: it is given to a list
    filled: Any = None  # and what it is then
    make: Callable[[list[Any], Any], pa.Array] = pa.array
    can_be_null: bool = True
    conversion: Conversion = Conversion()  # noqa: RUF009


def array(values: Any, dtype: str) -> np.ndarray[Any, Any]:
    return np.array(values, dtype)


def of_storage(values: list[Any], type_: Any) -> pa.Array:
    return pa.ExtensionArray.from_storage(type_, pa.array(values, type_.storage_type))


def run_ends(values: list[Any], type_: Any) -> pa.Array:
    ends = pa.array(range(1, len(values) + 1), type_.run_end_type)
    return pa.RunEndEncodedArray.from_arrays(ends, pa.array(values, type_.value_type))


def union(values: list[Any], type_: Any) -> pa.Array:
    codes = [type_.type_codes[isinstance(value, str)] for value in values]
    numbers = [None if isinstance(value, str) else value for value in values]
    texts = [value if isinstance(value, str) else None for value in values]
    if type_.mode == "sparse":
        children = [pa.array(numbers, pa.int32()), pa.array(texts, pa.string())]
        return pa.UnionArray.from_sparse(pa.array(codes, pa.int8()), children, ["i", "s"], type_.type_codes)
    places: list[int] = [codes[:index].count(code) for index, code in enumerate(codes)]
    children = [
        pa.array([value for value in values if not isinstance(value, str)], pa.int32()),
        pa.array([value for value in values if isinstance(value, str)], pa.string()),
    ]
    offsets = pa.array(places, pa.int32())
    return pa.UnionArray.from_dense(pa.array(codes, pa.int8()), offsets, children, ["i", "s"], type_.type_codes)


class CSchema(ctypes.Structure):
    """Arrow's C data interface: the only way to two types that pyarrow has ids for and no functions."""


CSchema._fields_ = [
    ("format", ctypes.c_char_p), ("name", ctypes.c_char_p), ("metadata", ctypes.c_char_p), ("flags", ctypes.c_int64),
    ("n_children", ctypes.c_int64), ("children", ctypes.c_void_p), ("dictionary", ctypes.c_void_p),
    ("release", ctypes.c_void_p), ("private_data", ctypes.c_void_p),
]  # fmt: skip
RELEASE = ctypes.CFUNCTYPE(None, ctypes.POINTER(CSchema))


@RELEASE
def _released(schema: Any) -> None:
    schema.contents.release = None


def c_type(format_: bytes) -> Any:
    schema = CSchema(format_, b"", None, 2, 0, None, None, ctypes.cast(_released, ctypes.c_void_p), None)
    return pa.DataType._import_from_c(ctypes.addressof(schema))


def retyped(columns: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The same buffers under other types of the same widths."""
    space = ctypes.create_string_buffer(10 * 8)  # the C data interface's ArrowArray
    columns._export_to_c(ctypes.addressof(space))
    return pa.RecordBatch._import_from_c(ctypes.addressof(space), schema)


def known(name: str, storage: Any, said: bytes = b"") -> Any:
    """An extension type as another package defines it."""

    class Known(pa.ExtensionType):
        def __init__(self) -> None:
            super().__init__(storage, name)

        def __arrow_ext_serialize__(self) -> bytes:
            return said

        @classmethod
        def __arrow_ext_deserialize__(cls, storage_type: Any, serialized: bytes) -> Any:
            return cls()

    return Known()


BFLOAT16 = known("lance.bfloat16", pa.binary(2))
BLOB = known("lance.blob.v2", pa.struct([("data", pa.large_binary()), ("uri", pa.string())]))
SHAPED = known(
    "arrow.variable_shape_tensor",
    pa.struct([("data", pa.list_(pa.float32())), ("shape", pa.list_(pa.int32(), 2))]),
    b'{"permutation": [1, 0]}',
)
FIXED = pa.fixed_shape_tensor(pa.int16(), [2, 3], permutation=[1, 0])
D = Decimal
TEXTS = ["a", "", "ccc", "ä"]
BYTES = [b"a", b"", b"\x00\xff", b"d"]
UUIDS = [UUID(int=number) for number in range(4)]
RAGGED = [[1, 2], [], [3], [4, 5, 6]]
DECIMALS = [D("1.25"), D("-1.00"), D("0.00"), D("99.99")]
PAIRS_OF_BYTES = [b"ab", b"cd", b"\0\0", b"gh"]
CHILDREN = [pa.field("i", pa.int32()), pa.field("s", pa.string())]
PAIRS = [[1, 2], [3, 4], [5, 6], [7, 8]]
UTC = dt.UTC


def ragged(dtype: str, rows: list[Any] = RAGGED) -> list[Any]:
    return [array(row, dtype) for row in rows]


def numbers(type_: Any, dtype: str, torch_dtype: Any, *values: Any, null: Any = 7) -> Row:
    return Row(list(values), type_, array(values, dtype), torch_dtype, null, np.dtype(dtype).type(null))


ROWS = {
    "null": Row([None] * 4, pa.null(), [0] * 4, SAME, can_be_null=False, conversion=Conversion(nulls=0)),
    "bool": Row([True, False, True, True], pa.bool_(), array([1, 0, 1, 1], "?"), torch.bool, True, np.True_),
    "int8": numbers(pa.int8(), "i1", torch.int8, 1, -128, 127, 0),
    "int16": numbers(pa.int16(), "i2", torch.int16, 1, -(2**15), 2**15 - 1, 0),
    "int32": numbers(pa.int32(), "i4", torch.int32, 1, -(2**31), 2**31 - 1, 0),
    "int64": numbers(pa.int64(), "i8", torch.int64, 1, -(2**63), 2**63 - 1, 2**53 + 1),
    "uint8": numbers(pa.uint8(), "u1", torch.uint8, 1, 255, 0, 3),
    "uint16": numbers(pa.uint16(), "u2", torch.uint16, 1, 2**16 - 1, 0, 3),
    "uint32": numbers(pa.uint32(), "u4", torch.uint32, 1, 2**32 - 1, 0, 3),
    "uint64": numbers(pa.uint64(), "u8", torch.uint64, 1, 2**64 - 1, 2**63, 2**53 + 1, null=2**64 - 1),
    "halffloat": Row(
        [np.float16(value) for value in (1.5, -2, math.inf, math.nan)], pa.float16(),
        array([1.5, -2, math.inf, math.nan], "f2"), torch.float16, math.nan, np.float16(math.nan),
    ),
    "float": numbers(pa.float32(), "f4", torch.float32, 1.5, -2.0, math.inf, math.nan, null=math.nan),
    "double": numbers(pa.float64(), "f8", torch.float64, 1.5, -2.0, math.inf, math.nan, null=-1),
    "decimal32": Row(DECIMALS, pa.decimal32(5, 2), DECIMALS, TypeError, D(7), D(7)),
    "decimal64": Row(DECIMALS, pa.decimal64(5, 2), DECIMALS, TypeError, D(7), D(7)),
    "decimal128": Row(DECIMALS, pa.decimal128(5, 2), DECIMALS, TypeError, D(7), D(7)),
    "decimal256": Row(DECIMALS, pa.decimal256(5, 2), DECIMALS, TypeError, D(7), D(7)),
    "decimal, as float64": Row(
        DECIMALS, pa.decimal128(5, 2), array(DECIMALS, "f8"), torch.float64, 0.5, np.float64(0.5),
        conversion=Conversion(decimals="float64"),
    ),
    "date32": Row([0, 1, -1, 20000], pa.date32(), array([0, 1, -1, 20000], "M8[D]"), torch.int64,
                  dt.date(2020, 1, 2), np.datetime64("2020-01-02")),
    "date64": Row([0, 86400000, -86400000, 0], pa.date64(), array([0, 86400000, -86400000, 0], "M8[ms]"), torch.int64,
                  np.datetime64("NaT"), np.datetime64("NaT", "ms")),
    "timestamp": Row([0, 1, -1, 2**60], pa.timestamp("ns"), array([0, 1, -1, 2**60], "M8[ns]"), torch.int64,
                     np.datetime64("NaT"), np.datetime64("NaT", "ns")),
    "timestamp, with a time zone": Row(
        [dt.datetime(2020, 7, 1, hour, tzinfo=UTC) for hour in range(4)], pa.timestamp("s", "Europe/Berlin"),
        array([f"2020-07-01T0{hour}" for hour in range(4)], "M8[s]"), torch.int64, 0, np.datetime64(0, "s"),
    ),
    "time32": Row([0, 1, 86399999, 5], pa.time32("ms"), array([0, 1, 86399999, 5], "m8[ms]"), torch.int64,
                  dt.timedelta(seconds=1), np.timedelta64(1000, "ms")),
    "time64": Row([0, 1, 86399999999, 5], pa.time64("us"), array([0, 1, 86399999999, 5], "m8[us]"), torch.int64,
                  0, np.timedelta64(0, "us")),
    "duration": Row([0, -1, 2**60, 5], pa.duration("us"), array([0, -1, 2**60, 5], "m8[us]"), torch.int64,
                    np.timedelta64("NaT"), np.timedelta64("NaT", "us")),
    "interval of months, days and nanoseconds": Row(
        [pa.MonthDayNano([i, -i, 2**40]) for i in range(4)], pa.month_day_nano_interval(),
        array([[i, -i, 2**40] for i in range(4)], "i8"), torch.int64, 0, array([0, 0, 0], "i8"),
    ),
    "string": Row(TEXTS, pa.string(), TEXTS, SAME, "?", "?"),
    "large_string": Row(TEXTS, pa.large_string(), TEXTS, SAME, None, None),
    "string_view": Row(TEXTS, pa.string_view(), TEXTS, SAME, "?", "?"),
    "binary": Row(BYTES, pa.binary(), BYTES, SAME, b"?", b"?"),
    "large_binary": Row(BYTES, pa.large_binary(), BYTES, SAME, b"?", b"?"),
    "binary_view": Row(BYTES, pa.binary_view(), BYTES, SAME, None, None),
    "fixed_size_binary": Row(PAIRS_OF_BYTES, pa.binary(2), PAIRS_OF_BYTES, SAME, b"??", b"??"),
    "dictionary of strings": Row(["b", "a", "b", "b"], pa.dictionary(pa.int8(), pa.string()), ["b", "a", "b", "b"],
                                 SAME, "?", "?"),
    "dictionary of numbers": Row([5, 3, 5, 5], pa.dictionary(pa.uint32(), pa.uint16()), array([5, 3, 5, 5], "u2"),
                                 torch.uint16, 0, np.uint16(0)),
    "run_end_encoded": Row([5, 3, 5, 5], pa.run_end_encoded(pa.int16(), pa.int32()), array([5, 3, 5, 5], "i4"),
                           torch.int32, 0, np.int32(0), make=run_ends),
    "list": Row(RAGGED, pa.list_(pa.int32()), ragged("i4"), torch.int32, [9], array([9], "i4")),
    "large_list": Row(RAGGED, pa.large_list(pa.float32()), ragged("f4"), torch.float32, 0, array([], "f4")),
    "list_view": Row(RAGGED, pa.list_view(pa.uint16()), ragged("u2"), torch.uint16, None, None),
    "large_list_view": Row(RAGGED, pa.large_list_view(pa.int64()), ragged("i8"), torch.int64, [9], array([9], "i8")),
    "list of strings": Row([["a"], [], ["b", "c"], ["d"]], pa.list_(pa.string()), [["a"], [], ["b", "c"], ["d"]], SAME,
                           ["?"], ["?"]),
    "list of lists": Row([[[1], []], [], [[2, 3]], [[4]]], pa.list_(pa.list_(pa.int8())),
                         [ragged("i1", [[1], []]), [], ragged("i1", [[2, 3]]), ragged("i1", [[4]])], torch.int8, 0, []),
    "list of structs": Row(
        [[{"a": 1, "b": "x"}], [], [{"a": 2, "b": "y"}, {"a": 3, "b": "z"}], []],
        pa.list_(pa.struct([("a", pa.int8()), ("b", pa.string())])),
        [{"a": array([1], "i1"), "b": ["x"]}, {"a": array([], "i1"), "b": []},
         {"a": array([2, 3], "i1"), "b": ["y", "z"]}, {"a": array([], "i1"), "b": []}],
        torch.int8, None, None,
    ),
    "fixed_size_list": Row(PAIRS, pa.list_(pa.float32(), 2), array(PAIRS, "f4"), torch.float32, 0, array([0, 0], "f4")),
    "fixed_size_list of fixed_size_lists": Row(
        [[pair, pair] for pair in PAIRS], pa.list_(pa.list_(pa.int8(), 2), 2), array([[p, p] for p in PAIRS], "i1"),
        torch.int8, [[1, 2], [3, 4]], array([[1, 2], [3, 4]], "i1"),
    ),
    "fixed_size_list of bools": Row([[True, False]] * 4, pa.list_(pa.bool_(), 2), array([[1, 0]] * 4, "?"), torch.bool,
                                    False, array([0, 0], "?")),
    "fixed_size_list of strings": Row([["a", "b"]] * 4, pa.list_(pa.string(), 2), [["a", "b"]] * 4, SAME, None, None),
    "struct": Row([{"a": i, "b": str(i)} for i in range(4)], pa.struct([("a", pa.int16()), ("b", pa.string())]),
                  {"a": array([0, 1, 2, 3], "i2"), "b": ["0", "1", "2", "3"]}, torch.int16,
                  {"a": 9, "b": "?"}, {"a": np.int16(9), "b": "?"}),
    "map": Row([[("a", 1), ("b", 2)], [], [("c", 3)], [("a", 4)]], pa.map_(pa.string(), pa.int16()),
               [{"a": 1, "b": 2}, {}, {"c": 3}, {"a": 4}], SAME, None, None),
    "sparse_union": Row([1, "a", 2, "b"], pa.sparse_union(CHILDREN, [5, 7]),
                        [1, "a", 2, "b"], SAME, make=union, can_be_null=False),
    "dense_union": Row([1, "a", 2, "b"], pa.dense_union(CHILDREN, [5, 7]),
                       [1, "a", 2, "b"], SAME, make=union, can_be_null=False),
    "fixed_shape_tensor": Row([[1, 2, 3, 4, 5, 6]] * 3 + [[6, 5, 4, 3, 2, 1]], FIXED,
                              array([[[1, 4], [2, 5], [3, 6]]] * 3 + [[[6, 3], [5, 2], [4, 1]]], "i2"), torch.int16,
                              0, np.zeros((3, 2), "i2"), make=of_storage),
    "variable_shape_tensor": Row(
        [{"data": [1, 2, 3, 4, 5, 6], "shape": [2, 3]}, {"data": [], "shape": [0, 2]},
         {"data": [1, 2], "shape": [1, 2]}, {"data": [3], "shape": [1, 1]}], SHAPED,
        [array([[1, 4], [2, 5], [3, 6]], "f4"), np.zeros((2, 0), "f4"), array([[1], [2]], "f4"), array([[3]], "f4")],
        torch.float32, None, None, make=of_storage,
    ),
    "uuid": Row([uuid.bytes for uuid in UUIDS], pa.uuid(), UUIDS, SAME, UUIDS[0], UUIDS[0], make=of_storage),
    "bool8": Row([1, 0, 2, -1], pa.bool8(), array([1, 0, 1, 1], "?"), torch.bool, False, np.False_, make=of_storage),
    "json": Row(['{"a": 1}', "[]", "1", "null"], pa.json_(), ['{"a": 1}', "[]", "1", "null"], SAME, "{}", "{}",
                make=of_storage),
    "lance.bfloat16": Row([array([value], "u2").tobytes() for value in (0x3F80, 0xC000, 0x7F80, 0x3FC0)], BFLOAT16,
                          array([1.0, -2.0, math.inf, 1.5], "f4"), torch.bfloat16, 1.00390625, np.float32(1.0),
                          make=of_storage),
    "lance.blob.v2": Row([{"data": value, "uri": None} for value in BYTES], BLOB, BYTES, SAME, b"?", b"?",
                         make=of_storage),
    "another extension type": Row([1, 2, 3, 4], pa.opaque(pa.int16(), "point", "x"), array([1, 2, 3, 4], "i2"),
                                  torch.int16, 0, np.int16(0), make=of_storage),
}  # fmt: skip
EVERY_ROW = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)


def made(row: Row, *, null_at: int | None = None) -> pa.Array:
    return row.make([None if index == null_at else value for index, value in enumerate(row.values)], row.type)


def batch(column: Any, name: str = "x") -> Any:
    return pa.table({name: column}) if isinstance(column, pa.ChunkedArray) else pa.record_batch({name: column})


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, (np.ndarray, torch.Tensor)):
        yield value
    elif isinstance(value, (list, dict)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from leaves(inner)


def same(found: Any, expected: Any) -> bool:
    if isinstance(expected, (np.ndarray, np.generic)):
        assert isinstance(found, (np.ndarray, np.generic))
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    elif isinstance(expected, torch.Tensor):
        assert found.dtype == expected.dtype
        torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
    elif isinstance(expected, (list, dict)):
        assert type(found) is type(expected)
        assert len(found) == len(expected)
        for key in expected if isinstance(expected, dict) else range(len(expected)):
            assert same(found[key], expected[key])
    else:
        assert type(found) is type(expected)
        assert found == expected
    return True


def at(value: Any, rows: slice | int) -> Any:
    return {key: at(part, rows) for key, part in value.items()} if isinstance(value, dict) else value[rows]


def as_torch(value: Any, dtype: Any) -> Any:
    """What torch should have, made from what numpy should."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "mM":
            value = value.view(np.int64)
        return torch.from_numpy(value.copy()).to(dtype)
    if isinstance(value, dict):
        return {key: as_torch(part, dtype) for key, part in value.items()}
    return [as_torch(part, dtype) for part in value] if isinstance(value, list) else value


# What pyarrow has ids for, and no arrays. Another program's file may have them.
WITHOUT_ARRAYS = {"interval of months": c_type(b"tiM"), "interval of days and milliseconds": c_type(b"tiD")}


@pytest.mark.parametrize("type_", WITHOUT_ARRAYS.values(), ids=WITHOUT_ARRAYS)
def test_what_pyarrow_has_no_arrays_of_is_named_and_does_not_stand_in_the_way_of_other_columns(type_: Any) -> None:
    stored = pa.array([1, 2], pa.int32() if type_.bit_width == 32 else pa.int64())
    whole = retyped(pa.record_batch({"i": [1, 2], "x": stored}), pa.schema([("i", pa.int64()), ("x", type_)]))
    for each in (whole, pa.table(whole)):
        with pytest.raises(TypeError, match=r"column 'x' \(.*interval.*pyarrow itself"):
            Conversion().to_numpy(each)
        assert Conversion().to_numpy(each, names=["i"])["i"].tolist() == [1, 2]
    inner = pa.record_batch({"s": pa.StructArray.from_arrays([stored], ["x"])})
    with pytest.raises(TypeError, match=r"column 's.x' \(.*interval.*pyarrow itself"):
        Conversion().to_torch(retyped(inner, pa.schema([("s", pa.struct([("x", type_)]))])))


def test_every_type_id_of_pyarrow_has_a_row() -> None:
    ids = {name: getattr(pa.lib, name) for name in dir(pa.lib) if name.startswith("Type_")}
    missing = set(ids.values()) - {row.type.id for row in ROWS.values()}
    missing -= {type_.id for type_ in WITHOUT_ARRAYS.values()}
    assert not missing, [name for name, value in ids.items() if value in missing]


def test_every_extension_type_of_pyarrow_has_a_row() -> None:
    plain = {"BaseExtensionType", "ExtensionType", "UnknownExtensionType"}
    found = {name for name in dir(pa) if name.endswith("Type") and isinstance(getattr(pa, name), type)}
    extensions = {name for name in found - plain if issubclass(getattr(pa, name), pa.BaseExtensionType)}
    assert extensions == {type(row.type).__name__ for row in ROWS.values()} & extensions


def test_the_page_has_every_row() -> None:
    listed = re.findall(r"^\| ([^|`]+?) \|", PAGE.read_text(), re.M)
    assert set(ROWS) | set(WITHOUT_ARRAYS) <= set(listed)
    assert [name for name in listed if name in ROWS] == list(ROWS), "once each, in the order of the tests"


def test_the_pages_program_runs() -> None:
    (program,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    exec(compile(program, str(PAGE), "exec"), {})


@EVERY_ROW
def test_numpy(row: Row) -> None:
    assert same(row.conversion.to_numpy(batch(made(row))), {"x": row.numpy})


@EVERY_ROW
def test_torch(row: Row) -> None:
    if isinstance(row.torch, type):
        with pytest.raises(row.torch, match=r"column 'x' \(decimal.*decimals='float64'"):
            row.conversion.to_torch(batch(made(row)))
        return
    assert same(row.conversion.to_torch(batch(made(row))), {"x": as_torch(row.numpy, row.torch)})


@EVERY_ROW
def test_slices_and_chunks_and_no_rows(row: Row) -> None:
    whole, conversion = made(row), row.conversion
    for start in range(5):
        for stop in range(start, 5):
            part = whole[start:stop]
            assert same(conversion.to_numpy(batch(part))["x"], at(row.numpy, slice(start, stop)))
            chunked = pa.chunked_array([whole[:start], whole[start:stop], whole[stop:]])
            assert same(conversion.to_numpy(batch(chunked))["x"], row.numpy)
            if not isinstance(row.torch, type):
                expected = as_torch(row.numpy, row.torch)
                assert same(conversion.to_torch(batch(chunked))["x"], expected)
                assert same(conversion.to_torch(batch(part))["x"], at(expected, slice(start, stop)))
    assert same(conversion.to_numpy(batch(pa.chunked_array([], row.type)))["x"], at(row.numpy, slice(0, 0)))


@EVERY_ROW
def test_what_comes_out_is_its_readers_own(row: Row) -> None:
    column = made(row)
    chunked = ([column], [column, made(row)], [column[:0], column], [column, column[4:]])
    for whole in (column, column[1:3], *map(pa.chunked_array, chunked)):
        for convert in (row.conversion.to_numpy, row.conversion.to_torch):
            if isinstance(row.torch, type) and convert == row.conversion.to_torch:
                continue
            before = convert(batch(whole))
            buffers = [buffer for chunk in getattr(whole, "chunks", [whole]) for buffer in chunk.buffers() if buffer]
            for leaf in leaves(convert(batch(whole))):
                if isinstance(leaf, torch.Tensor):
                    leaf = (leaf.view(torch.int16) if leaf.dtype == torch.bfloat16 else leaf).numpy()
                assert leaf.flags.writeable
                assert not any(np.shares_memory(leaf, np.frombuffer(each, np.uint8)) for each in buffers)
                leaf[...] = np.ones((), leaf.dtype)
            assert same(convert(batch(whole)), before), "Arrow's values have changed"


@EVERY_ROW
def test_a_null_is_an_error_that_names_the_column_the_type_and_the_row(row: Row) -> None:
    if not row.can_be_null:
        return
    policy_of_its_own = Conversion(decimals=row.conversion.decimals)
    for number in range(4):
        column = made(row, null_at=number)
        where = rf"^column 'x' \({re.escape(str(column.type))}\) has a null in row {number} of"
        with pytest.raises(DecodeError, match=where):
            policy_of_its_own.to_numpy(batch(column))
        with pytest.raises(DecodeError, match=rf"^column 'x' \(.*\) has a null in row {number + 4} of"):
            policy_of_its_own.to_numpy(batch(pa.chunked_array([made(row), column])))
        if number:
            with pytest.raises(DecodeError, match=rf"^column 'x' \(.*\) has a null in row {number - 1} of"):
                policy_of_its_own.to_numpy(batch(column[1:]))


@EVERY_ROW
def test_a_null_is_the_value_that_is_asked_for(row: Row) -> None:
    if not row.can_be_null:
        return
    conversion = Conversion(nulls={"x": row.null}, decimals=row.conversion.decimals)
    for number in range(4):
        found = conversion.to_numpy(batch(made(row, null_at=number)))["x"]
        assert same(at(found, number), row.filled)
        others = [index for index in range(4) if index != number]
        assert all(same(at(found, index), at(row.numpy, index)) for index in others)
        if not isinstance(row.torch, type):
            assert len(list(leaves(conversion.to_torch(batch(made(row, null_at=number)))))) == len(list(leaves(found)))


@EVERY_ROW
def test_a_mask_tells_where_nulls_are(row: Row) -> None:
    conversion = Conversion(nulls="mask", decimals=row.conversion.decimals)
    for number in (None, 0, 2, 3):
        if number is not None and not row.can_be_null:
            continue
        column = made(row, null_at=number)
        for shape in (column, pa.chunked_array([column[:2], column[2:]])):
            found = conversion.to_numpy(batch(shape))
            mask = found["x_is_null"]
            assert mask.dtype == np.dtype(bool)
            assert mask.flags.writeable
            expected = [index == number for index in range(4)] if row.can_be_null else [pa.types.is_null(row.type)] * 4
            assert mask.reshape(4, -1).all(1).tolist() == expected
            assert mask.reshape(4, -1).any(1).tolist() == expected
            values = found["x"]
            if isinstance(values, np.ndarray) and values.dtype.kind not in "V":
                assert mask.shape in (values.shape, values.shape[:1])
                assert not values[mask].astype(np.int64).any()
            if not isinstance(row.torch, type):
                assert torch.equal(conversion.to_torch(batch(shape))["x_is_null"], torch.from_numpy(mask))


# ------------------------------------------------------------------------------- whatever the values, slices and chunks

WIDTHS = st.sampled_from(
    [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)] + ["float32", "float64"]
)


@st.composite
def columns_of_numbers(draw: st.DrawFn) -> tuple[pa.ChunkedArray, list[Any], np.dtype[Any]]:
    dtype = np.dtype(draw(WIDTHS))
    limits = np.iinfo(dtype) if dtype.kind in "iu" else None
    value = st.floats(width=dtype.itemsize * 8) if limits is None else st.integers(int(limits.min), int(limits.max))
    chunks = draw(st.lists(st.lists(value | st.none(), max_size=20), max_size=4))
    cuts = [sorted(draw(st.tuples(st.integers(0, 20), st.integers(0, 20)))) for _ in chunks]
    arrays = [pa.array(chunk, pa.from_numpy_dtype(dtype))[a:b] for chunk, (a, b) in zip(chunks, cuts, strict=True)]
    values = [value for chunk, (a, b) in zip(chunks, cuts, strict=True) for value in chunk[a:b]]
    return pa.chunked_array(arrays, pa.from_numpy_dtype(dtype)), values, dtype


@given(columns_of_numbers(), st.integers(0, 100))
def test_numbers_keep_their_values_and_width_and_nulls_are_what_is_asked(
    drawn: tuple[pa.ChunkedArray, list[Any], np.dtype[Any]], fill: int
) -> None:
    column, values, dtype = drawn
    filled = np.array([fill if value is None else value for value in values], dtype)
    assert same(Conversion(nulls=fill).to_numpy(batch(column))["x"], filled)
    assert same(Conversion(nulls=fill).to_torch(batch(column))["x"], torch.from_numpy(filled))
    masked = Conversion(nulls="mask").to_numpy(batch(column))
    assert masked["x_is_null"].tolist() == [value is None for value in values]
    assert same(masked["x"], np.array([value or 0 if value is None else value for value in values], dtype))
    if None in values:
        with pytest.raises(DecodeError, match=f"null in row {values.index(None)} "):
            Conversion().to_numpy(batch(column))
    else:
        assert same(Conversion().to_numpy(batch(column))["x"], filled)


LISTS = st.lists(st.none() | st.lists(st.none() | st.integers(-128, 127), max_size=4), max_size=12)


@given(LISTS, st.integers(0, 12), st.sampled_from([pa.list_, pa.large_list, pa.list_view, pa.large_list_view]))
def test_lists_with_nulls_at_both_levels(rows: list[Any], start: int, list_of: Callable[[Any], Any]) -> None:
    column, rows = pa.array(rows, list_of(pa.int8()))[start:], rows[start:]
    found = Conversion(nulls=7).to_numpy(batch(column))["x"]
    assert same(found, [array([7 if v is None else v for v in row or []], "i1") for row in rows])
    for leaf in found:
        leaf += 1  # one row's memory is no other's
    assert [leaf.tolist() for leaf in found] == [
        [8 if v is None else v + 1 if v < 127 else -128 for v in row or []] for row in rows
    ]
    bad = [index for index, row in enumerate(rows) if row is None] or [i for i, row in enumerate(rows) if None in row]
    if bad:
        with pytest.raises(DecodeError, match=r"column 'x(\[\])?' .* has a null in row \d+ ") as caught:
            Conversion().to_numpy(batch(column))
        assert any(f"row {index} " in str(caught.value) for index, row in enumerate(rows) if row is None or None in row)


@given(
    st.lists(st.none() | st.lists(st.none() | st.integers(0, 9), min_size=3, max_size=3), max_size=9), st.integers(0, 9)
)
def test_fixed_size_lists_with_nulls_at_both_levels(rows: list[Any], start: int) -> None:
    column, rows = pa.array(rows, pa.list_(pa.int16(), 3))[start:], rows[start:]
    full = [row or [None] * 3 for row in rows]
    found = Conversion(nulls="mask").to_numpy(batch(column))
    assert found["x"].tolist() == [[value or 0 for value in row] for row in full]
    assert found["x_is_null"].tolist() == [[value is None for value in row] for row in full]
    assert found["x"].shape == found["x_is_null"].shape == (len(rows), 3)


@given(st.lists(st.decimals(-(10**12), 10**12, allow_nan=False, places=3), max_size=9), st.sampled_from([128, 256]))
def test_decimals_as_floats_are_the_nearest(values: list[Decimal], bits: int) -> None:
    column = pa.array(values, pa.decimal128(20, 3) if bits == 128 else pa.decimal256(20, 3))
    expected = np.array([float(value) for value in values], np.float64)
    assert same(Conversion(decimals="float64").to_numpy(batch(column))["x"], expected)


# ------------------------------------------------------------------------------------------------ what is said of nulls


@pytest.mark.parametrize(
    ("type_", "fill"),
    [
        (pa.uint8(), 300), (pa.uint8(), -1), (pa.int64(), 0.5), (pa.int64(), True), (pa.int64(), None),
        (pa.int64(), "0"), (pa.bool_(), 1), (pa.float32(), "nan"), (pa.float32(), None), (pa.string(), 0),
        (pa.timestamp("s"), "yesterday"),
        (pa.binary(), "text"), (pa.binary(2), b"?"), (pa.int64(), [0]),
        (pa.list_(pa.int8(), 2), [1, 2, 3]), (pa.list_(pa.int8()), [300]),
        (pa.decimal128(5, 2), 0.5), (pa.int64(), {"a": 0}),
    ],
    ids=str,
)  # fmt: skip
def test_a_value_that_a_column_cannot_hold_is_refused(type_: Any, fill: Any) -> None:
    with pytest.raises(TypeError, match=r"^column 'x(\[\])?' \(.*: a null"):
        Conversion(nulls={"x": fill}).to_numpy(batch(pa.array([None], type_)))


def test_policies_by_column_and_by_field() -> None:
    inner = pa.array([{"a": 1, "b": None}, None], pa.struct([("a", pa.int8()), ("b", pa.string())]))
    whole = pa.record_batch({"s": inner, "i": pa.array([None, 2]), "j": pa.array([3, None]), "k": pa.array([1, 2])})
    found = Conversion(nulls={"s": {"a": "mask", "b": "?"}, "i": "mask", "j": -1}).to_numpy(whole)
    assert same(
        found,
        {
            "s": {"a": array([1, 0], "i1"), "a_is_null": array([0, 1], "?"), "b": ["?", "?"]},
            "i": array([0, 2], "i8"),
            "i_is_null": array([1, 0], "?"),
            "j": array([3, -1], "i8"),
            "k": array([1, 2], "i8"),
        },
    )
    with pytest.raises(DecodeError, match=r"^column 's' .* has a null in row 1 "):
        Conversion(nulls={"i": 0, "j": 0}).to_numpy(whole)
    with pytest.raises(DecodeError, match=r"^column 's.b' .* has a null in row 0 "):
        Conversion(nulls={"i": 0, "j": 0, "s": {"a": 0}}).to_numpy(whole)


def test_a_column_that_holds_no_null_by_its_schema_has_no_mask() -> None:
    schema = pa.schema(
        [pa.field("a", pa.int8(), nullable=False), pa.field("b", pa.string(), nullable=False), ("c", pa.int8())]
    )
    whole = pa.record_batch([[1], ["x"], [None]], schema)
    assert list(Conversion(nulls="mask").to_numpy(whole)) == ["a", "b", "c", "c_is_null"]
    struct = pa.field("s", pa.struct(list(schema)), nullable=False)
    nested = pa.record_batch([pa.StructArray.from_arrays(whole.columns, fields=list(schema))], pa.schema([struct]))
    found = Conversion(nulls="mask").to_torch(nested)
    assert list(found) == ["s"]
    assert list(found["s"]) == ["a", "b", "c", "c_is_null"]
    assert found["s"]["c_is_null"].tolist() == [True]


@pytest.mark.parametrize("bad", [[300], [0.5], ["a"], [None]], ids=str)
def test_a_list_in_the_place_of_a_null_is_converted_as_the_others(bad: Any) -> None:
    column = pa.array([None, [1]], pa.list_(pa.int8()))
    for convert, dtype in ((Conversion.to_numpy, np.dtype("int8")), (Conversion.to_torch, torch.int8)):
        found = convert(Conversion(nulls={"x": (2, 3)}), batch(column))["x"]
        assert found[0].tolist() == [2, 3]
        assert found[0].dtype == dtype
        with pytest.raises((TypeError, DecodeError), match=r"^column 'x(\[\])?' "):
            convert(Conversion(nulls={"x": bad}), batch(column))
    structs = pa.array([None, [{"a": 1}]], pa.list_(pa.struct([("a", pa.int8())])))
    found = Conversion(nulls={"x": [{"a": 5}]}).to_numpy(batch(structs))["x"]
    assert same(found, [{"a": array([5], "i1")}, {"a": array([1], "i1")}])


def test_nulls_in_the_rows_of_a_map_and_of_a_union() -> None:
    maps = pa.array([[("a", None)], None, [("b", 2)]], pa.map_(pa.string(), pa.int8()))
    assert Conversion(nulls=0).to_numpy(batch(maps))["x"] == [{"a": 0}, {}, {"b": 2}]
    with pytest.raises(DecodeError, match=r"^column 'x.value' \(int8\) has a null in row 0 "):
        Conversion(nulls={"x": {}}).to_numpy(batch(maps))
    twice = pa.array([[("a", 1)], [("b", 1), ("b", 2)]], maps.type)
    with pytest.raises(DecodeError, match=r"^column 'x' .*: row 1 has a key twice"):
        Conversion().to_numpy(batch(twice))
    keyed = pa.array([[({"a": 1}, 1)]], pa.map_(pa.struct([("a", pa.int8())]), pa.int8()))
    with pytest.raises(TypeError, match=r"^column 'x' .*: its keys cannot be those of a dict"):
        Conversion().to_numpy(batch(keyed))
    for name in ("sparse_union", "dense_union"):
        row = ROWS[name]
        column = union([1, "a", None, "b"], row.type)[1:]
        with pytest.raises(DecodeError, match=r"^column 'x.i' \(int32\) has a null in row 1 "):
            Conversion().to_numpy(batch(column))
        assert Conversion(nulls={"x": -1}).to_numpy(batch(column))["x"] == ["a", -1, "b"]
        assert Conversion(nulls="mask").to_numpy(batch(column))["x_is_null"].tolist() == [False, True, False]


def test_nulls_of_dictionaries_and_runs_are_found_wherever_they_are() -> None:
    in_values = pa.DictionaryArray.from_arrays(pa.array([1, 0, 1]), pa.array([None, "a"]))
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([2, 5], pa.int32()), pa.array([1, None], pa.int8()))[1:]
    for column in (in_values, runs):
        with pytest.raises(DecodeError, match=r"^column 'x' .* has a null in row 1 "):
            Conversion().to_numpy(batch(column))
    assert Conversion(nulls="?").to_numpy(batch(in_values))["x"] == ["a", "?", "a"]
    assert Conversion(nulls=9).to_numpy(batch(runs))["x"].tolist() == [1, 9, 9, 9]


def test_chunks_with_dictionaries_of_their_own() -> None:
    chunks = [pa.array(values, pa.dictionary(pa.int8(), pa.string())) for values in (["a", "b"], ["c", "a"])]
    assert Conversion().to_numpy(batch(pa.chunked_array(chunks)))["x"] == ["a", "b", "c", "a"]


@pytest.mark.parametrize("value", [1.0, 1.00390625, 1.01171875, 3.4e38, math.inf, -math.inf, math.nan, -0.0, 1e-40])
def test_a_bfloat16_in_the_place_of_a_null_is_the_nearest(value: float) -> None:
    column = of_storage([None, b"\x80\x3f"], BFLOAT16)
    found = Conversion(nulls=value).to_torch(batch(column))["x"]
    assert same(found, torch.tensor([value, 1.0]).to(torch.bfloat16))


def test_bfloat16_in_fixed_size_lists_and_by_metadata_alone() -> None:
    stored = array([0x3F80, 0x4000, 0x4040, 0x4080], "u2").tobytes()
    values = pa.Array.from_buffers(pa.binary(2), 4, [None, pa.py_buffer(stored)])
    marked = pa.field("item", pa.binary(2), metadata={"ARROW:extension:name": "lance.bfloat16"})
    plain = pa.FixedSizeListArray.from_arrays(values, type=pa.list_(marked, 2))
    typed = pa.FixedSizeListArray.from_arrays(pa.ExtensionArray.from_storage(BFLOAT16, values), 2)
    for column in (plain, typed, pa.ListArray.from_arrays(pa.array([0, 2, 4], pa.int32()), typed.values)):
        found = Conversion().to_torch(batch(column))["x"]
        expected = torch.tensor([[1, 2], [3, 4]], dtype=torch.bfloat16)
        assert same(found, list(expected) if isinstance(found, list) else expected)
    schema = pa.schema([pa.field("x", pa.binary(2), metadata={"ARROW:extension:name": "lance.bfloat16"})])
    assert Conversion().to_torch(pa.record_batch([values], schema))["x"].dtype == torch.bfloat16


# ----------------------------------------------------------------------------------------- images, arrays, blobs, names


def encoded(pixels: np.ndarray[Any, Any], mode: str | None = None, format_: str = "PNG", **options: Any) -> bytes:
    image = Image.fromarray(pixels)
    file = io.BytesIO()
    (image if mode is None else image.convert(mode)).save(file, format_, **options)
    return file.getvalue()


def of_hugging_face(features: dict[str, Any], **columns: Any) -> pa.Table:
    return pa.table(columns).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
PIXELS = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)


def test_images_are_decoded_to_height_width_channels_or_left_as_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(PIXELS))
    rows = [{"bytes": encoded(PIXELS)}, {"bytes": encoded(PIXELS[:, :, 0])}, {"path": str(tmp_path / "a.png")}]
    table = of_hugging_face({"image": {"_type": "Image"}}, image=pa.array(rows, IMAGE))
    expected = [PIXELS, PIXELS[:, :, :1], PIXELS]
    assert same(Conversion().to_numpy(table)["image"], expected)
    assert same(Conversion().to_torch(table)["image"], [torch.from_numpy(each) for each in expected])
    assert all(each.flags.writeable for each in Conversion().to_numpy(table)["image"])
    assert Conversion(images="encoded").to_numpy(table)["image"] == [
        rows[0]["bytes"], rows[1]["bytes"], rows[0]["bytes"],
    ]  # fmt: skip
    with pytest.raises(ValueError, match="images must be 'decode' or 'encoded', got 'decoded'"):
        Conversion(images="decoded")


@pytest.mark.parametrize(
    ("data", "shape", "dtype"),
    [
        (encoded(PIXELS, "P"), (2, 4, 3), np.uint8),
        (encoded(PIXELS, "1"), (2, 4, 1), np.uint8),
        (encoded(PIXELS, "LA"), (2, 4, 2), np.uint8),
        (encoded(PIXELS, "RGBA"), (2, 4, 4), np.uint8),
        (encoded(PIXELS, "CMYK", "JPEG"), (2, 4, 3), np.uint8),
        (encoded(np.full((2, 4), 60000, np.uint16)), (2, 4, 1), np.uint16),
    ],
    ids=["P", "1", "LA", "RGBA", "CMYK", "16 bits"],
)
def test_images_of_any_mode(data: bytes, shape: tuple[int, ...], dtype: Any) -> None:
    table = of_hugging_face({"image": {"_type": "Image"}}, image=pa.array([{"bytes": data}], IMAGE))
    (found,) = Conversion().to_numpy(table)["image"]
    assert found.shape == shape
    assert found.dtype == dtype


def test_an_image_is_upright_and_of_the_mode_that_its_feature_says() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    table = of_hugging_face(
        {"a": {"_type": "Image", "mode": "L"}, "b": {"_type": "List", "feature": {"_type": "Image"}}},
        a=pa.array([{"bytes": encoded(PIXELS, None, "PNG", exif=exif)}], IMAGE),
        b=pa.array([[{"bytes": encoded(PIXELS)}, {"bytes": encoded(PIXELS[:1])}]], pa.list_(IMAGE)),
    )
    found = Conversion().to_numpy(table)
    assert found["a"][0].shape == (4, 2, 1)
    assert same(found["b"], [[PIXELS, PIXELS[:1]]])
    stored = pa.struct([("crop", pa.list_(IMAGE)), ("n", pa.list_(pa.int8()))])  # a sequence of dicts
    feature = {"_type": "Sequence", "feature": {"crop": {"_type": "Image"}, "n": {"_type": "Value", "dtype": "int8"}}}
    table = of_hugging_face({"c": feature}, c=pa.array([{"crop": [{"bytes": encoded(PIXELS)}], "n": [1]}], stored))
    assert same(Conversion().to_numpy(table)["c"], {"crop": [[PIXELS]], "n": [array([1], "i1")]})


def test_a_damaged_and_a_missing_image_are_named() -> None:
    good = {"bytes": encoded(PIXELS)}
    for bad in ({"bytes": encoded(PIXELS)[:40]}, {"bytes": b""}, {"path": "/nowhere/at/all.png"}):
        table = of_hugging_face({"image": {"_type": "Image"}}, image=pa.array([good, bad], IMAGE))
        with pytest.raises(DecodeError, match=r"^column 'image': the image in row 1 .*cannot be read"):
            Conversion().to_numpy(table)
    table = of_hugging_face({"image": {"_type": "Image"}}, image=pa.array([good, None, {"bytes": None}], IMAGE))
    with pytest.raises(DecodeError, match=r"^column 'image' .* has a null in row 1 "):
        Conversion().to_numpy(table)
    assert Conversion(nulls=None).to_numpy(table)["image"][1:] == [None, None]
    masked = Conversion(nulls="mask").to_torch(table)
    assert masked["image_is_null"].tolist() == [False, True, True]
    assert [tuple(each.shape) for each in masked["image"]] == [(2, 4, 3), (0, 0, 3), (0, 0, 3)]


def test_a_data_set_of_hugging_face_keeps_the_shapes_of_its_arrays() -> None:
    import datasets

    features = datasets.Features(
        {
            "image": datasets.Image(),
            "grid": datasets.Array2D((2, 3), "float32"),
            "free": datasets.Array2D((None, 3), "int16"),
            "boxes": [{"corner": datasets.Value("int32"), "crop": datasets.Image()}],
            "label": datasets.ClassLabel(names=["a", "b"]),
        }
    )
    grid = np.arange(6, dtype=np.float32).reshape(2, 3)
    picture = Image.fromarray(PIXELS)
    rows = [
        {"image": picture, "grid": grid + i, "free": np.ones((i, 3), np.int16), "label": i % 2,
         "boxes": [{"corner": 7, "crop": picture}] * i}
        for i in range(3)
    ]  # fmt: skip
    table = datasets.Dataset.from_list(rows, features).data.table
    for each in (table, pa.table(table.slice(0).to_batches()[0])):
        found = Conversion().to_numpy(each)
        assert same(found["image"], [PIXELS] * 3)
        assert same(found["grid"], np.stack([grid, grid + 1, grid + 2]))
        assert [[row.tolist() for row in rows] for rows in found["free"]] == [[[1, 1, 1]] * i for i in range(3)]
        assert same(found["boxes"], [{"corner": array([7] * i, "i4"), "crop": [PIXELS] * i} for i in range(3)])
        assert same(found["label"], array([0, 1, 0], "i8"))


def test_arrays_of_a_shape_that_is_not_theirs_are_refused_and_null_ones_have_the_policy() -> None:
    feature = {"x": {"_type": "Array2D", "shape": [2, 2], "dtype": "int8"}}
    nested = pa.list_(pa.list_(pa.int8()))
    good = of_hugging_face(feature, x=pa.array([[[1, 2], [3, 4]], None, [[5, None], [7, 8]]], nested))
    assert Conversion(nulls=0).to_numpy(good)["x"].tolist() == [[[1, 2], [3, 4]], [[0, 0], [0, 0]], [[5, 0], [7, 8]]]
    with pytest.raises(DecodeError, match=r"^column 'x' .* has a null in row 1 "):
        Conversion().to_numpy(good)
    bad = of_hugging_face(feature, x=pa.array([[[1, 2, 3], [4]]], nested))
    with pytest.raises(DecodeError, match=r"^column 'x': its arrays are not all of the shape \(2, 2\)"):
        Conversion().to_numpy(bad)


@pytest.mark.parametrize(
    "said", ["{}", "[]", '{"info": null}', '{"info": {"features": null}}', '{"info": {"features": {}}}']
)
def test_metadata_without_features_says_nothing(said: str) -> None:
    table = pa.table({"x": ["a"]}).replace_schema_metadata({"huggingface": said})
    assert Conversion().to_numpy(table) == {"x": ["a"]}
    with pytest.raises(DecodeError, match="the schema's metadata 'huggingface' is not JSON"):
        Conversion().to_numpy(table.replace_schema_metadata({"huggingface": said[1:] + "x"}))


def test_blobs_are_bytes_where_the_batch_has_them() -> None:
    marked = {"lance-encoding:blob": "true"}
    first = pa.record_batch([BYTES], pa.schema([pa.field("x", pa.large_binary(), metadata=marked)]))
    assert Conversion().to_torch(first)["x"] == BYTES
    places = pa.array([{"position": 0, "size": 3}], pa.struct([("position", pa.uint64()), ("size", pa.uint64())]))
    second = pa.record_batch([places], pa.schema([pa.field("x", places.type, metadata=marked)]))
    with pytest.raises(TypeError, match=r"^column 'x' .* only the places of the blobs \(position, size\)"):
        Conversion().to_numpy(second)
    elsewhere = of_storage([{"data": b"a", "uri": None}, {"data": None, "uri": "s3://b/c"}], BLOB)
    with pytest.raises(TypeError, match=r"^column 'x' .*the blob of row 1 lies at a URI"):
        Conversion().to_numpy(batch(elsewhere))
    by_name = pa.field("x", BLOB.storage_type, metadata={"ARROW:extension:name": "lance.blob.v2"})
    assert Conversion().to_numpy(pa.record_batch([elsewhere.storage[:1]], pa.schema([by_name])))["x"] == [b"a"]
    read = pa.field("x", pa.large_binary(), metadata={"ARROW:extension:name": "lance.blob.v2"})
    assert Conversion(nulls=b"").to_numpy(pa.record_batch([[b"a", None]], pa.schema([read])))["x"] == [b"a", b""]


def test_names_choose_columns_and_their_order() -> None:
    whole = pa.table({"a": [1], "b": ["x"], "c": pa.array([None], pa.int8())})
    assert list(Conversion().to_numpy(whole, names=["b", "a"])) == ["b", "a"]
    assert Conversion().to_torch(whole, names=[]) == {}
    with pytest.raises(KeyError, match="no column 'd'; there are 'a', 'b', 'c'"):
        Conversion().to_numpy(whole, names=["d"])


def test_no_columns_two_of_one_name_and_what_is_no_batch() -> None:
    assert Conversion().to_numpy(pa.table({})) == Conversion().to_torch(pa.record_batch({})) == {}
    twice = pa.record_batch([[1], [2]], ["a", "a"])
    with pytest.raises(DecodeError, match="two columns are named 'a'"):
        Conversion().to_numpy(twice)
    masks = pa.record_batch({"a": [1], "a_is_null": [1]})
    for names in (["a", "a_is_null"], ["a_is_null", "a"]):
        with pytest.raises(DecodeError, match="'a_is_null'"):
            Conversion(nulls={"a": "mask"}).to_numpy(masks, names=names)
    with pytest.raises(TypeError, match="a RecordBatch or a Table is expected, got dict"):
        Conversion().to_numpy({"a": [1]})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="decimals must be 'exact' or 'float64', got 'float'"):
        Conversion(decimals="float")


def test_empty_structs_have_rows() -> None:
    nothing = pa.struct([])
    column = pa.array([[{}], [], [{}, {}]], pa.list_(nothing))
    assert Conversion().to_numpy(batch(column))["x"] == [{}, {}, {}]


BAD = pa.Array.from_buffers(pa.string(), 3, pa.array([b"ab", b"\xff", b"cd"]).buffers())


@pytest.mark.parametrize(
    ("column", "name"),
    [
        (BAD, "x"),
        (pa.DictionaryArray.from_arrays(pa.array([0, 1, 1]), BAD, safe=False), "x"),
        (pa.ListArray.from_arrays(pa.array([0, 1, 2, 3], pa.int32()), BAD), r"x\[\]"),
        (pa.FixedSizeListArray.from_arrays(BAD, 1), r"x\[\]"),
        (pa.StructArray.from_arrays([BAD], ["a"]), r"x\.a"),
        (pa.ExtensionArray.from_storage(pa.json_(), BAD), "x"),
    ],
    ids=lambda value: str(getattr(value, "type", "")),
)
def test_a_string_that_is_no_utf8_is_named(column: pa.Array, name: str) -> None:
    """Readers of files do not look at it."""
    with pytest.raises(DecodeError, match=rf"^column '{name}' .* is no UTF-8 in row 1 of the batch: .* byte 0xff"):
        Conversion().to_numpy(pa.RecordBatch.from_arrays([column], ["x"]))


def test_numbers_are_converted_without_an_object_for_each() -> None:
    """A million rows of each kind of number take milliseconds; a Python object for each would take a second."""
    count = 1_000_000
    whole = pa.record_batch(
        {
            "i": pa.array(np.arange(count, dtype=np.uint32)),
            "n": pa.array(np.arange(count, dtype=np.int16), mask=np.arange(count) % 7 == 0),
            "t": pa.array(np.arange(count).astype("M8[s]")),
            "f": pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(count * 4, np.float32)), 4),
            "d": pa.DictionaryArray.from_arrays(pa.array(np.arange(count) % 5), pa.array([1.5] * 5)),
        }
    )
    started = time.perf_counter()
    Conversion(nulls={"n": 0}).to_numpy(whole)
    assert time.perf_counter() - started < 0.5
