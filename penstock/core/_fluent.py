"""The functional API: every built-in pipe as a method.

Made by ``make fluent`` (tools/gen_fluent.py); do not edit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from penstock.core.chunk import DataChunk

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    import numpy as np

    from penstock.core.pipe import IterDataPipe, MapDataPipe
    from penstock.pipes._columns import Columns
    from penstock.pipes.handle import StreamWrapper
    from penstock.pipes.sharding import SHARDING_PRIORITIES

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
U = TypeVar("U")


class IterFluent(Generic[T_co]):
    """The functional API of IterDataPipes."""

    if TYPE_CHECKING:

        def _make(self, function: str, name: str | None, *args: Any, **kwargs: Any) -> Any: ...

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

    def enumerate(self, starting_index: int = 0, *, name: str | None = None) -> IterDataPipe[tuple[int, T_co]]:
        """Number the items: ``x`` becomes ``(i, x)`` (functional name: ``enumerate``).

        See `penstock.pipes.enumerator.Enumerator`.
        """
        made: IterDataPipe[tuple[int, T_co]] = self._make("enumerate", name, starting_index)
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

    def fork(
        self, num_instances: int, buffer_size: int = 1000, copy: str | None = None, *, name: str | None = None
    ) -> list[IterDataPipe[T_co]]:
        """Give every item to each of several pipes: one pipe becomes a list of them (functional name: ``fork``).

        See `penstock.pipes.forker.Forker`.
        """
        made: list[IterDataPipe[T_co]] = self._make("fork", name, num_instances, buffer_size, copy)
        return made

    def header(self, limit: int | None = 10, *, name: str | None = None) -> IterDataPipe[T_co]:
        """Yield the first ``limit`` items, and read none beyond them (functional name: ``header``).

        See `penstock.pipes.header.Header`.
        """
        made: IterDataPipe[T_co] = self._make("header", name, limit)
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

    def round_robin_demux(
        self, num_instances: int, buffer_size: int = 1000, *, name: str | None = None
    ) -> list[IterDataPipe[T_co]]:
        """Deal items out in turn: one pipe becomes a list of them (functional name: ``round_robin_demux``).

        See `penstock.pipes.demux.RoundRobinDemultiplexer`.
        """
        made: list[IterDataPipe[T_co]] = self._make("round_robin_demux", name, num_instances, buffer_size)
        return made

    def sharding_filter(
        self, sharding_group_filter: SHARDING_PRIORITIES | None = None, *, name: str | None = None
    ) -> IterDataPipe[T_co]:
        """Mark where ranks and workers divide the work (functional name: ``sharding_filter``).

        See `penstock.pipes.sharding.ShardingFilter`.
        """
        made: IterDataPipe[T_co] = self._make("sharding_filter", name, sharding_group_filter)
        return made

    def shuffle(
        self, *, buffer_size: int = 10000, unbatch_level: int = 0, name: str | None = None
    ) -> IterDataPipe[T_co]:
        """Shuffle a stream window by window (functional name: ``shuffle``).

        See `penstock.pipes.shuffler.Shuffler`.
        """
        made: IterDataPipe[T_co] = self._make("shuffle", name, buffer_size=buffer_size, unbatch_level=unbatch_level)
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

    def zip(self, *datapipes: IterDataPipe[Any], name: str | None = None) -> IterDataPipe[tuple[Any, ...]]:
        """Put the items of several pipes side by side, until the shortest ends (functional name: ``zip``).

        See `penstock.pipes.combining.Zipper`.
        """
        made: IterDataPipe[tuple[Any, ...]] = self._make("zip", name, *datapipes)
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

    def map(self, fn: Callable[[T_co], U], *, name: str | None = None) -> MapDataPipe[U]:
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
