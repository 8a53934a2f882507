"""A row for every registered pipe: a small graph that has the pipe in it, for the checks of `penstock.testing`.

A row's key is the pipe's functional name, or its class's name where it has none. ``length`` is what ``len`` must say,
None for a TypeError; ``broken`` is the same graph with a function of the user's that raises.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack

from penstock.pipes import FileLister, IterableWrapper
from penstock.pipes.map import SequenceWrapper
from penstock.testing import Case, boom


def ten() -> IterableWrapper[int]:
    return IterableWrapper(range(10))


def letters() -> SequenceWrapper[str]:
    return SequenceWrapper("abcde")


def opened(path: Path) -> Any:
    return IterableWrapper([str(path)]).open_files("rb")


def write_files(folder: Path) -> None:
    """Make the files that the rows read."""
    (folder / "a.csv").write_text("k,v\n1,2\n3,4\n5,6\n")
    (folder / "a.jsonl").write_text('{"x": 1}\n[2]\n3\n')
    (folder / "a.msgpack").write_bytes(b"".join(map(msgpack.packb, ({"x": 1}, [2], 3))))


def iter_rows(folder: Path) -> Iterator[tuple[str, Case]]:
    """The rows of IterDataPipes. ``folder`` has the files of `write_files`."""
    csv = folder / "a.csv"
    yield "IterableWrapper", Case(ten, 10)
    yield "batch", Case(lambda: ten().batch(3), 4, lambda: ten().batch(3, wrapper_class=boom))
    yield "collate", Case(lambda: ten().batch(3).collate(), 4, lambda: ten().batch(3).collate(boom))
    yield "concat", Case(lambda: ten().concat(ten()), 20)
    yield "cycle", Case(lambda: ten().cycle(2), 20)
    yield (
        "demux",
        Case(lambda: zipped(ten().demux(2, lambda x: x % 2)), None, lambda: zipped(ten().demux(2, boom)), name="demux"),
    )
    yield "enumerate", Case(lambda: ten().enumerate(), 10)
    yield "filter", Case(lambda: ten().filter(lambda x: x % 3), None, lambda: ten().filter(boom))
    yield "flatmap", Case(lambda: ten().flatmap(lambda x: [x, x]), None, lambda: ten().flatmap(boom))
    yield "fork", Case(lambda: zipped(ten().fork(2)), 10)
    yield "header", Case(lambda: ten().header(4), 4)
    yield "list_files", Case(lambda: FileLister(str(folder)))
    yield "map", Case(lambda: ten().map(lambda x: x + 1), 10, lambda: ten().map(boom))
    yield "open_files", Case(lambda: FileLister(str(folder), "*.csv").open_files())
    yield "parse_csv", Case(lambda: opened(csv).parse_csv())
    yield "parse_csv_as_dict", Case(lambda: opened(csv).parse_csv_as_dict())
    yield "parse_jsonl", Case(lambda: opened(folder / "a.jsonl").parse_jsonl())
    yield "parse_msgpack", Case(lambda: opened(folder / "a.msgpack").parse_msgpack())
    yield "prefetch", Case(lambda: ten().prefetch(2), 10)
    yield (
        "random_filter",
        Case(lambda: ten().random_filter(lambda x, rng: rng.random() < 0.5), None, lambda: ten().random_filter(boom)),
    )
    yield "random_map", Case(lambda: ten().random_map(lambda x, rng: rng.random()), 10, lambda: ten().random_map(boom))
    yield "readlines", Case(lambda: opened(csv).readlines())
    yield "round_robin_demux", Case(lambda: zipped(ten().round_robin_demux(2)), 5)
    yield "sharding_filter", Case(lambda: ten().sharding_filter(), 10)
    yield "shuffle", Case(lambda: ten().shuffle(buffer_size=4), 10)
    yield "unbatch", Case(lambda: ten().batch(3).unbatch())
    yield "unzip", Case(lambda: zipped(ten().map(lambda x: (x, -x)).unzip(2)), 10)
    yield "zip", Case(lambda: ten().zip(ten().header(7)), 7)


def map_rows(folder: Path) -> Iterator[tuple[str, Case]]:
    """The rows of MapDataPipes, and of what leads from them to IterDataPipes."""
    yield "SequenceWrapper", Case(letters, 5)
    # An item of a MapDataPipe is made where it is asked for, so that is where its error is raised.
    yield (
        "batch",
        Case(lambda: letters().batch(2), 3, lambda: letters().batch(2, wrapper_class=boom).to_iter_datapipe()),
    )
    yield "map", Case(lambda: letters().map(str.upper), 5, lambda: letters().map(boom).to_iter_datapipe())
    yield "shuffle", Case(lambda: letters().shuffle(), 5)
    yield "to_iter_datapipe", Case(lambda: letters().to_iter_datapipe([3, 1]), 2)


def zipped(pipes: list[Any]) -> Any:
    return pipes[0].zip(*pipes[1:])
