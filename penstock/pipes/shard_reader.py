"""Shards of samples, read: ``read_messagepack``, ``read_jsonl``, ``read_records``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

from penstock.core.bad import HOLE, Lossy
from penstock.core.context import Context
from penstock.core.errors import DecodeError, StateError
from penstock.core.pipe import IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream, consume, counted
from penstock.files.remote import connected, ranged
from penstock.pipes._nested import Part, nested_parts
from penstock.serialization.blocks import ReadBytes
from penstock.serialization.formats import FORMATS
from penstock.serialization.sample import keyed
from penstock.serialization.shard import ShardReader, bare

__all__ = ["JsonLinesReader", "MessagePackReader", "RecordReader", "ShardPart", "ShardReaders"]


Failed = Callable[[DecodeError], Any]
Patient = Callable[[ReadBytes], ReadBytes]


class ShardReaders(IterDataPipe[Any]):
    """The samples of shards, whatever names them: what is behind the pipes below, and behind drivers of stores.

    State: the byte at which the block begins, its first sample's number, and the samples taken from it.
    """

    source_datapipe: IterDataPipe[Any]

    def reader(self, item: Any, failed: Failed | None, patient: Patient) -> tuple[ShardReader, str | None]:
        """Return what reads the shard that an item names; and its key, if samples are to come with keys.

        Args:
            item: of the source.
            failed: what a sample becomes that cannot be read; None if it is to be raised.
            patient: wraps what reads bytes, for trying again.
        """
        raise NotImplementedError

    def build(self, ctx: Context, state: State = None) -> Stream[Any]:
        bad, where = ctx.bad, ctx.place(self) if ctx.bad is not None else {}

        def open_part(item: Any, place: Any) -> Part[Any]:
            def failed(error: DecodeError) -> Lossy:
                assert bad is not None
                return Lossy(HOLE, [bad.loss(item, reader.named(error), where)])

            def patient(read: ReadBytes) -> ReadBytes:
                return read if bad is None else bad.patient(read, ctx.loose)

            reader, key = self.reader(item, None if bad is None else failed, patient)
            return ShardPart(reader, key, place)

        return nested_parts(self, self.source_datapipe, open_part, ctx, state)


class ShardPart:
    """One shard, being read.

    Args:
        reader: what reads it.
        key: its key, if samples are to come with keys.
        place: where to begin, as ``tell`` said it.
    """

    def __init__(self, reader: ShardReader, key: str | None, place: list[int] | None = None) -> None:
        self._reader = reader
        self._key = key
        self._seen: set[str] = set()
        self._taken: Callable[[], int] = lambda: 0
        self.it: Iterator[Any] = chain.from_iterable(self._runs(*(place or (0, 0, 0))))

    def tell(self) -> list[int]:
        return [*self._reader.run, self._taken()]

    def _runs(self, start: int, first: int, skip: int) -> Iterator[Iterator[Any]]:
        for run in self._reader.samples((start, first)):
            it, self._taken = counted(run)
            if skip:
                consume(it, skip)
                if self._taken() < skip:
                    raise StateError(f"{self._reader.path} has fewer samples than when its place was saved")
                skip = 0
            if self._key is not None:
                it = keyed(it, self._key, self._reader.failed, self._reader.run[1] + self._taken(), self._seen, Lossy)
            yield it


class _ShardFiles(ShardReaders):
    _format: str
    _with_keys = False

    def __init__(
        self, source_datapipe: IterDataPipe[str], storage_options: dict[str, Any] | None, params: dict[str, Any]
    ) -> None:
        self.source_datapipe = check_source(self, source_datapipe)
        self.storage_options = storage_options
        self.params = params

    def reader(self, item: Any, failed: Failed | None, patient: Patient) -> tuple[ShardReader, str | None]:
        url = str(item)
        read = patient(ranged(*connected(url, self.storage_options or {})))
        key = bare(url.rpartition("/")[2]) if self._with_keys else None
        return ShardReader(url, read, self._format, failed, **self.params), key


@functional_datapipe("read_messagepack")
class MessagePackReader(_ShardFiles):
    """Read shards of MessagePack: a path or URL becomes each sample in it (functional name: ``read_messagepack``).

    The shards are a store's (`penstock.stores`), Squirrel's, or any file of MessagePack objects, compressed by gzip or
    zstd or not; arrays in the encoding of msgpack-numpy come as arrays. Shuffle and shard the paths ahead of this.

    Args:
        source_datapipe: paths or URLs, of any kind that fsspec knows.
        storage_options: fsspec's, for the connection.
        allow_pickle: unpickle arrays of objects, which Squirrel wrote. **That runs what the file says.**
        use_list: False makes tuples of lists, as Squirrel did.

    Raises:
        DecodeError: (when run) names the file, and the sample or byte: it was cut, its checksum is wrong, its index
            disagrees, it is empty ...

    State: the byte at which the block begins, and the samples taken from it; in a file without blocks all that were
    taken, and restoring decodes up to there.

    Example:
        >>> from penstock.stores import SquirrelStore
        >>> from penstock.pipes import IterableWrapper
        >>> store = SquirrelStore("memory://read_messagepack", "msgpack")
        >>> store.set([{"x": 1}, {"x": 2}], key="a")
        >>> list(IterableWrapper(store.urls()).read_messagepack())
        [{'x': 1}, {'x': 2}]
    """

    _format = "msgpack"

    def __init__(
        self,
        source_datapipe: IterDataPipe[str],
        *,
        storage_options: dict[str, Any] | None = None,
        allow_pickle: bool = False,
        use_list: bool = True,
    ) -> None:
        params = {"allow_pickle": allow_pickle, "use_list": use_list}
        super().__init__(source_datapipe, storage_options, params)


@functional_datapipe("read_jsonl")
class JsonLinesReader(_ShardFiles):
    r"""Read shards of JSON lines: a path or URL becomes each sample in it (functional name: ``read_jsonl``).

    As `MessagePackReader` (``read_messagepack``). Arrays, and what else JSON has no word for, come as they were
    written; lines that are empty are passed over.

    Args:
        source_datapipe: paths or URLs, of any kind that fsspec knows.
        storage_options: fsspec's, for the connection.
        object_hook: makes of each dict in a line what it returns, the innermost first.

    Raises:
        DecodeError: (when run) names the file and the line. Where bad samples are skipped, only that line is.

    State: as that of ``read_messagepack``.

    Example:
        >>> import fsspec
        >>> fsspec.filesystem("memory").pipe("/lines.jsonl", b'{"x": 1}\n{"x": 2}\n')
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper(["memory://lines.jsonl"]).read_jsonl())
        [{'x': 1}, {'x': 2}]
    """

    _format = "jsonl"

    def __init__(
        self,
        source_datapipe: IterDataPipe[str],
        *,
        storage_options: dict[str, Any] | None = None,
        object_hook: Callable[[dict[str, Any]], Any] | None = None,
    ) -> None:
        super().__init__(source_datapipe, storage_options, {"object_hook": object_hook})


@functional_datapipe("read_records")
class RecordReader(_ShardFiles):
    """Read samples with their keys: a path or URL becomes each `Sample` in it (functional name: ``read_records``).

    As `MessagePackReader` (``read_messagepack``). What was written without a key has one of its shard and its place.

    Args:
        source_datapipe: paths or URLs, of any kind that fsspec knows.
        format: ``msgpack`` or ``jsonl``.
        storage_options: fsspec's, for the connection.
        **params: those of ``read_messagepack`` or ``read_jsonl``.

    Raises:
        ValueError: no such format.
        DecodeError: (when run) names the file, and the sample, line or byte.

    State: as that of ``read_messagepack``.

    Example:
        >>> from penstock.stores import RecordStore, Sample
        >>> from penstock.pipes import IterableWrapper
        >>> store = RecordStore("memory://read_records")
        >>> store.set(Sample(key="a", value={"x": 1}))
        >>> list(IterableWrapper(store.urls()).read_records())
        [Sample(key='a', value={'x': 1})]
    """

    _with_keys = True

    def __init__(
        self,
        source_datapipe: IterDataPipe[str],
        format: str = "msgpack",
        *,
        storage_options: dict[str, Any] | None = None,
        **params: Any,
    ) -> None:
        if format not in FORMATS:
            raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
        super().__init__(source_datapipe, storage_options, params)
        self._format = format
