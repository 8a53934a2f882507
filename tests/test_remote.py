"""Files over HTTP, from Google Drive, S3 and AIStore: servers on this machine stand for them."""

from __future__ import annotations

import gzip
import importlib
import io
import pickle
import re
import sys
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import pytest
import requests

from object_store import CREDENTIALS, client, s3_server
from penstock.catalog import Catalog, Source
from penstock.cli import main
from penstock.core.errors import MissingExtra, StateError
from penstock.pipes import IterableWrapper
from running import context, restores_at_every_index, trip

TEXT = b"first\nsecond\nthird\n" * 2000


def a_tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name in "abc":
            info = tarfile.TarInfo(name)
            info.size = 100_000
            archive.addfile(info, io.BytesIO(name.encode() * 100_000))
    return file.getvalue()


class Handler(BaseHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        path = self.path.partition("?")[0]
        answer = getattr(self, "get_" + re.sub(r"\W", "_", path.strip("/")), None)
        if answer is None:
            self.send_error(404)
        else:
            answer()

    def answer(self, data: bytes, *headers: tuple[str, str], size: int | None = None) -> None:
        self.send_response(200)
        for name, value in (*headers, ("Content-Length", str(len(data) if size is None else size))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def get_text(self) -> None:
        self.answer(TEXT)

    def get_empty(self) -> None:
        self.answer(b"")

    def get_a_tar(self) -> None:
        self.answer(a_tar())

    def get_encoded(self) -> None:
        self.answer(gzip.compress(TEXT), ("Content-Encoding", "gzip"))

    def get_header(self) -> None:
        self.answer(self.headers.get("X-Test", "none").encode())

    def get_short(self) -> None:
        self.answer(TEXT[:1000], size=len(TEXT))

    def get_short_chunks(self) -> None:
        self.protocol_version = "HTTP/1.1"
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"5\r\nhello\r\n")
        self.close_connection = True

    def get_slow(self) -> None:
        stopped.wait(0.5)

    def get_drive_uc(self) -> None:
        if "id=small" in self.path or "confirm=t0ken" in self.path or "confirm=old" in self.path:
            self.answer(TEXT, ("Content-Disposition", 'attachment; filename="the file.txt"'))
        elif "id=form" in self.path:
            self.answer(
                b'<html><form action="/search"></form><form id="download-form" action="/uc" method="get">'
                b'<input type="hidden" name="id" value="form"><input type="hidden" name="confirm" value="t0ken">'
                b'<input type="submit"></form></html>'
            )
        elif "id=cookie" in self.path:
            self.answer(b"<html>large", ("Set-Cookie", "download_warning_x=old"))
        elif "id=quota" in self.path:
            self.answer(b"<html>Sorry: Quota exceeded")
        else:
            self.answer(b"<html>Sign in")

    def log_message(self, *_: Any) -> None:
        pass


stopped = threading.Event()


@pytest.fixture
def server() -> Iterator[str]:
    stopped.clear()
    Handler.asked.clear()
    found = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{found.server_port}"
    stopped.set()
    found.shutdown()
    thread.join()
    found.server_close()


def read(pipe: Any) -> list[tuple[str, bytes]]:
    found = []
    for path, stream in pipe:
        with stream:
            found.append((path, stream.read()))
    return found


# ---------------------------------------------------------------------------------------------------------------- HTTP


@pytest.mark.parametrize("method", ["read_from_http", "read_from_remote"])
def test_files_over_http_are_read_by_url(method: str, server: str, no_leftovers: None) -> None:
    urls = [f"{server}/text", f"{server}/empty", f"{server}/encoded"]
    pipe = getattr(IterableWrapper(urls), method)(timeout=5)
    assert read(pipe) == list(zip(urls, [TEXT, b"", TEXT], strict=True))
    assert len(pipe) == 3
    assert restores_at_every_index(pipe) == [[url, data] for url, data in zip(urls, [TEXT, b"", TEXT], strict=True)]


def test_a_stream_over_http_is_read_by_lines_and_in_parts(server: str, no_leftovers: None) -> None:
    ((_, stream),) = IterableWrapper([f"{server}/text"]).read_from_http()
    with stream:
        assert (stream.readline(), stream.read(3), stream.tell()) == (b"first\n", b"sec", 9)
        assert stream.seek(12) == 12
        assert [*stream] == TEXT[12:].splitlines(keepends=True)
        assert stream.read() == b""
        with pytest.raises(OSError, match="forward only"):
            stream.seek(0)
    lines = IterableWrapper([f"{server}/text"]).read_from_http().readlines(return_path=False)
    assert [*lines] == TEXT.splitlines()
    short = iter(IterableWrapper([f"{server}/text"]).read_from_http().readlines())
    assert [*islice(short, 3)] == [(f"{server}/text", line) for line in (b"first", b"second", b"third")]


def test_what_is_read_over_http_can_be_parsed_and_restored(server: str, no_leftovers: None) -> None:
    pipe = IterableWrapper([f"{server}/a.tar", f"{server}/a.tar"]).read_from_http().load_from_tar()
    assert len(restores_at_every_index(pipe)) == 6


def test_a_stream_over_http_travels_by_asking_again(server: str, no_leftovers: None) -> None:
    ((_, stream),) = IterableWrapper([f"{server}/header"]).read_from_http(headers={"X-Test": "mine"})
    copied = pickle.loads(pickle.dumps(stream))
    assert len(Handler.asked) == 1
    with stream, copied:
        assert copied.read() == stream.read() == b"mine"
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(stream)


def test_a_missing_file_is_an_error_that_names_the_url(server: str, no_leftovers: None) -> None:
    with pytest.raises(OSError, match=f"Could not get the file at {server}/nowhere: HTTP status 404"):
        list(IterableWrapper([f"{server}/nowhere"]).read_from_http())
    with pytest.raises(OSError, match=r"Could not get the file at http://127\.0\.0\.1:1/x: ConnectionError"):
        list(IterableWrapper(["http://127.0.0.1:1/x"]).read_from_http())
    with pytest.raises(OSError, match=rf"{server}/slow: ReadTimeout"):
        list(IterableWrapper([f"{server}/slow"]).read_from_http(timeout=0.1))


@pytest.mark.parametrize("path", ["short", "short-chunks"])
def test_a_body_that_ends_too_early_is_an_error_and_never_a_short_file(
    path: str, server: str, no_leftovers: None
) -> None:
    for take in (lambda stream: stream.read(), list, lambda stream: [*iter(lambda: stream.read(100), b"")]):
        ((_, stream),) = IterableWrapper([f"{server}/{path}"]).read_from_http()
        with stream, pytest.raises(OSError, match=f"Could not read {server}/{path}"):
            take(stream)
    for parse in ("readlines", "read_from_stream"):
        pipe = getattr(IterableWrapper([f"{server}/{path}"]).read_from_http(), parse)()
        with pytest.raises(OSError, match=f"Could not read {server}/{path}"):
            list(pipe)


def test_errors_can_be_skipped_with_a_warning(server: str, no_leftovers: None) -> None:
    urls = [f"{server}/nowhere", f"{server}/empty", "http://127.0.0.1:1/x", f"{server}/text", f"{server}/gone"]
    pipe = IterableWrapper(urls).read_from_http(timeout=5, skip_on_error=True)
    with pytest.warns(UserWarning, match="skipping"):
        assert read(pipe) == [(urls[1], b""), (urls[3], TEXT)]
    with pytest.warns(UserWarning, match="skipping"):
        restores_at_every_index(pipe)


def test_a_timeout_is_positive_and_requests_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="timeout must be positive"):
        IterableWrapper(["x"]).read_from_http(timeout=0)
    monkeypatch.setitem(sys.modules, "requests", None)
    with pytest.raises(MissingExtra, match=r"penstock\[http\]"):
        list(IterableWrapper(["http://x"]).read_from_http())


