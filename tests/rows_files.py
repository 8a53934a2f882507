"""The rows (see tests/rows.py) of pipes that read and write files: archives, records, tables, stores, servers."""

from __future__ import annotations

import asyncio
import bz2
import gzip
import hashlib
import io
import lzma
import struct
import tarfile
import threading
import time
import zipfile
import zlib
from collections.abc import Iterator
from functools import cache, partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import datasets
import google_crc32c
import lance
import numpy as np
import openpyxl
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import zarr
from zarr.core.sync import sync

from penstock.pipes import (
    FSSpecFileLister,
    FSSpecFileOpener,
    HuggingFaceHubReader,
    IoPathFileLister,
    IoPathFileOpener,
    IterableWrapper,
    from_huggingface,
)
from penstock.pipes.map import ParquetTable
from penstock.serialization.blocks import pack
from penstock.serialization.formats import FORMATS
from penstock.testing import Case, boom

MEMBERS = {"a.txt": b"first", "b.txt": b"second", "c.txt": b""}


def opened(*paths: Path, **options: Any) -> Any:
    return IterableWrapper(list(map(str, paths))).open_files("rb", **options)


def write_files(folder: Path) -> None:
    """Make the files that these rows read."""
    for name, format in FORMATS.items():  # blocks of two or three samples
        for shard in range(2):
            samples = map(format.encoder(), ({"x": i} for i in range(5)))
            (folder / f"{name}-{shard}.gz").write_bytes(b"".join(pack(samples, "gzip", block_bytes=9)))
    rows = pa.table({"x": range(5), "y": list("abcde")})
    feather.write_feather(rows, folder / "a.feather", chunksize=2)
    book = openpyxl.Workbook()
    for row in (rows.column_names, *zip(*rows.to_pydict().values(), strict=True)):
        book.active.append(row)
    book.save(folder / "a.xlsx")
    (folder / "a.json").write_text('{"x": [1]}')
    (folder / "a.txt").write_text("text")
    (folder / "rows.csv").write_text("x,y\n1,a\n2,b\n3,c\n4,d\n")
    (folder / "rows.jsonl").write_text('{"x": 1}\n{"x": 2}\n')
    (folder / "a.gz").write_bytes(gzip.compress(b"hello"))
    (folder / "a.bz2").write_bytes(bz2.compress(b"hello"))
    (folder / "a.xz").write_bytes(lzma.compress(b"hello"))
    (folder / "a.rar").write_bytes(_rar())
    (folder / "a.tfrecord").write_bytes(_tfrecord(bytes([10, 12, 10, 10, 10, 1, 120, 18, 5, 26, 3, 10, 1, 7])) * 3)
    with tarfile.open(folder / "a.tar", "w") as tar, zipfile.ZipFile(folder / "a.zip", "w") as archive:
        for name, data in MEMBERS.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
            archive.writestr(name, data)
    _fill_zarrs_pool()
    group = zarr.create_group(str(folder / "a.zarr"))
    for name, chunk in (("x", 2), ("y", 3)):
        group.create_array(name, data=np.arange(10).reshape(5, 2), chunks=(chunk, 2))
    np.save(folder / "x.npy", np.arange(5))
    np.savez(folder / "a.npz", x=np.arange(5), y=np.eye(5, dtype="float32"))
    pq.write_table(pa.table({"x": range(5)}), folder / "a.parquet", row_group_size=2)
    pq.write_table(rows, folder / "b.parquet", row_group_size=3)
    lance.write_dataset(rows, folder / "a.lance", max_rows_per_file=3)
    for name in ("a", "b"):
        (folder / "store").mkdir(exist_ok=True)
        (folder / "store" / name).write_text(name)


