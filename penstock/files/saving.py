"""Writing a file so that nobody ever sees half of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["put", "save", "write_mode"]

_MODES = {"w": "w", "t": "w", "wt": "w", "b": "wb", "wb": "wb", "a": "a", "at": "a", "ab": "ab"}
_CHUNK_BYTES = 1 << 20
_WHOLE = {
    "s3",
    "s3a",
    "gs",
    "gcs",
    "abfs",
    "abfss",
    "az",
    "memory",
}  # an object is there with its last byte, or not at all


def write_mode(mode: str) -> str:
    """Return what `open` calls the mode. ValueError if it is not one for writing."""
    if mode not in _MODES:
        raise ValueError(f"Invalid mode {mode!r}: one of {', '.join(_MODES)}")
    return _MODES[mode]


def put(fs: Any, path: str, data: bytes) -> None:
    """Write a file of one of fsspec's file systems, so that it is there whole or not at all. Its folder is made."""
    protocols = {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
    if protocols & _WHOLE:
        fs.pipe_file(path, data)
        return
    fs.makedirs(fs._parent(path), exist_ok=True)
    save(path, data, "wb", fs.open, fs.mv, fs.rm)


def save(
    path: str,
    data: Any,
    mode: str,
    open_file: Callable[[str, str], Any],
    rename: Callable[[str, str], None],
    remove: Callable[[str], None],
) -> None:
    """Write ``data`` (bytes, text, or a stream of them) to ``path``, under another name until it is complete.

    Appending has no other name: it writes to the file itself.
    """
    import uuid

    if mode.startswith("a"):
        with open_file(path, mode) as file:
            _write(file, data)
        return
    partial = f"{path}.{uuid.uuid4().hex}.part"
    try:
        with open_file(partial, mode) as file:
            _write(file, data)
        rename(partial, path)
    except BaseException:
        try:
            remove(partial)
        except OSError:  # it was not made
            pass
        raise


def _write(file: Any, data: Any) -> None:
    if not hasattr(data, "read"):
        file.write(data)
        return
    while chunk := data.read(_CHUNK_BYTES):
        file.write(chunk)
