"""The checks that watch the tests can fail: leftovers are seen, a hang shows stacks, CI skips nothing in silence."""

from __future__ import annotations

import mmap
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from penstock.testing.leftovers import census, leftovers

HERE = Path(__file__).parent


def test_a_child_process_is_left_over_until_it_is_reaped() -> None:
    before = census()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert any(f"process {child.pid}" in line for line in leftovers(before, within_s=0))
    finally:
        child.communicate(b"\n")
    assert not leftovers(before)


def test_a_thread_is_left_over_until_it_ends() -> None:
    before, done = census(), threading.Event()
    thread = threading.Thread(target=done.wait, name="forgotten", args=(60,))
    thread.start()
    assert any("forgotten" in line for line in leftovers(before, within_s=0))
    threading.Timer(0.2, done.set).start()
    assert not leftovers(before), "what ends by itself within the time is not left over"


def test_a_descriptor_and_a_mapping_are_left_over_each_by_itself() -> None:
    before = census()
    fd = os.memfd_create("penstock-test")
    os.ftruncate(fd, 4096)
    view = mmap.mmap(fd, 4096)
    os.close(fd)  # mmap keeps a descriptor of its own
    assert sorted(line.split()[0] for line in leftovers(before, within_s=0)) == ["descriptor", "mapping"]
    view.close()
    assert not leftovers(before)


SUITE = """
import subprocess, sys, time
import pytest

def test_skips():
    pytest.skip("because I say so")

def test_skips_for_a_known_reason():
    pytest.skip("needs CUDA")

@pytest.mark.xfail
def test_expected_to_fail():
    assert False

def hangs_here():
    time.sleep(60)

@pytest.mark.timeout(3)
def test_hangs():
    child = "def child_hangs_here():\\n    import time; time.sleep(60)\\nchild_hangs_here()"
    subprocess.Popen([sys.executable, "-c", child])
    hangs_here()

def test_runs_after_the_hang():
    pass
"""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What pytest prints in CI about a suite that skips and hangs, under our conftest."""
    suite = tmp_path_factory.mktemp("suite")
    shutil.copy(HERE / "conftest.py", suite)
    (suite / "test_it.py").write_text(SUITE)
    (suite / "test_skipped_whole.py").write_text("import pytest\npytest.skip('not today', allow_module_level=True)\n")
    # A run of its own, without the cache and the configuration of the one that runs now.
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--continue-on-collection-errors", "-rA"]
    done = subprocess.run(
        [*command, "--rootdir", suite, "-c", os.devnull, suite],
        cwd=suite, env=os.environ | {"CI": "true"}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return done.stdout + done.stderr


def test_a_skip_fails_in_ci_unless_its_reason_is_known(outcome: str) -> None:
    assert "FAILED test_it.py::test_skips " in outcome
    assert "because I say so" in outcome
    assert "SKIPPED" in outcome
    assert "FAILED test_it.py::test_skips_for_a_known_reason" not in outcome
    assert "XFAIL test_it.py::test_expected_to_fail" in outcome


def test_a_module_that_skips_itself_fails_in_ci(outcome: str) -> None:
    assert "ERROR test_skipped_whole.py" in outcome


def test_a_hang_fails_with_the_stacks_of_every_process_and_the_run_goes_on(outcome: str) -> None:
    assert "FAILED test_it.py::test_hangs" in outcome
    assert "in hangs_here" in outcome
    assert "in child_hangs_here" in outcome
    assert "PASSED test_it.py::test_runs_after_the_hang" in outcome
