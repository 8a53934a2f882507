"""write_dataset: anything that has rows, as a Lance data set."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any

from penstock.core.pipe import IterDataPipe, MapDataPipe
from penstock.pipes._batches import is_record_batch
from penstock.pipes._lance import loaded_lance
from penstock.serialization.to_arrow import batch_of_columns, batch_of_rows

__all__ = ["write_dataset"]

_ROWS = 1024  # of samples that are put together, or of a data set that is read in one go


def write_dataset(
    data: Any, uri: Any, schema: Any = None, mode: str = "create", *, batched: bool = False, **kwargs: Any
) -> Any:
    """Write rows to a Lance data set, and return it opened.

    Args:
        data: a Hugging Face ``Dataset`` (what ``select``, ``filter`` and ``shuffle`` have left, in that order, and its
            features), ``IterableDataset`` or ``DatasetDict``; a pipe, or any iterable, of samples (dicts) or of record
            batches; or what Lance takes: tables, record batches and readers of Arrow's, data frames, another data set
            of Lance's.
        uri: where to. Of a ``DatasetDict`` each split goes to ``<uri>/<split>.lance``.
        schema: of what is written, a `pyarrow.Schema`; that of the first rows unless given.
        mode: ``create``, ``overwrite`` or ``append``.
        batched: the dicts that a pipe gives are batches, with a column under each name, and not samples.
        **kwargs: others of ``lance.write_dataset`` (max_rows_per_file, data_storage_version, storage_options ...).

    Returns:
        The `lance.LanceDataset`; of a ``DatasetDict`` a dict of them.

    Raises:
        MissingExtra: pylance is not installed: ``pip install 'penstock[lance]'``.
        TypeError: items that are neither samples nor batches.
        ValueError: no rows and no schema; rows that do not fit the first ones, or the schema.

    Example:
        >>> import os, tempfile
        >>> from penstock.pipes import IterableWrapper
        >>> path = os.path.join(tempfile.mkdtemp(), "a.lance")
        >>> pipe = IterableWrapper([{"x": 1, "y": "a"}, {"x": 2, "y": "b"}]).filter(lambda row: row["x"] > 1)
        >>> write_dataset(pipe, path).to_table().to_pydict()
        {'x': [2], 'y': ['b']}
    """
    lance = loaded_lance()
    if _is_hf(data, "DatasetDict", "IterableDatasetDict"):
        return {
            split: write_dataset(
                rows, f"{os.fspath(uri).rstrip('/')}/{split}.lance", schema, mode, batched=batched, **kwargs
            )
            for split, rows in data.items()
        }
    if _is_hf(data, "Dataset"):
        data, schema = _of_dataset(data, schema), None
    elif _is_hf(data, "IterableDataset"):
        known = None if data.features is None else data.features.arrow_schema
        data, schema = _reader(_of_stream(data), schema or known), None
    elif isinstance(data, (IterDataPipe, MapDataPipe)) or _is_of_items(data):
        data, schema = _reader(_batches(iter(data), schema, batched), schema), None
    return lance.write_dataset(data, uri, schema, mode, **kwargs)


def _is_hf(data: Any, *names: str) -> bool:
    return any(cls.__module__.startswith("datasets.") and cls.__name__ in names for cls in type(data).__mro__)


def _is_of_items(data: Any) -> bool:
    """Whether it is of this process's own making, and not of a library that Lance knows."""
    if type(data).__module__.partition(".")[0] in ("pyarrow", "pandas", "polars", "lance", "torch", "numpy"):
        return False
    if isinstance(data, (list, tuple)):
        return bool(data) and isinstance(data[0], Mapping)
    return isinstance(data, Iterable) and not isinstance(data, (str, bytes, Mapping, os.PathLike))


def _of_dataset(data: Any, schema: Any) -> Any:
    """Return a reader of a Hugging Face data set: of its rows as they are now, and not of the table below them."""
    import pyarrow as pa

    schema = schema or data.features.arrow_schema
    arrow = data.with_format("arrow")
    tables = (arrow[low : low + _ROWS] for low in range(0, len(data), _ROWS))
    return pa.RecordBatchReader.from_batches(schema, chain.from_iterable(t.cast(schema).to_batches() for t in tables))


def _of_stream(data: Any) -> Iterator[Any]:
    for table in data.with_format("arrow").iter(_ROWS):
        yield from table.to_batches()


def _batches(items: Iterator[Any], schema: Any, batched: bool) -> Iterator[Any]:
    """Yield items as record batches: those that are none as they come, samples some at a time."""
    while True:
        first = next(items, None)
        if first is None:
            return
        if is_record_batch(first):
            yield first
        elif not isinstance(first, Mapping):
            raise TypeError(f"a sample (a dict) or a batch of columns is expected, but got {type(first).__name__}")
        elif batched:
            yield batch_of_columns(first, schema)
        else:
            yield batch_of_rows([first, *islice(items, _ROWS - 1)], schema)


def _reader(batches: Iterator[Any], schema: Any) -> Any:
    import pyarrow as pa

    ahead = list(islice(batches, 1))
    if not ahead and schema is None:
        raise ValueError("there are no rows, and no schema says what columns they would have")
    schema = schema or ahead[0].schema
    return pa.RecordBatchReader.from_batches(schema, (_fitted(batch, schema) for batch in chain(ahead, batches)))


def _fitted(batch: Any, schema: Any) -> Any:
    return batch if batch.schema.equals(schema) else batch.cast(schema)
