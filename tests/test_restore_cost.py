"""What restoring costs, and how big a state is, at the start, in the middle and at the end of a long epoch.

A pipe that holds items reads these again, and at most a window, an element or a batch besides. One that replays from
the start of the epoch would fail in the middle of it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from penstock.core.context import Context
from penstock.core.stream import State, Stream, consume, counted, sequence_stream
from penstock.pipes import IterDataPipe, SampleMultiplexer, Sampler
from penstock.pipes.map import SequenceWrapper
from penstock.testing import plain
from running import context

ITEMS = 1_000_000


class Counting(IterDataPipe[Any]):
    """Numbers, or ``fn`` of them. Each item that is read counts, also if it is only passed over."""

    counts: ClassVar[list[Callable[[], int]]] = []  # of the items that each stream has read

    def __init__(self, fn: Callable[[int], Any] | None = None) -> None:
        self.fn = fn

    def __len__(self) -> int:
        return ITEMS

    def build(self, ctx: Context, state: State = None) -> Stream[Any]:
        name = ctx.name(self)
        numbers = sequence_stream(range(ITEMS), ctx.own(self, state) or 0, lambda n: {name: n})
        items, count = counted(numbers.it)
        Counting.counts.append(count)
        return numbers.onward(items if self.fn is None else map(self.fn, items))


source = Counting


@dataclass
class Row:
    """A graph, how many items restoring it may read, and how many bytes its state may have.

    And how many items it gives, where that is known and takes long to count.
    """

    make: Callable[[], Any]
    reads: int = 1
    size_bytes: int = 150
    total: int | None = None


def joined(pipes: list[Any]) -> Any:
    return pipes[0].zip(*pipes[1:])


def in_turn(a: Any, b: Any) -> Any:
    return a.mux(b)


def in_batches(a: Any, b: Any) -> Any:
    return a.zip(b.batch(9))


def rare(x: int) -> int | None:
    """0 for one number of a thousand, and 1 for nine of them; for ten in every tenth thousand."""
    if x % 1000 == 0:
        return 0
    return 1 if x % 100 == 1 and (x % 1000 < 900 or x % 10_000 < 1000) else None


async def same(x: int) -> int:
    return x


def scattered(x: int) -> int:
    return x * 7919 % 100 + 1


ROWS: dict[str, Row] = {
    "add_index": Row(lambda: source(lambda x: {"x": x}).add_index()),
    # a coroutine takes so long that only one item of ten comes to it
    "async_map_batches": Row(
        lambda: source().filter(lambda x: x % 10 == 0).async_map_batches(same, 5), 100, total=ITEMS // 10
    ),
    "batch": Row(lambda: source().batch(50), 50),
    "bucketbatch": Row(
        lambda: source().bucketbatch(10, batch_num=10, bucket_num=2, sort_key=sorted), 400, total=ITEMS // 10
    ),
    "concat": Row(lambda: source().concat(source())),
    "cycle": Row(lambda: source().cycle(2)),
    "dataframe": Row(lambda: source(lambda x: (x,)).dataframe(50), 50),
    "demux": Row(lambda: joined(source().demux(2, lambda x: x % 2)), 2 * 32 + 2),
    # in the end 100 items wait, each in a stretch of its own
    "demux, one lags": Row(lambda: in_batches(*source().demux(2, rare, drop_none=True)), 100 * 128 + 2000, 100 * 45),
    "enumerate": Row(lambda: source().enumerate()),
    "filter": Row(lambda: source().filter(lambda x: x % 2), 2),
    "flatmap": Row(lambda: source().flatmap(lambda x: [x] * 5), 2, total=5 * ITEMS),
    "fork": Row(lambda: joined(source().fork(2)), 32 + 1),
    # mux keeps a place that is up to 32 rounds behind, and each round reads 20 items
    "fork, one lags": Row(
        lambda: in_turn(*(pipe.filter(lambda x: x % 20 == 0) for pipe in source().fork(2))), 33 * 20 + 64
    ),
    "groupby": Row(lambda: source().groupby(scattered, group_size=8, buffer_size=1000), 1000, 2000),
    # an item waits from the start of the epoch on: two places are read from
    "groupby, one waits": Row(lambda: source().groupby(lambda x: x == 5, group_size=8), 2 * 32 + 8),
    "header": Row(lambda: source().header(ITEMS * 9 // 10)),
    "in_batch_shuffle": Row(lambda: source().batch(50).in_batch_shuffle(), 50),
    "in_memory_cache": Row(lambda: source().in_memory_cache(size=0), 33),
    "lines_to_paragraphs": Row(lambda: source(lambda x: (str(x // 30), str(x))).lines_to_paragraphs(), 2 * 32 + 32),
    "map_batches": Row(lambda: source().map_batches(lambda batch: [sum(batch)] * 3, 50), 100),
    # about 300 items wait, of which each long one has a stretch of its own
    "max_token_bucketize": Row(
        lambda: source().max_token_bucketize(500, len_fn=scattered, buffer_size=300), 300 * 128, 300 * 40
    ),
    "mux": Row(lambda: source().mux(source()), 2 * 33),
    "mux_longest": Row(lambda: source().mux_longest(source()), 2, total=2 * ITEMS),
    "prefetch": Row(lambda: source().prefetch(10), 21, total=ITEMS),
    "random_filter": Row(lambda: source().random_filter(lambda x, rng: rng.random() < 0.5), 30),
    "random_map": Row(lambda: source().random_map(lambda x, rng: x)),
    "random_split": Row(lambda: source().random_split({"a": 1, "b": 2}, seed=0)[0], 60),
    "repeat": Row(lambda: source().repeat(3), 2, total=3 * ITEMS),
    "round_robin_demux": Row(lambda: joined(source().round_robin_demux(2)), 2 * 32 + 2, 200),
    "SampleMultiplexer": Row(lambda: SampleMultiplexer({source(): 1, source(): 2})),
    "Sampler": Row(lambda: Sampler(source()), 0),
    "sharding_filter": Row(lambda: source().sharding_filter().batch(3), 3),
    "shuffle": Row(lambda: source().shuffle(buffer_size=1000), 2 * 1000),
    "shuffled_flatmap": Row(
        lambda: source().shuffled_flatmap(lambda x: [x] * (x % 4), buffer_size=30),
        30 * 32 + 64,
        30 * 40,
        ITEMS * 3 // 2,
    ),
    "threadpool_map": Row(
        lambda: source().threadpool_map(str, scheduled_tasks=16, max_workers=2), 2 * 16 + 3, total=ITEMS
    ),
    "to_iter_datapipe": Row(lambda: SequenceWrapper(range(ITEMS)).to_iter_datapipe(), 0),
    "unbatch": Row(lambda: source().batch(50).unbatch(), 100),
    "unzip": Row(lambda: joined(source(lambda x: (x, -x)).unzip(2)), 32 + 1),
    "webdataset": Row(lambda: source(lambda x: (f"a/{x // 3}.{x}", x)).webdataset(), 2 * 32 + 6, total=-(-ITEMS // 3)),
    "zip": Row(lambda: source().zip(source()), 2),
    "zip_longest": Row(lambda: source().zip_longest(source()), 2),
    # up to 31 items of the other pipe wait
    "zip_with_iter": Row(lambda: source().zip_with_iter(source(lambda x: x ^ 31), lambda x: x), 2 * 32 + 32),
    "zip_with_iter, most are dropped": Row(
        lambda: source().filter(lambda x: x % 500 == 0).zip_with_iter(source(), lambda x: x, buffer_size=64),
        500 + 500 + 64 + 32,
        250,
    ),
    "zip_with_map": Row(lambda: source().zip_with_map(SequenceWrapper("ab"), lambda x: x % 2)),
    "several": Row(
        lambda: (
            source()
            .shuffle(buffer_size=100)
            .groupby(lambda x: x % 5, group_size=4)
            .unbatch()
            .shuffle(buffer_size=100)
            .batch(7)
        ),
        1000,
        400,
        -(-ITEMS // 7),
    ),
}


SLOW = {
    *("several", "max_token_bucketize", "shuffled_flatmap", "async_map_batches", "round_robin_demux", "groupby"),
    *("fork, one lags", "repeat"),
}
NAMES = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in ROWS]


@pytest.mark.filterwarnings("ignore:Buffer reaches:UserWarning", "ignore:Unlimited:UserWarning")
@pytest.mark.parametrize("name", NAMES)
def test_restoring_costs_as_much_at_the_end_of_an_epoch_as_at_its_start(name: str) -> None:
    row = ROWS[name]
    graph = row.make()
    total = row.total or length(graph)
    stream, given = context(graph).build(graph), 0
    for share in (0.01, 0.5, 0.99):
        ahead = max(1, int(total * share)) - given
        consume(stream.it, ahead)
        given += ahead
        saved = json.dumps(stream.state())
        assert len(saved) <= row.size_bytes, f"bytes of the state at {share}: {saved}"
        Counting.counts.clear()
        restored = context(graph).build(graph, json.loads(saved))
        first = plain(next(restored.it))
        read = sum(count() for count in Counting.counts)
        restored.close()
        assert first == plain(next(stream.it))
        given += 1
        assert read <= row.reads, f"items read at {share}, to restore {saved[:1000]}"
    assert given + sum(1 for _ in stream.it) == total
    stream.close()


def length(graph: Any) -> int:
    stream = context(graph).build(graph)
    items, count = counted(stream.it)
    consume(items, sys.maxsize)
    stream.close()
    return count()
