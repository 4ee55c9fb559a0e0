# SPDX-License-Identifier: Apache-2.0
"""Random lives of log files against the real collector, tailer and positions on a real directory.

Every whole line is delivered, lines of one generation in order, and nothing twice except what was not acknowledged when
the agent was stopped.
"""

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from logagent.sources import reader
from tests.unit.sources.conftest import make_bench, short_pauses
from tests.unit.sources.twins import Bench, settle, until

__all__ = ["make_bench", "short_pauses"]  # fixtures

STEPS = 60
MakeBench = Callable[..., Bench]


class Life:
    """Log files of one service that are written, rotated, truncated and deleted while the agent comes and goes."""

    def __init__(self, place: Path, make: MakeBench, chance: random.Random, pattern: str) -> None:
        self.place = place
        self.make = make
        self.chance = chance
        self.pattern = pattern
        self.logs: set[Path] = set()
        self.written: dict[int, list[bytes]] = {}  # per inode; anew when it is used again
        self.halves: dict[Path, bytes] = {}
        self.rotated: list[Path] = []
        self.expected: Counter[bytes] = Counter()
        self.may_double: Counter[bytes] = Counter()
        self.delivered: list[bytes] = []
        self.lines = 0
        self.rotations = 0
        self.deleted = False
        self.bench = make()
        self.bench.read(place / pattern)

    # -- what happens -------------------------------------------------------------------------------------------------

    def write(self) -> None:
        path = self._some_log()
        data = b""
        for _ in range(self.chance.choice([1, 1, 2, 30])):
            data += self.halves.pop(path, b"")
            line = self._line(path)
            data += line + self.chance.choice([b"\n", b"\n", b"\r\n", b"\n\n", b"\n  \n"])
            self.expected[line] += 1
        self._append(path, data)

    def write_half(self) -> None:
        """The first part of a line; `write` goes on with what would be its rest."""
        path = self._some_log()
        if path in self.halves:
            return
        line = self._line(path)
        self._append(path, line)
        self.expected[line] += 1
        self.halves[path] = b"\n"

    def write_late(self) -> None:
        """A writer that has not noticed the rotation; in time."""
        if self.rotated and self._seen(self.rotated[-1]):
            self._write_line(self.rotated[-1])

    def rotate(self) -> None:
        path = self._some_log()
        if not path.exists() or not self._seen(path):
            return
        self.rotations += 1
        old = path.with_name(f"{path.name}.{self.rotations}")
        path.rename(old)
        if path in self.halves:
            self.halves[old] = self.halves.pop(path)
        self.rotated.append(old)

    def delete(self) -> None:
        path = self._some_log()
        if path.exists() and path not in self.halves and self._seen(path):
            path.unlink()
            self.deleted = True

    def truncate(self) -> None:
        """Only after everything was read: what copytruncate loses is lost."""
        path = self._some_log()
        if not path.exists() or path in self.halves:
            return
        self.quiet()
        if path.stat().st_size:
            seen = len(self.bench.told.of("file_truncated"))
            os.truncate(path, 0)
            until(lambda: len(self.bench.told.of("file_truncated")) > seen)

    def block(self) -> None:
        self.bench.outlet.block()
        settle(2)

    def unblock(self) -> None:
        self.bench.outlet.unblock()

    def hold(self) -> None:
        self.bench.outlet.holding = not self.bench.outlet.holding

    def acknowledge_some(self) -> None:
        open_ = self.bench.outlet.open
        self.bench.outlet.acknowledge(self.chance.sample(open_, self.chance.randint(0, len(open_))))

    def give_up_some(self) -> None:
        self.bench.outlet.take_back(self.chance.randint(0, 5))

    def time_passes(self) -> None:
        """So long that rotated files are let go; their last lines are whole before."""
        for path in [path for path in self.halves if path in self.rotated]:
            self._append(path, self.halves.pop(path))
        self.quiet()
        self.bench.skip(11)
        settle(5)

    def sweep(self) -> None:
        self.bench.collector._sweeper.sweep()

    def restart(self) -> None:
        """What was deleted and not read before is lost with the agent's descriptor, so that is waited for."""
        if self.deleted:
            self.quiet()
            self.deleted = False
        positions = self.bench.stop()
        self.may_double.update(self.bench.outlet.behind_positions())
        self._collect()
        path = self._some_log()
        if path.exists() and self.chance.random() < 0.5:
            self._write_line(path)
        self.bench = self.make(positions)
        self.bench.read(self.place / self.pattern)

    # -- what is checked ----------------------------------------------------------------------------------------------

    def quiet(self) -> None:
        """Everything that can be read has been read and acknowledged."""
        bench = self.bench
        bench.outlet.unblock()
        bench.outlet.holding = False

        def done() -> bool:
            bench.outlet.acknowledge()
            return all(
                file.acks.acked_offset > os.pread(file.descriptor, file.size_bytes(), 0).rfind(b"\n")
                for file in bench.collector.files.values()
            )

        for path in self.logs:
            if path.exists():
                until(lambda path=path: self._seen(path), f"{path} is seen")
        until(done, "everything is read")

    def finish(self) -> None:
        for path in list(self.halves):
            self._append(path, self.halves.pop(path))
        self.quiet()
        settle(5)
        self.bench.stop()
        self._collect()
        got = Counter(self.delivered)
        assert sorted(self.expected - got) == [], "lines are missing"
        assert sorted(got - self.expected - self.may_double) == [], "lines came twice or were never written"
        for lines in self.written.values():
            if not self.may_double.keys() & set(lines):
                assert [line for line in self.delivered if line in set(lines)] == lines, (
                    "a file is out of order"
                )

    # -- small things -------------------------------------------------------------------------------------------------

    def _some_log(self) -> Path:
        return self.place / self.chance.choice(["a.log", "b.log"])

    def _line(self, path: Path) -> bytes:
        self.lines += 1
        return b"%s %d %s" % (os.fsencode(path.name), self.lines, b"." * self.chance.choice([0, 5, 40]))

    def _write_line(self, path: Path) -> None:
        line = self._line(path)
        self._append(path, self.halves.pop(path, b"") + line + b"\n")
        self.expected[line] += 1

    def _append(self, path: Path, data: bytes) -> None:
        new = not path.exists()
        with path.open("ab", buffering=0) as file:
            file.write(data)
        lines = [line for line in data.splitlines() if line.strip()]
        inode = path.stat().st_ino
        self.written[inode] = lines if new else self.written[inode] + lines
        if path not in self.rotated:
            self.logs.add(path)
        if new and self.bench.running:
            until(lambda: self._seen(path), f"{path} is seen")

    def _seen(self, path: Path) -> bool:
        status = path.stat()
        return any(
            (file.key.device, file.key.inode) == (status.st_dev, status.st_ino)
            for file in self.bench.collector.files.values()
        )

    def _collect(self) -> None:
        self.delivered += self.bench.outlet.acknowledged()


ACTIONS = {
    "write": 12,
    "write_half": 3,
    "write_late": 3,
    "rotate": 4,
    "delete": 1,
    "truncate": 1,
    "block": 2,
    "unblock": 3,
    "hold": 4,
    "acknowledge_some": 4,
    "give_up_some": 4,
    "time_passes": 2,
    "sweep": 1,
    "restart": 2,
}


@pytest.fixture(autouse=True)
def small_reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(reader, "READ_BYTES", 50)
    return iter([None])


@pytest.mark.parametrize("pattern", ["*.log", "*.log*", "**/*.log"])
@pytest.mark.parametrize("seed", range(8))
def test_whatever_happens_to_files_their_lines_arrive(
    tmp_path: Path, make_bench: MakeBench, seed: int, pattern: str
) -> None:
    chance = random.Random(f"{seed} {pattern}")
    life = Life(tmp_path, make_bench, chance, pattern)
    for _ in range(STEPS):
        (action,) = chance.choices(list(ACTIONS), list(ACTIONS.values()))
        getattr(life, action)()
        if chance.random() < 0.4:
            settle(chance.choice([1, 3]))
    life.finish()
