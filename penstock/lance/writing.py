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
    data_obj: Any, uri: Any, schema: Any = None, mode: str = "create", *, batched: bool = False, **kwargs: Any
) -> Any:
    """Write rows to a Lance data set, and return it opened.

    Args:
        data_obj: a Hugging Face ``Dataset`` (what ``select``, ``filter`` and ``shuffle`` have left, in that order, and
            its features), ``IterableDataset`` or ``DatasetDict``; a pipe, or any iterable, of samples (dicts) or of
            record batches; or what Lance takes: tables, record batches and readers of Arrow's, data frames, another
            data set of Lance's.
        uri: where to. Of a ``DatasetDict`` each split goes to ``<uri>/<split>.lance``.
        schema: of what is written, a `pyarrow.Schema`; that of the first rows unless given. A column that a sample
            lacks is null, where the schema lets it be.
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
    lance, data = loaded_lance(), data_obj
    if _is_hf(data, "DatasetDict", "IterableDatasetDict"):
        return {
            split: write_dataset(
                rows, f"{os.fspath(uri).rstrip('/')}/{split}.lance", schema, mode, batched=batched, **kwargs
            )
            for split, rows in data.items()
        }
    if _is_hf(data, "Dataset"):
        made = _Made(_of_dataset(data), _with_features(schema, data.features))
    elif _is_hf(data, "IterableDataset"):
        made = _Made(_of_stream(data, schema), _with_features(schema, data.features))
    elif isinstance(data, (IterDataPipe, MapDataPipe)) or _is_of_items(data):
        made = _Made(_batches(iter(data), schema, batched), schema)
    else:
        return lance.write_dataset(data, uri, schema, mode, **kwargs)
    try:
        return lance.write_dataset(made.reader(), uri, None, mode, **kwargs)
    except Exception:
        if made.error is not None:  # of which Lance would only give the words, as an OSError
            raise made.error from None
        raise


def _is_hf(data: Any, *names: str) -> bool:
    return any(cls.__module__.startswith("datasets.") and cls.__name__ in names for cls in type(data).__mro__)


def _with_features(schema: Any, features: Any) -> Any:
    """Return what is written of Hugging Face's data: a schema tells the types, and features what images are."""
    if features is None or schema is None:
        return schema if features is None else features.arrow_schema
    return schema.with_metadata({**(features.arrow_schema.metadata or {}), **(schema.metadata or {})})


def _is_of_items(data: Any) -> bool:
    """Whether it is of this process's own making, and not of a library that Lance knows."""
    if type(data).__module__.partition(".")[0] in ("pyarrow", "pandas", "polars", "lance", "torch", "numpy"):
        return False
    if isinstance(data, (list, tuple)):
        return bool(data) and (isinstance(data[0], Mapping) or is_record_batch(data[0]))
    return isinstance(data, Iterable) and not isinstance(data, (str, bytes, Mapping, os.PathLike))


def _of_dataset(data: Any) -> Iterator[Any]:
    """Yield the rows of a Hugging Face data set as they are now, and not those of the table below them."""
    arrow = data.with_format("arrow")
    for low in range(0, len(data), _ROWS):
        yield from arrow[low : low + _ROWS].to_batches()


def _of_stream(data: Any, schema: Any) -> Iterator[Any]:
    if data.features is None:  # then it guesses the types of each piece, and joins only those that are alike
        yield from _batches(iter(data.with_format(None)), schema, batched=False)
        return
    for table in data.with_format("arrow").iter(_ROWS):
        yield from table.to_batches()


def _batches(items: Iterator[Any], schema: Any, batched: bool) -> Iterator[Any]:
    """Yield items as record batches: those that are none as they come, samples some at a time."""
    nulls = {field.name: None for field in schema or () if field.nullable}
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
            rows = [first, *islice(items, _ROWS - 1)]
            yield batch_of_rows([nulls | row for row in rows] if nulls else rows, schema)


class _Made:
    """Record batches that are made while they are written.

    Attributes:
        error: what went wrong in making them.
    """

    def __init__(self, batches: Iterator[Any], schema: Any) -> None:
        ahead = list(islice(batches, 1))
        if not ahead and schema is None:
            raise ValueError("there are no rows, and no schema says what columns they would have")
        self._batches = chain(ahead, batches)
        self._schema = schema or ahead[0].schema
        self.error: Exception | None = None

    def reader(self) -> Any:
        """Return Arrow's reader of them."""
        import pyarrow as pa

        return pa.RecordBatchReader.from_batches(self._schema, self._fitting())

    def _fitting(self) -> Iterator[Any]:
        try:
            for batch in self._batches:
                yield self._fitted(batch)
        except Exception as error:
            self.error = error
            raise

    def _fitted(self, batch: Any) -> Any:
        import pyarrow as pa

        if batch.schema.equals(self._schema):
            return batch
        try:
            return batch.cast(self._schema)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise ValueError(
                f"rows do not fit the first ones, or the schema: {error}; say all types by `schema`"
            ) from error
