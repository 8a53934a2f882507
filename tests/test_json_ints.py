"""Integers of more than 64 bits, NaN and Infinity in JSON lines: with orjson what they are without it."""

from __future__ import annotations

import gzip
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import IterableWrapper
from penstock.core.errors import DecodeError
from penstock.serialization.json_ints import has_wide
from penstock.stores import SquirrelStore

WIDE = [2**64, 2**64 + 1, -(2**63) - 1, 10**25, -(10**40)]
NARROW = [2**64 - 1, -(2**63), 10**18, 1234567890123456789, 0.12345678901234567, 1e300, "12345678901234567890123"]


@pytest.fixture(params=["orjson", "json"], autouse=True)
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "json":
        monkeypatch.setitem(sys.modules, "orjson", None)


def read(path: Path, data: bytes) -> Iterator[list[Any]]:
    """Read lines in every way that there is."""
    path.write_bytes(data)
    files = IterableWrapper([str(path)])
    yield list(files.open_files("rb").parse_jsonl())
    yield list(files.open_files("r").parse_jsonl())
    yield [value for _, value in files.open_files("rb").parse_jsonl(return_path=True)]
    yield list(files.read_jsonl())
    yield list(IterableWrapper([("a", io.BytesIO(data))], deepcopy=False).parse_jsonl())
    yield list(IterableWrapper([("a", io.StringIO(data.decode()))], deepcopy=False).parse_jsonl())
    path.with_name("b.gz").write_bytes(gzip.compress(data))
    yield list(SquirrelStore(str(path.parent), "jsonl").get("b"))


@pytest.mark.parametrize("at", [0, 1, 150, 299])
def test_an_integer_of_any_size_is_read_as_what_it_is(tmp_path: Path, at: int) -> None:
    values: list[Any] = [{"i": i, "x": NARROW} for i in range(300)]
    values[at] = {"x": [1, *WIDE], "y": {"z": WIDE[0]}}
    data = "".join(json.dumps(value) + "\n" for value in values).encode()
    for found in read(tmp_path / "a", data):
        assert found == values and [type(each) for each in found[at]["x"]] == [int] * 6


def test_nan_and_infinity_are_read_as_pythons_json_reads_them(tmp_path: Path) -> None:
    for found in read(tmp_path / "a", b'{"x": 1}\n[NaN, Infinity]\n\n-Infinity\n2\n'):
        assert repr(found) == "[{'x': 1}, [nan, inf], -inf, 2]"


def test_a_bad_line_is_named_also_among_lines_with_long_integers(tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match="line 3"):
        list(IterableWrapper([("a", io.BytesIO(b"1\n%d\n{\n4\n" % 2**70))], deepcopy=False).parse_jsonl())
    with pytest.raises(DecodeError, match="line 2"):
        list(IterableWrapper([("a", io.BytesIO(b"1\n" + b"[" * 100_000))], deepcopy=False).parse_jsonl())


def test_the_lines_of_a_stream_that_breaks_off_are_read_up_to_there() -> None:
    def broken() -> Iterator[bytes]:
        yield from (b"%d\n" % i for i in range(10))
        raise EOFError("cut")

    seen = []
    with pytest.raises(DecodeError, match="behind line 10"):
        for value in IterableWrapper([("a", broken())], deepcopy=False).parse_jsonl():
            seen.append(value)
    assert seen == list(range(10))


@given(
    st.integers(-(10**23), 10**23)
    | st.integers(-3, 3).map(lambda i: 2**64 + i)
    | st.integers(-3, 3).map(lambda i: -(2**63) + i),
    st.integers(0, 20),
    st.integers(0, 9),
)
def test_a_long_integer_is_found_wherever_it_stands(value: int, ahead: int, behind: int) -> None:
    for text in (str(value), f"[{value}]", f'{{"x":{value}}}'):
        found = has_wide(b" " * ahead + text.encode() + b" " * behind)
        assert found == (not -(2**63) <= value < 2**64)
    assert not has_wide(f'["{abs(value)}", 0.{abs(value)}]'.encode())
