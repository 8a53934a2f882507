"""Spark: write data to shards, read shards and tables as a pipe, and map over shards with any graph of pipes.

Reading needs no Spark. What runs in Spark's tasks needs penstock on the workers, and a URL that all machines reach.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from penstock.core.errors import MissingExtra
from penstock.core.pipe import IterDataPipe
from penstock.integrations._shards import Shard, check_format, read_shards, shard_files
from penstock.integrations._staging import Staging, Written, staged
from penstock.pipes.wrapper import IterableWrapper

if TYPE_CHECKING:
    from pyspark import RDD
    from pyspark.sql import DataFrame, SparkSession

__all__ = ["Shard", "map_shards", "read_shards", "shard_files", "write_shards"]

PipeFn = Callable[[IterDataPipe[Any]], IterDataPipe[Any]]

_SAMPLES_PER_SHARD = 1000  # of a pipe, which does not say how many it has


def write_shards(
    data: DataFrame | RDD[Any] | Iterable[Any],
    url: str,
    *,
    format: str = "msgpack",
    fn: PipeFn | None = None,
    num_shards: int | None = None,
    samples_per_shard: int | None = None,
    overwrite: bool = False,
    session: SparkSession | None = None,
    seed: int = 0,
) -> list[Shard]:
    """Write data to shards, in Spark's tasks, and return what there is.

    Each partition becomes a shard, ``part-00000.msgpack`` and on; one that has no samples becomes none. A folder is
    complete when it has the file ``_shards.json``, which is written last. A task that fails, or runs twice, leaves
    nothing over.

    A pipe runs in this process, and its items go to the tasks in pieces, of which two for each core are in memory at
    most. So what Spark can do at many places at once is ``fn``, and the work belongs there.

    Args:
        data: a DataFrame, whose rows become dicts; an RDD; or a DataPipe, a DataLoader2 or any other iterable.
        url: the folder: a local path, or a URL that fsspec knows.
        format: ``msgpack``, ``jsonl`` or ``parquet``. MessagePack keeps numpy's arrays; tuples become lists in all of
            them, and the keys of a JSON object text. The types of a Parquet file's columns are those of the samples in
            it; Spark's own are kept by ``dataframe.write.parquet(url)``, which `read_shards` reads as well.
        fn: makes of a DataPipe of a partition's samples another one, whose items are written.
        num_shards: shuffle the data of a DataFrame or RDD into so many partitions; as it is unless given.
        samples_per_shard: at most so many samples before ``fn`` goes into another shard. 1000 for a pipe; otherwise a
            partition is one shard unless given.
        overwrite: replace the shards that are there, once the new ones have been written.
        session: for a pipe; the active one, or a new one, unless given.
        seed: of the random steps in ``fn``. A task that is run again gives the same samples.

    Raises:
        FileExistsError: the folder has shards, and ``overwrite`` is false; or files that are no shards.
        MissingExtra: pyspark is not installed.
        RuntimeError: there is no Java to run Spark.
        ValueError: no such format, or numbers that are not positive or do not go with the data.
    """
    for name, number in (("num_shards", num_shards), ("samples_per_shard", samples_per_shard)):
        if number is not None and number < 1:
            raise ValueError(f"{name} must be at least 1, got {number}")
    rows: Any = data
    kinds = _kinds()
    if not isinstance(rows, kinds):
        if num_shards is not None:
            raise ValueError("num_shards is for data that Spark has; a pipe is cut by samples_per_shard")
        return _write_pieces(rows, url, format, fn, samples_per_shard or _SAMPLES_PER_SHARD, overwrite, session, seed)
    if num_shards is not None:
        rows = rows.repartition(num_shards)
    if isinstance(rows, kinds[1]):
        rows = rows.rdd.map(_as_dict)
    with staged(url, check_format(format), samples_per_shard, overwrite=overwrite) as (staging, publish):
        return publish(rows.mapPartitionsWithIndex(partial(_write_partition, staging, fn, seed)).collect())


def map_shards(
    url: str,
    fn: PipeFn,
    out_url: str,
    *,
    format: str = "msgpack",
    out_format: str | None = None,
    overwrite: bool = False,
    session: SparkSession | None = None,
    seed: int = 0,
) -> list[Shard]:
    """Make shards of shards, each in a task of Spark's, and return what there is.

    A task reads a shard, or a file of a table, by `read_shards`, and writes what ``fn`` makes of it to the shard of the
    same number. One of which nothing is left is left out.

    Args:
        url: the folder that is read.
        fn: makes of a DataPipe of a shard's samples another one, by any graph of pipes. Closures and lambdas will do.
        out_url: the folder that is written; with ``overwrite`` it may be the one that is read.
        format: of the shards that are read: ``msgpack``, ``jsonl`` or ``parquet``.
        out_format: of the shards that are written; the same unless given.
        overwrite: replace the shards that are there, once the new ones have been written.
        session: the active one, or a new one, unless given.
        seed: of the random steps in ``fn``. A task that is run again gives the same samples.

    Raises:
        FileExistsError: the folder has shards, and ``overwrite`` is false; or files that are no shards.
        MissingExtra: pyspark is not installed.
        RuntimeError: there is no Java to run Spark.
        ValueError: no such format.
    """
    paths = list(enumerate(shard_files(url, format=format)))
    with staged(out_url, check_format(out_format or format), None, overwrite=overwrite) as (staging, publish):
        shards = _context(session).parallelize(paths, max(1, len(paths)))
        task = partial(_map_partition, staging, fn, seed, format)
        return publish(shards.mapPartitionsWithIndex(task).collect())


# ------------------------------------------------------------------------------------------------- what tasks run


def _write_partition(staging: Staging, fn: PipeFn | None, seed: int, index: int, samples: Any) -> list[Written]:
    return staging.write(index, _made(fn, IterableWrapper(samples, deepcopy=False), seed, index))


def _write_listed(staging: Staging, fn: PipeFn | None, seed: int, _: int, pieces: Any) -> list[Written]:
    return [each for index, samples in pieces for each in _write_partition(staging, fn, seed, index, samples)]


def _map_partition(staging: Staging, fn: PipeFn, seed: int, format: str, _: int, shards: Any) -> list[Written]:
    written: list[Written] = []
    for index, path in shards:
        samples = read_shards(IterableWrapper([path]), format=format)
        written += staging.write(index, _made(fn, samples, seed, index))
    return written


def _made(fn: PipeFn | None, samples: IterDataPipe[Any], seed: int, index: int) -> Iterator[Any]:
    """Run a partition's graph, as an epoch of its own, so that random steps differ, and can be repeated."""
    pipe: Any = samples if fn is None else fn(samples)
    if not isinstance(pipe, IterDataPipe):
        raise TypeError(f"fn must return a DataPipe, got {type(pipe).__name__}")
    run: Any = iter(IterableWrapper(pipe))
    run.load_state_dict({"seed": seed, "epoch": index, "state": None})
    try:
        yield from run
    finally:
        run.close()


