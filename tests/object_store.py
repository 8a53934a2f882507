"""A real S3 API on loopback: moto's server, for the tests that need one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

CREDENTIALS = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}


@contextmanager
def s3_server() -> Iterator[str]:
    """Give the address of a server that speaks S3's protocol, at its top and at ``/s3``, as AIStore does.

    It has the bucket ``data``.
    """
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    store = DomainDispatcherApplication(create_backend_app)

    def both(environ: dict[str, Any], start_response: Any) -> Any:
        for key in {"PATH_INFO", "REQUEST_URI", "RAW_URI"} & environ.keys():
            environ[key] = environ[key].removeprefix("/s3")
        return store(environ, start_response)

    found = make_server("127.0.0.1", 0, both, threaded=True)
    thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        url = f"http://127.0.0.1:{found.server_port}"
        client(url).create_bucket(Bucket="data")
        yield url
        buckets = client(url)
        for page in buckets.get_paginator("list_objects_v2").paginate(Bucket="data"):
            for entry in page.get("Contents", ()):
                buckets.delete_object(Bucket="data", Key=entry["Key"])
        buckets.delete_bucket(Bucket="data")
    finally:
        found.shutdown()
        thread.join()
        found.server_close()


def client(url: str) -> Any:
    """Return boto3's client of a server."""
    import boto3

    return boto3.client("s3", endpoint_url=url, region_name="us-east-1", **CREDENTIALS)


def storage_options(url: str) -> dict[str, Any]:
    """Return fsspec's options for a server."""
    return {"key": "testing", "secret": "testing", "client_kwargs": {"endpoint_url": url, "region_name": "us-east-1"}}
