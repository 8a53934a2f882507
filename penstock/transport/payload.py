"""The graph on its way to the workers: pickled once, with its large buffers in one anonymous file that all of them map.

A 1 GB array in a source costs 1 GB in all: the workers map it privately, so a page is copied only if one writes to it.
"""

from __future__ import annotations

import mmap
import os
import pickle
import struct
import sys
from typing import Any

from penstock.core.errors import TransportError
from penstock.transport.arena import ALIGN, anonymous_file

__all__ = ["load_payload", "payload_file"]

_HEAD = struct.Struct("<QQ")  # bytes of the pickle, number of buffers
_ENTRY = struct.Struct("<QQ")  # offset and size of a buffer


def payload_file(obj: object, *, memfd: bool = True) -> int:
    """Pickle ``obj`` (by value where the workers could not import it) and return the descriptor of the file with it."""
    import cloudpickle

    if (main := sys.modules.get("__mp_main__")) is not None:
        # What multiprocessing has spawned, such as a rank, knows the program by this name, which only such a process
        # can import. cloudpickle knows ``__main__`` alone.
        cloudpickle.register_pickle_by_value(main)
    fd = anonymous_file("graph", memfd=memfd)
    buffers: list[pickle.PickleBuffer] = []
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(bytes(_HEAD.size))
            try:
                cloudpickle.Pickler(file, 5, buffer_callback=buffers.append).dump(obj)
            except Exception as error:
                error.add_note("penstock: the graph must be pickled to go to worker processes")
                raise
            length = file.tell() - _HEAD.size
            views = [buffer.raw() for buffer in buffers]
            table = []
            at = -(-(_HEAD.size + length + _ENTRY.size * len(views)) // ALIGN) * ALIGN
            for view in views:
                table.append((at, view.nbytes))
                at = -(-(at + view.nbytes) // ALIGN) * ALIGN
            for entry in table:
                file.write(_ENTRY.pack(*entry))
            for (offset, _), view in zip(table, views, strict=True):
                file.seek(offset)
                file.write(view)
            file.seek(0)
            file.write(_HEAD.pack(length, len(views)))
    except BaseException:
        os.close(fd)
        raise
    return fd


def load_payload(fd: int) -> Any:
    """Return what `payload_file` pickled, over a private mapping of the file."""
    data = memoryview(mmap.mmap(fd, 0, access=mmap.ACCESS_COPY))
    length, count = _HEAD.unpack_from(data)
    table = [_ENTRY.unpack_from(data, _HEAD.size + length + i * _ENTRY.size) for i in range(count)]
    buffers = [data[offset : offset + size] for offset, size in table]
    try:
        return pickle.loads(data[_HEAD.size : _HEAD.size + length], buffers=buffers)
    except ModuleNotFoundError as error:
        raise TransportError(f"a worker cannot import what the graph needs: {error}") from error
