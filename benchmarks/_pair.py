"""Run the sides of one benchmark in turns, each in a process of its own: A B, B A, A B ...

A side is a function that gives a generator: what it does before its first ``yield`` is set-up and warm-up, and each
``yield`` is the number that one round gave. It measures itself, so starting the process and talking to it cost it
nothing. While one side runs its round, the others wait for their next request.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROUND_TIMEOUT_S = 600.0
CLOSE_TIMEOUT_S = 30.0
LOG_TAIL_CHARACTERS = 2_000
STOLEN_AT_MOST = 0.02  # of the processors' time in one pass, by other guests of the machine's host


@dataclass(frozen=True)
class Side:
    """One contender: who (unique within its benchmark), in which unit, and the generator function that gives rounds."""

    name: str
    unit: str
    rounds: Callable[..., Iterator[float]]
    args: Mapping[str, object] = field(default_factory=dict)
    peer: bool = False
    """Whether it runs in the peers' environment instead of ours."""
    squirrel: bool = False
    """Whether it runs in Squirrel's, which needs a numpy of its own."""
    times: int = 1
    """How many short rounds stand for each round, alike for all sides of a group: the shorter they are, the nearer to
    each other in time are those that are compared."""


@dataclass
class Outcome:
    """What came of some sides: their numbers, round by round, and why some of them gave none."""

    values: dict[str, list[float]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    stolen: list[float] = field(default_factory=list)
    """Which part of the processors' time the machine's host gave to others: the passes kept, then the others."""


class SideFailed(Exception):
    """A side raised, died or hung; the message holds the end of what it wrote."""


def peer_python() -> str:
    """The interpreter of the peers' environment."""
    return os.environ.get("PENSTOCK_BENCH_PYTHON") or str(ROOT / ".venv-bench" / "bin" / "python")


def squirrel_python() -> str:
    """The interpreter of Squirrel's environment."""
    return os.environ.get("PENSTOCK_BENCH_SQUIRREL") or str(ROOT / ".venv-bench-squirrel" / "bin" / "python")


def python_of(side: Side) -> str:
    """The interpreter that runs a side."""
    if side.squirrel:
        return squirrel_python()
    return peer_python() if side.peer else sys.executable


def interleave(sides: Sequence[Side], rounds: int) -> Outcome:
    """Run ``rounds`` rounds of every side, in alternating order, so that a drift of the machine hits all alike.

    Where the host of a virtual machine takes its processors away, two processes lose more than one, and no ratio of
    them means anything. So a pass in which it took more than `STOLEN_AT_MOST` is made again, up to ``rounds`` of them,
    and the passes that lost least are kept, all sides of each. Memory is the same however long it took.
    """
    at_most = 1.0 if all(side.unit == "MB" for side in sides) else STOLEN_AT_MOST
    rounds *= sides[0].times
    failures: dict[str, str] = {}
    passes: list[tuple[float, dict[str, float]]] = []
    with ExitStack() as stack:
        children = [(side, stack.enter_context(closing(_Child(side)))) for side in sides]
        for number in range(2 * rounds):
            if sum(stolen <= at_most for stolen, _ in passes) >= rounds or len(failures) == len(sides):
                break
            before = _ticks()
            values: dict[str, float] = {}
            for side, child in children if number % 2 == 0 else reversed(children):
                if side.name in failures:
                    continue
                try:
                    values[side.name] = child.round()
                except SideFailed as failure:
                    failures[side.name] = str(failure)
            passes.append((_stolen(before, _ticks()), values))
    quietest = sorted(range(len(passes)), key=lambda number: passes[number][0])
    kept = [passes[number] for number in sorted(quietest[:rounds])]
    return Outcome(
        values={side.name: [values[side.name] for _, values in kept if side.name in values] for side in sides},
        failures=failures,
        stolen=[stolen for stolen, _ in kept] + [passes[number][0] for number in quietest[rounds:]],
    )


def _ticks() -> list[int]:
    """Return the processors' time so far, by what it went to; empty where the system does not tell."""
    try:
        with open("/proc/stat", encoding="ascii") as lines:
            return [int(number) for number in lines.readline().split()[1:9]]
    except OSError:
        return []


def _stolen(before: Sequence[int], after: Sequence[int]) -> float:
    """Return which part of the time between two calls of `_ticks` the host gave to others."""
    spent = [now - then for then, now in zip(before, after, strict=True)]
    return spent[7] / (sum(spent) or 1) if spent else 0.0


class _Child:
    """The process of one side; it starts at the first round, so that its imports disturb nobody else's."""

    def __init__(self, side: Side) -> None:
        self._side = side
        self._process: subprocess.Popen[str] | None = None
        self._log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115  # closed by close()

    def round(self) -> float:
        if self._process is None:
            self._process = self._start()
        requests, answers = self._process.stdin, self._process.stdout
        assert requests is not None and answers is not None
        with suppress(BrokenPipeError):  # it is dead: the empty answer below says so
            requests.write("round\n")
            requests.flush()
        ready, _, _ = select.select([answers], [], [], ROUND_TIMEOUT_S)
        line = answers.readline() if ready else ""
        if not line:
            reason = "ended without an answer" if ready else f"gave no answer within {ROUND_TIMEOUT_S:.0f} s"
            raise SideFailed(f"{self._side.name} {reason}\n{self._log_tail()}")
        return float(json.loads(line))

    def close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None and process.stdout is not None
            with suppress(BrokenPipeError):
                process.stdin.close()
            try:
                process.wait(CLOSE_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)  # a session of its own: its workers go with it
                process.wait()
            process.stdout.close()
        self._log.close()

    def _start(self) -> subprocess.Popen[str]:
        function = self._side.rounds
        return subprocess.Popen(
            [
                python_of(self._side),
                "-m",
                "benchmarks._child",
                f"{function.__module__}:{function.__qualname__}",
                json.dumps(dict(self._side.args)),
            ],
            cwd=ROOT,
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            start_new_session=True,
        )

    def _log_tail(self) -> str:
        self._log.seek(0)
        return self._log.read()[-LOG_TAIL_CHARACTERS:]


def _environment() -> dict[str, str]:
    """Return the environment of every side.

    One thread for torch's operators, as its workers have it: the cores belong to the workers. And compiled files may be
    kept, as they are wherever a package is used twice.
    """
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "OMP_NUM_THREADS": "1"}
