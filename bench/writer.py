# SPDX-License-Identifier: Apache-2.0
"""Services that write logs at a steady total rate, in a process of their own whose cost is charged to nobody.

``python -m bench.writer DIRECTORY FILES LINES_PER_S LINES SIZE_BYTES TIMES`` appends to DIRECTORY/NNNN.log in turn:
the k-th line is number k // FILES of file k % FILES. The wall time of each write, in ns, goes to TIMES at the end.
"""

import os
import sys
import time
from array import array
from pathlib import Path

from tests.support import ROOT
from tests.support.lines import Written, make_line
from tests.support.processes import Child, tail

_TICK_S = 0.002


def label_of(index: int) -> str:
    return f"{index:04d}"


def path_of(directory: Path, index: int) -> Path:
    return directory / f"{label_of(index)}.log"


def _write(directory: Path, files: int, rate: float, lines: int, size_bytes: int) -> "array[int]":
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    labels = [label_of(index) for index in range(files)]
    descriptors = [os.open(path_of(directory, index), flags, 0o644) for index in range(files)]
    times = array("q")
    began = time.monotonic()
    for k in range(lines):
        wait_s = began + k / rate - time.monotonic()
        if wait_s > 0:
            time.sleep(max(wait_s, _TICK_S))  # some lines at once rather than a sleep for each
        sequence, index = divmod(k, files)
        line = make_line(labels[index], sequence, size_bytes - 1) + b"\n"
        times.append(time.time_ns())
        os.write(descriptors[index], line)
    return times


class PacedWriter:
    """The process; `finish()` waits for it."""

    def __init__(self, directory: Path, *, files: int, rate: float, seconds: float, size_bytes: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.files, self.lines = files, int(rate * seconds) // files * files
        self._times, self._output = directory.parent / "times", directory.parent / "writer.out"
        numbers = map(str, (files, rate, self.lines, size_bytes))
        argv = [sys.executable, "-m", "bench.writer", str(directory), *numbers, str(self._times)]
        self._timeout_s = seconds * 2 + 30
        self._child = Child(argv, stdout=self._output, cwd=ROOT)

    def finish(self) -> None:
        if self._child.wait(self._timeout_s):
            raise RuntimeError(f"The writer failed:\n{tail(self._output, 20)}")

    def written(self) -> list[Written]:
        per_file = self.lines // self.files
        return [Written(label_of(index), 0, per_file - 1) for index in range(self.files)]

    def times_ns(self) -> "array[int]":
        times = array("q")
        times.frombytes(self._times.read_bytes())
        return times

    def close(self) -> None:
        self._child.kill()


def main(argv: list[str]) -> None:
    directory, files, rate, lines, size_bytes, times = argv
    Path(times).write_bytes(
        _write(Path(directory), int(files), float(rate), int(lines), int(size_bytes)).tobytes()
    )


if __name__ == "__main__":
    main(sys.argv[1:])
