"""NpyReader (``read_npy``) and NpyRowLister (``list_npy_rows``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from penstock.core.pipe import IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.pipes._alike import Rows
from penstock.pipes._npy_rows import npy_opener
from penstock.pipes._span_pipes import SpanLister, SpanReader, check_batches, check_span
from penstock.pipes._table_columns import check_columns

__all__ = ["NpyReader", "NpyRowLister"]


@functional_datapipe("list_npy_rows")
class NpyRowLister(SpanLister):
    """List spans of arrays' rows: ``url`` becomes each ``(url, start, stop)`` (functional name: ``list_npy_rows``).

    A span of ``.npy`` or ``.npz`` files is what ``read_npy`` reads in one go. Between the two is the place to
    shuffle and to divide::

        urls.list_npy_rows().shuffle().sharding_filter().read_npy(batch_size=256).shuffle_rows(100_000)

    Only the files' heads are read.

    Args:
        source_datapipe: files, folders or dicts of files, as ``read_npy`` takes them.
        columns: the columns that will be read: others may be missing, or longer.
        span: how many rows a span has; unless given, those that 4 MiB hold, at most 65,536.
        storage_options: fsspec's, for the connection.

    Raises:
        ValueError: ``span`` is below 1; ``columns`` is empty or has a name twice.
        DecodeError: (when run) as with ``read_npy``.

    State: the index of the span, and the number of rows; another number on restoring is a StateError.

    Example:
        >>> import os, tempfile
        >>> import numpy as np
        >>> path = os.path.join(tempfile.mkdtemp(), "a.npy")
        >>> np.save(path, np.arange(5))
        >>> from penstock.pipes import IterableWrapper
        >>> [(start, stop) for url, start, stop in IterableWrapper([path]).list_npy_rows(span=2)]
        [(0, 2), (2, 4), (4, 5)]
    """

    def __init__(
        self,
        source_datapipe: IterDataPipe[Any],
        columns: Sequence[str] | None = None,
        *,
        span: int | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.source_datapipe = check_source(self, source_datapipe)
        self.columns = check_columns(columns)
        self.span = check_span(span)
        self.storage_options = dict(storage_options or {})

    def opener(self) -> Callable[[Any], tuple[Any, Rows]]:
        return npy_opener(self.columns, None, self.span, self.storage_options)


@functional_datapipe("read_npy")
class NpyReader(SpanReader):
    """Read ``.npy`` and ``.npz`` files: ``url`` becomes batches of columns (functional name: ``read_npy``).

    A batch is a dict of numpy arrays or tensors, as of ``read_parquet``: what lies at one index of the first axis is a
    row. The source gives, for each table,

    - a ``.npy`` file: one column; if the array has fields, a column each;
    - a ``.npz`` file: a column for each array in it;
    - a folder: a column for each ``.npy`` file in it;
    - a dict, as ``{"x": "x.npy", "y": "y.npy"}``: the file of each column;

    or the spans of one of these, by ``list_npy_rows``. Rows are read where they lie, with one request for each column
    and span. What is compressed, or lies in Fortran order and not on a local disk, is read whole, and kept while its
    table is the one that is being read.

    Args:
        source_datapipe: paths or URLs, of any kind that fsspec knows, dicts of them, or spans: ``(url, start, stop)``.
        columns: read only these, and give them in this order; all unless given.
        batch_size: rows per batch, fewer at the end of a span; unless given, those of a span.
        as_: ``numpy`` or ``torch``. Arrays and tensors can be written into.
        column: the name of the column that one array becomes; unless given, its file's name, without the end: that of
            the first file, where a list of them is read.
        span: how many rows are read in one go, as ``list_npy_rows`` says unless given.
        storage_options: fsspec's, for the connection.

    Raises:
        ValueError: ``batch_size`` or ``span`` is below 1; ``columns`` is empty or has a name twice; no such form.
        DecodeError: (when run) names the file, the array, and what is wrong: it is empty or was cut, no such file, its
            head makes no sense, columns of different lengths, a column that is missing or has another type or shape
            than in the first table, Python objects (nothing is unpickled). Where bad samples are skipped, such a file
            or span counts as one.

    State: the row. Restoring reads its span again, and nothing else.

    Example:
        >>> import os, tempfile
        >>> import numpy as np
        >>> folder = tempfile.mkdtemp()
        >>> files = {"x": os.path.join(folder, "x.npy"), "y": os.path.join(folder, "y.npy")}
        >>> np.save(files["x"], np.arange(3))
        >>> np.save(files["y"], np.eye(3)[:, :2])
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper([files]).read_npy(["x"], batch_size=2, as_="torch"))
        [{'x': tensor([0, 1])}, {'x': tensor([2])}]
        >>> [batch["y"].shape for batch in IterableWrapper([folder]).read_npy()]
        [(3, 2)]
    """

    def __init__(
        self,
        source_datapipe: IterDataPipe[Any],
        columns: Sequence[str] | None = None,
        *,
        batch_size: int | None = None,
        as_: Literal["numpy", "torch"] = "numpy",
        column: str | None = None,
        span: int | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.source_datapipe = check_source(self, source_datapipe)
        self.columns = check_columns(columns)
        check_batches(batch_size, as_)
        self.batch_size = batch_size
        self.as_ = as_
        self.column = column
        self.span = check_span(span)
        self.storage_options = dict(storage_options or {})

    def opener(self) -> Callable[[Any], tuple[Any, Rows]]:
        return npy_opener(self.columns, self.column, self.span, self.storage_options)
