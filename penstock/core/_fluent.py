"""The functional API: every built-in pipe as a method.

Made by ``make fluent`` (tools/gen_fluent.py); do not edit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from penstock.core.chunk import DataChunk
from penstock.core.metrics import MetricsConf

if TYPE_CHECKING:
    from collections import defaultdict
    from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence

    import numpy as np

    from penstock.core.pipe import IterDataPipe, MapDataPipe
    from penstock.pipes._agreement import Policy
    from penstock.pipes._columns import Columns
    from penstock.pipes._condition import Condition
    from penstock.pipes.handle import StreamWrapper
    from penstock.pipes.sharding import SHARDING_PRIORITIES
    from penstock.serialization.columns import Conversion

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
U = TypeVar("U")


class IterFluent(Generic[T_co]):
    """The functional API of IterDataPipes."""

    if TYPE_CHECKING:

        def _make(self, function: str, name: str | None, *args: Any, **kwargs: Any) -> Any: ...

    def add_index(self, index_name: str = "index", *, name: str | None = None) -> IterDataPipe[dict[Any, Any]]:
        """Number dict items: ``{...}`` becomes ``{..., "index": i}`` (functional name: ``add_index``).

        See `penstock.pipes.index_adder.IndexAdder`.
        """
        made: IterDataPipe[dict[Any, Any]] = self._make("add_index", name, index_name)
        return made

    def async_map(
        self,
        fn: Callable[[Any], U],
        buffer: int = 100,
        max_workers: int | None = None,
        executor: Literal["threads", "processes"] | Callable[[], Any] | Any = None,
        *,
        ordered: bool = True,
        name: str | None = None,
    ) -> IterDataPipe[U]:
        """Apply a function in an executor: ``x`` becomes ``fn(x)`` (functional name: ``async_map``).

        See `penstock.pipes.executor_mapper.ExecutorMapper`.
        """
        made: IterDataPipe[U] = self._make("async_map", name, fn, buffer, max_workers, executor, ordered=ordered)
        return made

    def async_map_batches(
        self,
        async_fn: Callable[..., Any],
        batch_size: int,
        input_col: Columns | None = None,
        output_col: Columns | None = None,
        max_concurrency: int = 32,
        flatten: bool = True,
        *,
        name: str | None = None,
    ) -> IterDataPipe[Any]:
        """Await a coroutine function for every item of a batch at once (functional name: ``async_map_batches``).

        See `penstock.pipes.async_mapper.BatchAsyncMapper`.
        """
        made: IterDataPipe[Any] = self._make(
            "async_map_batches", name, async_fn, batch_size, input_col, output_col, max_concurrency, flatten
        )
        return made

    def batch(
        self,
        batch_size: int,
        drop_last: bool = False,
        wrapper_class: Callable[[Any], Any] = DataChunk,
        *,
        name: str | None = None,
    ) -> IterDataPipe[DataChunk[T_co]]:
        """Gather items into lists of ``batch_size`` (functional name: ``batch``).

        See `penstock.pipes.batcher.Batcher`.
        """
        made: IterDataPipe[DataChunk[T_co]] = self._make("batch", name, batch_size, drop_last, wrapper_class)
        return made

    def bucketbatch(
        self,
        batch_size: int,
        drop_last: bool = False,
        batch_num: int = 100,
        bucket_num: int = 1,
        sort_key: Callable[[list[Any]], Iterable[Any]] | None = None,
        use_in_batch_shuffle: bool = True,
        *,
        name: str | None = None,
    ) -> IterDataPipe[DataChunk[T_co]]:
        """Gather similar items into lists of ``batch_size`` (functional name: ``bucketbatch``).

        See `penstock.pipes.bucket_batcher.BucketBatcher`.
        """
        made: IterDataPipe[DataChunk[T_co]] = self._make(
            "bucketbatch", name, batch_size, drop_last, batch_num, bucket_num, sort_key, use_in_batch_shuffle
        )
        return made

    def check_hash(
        self, hash_dict: dict[str, str], hash_type: str = "sha256", rewind: bool = True, *, name: str | None = None
    ) -> IterDataPipe[T_co]:
        """Check what files contain: ``(path, data)`` passes if its hash is right (functional name: ``check_hash``).

        See `penstock.pipes.hash_checker.HashChecker`.
        """
        made: IterDataPipe[T_co] = self._make("check_hash", name, hash_dict, hash_type, rewind)
        return made

    def collate(
        self,
        conversion: Callable[[list[Any]], Any] | None = None,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        *,
        name: str | None = None,
    ) -> IterDataPipe[Any]:
        """Make each batch, a list of samples, one sample of tensors (functional name: ``collate``).

        See `penstock.pipes.collator.Collator`.
        """
        made: IterDataPipe[Any] = self._make("collate", name, conversion, collate_fn)
        return made

    def concat(self, *datapipes: IterDataPipe[T_co], name: str | None = None) -> IterDataPipe[T_co]:
        """Read several pipes one after the other (functional name: ``concat``).

        See `penstock.pipes.combining.Concater`.
        """
        made: IterDataPipe[T_co] = self._make("concat", name, *datapipes)
        return made

    def cycle(self, count: int | None = None, *, name: str | None = None) -> IterDataPipe[T_co]:
        """Run through the source again and again (functional name: ``cycle``). Each pass shuffles anew.

        See `penstock.pipes.cycler.Cycler`.
        """
        made: IterDataPipe[T_co] = self._make("cycle", name, count)
        return made

    def dataframe(
        self,
        dataframe_size: int = 1000,
        dtype: Any = None,
        dtype_generator: Callable[[], Any] | None = None,
        columns: list[str] | None = None,
        device: str = "",
        *,
        name: str | None = None,
    ) -> IterDataPipe[Any]:
        """Gather rows into tables: items become a `pyarrow.Table` for each batch of them (functional name: ``dataframe``).

        See `penstock.pipes.dataframe_maker.DataFrameMaker`.
        """
        made: IterDataPipe[Any] = self._make("dataframe", name, dataframe_size, dtype, dtype_generator, columns, device)
        return made

    def decompress(self, file_type: str | None = None, *, name: str | None = None) -> IterDataPipe[tuple[str, Any]]:
        """Decompress files: ``(path, stream)`` becomes ``(path, decompressed stream)`` (functional name: ``decompress``).

        See `penstock.pipes.decompressor.Decompressor`.
        """
        made: IterDataPipe[tuple[str, Any]] = self._make("decompress", name, file_type)
        return made

    def demux(
        self,
        num_instances: int,
        classifier_fn: Callable[[T_co], int | None],
        drop_none: bool = False,
        buffer_size: int = 1000,
        *,
        name: str | None = None,
    ) -> list[IterDataPipe[T_co]]:
        """Deal items out by class: one pipe becomes a list of them (functional name: ``demux``).

        See `penstock.pipes.demux.Demultiplexer`.
        """
        made: list[IterDataPipe[T_co]] = self._make("demux", name, num_instances, classifier_fn, drop_none, buffer_size)
        return made

    def drop(self, indices: Hashable | list[Hashable], *, name: str | None = None) -> IterDataPipe[Any]:
        """Leave out columns of tuple, list or dict items (functional name: ``drop``).

        See `penstock.pipes.selecting.Dropper`.
        """
        made: IterDataPipe[Any] = self._make("drop", name, indices)
        return made

    def end_caching(
        self,
        mode: str = "wb",
        filepath_fn: Callable[[Any], Any] | None = None,
        *,
        same_filepath_fn: bool = False,
        skip_read: bool = False,
        timeout: float = 300,
        name: str | None = None,
    ) -> IterDataPipe[str]:
        """End a section that began with ``on_disk_cache``: yields the paths of files (functional name: ``end_caching``).

        See `penstock.pipes.disk_cache.EndOnDiskCacheHolder`.
        """
        made: IterDataPipe[str] = self._make(
            "end_caching",
            name,
            mode,
            filepath_fn,
            same_filepath_fn=same_filepath_fn,
            skip_read=skip_read,
            timeout=timeout,
        )
        return made

    def enumerate(self, starting_index: int = 0, *, name: str | None = None) -> IterDataPipe[tuple[int, T_co]]:
        """Number the items: ``x`` becomes ``(i, x)`` (functional name: ``enumerate``).

        See `penstock.pipes.enumerator.Enumerator`.
        """
        made: IterDataPipe[tuple[int, T_co]] = self._make("enumerate", name, starting_index)
        return made

    def extract(self, file_type: str | None = None, *, name: str | None = None) -> IterDataPipe[tuple[str, Any]]:
        """The old name of `Decompressor` (functional name: ``extract``).

        See `penstock.pipes.decompressor.Extractor`.
        """
        made: IterDataPipe[tuple[str, Any]] = self._make("extract", name, file_type)
        return made

    @overload
    def filter(self, filter_fn: Callable[[T_co], Any], *, name: str | None = None) -> IterDataPipe[T_co]: ...
    @overload
    def filter(
        self, filter_fn: Callable[..., Any], input_col: Columns | None, *, name: str | None = None
    ) -> IterDataPipe[T_co]: ...
    def filter(
        self, filter_fn: Callable[..., Any], input_col: Columns | None = None, *, name: str | None = None
    ) -> IterDataPipe[T_co]:
        """Keep the items for which a function is true (functional name: ``filter``).

        See `penstock.pipes.filter.Filter`.
        """
        made: IterDataPipe[T_co] = self._make("filter", name, filter_fn, input_col)
        return made

    def filter_rows(self, condition: Condition | Callable[[Any], Any], *, name: str | None = None) -> IterDataPipe[Any]:
        """Keep the rows of batches of columns for which a condition holds (functional name: ``filter_rows``).

        See `penstock.pipes.row_filter.RowFilter`.
        """
        made: IterDataPipe[Any] = self._make("filter_rows", name, condition)
        return made

    def flatmap(
        self,
        fn: Callable[[T_co], Iterable[U]] | None = None,
        input_col: Hashable | list[Hashable] | tuple[Hashable, ...] | None = None,
        *,
        name: str | None = None,
    ) -> IterDataPipe[U]:
        """Turn each item into any number of items: those of ``fn(x)`` (functional name: ``flatmap``).

        See `penstock.pipes.flatmap.FlatMapper`.
        """
        made: IterDataPipe[U] = self._make("flatmap", name, fn, input_col)
        return made

    def flatten(
        self, indices: Hashable | list[Hashable] | None = None, *, name: str | None = None
    ) -> IterDataPipe[Any]:
        """Put the items of inner tuples, lists and dicts in place of them, one level deep (functional name: ``flatten``).

        See `penstock.pipes.selecting.Flattener`.
        """
        made: IterDataPipe[Any] = self._make("flatten", name, indices)
        return made

    def fork(
        self, num_instances: int, buffer_size: int = 1000, copy: str | None = None, *, name: str | None = None
    ) -> list[IterDataPipe[T_co]]:
        """Give every item to each of several pipes: one pipe becomes a list of them (functional name: ``fork``).

        See `penstock.pipes.forker.Forker`.
        """
        made: list[IterDataPipe[T_co]] = self._make("fork", name, num_instances, buffer_size, copy)
        return made

    def fullsync(
        self, timeout: float = 1800, *, policy: Policy = "shortest", name: str | None = None
    ) -> IterDataPipe[T_co]:
        """Yield the same number of items on every rank (functional name: ``fullsync``).

        See `penstock.pipes.full_sync.FullSync`.
        """
        made: IterDataPipe[T_co] = self._make("fullsync", name, timeout, policy=policy)
        return made

    def groupby(
        self,
        group_key_fn: Callable[[T_co], Any],
        *,
        keep_key: bool = False,
        buffer_size: int = 10000,
        group_size: int | None = None,
        guaranteed_group_size: int | None = None,
        drop_remaining: bool = False,
        name: str | None = None,
    ) -> IterDataPipe[Any]:
        """Gather items that have the same key into lists (functional name: ``groupby``).

        See `penstock.pipes.grouper.Grouper`.
        """
        made: IterDataPipe[Any] = self._make(
            "groupby",
            name,
            group_key_fn,
            keep_key=keep_key,
            buffer_size=buffer_size,
            group_size=group_size,
            guaranteed_group_size=guaranteed_group_size,
            drop_remaining=drop_remaining,
        )
        return made

    def header(self, limit: int | None = 10, *, name: str | None = None) -> IterDataPipe[T_co]:
        """Yield the first ``limit`` items, and read none beyond them (functional name: ``header``).

        See `penstock.pipes.header.Header`.
        """
        made: IterDataPipe[T_co] = self._make("header", name, limit)
        return made

    def in_batch_shuffle(self, *, name: str | None = None) -> IterDataPipe[DataChunk[T_co]]:
        """Put the items of each batch into a random order (functional name: ``in_batch_shuffle``).

        See `penstock.pipes.in_batch_shuffler.InBatchShuffler`.
        """
        made: IterDataPipe[DataChunk[T_co]] = self._make("in_batch_shuffle", name)
        return made

    def in_memory_cache(self, size: float | None = None, *, name: str | None = None) -> IterDataPipe[T_co]:
        """Keep items in memory in the first epoch, and repeat them in later ones (functional name: ``in_memory_cache``).

        See `penstock.pipes.memory_cache.InMemoryCacheHolder`.
        """
        made: IterDataPipe[T_co] = self._make("in_memory_cache", name, size)
        return made

    def lines_to_paragraphs(
        self, joiner: Callable[[list[Any]], Any] = "\n".join, *, name: str | None = None
    ) -> IterDataPipe[tuple[str, Any]]:
        """Join ``(file, line)`` items into ``(file, paragraph)`` items (functional name: ``lines_to_paragraphs``).

        See `penstock.pipes.paragraphs.ParagraphAggregator`.
        """
        made: IterDataPipe[tuple[str, Any]] = self._make("lines_to_paragraphs", name, joiner)
        return made

    def list_files(
        self,
        masks: str | Sequence[str] = "",
        *,
        recursive: bool = False,
        abspath: bool = False,
        non_deterministic: bool = False,
        length: int = -1,
        name: str | None = None,
    ) -> IterDataPipe[str]:
        """List the files of folders: ``folder`` becomes its files' paths (functional name: ``list_files``).

        See `penstock.pipes.lister.FileLister`.
        """
        made: IterDataPipe[str] = self._make(
            "list_files",
            name,
            masks,
            recursive=recursive,
            abspath=abspath,
            non_deterministic=non_deterministic,
            length=length,
        )
        return made

    def list_files_by_ais(
        self, url: str, length: int = -1, *, name: str | None = None, **kwargs: Any
    ) -> IterDataPipe[str]:
        """List objects in AIStore: a URL's prefix becomes the URLs that begin so (functional name: ``list_files_by_ais``).

        See `penstock.pipes.object_stores.AISFileLister`.
        """
        made: IterDataPipe[str] = self._make("list_files_by_ais", name, url, length, **kwargs)
        return made

    def list_files_by_fsspec(
        self, masks: str | Sequence[str] = "", *, name: str | None = None, **kwargs: Any
    ) -> IterDataPipe[str]:
        """List the files of a remote folder: ``url`` becomes its files' URLs (functional name: ``list_files_by_fsspec``).

        See `penstock.pipes.fsspec_files.FSSpecFileLister`.
        """
        made: IterDataPipe[str] = self._make("list_files_by_fsspec", name, masks, **kwargs)
        return made

    def list_files_by_iopath(
        self, masks: str | Sequence[str] = "", *, pathmgr: None = None, name: str | None = None
    ) -> IterDataPipe[str]:
        """List the files of a folder: a path or URL becomes its files' (functional name: ``list_files_by_iopath``).

        See `penstock.pipes.iopath_files.IoPathFileLister`.
        """
        made: IterDataPipe[str] = self._make("list_files_by_iopath", name, masks, pathmgr=pathmgr)
        return made

    def list_files_by_s3(
        self,
        length: int = -1,
        request_timeout_ms: int = -1,
        region: str = "",
        *,
        name: str | None = None,
        **kwargs: Any,
    ) -> IterDataPipe[str]:
        """List objects in S3: a URL's prefix becomes the URLs that begin so (functional name: ``list_files_by_s3``).

        See `penstock.pipes.object_stores.S3FileLister`.
        """
        made: IterDataPipe[str] = self._make("list_files_by_s3", name, length, request_timeout_ms, region, **kwargs)
        return made

    def list_fragments(
        self,
        groups: int = 1,
        *,
        version: int | str | None = None,
        storage_options: dict[str, Any] | None = None,
        name: str | None = None,
    ) -> IterDataPipe[tuple[str, int, int]]:
        """List fragments of Lance data sets: ``uri`` becomes ``(uri, first, stop)`` (functional name: ``list_fragments``).

        See `penstock.pipes.lance_reader.FragmentLister`.
        """
        made: IterDataPipe[tuple[str, int, int]] = self._make(
            "list_fragments", name, groups, version=version, storage_options=storage_options
        )
        return made

    def list_npy_rows(
        self,
        columns: Sequence[str] | None = None,
        *,
        span: int | None = None,
        storage_options: Mapping[str, Any] | None = None,
        name: str | None = None,
    ) -> IterDataPipe[T_co]:
        """List spans of arrays' rows: ``url`` becomes each ``(url, start, stop)`` (functional name: ``list_npy_rows``).

        See `penstock.pipes.npy_reader.NpyRowLister`.
        """
        made: IterDataPipe[T_co] = self._make(
            "list_npy_rows", name, columns, span=span, storage_options=storage_options
        )
        return made

    def list_record_batches(
        self, groups: int = 1, *, storage_options: dict[str, Any] | None = None, name: str | None = None
    ) -> IterDataPipe[tuple[str, int, int]]:
        """List record batches: ``url`` becomes each ``(url, first, stop)`` (functional name: ``list_record_batches``).

        See `penstock.pipes.arrow_reader.RecordBatchLister`.
        """
        made: IterDataPipe[tuple[str, int, int]] = self._make(
            "list_record_batches", name, groups, storage_options=storage_options
        )
        return made

    def list_row_groups(
        self,
        groups: int = 1,
        *,
        filter: Condition | None = None,
        storage_options: dict[str, Any] | None = None,
        name: str | None = None,
    ) -> IterDataPipe[tuple[str, int, int]]:
        """List Parquet's row groups: ``url`` becomes each ``(url, first, stop)`` (functional name: ``list_row_groups``).

        See `penstock.pipes.parquet_reader.RowGroupLister`.
        """
        made: IterDataPipe[tuple[str, int, int]] = self._make(
            "list_row_groups", name, groups, filter=filter, storage_options=storage_options
        )
        return made

    def list_zarr_chunks(
        self,
        arrays: Sequence[str] | None = None,
        *,
        span: int | None = None,
        storage_options: Mapping[str, Any] | None = None,
        name: str | None = None,
    ) -> IterDataPipe[T_co]:
        """List zarr's chunks: ``url`` becomes ``(url, start, stop)`` for each (functional name: ``list_zarr_chunks``).

        See `penstock.pipes.zarr_chunk_lister.ZarrChunkLister`.
        """
        made: IterDataPipe[T_co] = self._make(
            "list_zarr_chunks", name, arrays, span=span, storage_options=storage_options
        )
        return made

    def load_files_by_ais(
        self, url: str, length: int = -1, *, name: str | None = None, **kwargs: Any
    ) -> IterDataPipe[tuple[str, Any]]:
        """Open objects in AIStore: ``url`` becomes ``(url, binary stream)`` (functional name: ``load_files_by_ais``).

        See `penstock.pipes.object_stores.AISFileLoader`.
        """
        made: IterDataPipe[tuple[str, Any]] = self._make("load_files_by_ais", name, url, length, **kwargs)
        return made

    def load_files_by_s3(
        self,
        request_timeout_ms: int = -1,
        region: str = "",
        buffer_size: int | None = None,
        multi_part_download: bool | None = None,
        *,
        name: str | None = None,
        **kwargs: Any,
    ) -> IterDataPipe[tuple[str, Any]]:
        """Open objects in S3: ``url`` becomes ``(url, binary stream)`` (functional name: ``load_files_by_s3``).

        See `penstock.pipes.object_stores.S3FileLoader`.
        """
        made: IterDataPipe[tuple[str, Any]] = self._make(
            "load_files_by_s3", name, request_timeout_ms, region, buffer_size, multi_part_download, **kwargs
        )
        return made

    def load_from_bz2(self, length: int = -1, *, name: str | None = None) -> IterDataPipe[tuple[str, Any]]:
        """Decompress bz2 files: ``("a.bz2", stream)`` becomes ``("a", stream)`` (functional name: ``load_from_bz2``).

        See `penstock.pipes.decompressor.Bz2FileLoader`.
        """
        made: IterDataPipe[tuple[str, Any]] = self._make("load_from_bz2", name, length)
        return made

    def load_from_rar(self, *, length: int = -1, name: str | None = None) -> IterDataPipe[tuple[str, Any]]:
        """Read rar archives: ``(path, stream)`` becomes one pair for each file inside (functional name: ``load_from_rar``).

        See `penstock.pipes.rar_loader.RarArchiveLoader`.
        """
        made: IterDataPipe[tuple[str, Any]] = self._make("load_from_rar", name, length=length)
        return made

    def load_from_tar(
        self, mode: str = "r:*", length: int = -1, *, name: str | None = None
    ) -> IterDataPipe[tuple[str, Any]]:
        """Read tar archives: ``(path, stream)`` becomes one pair for each file inside (functional name: ``load_from_tar``).

        See `penstock.pipes.tar_loader.TarArchiveLoader`.
        """
        made: IterDataPipe[tuple[str, Any]] = self._make("load_from_tar", name, mode, length)
        return made

    def load_from_tfrecord(
        self, spec: dict[str, Any] | None = None, length: int = -1, *, name: str | None = None
    ) -> IterDataPipe[dict[str, Any]]:
        """Read TFRecord files: ``(path, stream)`` becomes a dict per example (functional name: ``load_from_tfrecord``).

        See `penstock.pipes.tfrecord_loader.TFRecordLoader`.
        """
        made: IterDataPipe[dict[str, Any]] = self._make("load_from_tfrecord", name, spec, length)
        return made

    def load_from_xz(self, length: int = -1, *, name: str | None = None) -> IterDataPipe[tuple[str, Any]]:
        """Decompress xz files: ``("a.xz", stream)`` becomes ``("a", stream)`` (functional name: ``load_from_xz``).

        See `penstock.pipes.decompressor.XzFileLoader`.
        """
        made: IterDataPipe[tuple[str, Any]] = self._make("load_from_xz", name, length)
        return made

    def load_from_zip(self, length: int = -1, *, name: str | None = None) -> IterDataPipe[tuple[str, Any]]:
        """Read zip archives: ``(path, stream)`` becomes one pair for each file inside (functional name: ``load_from_zip``).

        See `penstock.pipes.zip_loader.ZipArchiveLoader`.
        """
        made: IterDataPipe[tuple[str, Any]] = self._make("load_from_zip", name, length)
        return made

    def load_parquet_as_df(
        self,
        dtype: Any = None,
        columns: list[str] | None = None,
        device: str = "",
        use_threads: bool = False,
        *,
        name: str | None = None,
    ) -> IterDataPipe[Any]:
        """Read Parquet files: ``path`` becomes a table for each row group (functional name: ``load_parquet_as_df``).

        See `penstock.pipes.parquet_loader.ParquetDataFrameLoader`.
        """
        made: IterDataPipe[Any] = self._make("load_parquet_as_df", name, dtype, columns, device, use_threads)
        return made

    @overload
    def map(self, fn: Callable[[T_co], U], *, name: str | None = None) -> IterDataPipe[U]: ...
    @overload
    def map(
        self,
        fn: Callable[..., Any],
        input_col: Columns | None,
        output_col: Columns | None = None,
        *,
        name: str | None = None,
    ) -> IterDataPipe[Any]: ...
    def map(
        self,
        fn: Callable[..., Any],
        input_col: Columns | None = None,
        output_col: Columns | None = None,
        *,
        name: str | None = None,
    ) -> IterDataPipe[U]:
        """Apply a function to every item: ``x`` becomes ``fn(x)`` (functional name: ``map``).

        See `penstock.pipes.mapper.Mapper`.
        """
        made: IterDataPipe[U] = self._make("map", name, fn, input_col, output_col)
        return made

    def map_batches(
        self,
        fn: Callable[[Any], Any],
        batch_size: int | None = None,
        input_col: Columns | None = None,
        *,
        name: str | None = None,
    ) -> IterDataPipe[Any]:
        """Call ``fn`` with each batch: of columns, or of ``batch_size`` items (functional name: ``map_batches``).

        See `penstock.pipes.batch_mapper.BatchMapper`.
        """
        made: IterDataPipe[Any] = self._make("map_batches", name, fn, batch_size, input_col)
        return made

    def max_token_bucketize(
        self,
        max_token_count: int,
        len_fn: Callable[..., int] = len,
        min_len: int = 0,
        max_len: int | None = None,
        buffer_size: int = 1000,
        include_padding: bool = False,
        *,
        name: str | None = None,
    ) -> IterDataPipe[DataChunk[T_co]]:
        """Gather items into lists of limited total length, shortest first (functional name: ``max_token_bucketize``).

        See `penstock.pipes.bucketizer.MaxTokenBucketizer`.
        """
        made: IterDataPipe[DataChunk[T_co]] = self._make(
            "max_token_bucketize", name, max_token_count, len_fn, min_len, max_len, buffer_size, include_padding
        )
        return made

    def monitor(
        self,
        callback: Callable[..., object],
        prefix: str | None = None,
        metrics_conf: MetricsConf | type[MetricsConf] = MetricsConf,
        window_size: int = 5,
        *,
        every_s: float | None = None,
        gather: bool = True,
        name: str | None = None,
        **kw: Any,
    ) -> IterDataPipe[T_co]:
        """Pass the items on, and report how many pass in a second (functional name: ``monitor``).

        See `penstock.pipes.monitor.Monitor`.
        """
        made: IterDataPipe[T_co] = self._make(
            "monitor", name, callback, prefix, metrics_conf, window_size, every_s=every_s, gather=gather, **kw
        )
        return made

    def mux(self, *datapipes: IterDataPipe[T_co], name: str | None = None) -> IterDataPipe[T_co]:
        """Yield one item of each pipe in turn, until the first one ends (functional name: ``mux``).

        See `penstock.pipes.multiplexer.Multiplexer`.
        """
        made: IterDataPipe[T_co] = self._make("mux", name, *datapipes)
        return made

    def mux_longest(self, *datapipes: IterDataPipe[T_co], name: str | None = None) -> IterDataPipe[T_co]:
        """Yield one item of each pipe in turn, passing over those that have ended (functional name: ``mux_longest``).

        See `penstock.pipes.multiplexer.MultiplexerLongest`.
        """
        made: IterDataPipe[T_co] = self._make("mux_longest", name, *datapipes)
        return made

    def numba_map(self, fn: Callable[[Any], U], *, name: str | None = None) -> IterDataPipe[U]:
        """Apply a function in a loop that numba compiles: ``x`` becomes ``fn(x)`` (functional name: ``numba_map``).

        See `penstock.pipes.numba_mapper.NumbaMapper`.
        """
        made: IterDataPipe[U] = self._make("numba_map", name, fn)
        return made

    def on_disk_cache(
        self,
        filepath_fn: Callable[[Any], Any] | None = None,
        hash_dict: Mapping[str, str] | None = None,
        hash_type: str = "sha256",
        extra_check_fn: Callable[[str], bool] | None = None,
        *,
        name: str | None = None,
    ) -> IterDataPipe[T_co]:
        """Begin a section whose results are kept in files, up to ``end_caching`` (functional name: ``on_disk_cache``).

        See `penstock.pipes.disk_cache.OnDiskCacheHolder`.
        """
        made: IterDataPipe[T_co] = self._make("on_disk_cache", name, filepath_fn, hash_dict, hash_type, extra_check_fn)
        return made

    def open_files(
        self,
        mode: str = "r",
        encoding: str | None = None,
        length: int = -1,
        *,
        compression: str | None = "infer",
        name: str | None = None,
    ) -> IterDataPipe[tuple[str, StreamWrapper]]:
        """Open files: ``path`` becomes ``(path, handle)`` (functional name: ``open_files``).

        See `penstock.pipes.opener.FileOpener`.
        """
        made: IterDataPipe[tuple[str, StreamWrapper]] = self._make(
            "open_files", name, mode, encoding, length, compression=compression
        )
        return made

    def open_files_by_fsspec(
        self, mode: str = "r", *, kwargs_for_open: dict[str, Any] | None = None, name: str | None = None, **kwargs: Any
    ) -> IterDataPipe[tuple[str, Any]]:
        """Open remote files: ``url`` becomes ``(url, stream)`` (functional name: ``open_files_by_fsspec``).

        See `penstock.pipes.fsspec_files.FSSpecFileOpener`.
        """
        made: IterDataPipe[tuple[str, Any]] = self._make(
            "open_files_by_fsspec", name, mode, kwargs_for_open=kwargs_for_open, **kwargs
        )
        return made

    def open_files_by_iopath(
        self, mode: str = "r", pathmgr: None = None, *, name: str | None = None
    ) -> IterDataPipe[tuple[str, Any]]:
        """Open files: a path or URL becomes ``(path, stream)`` (functional name: ``open_files_by_iopath``).

        See `penstock.pipes.iopath_files.IoPathFileOpener`.
        """
        made: IterDataPipe[tuple[str, Any]] = self._make("open_files_by_iopath", name, mode, pathmgr)
        return made

    def open_zarr(
        self, *, storage_options: Mapping[str, Any] | None = None, name: str | None = None
    ) -> IterDataPipe[tuple[str, Any]]:
        """Open zarr arrays and groups: ``url`` becomes ``(url, array or group)`` (functional name: ``open_zarr``).

        See `penstock.pipes.zarr_opener.ZarrOpener`.
        """
        made: IterDataPipe[tuple[str, Any]] = self._make("open_zarr", name, storage_options=storage_options)
        return made

    def parse_csv(
        self,
        *,
        skip_lines: int = 0,
        decode: bool = True,
        encoding: str = "utf-8",
        errors: str = "ignore",
        return_path: bool = False,
        as_tuple: bool = False,
        name: str | None = None,
        **fmtparams: Any,
    ) -> IterDataPipe[Any]:
        """Parse CSV files: ``(path, handle)`` becomes a list of strings for each row (functional name: ``parse_csv``).

        See `penstock.pipes.csv_parser.CSVParser`.
        """
        made: IterDataPipe[Any] = self._make(
            "parse_csv",
            name,
            skip_lines=skip_lines,
            decode=decode,
            encoding=encoding,
            errors=errors,
            return_path=return_path,
            as_tuple=as_tuple,
            **fmtparams,
        )
        return made

    def parse_csv_as_dict(
        self,
        *,
        skip_lines: int = 0,
        decode: bool = True,
        encoding: str = "utf-8",
        errors: str = "ignore",
        return_path: bool = False,
        name: str | None = None,
        **fmtparams: Any,
    ) -> IterDataPipe[Any]:
        """Parse CSV files: ``(path, handle)`` becomes a dict for each row (functional name: ``parse_csv_as_dict``).

        See `penstock.pipes.csv_parser.CSVDictParser`.
        """
        made: IterDataPipe[Any] = self._make(
            "parse_csv_as_dict",
            name,
            skip_lines=skip_lines,
            decode=decode,
            encoding=encoding,
            errors=errors,
            return_path=return_path,
            **fmtparams,
        )
        return made

    def parse_json_files(self, *, name: str | None = None, **kwargs: Any) -> IterDataPipe[tuple[str, Any]]:
        """Parse JSON files: ``(path, stream)`` becomes ``(path, value)`` (functional name: ``parse_json_files``).

        See `penstock.pipes.json_parser.JsonParser`.
        """
        made: IterDataPipe[tuple[str, Any]] = self._make("parse_json_files", name, **kwargs)
        return made

    def parse_jsonl(self, *, return_path: bool = False, name: str | None = None) -> IterDataPipe[Any]:
        """Parse JSON lines: ``(path, handle)`` becomes the value of each line (functional name: ``parse_jsonl``).

        See `penstock.pipes.jsonl_parser.JsonLinesParser`.
        """
        made: IterDataPipe[Any] = self._make("parse_jsonl", name, return_path=return_path)
        return made

    def parse_msgpack(
        self, *, return_path: bool = False, name: str | None = None, **unpacker_params: Any
    ) -> IterDataPipe[Any]:
        """Parse MessagePack files: ``(path, handle)`` becomes each object in the file (functional name: ``parse_msgpack``).

        See `penstock.pipes.msgpack_parser.MessagePackParser`.
        """
        made: IterDataPipe[Any] = self._make("parse_msgpack", name, return_path=return_path, **unpacker_params)
        return made

    def pin_memory(
        self, device: Any = None, pin_memory_fn: Callable[[T_co, Any], T_co] | None = None, *, name: str | None = None
    ) -> IterDataPipe[T_co]:
        """Copy the tensors of each item into pinned memory (functional name: ``pin_memory``).

        See `penstock.pipes.pin_memory.PinMemory`.
        """
        made: IterDataPipe[T_co] = self._make("pin_memory", name, device, pin_memory_fn)
        return made

    def prefetch(self, buffer_size: int = 10, *, name: str | None = None) -> IterDataPipe[T_co]:
        """Let a thread produce up to ``buffer_size`` items ahead of their use (functional name: ``prefetch``).

        See `penstock.pipes.prefetcher.Prefetcher`.
        """
        made: IterDataPipe[T_co] = self._make("prefetch", name, buffer_size)
        return made

    def random_filter(
        self, fn: Callable[[T_co, np.random.Generator], Any], *, name: str | None = None
    ) -> IterDataPipe[T_co]:
        """Keep the items for which ``fn(x, rng)`` is true (functional name: ``random_filter``).

        See `penstock.pipes.randomness.RandomFilter`.
        """
        made: IterDataPipe[T_co] = self._make("random_filter", name, fn)
        return made

    def random_map(self, fn: Callable[[T_co, np.random.Generator], U], *, name: str | None = None) -> IterDataPipe[U]:
        """Apply a random function: ``x`` becomes ``fn(x, rng)`` (functional name: ``random_map``).

        See `penstock.pipes.randomness.RandomMapper`.
        """
        made: IterDataPipe[U] = self._make("random_map", name, fn)
        return made

    @overload
    def random_split(
        self,
        weights: Mapping[Any, float],
        seed: Any,
        total_length: int | None = None,
        target: None = None,
        *,
        name: str | None = None,
    ) -> list[IterDataPipe[T_co]]: ...
    @overload
    def random_split(
        self,
        weights: Mapping[Any, float],
        seed: Any,
        total_length: int | None = None,
        *,
        target: Hashable,
        name: str | None = None,
    ) -> IterDataPipe[T_co]: ...
    def random_split(
        self,
        weights: Mapping[Any, float],
        seed: Any,
        total_length: int | None = None,
        target: Any = None,
        *,
        name: str | None = None,
    ) -> list[IterDataPipe[T_co]] | IterDataPipe[T_co]:
        """Deal the items to several pipes at random: one pipe becomes a list of them (functional name: ``random_split``).

        See `penstock.pipes.random_splitter.RandomSplitter`.
        """
        made: list[IterDataPipe[T_co]] | IterDataPipe[T_co] = self._make(
            "random_split", name, weights, seed, total_length, target
        )
        return made

    def read_arrow(
        self,
        columns: Sequence[str] | None = None,
        filter: Condition | None = None,
        *,
        batch_size: int | None = None,
        as_: Literal["numpy", "torch", "arrow"] = "numpy",
        storage_options: dict[str, Any] | None = None,
        conversion: Conversion | None = None,
        name: str | None = None,
    ) -> IterDataPipe[Any]:
        """Read Arrow's IPC files: ``url`` becomes batches of its columns (functional name: ``read_arrow``).

        See `penstock.pipes.arrow_reader.ArrowReader`.
        """
        made: IterDataPipe[Any] = self._make(
            "read_arrow",
            name,
            columns,
            filter,
            batch_size=batch_size,
            as_=as_,
            storage_options=storage_options,
            conversion=conversion,
        )
        return made

    def read_csv_columns(
        self,
        columns: Sequence[str] | None = None,
        filter: Condition | None = None,
        *,
        batch_size: int | None = None,
        as_: Literal["numpy", "torch", "arrow"] = "numpy",
        schema: Any = None,
        names: Sequence[str] | None = None,
        delimiter: str = ",",
        quote: str | None = '"',
        convert: Mapping[str, Any] | None = None,
        block_bytes: int = 1 << 20,
        storage_options: dict[str, Any] | None = None,
        conversion: Conversion | None = None,
        name: str | None = None,
    ) -> IterDataPipe[Any]:
        """Read CSV files: ``url`` becomes batches of their columns (functional name: ``read_csv_columns``).

        See `penstock.pipes.csv_columns.CSVColumnsReader`.
        """
        made: IterDataPipe[Any] = self._make(
            "read_csv_columns",
            name,
            columns,
            filter,
            batch_size=batch_size,
            as_=as_,
            schema=schema,
            names=names,
            delimiter=delimiter,
            quote=quote,
            convert=convert,
            block_bytes=block_bytes,
            storage_options=storage_options,
            conversion=conversion,
        )
        return made

    def read_excel(
        self, sheet: str | None = None, *, storage_options: dict[str, Any] | None = None, name: str | None = None
    ) -> IterDataPipe[dict[str, Any]]:
        """Read sheets of Excel files: a path or URL becomes each row, as a dict (functional name: ``read_excel``).

        See `penstock.pipes.table_rows.ExcelReader`.
        """
        made: IterDataPipe[dict[str, Any]] = self._make("read_excel", name, sheet, storage_options=storage_options)
        return made

    def read_feather(
        self,
        columns: list[str] | None = None,
        *,
        storage_options: dict[str, Any] | None = None,
        name: str | None = None,
    ) -> IterDataPipe[dict[str, Any]]:
        """Read Feather files: a path or URL becomes each row, as a dict (functional name: ``read_feather``).

        See `penstock.pipes.table_rows.FeatherReader`.
        """
        made: IterDataPipe[dict[str, Any]] = self._make("read_feather", name, columns, storage_options=storage_options)
        return made

    def read_from_gdrive(
        self, timeout: float | None = None, skip_on_error: bool = False, *, name: str | None = None, **kwargs: Any
    ) -> IterDataPipe[tuple[str, Any]]:
        """Read files from Google Drive: ``url`` becomes ``(name, binary stream)`` (functional name: ``read_from_gdrive``).

        See `penstock.pipes.http_reader.GDriveReader`.
        """
        made: IterDataPipe[tuple[str, Any]] = self._make("read_from_gdrive", name, timeout, skip_on_error, **kwargs)
        return made

    def read_from_http(
        self, timeout: float | None = None, skip_on_error: bool = False, *, name: str | None = None, **kwargs: Any
    ) -> IterDataPipe[tuple[str, Any]]:
        """Read files over HTTP: ``url`` becomes ``(url, binary stream)`` (functional name: ``read_from_http``).

        See `penstock.pipes.http_reader.HttpReader`.
        """
        made: IterDataPipe[tuple[str, Any]] = self._make("read_from_http", name, timeout, skip_on_error, **kwargs)
        return made

    def read_from_remote(
        self, timeout: float | None = None, skip_on_error: bool = False, *, name: str | None = None, **kwargs: Any
    ) -> IterDataPipe[tuple[str, Any]]:
        """Read files over HTTP or from Google Drive, as each URL says (functional name: ``read_from_remote``).

        See `penstock.pipes.http_reader.OnlineReader`.
        """
        made: IterDataPipe[tuple[str, Any]] = self._make("read_from_remote", name, timeout, skip_on_error, **kwargs)
        return made

    def read_from_stream(self, chunk: int | None = None, *, name: str | None = None) -> IterDataPipe[tuple[str, Any]]:
        """Read streams: ``(path, stream)`` becomes pairs ``(path, data)`` (functional name: ``read_from_stream``).

        See `penstock.pipes.stream_reader.StreamReader`.
        """
        made: IterDataPipe[tuple[str, Any]] = self._make("read_from_stream", name, chunk)
        return made

    def read_jsonl(
        self,
        *,
        storage_options: dict[str, Any] | None = None,
        object_hook: Callable[[dict[str, Any]], Any] | None = None,
        name: str | None = None,
    ) -> IterDataPipe[Any]:
        """Read shards of JSON lines: a path or URL becomes each sample in it (functional name: ``read_jsonl``).

        See `penstock.pipes.shard_reader.JsonLinesReader`.
        """
        made: IterDataPipe[Any] = self._make(
            "read_jsonl", name, storage_options=storage_options, object_hook=object_hook
        )
        return made

    def read_jsonl_columns(
        self,
        columns: Sequence[str] | None = None,
        filter: Condition | None = None,
        *,
        batch_size: int | None = None,
        as_: Literal["numpy", "torch", "arrow"] = "numpy",
        schema: Any = None,
        block_bytes: int = 1 << 20,
        storage_options: dict[str, Any] | None = None,
        conversion: Conversion | None = None,
        name: str | None = None,
    ) -> IterDataPipe[Any]:
        """Read JSON lines: ``url`` becomes batches of columns, one for each key (functional name: ``read_jsonl_columns``).

        See `penstock.pipes.jsonl_columns.JsonLinesColumnsReader`.
        """
        made: IterDataPipe[Any] = self._make(
            "read_jsonl_columns",
            name,
            columns,
            filter,
            batch_size=batch_size,
            as_=as_,
            schema=schema,
            block_bytes=block_bytes,
            storage_options=storage_options,
            conversion=conversion,
        )
        return made

    def read_lance(
        self,
        columns: Sequence[str] | Mapping[str, str] | None = None,
        filter: Condition | str | None = None,
        *,
        batch_size: int | None = None,
        as_: Literal["numpy", "torch", "arrow"] = "numpy",
        version: int | str | None = None,
        with_row_id: bool = False,
        batch_readahead: int = 16,
        storage_options: dict[str, Any] | None = None,
        conversion: Conversion | None = None,
        name: str | None = None,
    ) -> IterDataPipe[Any]:
        """Read Lance data sets: ``uri`` becomes batches of its columns (functional name: ``read_lance``).

        See `penstock.pipes.lance_reader.LanceReader`.
        """
        made: IterDataPipe[Any] = self._make(
            "read_lance",
            name,
            columns,
            filter,
            batch_size=batch_size,
            as_=as_,
            version=version,
            with_row_id=with_row_id,
            batch_readahead=batch_readahead,
            storage_options=storage_options,
            conversion=conversion,
        )
        return made

    def read_messagepack(
        self,
        *,
        storage_options: dict[str, Any] | None = None,
        allow_pickle: bool = False,
        use_list: bool = True,
        name: str | None = None,
    ) -> IterDataPipe[Any]:
        """Read shards of MessagePack: a path or URL becomes each sample in it (functional name: ``read_messagepack``).

        See `penstock.pipes.shard_reader.MessagePackReader`.
        """
        made: IterDataPipe[Any] = self._make(
            "read_messagepack", name, storage_options=storage_options, allow_pickle=allow_pickle, use_list=use_list
        )
        return made

    def read_npy(
        self,
        columns: Sequence[str] | None = None,
        *,
        batch_size: int | None = None,
        as_: Literal["numpy", "torch"] = "numpy",
        column: str | None = None,
        span: int | None = None,
        storage_options: Mapping[str, Any] | None = None,
        name: str | None = None,
    ) -> IterDataPipe[T_co]:
        """Read ``.npy`` and ``.npz`` files: ``url`` becomes batches of columns (functional name: ``read_npy``).

        See `penstock.pipes.npy_reader.NpyReader`.
        """
        made: IterDataPipe[T_co] = self._make(
            "read_npy",
            name,
            columns,
            batch_size=batch_size,
            as_=as_,
            column=column,
            span=span,
            storage_options=storage_options,
        )
        return made

    def read_parquet(
        self,
        columns: Sequence[str] | None = None,
        filter: Condition | None = None,
        *,
        batch_size: int | None = None,
        as_: Literal["numpy", "torch", "arrow"] = "numpy",
        storage_options: dict[str, Any] | None = None,
        conversion: Conversion | None = None,
        use_threads: bool = False,
        name: str | None = None,
    ) -> IterDataPipe[Any]:
        """Read Parquet files: ``url`` becomes batches of its columns (functional name: ``read_parquet``).

        See `penstock.pipes.parquet_reader.ParquetReader`.
        """
        made: IterDataPipe[Any] = self._make(
            "read_parquet",
            name,
            columns,
            filter,
            batch_size=batch_size,
            as_=as_,
            storage_options=storage_options,
            conversion=conversion,
            use_threads=use_threads,
        )
        return made

    def read_records(
        self,
        format: str = "msgpack",
        *,
        storage_options: dict[str, Any] | None = None,
        name: str | None = None,
        **params: Any,
    ) -> IterDataPipe[Any]:
        """Read samples with their keys: a path or URL becomes each `Sample` in it (functional name: ``read_records``).

        See `penstock.pipes.shard_reader.RecordReader`.
        """
        made: IterDataPipe[Any] = self._make("read_records", name, format, storage_options=storage_options, **params)
        return made

    def read_zarr(
        self,
        arrays: Sequence[str] | None = None,
        *,
        chunks: bool = False,
        batch_size: int | None = None,
        as_: Literal["numpy", "torch"] | None = None,
        column: str | None = None,
        span: int | None = None,
        storage_options: Mapping[str, Any] | None = None,
        name: str | None = None,
    ) -> IterDataPipe[T_co]:
        """Read zarr arrays, of version 2 or 3: ``url`` becomes each of its rows (functional name: ``read_zarr``).

        See `penstock.pipes.zarr_reader.ZarrReader`.
        """
        made: IterDataPipe[T_co] = self._make(
            "read_zarr",
            name,
            arrays,
            chunks=chunks,
            batch_size=batch_size,
            as_=as_,
            column=column,
            span=span,
            storage_options=storage_options,
        )
        return made

    def readlines(
        self,
        *,
        skip_lines: int = 0,
        strip_newline: bool = True,
        decode: bool = False,
        encoding: str = "utf-8",
        errors: str = "ignore",
        return_path: bool = True,
        name: str | None = None,
    ) -> IterDataPipe[Any]:
        """Read files by lines: ``(path, handle)`` becomes ``(path, line)`` for each line (functional name: ``readlines``).

        See `penstock.pipes.line_reader.LineReader`.
        """
        made: IterDataPipe[Any] = self._make(
            "readlines",
            name,
            skip_lines=skip_lines,
            strip_newline=strip_newline,
            decode=decode,
            encoding=encoding,
            errors=errors,
            return_path=return_path,
        )
        return made

    def rebatch(self, batch_size: int, drop_last: bool = False, *, name: str | None = None) -> IterDataPipe[Any]:
        """Make batches of columns into batches of ``batch_size`` rows (functional name: ``rebatch``).

        See `penstock.pipes.rebatcher.Rebatcher`.
        """
        made: IterDataPipe[Any] = self._make("rebatch", name, batch_size, drop_last)
        return made

    def repeat(self, times: int, *, name: str | None = None) -> IterDataPipe[T_co]:
        """Yield each item several times (functional name: ``repeat``).

        See `penstock.pipes.repeater.Repeater`.
        """
        made: IterDataPipe[T_co] = self._make("repeat", name, times)
        return made

    def round_robin_demux(
        self, num_instances: int, buffer_size: int = 1000, *, name: str | None = None
    ) -> list[IterDataPipe[T_co]]:
        """Deal items out in turn: one pipe becomes a list of them (functional name: ``round_robin_demux``).

        See `penstock.pipes.demux.RoundRobinDemultiplexer`.
        """
        made: list[IterDataPipe[T_co]] = self._make("round_robin_demux", name, num_instances, buffer_size)
        return made

    def routed_decode(
        self,
        *handlers: Callable[[Any, bytes], Any],
        key_fn: Callable[[str], Any] | None = None,
        name: str | None = None,
    ) -> IterDataPipe[tuple[str, Any]]:
        """Decode files by extension: ``(path, stream)`` becomes ``(path, value)`` (functional name: ``routed_decode``).

        See `penstock.pipes.routed_decoder.RoutedDecoder`.
        """
        made: IterDataPipe[tuple[str, Any]] = self._make("routed_decode", name, *handlers, key_fn=key_fn)
        return made

    def rows(self, *, name: str | None = None) -> IterDataPipe[dict[str, Any]]:
        """Make batches of columns samples: a dict for each row (functional name: ``rows``).

        See `penstock.pipes.column_steps.RowUnpacker`.
        """
        made: IterDataPipe[dict[str, Any]] = self._make("rows", name)
        return made

    def rows2columnar(
        self, column_names: Collection[Any] | None = None, *, name: str | None = None
    ) -> IterDataPipe[defaultdict[Any, list[Any]]]:
        """Turn a batch of rows into a dict of columns, each a list (functional name: ``rows2columnar``).

        See `penstock.pipes.columnar.Rows2Columnar`.
        """
        made: IterDataPipe[defaultdict[Any, list[Any]]] = self._make("rows2columnar", name, column_names)
        return made

    def save_by_fsspec(
        self,
        mode: str = "w",
        filepath_fn: Callable[[Any], str] | None = None,
        *,
        kwargs_for_open: dict[str, Any] | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> IterDataPipe[str]:
        """Save data to remote files: ``(meta, data)`` becomes the URL written (functional name: ``save_by_fsspec``).

        See `penstock.pipes.fsspec_files.FSSpecSaver`.
        """
        made: IterDataPipe[str] = self._make(
            "save_by_fsspec", name, mode, filepath_fn, kwargs_for_open=kwargs_for_open, **kwargs
        )
        return made

    def save_by_iopath(
        self,
        mode: str = "w",
        filepath_fn: Callable[[Any], str] | None = None,
        *,
        pathmgr: None = None,
        name: str | None = None,
    ) -> IterDataPipe[str]:
        """Save data to files: ``(meta, data)`` becomes the path or URL written (functional name: ``save_by_iopath``).

        See `penstock.pipes.iopath_files.IoPathSaver`.
        """
        made: IterDataPipe[str] = self._make("save_by_iopath", name, mode, filepath_fn, pathmgr=pathmgr)
        return made

    def save_to_disk(
        self, mode: str = "w", filepath_fn: Callable[[Any], str] | None = None, *, name: str | None = None
    ) -> IterDataPipe[str]:
        """Save data to files: ``(meta, data)`` becomes the path of the file written (functional name: ``save_to_disk``).

        See `penstock.pipes.saver.Saver`.
        """
        made: IterDataPipe[str] = self._make("save_to_disk", name, mode, filepath_fn)
        return made

    def select(self, columns: Sequence[str], *, name: str | None = None) -> IterDataPipe[Any]:
        """Keep some columns of batches, in this order (functional name: ``select``).

        See `penstock.pipes.column_steps.ColumnSelector`.
        """
        made: IterDataPipe[Any] = self._make("select", name, columns)
        return made

    def set_length(self, length: int, *, name: str | None = None) -> IterDataPipe[T_co]:
        """Pass the items on, and say how many there are (functional name: ``set_length``).

        See `penstock.pipes.length_setter.LengthSetter`.
        """
        made: IterDataPipe[T_co] = self._make("set_length", name, length)
        return made

    def shard_expand(self, *, name: str | None = None) -> IterDataPipe[str]:
        """Turn a name with a range in braces into the names it stands for (functional name: ``shard_expand``).

        See `penstock.pipes.shard_expander.ShardExpander`.
        """
        made: IterDataPipe[str] = self._make("shard_expand", name)
        return made

    def sharding_filter(
        self, sharding_group_filter: SHARDING_PRIORITIES | None = None, *, name: str | None = None
    ) -> IterDataPipe[T_co]:
        """Mark where ranks and workers divide the work (functional name: ``sharding_filter``).

        See `penstock.pipes.sharding.ShardingFilter`.
        """
        made: IterDataPipe[T_co] = self._make("sharding_filter", name, sharding_group_filter)
        return made

    def sharding_round_robin_dispatch(
        self, sharding_group_filter: SHARDING_PRIORITIES | None = None, *, name: str | None = None
    ) -> IterDataPipe[T_co]:
        """Mark where items are dealt to workers in turn (functional name: ``sharding_round_robin_dispatch``).

        See `penstock.pipes.sharding.ShardingRoundRobinDispatcher`.
        """
        made: IterDataPipe[T_co] = self._make("sharding_round_robin_dispatch", name, sharding_group_filter)
        return made

    def shuffle(
        self, *, buffer_size: int = 10000, unbatch_level: int = 0, initial: int | None = None, name: str | None = None
    ) -> IterDataPipe[T_co]:
        """Shuffle a stream window by window (functional name: ``shuffle``).

        See `penstock.pipes.shuffler.Shuffler`.
        """
        made: IterDataPipe[T_co] = self._make(
            "shuffle", name, buffer_size=buffer_size, unbatch_level=unbatch_level, initial=initial
        )
        return made

    def shuffle_rows(
        self, buffer_rows: int = 100000, *, batch_size: int | None = None, name: str | None = None
    ) -> IterDataPipe[Any]:
        """Shuffle the rows of batches of columns, window by window (functional name: ``shuffle_rows``).

        See `penstock.pipes.row_shuffler.RowShuffler`.
        """
        made: IterDataPipe[Any] = self._make("shuffle_rows", name, buffer_rows, batch_size=batch_size)
        return made

    def shuffled_flatmap(
        self,
        fn: Callable[..., Iterable[U]] | None = None,
        input_col: Columns | None = None,
        buffer_size: int = 100,
        *,
        name: str | None = None,
    ) -> IterDataPipe[U]:
        """Turn each item into any number of items, and mix those of several (functional name: ``shuffled_flatmap``).

        See `penstock.pipes.shuffled_flatmap.ShuffledFlatMapper`.
        """
        made: IterDataPipe[U] = self._make("shuffled_flatmap", name, fn, input_col, buffer_size)
        return made

    def slice(
        self, index: Any, stop: int | None = None, step: int | None = None, *, name: str | None = None
    ) -> IterDataPipe[Any]:
        """Keep a slice, or some columns, of tuple, list or dict items (functional name: ``slice``).

        See `penstock.pipes.selecting.Slicer`.
        """
        made: IterDataPipe[Any] = self._make("slice", name, index, stop, step)
        return made

    def sliding(
        self,
        window_size: int,
        stride: int = 1,
        *,
        at_least: int | None = None,
        pad: bool = False,
        deepcopy: bool = False,
        name: str | None = None,
    ) -> IterDataPipe[list[T_co]]:
        """Yield windows of ``window_size`` items, each ``stride`` behind the one before it (functional name: ``sliding``).

        See `penstock.pipes.slider.Slider`.
        """
        made: IterDataPipe[list[T_co]] = self._make(
            "sliding", name, window_size, stride, at_least=at_least, pad=pad, deepcopy=deepcopy
        )
        return made

    def take_rows(self, batch_size: int, drop_last: bool = False, *, name: str | None = None) -> IterDataPipe[Any]:
        """Make rows of a table batches of columns, ``batch_size`` rows each (functional name: ``take_rows``).

        See `penstock.pipes.row_taker.RowTaker`.
        """
        made: IterDataPipe[Any] = self._make("take_rows", name, batch_size, drop_last)
        return made

    def threadpool_map(
        self,
        fn: Callable[..., Any],
        input_col: Columns | None = None,
        output_col: Columns | None = None,
        scheduled_tasks: int = 128,
        max_workers: int | None = None,
        *,
        name: str | None = None,
        **threadpool_kwargs: Any,
    ) -> IterDataPipe[U]:
        """Apply a function in several threads: ``x`` becomes ``fn(x)``, in order (functional name: ``threadpool_map``).

        See `penstock.pipes.threadpool_mapper.ThreadPoolMapper`.
        """
        made: IterDataPipe[U] = self._make(
            "threadpool_map", name, fn, input_col, output_col, scheduled_tasks, max_workers, **threadpool_kwargs
        )
        return made

    def to_map_datapipe(
        self, key_value_fn: Callable[[Any], tuple[Any, Any]] | None = None, *, name: str | None = None
    ) -> MapDataPipe[Any]:
        """Look up ``(key, value)`` items by key: ``pipe[key]`` (functional name: ``to_map_datapipe``, on IterDataPipes).

        See `penstock.pipes.map.to_map.IterToMapConverter`.
        """
        made: MapDataPipe[Any] = self._make("to_map_datapipe", name, key_value_fn)
        return made

    def to_numpy(
        self, conversion: Conversion | None = None, *, name: str | None = None
    ) -> IterDataPipe[dict[str, Any]]:
        """Make batches of columns dicts of numpy arrays (functional name: ``to_numpy``).

        See `penstock.pipes.column_steps.ToNumpy`.
        """
        made: IterDataPipe[dict[str, Any]] = self._make("to_numpy", name, conversion)
        return made

    def to_tensors(
        self, conversion: Conversion | None = None, *, name: str | None = None
    ) -> IterDataPipe[dict[str, Any]]:
        """Make batches of columns dicts of tensors (functional name: ``to_tensors``).

        See `penstock.pipes.column_steps.ToTensors`.
        """
        made: IterDataPipe[dict[str, Any]] = self._make("to_tensors", name, conversion)
        return made

    def unbatch(self, unbatch_level: int = 1, *, name: str | None = None) -> IterDataPipe[Any]:
        """Undo batching: yields the items of lists one by one (functional name: ``unbatch``).

        See `penstock.pipes.batcher.UnBatcher`.
        """
        made: IterDataPipe[Any] = self._make("unbatch", name, unbatch_level)
        return made

    def unzip(
        self,
        sequence_length: int,
        buffer_size: int = 1000,
        columns_to_skip: Sequence[int] | None = None,
        *,
        name: str | None = None,
    ) -> list[IterDataPipe[Any]]:
        """Take tuples apart: one pipe becomes a list of pipes, one for each column (functional name: ``unzip``).

        See `penstock.pipes.unzipper.UnZipper`.
        """
        made: list[IterDataPipe[Any]] = self._make("unzip", name, sequence_length, buffer_size, columns_to_skip)
        return made

    def webdataset(self, *, name: str | None = None) -> IterDataPipe[dict[str, Any]]:
        """Gather the files of a sample: ``(path, data)`` items become dicts by suffix (functional name: ``webdataset``).

        See `penstock.pipes.webdataset.WebDataset`.
        """
        made: IterDataPipe[dict[str, Any]] = self._make("webdataset", name)
        return made

    def zip(self, *datapipes: IterDataPipe[Any], name: str | None = None) -> IterDataPipe[tuple[Any, ...]]:
        """Put the items of several pipes side by side, until the shortest ends (functional name: ``zip``).

        See `penstock.pipes.combining.Zipper`.
        """
        made: IterDataPipe[tuple[Any, ...]] = self._make("zip", name, *datapipes)
        return made

    def zip_longest(
        self, *datapipes: IterDataPipe[Any], fill_value: Any = None, name: str | None = None
    ) -> IterDataPipe[tuple[Any, ...]]:
        """Put the items of several pipes side by side, until the longest ends (functional name: ``zip_longest``).

        See `penstock.pipes.zip_longest.ZipperLongest`.
        """
        made: IterDataPipe[tuple[Any, ...]] = self._make("zip_longest", name, *datapipes, fill_value=fill_value)
        return made

    def zip_with_iter(
        self,
        ref_datapipe: IterDataPipe[Any],
        key_fn: Callable[[Any], Any],
        ref_key_fn: Callable[[Any], Any] | None = None,
        keep_key: bool = False,
        buffer_size: int | None = 10000,
        merge_fn: Callable[[Any, Any], Any] | None = None,
        *,
        name: str | None = None,
    ) -> IterDataPipe[Any]:
        """Join each item with the one of another pipe that has its key, as a pair (functional name: ``zip_with_iter``).

        See `penstock.pipes.key_zipper.IterKeyZipper`.
        """
        made: IterDataPipe[Any] = self._make(
            "zip_with_iter", name, ref_datapipe, key_fn, ref_key_fn, keep_key, buffer_size, merge_fn
        )
        return made

    def zip_with_map(
        self,
        map_datapipe: MapDataPipe[Any],
        key_fn: Callable[[Any], Any],
        merge_fn: Callable[[Any, Any], Any] | None = None,
        keep_key: bool = False,
        *,
        name: str | None = None,
    ) -> IterDataPipe[Any]:
        """Join each item with the one that a MapDataPipe has for its key, as a pair (functional name: ``zip_with_map``).

        See `penstock.pipes.key_zipper.MapKeyZipper`.
        """
        made: IterDataPipe[Any] = self._make("zip_with_map", name, map_datapipe, key_fn, merge_fn, keep_key)
        return made


class MapFluent(Generic[T_co]):
    """The functional API of MapDataPipes."""

    if TYPE_CHECKING:

        def _make(self, function: str, name: str | None, *args: Any, **kwargs: Any) -> Any: ...

    def batch(
        self,
        batch_size: int,
        drop_last: bool = False,
        wrapper_class: Callable[[Any], Any] = DataChunk,
        *,
        name: str | None = None,
    ) -> MapDataPipe[DataChunk[T_co]]:
        """Gather items into lists of ``batch_size``, each fetched with one ``__getitems__`` (functional name: ``batch``).

        See `penstock.pipes.map.batcher.Batcher`.
        """
        made: MapDataPipe[DataChunk[T_co]] = self._make("batch", name, batch_size, drop_last, wrapper_class)
        return made

    def concat(self, *datapipes: MapDataPipe[T_co], name: str | None = None) -> MapDataPipe[T_co]:
        """Put several pipes one behind the other: the indices go on through all of them (functional name: ``concat``).

        See `penstock.pipes.map.combining.Concater`.
        """
        made: MapDataPipe[T_co] = self._make("concat", name, *datapipes)
        return made

    def in_memory_cache(self, *, name: str | None = None) -> MapDataPipe[T_co]:
        """Keep every item that has been asked for, and give the same object again (functional name: ``in_memory_cache``).

        See `penstock.pipes.map.cache.InMemoryCacheHolder`.
        """
        made: MapDataPipe[T_co] = self._make("in_memory_cache", name)
        return made

    def map(self, fn: Callable[[T_co], U] | None = None, *, name: str | None = None) -> MapDataPipe[U]:
        """Apply a function to every item, when it is asked for: ``x`` becomes ``fn(x)`` (functional name: ``map``).

        See `penstock.pipes.map.mapper.Mapper`.
        """
        made: MapDataPipe[U] = self._make("map", name, fn)
        return made

    def shuffle(self, *, indices: Iterable[Any] | None = None, name: str | None = None) -> IterDataPipe[T_co]:
        """Yield every item once, in random order (functional name: ``shuffle``, on MapDataPipes).

        See `penstock.pipes.map.shuffler.Shuffler`.
        """
        made: IterDataPipe[T_co] = self._make("shuffle", name, indices=indices)
        return made

    def to_iter_datapipe(self, indices: Iterable[Any] | None = None, *, name: str | None = None) -> IterDataPipe[T_co]:
        """Yield ``datapipe[i]`` for every index (functional name: ``to_iter_datapipe``, on MapDataPipes).

        See `penstock.pipes.map.to_iter.MapToIterConverter`.
        """
        made: IterDataPipe[T_co] = self._make("to_iter_datapipe", name, indices)
        return made

    def unzip(
        self, sequence_length: int, columns_to_skip: Sequence[int] | None = None, *, name: str | None = None
    ) -> list[MapDataPipe[Any]]:
        """Take tuples apart: one pipe becomes a list of pipes, one for each column (functional name: ``unzip``).

        See `penstock.pipes.map.unzipper.UnZipper`.
        """
        made: list[MapDataPipe[Any]] = self._make("unzip", name, sequence_length, columns_to_skip)
        return made

    def zip(self, *datapipes: MapDataPipe[Any], name: str | None = None) -> MapDataPipe[tuple[Any, ...]]:
        """Put the items of several pipes that have the same index side by side (functional name: ``zip``).

        See `penstock.pipes.map.combining.Zipper`.
        """
        made: MapDataPipe[tuple[Any, ...]] = self._make("zip", name, *datapipes)
        return made
