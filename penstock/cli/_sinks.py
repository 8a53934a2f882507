"""What `penstock convert` writes: samples in shards, each of which is there whole or not at all."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, Protocol

from penstock.cli._arrow_sinks import LanceDataSet, arrow_files, parquet_files
from penstock.cli._samples import columns_of
from penstock.files.remote import connected
from penstock.files.saving import put
from penstock.serialization.columns import Conversion
from penstock.serialization.serializers import JsonSerializer, MessagepackSerializer
from penstock.stores.squirrel_store import SquirrelStore

__all__ = ["Sink", "sink"]


class Sink(Protocol):
    """Where samples go. Writing a shard a second time gives the same as writing it once.

    Attributes:
        columnar: whether it takes a `pyarrow.RecordBatch` of samples as well, and so keeps its types.
    """

    columnar: bool

    def write(self, number: int, first: int, samples: Any) -> None:
        """Write a shard: the ``number``-th, whose first sample is the ``first``-th of all."""
        ...


def sink(url: str, format: str, compression: str) -> Sink:
    """Return what writes to a folder."""
    if format in ("messagepack", "jsonl"):
        kind = MessagepackSerializer if format == "messagepack" else JsonSerializer
        return _Shards(SquirrelStore(url, kind(compression=compression)))
    return _SINKS[format](url)


class _Shards:
    columnar = False

    def __init__(self, store: SquirrelStore) -> None:
        self._store = store

    def write(self, number: int, first: int, samples: list[Any]) -> None:
        self._store.set(samples, f"{number:05d}")


class _CsvFiles:
    """A folder of files, one for each shard."""

    columnar = False

    def __init__(self, url: str) -> None:
        self._fs, self._folder = connected(url.rstrip("/"), {})

    def write(self, number: int, first: int, samples: list[Any]) -> None:
        put(self._fs, f"{self._folder}/part-{number:05d}.csv", _csv_bytes(columns_of(samples)))


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


class _ZarrGroup:
    """A group with an array for each column, a shard of samples being a chunk of each."""

    columnar = True

    def __init__(self, url: str) -> None:
        self._url = url

    def write(self, number: int, first: int, samples: Any) -> None:
        import numpy as np
        import zarr

        group = zarr.open_group(self._url, mode="a")
        columns = columns_of(samples) if isinstance(samples, list) else Conversion().to_numpy(samples)
        for name, values in columns.items():
            text = isinstance(values, list) and isinstance(values[0], str)
            bad = next((value for value in values if not isinstance(value, str)), "") if text else ""
            if bad != "" or isinstance(values, dict):
                raise _no_column(name, values if isinstance(values, dict) else bad)
            try:
                rows: Any = np.array(values, dtype=np.dtypes.StringDType() if text else None)
            except ValueError as error:  # rows of several shapes
                raise TypeError(f"zarr has no column of rows of several shapes, which column {name!r} has") from error
            if not text and (rows.dtype.hasobject or rows.dtype.kind in "SUV"):
                raise _no_column(name, next((value for value in values if value is None), values[0]))
            if name not in group:
                group.create_array(
                    name, shape=(0, *rows.shape[1:]), chunks=rows.shape, dtype="str" if text else rows.dtype
                )
            array: Any = group[name]
            array.resize((first + len(rows), *rows.shape[1:]))
            array[first:] = rows


def _no_column(name: str, value: Any) -> TypeError:
    return TypeError(f"zarr has no column of {type(value).__name__}, which column {name!r} is: {value!r:.100}")


_SINKS: dict[str, Callable[[str], Sink]] = {
    "arrow": arrow_files,
    "csv": _CsvFiles,
    "lance": LanceDataSet,
    "parquet": parquet_files,
    "zarr": _ZarrGroup,
}
