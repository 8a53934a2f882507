"""For every test: a hang shows the stacks of every process, CI skips nothing unawares, leftovers are counted."""

from __future__ import annotations

import faulthandler
import gc
import os
import signal
import sys
import time
from collections.abc import Generator, Iterator
from types import FrameType
from typing import Any

import psutil
import pytest

from penstock.testing.leftovers import census, leftovers

# Programs for the type checkers: tests/test_typing.py reads them, nothing runs them.
collect_ignore_glob = ["typing/*"]

# A test may skip in CI only for one of these reasons (how the skip's reason begins: why it is all right).
ALLOWED_SKIPS = {
    "needs CUDA": "the machines that run CI have no GPU",
    "needs macOS": "CI runs on Linux",
    "needs Java": "a machine may have no Java runtime, which Spark runs on",
}


def pytest_configure(config: pytest.Config) -> None:
    # What a shell without job control runs in the background ignores SIGINT, and the tests' programs inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Registered as plugins, because a conftest's hooks see only the tests beside it, and not the doctests of penstock/.
    config.pluginmanager.register(Timeouts(), "penstock-timeouts")
    if os.environ.get("CI") == "true":
        config.pluginmanager.register(NoUnexpectedSkips(), "penstock-no-unexpected-skips")


def pytest_collection_finish() -> None:
    # A quarter of a million objects of torch, Arrow and the tests themselves, which no collection need look through.
    gc.collect()
    gc.freeze()


@pytest.fixture
def no_leftovers() -> Iterator[None]:
    """Fail a test that leaves a process, a thread, a descriptor or shared memory behind.

    The library is imported first, so that what an import opens once is not held against the test.
    """
    import penstock  # noqa: F401

    before = census()
    yield
    left = leftovers(before)
    if left:
        pytest.fail("left behind:\n  " + "\n  ".join(left), pytrace=False)


class NoUnexpectedSkips:
    """Turns each skip without an allowed reason into a failure: a test that never runs proves nothing."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if not hasattr(report, "wasxfail"):  # pytest reports an expected failure as skipped, too
            _fail_if_skipped(report)
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        report = yield
        _fail_if_skipped(report)
        return report


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not report.skipped:
        return
    path, line, message = report.longrepr  # type: ignore[misc]
    reason = str(message).removeprefix("Skipped: ")
    if not reason.startswith(tuple(ALLOWED_SKIPS)):
        report.outcome = "failed"
        report.longrepr = f"{path}:{line}: skipped in CI, where nothing may skip unawares: {reason}"


class Timeouts:
    """pytest-timeout's timer, which shows where each *child* hangs as well.

    The stacks of this process come from faulthandler. The children run with PYTHONFAULTHANDLER, so SIGABRT makes each
    print the stacks of its threads to the stderr that it inherited, and end. The test then fails, and the run goes on.
    """

    def __init__(self) -> None:
        os.environ["PYTHONFAULTHANDLER"] = "1"

    @pytest.hookimpl(tryfirst=True)
    def pytest_timeout_set_timer(self, settings: Any) -> bool:
        def on_alarm(signum: int, frame: FrameType | None) -> None:
            _dump_every_stack()
            pytest.fail(f"took more than {settings.timeout:g} s; the stacks of every process are in its stderr")

        signal.signal(signal.SIGALRM, on_alarm)
        signal.setitimer(signal.ITIMER_REAL, settings.timeout)
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_timeout_cancel_timer(self) -> bool:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        return True


def _dump_every_stack() -> None:
    stderr = sys.__stderr__.fileno() if sys.__stderr__ else 2
    os.write(stderr, f"\n~~~~ process {os.getpid()}, the tests\n".encode())
    faulthandler.dump_traceback(stderr, all_threads=True)
    for child in psutil.Process().children(recursive=True):
        try:
            os.write(stderr, f"\n~~~~ process {child.pid}: {' '.join(child.cmdline())[:200]}\n".encode())
            child.send_signal(signal.SIGABRT)
        except psutil.NoSuchProcess:
            continue
        time.sleep(0.2)  # so that two children don't write into each other's lines