def _as_dict(row: Any) -> dict[str, Any]:
    made: dict[str, Any] = row.asDict(recursive=True)
    return made


# --------------------------------------------------------------------------------------------- what the driver runs


def _write_pieces(
    data: Iterable[Any],
    url: str,
    format: str,
    fn: PipeFn | None,
    size: int,
    overwrite: bool,
    session: SparkSession | None,
    seed: int,
) -> list[Shard]:
    context = _context(session)
    source: Any = data if isinstance(data, IterDataPipe) else IterableWrapper(iter(data), deepcopy=False)
    # While one group of pieces is written, a thread has the next one made.
    groups: Any = iter(source.batch(size).map(list).enumerate().batch(context.defaultParallelism).prefetch(1))
    written: list[Written] = []
    try:
        with staged(url, check_format(format), None, overwrite=overwrite) as (staging, publish):
            for group in groups:
                pieces = context.parallelize(list(group), len(group))
                written += pieces.mapPartitionsWithIndex(partial(_write_listed, staging, fn, seed)).collect()
            return publish(written)
    finally:
        groups.close()


def _kinds() -> tuple[Any, Any]:
    """Return the classes of an RDD and a DataFrame."""
    try:
        from pyspark import RDD
        from pyspark.sql import DataFrame
    except ImportError as error:
        raise MissingExtra("writing shards with Spark needs pyspark: pip install 'penstock[spark]'") from error
    return RDD, DataFrame


def _context(session: SparkSession | None) -> Any:
    _kinds()
    from pyspark.sql import SparkSession

    if session is None:
        session = SparkSession.getActiveSession()
    if session is None:
        try:
            session = SparkSession.builder.getOrCreate()
        except Exception as error:
            if _has_java():
                raise
            raise RuntimeError("Spark needs a Java runtime: put `java` on the PATH, or set JAVA_HOME") from error
    return session.sparkContext


def _has_java() -> bool:
    home = os.environ.get("JAVA_HOME")
    return shutil.which(os.path.join(home, "bin", "java") if home else "java") is not None
