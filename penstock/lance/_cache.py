"""A copy of what is read of a Lance data set, on the local disk."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING, Any

from penstock.pipes._lance import LanceData, naming_lance
from penstock.pipes.map.lance_table import LanceTable

if TYPE_CHECKING:
    from penstock.serialization.columns import Conversion

__all__ = ["cached"]

_OTHERWISE = "__column_"


def cached(
    data: LanceData,
    columns: Any,
    filter: Any,
    with_row_id: bool,
    as_: Any,
    conversion: Conversion | None,
    folder: str | os.PathLike[str] | None,
) -> LanceTable:
    """Return a table over a copy, which is made now unless it is there.

    Args:
        data: the data set.
        columns: names, or expressions of SQL by name; all columns unless given.
        filter: which rows are copied.
        with_row_id: give the row ids of ``data``.
        as_: what a batch is.
        conversion: what becomes of each of Arrow's types.
        folder: where the copy stays; in a folder that goes with the table, and with this process, unless given.
    """
    table = LanceTable(data, columns, filter, with_row_id=with_row_id, as_=as_, conversion=conversion)
    files = [file.path for fragment in data.fragments for file in fragment.data_files()]  # no two data sets have one
    kept = _kept_as(table)
    made_of = repr((os.path.abspath(data.uri), data.version, files, columns, str(filter), list(kept.items())))
    home = tempfile.mkdtemp(prefix="penstock-lance-") if folder is None else os.fspath(folder)
    os.makedirs(home, exist_ok=True)
    path = os.path.join(home, f"{hashlib.blake2b(made_of.encode(), digest_size=16).hexdigest()}.lance")
    if not os.path.exists(path):
        _copy(table, path)
    chosen = {name: f"`{stored}`" for name, stored in kept.items()} if any(a != b for a, b in kept.items()) else None
    copied = LanceTable(path, chosen, as_=as_, conversion=conversion)
    copied.version = table.version
    copied.filtered = table.filtered  # samplers divide it as they would the source
    ids = count()
    copied.extents = [(next(ids) if start < stop else -1, start, stop) for _, start, stop in table.fragment_rows()]
    if folder is None:
        weakref.finalize(copied, shutil.rmtree, home, ignore_errors=True)
    return copied


def _kept_as(table: LanceTable) -> dict[str, str]:
    """Return what each column is called in the copy, where it may not have its own name: ``_rowid``, ``a.b``."""
    names = table.schema.names
    return {name: f"{_OTHERWISE}{i}" if name.startswith("_") or "." in name else name for i, name in enumerate(names)}


def _copy(table: LanceTable, path: str) -> None:
    """Write a table's rows to another data set, fragment by fragment; it is there whole or not at all."""
    import lance
    import pyarrow as pa

    making = f"{path}.{os.getpid()}"
    shutil.rmtree(making, ignore_errors=True)
    fields = [field.with_name(name) for field, name in zip(table.schema, _kept_as(table).values(), strict=True)]
    schema = pa.schema(fields, table.schema.metadata)

    def batches(start: int, stop: int) -> Iterator[Any]:
        while start < stop:
            batch = table.take_arrow(range(start, min(stop, start + max(1, table.rows_at_once))))
            yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)
            start += batch.num_rows

    for _, start, stop in table.fragment_rows():
        if start < stop or not os.path.exists(making):
            reader = pa.RecordBatchReader.from_batches(schema, batches(start, stop))
            with naming_lance(path):
                lance.write_dataset(reader, making, mode="append" if os.path.exists(making) else "create")
    try:
        os.rename(making, path)
    except OSError:  # another process was first
        shutil.rmtree(making)
