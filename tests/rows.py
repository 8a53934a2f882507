"""A row for every registered pipe: a small graph that has the pipe in it, for the checks of `penstock.testing`.

A row's key is the pipe's functional name, or its class's name where it has none. ``length`` is what ``len`` must say,
None for a TypeError; ``broken`` is the same graph with a function of the user's that raises.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import msgpack
from datasets import Dataset
from torch.utils.data import RandomSampler

import rows_files
from penstock.pipes import FileLister, IterableWrapper, SampleMultiplexer, Sampler
from penstock.pipes.map import ArrayTable, HuggingFaceTable, LanceTable, ParquetTable, SequenceWrapper
from penstock.testing import Case, boom


def ten() -> IterableWrapper[int]:
    return IterableWrapper(range(10))


def backwards() -> IterableWrapper[int]:
    return IterableWrapper(range(9, -1, -1))


def letters() -> SequenceWrapper[str]:
    return SequenceWrapper("abcde")


def opened(path: Path) -> Any:
    return IterableWrapper([str(path)]).open_files("rb")


def write_files(folder: Path) -> None:
    """Make the files that the rows read."""
    (folder / "a.csv").write_text("k,v\n1,2\n3,4\n5,6\n")
    (folder / "a.jsonl").write_text('{"x": 1}\n[2]\n3\n')
    (folder / "a.msgpack").write_bytes(b"".join(map(msgpack.packb, ({"x": 1}, [2], 3))))
    rows_files.write_files(folder)


def iter_rows(folder: Path) -> Iterator[tuple[str, Case]]:
    """The rows of IterDataPipes. ``folder`` has the files of `write_files`."""
    csv = folder / "a.csv"
    yield from rows_files.file_rows(folder)
    yield "IterableWrapper", Case(ten, 10)
    yield "add_index", Case(lambda: ten().map(lambda x: {"x": x}).add_index(), 10)
    yield (
        "async_map",
        Case(
            lambda: ten().async_map(str, buffer=4, max_workers=2),
            10,
            lambda: ten().async_map(boom, buffer=4, max_workers=2),
        ),
    )
    yield (
        "async_map_batches",
        Case(lambda: ten().async_map_batches(doubled, 3), 10, lambda: ten().async_map_batches(async_boom, 3)),
    )
    yield "batch", Case(lambda: ten().batch(3), 4, lambda: ten().batch(3, wrapper_class=boom))
    yield (
        "bucketbatch",
        Case(
            lambda: ten().bucketbatch(2, batch_num=1, bucket_num=2, sort_key=sorted),
            None,
            lambda: ten().bucketbatch(2, sort_key=boom),
            name="flatmap",
        ),
    )
    yield "collate", Case(lambda: ten().batch(3).collate(), 4, lambda: ten().batch(3).collate(boom))
    yield "concat", Case(lambda: ten().concat(ten()), 20)
    yield "cycle", Case(lambda: ten().cycle(2), 20)
    yield (
        "demux",
        Case(lambda: zipped(ten().demux(2, lambda x: x % 2)), None, lambda: zipped(ten().demux(2, boom)), name="demux"),
    )
    yield "drop", Case(lambda: ten().map(lambda x: (x, -x)).drop(1), 10)
    yield (
        "end_caching",
        Case(
            lambda: two_cached(folder, "end").end_caching("w"),
            None,
            lambda: two_cached(folder, "end_broken").end_caching("w", boom),
        ),
    )
    yield "enumerate", Case(lambda: ten().enumerate(), 10)
    yield "filter", Case(lambda: ten().filter(lambda x: x % 3), None, lambda: ten().filter(boom))
    yield "flatmap", Case(lambda: ten().flatmap(lambda x: [x, x]), None, lambda: ten().flatmap(boom))
    yield "flatten", Case(lambda: ten().map(lambda x: (x, (x, x))).flatten(), 10)
    yield "fork", Case(lambda: zipped(ten().fork(2)), 10)
    yield (
        "groupby",
        Case(lambda: ten().groupby(lambda x: x % 3, group_size=2), None, lambda: ten().groupby(boom, group_size=2)),
    )
    yield "fullsync", Case(lambda: ten().sharding_filter().fullsync(), 10)
    yield "header", Case(lambda: ten().header(4), 4)
    yield "in_batch_shuffle", Case(lambda: ten().batch(3).in_batch_shuffle(), 4)
    yield (
        "lines_to_paragraphs",
        Case(
            lambda: ten().map(lambda x: (str(x // 3), str(x))).lines_to_paragraphs(),
            None,
            lambda: ten().map(lambda x: (str(x // 3), str(x))).lines_to_paragraphs(boom),
        ),
    )
    yield "in_memory_cache", Case(lambda: ten().in_memory_cache(), 10)
    yield "list_files", Case(lambda: FileLister(str(folder)))
    yield "map", Case(lambda: ten().map(lambda x: x + 1), 10, lambda: ten().map(boom))
    yield (
        "map_batches",
        Case(
            lambda: ten().map_batches(lambda batch: [sum(batch), len(batch)], batch_size=3),
            None,
            lambda: ten().map_batches(boom, batch_size=3),
        ),
    )
    yield (
        "max_token_bucketize",
        Case(
            lambda: ten().max_token_bucketize(12, len_fn=int, buffer_size=3),
            None,
            lambda: ten().max_token_bucketize(12, len_fn=boom),
        ),
    )
    yield "monitor", Case(lambda: ten().monitor(len), 10, lambda: ten().monitor(boom, window_size=1))
    yield "mux", Case(lambda: ten().mux(ten().header(7)), 14)
    yield "mux_longest", Case(lambda: ten().mux_longest(ten().header(7)), 17)
    yield "numba_map", Case(lambda: ten().numba_map(lambda x: x + 1), 10, lambda: ten().numba_map(boom))
    yield (
        "on_disk_cache",
        Case(
            lambda: two_cached(folder, "holder").end_caching("w"),
            None,
            lambda: ten().on_disk_cache(boom).end_caching("w"),
            name="end_caching",
        ),
    )
    yield "open_files", Case(lambda: FileLister(str(folder), "*.csv").open_files())
    yield "parse_csv", Case(lambda: opened(csv).parse_csv())
    yield "parse_csv_as_dict", Case(lambda: opened(csv).parse_csv_as_dict())
    yield "parse_jsonl", Case(lambda: opened(folder / "a.jsonl").parse_jsonl())
    yield "parse_msgpack", Case(lambda: opened(folder / "a.msgpack").parse_msgpack())
    yield "pin_memory", Case(pinned, 10, lambda: pinned(boom))
    yield "prefetch", Case(lambda: ten().prefetch(2), 10)
    yield (
        "random_filter",
        Case(lambda: ten().random_filter(lambda x, rng: rng.random() < 0.5), None, lambda: ten().random_filter(boom)),
    )
    yield "random_map", Case(lambda: ten().random_map(lambda x, rng: rng.random()), 10, lambda: ten().random_map(boom))
    yield "random_split", Case(lambda: ten().random_split({"a": 7, "b": 3}, seed=1)[0], 7)
    yield "readlines", Case(lambda: opened(csv).readlines())
    yield "repeat", Case(lambda: ten().repeat(2), 20)
    yield "round_robin_demux", Case(lambda: zipped(ten().round_robin_demux(2)), 5)
    yield "rows2columnar", Case(lambda: ten().map(lambda x: {"x": x, "y": -x}).batch(3).rows2columnar(), 4)
    yield "SampleMultiplexer", Case(lambda: SampleMultiplexer({ten(): 3, ten(): 1}), 20)
    yield "Sampler", Case(lambda: Sampler(ten(), RandomSampler), 10)
    yield "set_length", Case(lambda: ten().filter(lambda x: x % 2).set_length(5), 5)
    yield "shard_expand", Case(lambda: IterableWrapper(["x-{00..03}.tar", "y"]).shard_expand())
    yield "sharding_filter", Case(lambda: ten().sharding_filter(), 10)
    yield "sharding_round_robin_dispatch", Case(lambda: ten().sharding_round_robin_dispatch(), 10)
    yield "shuffle", Case(lambda: ten().shuffle(buffer_size=4), 10)
    yield (
        "shuffled_flatmap",
        Case(
            lambda: ten().shuffled_flatmap(lambda x: [x] * (x % 4), buffer_size=3),
            None,
            lambda: ten().shuffled_flatmap(boom, buffer_size=3),
        ),
    )
    yield "sliding", Case(lambda: ten().sliding(4, 3, at_least=1), 4)
    yield "slice", Case(lambda: ten().map(lambda x: (x, -x, 0)).slice(0, 2), 10)
    yield (
        "to_map_datapipe",
        Case(
            lambda: ten().to_map_datapipe(lambda x: (x, -x)), 10, lambda: ten().to_map_datapipe(boom).to_iter_datapipe()
        ),
    )
    yield (
        "threadpool_map",
        Case(
            lambda: ten().threadpool_map(str, scheduled_tasks=4, max_workers=2),
            10,
            lambda: ten().threadpool_map(boom, scheduled_tasks=4, max_workers=2),
        ),
    )
    yield "unbatch", Case(lambda: ten().batch(3).unbatch())
    yield "unzip", Case(lambda: zipped(ten().map(lambda x: (x, -x)).unzip(2)), 10)
    yield "webdataset", Case(lambda: ten().map(lambda x: (f"a.tar/{x // 3}.{x}", x)).webdataset())
    yield "zip", Case(lambda: ten().zip(ten().header(7)), 7)
    yield "zip_longest", Case(lambda: ten().zip_longest(ten().header(7)), 10)
    yield (
        "zip_with_iter",
        Case(lambda: ten().zip_with_iter(backwards(), lambda x: x), 10, lambda: ten().zip_with_iter(backwards(), boom)),
    )
    yield (
        "zip_with_map",
        Case(lambda: ten().zip_with_map(letters(), lambda x: x % 5), 10, lambda: ten().zip_with_map(letters(), boom)),
    )


def map_rows(folder: Path) -> Iterator[tuple[str, Case]]:
    """The rows of MapDataPipes, and of what leads from them to IterDataPipes."""
    yield "HuggingFaceTable", Case(lambda: HuggingFaceTable(Dataset.from_dict({"x": [1, 2, 3]})), 3)
    yield "ArrayTable", Case(lambda: ArrayTable([{"x": str(folder / "x.npy")}]), 5)
    yield "LanceTable", Case(lambda: LanceTable(str(folder / "a.lance")), 5)
    yield "ParquetTable", Case(lambda: ParquetTable([str(folder / "b.parquet")]), 5)
    yield "SequenceWrapper", Case(letters, 5)
    # An item of a MapDataPipe is made where it is asked for, so that is where its error is raised.
    yield (
        "batch",
        Case(lambda: letters().batch(2), 3, lambda: letters().batch(2, wrapper_class=boom).to_iter_datapipe()),
    )
    yield "concat", Case(lambda: letters().concat(letters()), 10)
    yield "in_memory_cache", Case(lambda: letters().in_memory_cache(), 5)
    yield "map", Case(lambda: letters().map(str.upper), 5, lambda: letters().map(boom).to_iter_datapipe())
    yield "shuffle", Case(lambda: letters().shuffle(), 5)
    yield "to_iter_datapipe", Case(lambda: letters().to_iter_datapipe([3, 1]), 2)
    yield "unzip", Case(lambda: letters().map(lambda x: (x, x.upper())).unzip(2)[1], 5)
    yield "zip", Case(lambda: letters().zip(letters().map(str.upper)), 5)


def zipped(pipes: list[Any]) -> Any:
    return pipes[0].zip(*pipes[1:])


async def doubled(x: int) -> int:
    return 2 * x


async def async_boom(x: int) -> int:
    return int(boom(x))


def two_cached(folder: Path, name: str) -> Any:
    paths = [str(folder / f"{name}_{letter}.cached") for letter in "ab"]
    return IterableWrapper(paths).on_disk_cache().map(lambda path: (path, "text"))


def pinned(pin_memory_fn: Any = None) -> Any:
    """The pipe as it is where there is CUDA, which only its construction asks for."""
    with mock.patch("penstock.pipes.pin_memory._cuda_is_available", return_value=True):
        return ten().pin_memory(0, pin_memory_fn or (lambda item, device: item + device))
