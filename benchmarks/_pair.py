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


@dataclass
class Outcome:
    """What came of some sides: their numbers, round by round, and why some of them gave none."""

    values: dict[str, list[float]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


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
    """Run ``rounds`` rounds of every side, in alternating order, so that a drift of the machine hits all alike."""
    outcome = Outcome(values={side.name: [] for side in sides})
    with ExitStack() as stack:
        children = [(side, stack.enter_context(closing(_Child(side)))) for side in sides]
        for number in range(rounds):
            for side, child in children if number % 2 == 0 else reversed(children):
                if side.name in outcome.failures:
                    continue
                try:
                    outcome.values[side.name].append(child.round())
                except SideFailed as failure:
                    outcome.failures[side.name] = str(failure)
    return outcome


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