# -------------------------------------------------------------------------------------------------------- Google Drive


@pytest.fixture
def drive(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Google Drive's address, which leads to the server."""
    get = requests.Session.get

    def redirected(session: requests.Session, url: str, **options: Any) -> requests.Response:
        return get(session, url.replace("https://drive.google.com", f"{server}/drive"), **options)

    monkeypatch.setattr(requests.Session, "get", redirected)
    return "https://drive.google.com"


@pytest.mark.parametrize("method", ["read_from_gdrive", "read_from_remote"])
@pytest.mark.parametrize("kind", ["small", "form", "cookie"])
@pytest.mark.parametrize(
    "link", ["/uc?id={}", "/uc?export=download&id={}", "/file/d/{}/view?usp=sharing", "/open?id={}"]
)
def test_google_drives_files_come_by_their_names_and_pages_are_confirmed(
    method: str, kind: str, link: str, drive: str, no_leftovers: None
) -> None:
    pipe = getattr(IterableWrapper([drive + link.format(kind)]), method)(timeout=5)
    assert read(pipe) == [("the file.txt", TEXT)]
    assert len(pipe) == 1


def test_a_page_of_google_drives_is_no_file(drive: str, no_leftovers: None) -> None:
    with pytest.raises(RuntimeError, match=r"uc\?id=quota is currently unavailable, because the quota"):
        list(IterableWrapper([f"{drive}/uc?id=quota"]).read_from_gdrive())
    with pytest.raises(RuntimeError, match=r"headers don't contain content-disposition"):
        list(IterableWrapper([f"{drive}/uc?id=private"]).read_from_gdrive())
    with pytest.warns(UserWarning, match="skipping"):
        assert list(IterableWrapper([f"{drive}/uc?id=quota"]).read_from_gdrive(skip_on_error=True)) == []


def test_other_urls_do_not_go_to_google_drive(server: str) -> None:
    assert read(IterableWrapper([f"{server}/text?from=drive.google.com"]).read_from_remote()) == [
        (f"{server}/text?from=drive.google.com", TEXT)
    ]


# ------------------------------------------------------------------------------------------------------- S3 and AIStore

KEYS = ("train/a", "train/b", "train/deep/c", "train2/d", "top")


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with s3_server() as url:
        for key in KEYS:
            client(url).put_object(Bucket="data", Key=key, Body=key.encode() * 1000)
        yield url


def options(url: str) -> dict[str, Any]:
    return {"endpoint_url": url, "key": "testing", "secret": "testing"}


def test_objects_in_s3_are_listed_by_prefix(s3: str) -> None:
    def listed(*prefixes: str) -> list[str]:
        return list(IterableWrapper(list(prefixes)).list_files_by_s3(region="us-east-1", **options(s3)))

    assert listed("s3://data") == listed("s3://data/") == sorted(f"s3://data/{key}" for key in KEYS)
    assert listed("s3://data/train/") == ["s3://data/train/a", "s3://data/train/b", "s3://data/train/deep/c"]
    assert listed("s3://data/train") == [*listed("s3://data/train/"), "s3://data/train2/d"]
    assert listed("s3://data/train/de", "s3://data/top") == ["s3://data/train/deep/c", "s3://data/top"]
    assert listed("s3://data/nothing") == []


def test_objects_in_s3_are_read_and_restore_at_every_index(s3: str) -> None:
    pipe = (
        IterableWrapper(["s3://data/train/", "s3://data/top"])
        .list_files_by_s3(request_timeout_ms=5000, region="us-east-1", **options(s3))
        .load_files_by_s3(request_timeout_ms=5000, region="us-east-1", buffer_size=1 << 20, **options(s3))
    )
    expected = [(f"s3://data/{key}", key.encode() * 1000) for key in ("train/a", "train/b", "train/deep/c", "top")]
    assert read(pipe) == expected
    assert restores_at_every_index(pipe) == [list(item) for item in expected]
    copied = [pickle.loads(pickle.dumps(item)) for item in pipe]
    assert read(copied) == expected


def test_a_catalog_is_saved_to_s3_and_checked_there(
    s3: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog = Catalog()
    catalog["top"] = Source("file", {"url": "s3://data/top"})
    catalog["gone"] = Source("file", {"url": "s3://data/gone"})
    catalog.to_file("s3://data/catalogs/c.yaml", storage_options=options(s3))
    assert Catalog.from_files("s3://data/catalogs/c.yaml", storage_options=options(s3)) == catalog
    assert Catalog.from_dirs("s3://data/catalogs", storage_options=options(s3)) == catalog
    for name, value in {"AWS_ENDPOINT_URL": s3, **{key.upper(): value for key, value in CREDENTIALS.items()}}.items():
        monkeypatch.setenv(name, value)
    assert main(["catalog", "check", "--read", "s3://data/catalogs"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "FAILED  gone, version 1 (file): FileNotFoundError: there is nothing at s3://data/gone",
        "ok      top, version 1 (file)",
    ]


def test_another_listing_of_a_bucket_is_a_state_error(s3: str) -> None:
    import boto3

    client = boto3.client("s3", endpoint_url=s3, region_name="us-east-1", **CREDENTIALS)
    pipe = IterableWrapper(["s3://data/more/", "s3://data/top"]).list_files_by_s3(
        use_listings_cache=False, **options(s3)
    )
    client.put_object(Bucket="data", Key="more/a", Body=b"")
    stream = context(pipe).build(pipe)
    assert next(stream.it) == "s3://data/more/a"
    state = trip(stream.state())
    client.put_object(Bucket="data", Key="more/b", Body=b"")
    with pytest.raises(StateError, match="lists other files"):
        next(context(pipe).build(pipe, state).it)
    for key in "ab":
        client.delete_object(Bucket="data", Key=f"more/{key}")


def test_aistore_is_read_through_its_gateway(s3: str) -> None:
    urls = IterableWrapper(["ais://data/train/", "aws://data/top"]).list_files_by_ais(s3)
    expected = ["ais://data/train/a", "ais://data/train/b", "ais://data/train/deep/c", "aws://data/top"]
    assert [*urls] == expected
    pipe = urls.load_files_by_ais(s3.removeprefix("http://"), anon=False, key="testing", secret="testing")
    assert [url for url, _ in pipe] == expected
    assert read(pipe)[-1] == ("aws://data/top", b"top" * 1000)
    with pytest.raises(TypeError, match="where AIStore is"):
        urls.load_files_by_ais(None)  # type: ignore[arg-type]


def test_stores_work_on_any_file_system_of_fsspecs(tmp_path: Path) -> None:
    for name in ("a1", "a2", "b"):
        (tmp_path / name).write_bytes(name.encode())
    urls = [f"file://{tmp_path}/", f"file://{tmp_path}/b", f"{tmp_path}/a"]
    expected = [f"file://{tmp_path}/{name}" for name in ("a1", "a2", "b", "b")] + [f"{tmp_path}/a1", f"{tmp_path}/a2"]
    assert [*IterableWrapper(urls).list_files_by_s3(region="x")] == expected
    assert [data for _, data in read(IterableWrapper(expected).load_files_by_s3(region="x"))][:3] == [
        b"a1",
        b"a2",
        b"b",
    ]
    assert len(IterableWrapper(urls).list_files_by_s3(length=3)) == len(IterableWrapper(urls).load_files_by_s3()) == 3
    with pytest.raises(TypeError, match="doesn't have valid length"):
        len(IterableWrapper(urls).list_files_by_s3())
    with pytest.raises(TypeError, match="int"):
        list(IterableWrapper([3]).load_files_by_s3())  # type: ignore[arg-type]


def test_without_s3fs_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(importlib.import_module("fsspec.registry")._registry, "s3", raising=False)
    with pytest.raises(MissingExtra, match=r"penstock\[s3\]"):
        list(IterableWrapper(["s3://data/x"]).list_files_by_s3())
