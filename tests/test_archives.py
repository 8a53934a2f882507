"""Archives and compressed files: each member once, also behind the loader's end; what is torn is named."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import fsspec
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.errors import DecodeError, MissingExtra, StateError
from penstock.pipes import IterableWrapper
from penstock.pipes._tar import TarReader
from running import context, restores_at_every_index, trip

BIG = bytes(range(256)) * 8192  # 2 MiB: more than a loader keeps in memory
MEMBERS = {"a.txt": b"first", "sub/b.bin": bytes(range(256)) * 3, "empty": b"", "sub/" + "long/" * 40 + "c": b"third"}
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


def tar_bytes(members: dict[str, bytes], **options: Any) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", **options) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def zip_bytes(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def rar_bytes(members: dict[str, bytes], method: int = 0x30) -> bytes:
    """A rar archive, version 3, of members that are stored."""

    def block(kind: int, flags: int, rest: bytes) -> bytes:
        body = struct.pack("<BHH", kind, flags, 7 + len(rest)) + rest
        return struct.pack("<H", zlib.crc32(body) & 0xFFFF) + body

    out = b"Rar!\x1a\x07\x00" + block(0x73, 0, bytes(6))
    for name, data in members.items():
        is_folder = name.endswith("/")
        path = name.rstrip("/").encode()
        fields = (
            len(data),
            len(data),
            3,
            zlib.crc32(data),
            0,
            20,
            method,
            len(path),
            0o40755 if is_folder else 0o100644,
        )
        out += block(0x74, 0x80E0 if is_folder else 0x8000, struct.pack("<IIBIIBBHI", *fields) + path) + data
    return out + block(0x7B, 0x4000, b"")


def written(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


def opened(*paths: str, mode: str = "rb", **options: Any) -> Any:
    return IterableWrapper(list(paths)).open_files(mode, **options)


def contents(pipe: Any) -> list[tuple[str, bytes]]:
    found = []
    for path, stream in pipe:
        with stream:
            found.append((path, stream.read()))
    return found


def below(path: str, members: dict[str, bytes] = MEMBERS) -> list[tuple[str, bytes]]:
    return [(f"{path}/{name}", data) for name, data in members.items()]


class Unseekable:
    """What comes over a network: it can be read, and nothing else."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)
        self.closed = False

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def close(self) -> None:
        self.closed = True


# ----------------------------------------------------------------------------------------------------------------- tar


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tar_members_come_named_and_in_order(tar_format: int, suffix: str, tmp_path: Path, no_leftovers: None) -> None:
    members = {name: data for name, data in MEMBERS.items() if tar_format != tarfile.USTAR_FORMAT or len(name) < 100}
    path = written(tmp_path / f"a.tar{suffix}", COMPRESS[suffix](tar_bytes(members, format=tar_format)))
    assert contents(opened(path).load_from_tar()) == below(path, members)


def test_a_name_in_two_fields_is_put_together(tmp_path: Path) -> None:
    name = "folder/" * 15 + "a" * 90
    path = written(tmp_path / "a.tar", tar_bytes({name: b"x"}, format=tarfile.USTAR_FORMAT))
    assert contents(opened(path).load_from_tar()) == [(f"{path}/{name}", b"x")]


