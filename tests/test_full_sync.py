"""fullsync under a real gloo process group: ranks with uneven data give the same number of items, and nobody hangs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from penstock import DataLoader2, MultiProcessingReadingService, RankError
from penstock.pipes import IterableWrapper
from ranks import ranks

PROGRAM = """
import json, os, sys, time
import torch.distributed as dist
from penstock import DataLoader2, MultiProcessingReadingService
from penstock.pipes import IterableWrapper

rank, folder, sizes = int(os.environ["RANK"]), sys.argv[1], json.loads(sys.argv[2])
dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
given, error = [], None
try:
    BODY
except Exception as caught:
    error = f"{type(caught).__name__}: {caught}"
with open(f"{folder}/{rank}.json", "w") as file:
    json.dump({"given": given, "error": error}, file)
if error is not None:
    os._exit(0)  # gloo's own threads may abort an interpreter that ends while a peer is gone
dist.barrier()
"""


def two_ranks(folder: Path, body: str, sizes: tuple[int, int] = (5, 8)) -> list[dict[str, Any]]:
    program = PROGRAM.replace("    BODY", textwrap.indent(textwrap.dedent(body), "    ").rstrip())
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(folder), json.dumps(sizes)],
            env={**os.environ, "RANK": str(rank), "WORLD_SIZE": "2"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in ranks:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("sizes", [(5, 8), (8, 5), (0, 3), (4, 4)])
def test_every_rank_gives_as_many_items_as_the_shortest_has(sizes: tuple[int, int]) -> None:
    def given(rank: int) -> list[Any]:
        pipe = IterableWrapper(range(sizes[rank])).fullsync()
        return [list(pipe) for _ in range(2)]

    assert ranks.values(2, given) == [[list(range(min(sizes)))] * 2] * 2


def test_it_stays_in_the_main_process_beside_workers() -> None:
    def given(rank: int) -> list[int]:
        size = (5, 8)[rank]
        pipe = IterableWrapper(range(size)).sharding_filter().map(lambda x: (x, os.getpid())).fullsync()
        with DataLoader2(pipe, reading_service=MultiProcessingReadingService(2)) as dl:
            items = list(dl)
        assert os.getpid() not in {pid for _, pid in items}
        return [x for x, _ in items]

    assert ranks.values(2, given) == [list(range(5))] * 2


def test_an_error_on_one_rank_ends_all_of_them(tmp_path: Path) -> None:
    body = """
    pipe = IterableWrapper(range(20)).map(lambda x: 1 // (6 - x) if rank else x).fullsync(timeout=20)
    for x in pipe:
        given.append(x)
    """
    began = time.monotonic()
    healthy, broken = two_ranks(tmp_path, body)
    assert time.monotonic() - began < 40
    assert healthy["given"] == list(range(6)) and "rank 1 failed at its item 6: ZeroDivisionError" in healthy["error"]
    assert len(broken["given"]) == 6 and broken["error"].startswith("ZeroDivisionError")


def test_a_rank_that_does_not_come_is_an_error_in_time(tmp_path: Path) -> None:
    body = """
    for x in IterableWrapper(range(20)).map(lambda x: time.sleep(8 if rank and x == 3 else 0) or x).fullsync(timeout=2):
        given.append(x)
    """
    waiting, _ = two_ranks(tmp_path, body)
    assert waiting["given"] == [0, 1, 2]
    assert "Fail to fetch data within 2 seconds" in waiting["error"]


@pytest.mark.parametrize("where", ["source", "loop"])
def test_a_rank_that_comes_late_gets_an_error_too_and_all_can_go_on(where: str) -> None:
    def given(rank: int) -> list[Any]:
        naps = [5.0] if rank else []  # the last items are read in the very round that it comes late to

        def nap(x: int, here: str) -> int:
            if here == where and x == 5 and naps:
                time.sleep(naps.pop())
            return x

        pipe = IterableWrapper(range(200 if where == "loop" else 8)).map(lambda x: nap(x, "source")).fullsync(timeout=2)
        said = ""
        try:
            for x in pipe:
                nap(x, "loop")
        except RankError as error:
            said = str(error)
        if not rank:
            time.sleep(3)
        return [said, len(list(pipe))]

    (waited, count), (late, same) = ranks.values(2, given)
    assert "Fail to fetch data within 2 seconds" in waited
    assert late == "rank 0 waited for longer than 2 seconds, until rank 1 came"
    assert count == same == (200 if where == "loop" else 8)


def test_ranks_that_leave_an_epoch_at_different_items_are_told(tmp_path: Path) -> None:
    body = """
    pipe = IterableWrapper(range(900)).fullsync(timeout=5)
    for x in pipe:
        if x == 3 and rank == 0:
            break
    given += list(pipe)
    """
    left, stayed = two_ranks(tmp_path, body)
    assert "every rank must leave an epoch at the same item" in stayed["error"]
    assert left["error"] is not None and left["given"] == []


def test_ranks_may_leave_an_epoch_at_an_item_and_begin_the_next() -> None:
    def given(rank: int) -> list[Any]:
        found: list[Any] = []
        pipe = IterableWrapper(range((30, 12)[rank])).fullsync(timeout=10)
        for epoch in range(30):
            for x in pipe:
                if x == epoch % 7:
                    break
                time.sleep(0.001 * (rank ^ epoch & 1))
            found.append(x)
        return [*found, list(pipe)]

    assert ranks.values(2, given) == [[epoch % 7 for epoch in range(30)] + [list(range(12))]] * 2


@pytest.mark.parametrize(("item_bytes", "least", "most"), [(10, 65, 256), (1 << 17, 2, 64)])
def test_what_a_rank_reads_ahead_is_bounded_and_more_where_items_are_small(
    item_bytes: int, least: int, most: int
) -> None:
    def furthest(rank: int) -> int:
        read = []
        pipe = IterableWrapper(range(3_000)).map(lambda number: read.append(number) or bytes(item_bytes)).fullsync()
        return max(len(read) - given for given, _ in enumerate(pipe))

    assert all(least <= found <= most + 1 for found in ranks.values(2, furthest))


def test_items_that_do_not_tell_their_size_pass_as_others_do() -> None:
    def given(rank: int) -> int:
        import torch

        pipe = IterableWrapper(range(40)).map(lambda number: torch.eye(2 + number).to_sparse()).fullsync()
        return sum(len(tensor) for tensor in pipe)

    assert ranks.values(2, given) == [sum(range(2, 42))] * 2


def test_without_a_process_group_it_passes_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(IterableWrapper(range(3)).fullsync()) == [0, 1, 2]
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RuntimeError, match="init_process_group"):
        list(IterableWrapper(range(3)).fullsync())


def test_a_timeout_must_be_positive() -> None:
    with pytest.raises(ValueError, match="timeout"):
        IterableWrapper([1]).fullsync(timeout=0)
