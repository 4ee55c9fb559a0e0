# SPDX-License-Identifier: Apache-2.0
"""Child processes that never outlive this one, even when it is killed with -9.

Each child leads its own session. A small reaper process learns the pids through a pipe; when the pipe closes, because
this process ended in whatever way, it kills the groups that are left.
"""

import functools
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

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
    """It is a child that stays to the end."""
    return _reaper().pid


class Child:
    """One child in a session of its own; output goes to files, or to a file descriptor that the caller closes."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        stdout: Path | int,
        stderr: Path | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        """Standard error goes where standard output goes, unless it has a place. Raises OSError."""
        self.argv = list(argv)
        opened: list[IO[bytes]] = []

        def target(place: Path | int) -> IO[bytes] | int:
            if isinstance(place, int):
                return place
            opened.append(place.open("ab"))
            return opened[-1]

        try:
            self.popen = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=target(stdout),
                stderr=subprocess.STDOUT if stderr is None else target(stderr),
                cwd=cwd,
                start_new_session=True,
                env={**os.environ, **env} if env is not None else None,
            )
        finally:
            for file in opened:
                file.close()
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

    def exit_within(self, timeout_s: float) -> int | None:
        """The exit code; None when it still runs after ``timeout_s``."""
        try:
            code = self.popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
        self._forget()
        return code

    def signal(self, number: int) -> None:
        """Nothing happens when it has ended."""
        if self.running:
            self.popen.send_signal(number)

    def kill(self) -> None:
        """SIGKILL to the whole group, and reap it."""
        if self.running:
            os.killpg(self.pid, signal.SIGKILL)
            self.exit_within(10)

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


class LinePipe:
    """Whole lines out of a pipe, without waiting. Give ``write_end`` to a child and close it then."""

    def __init__(self) -> None:
        self._read_end, self.write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        self._rest = b""

    def close_write_end(self) -> None:
        """Once the child has it."""
        os.close(self.write_end)

    def take(self) -> list[str]:
        """The lines that have come since the last time."""
        while True:
            try:
                data = os.read(self._read_end, 65536)
            except BlockingIOError:
                break
            if not data:
                break
            self._rest += data
        *lines, self._rest = self._rest.split(b"\n")
        return [line.decode() for line in lines]

    def close(self) -> None:
        os.close(self._read_end)
