"""LanceDataset: batches of tensors from a Lance data set, for torch's DataLoader and for DataLoader2."""

from __future__ import annotations

import inspect
import json
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from penstock.core.context import Context
from penstock.core.leaving import Deferred, Tensors
from penstock.core.pipe import IterDataPipe, join_torch
from penstock.core.stream import State, Stream
from penstock.lance import sampler as _samplers
from penstock.lance._cache import cached
from penstock.lance._noted import Noted, mark, says_version
from penstock.lance._planner import Planner, Sampler
from penstock.lance._sharded import ShardedBatchSampler, ShardedFragmentSampler
from penstock.lance._source import BatchNumbers, BatchTaker, Dealt, Everything, Ranks, Scanned
from penstock.lance.collate import Batch, know_collate
from penstock.pipes._lance import LanceData
from penstock.pipes._tensors_later import as_tensors_later, leaves_from
from penstock.pipes.map.lance_table import LanceTable
from penstock.pipes.mapper import Mapper

if TYPE_CHECKING:
    from penstock.serialization.columns import Conversion

__all__ = ["LanceDataset", "to_tensors"]

_IDS: Final = frozenset({"_rowid", "_rowaddr"})
_SHARDED: dict[str, type[ShardedFragmentSampler] | type[ShardedBatchSampler]] = {
    "fragment": ShardedFragmentSampler,
    "batch": ShardedBatchSampler,
}


def to_tensors(batch: Any, *, hf_converter: Any = None, use_blob_api: bool = False) -> Any:
    """Return a `pyarrow.RecordBatch` as `LanceDataset` does unless told otherwise; for functions that build on it.

    Args:
        batch: the record batch.
        hf_converter: not looked at, as Hugging Face's features are in the schema.
        use_blob_api: not looked at, as blobs are columns of bytes.
    """
    from penstock.serialization.columns import Conversion

    return _columns(Conversion().to_torch(batch), one=batch.num_columns == 1)


