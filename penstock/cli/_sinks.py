"""What `penstock convert` writes: samples in shards, each of which is there whole or not at all."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, Protocol

from penstock.cli._arrow_sinks import LanceDataSet, arrow_files, parquet_files
from penstock.cli._samples import columns_of
from penstock.cli._zarr_sink import ZarrGroup
from penstock.files.remote import connected
from penstock.files.saving import put
from penstock.serialization.json_values import plain
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
        """Write a shard: the ``number``-th, whose first sample is the ``first``-th of all.

        One without samples is an empty record batch where its columns are known, whatever is taken otherwise.
        """
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

    def write(self, number: int, first: int, samples: Any) -> None:
        try:
            self._store.set(samples if isinstance(samples, list) else [], f"{number:05d}")
        except TypeError as error:
            raise TypeError(f"{_odd_column(samples)}{error}") from error


def _odd_column(samples: list[dict[str, Any]]) -> str:
    """Return, in words, which column has a value that no shard of text or of MessagePack has."""
    for sample in samples:
        for name, value in sample.items():
            try:
                plain(value)
            except TypeError:
                return f"column {name!r}: "
    return ""


class _CsvFiles:
    """A folder of files, one for each shard."""

    columnar = False

    def __init__(self, url: str) -> None:
        self._fs, self._folder = connected(url.rstrip("/"), {})

    def write(self, number: int, first: int, samples: Any) -> None:
        columns = columns_of(samples) if isinstance(samples, list) else samples.to_pydict()
        put(self._fs, f"{self._folder}/part-{number:05d}.csv", _csv_bytes(columns))


def _csv_bytes(columns: dict[str, list[Any]]) -> bytes:
    import csv

    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    for name, values in columns.items():
        if any(value is None for value in values) and any(isinstance(value, str) for value in values):
            raise TypeError(f"CSV has no null beside texts, which column {name!r} has: it would be an empty text")
    for row in zip(*columns.values(), strict=True):
        for name, value in zip(columns, row, strict=True):
            if isinstance(value, (list, tuple, dict, bytes)) or getattr(value, "ndim", 0) > 0:
                raise TypeError(f"CSV has no {type(value).__name__}, which column {name!r} has: {value!r:.100}")
        writer.writerow(row)
    return text.getvalue().encode()


_SINKS: dict[str, Callable[[str], Sink]] = {
    "arrow": arrow_files,
    "csv": _CsvFiles,
    "lance": LanceDataSet,
    "parquet": parquet_files,
    "zarr": ZarrGroup,
}
