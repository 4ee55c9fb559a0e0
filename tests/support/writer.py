# SPDX-License-Identifier: Apache-2.0
"""A service that writes logs: its own process, its own rate and rotation, and a ledger of what it wrote."""

import argparse
import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.support import ROOT
from tests.support.lines import Written, load_ledger, make_line, save_ledger
from tests.support.processes import Child, tail


@dataclass(frozen=True, slots=True)
class Habits:
    """How the service writes. Counts are per file, the rate is for all files together."""

    lines: int = 0  # per file; 0: until it is stopped
    size_bytes: int = 200
    rate_lines_per_s: float = 0  # 0: as fast as the disk takes them
    burst_lines: int = 1  # lines per write(2)
    torn: bool = False  # each write(2) ends in the middle of a line, the rest comes with the next one
    rotate_every_lines: int = 0  # rename to .1, .2 ... and create anew; 0: never
    late_lines: int = 0  # this many lines still go to the renamed file before the new one is opened
    keep: int = 10_000  # renamed files beyond this number are deleted
    first: int = 0  # the first sequence: a second writer goes on where the first one ended


class _LogFile:
    def __init__(self, label: str, path: Path, habits: Habits) -> None:
        self.label, self.path, self.habits = label, path, habits
        self.next = habits.first
        self.rotations = 0
        self._rest = b""
        self._reopen_at: int | None = None
        self._open()

    def _open(self) -> None:
        self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def _put(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._fd, data) :]

    def write_burst(self, lines: int) -> None:
        size = self.habits.size_bytes
        data = b"".join(make_line(self.label, n, size) + b"\n" for n in range(self.next, self.next + lines))
        self.next += lines
        cut = len(data) - size // 2 if self.habits.torn else len(data)
        self._put(self._rest + data[:cut])
        self._rest = data[cut:]
        if self._reopen_at is not None and self.next >= self._reopen_at:
            self._reopen()
        every = self.habits.rotate_every_lines
        if every and (self.next - self.habits.first) // every > self.rotations:
            self._rotate()

    def _rotate(self) -> None:
        if self._reopen_at is not None:
            self._reopen()
        for number in itertools.count(1):
            if not self._numbered(number).exists():
                break
        for old in range(number - 1, 0, -1):
            os.rename(self._numbered(old), self._numbered(old + 1))
        os.rename(self.path, self._numbered(1))
        self._numbered(self.habits.keep + 1).unlink(missing_ok=True)
        self.rotations += 1
        self._reopen_at = self.next + self.habits.late_lines
        if not self.habits.late_lines:
            self._reopen()

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")

    def _reopen(self) -> None:
        self._finish_line()
        os.close(self._fd)
        self._reopen_at = None
        self._open()

    def _finish_line(self) -> None:
        self._put(self._rest)
        self._rest = b""

    def close(self) -> None:
        if self._reopen_at is not None:
            self._reopen()
        self._finish_line()
        os.close(self._fd)

    def written(self) -> Written:
        return Written(self.label, self.habits.first, self.next - 1, self.rotations)


def write_all(files: Mapping[str, Path], habits: Habits, ledger: Path) -> None:
    """Until every file has its lines or SIGTERM comes; then the ledger is complete."""
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stop.append(number))
    logs = [_LogFile(label, path, habits) for label, path in files.items()]
    started = time.monotonic()
    total, save_at = 0, 0.0
    end = habits.first + habits.lines if habits.lines else sys.maxsize
    while not stop and any(log.next < end for log in logs):
        for log in logs:
            lines = min(habits.burst_lines, end - log.next)
            log.write_burst(lines)
            total += lines
        now = time.monotonic()
        if now >= save_at:
            save_ledger(ledger, [log.written() for log in logs], done=False)
            save_at = now + 0.2
        if habits.rate_lines_per_s:
            time.sleep(max(0.0, started + total / habits.rate_lines_per_s - now))
    for log in logs:
        log.close()
    save_ledger(ledger, [log.written() for log in logs], done=True)


class Writer:
    """The service as a child process: ``Writer({"a": path}, directory, lines=1000, rate_lines_per_s=500).start()``."""

    def __init__(self, files: Mapping[str, Path], directory: Path, habits: Habits = Habits()) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.ledger = directory / "ledger.json"
        self._output = directory / "writer.out"
        self._files, self._habits = dict(files), habits
        self._child: Child | None = None

    def start(self) -> "Writer":
        order = json.dumps(
            {"files": {k: str(v) for k, v in self._files.items()}, "habits": asdict(self._habits)},
        )
        argv = [sys.executable, "-m", "tests.support.writer", "--ledger", str(self.ledger), order]
        self._child = Child(argv, stdout=self._output, cwd=ROOT)
        return self

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.running

    def lines_so_far(self) -> int:
        """What the ledger says; it is at most 0.2 s behind."""
        if not self.ledger.exists():
            return 0
        return sum(row["count"] for row in json.loads(self.ledger.read_text())["files"])

    def wait(self, timeout_s: float = 60) -> list[Written]:
        """Until it has written all its lines; what it wrote."""
        assert self._child is not None
        code = self._child.wait(timeout_s)
        assert code == 0, f"The writer ended with {code}:\n{tail(self._output, 20)}"
        return load_ledger(self.ledger)

    def stop(self, timeout_s: float = 20) -> list[Written]:
        """SIGTERM: it completes its last line and its ledger; what it wrote."""
        assert self._child is not None
        self._child.signal(signal.SIGTERM)
        return self.wait(timeout_s)

    def close(self) -> None:
        if self._child is not None:
            self._child.kill()

    def failure_report(self) -> str:
        ledger = self.ledger.read_text() if self.ledger.exists() else "not written yet"
        return f"Writer {sorted(self._files)}: ledger {ledger}\n{tail(self._output, 20)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("order", help='JSON: {"files": {label: path}, "habits": {...}}')
    options = parser.parse_args()
    order = json.loads(options.order)
    write_all({k: Path(v) for k, v in order["files"].items()}, Habits(**order["habits"]), options.ledger)


if __name__ == "__main__":
    main()
