# SPDX-License-Identifier: Apache-2.0
"""Child processes that never outlive the test run, even one that is killed with -9.

Each child leads its own session. A small reaper process learns the pids through a pipe; when the pipe closes, because
the run ended in whatever way, it kills the groups that are left.
"""

import functools
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from tests.support.waiting import wait_until

_REAPER = """
import os, signal, sys
groups = set()
for line in sys.stdin:
    (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
for group in groups:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        continue
"""
_live: dict[int, "Child"] = {}


@functools.cache
def _reaper() -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", _REAPER], stdin=subprocess.PIPE, start_new_session=True)


def _tell_reaper(sign: str, pid: int) -> None:
    pipe = _reaper().stdin
    assert pipe is not None
    pipe.write(f"{sign}{pid}\n".encode())
    pipe.flush()


def reaper_pid() -> int:
    """It is a child of the run that stays to its end."""
    return _reaper().pid


class Child:
    """One child in a session of its own; output goes to files."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        stdout: Path,
        stderr: Path | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.argv = list(argv)
        with stdout.open("ab") as out:
            err: IO[bytes] | int = stderr.open("ab") if stderr is not None else subprocess.STDOUT
            self.popen = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=cwd,
                start_new_session=True,
                env={**os.environ, **env} if env is not None else None,
            )
            if not isinstance(err, int):
                err.close()
        _live[self.pid] = self
        _tell_reaper("+", self.pid)

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def running(self) -> bool:
        return self.exit_code() is None

    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        code = self.popen.poll()
        if code is not None:
            self._forget()
        return code

    def signal(self, number: int) -> None:
        """Nothing happens when it has ended."""
        if self.running:
            self.popen.send_signal(number)

    def freeze(self, timeout_s: float = 10) -> None:
        """SIGSTOP; on a busy machine the other threads run on until the first one takes the signal."""
        self.signal(signal.SIGSTOP)
        wait_until(lambda: set(self._thread_states()) == {"T"}, timeout_s, f"{self.argv[0]} stands still")

    def _thread_states(self) -> list[str]:
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return [(task / "stat").read_text().rpartition(")")[2].split()[0] for task in tasks]

    def wait(self, timeout_s: float) -> int:
        """The exit code; AssertionError when it still runs after ``timeout_s``."""
        try:
            code = self.popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"Still running after {timeout_s:g} s: {' '.join(self.argv)[:200]}."
            ) from None
        self._forget()
        return code

    def kill(self) -> None:
        """SIGKILL to the whole group, and reap it."""
        if self.running:
            os.killpg(self.pid, signal.SIGKILL)
            self.wait(10)

    def _forget(self) -> None:
        if _live.pop(self.pid, None) is not None:
            _tell_reaper("-", self.pid)


def live() -> list[Child]:
    """The children that were started and not yet seen to end."""
    return [child for child in list(_live.values()) if child.running]


def tail(path: Path, lines: int) -> str:
    """The last lines of a text file, or what is wrong with it."""
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except OSError as error:
        return f"({path}: {error.strerror})"