@pytest.mark.parametrize("tar_format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_are_any_text(tar_format: int, tmp_path: Path) -> None:
    members = {"жук/é" * 30: b"1", "short é": b"2", "./here": b"3", "a//b": b"4"}
    path = written(tmp_path / "a.tar", tar_bytes(members, format=tar_format))
    names = [name.removeprefix(f"{path}/") for name, _ in opened(path).load_from_tar()]
    assert names == ["жук/é" * 30, "short é", "here", "a/b"]


def test_only_files_come_out_of_a_tar(tmp_path: Path) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, kind in (
            ("d", tarfile.DIRTYPE),
            ("l", tarfile.SYMTYPE),
            ("h", tarfile.LNKTYPE),
            ("f", tarfile.FIFOTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "a" * 150
            archive.addfile(info)
        info = tarfile.TarInfo("a")
        info.size = 1
        archive.addfile(info, io.BytesIO(b"x"))
    path = written(tmp_path / "a.tar", file.getvalue())
    assert contents(opened(path).load_from_tar()) == [(f"{path}/a", b"x")]


def test_a_tar_agrees_with_tarfile_on_what_headers_may_say(tmp_path: Path) -> None:
    """Owners, times and properties, in pax headers of one member and of all, and old kinds of files."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "all"}) as archive:
        for name, kind in (
            ("a", tarfile.REGTYPE),
            ("b", tarfile.CONTTYPE),
            ("c/", tarfile.AREGTYPE),
            ("d", tarfile.AREGTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.size, info.uid, info.mtime = kind, 0 if name == "c/" else 700, 2**40, 1.5
            info.pax_headers = {"SCHILY.xattr.user.x": "v" * 600}
            archive.addfile(info, io.BytesIO(bytes(info.size)))
    path = written(tmp_path / "a.tar", file.getvalue())
    with tarfile.open(path) as archive:
        expected = [(f"{path}/{info.name}", archive.extractfile(info).read()) for info in archive if info.isfile()]  # type: ignore[union-attr]
    assert contents(opened(path).load_from_tar()) == expected
    assert len(expected) == 3


NAMES = st.lists(st.text("abcé_", min_size=1, max_size=30), min_size=1, max_size=12).map("/".join)
ENTRIES = st.lists(
    st.tuples(
        NAMES, st.sampled_from([b"0", b"0", b"7", b"5", b"2", b"1"]), st.integers(0, 1100), st.integers(0, 2**40)
    ),
    max_size=6,
)


@given(ENTRIES, st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_any_tar_is_read_as_tarfile_reads_it_and_from_any_of_its_places(
    entries: list[tuple[str, bytes, int, int]], tar_format: int, properties: int
) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tar_format) as archive:
        for name, kind, size, owner in entries:
            info = tarfile.TarInfo(name)
            info.type, info.uid, info.linkname = kind, owner, "l" * (owner % 200)
            info.size = size if kind in b"07" else 0
            info.pax_headers = {"user.x": "v" * 300 * properties} if properties else {}
            archive.addfile(info, io.BytesIO(bytes(i % 251 for i in range(info.size))))
    with tarfile.open(fileobj=io.BytesIO(file.getvalue())) as archive:
        expected = [(f"a.tar/{info.name}", archive.extractfile(info).read()) for info in archive if info.isfile()]  # type: ignore[union-attr]
    pipe = IterableWrapper([0]).map(lambda _: ("a.tar", io.BytesIO(file.getvalue()))).load_from_tar()
    assert contents(pipe) == expected
    restores_at_every_index(pipe)


def sparse_tar() -> bytes:
    """An archive with a sparse file in it, as GNU tar writes them: 512 bytes at 1024 of 4096."""
    info = tarfile.TarInfo("sparse")
    info.size = 512
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[156:157] = tarfile.GNUTYPE_SPARSE
    header[386:398], header[398:410] = b"%011o\0" % 1024, b"%011o\0" % 512
    header[483:495] = b"%011o\0" % 4096
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + b"s" * 512


@pytest.mark.parametrize("seekable", [True, False])
def test_what_the_reader_does_not_know_is_left_to_tarfile(seekable: bool) -> None:
    data = tar_bytes({"a": b"x" * 600})[:1536] + sparse_tar() + tar_bytes({"b": b"y"})
    source: Any = IterableWrapper([("a.tar", io.BytesIO(data) if seekable else Unseekable(data))], deepcopy=False)
    expected = [
        ("a.tar/a", b"x" * 600),
        ("a.tar/sparse", bytes(1024) + b"s" * 512 + bytes(2560)),
        ("a.tar/b", b"y"),
    ]
    assert contents(source.load_from_tar()) == expected


def test_a_tar_with_strange_members_restores_at_every_index(tmp_path: Path) -> None:
    data = tar_bytes({"a": b"x" * 600})[:1536] + sparse_tar() + tar_bytes({"b": b"y", "n" * 200: b"z"})
    path = written(tmp_path / "a.tar", data)
    assert len(restores_at_every_index(opened(path, path).load_from_tar())) == 8


@pytest.mark.parametrize("suffix", COMPRESS)
def test_a_tar_restores_at_every_index(suffix: str, tmp_path: Path, no_leftovers: None) -> None:
    path = written(tmp_path / f"a.tar{suffix}", COMPRESS[suffix](tar_bytes(MEMBERS)))
    other = written(tmp_path / f"b.tar{suffix}", COMPRESS[suffix](tar_bytes({"x": b"1"})))
    assert len(restores_at_every_index(opened(path, other).load_from_tar())) == 5


def test_restoring_a_tar_reads_from_the_next_header_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.tar", tar_bytes({f"{i:04}": bytes(1000) for i in range(1000)}))
    pipe = opened(path).load_from_tar()
    stream = context(pipe).build(pipe)
    for _ in range(990):
        next(stream.it)
    state = trip(stream.state())
    stream.close()
    read = 0
    members = TarReader.members

    def counting(reader: TarReader) -> Any:
        nonlocal read
        for item in members(reader):
            read += 1
            yield item

    monkeypatch.setattr(TarReader, "members", counting)
    restored = context(pipe).build(pipe, state)
    assert [name[-4:] for name, _ in restored.it] == [f"{i:04}" for i in range(990, 1000)]
    assert read == 10


def test_streams_are_readable_behind_the_loaders_end_in_any_order(tmp_path: Path, no_leftovers: None) -> None:
    path = written(tmp_path / "a.tar", tar_bytes({"a": b"1", "big": BIG, "b": b"2", "big too": BIG[::-1]}))
    found = list(opened(path).load_from_tar())
    for (_, stream), expected in reversed(list(zip(found, (b"1", BIG, b"2", BIG[::-1]), strict=True))):
        assert stream.read(10) + stream.read() == expected
        assert stream.read() == b""
        stream.seek(0)
        assert stream.readline() == expected[: expected.find(b"\n") + 1 or None]
        stream.close()
        stream.close()


def test_large_members_hold_nothing_until_they_are_read_and_travel(tmp_path: Path, no_leftovers: None) -> None:
    path = written(tmp_path / "a.tar", tar_bytes({"big": BIG, "b": b"2"}))
    found = list(opened(path).load_from_tar())
    for (_, stream), expected in zip(found, (BIG, b"2"), strict=True):
        assert len(pickle.dumps(stream)) < 1000
        copied = pickle.loads(pickle.dumps(stream))
        assert copied.read() == expected
        assert copied.seek(-1, 2) == len(expected) - 1 and copied.read() == expected[-1:]
        copied.close()
        assert io.TextIOWrapper(stream, "latin-1").read(5) == expected[:5].decode("latin-1")


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_large_members_come_from_memory_where_the_archive_cannot_be_opened_again(suffix: str) -> None:
    data = COMPRESS[suffix](tar_bytes({"a": b"1", "big": BIG, "b": b"2"}))
    streams = [("x", Unseekable(data)), ("y", io.BytesIO(data))]
    found = contents(IterableWrapper(streams, deepcopy=False).load_from_tar())
    assert [data for _, data in found] == [b"1", BIG, b"2"] * 2
    assert streams[0][1].closed and streams[1][1].closed


def test_a_remote_tar_is_read(no_leftovers: None) -> None:
    fsspec.filesystem("memory").pipe_file("/archives/a.tar", tar_bytes({"a": b"1", "big": BIG}))
    found = contents(opened("memory://archives/a.tar").load_from_tar())
    assert found == [("memory://archives/a.tar/a", b"1"), ("memory://archives/a.tar/big", BIG)]


@pytest.mark.parametrize("mode", ["r:gz", "r|gz", "r:*", "r|*", "r"])
def test_a_tars_compression_can_be_named(mode: str, tmp_path: Path) -> None:
    path = written(tmp_path / "a.tar", gzip.compress(tar_bytes(MEMBERS)))
    assert contents(opened(path).load_from_tar(mode)) == below(path)


def test_a_wrong_mode_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mode must be"):
        opened("a").load_from_tar("w:gz")
    path = written(tmp_path / "a.tar", gzip.compress(tar_bytes(MEMBERS)))
    with pytest.warns(UserWarning, match="abort!"), pytest.raises(DecodeError, match=r"a\.tar"):
        list(opened(path).load_from_tar("r:"))


def test_a_torn_tar_is_an_error_within_a_member_and_a_warning_behind_one(tmp_path: Path) -> None:
    """Behind a member's data nothing that was announced is missing, as in archives whose writers leave out the end."""
    members = {"a": b"x" * 700, "n" * 150: b"y", "c": b"z"}
    data = tar_bytes(members, format=tarfile.GNU_FORMAT)
    whole = {1212: 1, 3073: 2, 4097: 3}  # where each member's data ends, and how many there are then
    for size in range(0, 4608, 64):
        path = written(tmp_path / "torn.tar", data[:size])
        found: list[tuple[str, bytes]] = []
        within_data = not any(end <= size <= -(-end // 512) * 512 for end in whole)
        warning = "corrupted tarfile stream" if within_data else "may have been cut off"
        end = pytest.raises(DecodeError) if within_data else nullcontext()
        with pytest.warns(UserWarning, match=warning), end as caught:
            found.extend((name, stream.read()) for name, stream in opened(path).load_from_tar())
        assert found == below(path, members)[: sum(end <= size for end in whole)]
        assert caught is None or f"{path}: the member at byte" in str(caught.value)


def test_a_torn_large_member_is_an_error_though_nobody_reads_it(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tar", tar_bytes({"big": BIG})[: 1 << 20])
    with pytest.warns(UserWarning, match="abort!"), pytest.raises(DecodeError, match="ends within '.*big'"):
        list(opened(path).load_from_tar())


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_a_torn_compressed_tar_is_an_error_that_names_it(suffix: str, tmp_path: Path) -> None:
    import random

    data = COMPRESS[suffix](tar_bytes({"a": random.Random(1).randbytes(5000), "b": b"y"}))
    path = written(tmp_path / f"a.tar{suffix}", data[: len(data) // 2])
    with pytest.warns(UserWarning, match="abort!"), pytest.raises(DecodeError, match=r"a\.tar.*byte 0"):
        contents(opened(path).load_from_tar())


@pytest.mark.parametrize("data", [b"", b"no archive", b"no archive" * 100, bytes(511)])
def test_what_is_no_tar_is_an_error_that_names_it(data: bytes, tmp_path: Path) -> None:
    path = written(tmp_path / "a.tar", data)
    with pytest.warns(UserWarning, match="abort!"), pytest.raises(DecodeError, match=r"a\.tar"):
        list(opened(path).load_from_tar())


@pytest.mark.parametrize("at", [0, 100, 124, 130, 150, 156, 300])
def test_a_changed_header_is_an_error(at: int, tmp_path: Path) -> None:
    data = bytearray(tar_bytes({"a": b"x", "b": b"y"}))
    data[1024 + at] ^= 0x55
    path = written(tmp_path / "a.tar", bytes(data))
    with pytest.warns(UserWarning, match="abort!"), pytest.raises(DecodeError, match="byte 1024"):
        list(opened(path).load_from_tar())


def test_an_empty_tar_has_no_members(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tar", tar_bytes({}))
    assert list(opened(path, path).load_from_tar()) == []
    assert list(IterableWrapper([]).open_files("rb").load_from_tar()) == []


def test_another_tar_than_when_the_state_was_saved_is_a_state_error(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tar", tar_bytes(MEMBERS))
    pipe = opened(path).load_from_tar()
    stream = context(pipe).build(pipe)
    assert len([next(stream.it) for _ in range(3)]) == 3
    state = trip(stream.state())
    stream.close()
    written(tmp_path / "a.tar", tar_bytes({})[:1024])
    with pytest.raises(StateError, match="another file"):
        next(context(pipe).build(pipe, state).it)


LOADERS = ["load_from_tar", "load_from_zip", "load_from_rar", "load_from_bz2", "load_from_xz", "decompress"]


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize(
    ("item", "came"),
    [("a.tar", "str"), (("a",), "a tuple of 1"), ((3, io.BytesIO()), "int"), (("a.tar", b"data"), "bytes")],
)
def test_an_item_that_is_no_path_and_stream_is_a_type_error_that_says_what_came(
    loader: str, item: Any, came: str
) -> None:
    with pytest.raises(TypeError, match=came):
        list(getattr(IterableWrapper([item], deepcopy=False), loader)())


@pytest.mark.parametrize("loader", LOADERS[:-1])
def test_a_loaders_length_is_what_the_user_says(loader: str) -> None:
    assert len(getattr(opened("a"), loader)(length=7)) == 7
    with pytest.raises(TypeError, match="instance doesn't have valid length"):
        len(getattr(opened("a"), loader)())


def test_a_loader_closes_its_source_also_when_it_is_left_early() -> None:
    whole = {
        "load_from_tar": tar_bytes(MEMBERS),
        "load_from_zip": zip_bytes(MEMBERS),
        "load_from_rar": rar_bytes(MEMBERS),
    }
    for loader, data in whole.items():
        for stream in (Unseekable(data), io.BytesIO(data)):
            pipe = getattr(IterableWrapper([("a", stream)], deepcopy=False), loader)()
            running: Any = iter(pipe)
            next(running)
            running.close()
            assert stream.closed


@pytest.mark.parametrize("loader", ["load_from_tar", "load_from_zip"])
def test_text_streams_are_refused(loader: str) -> None:
    with pytest.raises(TypeError, match="text"):
        list(getattr(IterableWrapper([("a", io.StringIO("x" * 600))], deepcopy=False), loader)())


# ----------------------------------------------------------------------------------------------------------------- zip


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zip_members_come_named_and_in_order(compression: int, tmp_path: Path, no_leftovers: None) -> None:
    path = written(tmp_path / "a.zip", zip_bytes({**MEMBERS, "folder/": b"", "big": BIG}, compression))
    assert contents(opened(path).load_from_zip()) == below(path, {**MEMBERS, "big": BIG})
    assert contents(
        IterableWrapper([("a.zip", Unseekable(Path(path).read_bytes()))], deepcopy=False).load_from_zip()
    ) == [("a.zip" + name.removeprefix(path), data) for name, data in below(path, {**MEMBERS, "big": BIG})]


def test_a_zip_restores_at_every_index(tmp_path: Path, no_leftovers: None) -> None:
    path = written(tmp_path / "a.zip", zip_bytes({"first/": b"", **MEMBERS, "folder/": b"", "last": b"x", "end/": b""}))
    assert len(restores_at_every_index(opened(path, path).load_from_zip())) == 10


def test_zip_streams_are_readable_behind_the_loaders_end_and_travel(tmp_path: Path, no_leftovers: None) -> None:
    path = written(tmp_path / "a.zip", zip_bytes({"a": b"1", "big": BIG, "b": b"2"}))
    found = list(opened(path).load_from_zip())
    for (_, stream), expected in reversed(list(zip(found, (b"1", BIG, b"2"), strict=True))):
        copied = pickle.loads(pickle.dumps(stream))
        assert copied.read() == stream.read() == expected
        stream.close()
        copied.close()


def test_a_damaged_zip_is_an_error_that_names_archive_and_member(tmp_path: Path) -> None:
    data = zip_bytes({"a": b"first" * 10, "big": BIG}, zipfile.ZIP_STORED)
    path = written(tmp_path / "a.zip", data.replace(b"firstfirst", b"firstFirst"))
    with pytest.warns(UserWarning, match="corrupted zipfile"), pytest.raises(DecodeError, match=r"a\.zip.*'a'.*CRC"):
        list(opened(path).load_from_zip())
    path = written(tmp_path / "torn.zip", data[:-30])
    with pytest.warns(UserWarning, match="corrupted zipfile"), pytest.raises(DecodeError, match=r"torn\.zip"):
        list(opened(path).load_from_zip())
    path = written(tmp_path / "big.zip", data.replace(BIG[-9:], b"different"))
    (_, (_, stream)) = opened(path).load_from_zip()
    with pytest.raises(DecodeError, match=r"big\.zip/big.*CRC"):
        stream.read()
    stream.close()


def test_another_zip_than_when_the_state_was_saved_is_a_state_error(tmp_path: Path) -> None:
    path = written(tmp_path / "a.zip", zip_bytes(MEMBERS))
    pipe = opened(path).load_from_zip()
    stream = context(pipe).build(pipe)
    assert len([next(stream.it) for _ in range(3)]) == 3
    state = trip(stream.state())
    written(tmp_path / "a.zip", zip_bytes({"x": b""}))
    with pytest.raises(StateError, match="another file"):
        next(context(pipe).build(pipe, state).it)


# ----------------------------------------------------------------------------------------------------------------- rar


def test_rar_members_come_named_and_restore_at_every_index(tmp_path: Path, no_leftovers: None) -> None:
    members = {"a.txt": b"first", "sub/": b"", "sub/b": b"second" * 100}
    path = written(tmp_path / "a.rar", rar_bytes(members))
    expected = [(f"{path}/a.txt", b"first"), (f"{path}/sub/b", b"second" * 100)]
    assert contents(opened(path).load_from_rar()) == expected
    assert (
        contents(IterableWrapper([(path, Unseekable(rar_bytes(members)))], deepcopy=False).load_from_rar()) == expected
    )
    assert len(restores_at_every_index(opened(path, path).load_from_rar())) == 4


def test_a_damaged_rar_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = written(tmp_path / "a.rar", b"no archive")
    with pytest.warns(UserWarning, match="corrupted rarfile"), pytest.raises(DecodeError, match=r"a\.rar"):
        list(opened(path).load_from_rar())
    path = written(tmp_path / "b.rar", rar_bytes({"a": b"first"}).replace(b"first", b"First"))
    with (
        pytest.warns(UserWarning, match="corrupted rarfile"),
        pytest.raises(DecodeError, match=r"b\.rar: the member 'a'"),
    ):
        list(opened(path).load_from_rar())


def test_a_compressed_rar_without_a_program_to_read_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import rarfile

    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(rarfile, "CURRENT_SETUP", None)
    path = written(tmp_path / "a.rar", rar_bytes({"a": b"first"}, method=0x33))
    with pytest.raises(MissingExtra, match=r"a\.rar: the member 'a'.*no program"):
        list(opened(path).load_from_rar())


# -------------------------------------------------------------------------------------------------------- decompressing


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
@pytest.mark.parametrize("already", [True, False])
def test_files_are_decompressed_by_suffix_or_as_told(
    suffix: str, already: bool, tmp_path: Path, no_leftovers: None
) -> None:
    path = written(tmp_path / f"a{suffix}", COMPRESS[suffix](b"hello\nworld\n"))
    name = {".gz": "GZip", ".bz2": "bz2", ".xz": "lzma", ".zst": "zstd"}[suffix]
    source = opened(path) if already else opened(path, compression=None)
    for pipe in (source.decompress(), source.decompress(name), source.extract(file_type=name)):
        ((found, stream),) = pipe
        assert found == path
        assert pickle.loads(pickle.dumps(stream)).readline() == b"hello\n"
        with stream:
            assert list(stream) == [b"hello\n", b"world\n"]
            stream.seek(1)
            assert stream.read() == b"ello\nworld\n"
    assert len(opened(path, length=3).decompress()) == 3


@pytest.mark.parametrize(("suffix", "loader"), [(".bz2", "load_from_bz2"), (".xz", "load_from_xz")])
def test_a_compressed_files_name_loses_its_suffix_and_nothing_else(suffix: str, loader: str, tmp_path: Path) -> None:
    path = written(tmp_path / f"a.b2.xx{suffix}", COMPRESS[suffix](b"hello"))
    expected = [(str(tmp_path / "a.b2.xx"), b"hello")]
    assert contents(getattr(opened(path), loader)()) == expected
    assert contents(getattr(opened(path, compression=None), loader)()) == expected
    odd = written(tmp_path / "odd.bin", COMPRESS[suffix](b"hello"))
    assert contents(getattr(opened(odd), loader)()) == [(odd, b"hello")]
    assert len(restores_at_every_index(getattr(opened(path, odd), loader)())) == 2


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_torn_compressed_data_is_an_error_that_names_the_file(suffix: str, tmp_path: Path) -> None:
    data = COMPRESS[suffix](bytes(range(256)) * 100)
    path = written(tmp_path / f"torn{suffix}", data[: len(data) * 2 // 3])
    ((_, stream),) = opened(path, compression=None).decompress()
    with stream, pytest.raises(DecodeError, match="torn"):
        stream.read()


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.xz", ".tar.bz2", ".tar.zst", ".tgz"])
def test_a_tar_decompresses_into_a_tarfile(suffix: str, tmp_path: Path, no_leftovers: None) -> None:
    compress = COMPRESS[{".tgz": ".gz"}.get(suffix, suffix.removeprefix(".tar"))]
    path = written(tmp_path / f"a{suffix}", compress(tar_bytes(MEMBERS)))
    for file_type in (None, "TAr"):
        ((name, archive),) = opened(path).decompress(file_type)
        assert name == path
        assert {info.name: archive.extractfile(info).read() for info in archive} == MEMBERS
        archive.fileobj.close()
    assert contents(opened(path).decompress().load_from_tar()) == below(path)


def test_a_zip_decompresses_into_a_zipfile(tmp_path: Path) -> None:
    path = written(tmp_path / "a.zip", zip_bytes(MEMBERS))
    ((_, archive),) = opened(path).decompress()
    assert archive.read(name="a.txt") == b"first"
    assert contents(opened(path).decompress("zip").load_from_zip()) == below(path)


def test_decompress_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a valid CompressionType"):
        opened("a").decompress("ABC")
    with pytest.raises(RuntimeError, match=r"a\.bin: its suffix"):
        list(opened(written(tmp_path / "a.bin", b"")).decompress())
    for name in ("a.tar", "a.zip"):
        with pytest.raises(DecodeError, match=name):
            list(opened(written(tmp_path / name, b"no archive" * 100)).decompress())
