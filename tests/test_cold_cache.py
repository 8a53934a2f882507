"""A cache repeats an earlier pass: a state behind it, the one at the start too, says which, for a process that is new.

Without that, a process that restores would read what the cache's source gives in the epoch that is being run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from penstock.pipes import IterableWrapper, SampleMultiplexer
from penstock.testing import plain
from running import context, run, trip


def cached(count: int = 40) -> Any:
    return IterableWrapper(range(count)).shuffle(buffer_size=7).in_memory_cache()


def zipped(pipes: list[Any]) -> Any:
    return pipes[0].zip(*pipes[1:])


GRAPHS: dict[str, Callable[[], Any]] = {
    "batch": lambda: cached().batch(4),
    "bucketbatch": lambda: cached().bucketbatch(3, batch_num=2, sort_key=sorted),
    "cycle": lambda: cached().cycle(2),
    "demux": lambda: zipped(cached().demux(2, lambda x: x % 2)),
    "fork": lambda: zipped(cached().fork(2)),
    "groupby": lambda: cached().groupby(lambda x: x % 3, group_size=3, buffer_size=12),
    "header": lambda: cached().header(9),
    "in_memory_cache": lambda: cached().map(str).in_memory_cache(),
    "lines_to_paragraphs": lambda: cached().map(lambda x: (str(x // 3), str(x))).lines_to_paragraphs(),
    "map_batches": lambda: cached().map_batches(lambda batch: [sum(batch), 1], 4),
    "max_token_bucketize": lambda: cached().max_token_bucketize(30, len_fn=int, max_len=30, buffer_size=4),
    "mux": lambda: cached().mux(cached()),
    "mux_longest": lambda: cached().mux_longest(cached(5)),
    "prefetch": lambda: cached().prefetch(3),
    "random_filter": lambda: cached().random_filter(lambda x, rng: rng.random() < 0.5),
    "random_split": lambda: cached().random_split({"a": 1, "b": 2}, seed=0)[0],
    "repeat": lambda: cached().repeat(2),
    "round_robin_demux": lambda: zipped(cached().round_robin_demux(2)),
    "SampleMultiplexer": lambda: SampleMultiplexer({cached(): 1, cached(9): 2}),
    "sharding_filter": lambda: cached().sharding_filter().batch(3),
    "shuffle": lambda: cached().shuffle(buffer_size=4),
    "shuffled_flatmap": lambda: cached().shuffled_flatmap(lambda x: [x] * (x % 3), buffer_size=3),
    "threadpool_map": lambda: cached().threadpool_map(str, scheduled_tasks=4, max_workers=2),
    "unbatch": lambda: cached().batch(4).unbatch(),
    "unzip": lambda: zipped(cached().map(lambda x: (x, -x)).unzip(2)),
    "webdataset": lambda: cached().map(lambda x: (f"a/{x // 3}.{x}", x)).webdataset(),
    "zip": lambda: cached().zip(cached()),
    "zip_longest": lambda: cached().zip_longest(cached(5)),
    "zip_with_iter": lambda: cached().zip_with_iter(cached(), lambda x: x),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_new_process_continues_a_pass_that_repeats_an_earlier_one_at_every_index(name: str) -> None:
    graph = GRAPHS[name]()
    run(graph, epoch=0)
    stream = context(graph, epoch=1).build(graph)
    states, items = [trip(stream.state())], []
    for item in stream.it:
        items.append(plain(item))
        states.append(trip(stream.state()))
    stream.close()
    for i, state in enumerate(states):
        fresh = GRAPHS[name]()  # its caches are empty
        restored = context(fresh, epoch=1).build(fresh, state)
        assert trip(restored.state()) == state
        assert [plain(item) for item in restored.it] == items[i:], f"from {i} on"
        restored.close()
