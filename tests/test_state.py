"""A stream restored from the state after any item goes on with the very next one."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import torch.utils.data
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.core.context import Context
from penstock.core.errors import StateError
from penstock.core.feed import Feed
from penstock.core.plan import plan
from penstock.core.stream import State, Stream, sequence_stream
from penstock.pipes import FileLister, IterableWrapper, IterDataPipe
from penstock.pipes.map import SequenceWrapper
from penstock.reading_service.lanes import read_lanes
from running import beginning, context, copied, merged, restores_at_every_index, trip


class Doubled(IterDataPipe[Any]):
    """A pipe as torchdata's users write them; drops every third item."""

    def __init__(self, source_datapipe: Any) -> None:
        self.source_datapipe = source_datapipe

    def __iter__(self) -> Iterator[Any]:
        for i, x in enumerate(self.source_datapipe):
            if i % 3 != 2:
                yield x
                yield x


class Remembering:
    """An iterator that can save its place."""

    def __init__(self, n: int) -> None:
        self.at, self.n = 0, n

    def __iter__(self) -> Remembering:
        return self

    def __next__(self) -> int:
        if self.at == self.n:
            raise StopIteration
        self.at += 1
        return self.at * 10

    def state_dict(self) -> dict[str, int]:
        return {"at": self.at}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.at = state["at"]


class Remembered(IterDataPipe[int]):
    def __iter__(self) -> Iterator[int]:
        return Remembering(7)


class Squares(torch.utils.data.Dataset[int]):
    """Never raises IndexError, as many data sets don't."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> int:
        return index * index


class Stretch(torch.utils.data.IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        yield from range(6)


class Counted(IterDataPipe[int]):
    """Counts the items that are read from it."""

    read = 0

    def __init__(self, n: int) -> None:
        self.n = n

    def build(self, ctx: Context, state: State = None) -> Stream[int]:
        name = ctx.name(self)
        stream = sequence_stream(range(self.n), ctx.own(self, state) or 0, lambda n: {name: n})

        def reading() -> Iterator[int]:
            for x in stream.it:
                Counted.read += 1
                yield x

        return stream.onward(reading(), skip=stream.skip)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files of each kind; the rows of the CSV files run over several lines, and a header names the columns."""
    folder = tmp_path_factory.mktemp("files")
    for k in range(2):
        text = io.StringIO(newline="")
        rows = csv.writer(text)
        rows.writerow(["name", "note"])
        rows.writerows([f"n{k}{i}", 'a "b"\nc,\r\nd' if i % 2 else "é"] for i in range(5))
        lines = "".join(json.dumps({"k": k, "i": i}) + "\n" + "\n" * (i == 2) for i in range(5))
        packed = b"".join(msgpack.packb({"k": k, "i": i, "x": "x" * i}) for i in range(5))
        for name, data in (
            (f"{k}.csv", text.getvalue().encode()),
            (f"{k}.jsonl", lines.encode()),
            (f"{k}.msgpack", packed),
            (f"{k}.txt", b"one\r\ntwo\n\nfour"),
        ):
            (folder / name).write_bytes(data)
            with gzip.open(folder / f"{name}.gz", "wb") as file:
                file.write(data)
    (folder / "0.csv.bz2").write_bytes(bz2.compress((folder / "0.csv").read_bytes()))
    (folder / "empty.csv").write_bytes(b"")
    return folder


def wrap(n: int) -> IterableWrapper[int]:
    return IterableWrapper(range(n))


def mapped(n: int) -> SequenceWrapper[int]:
    return SequenceWrapper(list(range(n))).map(lambda x: x + 100)  # type: ignore[return-value]


def noisy(x: Any, rng: np.random.Generator) -> Any:
    return x, float(rng.random())