class LanceDataset(IterDataPipe[Any]):
    """Batches of a Lance data set: a dict of tensors, one by column; of one column the tensor itself.

    It is an ``IterableDataset`` for torch's ``DataLoader`` (``batch_size=None``, or as it is), and a pipe for
    `DataLoader2`. Workers and, unless a sampler says otherwise, ranks of torch.distributed take turns at the batches:
    each row comes once, and each rank takes as many steps. The order does not depend on the number of workers. It is
    pinned: what is written to the data set later is not seen. Ranks of a process group read one version, the one that
    the first of them found.

    Args:
        dataset: a path or URI, or an opened `lance.LanceDataset`.
        batch_size: rows per batch, also over the borders of fragments; the last batches may be smaller.
        dataset_options: those of ``lance.dataset`` (version, storage_options ...), where a path is given.
        columns: their names, or a dict of names and expressions of SQL; all unless given.
        filter: only rows for which this SQL (or `pyarrow.compute.Expression`) holds. Where they are is found first.
        samples: if above 0, so many rows, chosen at random, in place of all.
        cache: copy what is read to the local disk first, when this is made: True for a folder that is removed in the
            end, or the name of one that stays, and is found again.
        with_row_id: give ``_rowid`` as well.
        rank: of this process, as with ``world_size``: short for a sampler.
        world_size: how many ranks there are.
        shard_granularity: what ``rank`` and ``world_size`` divide: ``fragment`` (the default) or ``batch``.
        batch_readahead: accepted for Lance's programs; a block of some thousand rows is read in one go, by Lance's own
            threads.
        to_tensor_fn: a function of a `pyarrow.RecordBatch` that makes a batch; None gives record batches.
        sampler: which rows this rank reads, and in which order.
        auto_detect_rank: without a sampler, ask torch.distributed which rank this is: when this is made, when it is
            pickled, or when it runs.
        shuffle: read rows in a random order: a permutation of all, another one in each epoch.
        seed: which random order, and which samples.
        drop_last: leave out what would make batches smaller.
        conversion: what becomes of each of Arrow's types, and of nulls, which are an error unless it says otherwise.

    Raises:
        ValueError: a number that is too small; no such ``shard_granularity``; options that exclude each other.
        FileNotFoundError: there is no such data set, or no such version of it.
        RankError: another rank has opened another version, where it is said which, or ahead of the process group.
        DecodeError: there is no such column; (when run) what is wrong with the data.
        ForkedProcess: (when run) this is a forked worker: use spawn or forkserver.

    State: how many batches have been given, of how many ranks and workers whatever.

    Example:
        >>> import os, tempfile
        >>> import lance, pyarrow
        >>> path = os.path.join(tempfile.mkdtemp(), "a.lance")
        >>> _ = lance.write_dataset(pyarrow.table({"x": [1, 2, 3], "y": list("abc")}), path)
        >>> list(LanceDataset(path, batch_size=2))
        [{'x': tensor([1, 2]), 'y': ['a', 'b']}, {'x': tensor([3]), 'y': ['c']}]
        >>> list(LanceDataset(path, batch_size=2, columns=["x"], filter="x > 1"))
        [tensor([2, 3])]
    """

    arity = 1

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        *,
        dataset_options: Mapping[str, Any] | None = None,
        columns: Sequence[str] | Mapping[str, str] | None = None,
        filter: Any = None,
        samples: int | None = 0,
        cache: bool | str | None = None,
        with_row_id: bool = False,
        rank: int | None = None,
        world_size: int | None = None,
        shard_granularity: str | None = None,
        batch_readahead: int = 16,
        to_tensor_fn: Callable[..., Any] | None = to_tensors,
        sampler: Sampler | None = None,
        auto_detect_rank: bool = True,
        shuffle: bool = False,
        seed: int = 0,
        drop_last: bool = False,
        conversion: Conversion | None = None,
    ) -> None:
        samples, columns = samples or 0, columns or None
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("batch_readahead", batch_readahead, 1),
            ("samples", samples, 0),
        ):
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if shard_granularity not in (None, *_SHARDED):
            raise ValueError(f"shard_granularity must be 'fragment', 'batch' or None, got {shard_granularity!r}")
        if (rank is None) != (world_size is None):
            raise ValueError(f"rank and world_size belong together, got {rank} and {world_size}")
        if sampler is not None and (rank is not None or shuffle or samples):
            raise ValueError("a sampler says which rows are read: give it, or rank, world_size, shuffle and samples")
        if rank is not None and world_size is not None and not (shuffle or samples):
            sampler = _SHARDED[shard_granularity or "fragment"](rank, world_size)
        if rank is not None and sampler is None:
            raise ValueError("shuffle and samples find their rank themselves: leave rank and world_size out")
        sampler = _ours(sampler)
        if sampler is not None and not _plans(sampler) and (drop_last or cache):
            raise ValueError("a sampler of your own yields the batches: leave drop_last and cache out")
        self.ranks = Ranks(detect=auto_detect_rank and sampler is None)
        share = None if self.ranks.detect else getattr(sampler, "world_size", 1)
        random = (samples, shuffle, seed, type(sampler).__name__)
        made_of = (columns, str(filter), batch_size, drop_last, with_row_id, *random)
        data, self._noted = _opened(dataset, dict(dataset_options or {}), made_of, share)
        self.makes_tensors = to_tensor_fn is to_tensors
        form: Any = "torch" if self.makes_tensors else "arrow"
        if cache:
            table = cached(data, columns, filter, with_row_id, form, conversion, None if cache is True else cache)
        else:
            table = LanceTable(data, columns, filter, with_row_id=with_row_id, as_=form, conversion=conversion)
        self.table = table
        self.batch_size = batch_size
        self.sampler = Everything(self.ranks, samples, shuffle, seed) if sampler is None else sampler
        source: IterDataPipe[Any]
        if _plans(self.sampler):
            source = BatchNumbers(table, self.sampler, batch_size, drop_last)
        else:
            source = Scanned(data, self.sampler, batch_size, columns, filter, with_row_id, batch_readahead)
        source = Dealt(source, self.ranks)
        if _plans(self.sampler):
            source = BatchTaker(source, table)
        elif self.makes_tensors:
            source = source.to_tensors(conversion)
        if self.makes_tensors:
            source = Mapper(source, partial(_columns, one=len(table.schema) == 1))
        elif to_tensor_fn is not None:
            source = Mapper(source, _as_lance_calls(to_tensor_fn, data.dataset.schema))
        self.datapipe = source
        know_collate()
        with suppress(ImportError):  # it is one of torch's data sets, also for a program that imports torch behind this
            import torch.utils.data  # noqa: F401
        join_torch()

    def __add__(self, other: Any) -> Any:
        from torch.utils.data import ChainDataset

        return ChainDataset([self, other])  # type: ignore[list-item]  # an IterableDataset for torch

    @property
    def schema(self) -> Any:
        """Of the columns that are read, a `pyarrow.Schema`."""
        return self.table.schema

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next: what is random is another in each. `DataLoader2` says so by itself."""
        tell = getattr(self.sampler, "set_epoch", None)
        if tell is not None:
            tell(epoch)

    def __len__(self) -> int:
        return len(self.datapipe)

    def build(self, ctx: Context, state: State = None) -> Stream[Any]:
        know_collate()
        self._noted.check()
        rank, ranks = self.ranks.found()
        if ranks > 1 and not ctx.plain and ctx.worker.world_size == 1:
            warnings.warn(
                f"rank {rank} of {ranks} reads what every other one does, as its reading service knows no ranks: use "
                "DistributedReadingService, alone or ahead of another one in a SequentialReadingService",
                stacklevel=2,
            )
        if self.makes_tensors and leaves_from(ctx, self):
            assert ctx.outlet is not None
            tensors: Any = self.datapipe.sources[0]  # behind them columns are put together, and not looked at
            ctx = replace(ctx, outlet=replace(ctx.outlet, pipe=ctx.name(tensors)))
        return ctx.build(self.datapipe, state, holes=True)


def _opened(dataset: Any, options: dict[str, Any], made_of: Any, ranks: int | None) -> tuple[LanceData, Noted]:
    """Open a data set, at the version that the ranks have agreed on, unless it is said which."""
    is_said = says_version(dataset, options)
    data = LanceData(dataset, options.pop("version", None), options)
    noted = Noted(data, made_of, ranks)
    other = noted.other()
    if other is not None:
        if is_said:
            raise noted.different(other[0])
        try:
            theirs = LanceData(dataset, other[0], options)
        except FileNotFoundError as error:
            raise noted.different(other[0]) from error
        if mark(theirs) == other[1]:  # a machine may have a data set of its own there
            data = theirs
    return data, noted


def _columns(batch: Any, *, one: bool) -> Any:
    """Return a batch, or of one column the column itself; a mask of its nulls would be a second one."""
    if type(batch) is Tensors:
        batch = as_tensors_later(batch.columns)
    batch |= {name: _signed(batch[name]) for name in _IDS & batch.keys()}
    return next(iter(batch.values())) if one and len(batch) == 1 else Batch(batch)


def _signed(ids: Any) -> Any:
    """Return row ids as int64, with which torch can do what it cannot with uint64."""
    if type(ids) is Deferred:
        return Deferred(_signed(ids.array))
    kind = str(getattr(ids, "dtype", ""))
    if kind == "torch.uint64":
        return ids.view(sys.modules["torch"].int64)
    return ids.view("int64") if kind == "uint64" else ids


def _ours(sampler: Any) -> Any:
    """Return our sampler in place of Lance's own one, which other ranks and workers would not fit together with."""
    cls = type(sampler)
    made = getattr(_samplers, cls.__name__, None) if cls.__module__ == "lance.sampler" else None
    if made is None:
        return sampler
    given = ("rank", "world_size", "randomize", "seed", "batch_size", "total_num_rows")
    ours = made(**{name: getattr(sampler, f"_{name}") for name in given if hasattr(sampler, f"_{name}")})
    if epoch := getattr(sampler, "_epoch", 0):
        ours.set_epoch(epoch)
    return ours


def _plans(sampler: Any) -> TypeGuard[Planner]:
    """Whether a sampler says which rows make each batch; others read by themselves, also subclasses of ours."""
    return isinstance(sampler, Planner) and type(sampler).__call__ is Planner.__call__


def _as_lance_calls(function: Callable[..., Any], schema: Any) -> Callable[[Any], Any]:
    """Return a function of a record batch, which gets by name what Lance gives by name, as far as it takes that."""
    try:
        takes = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return function
    given: dict[str, Any] = {"hf_converter": None, "use_blob_api": False}
    if not any(one.kind is one.VAR_KEYWORD for one in takes):
        given = {name: value for name, value in given.items() if name in {one.name for one in takes}}
    about = (schema.metadata or {}).get(b"huggingface")
    if "hf_converter" in given and about is not None:
        from lance.hf import HuggingFaceConverter

        given["hf_converter"] = HuggingFaceConverter(json.loads(about))
    return partial(function, **given) if given else function
