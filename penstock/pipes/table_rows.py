"""The rows of tables in files: ``read_feather``, ``read_excel``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from penstock.core.context import Context
from penstock.core.errors import DecodeError, MissingExtra
from penstock.core.pipe import IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.files.remote import opened
from penstock.pipes._nested import nested

__all__ = ["ExcelReader", "FeatherReader"]


class _Rows(IterDataPipe[dict[str, Any]]):
    source_datapipe: IterDataPipe[str]

    def build(self, ctx: Context, state: State = None) -> Stream[dict[str, Any]]:
        return nested(self, self.source_datapipe, self._rows, ctx, state)

    def _rows(self, url: str) -> Iterator[dict[str, Any]]:
        raise NotImplementedError


@functional_datapipe("read_feather")
class FeatherReader(_Rows):
    """Read Feather files: a path or URL becomes each row, as a dict (functional name: ``read_feather``).

    These are Arrow's IPC files.

    Args:
        source_datapipe: paths or URLs, of any kind that fsspec knows.
        columns: read only these.
        storage_options: fsspec's, for the connection.

    Raises:
        DecodeError: (when run) names the file that cannot be read.

    State: the row. Restoring reads the file up to it.

    Example:
        >>> import os, tempfile
        >>> import pyarrow, pyarrow.feather
        >>> path = os.path.join(tempfile.mkdtemp(), "a.feather")
        >>> pyarrow.feather.write_feather(pyarrow.table({"x": [1, 2]}), path)
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper([path]).read_feather())
        [{'x': 1}, {'x': 2}]
    """

    def __init__(
        self,
        source_datapipe: IterDataPipe[str],
        columns: list[str] | None = None,
        *,
        storage_options: dict[str, Any] | None = None,
    ) -> None:
        self.source_datapipe = check_source(self, source_datapipe)
        self.columns = columns
        self.storage_options = storage_options or {}

    def _rows(self, url: str) -> Iterator[dict[str, Any]]:
        import pyarrow as pa

        with opened(url, "rb", self.storage_options, {}) as file:
            try:
                reader = pa.ipc.open_file(file)
                for number in range(reader.num_record_batches):
                    batch = reader.get_batch(number)
                    yield from (batch if self.columns is None else batch.select(self.columns)).to_pylist()
            except (pa.ArrowException, ValueError, KeyError) as error:  # a ValueError: what is no UTF-8
                raise DecodeError(f"{url}: {error}") from error


@functional_datapipe("read_excel")
class ExcelReader(_Rows):
    """Read sheets of Excel files: a path or URL becomes each row, as a dict (functional name: ``read_excel``).

    The first row names the columns. An empty cell is None.

    Args:
        source_datapipe: paths or URLs, of any kind that fsspec knows.
        sheet: the name of the sheet; the first one unless given.
        storage_options: fsspec's, for the connection.

    Raises:
        MissingExtra: (when run) openpyxl is not installed: ``pip install 'penstock[excel]'``.
        DecodeError: (when run) names the file that cannot be read, or has no such sheet.

    State: the row. Restoring reads the sheet up to it.

    Example:
        >>> import os, tempfile
        >>> import openpyxl
        >>> book = openpyxl.Workbook()
        >>> for row in (["a", "b"], [1, "x"]):
        ...     book.active.append(row)
        >>> path = os.path.join(tempfile.mkdtemp(), "a.xlsx")
        >>> book.save(path)
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper([path]).read_excel())
        [{'a': 1, 'b': 'x'}]
    """

    def __init__(
        self,
        source_datapipe: IterDataPipe[str],
        sheet: str | None = None,
        *,
        storage_options: dict[str, Any] | None = None,
    ) -> None:
        self.source_datapipe = check_source(self, source_datapipe)
        self.sheet = sheet
        self.storage_options = storage_options or {}

    def _rows(self, url: str) -> Iterator[dict[str, Any]]:
        try:
            import openpyxl
        except ImportError:
            raise MissingExtra("reading Excel files needs openpyxl: pip install 'penstock[excel]'") from None
        from zipfile import BadZipFile

        with opened(url, "rb", self.storage_options, {}) as file:
            try:
                book = openpyxl.load_workbook(file, read_only=True, data_only=True)
                sheet = book.worksheets[0] if self.sheet is None else book[self.sheet]
            except (BadZipFile, KeyError, ValueError, OSError) as error:
                raise DecodeError(f"{url}: {error}") from error
            rows = sheet.iter_rows(values_only=True)
            names = next(rows, ())
            yield from (dict(zip(names, row, strict=True)) for row in rows)
