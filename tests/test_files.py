"""Files: listed, opened by suffix or URL, parsed; and bad bytes are named, never half-read in silence."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import msgpack
import pytest
import zstandard

from penstock.core.errors import DecodeError
from penstock.pipes import FileLister, FileOpener, IterableWrapper, IterDataPipe, StreamWrapper

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: zstandard.ZstdCompressor(write_checksum=True).compress(data),
}
TEXT = b"k,v\nx,1\ny,2\n"


def opened(path: Path | str, mode: str = "rb", **options: Any) -> Any:
    return IterableWrapper([str(path)]).open_files(mode, **options)


# ------------------------------------------------------------------------------------------------------------- listing


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.csv", "a.csv", "c.txt", "sub/d.csv", "sub/deep/e.csv"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path


def listed(tree: Path, *arguments: Any, **options: Any) -> list[str]:
    return [str(Path(path).relative_to(tree)) for path in FileLister(str(tree), *arguments, **options)]


def test_files_are_listed_in_order_within_each_folder(tree: Path) -> None:
    assert listed(tree) == ["a.csv", "b.csv", "c.txt"]
    assert listed(tree, "*.csv", recursive=True) == ["a.csv", "b.csv", "sub/d.csv", "sub/deep/e.csv"]
    assert listed(tree, ["*.txt", "b*"]) == ["b.csv", "c.txt"]
    assert sorted(listed(tree, non_deterministic=True)) == ["a.csv", "b.csv", "c.txt"]


def test_list_files_takes_many_folders_and_single_files(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    roots = IterableWrapper([str(tree / "sub"), str(tree / "c.txt")])
    assert [Path(path).name for path in roots.list_files()] == ["d.csv", "c.txt"]
    monkeypatch.chdir(tree)
    assert [*FileLister("sub")] == ["sub/d.csv"]
    assert [*FileLister("sub", abspath=True)] == [str(tree / "sub/d.csv")]


def test_a_missing_folder_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        list(FileLister(str(tmp_path / "nowhere")))


def test_a_listings_length_is_what_the_user_says(tree: Path) -> None:
    assert len(FileLister(str(tree), length=7)) == 7
    assert len(FileOpener(["x"], length=7)) == 7
    for pipe in (FileLister(str(tree)), FileOpener(["x"])):
        with pytest.raises(TypeError, match="doesn't have valid length"):
            len(pipe)


def test_a_frozen_listing_does_not_see_new_files(tree: Path) -> None:
    frozen = FileLister(str(tree), "*.csv").frozen()
    (tree / "aa.csv").touch()
    assert len([*frozen]) == 2


def test_a_remote_folder_is_listed_opened_and_parsed() -> None:
    files = fsspec.filesystem("memory")
    for name in ("b.csv", "a.csv", "sub/c.csv.gz"):
        with files.open(f"/penstock-test/{name}", "wb") as file:
            file.write(gzip.compress(TEXT) if name.endswith("gz") else TEXT)
    found = [*FileLister("memory://penstock-test", recursive=True)]
    assert [path.rpartition("/")[2] for path in found] == ["a.csv", "b.csv", "c.csv.gz"]
    assert [*IterableWrapper(found).open_files("rb").parse_csv_as_dict()] == [
        {"k": "x", "v": "1"},
        {"k": "y", "v": "2"},
    ] * 3


# ------------------------------------------------------------------------------------------------------------- opening


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("mode", ["r", "rb", "t", "b", "rt"])
def test_files_are_decompressed_by_suffix(suffix: str, mode: str, tmp_path: Path, no_leftovers: None) -> None:
    path = tmp_path / f"a.csv{suffix}"
    path.write_bytes(COMPRESS[suffix](TEXT))
    ((name, handle),) = opened(path, mode)
    assert name == str(path)
    with handle:
        assert handle.read() == (TEXT if "b" in mode else TEXT.decode())
    assert [*opened(path, mode).parse_csv()] == [["k", "v"], ["x", "1"], ["y", "2"]]


@pytest.mark.parametrize("suffix", COMPRESS)
def test_several_compressed_parts_in_one_file_are_one_file(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(COMPRESS[suffix](b"x\n" * 70_000) + COMPRESS[suffix](b"y\n"))
    lines = [*opened(path).readlines(return_path=False)]
    assert (len(lines), lines[0], lines[-1]) == (70_001, b"x", b"y")


@pytest.mark.parametrize("suffix", COMPRESS)
def test_a_handle_can_seek(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(COMPRESS[suffix](bytes(range(200))))
    ((_, handle),) = opened(path)
    with handle:
        for place in (150, 20, 20, 0):
            assert handle.seek(place) == place
            assert handle.read(1) == bytes([place])
            assert handle.tell() == place + 1


def test_compression_can_be_named_or_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(TEXT))
    odd = tmp_path / "a.bin"
    odd.write_bytes(path.read_bytes())
    ((_, handle),) = opened(path, compression=None)
    with handle:
        assert handle.read() == path.read_bytes()
    assert [*opened(odd, compression="gzip").readlines(return_path=False)] == TEXT.splitlines()
    with pytest.raises(ValueError, match="compression must be one of"):
        [*opened(odd, compression="zip").readlines()]


def test_a_handle_opens_when_it_is_read_and_travels_closed(tmp_path: Path) -> None:
    path = tmp_path / "late"
    ((_, handle),) = opened(path, "r")
    assert not handle.opened
    path.write_text("now\n")
    copy: StreamWrapper = pickle.loads(pickle.dumps(handle))
    with copy, handle:
        assert (handle.readline(), copy.read()) == ("now\n", "now\n")
    assert handle.closed and repr(copy) == f"StreamWrapper<{path}>"


def test_modes_and_paths_are_checked() -> None:
    with pytest.raises(ValueError, match="Invalid mode"):
        FileOpener(["a"], mode="w")
    with pytest.raises(ValueError, match="encoding"):
        FileOpener(["a"], mode="rb", encoding="utf-8")
    with pytest.raises(TypeError, match="string type"):
        list(FileOpener([3]))  # type: ignore[list-item]
    with pytest.raises(FileNotFoundError, match="nowhere"):
        [*opened("/nowhere", "r").readlines()]


# ------------------------------------------------------------------------------------------------------------- parsing


def test_lines_lose_their_ends_unless_told_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("é\r\nb\n\nd".encode())
    assert [*opened(path).readlines()] == [(str(path), line) for line in ("é".encode(), b"b", b"", b"d")]
    plain = {"return_path": False}
    assert [*opened(path).readlines(decode=True, **plain)] == ["é", "b", "", "d"]
    assert [*opened(path).readlines(strip_newline=False, **plain)] == ["é\r\n".encode(), b"b\n", b"\n", b"d"]
    assert [*opened(path, "r", encoding="utf-8").readlines(strip_newline=False, **plain)] == ["é\n", "b\n", "\n", "d"]
    assert [*opened(path).readlines(skip_lines=3, **plain)] == [b"d"]


def test_csv_takes_the_options_of_the_csv_module(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("# note\nx;'1;2'\n")
    rows = opened(path).parse_csv(skip_lines=1, delimiter=";", quotechar="'", as_tuple=True, return_path=True)
    assert [*rows] == [(str(path), ("x", "1;2"))]
    rows = opened(path).parse_csv_as_dict(fieldnames=["a"], restkey="more", delimiter=";", quotechar="'", skip_lines=1)
    assert [*rows] == [{"a": "x", "more": ["1;2"]}]
    for parse in ("parse_csv", "parse_csv_as_dict", "readlines"):
        with pytest.raises(ValueError, match="positive integer"):
            getattr(opened(path), parse)(skip_lines=-1)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16", "utf-16-le", "utf-32"])
def test_text_is_decoded_as_it_was_written(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("é,1\nüü,2\n" * 3, encoding=encoding)
    expected = [["é", "1"], ["üü", "2"]] * 3
    assert [*opened(path, "r", encoding=encoding).parse_csv()] == expected
    if encoding in ("utf-8", "latin-1"):
        assert [*opened(path).parse_csv(encoding=encoding)] == expected


def test_a_missing_column_is_filled_where_the_user_says_with_what(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("k,v\nx\n")
    assert [*opened(path).parse_csv_as_dict(restval="?")] == [{"k": "x", "v": "?"}]


def test_json_lines_without_orjson_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    values = [{"a": [1, 2.5, None]}, "é", [], 3, True, {"deep": {"er": "x"}}]
    path.write_text("\n".join(f" {json.dumps(value)} " for value in values) + "\n\n")
    with_orjson = [*opened(path).parse_jsonl()]
    monkeypatch.setitem(__import__("sys").modules, "orjson", None)
    assert [*opened(path).parse_jsonl()] == [*opened(path, "r").parse_jsonl()] == with_orjson == values


def test_msgpack_that_was_cut_is_an_error_wherever_it_was() -> None:
    one = msgpack.packb({"i": 1, "l": [1, [None]], "x": {"y": {}}, "n": None})
    for size in range(1, 2 * len(one)):
        pipe = IterableWrapper([("f", io.BytesIO((2 * one)[:size]))], deepcopy=False).parse_msgpack()
        if size == len(one):
            assert len(list(pipe)) == 1
        else:
            with pytest.raises(DecodeError, match=f"f: the file ends within an object, at byte {size}"):
                list(pipe)


def test_msgpack_executes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.msgpack"
    path.write_bytes(msgpack.packb(msgpack.ExtType(4, b"x")) + msgpack.packb({1: b"raw"}))
    assert [*opened(path).parse_msgpack()] == [msgpack.ExtType(4, b"x"), {1: b"raw"}]
    found = [*opened(path).parse_msgpack(ext_hook=lambda code, data: code, return_path=True)]
    assert found[0] == (str(path), 4)


@pytest.mark.parametrize("parse", ["readlines", "parse_csv", "parse_csv_as_dict", "parse_jsonl", "parse_msgpack"])
def test_what_is_no_pair_of_a_path_and_a_stream_is_a_type_error(parse: str) -> None:
    with pytest.raises(TypeError, match="pair of a path and a stream"):
        list(getattr(IterableWrapper(["a.csv"]), parse)())


# ------------------------------------------------------------------------------------------------------------ bad bytes

LINES = b"".join(b'{"k": %d, "noise": "%d"}\n' % (i, i * 7919) for i in range(40_000))


def _torn(suffix: str) -> bytes:
    whole = COMPRESS[suffix](LINES)
    return whole[: len(whole) * 2 // 3]


def _flipped(suffix: str) -> bytes:
    whole = bytearray(COMPRESS[suffix](LINES))
    middle = len(whole) // 2
    whole[middle : middle + 40] = bytes(40)
    return bytes(whole)


PARSERS: dict[str, Callable[[Any], IterDataPipe[Any]]] = {
    "lines": lambda files: files.readlines(),
    "csv": lambda files: files.parse_csv(),
    "jsonl": lambda files: files.parse_jsonl(),
}


@pytest.mark.parametrize("damage", [_torn, _flipped])
@pytest.mark.parametrize("mode", ["r", "rb"])
@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_a_damaged_compressed_file_is_named(
    suffix: str, mode: str, damage: Callable[[str], bytes], tmp_path: Path, no_leftovers: None
) -> None:
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(damage(suffix))
    for parse in PARSERS.values():
        with pytest.raises(DecodeError, match=rf"bad\{suffix}: .*line") as raised:
            list(parse(opened(path, mode)))
        assert str(raised.value).count(str(path)) == 1  # said once


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_a_damaged_compressed_msgpack_file_is_named(suffix: str, tmp_path: Path, no_leftovers: None) -> None:
    path = tmp_path / f"bad{suffix}"
    whole = COMPRESS[suffix](b"".join(msgpack.packb({"i": i, "x": i * 7919}) for i in range(20_000)))
    path.write_bytes(whole[:-20])
    with pytest.raises(DecodeError, match=rf"bad\{suffix}: .*byte"):
        list(opened(path).parse_msgpack())


BAD: dict[str, tuple[bytes, Callable[[Any], IterDataPipe[Any]], int, str]] = {
    "a torn msgpack": (msgpack.packb(1) + msgpack.packb("hello")[:3], lambda f: f.parse_msgpack(), 1, "byte 4"),
    "no msgpack": (msgpack.packb(1) + b"\xc1", lambda f: f.parse_msgpack(), 1, "byte 1"),
    "invalid JSON": (b'{"x": 1}\n{"x": \n[3]\n', lambda f: f.parse_jsonl(), 1, "line 2"),
    "two values in a line": (b"1\n\n2 3\n", lambda f: f.parse_jsonl(), 1, "line 3"),
    "a missing column": (b"k,v\n1,2\n3\n4,5\n", lambda f: f.parse_csv_as_dict(), 1, "line 3"),
    "a NUL in a strict CSV": (b'1,2\n"a"b,3\n', lambda f: f.parse_csv(strict=True), 1, "line 2"),
    "no UTF-8": (b"ok\n\xff\xfe\n", lambda f: f.readlines(decode=True, errors="strict"), 0, "line 0"),
    "no UTF-8 in JSON": (b'1\n"\xff"\n', lambda f: f.parse_jsonl(), 1, "line 2"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_bytes_are_named_by_file_and_place(name: str, tmp_path: Path, no_leftovers: None) -> None:
    data, parse, good, place = BAD[name]
    path = tmp_path / "bad"
    path.write_bytes(data)
    it = iter(parse(opened(path)))
    for _ in range(good):
        next(it)
    with pytest.raises(DecodeError, match=f"bad: .*{place}"):
        next(it)


def test_a_file_that_is_gone_is_an_os_error_and_no_decode_error(tmp_path: Path) -> None:
    for parse in PARSERS.values():
        with pytest.raises(FileNotFoundError):
            list(parse(opened(tmp_path / "gone")))


def test_streams_of_ones_own_are_parsed_too() -> None:
    files = IterableWrapper([("a", io.BytesIO(b"k,v\n1,2\n")), ("b", io.StringIO("k,v\n3,4\n"))])
    assert [*files.parse_csv_as_dict()] == [{"k": "1", "v": "2"}, {"k": "3", "v": "4"}]


def test_a_run_that_is_left_early_closes_its_file(tmp_path: Path, no_leftovers: None) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(TEXT))
    for parse in ("readlines", "parse_csv", "parse_csv_as_dict"):
        it: Any = iter(getattr(opened(path), parse)())
        next(it)
        it.close()
