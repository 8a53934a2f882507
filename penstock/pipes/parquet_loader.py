"""ParquetDataFrameLoader (``load_parquet_as_df``)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from penstock.core.context import Context
from penstock.core.errors import DecodeError
from penstock.core.pipe import IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.pipes._nested import nested_parts
from penstock.pipes._streams import check_place
from penstock.pipes.handle import open_binary


@functional_datapipe("load_parquet_as_df")
class ParquetDataFrameLoader(IterDataPipe[Any]):
    """Read Parquet files: ``path`` becomes a table for each row group (functional name: ``load_parquet_as_df``).

    The tables are `pyarrow.Table`. torchdata made data frames of torcharrow, a package that is no longer maintained.

    Args:
        source_dp: the paths, local or fsspec URLs.
        dtype: a `pyarrow.Schema`, or a list of (name, type): these columns, in this order, cast to these types; as they
            are stored unless given.
        columns: read only these columns.
        device: "" or "cpu"; torchdata had nothing else, either.
        use_threads: let pyarrow decode columns in parallel.

    Raises:
        ValueError: another device.
        DecodeError: (when run) names the file that cannot be read.

    State: which row group comes next. Restoring reads the file's footer, and none of the groups ahead.

    Example:
        >>> import os, tempfile
        >>> import pyarrow, pyarrow.parquet
        >>> path = os.path.join(tempfile.mkdtemp(), "a.parquet")
        >>> pyarrow.parquet.write_table(pyarrow.table({"x": [1, 2, 3]}), path, row_group_size=2)
        >>> from penstock.pipes import IterableWrapper
        >>> [table.to_pydict() for table in IterableWrapper([path]).load_parquet_as_df()]
        [{'x': [1, 2]}, {'x': [3]}]
    """

    def __init__(
        self,
        source_dp: IterDataPipe[str],
        dtype: Any = None,
        columns: list[str] | None = None,
        device: str = "",
        use_threads: bool = False,
    ) -> None:
        source_dp = check_source(self, source_dp)
        check_device(device)
        self.source_dp = source_dp
        self.dtype = dtype
        self.columns = columns
        self.device = device
        self.use_threads = use_threads

    def build(self, ctx: Context, state: State = None) -> Stream[Any]:
        return nested_parts(self, self.source_dp, lambda path, place: _Part(self, path, place), ctx, state)


class _Part:
    """One file, being read."""

    def __init__(self, pipe: ParquetDataFrameLoader, path: Any, place: Any) -> None:
        if not isinstance(path, str):
            raise TypeError(f"a path, of type str, is expected, but got {type(path).__name__}")
        self._group = place or 0
        self.it = self._run(pipe, path)

    def tell(self) -> int:
        return int(self._group)

    def _run(self, pipe: ParquetDataFrameLoader, path: str) -> Iterator[Any]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        wanted = schema_of(pipe.dtype)
        columns = pipe.columns if pipe.columns is not None or wanted is None else wanted.names
        with open_binary(path, None) as file:
            try:
                parquet = pq.ParquetFile(file)
                check_place(path, self._group, parquet.num_row_groups)
                for group in range(self._group, parquet.num_row_groups):
                    table = parquet.read_row_group(group, columns=columns, use_threads=pipe.use_threads)
                    self._group += 1
                    yield table if wanted is None else table.select(wanted.names).cast(wanted)
            except pa.ArrowInvalid as error:
                raise DecodeError(f"{path}: row group {self._group}: {error}") from error


def check_device(device: str) -> None:
    """Raise ValueError unless tables are to be where pyarrow makes them."""
    if device not in ("", "cpu"):
        raise ValueError(f"device must be '' or 'cpu', got {device!r}: tables are made in memory")


def schema_of(dtype: Any) -> Any:
    """Return a `pyarrow.Schema` for one, or for a list of (name, type), where a type may be a name; None for None."""
    import pyarrow as pa

    if dtype is None or isinstance(dtype, pa.Schema):
        return dtype
    return pa.schema([(name, pa.type_for_alias(kind) if isinstance(kind, str) else kind) for name, kind in dtype])