GRAPHS: dict[str, Callable[[Path], IterDataPipe[Any]]] = {
    "list": lambda _: IterableWrapper([3, 1, 2]),
    "list of lists, copied": lambda _: IterableWrapper([[3], [1], [2]]),
    "empty list": lambda _: IterableWrapper([]).map(str).batch(2),
    "range": lambda _: wrap(9),
    "tuple": lambda _: IterableWrapper((1, 2.5, None)),
    "str": lambda _: IterableWrapper("héllo"),
    "bytes": lambda _: IterableWrapper(b"abc"),
    "dict": lambda _: IterableWrapper({"a": 1, "b": 2}),
    "array": lambda _: IterableWrapper(np.arange(6)),
    "rows of an array": lambda _: IterableWrapper(np.arange(6).reshape(3, 2)).batch(2),
    "tensor": lambda _: IterableWrapper(torch.arange(6)),
    "set": lambda _: IterableWrapper({"b", "a", "c", "d", "e"}),
    "mixed set": lambda _: IterableWrapper({"b", 1, None, 2.5}),
    "wrapper of a wrapper": lambda _: IterableWrapper(wrap(4).map(str)),
    "torch Dataset": lambda _: IterableWrapper(Squares()),
    "torch Subset": lambda _: IterableWrapper(torch.utils.data.Subset(Squares(), [4, 2, 0])),
    "torch IterableDataset": lambda _: IterableWrapper(Stretch()).map(str),
    "torch Dataset by index": lambda _: SequenceWrapper(Squares()).shuffle().batch(2),
    "generator pipe": lambda _: Doubled(wrap(7)),
    "generator pipe over a shuffle": lambda _: Doubled(wrap(17).shuffle(buffer_size=4)).map(str),
    "shuffle over a generator pipe": lambda _: Doubled(wrap(9)).shuffle(buffer_size=5),
    "generator pipe of one": lambda _: Doubled(Doubled(wrap(5))).batch(3),
    "iterator with a state": lambda _: Remembered(),
    "iterator with a state, shuffled": lambda _: Remembered().shuffle(buffer_size=3),
    "map": lambda _: wrap(5).map(lambda x: x * 2),
    "filter": lambda _: wrap(9).filter(lambda x: x % 3),
    "map of columns": lambda _: wrap(5).zip(wrap(5)).map(lambda a, b: a + b, [0, 1], -1),
    "batch": lambda _: wrap(11).batch(4),
    "batch, drop_last": lambda _: wrap(11).batch(4, drop_last=True),
    "batches of batches": lambda _: wrap(11).batch(2).batch(3),
    "unbatch": lambda _: wrap(11).batch(4).unbatch(),
    "unbatch two levels": lambda _: wrap(11).batch(2).batch(2).unbatch(2),
    "unbatch all levels": lambda _: IterableWrapper([[[1], [2, [3]]], [], [[4]], 5]).unbatch(-1),
    "collate": lambda _: wrap(7).map(lambda x: (x, [float(x)])).batch(3).collate(),
    "collate with a function": lambda _: wrap(7).batch(3).collate(sum),
    "zip": lambda _: wrap(5).zip(wrap(3).map(str), wrap(9).shuffle()),
    "zip, the first is shortest": lambda _: wrap(2).zip(wrap(5)),
    "zip of a pipe and itself": lambda _: (lambda p: p.zip(p))(wrap(9).shuffle(buffer_size=4)),
    "zip under shuffle": lambda _: wrap(5).zip(wrap(3)).shuffle(buffer_size=2),
    "concat": lambda _: wrap(3).concat(IterableWrapper([]), wrap(2).map(str), wrap(4).shuffle()),
    "shuffle": lambda _: wrap(40).shuffle(),
    "shuffle in windows": lambda _: wrap(40).shuffle(buffer_size=18),
    "shuffle by ones": lambda _: wrap(4).shuffle(buffer_size=1),
    "shuffle of a shuffle": lambda _: wrap(40).shuffle(buffer_size=7).shuffle(buffer_size=17),
    "shuffle with unbatch": lambda _: wrap(11).batch(3).shuffle(buffer_size=4, unbatch_level=1),
    "shuffle off": lambda _: wrap(5).shuffle().set_shuffle(False),  # type: ignore[attr-defined]
    "shuffle with a seed": lambda _: wrap(25).shuffle().set_seed(3),  # type: ignore[attr-defined]
    "flatmap": lambda _: wrap(6).flatmap(lambda x: [x] * (x % 3)),
    "flatmap of a shuffle": lambda _: wrap(9).shuffle(buffer_size=4).flatmap(lambda x: iter(range(x))),
    "flatmap of flatmap": lambda _: wrap(4).flatmap(range).flatmap(lambda x: [x] * x),
    "flatmap that ends with nothing": lambda _: IterableWrapper([[1], [2, 3], [], []]).flatmap(),
    "header": lambda _: wrap(9).header(4),
    "header beyond the end": lambda _: wrap(3).shuffle().header(10),
    "header of none": lambda _: wrap(3).header(0),
    "header of all": lambda _: wrap(3).header(None),
    "cycle": lambda _: wrap(3).cycle(3),
    "cycle of a shuffle": lambda _: wrap(7).shuffle(buffer_size=4).cycle(3),
    "cycle of a cycle": lambda _: wrap(3).shuffle().cycle(2).cycle(2),
    "cycle for ever": lambda _: wrap(4).shuffle().cycle().header(11),
    "cycle of nothing": lambda _: IterableWrapper([]).cycle(),
    "cycle of a generator pipe": lambda _: Doubled(wrap(3)).cycle(2),
    "enumerate": lambda _: wrap(5).shuffle().enumerate(starting_index=2),
    "enumerate twice": lambda _: wrap(5).enumerate().filter(lambda x: x[0] != 2).enumerate(),
    "random_map": lambda _: wrap(6).random_map(noisy),
    "random_map twice": lambda _: wrap(6).random_map(noisy).random_map(noisy).batch(2),
    "random_filter": lambda _: wrap(30).random_filter(lambda x, rng: rng.random() < 0.4),
    "prefetch": lambda _: wrap(7).prefetch(3),
    "prefetch of a shuffle": lambda _: wrap(23).shuffle(buffer_size=6).prefetch(2).batch(3).prefetch(1),
    "map pipe to iter": lambda _: mapped(5).to_iter_datapipe(),
    "map pipe to iter by keys": lambda _: SequenceWrapper({"a": 1, "b": 2}).to_iter_datapipe(["b", "a", "b"]),
    "map pipe shuffled": lambda _: mapped(300).shuffle().header(270).batch(30),
    "map pipe shuffled, some indices": lambda _: mapped(9).shuffle(indices=[8, 2, 2, 5]),
    "map pipe shuffled, unchanged": lambda _: mapped(9).shuffle().set_shuffle(False),  # type: ignore[attr-defined]
    "map pipe shuffled twice": lambda _: mapped(30).shuffle().shuffle(buffer_size=7),
    "map pipe, batched twice": lambda _: mapped(11).batch(2).shuffle().batch(2, drop_last=True),
    "list_files": lambda files: FileLister(str(files), "*.csv*").map(lambda p: Path(p).name),
    "list_files of several": lambda files: IterableWrapper([str(files), str(files)]).list_files("*.txt").map(len),
    "open_files": lambda files: paths(files, "*.txt").open_files(),
    "readlines": lambda files: paths(files, "*.txt*").open_files("rb").readlines(decode=True),
    "readlines of text": lambda files: paths(files, "*.txt*").open_files().readlines(return_path=False),
    "readlines of bytes": lambda files: paths(files, "*.txt").open_files("b").readlines(strip_newline=False),
    "readlines, skip_lines": lambda files: paths(files, "*.txt").open_files().readlines(skip_lines=1),
    "parse_csv": lambda files: paths(files, "*.csv").open_files().parse_csv(),
    "parse_csv of bytes": lambda files: paths(files, "*.csv").open_files("rb").parse_csv(skip_lines=1, as_tuple=True),
    "parse_csv, compressed": lambda files: paths(files, "*.csv.*").open_files("rb").parse_csv(return_path=True),
    "parse_csv_as_dict": lambda files: paths(files, "*.csv").open_files("rb").parse_csv_as_dict(),
    "parse_csv_as_dict, compressed": lambda files: paths(files, "*.csv.*").open_files().parse_csv_as_dict(),
    "parse_csv_as_dict in memory": lambda _: IterableWrapper([("a", io.StringIO("k,v\n1,2\n3,4\n"))]).parse_csv_as_dict(
        skip_lines=0
    ),
    "parse_jsonl": lambda files: paths(files, "*.jsonl").open_files("rb").parse_jsonl(),
    "parse_jsonl, compressed text": lambda files: paths(files, "*.jsonl.gz").open_files().parse_jsonl(return_path=True),
    "parse_msgpack": lambda files: paths(files, "*.msgpack").open_files("rb").parse_msgpack(),
    "parse_msgpack, compressed": lambda files: paths(files, "*.msgpack.gz").open_files("rb").parse_msgpack(),
    "the tutorial's": lambda files: (
        paths(files, "?.csv")
        .shuffle()
        .open_files("rb")
        .parse_csv(skip_lines=1)
        .shuffle(buffer_size=3)
        .map(lambda row: row[0])
        .batch(2)
        .prefetch(2)
    ),
}


