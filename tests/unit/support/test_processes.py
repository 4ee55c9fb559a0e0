# SPDX-License-Identifier: Apache-2.0
"""Children end with the test run, even when it is killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.processes import Child
from tests.support.waiting import wait_until

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_a_run_that_is_killed_leaves_no_child(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from tests.support.processes import Child;"
        f"print(Child({SLEEP!r}, stdout=Path({str(tmp_path / 'out')!r})).pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=ROOT) as run:
        assert run.stdout is not None
        grandchild = int(run.stdout.readline())
        assert is_alive(grandchild)

        run.send_signal(signal.SIGKILL)

    wait_until(lambda: not is_alive(grandchild), 10, "the reaper killed it")


def test_a_child_that_does_not_end_in_time_is_an_assertion(tmp_path: Path) -> None:
    child = Child(SLEEP, stdout=tmp_path / "out")

    with pytest.raises(AssertionError, match=r"Still running after 0\.05 s"):
        child.wait(0.05)
    child.kill()

    assert child.exit_code() == -signal.SIGKILL
    assert not child.running


def test_output_and_exit_code_are_kept(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", "import os; print(os.environ['WORD']); os._exit(7)"]
    child = Child([argv[0], "-u", *argv[1:]], stdout=tmp_path / "out", env={"WORD": "here"})

    assert child.wait(20) == 7
    assert (tmp_path / "out").read_text() == "here\n"


def test_a_frozen_child_has_stopped_and_can_be_killed(tmp_path: Path) -> None:
    child = Child(SLEEP, stdout=tmp_path / "out")

    child.freeze()

    assert "\nState:\tT" in Path(f"/proc/{child.pid}/status").read_text()
    child.kill()
    assert not child.running


def test_a_child_leads_its_own_session(tmp_path: Path) -> None:
    child = Child(SLEEP, stdout=tmp_path / "out")

    assert os.getsid(child.pid) == child.pid
    child.kill()


def test_a_wait_ends_with_the_value_or_names_what_did_not_come() -> None:
    values = iter([0, 0, 3])

    assert wait_until(lambda: next(values), 5, "three", interval_s=0) == 3
    with pytest.raises(AssertionError, match=r"Not within 0 s: the moon\."):
        wait_until(lambda: False, 0, "the moon")