def file_rows(folder: Path) -> Iterator[tuple[str, Case]]:
    """The rows. ``folder`` has the files of `write_files`."""
    shards = {name: [str(folder / f"{name}-{shard}.gz") for shard in range(2)] for name in FORMATS}
    yield "read_messagepack", Case(lambda: IterableWrapper(shards["msgpack"]).read_messagepack())
    yield "read_jsonl", Case(lambda: IterableWrapper(shards["jsonl"]).read_jsonl())
    yield "read_feather", Case(lambda: IterableWrapper([str(folder / "a.feather")]).read_feather())
    yield "read_excel", Case(lambda: IterableWrapper([str(folder / "a.xlsx")]).read_excel())
    yield "read_records", Case(lambda: IterableWrapper(shards["msgpack"]).read_records().map(str))
    text, store = folder / "a.txt", f"file://{folder}/store"
    data = IterableWrapper([("a", b"one"), ("b", b"two")])
    save, broken = partial(_in_folder, folder), lambda: data.save_to_disk("wb", boom)
    urls = [f"{store}/a", f"{store}/b"]
    ais = "http://localhost:1"
    hashes = {str(text): hashlib.sha256(b"text").hexdigest()}
    zarrs, parquet = str(folder / "a.zarr"), str(folder / "b.parquet")
    rows = IterableWrapper([(i, str(i)) for i in range(5)])
    yield "HuggingFaceHubReader", Case(lambda: HuggingFaceHubReader("json", data_files=str(folder / "rows.jsonl")))
    hugging = [{"x": i, "y": str(i)} for i in range(5)]
    yield "HuggingFaceReader", Case(lambda: from_huggingface(datasets.Dataset.from_list(hugging), batch_size=2), 3)
    yield "check_hash", Case(lambda: opened(text, length=1).check_hash(hashes), 1)
    yield "dataframe", Case(lambda: rows.dataframe(2), 3)
    yield "decompress", Case(lambda: opened(folder / "a.gz", compression=None).decompress())
    yield "extract", Case(lambda: opened(folder / "a.xz", compression=None).extract())
    yield "list_files_by_ais", Case(lambda: IterableWrapper([f"{store}/"]).list_files_by_ais(ais))
    yield "list_files_by_fsspec", Case(lambda: FSSpecFileLister(store))
    yield "list_files_by_iopath", Case(lambda: IoPathFileLister(store))
    yield "list_files_by_s3", Case(lambda: IterableWrapper([f"{store}/"]).list_files_by_s3())
    yield "load_files_by_ais", Case(lambda: IterableWrapper(urls).load_files_by_ais(ais), 2)
    yield "load_files_by_s3", Case(lambda: IterableWrapper(urls).load_files_by_s3(), 2)
    yield "load_from_bz2", Case(lambda: opened(folder / "a.bz2", compression=None).load_from_bz2(length=1), 1)
    yield "load_from_rar", Case(lambda: opened(folder / "a.rar").load_from_rar())
    yield "load_from_tar", Case(lambda: opened(folder / "a.tar").load_from_tar(length=3), 3)
    yield "load_from_tfrecord", Case(lambda: opened(folder / "a.tfrecord").load_from_tfrecord(length=3), 3)
    yield "load_from_xz", Case(lambda: opened(folder / "a.xz").load_from_xz())
    yield "load_from_zip", Case(lambda: opened(folder / "a.zip").load_from_zip(length=3), 3)
    yield "list_zarr_chunks", Case(lambda: IterableWrapper([zarrs]).list_zarr_chunks(["x"]), 3)
    yield "list_row_groups", Case(lambda: IterableWrapper([parquet] * 2).list_row_groups(), 4)
    yield "read_parquet", Case(lambda: IterableWrapper([parquet]).list_row_groups().read_parquet(batch_size=2))
    npys = [str(folder / "a.npz")]
    yield "list_npy_rows", Case(lambda: IterableWrapper(npys * 2).list_npy_rows(span=2), 6)
    yield "read_npy", Case(lambda: IterableWrapper(npys).list_npy_rows(span=3).read_npy(batch_size=2), 3)
    yield "list_record_batches", Case(lambda: IterableWrapper([str(folder / "a.feather")]).list_record_batches(2), 2)
    yield "read_arrow", Case(lambda: IterableWrapper([str(folder / "a.feather")]).read_arrow(batch_size=1))
    yield (
        "read_csv_columns",
        Case(lambda: IterableWrapper([str(folder / "rows.csv")] * 2).read_csv_columns(block_bytes=8)),
    )
    yield "read_jsonl_columns", Case(lambda: IterableWrapper([str(folder / "rows.jsonl")] * 2).read_jsonl_columns())
    read = lambda: IterableWrapper([parquet]).read_parquet(batch_size=2)  # noqa: E731  # of 5 rows in 2 groups
    yield "filter_rows", Case(lambda: read().filter_rows([("x", "!=", 2)]), None, lambda: read().filter_rows(boom))
    yield "rebatch", Case(lambda: read().rebatch(3))
    yield "rows", Case(lambda: read().rows())
    yield "select", Case(lambda: read().select(["y"]))
    yield "shuffle_rows", Case(lambda: read().shuffle_rows(4))
    yield "take_rows", Case(lambda: ParquetTable([parquet]).shuffle().take_rows(2), 3)
    yield "to_numpy", Case(lambda: IterableWrapper([parquet]).read_parquet(as_="arrow").to_numpy())
    yield "to_tensors", Case(lambda: IterableWrapper([parquet]).read_parquet(as_="arrow").to_tensors())
    uri = str(folder / "a.lance")
    yield "list_fragments", Case(lambda: IterableWrapper([uri] * 2).list_fragments(), 4)
    yield "read_lance", Case(lambda: IterableWrapper([uri]).list_fragments().read_lance(batch_size=2))
    yield "load_parquet_as_df", Case(lambda: IterableWrapper([str(folder / "a.parquet")]).load_parquet_as_df())
    yield "open_zarr", Case(lambda: IterableWrapper([zarrs]).open_zarr().map(lambda pair: sorted(pair[1])), 1)
    yield "open_files_by_fsspec", Case(lambda: FSSpecFileOpener(urls), 2)
    yield "open_files_by_iopath", Case(lambda: IoPathFileOpener(urls), 2)
    yield (
        "parse_json_files",
        Case(
            lambda: opened(folder / "a.json", length=1).parse_json_files(),
            1,
            lambda: opened(folder / "a.json").parse_json_files(object_hook=boom),
        ),
    )
    for name in ("read_from_gdrive", "read_from_http", "read_from_remote"):
        yield name, Case(partial(_online, name))
    yield "read_from_stream", Case(lambda: opened(text).read_from_stream(3))
    yield "read_zarr", Case(lambda: IterableWrapper([zarrs]).list_zarr_chunks(span=2).read_zarr(), 5)
    yield (
        "routed_decode",
        Case(lambda: opened(text, length=1).routed_decode(), 1, lambda: opened(text).routed_decode(boom)),
    )
    yield "save_by_fsspec", Case(lambda: data.save_by_fsspec("wb", save), 2, lambda: data.save_by_fsspec("wb", boom))
    yield "save_by_iopath", Case(lambda: data.save_by_iopath("wb", save), 2, lambda: data.save_by_iopath("wb", boom))
    yield "save_to_disk", Case(lambda: data.save_to_disk("wb", save), 2, broken)


