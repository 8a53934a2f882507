"""What `penstock convert` writes: samples in shards, each of which is there whole or not at all."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from penstock.files.remote import connected
from penstock.files.saving import put
from penstock.serialization.serializers import JsonSerializer, MessagepackSerializer
from penstock.stores.squirrel_store import SquirrelStore

__all__ = ["Sink", "sink"]


class Sink(Protocol):
    """Where samples go. Writing a shard a second time gives the same as writing it once."""

    def write(self, number: int, first: int, samples: list[Any]) -> None:
        """Write a shard: the ``number``-th, whose first sample is the ``first``-th of all."""


def sink(url: str, format: str, compression: str) -> Sink:
    """Return what writes to a folder."""
    if format in ("messagepack", "jsonl"):
        kind = MessagepackSerializer if format == "messagepack" else JsonSerializer
        return _Shards(SquirrelStore(url, kind(compression=compression)))
    return _SINKS[format](url)


class _Shards:
    def __init__(self, store: SquirrelStore) -> None:
        self._store = store

    def write(self, number: int, first: int, samples: list[Any]) -> None:
        self._store.set(samples, f"{number:05d}")


class _Files:
    """A folder of files, one for each shard; a function makes the bytes of a file of its columns."""

    def __init__(self, end: str, to_bytes: Callable[[dict[str, list[Any]]], bytes], url: str) -> None:
        self._end, self._to_bytes = end, to_bytes
        self._fs, self._folder = connected(url.rstrip("/"), {})

    def write(self, number: int, first: int, samples: list[Any]) -> None:
        put(self._fs, f"{self._folder}/part-{number:05d}{self._end}", self._to_bytes(_columns(samples)))


def _csv_bytes(columns: dict[str, list[Any]]) -> bytes:
    import csv

    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        for name, value in zip(columns, row, strict=True):
            if isinstance(value, (list, tuple, dict, bytes)) or getattr(value, "ndim", 0) > 0:
                raise TypeError(f"CSV has no {type(value).__name__}, which column {name!r} has: {value!r:.100}")
        writer.writerow(row)
    return text.getvalue().encode()


def _parquet_bytes(columns: dict[str, list[Any]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = io.BytesIO()
    pq.write_table(pa.table({name: _arrow(values) for name, values in columns.items()}), file)
    return file.getvalue()


class _ZarrGroup:
    """A group with an array for each column, a shard of samples being a chunk of each."""

    def __init__(self, url: str) -> None:
        self._url = url

    def write(self, number: int, first: int, samples: list[Any]) -> None:
        import numpy as np
        import zarr

        group = zarr.open_group(self._url, mode="a")
        for name, values in _columns(samples).items():
            text = isinstance(values[0], str)
            rows: Any = np.array(values, dtype=np.dtypes.StringDType() if text else None)
            if not text and (rows.dtype.hasobject or rows.dtype.kind in "SUV"):
                raise TypeError(f"zarr has no column of {type(values[0]).__name__}, which column {name!r} is")
            if name not in group:
                group.create_array(
                    name, shape=(0, *rows.shape[1:]), chunks=rows.shape, dtype="str" if text else rows.dtype
                )
            array: Any = group[name]
            array.resize((first + len(rows), *rows.shape[1:]))
            array[first:] = rows


def _columns(samples: list[Any]) -> dict[str, list[Any]]:
    """Return samples as columns.

    Raises:
        TypeError: a sample is no dict. ValueError: one has other keys than the first.
    """
    names: list[str] = []
    for number, sample in enumerate(samples):
        if not isinstance(sample, dict) or not sample:
            raise TypeError(f"a row of a table is a dict with columns, got {sample!r:.100}")
        names = names or [str(name) for name in sample]
        if [str(name) for name in sample] != names and sorted(map(str, sample)) != sorted(names):
            raise ValueError(
                f"sample {number} of a shard has the columns {sorted(map(str, sample))}, not {sorted(names)}"
            )
    return {name: [sample[name] for sample in samples] for name in names}


def _arrow(values: list[Any]) -> Any:
    """Return a column. Arrays of one shape and type become tensors of a fixed shape."""
    import numpy as np
    import pyarrow as pa

    if not all(isinstance(value, np.ndarray) and value.ndim for value in values):
        return pa.array([value.item() if isinstance(value, np.generic) else value for value in values])
    shapes = {(value.shape, value.dtype) for value in values}
    if len(shapes) > 1:
        return pa.array([value.tolist() for value in values])
    return pa.FixedShapeTensorArray.from_numpy_ndarray(np.stack(values))


_SINKS: dict[str, Callable[[str], Sink]] = {
    "csv": partial(_Files, ".csv", _csv_bytes),
    "parquet": partial(_Files, ".parquet", _parquet_bytes),
    "zarr": _ZarrGroup,
}
