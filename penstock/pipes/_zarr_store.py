"""Zarr arrays and groups behind a URL, opened for reading, and what is said where they cannot be read.

Zarr's own errors name neither file nor chunk, and their types say little: a KeyError for metadata that lack a field, a
RuntimeError for a chunk that does not decompress. So a store notes on each error that comes from reading a file which
file it was. What has no such note comes from what was read: a DecodeError.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from penstock.core.errors import DecodeError
from penstock.files.remote import connected
from penstock.files.zarr_store import zarr_store
from penstock.pipes._lines import unreadable

__all__ = ["bad_metadata", "check_codecs", "is_group", "is_no_damage", "is_zarr", "open_node"]

_NOTE = "penstock: raised when reading "


def open_node(url: str, options: Mapping[str, Any]) -> Any:
    """Return the array or group at a URL, read-only."""
    import zarr

    try:
        node = zarr.open(_watched(zarr_store(url, options, read_only=True)), mode="r")
    except FileNotFoundError as error:
        raise DecodeError(f"{url}: no zarr array or group is there: no zarr.json, .zarray or .zgroup") from error
    except Exception as error:
        if is_no_damage(error):
            raise
        raise bad_metadata(url, error) from error
    if isinstance(node, zarr.Array):
        check_codecs(url, node)
    return node


def is_zarr(url: str, options: Mapping[str, Any]) -> bool:
    """Tell whether a URL is that of a zarr array or group."""
    fs, path = connected(url.rstrip("/"), options)
    return any(fs.exists(f"{path}/{name}") for name in ("zarr.json", ".zgroup", ".zarray"))


def is_group(node: Any) -> bool:
    """Tell whether what was opened is a group, and no array."""
    import zarr

    return isinstance(node, zarr.Group)


def check_codecs(url: str, array: Any) -> None:
    """Raise DecodeError if reading an array would unpickle what is in it; have its chunks checked, if nobody else does.

    Blosc believes the size that a chunk's head tells, and reads on behind the end of one that is shorter.
    """
    codecs = _codecs(array.metadata)
    if "pickle" in codecs:
        raise DecodeError(f"{url}: array {array.name!r} is stored with pickle, and nothing is unpickled")
    if codecs[-1:] == ["blosc"] and isinstance(array.store, _watched_class()):
        array.store.in_blosc.add(f"{array.path}/" if array.path else "")


def bad_metadata(url: str, error: Exception) -> DecodeError:
    """Return the error for metadata that zarr cannot make sense of."""
    if "|O" in str(error) or "pickle" in str(error):
        return DecodeError(f"{url}: an array of Python objects cannot be read: nothing is unpickled ({error})")
    return unreadable(url, "its metadata", error)


def is_no_damage(error: Exception) -> bool:
    """Whether an error says nothing of what is in a file: one of input and output, say."""
    if isinstance(error, (DecodeError, MemoryError, ImportError)):
        return True
    return any(note.startswith(_NOTE) for note in getattr(error, "__notes__", ()))


def _watched(store: Any, in_blosc: Iterable[str] = ()) -> Any:
    made = _watched_class()(store)
    made.in_blosc.update(in_blosc)
    return made


@cache
def _watched_class() -> Any:
    from zarr.storage import WrapperStore

    class Watched(WrapperStore[Any]):
        """A store that notes which file could not be read, and refuses one that is empty, or a torn chunk.

        Zarr takes a shard without a byte for one that was never written, and gives the fill value.
        """

        def __init__(self, store: Any) -> None:
            super().__init__(store)
            self.in_blosc: set[str] = set()  # where the chunks lie that begin with Blosc's head

        async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
            try:
                data = await self._store.get(key, prototype, byte_range)
            except Exception as error:
                error.add_note(f"{_NOTE}{key} of {self._store}")
                raise
            if data is not None and not len(data):
                raise ValueError(f"{key} is an empty file")
            if data is not None and byte_range is None and self._begins_with_bloscs_head(key):
                size = int.from_bytes(data[12:16].to_bytes(), "little") if len(data) >= 16 else 16
                if len(data) < size:
                    raise ValueError(f"{key} has {len(data)} of {size} bytes")
            return data

        def _begins_with_bloscs_head(self, key: str) -> bool:
            return any(map(key.startswith, self.in_blosc)) and not _is_metadata(key)

        def __reduce__(self) -> Any:
            return _watched, (self._store, list(self.in_blosc))

    return Watched


def _is_metadata(key: str) -> bool:
    return key.rpartition("/")[2] in ("zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata")


def _codecs(metadata: Any) -> list[str]:
    """Return the names of an array's codecs, in the order in which they encode; not those within a shard."""
    if metadata.zarr_format == 2:
        return [codec.codec_id for codec in (*(metadata.filters or ()), metadata.compressor) if codec is not None]
    return [str(codec.to_dict()["name"]).removeprefix("numcodecs.") for codec in metadata.codecs]