def _fill_zarrs_pool() -> None:
    """Start all of zarr's threads, which live as long as the process: a pool grows whenever it happens to be busy."""

    async def busy() -> None:
        await asyncio.gather(*(asyncio.to_thread(time.sleep, 0.05) for _ in range(50)))

    sync(busy())


def _in_folder(folder: Path, name: str) -> str:
    return str(folder / "saved" / name)


def _online(method: str) -> Any:
    """A file over HTTP, read: what is not read holds its connection."""
    return getattr(IterableWrapper([f"{_server()}/a", f"{_server()}/b"]), method)(timeout=10).read_from_stream()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.send_header("Content-Disposition", 'attachment; filename="a"')
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_: Any) -> None:
        pass


@cache
def _server() -> str:
    """The address of a server that is there as long as this process."""
    server = HTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True, name="rows' server").start()
    return f"http://127.0.0.1:{server.server_port}"


def _tfrecord(data: bytes) -> bytes:
    def masked(part: bytes) -> bytes:
        crc = google_crc32c.value(part)
        return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)

    size = struct.pack("<Q", len(data))
    return size + masked(size) + data + masked(data)


def _rar() -> bytes:
    """A rar archive, version 3, of members that are stored."""

    def block(kind: int, flags: int, rest: bytes) -> bytes:
        body = struct.pack("<BHH", kind, flags, 7 + len(rest)) + rest
        return struct.pack("<H", zlib.crc32(body) & 0xFFFF) + body

    out = b"Rar!\x1a\x07\x00" + block(0x73, 0, bytes(6))
    for name, data in MEMBERS.items():
        fields = (len(data), len(data), 3, zlib.crc32(data), 0, 20, 0x30, len(name), 0o100644)
        out += block(0x74, 0x8000, struct.pack("<IIBIIBBHI", *fields) + name.encode()) + data
    return out + block(0x7B, 0x4000, b"")
