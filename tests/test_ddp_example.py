"""examples/ddp.py under torchrun: killed, interrupted, resumed on other numbers of ranks. And a rank that is lost."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from penstock import DataLoader2, InProcessReadingService
from running import within

EXAMPLE = Path(__file__).parent.parent / "examples" / "ddp.py"
EPOCHS, EVERY = 2, 10
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "PYTHONPATH": os.pathsep.join([str(EXAMPLE.parent.parent), os.environ.get("PYTHONPATH", "")]),
}


@pytest.fixture
def torchrun() -> Iterator[Any]:
    """Starts the example with torchrun, in a session of its own; afterwards nothing of it may run."""
    started: list[subprocess.Popen[str]] = []
    family: set[psutil.Process] = set()

    def start(folder: Path, ranks: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
        options = ["--epochs", str(EPOCHS), "--every", str(EVERY), "--write-ids", "--timeout", "30"]
        process = subprocess.Popen(
            [*command, str(EXAMPLE), str(folder), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            family |= set(psutil.Process(process.pid).children(recursive=True))
            process.kill()
        process.communicate()
    for member in family:
        if member.is_running():
            member.kill()


def at_checkpoint(process: subprocess.Popen[str], folder: Path, number: int) -> list[psutil.Process]:
    """Wait until so many checkpoints are there; return all processes of the run."""
    until = time.monotonic() + 60
    while len(list(folder.glob("step-*.pt"))) < number:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until, "no checkpoint within a minute"
        time.sleep(0.002)
    assert process.poll() is None, "it has ended before it could be stopped"
    return psutil.Process(process.pid).children(recursive=True)


def assert_gone(family: list[psutil.Process], within_s: float) -> None:
    since = time.monotonic()
    while left := [member for member in family if _runs(member)]:
        assert within(within_s, since=since), f"still running: {left}"
        time.sleep(0.02)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def finished(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for the end of a run, and return what it says there."""
    out, err = process.communicate(timeout=90)
    assert process.returncode == 0, err
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def seen(folder: Path, *, first: int, last: float = float("inf")) -> Counter[Any]:
    """The batches, as (epoch, ids), that the run which went on from step ``first`` saw up to step ``last``."""
    lines = [
        json.loads(line)
        for path in folder.glob(f"seen-from-{first:06}-rank-*.jsonl")
        for line in path.read_text().splitlines()
        if line.endswith("}")  # a killed rank's last line may be torn
    ]
    return Counter((line["epoch"], tuple(line["ids"])) for line in lines if line["step"] <= last)


def in_one_process(data: Path) -> Counter[Any]:
    """What one process sees that is never interrupted."""
    spec = importlib.util.spec_from_file_location("ddp_example", EXAMPLE)
    assert spec is not None and spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    with DataLoader2(example.pipeline(data), reading_service=InProcessReadingService(lanes=example.LANES)) as dl:
        dl.seed(0)
        return Counter((epoch, tuple(ids.tolist())) for epoch in range(EPOCHS) for ids, _, _ in dl)


def test_a_killed_run_goes_on_with_as_many_ranks_or_with_one_and_sees_each_sample_once(
    torchrun: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    process = torchrun(folder, 2)
    family = at_checkpoint(process, folder, 2)
    process.kill()
    for member in family:  # the ranks; their workers must notice by themselves
        if member.is_running() and member.ppid() in (process.pid, 1) and EXAMPLE.name in " ".join(member.cmdline()):
            member.kill()
    process.wait()
    assert_gone(family, 5)

    newest = int(max(folder.glob("step-*.pt")).stem.removeprefix("step-"))
    expected = in_one_process(folder / "data")
    samples = sum(len(ids) for _, ids in expected)
    assert {number for _, ids in expected for number in ids} == set(range(samples // EPOCHS))
    assert set(expected.values()) == {1}
    for ranks in (1, 2):
        again = tmp_path / f"again-{ranks}"
        shutil.copytree(folder, again)
        said = finished(torchrun(again, ranks))
        before, after = seen(again, first=0, last=newest), seen(again, first=newest)
        assert before and after and before + after == expected
        assert said["samples"] == samples and said["ranks"] == ranks
        assert said["loss"] < 0.2


@pytest.mark.slow  # the test above has the same sequence from one process
def test_a_run_that_nobody_interrupts_sees_what_one_process_sees(torchrun: Any, tmp_path: Path) -> None:
    said = finished(torchrun(tmp_path / "run", 2))
    expected = in_one_process(tmp_path / "run" / "data")
    assert seen(tmp_path / "run", first=0) == expected
    assert said["samples"] == sum(len(ids) for _, ids in expected)


def test_ctrl_c_to_torchrun_leaves_no_process(torchrun: Any, tmp_path: Path) -> None:
    process = torchrun(tmp_path / "run", 2)
    family = at_checkpoint(process, tmp_path / "run", 1)
    assert len(family) >= 2 * (1 + 2), "two ranks with two workers each"
    process.send_signal(signal.SIGINT)
    process.wait(timeout=60)
    assert process.returncode != 0
    assert_gone(family, 2)


RANK = """
    import os, signal, sys, time
    import torch.distributed as dist
    from penstock import (
        DataLoader2, DistributedReadingService, IterableWrapper, MultiProcessingReadingService,
        SequentialReadingService,
    )

    dist.init_process_group("gloo")
    rank = dist.get_rank()
    service = SequentialReadingService(
        DistributedReadingService(timeout=float(sys.argv[2])), MultiProcessingReadingService(1)
    )
    pipe = IterableWrapper(range(10**9)).sharding_filter().filter(lambda x: True).batch(4)
    try:
        with DataLoader2(pipe, reading_service=service) as dl:
            for number, batch in enumerate(dl):
                time.sleep(0.01)
                if number == 50 and rank == 1:
                    print(time.monotonic(), flush=True)
                    os.kill(os.getpid(), getattr(signal, sys.argv[1]))
    except Exception as error:
        print(time.monotonic(), type(error).__name__, error, flush=True)
    """


@pytest.mark.parametrize(("how", "timeout_s", "at_most_s"), [("SIGKILL", 30.0, 5.0), ("SIGSTOP", 3.0, 5.0)])
def test_a_rank_that_is_lost_is_an_error_for_the_others_in_time(
    tmp_path: Path, how: str, timeout_s: float, at_most_s: float
) -> None:
    path = tmp_path / "rank.py"
    path.write_text(textwrap.dedent(RANK))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = {**ENVIRONMENT, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    survivor, lost = (
        subprocess.Popen(
            [sys.executable, str(path), how, str(timeout_s)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**where, "RANK": str(rank)},
        )
        for rank in range(2)
    )
    try:
        assert survivor.stdout is not None and lost.stdout is not None
        lost_at = float(lost.stdout.readline())
        at, kind, *words = survivor.stdout.readline().split()
        assert kind == "RankError", words
        assert "rank is gone" in " ".join(words)
        assert float(at) - lost_at < at_most_s or within(at_most_s, since=lost_at)
    finally:
        for process in (lost, survivor):
            process.kill()
            process.communicate()
