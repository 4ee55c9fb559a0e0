# SPDX-License-Identifier: Apache-2.0
"""``python -m logagent.demo.writer``: writes access logs as nginx does, rotates them by rename, keeps a ledger."""

import argparse
import os
import signal
import sys
import time
from pathlib import Path

from logagent.demo import ledger
from logagent.demo.ledger import Ledger, Written
from logagent.demo.lines import ROTATE_EVERY_S, SERVICES, Service, lines_due, make_line

TICK_S = 0.02
REOPEN_AFTER_S = 0.3
"""nginx writes on to the renamed file until it is told to open the new one."""
LEDGER_EVERY_S = 0.1


class AccessLog:
    """One file of one service and its renamed predecessors, of which ``keep`` stay."""

    def __init__(self, service: Service, directory: Path, keep: int) -> None:
        self.service = service
        self.path = directory / service.file_name
        self.lines = self.rotations = 0
        self._keep = keep
        self._next_rotation_s = service.first_rotation_s
        self._reopen_at_s: float | None = None
        self._fd = self._open()

    def _open(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def advance(self, elapsed_s: float) -> None:
        """Write what is due, rotate when it is time. Raises OSError."""
        self.write(lines_due(self.service, elapsed_s) - self.lines)
        if self._reopen_at_s is not None and elapsed_s >= self._reopen_at_s:
            self._reopen_at_s = None
            os.close(self._fd)
            self._fd = self._open()
        if elapsed_s >= self._next_rotation_s and self._reopen_at_s is None:
            self._next_rotation_s = elapsed_s + ROTATE_EVERY_S
            self._rename()
            self._reopen_at_s = elapsed_s + REOPEN_AFTER_S

    def write(self, lines: int) -> None:
        """That many lines with the time of now, in one go."""
        now_ns, name = time.time_ns(), self.service.name
        data = b"".join(
            make_line(name, number, now_ns) + b"\n" for number in range(self.lines, self.lines + lines)
        )
        while data:
            data = data[os.write(self._fd, data) :]
        self.lines += max(0, lines)

    def _rename(self) -> None:
        for number in range(self._keep, 0, -1):
            if self._numbered(number).exists():
                os.replace(self._numbered(number), self._numbered(number + 1))
        os.replace(self.path, self._numbered(1))
        self._numbered(self._keep + 1).unlink(missing_ok=True)
        self.rotations += 1

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")


def write_logs(directory: Path, ledger_path: Path, seconds: float | None, keep: int) -> None:
    """Until SIGTERM, or for ``seconds``; then the ledger is complete. Raises OSError."""
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stop.append(number))
    logs = [AccessLog(service, directory, keep) for service in SERVICES]

    def note(*, done: bool) -> None:
        rows = {log.service.name: Written(log.lines, log.rotations) for log in logs}
        ledger.save(ledger_path, Ledger(rows, done))

    started, note_at = time.monotonic(), 0.0
    while not stop:
        elapsed_s = time.monotonic() - started
        if seconds is not None and elapsed_s >= seconds:
            break
        for log in logs:
            log.advance(elapsed_s)
        if elapsed_s >= note_at:
            note(done=False)
            note_at = elapsed_s + LEDGER_EVERY_S
        time.sleep(TICK_S)
    note(done=True)


def main() -> int:
    """The exit code is the errno when the disk does not take the lines: a sentence in a file would not fit either."""
    parser = argparse.ArgumentParser(prog="python -m logagent.demo.writer", description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("ledger", type=Path)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--keep", type=int, default=8)
    options = parser.parse_args()
    try:
        write_logs(options.directory, options.ledger, options.seconds, options.keep)
    except OSError as error:
        return error.errno or 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
