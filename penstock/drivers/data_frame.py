"""Tables as data frames: CsvDriver, ParquetDriver, FeatherDriver, ExcelDriver."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any, ClassVar, Literal

from penstock.core.errors import MissingExtra
from penstock.drivers.base import IterDriver, UrlDriver
from penstock.iterstream.base import Composable
from penstock.iterstream.source import IterableSource

__all__ = ["ENGINE", "CsvDriver", "DataFrameDriver", "ExcelDriver", "FeatherDriver", "ParquetDriver"]

ENGINE = Literal["pandas", "dask"]
_MODULES = {"pandas": "pandas", "dask": "dask.dataframe"}


class DataFrameDriver(UrlDriver, IterDriver):
    """Reads a table as a data frame, and streams its rows. The formats are classes of their own.

    Args:
        url: the file: a local path, or a URL that fsspec knows.
        storage_options: fsspec's, for the connection.
        engine: ``pandas``, or ``dask`` where it reads the format.
        df_hooks: functions that get the frame, and return another one.
        read_kwargs: of the engine's reading function.
        catalog: that which made it, if one did.
        **kwargs: not looked at.

    Raises:
        ValueError: the engine does not read the format.
    """

    engines: ClassVar[tuple[str, ...]] = ("pandas", "dask")
    _read: ClassVar[str]

    def __init__(
        self,
        url: str,
        storage_options: dict[str, Any] | None = None,
        engine: ENGINE = "pandas",
        df_hooks: Sequence[Callable[[Any], Any]] | None = None,
        read_kwargs: dict[str, Any] | None = None,
        catalog: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(url, storage_options, catalog)
        if engine not in self.engines:
            raise ValueError(
                f"engine of {type(self).__name__} must be one of {', '.join(self.engines)}, got {engine!r}"
            )
        self.engine = engine
        self.df_hooks = list(df_hooks or ())
        self.read_kwargs = read_kwargs or {}

    def get_df(self, **read_kwargs: Any) -> Any:
        """Return the table as a data frame, once it has gone through the hooks.

        Args:
            **read_kwargs: of the engine's reading function; they win over the driver's own.

        Raises:
            MissingExtra: the engine, or what it needs for the format, is not installed.
        """
        options = {**self.read_kwargs, **read_kwargs}
        if self.storage_options:
            options.setdefault("storage_options", self.storage_options)
        try:
            frame = getattr(import_module(_MODULES[self.engine]), self._read)(self.url, **options)
        except ImportError as error:
            raise MissingExtra(f"{self.url}: {error}: pip install 'penstock[{self.engine}]'") from error
        for hook in self.df_hooks:
            frame = hook(frame)
        return frame

    def get_iter(
        self, itertuples_kwargs: dict[str, Any] | None = None, read_kwargs: dict[str, Any] | None = None
    ) -> Composable[Any]:
        """Return a stream of the rows, as namedtuples. The table is read when it is iterated over, each time.

        Args:
            itertuples_kwargs: of the frame's ``itertuples``: ``index``, ``name``.
            read_kwargs: see `get_df`.
        """
        return IterableSource(functools.partial(self._rows, itertuples_kwargs or {}, read_kwargs or {}))

    def _rows(self, itertuples_kwargs: dict[str, Any], read_kwargs: dict[str, Any]) -> Iterator[Any]:
        rows: Iterator[Any] = self.get_df(**read_kwargs).itertuples(**itertuples_kwargs)
        return rows


class CsvDriver(DataFrameDriver):
    r"""Reads a CSV file as a data frame.

    Example:
        >>> import fsspec
        >>> fsspec.filesystem("memory").pipe("/table.csv", b"a,b\n1,2\n")
        >>> CsvDriver("memory://table.csv").get_iter().map(lambda row: row.b).collect()
        [2]
    """

    name = "csv"
    _read = "read_csv"


class ParquetDriver(DataFrameDriver):
    """Reads a Parquet file as a data frame."""

    name = "parquet"
    _read = "read_parquet"


class FeatherDriver(DataFrameDriver):
    """Reads a Feather file as a data frame."""

    name = "feather"
    engines = ("pandas",)
    _read = "read_feather"


class ExcelDriver(DataFrameDriver):
    """Reads a sheet of an Excel file as a data frame."""

    name = "excel"
    engines = ("pandas",)
    _read = "read_excel"