def paths(files: Path, mask: str) -> IterDataPipe[str]:
    return FileLister(str(files), mask)


@pytest.mark.parametrize("name", GRAPHS)
def test_every_graph_restores_at_every_index(name: str, files: Path) -> None:
    restores_at_every_index(GRAPHS[name](files))


def test_rows_over_several_lines_and_blocks_restore(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.pipes._lines._BLOCK_BYTES", 16)
    for name in GRAPHS:
        if name.startswith(("parse", "readlines")):
            restores_at_every_index(GRAPHS[name](files))


def test_a_place_in_a_file_holds_when_blocks_have_another_size(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = GRAPHS["parse_csv"](files)
    stream = context(root).build(root)
    items = [next(stream.it) for _ in range(4)]
    state = trip(stream.state())
    items += stream.it
    monkeypatch.setattr("penstock.pipes._lines._BLOCK_BYTES", 16)
    assert list(context(root).build(root, state).it) == items[4:]


def test_restoring_a_file_reads_a_block_and_not_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import penstock.pipes._lines as lines

    path = tmp_path / "a.csv"
    path.write_text("k,v\n" + "".join(f"{i},{i}\n" for i in range(5000)))
    monkeypatch.setattr(lines, "_BLOCK_BYTES", 1000)
    read = 0

    class Counting(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            nonlocal read
            data = super().read(size)
            read += len(data)
            return data

    monkeypatch.setattr(lines, "open_binary", lambda path, _: Counting(Path(path).read_bytes()))
    root = IterableWrapper([str(path)]).open_files("rb").parse_csv_as_dict()
    stream = context(root).build(root)
    for _ in range(4990):
        next(stream.it)
    state = trip(stream.state())
    read = 0
    assert next(context(root).build(root, state).it) == {"k": "4990", "v": "4990"}
    assert read <= 2000  # the block, and the one with the header


# How many items of the source may be read twice: none where a pipe holds nothing, else a window, an element or a batch.
REREAD: dict[str, tuple[Callable[[IterDataPipe[int]], IterDataPipe[Any]], int]] = {
    "map": (lambda s: s.map(str), 0),
    "filter": (lambda s: s.filter(lambda x: x % 2), 0),
    "batch": (lambda s: s.batch(4), 0),
    "enumerate, random_map": (lambda s: s.enumerate().random_map(noisy), 0),
    "zip": (lambda s: s.zip(wrap(999)), 0),
    "concat": (lambda s: wrap(2).concat(s), 0),
    "header": (lambda s: s.header(90), 0),
    "cycle": (lambda s: s.cycle(1), 0),
    "sharding_filter": (lambda s: s.sharding_filter(), 0),
    "flatmap": (lambda s: s.flatmap(lambda x: [x, x]), 1),
    "unbatch": (lambda s: s.batch(4).unbatch(), 4),
    "shuffle": (lambda s: s.shuffle(buffer_size=20), 20),
    "shuffle, shuffle": (lambda s: s.shuffle(buffer_size=8).shuffle(buffer_size=8), 8 + 2 * 8),
    "shuffle, flatmap": (lambda s: s.shuffle(buffer_size=8).flatmap(lambda x: [x, x]), 8 + 1),
    "batch, unbatch, shuffle": (lambda s: s.batch(4).unbatch().shuffle(buffer_size=8), 8 + 4),
    "prefetch": (lambda s: s.prefetch(3), 0),
    "generator pipe after two": (lambda s: s.header(2).concat(s.filter(lambda x: x > 9)), 0),
}


@pytest.mark.parametrize("name", REREAD)
def test_restoring_reads_at_most_a_window_or_an_element_again(name: str) -> None:
    make, bound = REREAD[name]
    root = make(Counted(100))
    stream = context(root).build(root)
    states = [trip(stream.state())]
    states += [trip(stream.state()) for _ in stream.it]
    for before in states[:-1]:
        Counted.read = 0
        restored = context(root).build(root, before)
        next(restored.it)
        # Reading on takes one item, or as many as one item of the root is made of: behind a window's end, another one.
        needed = {"filter": 2, "generator pipe after two": 11, "prefetch": 5}.get(name, 8 if "batch" in name else 1)
        assert Counted.read <= needed + bound + (bound if "shuffle" in name else 0)
        restored.close()


# ------------------------------------------------------------------------------------------------------------- sharing

BLOCKS: dict[str, Callable[[Path], IterDataPipe[Any]]] = {
    "shuffle": lambda _: wrap(23).shuffle(buffer_size=7).sharding_filter().map(str).batch(2),
    "no batches": lambda _: wrap(7).sharding_filter(),
    "batches of batches": lambda _: wrap(23).sharding_filter().batch(2).batch(3).map(lambda x: x),
    "collated": lambda _: wrap(11).sharding_filter().batch(2, drop_last=True).collate().prefetch(2),
    "numbered": lambda _: wrap(23).shuffle().sharding_filter().enumerate().random_map(noisy).enumerate(5).batch(2),
    "numbered batches": lambda _: wrap(23).sharding_filter().batch(3).enumerate().map(str).random_map(noisy),
    "map pipe": lambda _: mapped(23).shuffle().sharding_filter().batch(4),
    "map pipe, by item": lambda _: mapped(23).shuffle().sharding_filter().map(str).enumerate().batch(4),
    "cycle ahead of the point": lambda _: wrap(5).shuffle().cycle(3).sharding_filter().batch(2),
    "generator pipe ahead": lambda _: Doubled(wrap(9)).shuffle().sharding_filter().batch(2),
    "files ahead": lambda files: paths(files, "?.csv").open_files("rb").parse_csv().sharding_filter().batch(2),
    "fewer items than shares": lambda _: wrap(2).sharding_filter(),
}

LANES: dict[str, Callable[[Path], IterDataPipe[Any]]] = {
    "filter": lambda _: wrap(23).shuffle(buffer_size=9).sharding_filter().filter(lambda x: x % 3).batch(2),
    "filter by the stride": lambda _: wrap(20).sharding_filter().filter(lambda x: x % 2 == 0),
    "flatmap": lambda _: wrap(9).sharding_filter().flatmap(lambda x: [x] * (x % 4)).batch(3),
    "shuffle": lambda _: wrap(23).shuffle(buffer_size=5).sharding_filter().shuffle(buffer_size=4),
    "cycle": lambda _: wrap(5).shuffle().sharding_filter().cycle(3),
    "cycle for ever": lambda _: wrap(5).shuffle().sharding_filter().cycle().header(7),
    "cycle of a filter": lambda _: wrap(9).sharding_filter().filter(lambda x: x % 3).shuffle().cycle(2).batch(2),
    "files": lambda files: paths(files, "?.csv").sharding_filter().open_files("rb").parse_csv_as_dict().shuffle(),
    "an empty lane": lambda files: paths(files, "1.txt").sharding_filter().open_files("rb").readlines().map(str),
    "numbered": lambda _: wrap(23).sharding_filter().filter(lambda x: x % 5).enumerate().random_map(noisy),
    "map pipe": lambda _: mapped(23).shuffle().sharding_filter().filter(lambda x: x % 3).batch(2),
    "prefetch": lambda _: wrap(23).shuffle().sharding_filter().filter(lambda x: x % 4).prefetch(2).batch(2),
    "generator pipe": lambda _: Doubled(wrap(11).shuffle().sharding_filter()).batch(2),
    "two points": lambda _: wrap(9).sharding_filter().concat(wrap(7).map(str).sharding_filter()),
    "one point, read twice": lambda _: (lambda p: p.zip(p.map(str)))(wrap(11).shuffle().sharding_filter()),
    "header": lambda _: wrap(23).sharding_filter().header(3),
    "a random filter": lambda _: wrap(40).sharding_filter().random_filter(lambda x, rng: rng.random() < 0.3),
}


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("name", [*BLOCKS, *(f"lanes: {name}" for name in LANES)])
def test_every_share_restores_at_every_index(name: str, count: int, files: Path) -> None:
    root = LANES[name.removeprefix("lanes: ")](files) if name.startswith("lanes: ") else BLOCKS[name](files)
    assert plan(root).kind == ("lanes" if name.startswith("lanes: ") else "blocks")
    if plan(root).chunk == 1:
        for index in range(count):
            restores_at_every_index(root, count=count, index=index)
    else:  # a share's state is asked between batches
        list(merged(root, count, beginning(root, count)))


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_give_one_sequence_on_any_workers_and_after_any_change_of_them(name: str, files: Path) -> None:
    root = BLOCKS[name](files)
    whole = list(merged(root, 1, beginning(root, 1)))
    items = [item for item, _ in whole]
    for workers in (1, 2, 3):
        seen = list(merged(root, workers, beginning(root, workers)))
        assert [item for item, _ in seen] == items
        for i, (_, progress) in enumerate(seen):
            rest = [item for item, _ in merged(root, workers % 3 + 1, progress)]
            assert rest == items[i + 1 :], f"{workers} workers, stopped behind item {i}"


@pytest.mark.parametrize("lanes", [2, 3])
@pytest.mark.parametrize("name", LANES)
def test_lanes_give_one_sequence_on_any_workers_and_after_any_change_of_them(
    name: str, lanes: int, files: Path
) -> None:
    root = LANES[name](files)
    whole = list(merged(root, lanes, beginning(root, lanes)))  # each lane in a process of its own
    items = [item for item, _ in whole]
    for workers in range(1, lanes):
        seen = list(merged(root, workers, beginning(root, lanes)))
        assert [item for item, _ in seen] == items, f"{lanes} lanes in {workers} workers"
        for i, (_, progress) in enumerate(seen):
            other = workers % lanes + 1
            rest = [item for item, _ in merged(root, other, progress)]
            assert rest == items[i + 1 :], f"{lanes} lanes, stopped behind item {i}, then {other} workers"
            rest = [item for item, _ in merged(root, workers, progress)]
            assert rest == items[i + 1 :], f"{lanes} lanes, stopped behind item {i}, again {workers} workers"


def test_lanes_hold_what_blocks_hold_each_item_once(files: Path) -> None:
    for lanes in (1, 2, 3, 7):
        root = wrap(50).shuffle().sharding_filter().filter(lambda x: True)
        assert sorted(item for item, _ in merged(root, 1, beginning(root, lanes))) == list(range(50))


def test_a_filter_that_follows_the_stride_holds_a_bounded_number_of_rounds(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    held = 0
    pull = Feed._pull

    def watched(feed: Feed[Any], lane: int) -> bool:
        nonlocal held
        there = pull(feed, lane)
        held = max(held, len(feed._rounds))
        return there

    monkeypatch.setattr(Feed, "_pull", watched)
    root = wrap(100_000).sharding_filter().filter(lambda x: x % 2 == 0)
    with caplog.at_level(logging.WARNING, "penstock"):
        found = [item for item, _ in _deliveries(root, 2)]
    assert found == list(range(0, 100_000, 2))
    assert 0 < held <= 256
    assert "rounds behind lane" in caplog.text


def _deliveries(root: IterDataPipe[Any], lanes: int) -> Iterator[tuple[Any, int]]:
    from penstock.core.context import WorkerInfo
    from penstock.reading_service.base import Run
    from penstock.reading_service.lanes import END

    run = Run(5, 2, beginning(root, lanes))
    for lane, _, item in read_lanes(root, plan(root), run, tuple(range(lanes)), worker=WorkerInfo()):
        if item is not END:
            yield item, lane


def test_lanes_restored_far_apart_keep_their_own_places() -> None:
    # Lane 1 comes to its first item only far behind lane 0's.
    root = wrap(3000).sharding_filter().filter(lambda x: x % 2 == 0 or x > 2990).flatmap(lambda x: [x, -x])
    seen = list(merged(root, 1, beginning(root, 2)))
    items = [item for item, _ in seen]
    for i in (0, 1, 2, 3, 40, 700, 2500, len(items) - 2):
        assert [item for item, _ in merged(root, 1, seen[i][1])] == items[i + 1 :]


# ------------------------------------------------------------------------------------------------- what must be refused

HOLD: dict[str, Any] = {}


class Wayward(IterDataPipe[int]):
    """Takes a number of items from its source that changes."""

    def __init__(self, source_datapipe: Any) -> None:
        self.source_datapipe = source_datapipe

    def __iter__(self) -> Iterator[int]:
        it = iter(self.source_datapipe)
        for x in it:
            for _ in range(HOLD["take"]):
                next(it, None)
            yield x


class Shrinking(IterDataPipe[int]):
    """Has no state to check: stands for a source that penstock doesn't know."""

    def build(self, ctx: Context, state: State = None) -> Stream[int]:
        name = ctx.name(self)
        return sequence_stream(range(HOLD["take"]), min(ctx.own(self, state) or 0, HOLD["take"]), lambda n: {name: n})


REFUSED: dict[str, tuple[Callable[[Path], IterDataPipe[Any]], str]] = {
    "flatmap": (lambda _: wrap(5).flatmap(lambda x: range(HOLD["take"])), "flatmap"),
    "unbatch": (lambda _: wrap(5).map(lambda x: [x] * HOLD["take"]).unbatch(), "unbatch"),
    "shuffle": (lambda _: Shrinking().shuffle(), "shuffle"),
    "flatmap of a source that ends early": (lambda _: Shrinking().flatmap(lambda x: [x]), "flatmap"),
    "generator pipe": (lambda _: Wayward(wrap(100)), "Wayward"),
    "generator pipe that ends early": (lambda _: Doubled(Shrinking()), "Doubled"),
    "iterator that has gone on": (lambda _: IterableWrapper(map(str, range(9))), "IterableWrapper"),
    "list of another length": (lambda _: IterableWrapper([0] * HOLD["take"]), "IterableWrapper"),
    "set of other items": (lambda _: IterableWrapper({2, 3, 4, 5, HOLD["take"]}), "IterableWrapper"),
    "listing": (lambda files: FileLister(str(files)), "list_files"),
    "shorter file": (lambda files: paths(files, "0").open_files("rb").readlines(), "0"),
    "shorter text in memory": (lambda _: IterableWrapper([("a", io.StringIO("x\n" * HOLD["take"]))]).readlines(), "a"),
    "shorter msgpack file": (lambda files: paths(files, "0").open_files("rb").parse_msgpack(), "0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_deterministic_is_refused_by_name(name: str, tmp_path: Path) -> None:
    make, pipe = REFUSED[name]
    for file in range(6):
        (tmp_path / str(file)).write_bytes(b"\x01\n" * 9)
    HOLD["take"] = 6
    root = make(tmp_path)
    stream = context(root).build(root)
    for _ in range(4):
        next(stream.it)
    state = trip(stream.state())
    next(stream.it)
    stream.close()
    HOLD["take"] = 1
    (tmp_path / "0").write_bytes(b"\x01\n")
    (tmp_path / "5").unlink()
    again = root if name == "iterator that has gone on" else make(tmp_path)
    with pytest.raises(StateError, match=pipe):
        list(context(again).build(again, state).it)


def test_the_state_of_another_graph_is_refused_by_name() -> None:
    saved = wrap(5).shuffle()
    stream = context(saved).build(saved)
    next(stream.it)
    other = wrap(5).header(2)
    with pytest.raises(StateError, match=r"'shuffle'.*'header'"):
        context(other).build(other, trip(stream.state()))


# --------------------------------------------------------------------------------------------------------------- random

STEPS: list[Callable[[IterDataPipe[Any], int], IterDataPipe[Any]]] = [
    lambda p, n: p.map(lambda x: (x, n)),
    lambda p, n: p.filter(lambda x: hash(str(plain_number(x))) % (n + 1) != 0),
    lambda p, n: p.batch(n),
    lambda p, n: p.batch(n, drop_last=True).unbatch(),
    lambda p, n: p.shuffle(buffer_size=n),
    lambda p, n: p.flatmap(lambda x: [x] * (plain_number(x) % (n + 1))),
    lambda p, n: p.header(3 * n),
    lambda p, n: p.cycle(2),
    lambda p, n: p.enumerate(),
    lambda p, n: p.random_map(noisy),
    lambda p, n: p.random_filter(lambda x, rng: rng.random() < 0.7),
    lambda p, n: p.zip(wrap(5 * n)),
    lambda p, n: p.concat(wrap(n)),
    lambda p, n: p.prefetch(n),
    lambda p, n: Doubled(p),
    lambda p, n: p.sharding_filter(),
]


def plain_number(x: Any) -> int:
    while isinstance(x, (list, tuple)):
        x = x[0]
    return int(x)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
@given(
    length=st.integers(0, 12),
    from_map=st.booleans(),
    steps=st.lists(st.tuples(st.integers(0, len(STEPS) - 1), st.integers(1, 5)), max_size=4),
    count=st.integers(1, 3),
    data=st.data(),
)
def test_any_chain_of_pipes_restores_at_every_index(
    length: int, from_map: bool, steps: list[tuple[int, int]], count: int, data: st.DataObject
) -> None:
    root: IterDataPipe[Any] = mapped(length).shuffle() if from_map else wrap(length)
    for step, n in steps:
        root = STEPS[step](root, n)
    division = plan(root)
    if division.kind == "whole":
        restores_at_every_index(root)
        return
    seen = list(merged(root, count, beginning(root, count)))
    items = [item for item, _ in seen]
    if division.kind == "lanes":
        assert [item for item, _ in merged(root, 1, beginning(root, count))] == items
    if seen:
        i = data.draw(st.integers(0, len(seen) - 1))
        others = data.draw(st.integers(1, 3 if division.kind == "blocks" else count))
        assert [item for item, _ in merged(root, others, seen[i][1])] == items[i + 1 :]


def test_a_pipe_of_the_users_that_looked_for_more_behind_its_last_item_restores_there() -> None:
    items = restores_at_every_index(Doubled(mapped(3).shuffle()).batch(3))
    assert [len(item) for item in items] == [3, 1]

    class Cut(Doubled):
        def __iter__(self) -> Iterator[Any]:
            yield from list(super().__iter__())[: self.limit]

    cut = Cut(wrap(6))
    cut.limit = 4
    stream = context(root := cut.batch(3)).build(root)
    states = [trip(stream.state()) for _ in stream.it]
    cut.limit = 5
    with pytest.raises(StateError, match="not deterministic"):
        list(context(root).build(root, states[-1]).it)


def test_a_copy_of_a_graph_has_its_names_and_numbers() -> None:
    root = wrap(30).shuffle().shuffle(name="second").random_map(noisy)
    assert [*context(root).build(root).it] == [*context(again := copied(root)).build(again).it]
