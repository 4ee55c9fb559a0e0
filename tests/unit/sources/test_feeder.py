# SPDX-License-Identifier: Apache-2.0
"""When files are read, and that a read in passing gives what any read gives."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from logagent.sources.deadlines import Deadlines
from logagent.sources.feeder import MAX_GATHER_S, READS_PER_S, ROUND_S, Feeder
from logagent.sources.tailer import Tailer
from logagent.spawn import Spawner
from tests.unit.sources.twins import Bench, settle, until


@dataclass(eq=False)
class File:
    dirty: bool = False
    tailing: bool = False
    closed: bool = False
    retired: bool = False
    greenlet: None = None
    path: bytes = b"/a"


class Reader:
    """Stands for the tailer; reads all it is given."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.deadlines: Deadlines[Any] = Deadlines(clock)
        self.read: list[File] = []
        self.fails_at: File | None = None

    def sip(self, queue: deque[File], activate: Callable[[File], None]) -> None:
        while queue:
            file = queue.popleft()
            file.dirty = False
            if file is self.fails_at:
                self.fails_at = None
                raise ValueError("unforeseen")
            self.read.append(file)


class Rig:
    def __init__(self) -> None:
        self.now_s = 100.0
        self.reader = Reader(lambda: self.now_s)
        self.failures: list[BaseException] = []
        spawner = Spawner(lambda _name, error, _delay_s: self.failures.append(error))
        self.feeder = Feeder(self.reader, spawner, lambda: self.now_s)  # type: ignore[arg-type]
        self.greenlet = spawner.forever("feed", self.feeder.run)

    def written(self, *files: File) -> None:
        for file in files:
            self.feeder.written(file)  # type: ignore[arg-type]

    def wake(self, file: File) -> None:
        self.feeder.wake(file)  # type: ignore[arg-type]

    def take(self) -> list[File]:
        """What is to be read now."""
        return list(self.feeder._next_round())  # type: ignore[arg-type]


@pytest.fixture
def rig() -> Any:
    made = Rig()
    yield made
    made.greenlet.kill()


def test_a_file_that_was_quiet_is_read_at_once_while_busy_ones_gather(rig: Rig) -> None:
    busy = [File() for _ in range(100)]
    quiet = File()
    rig.written(*busy)
    assert rig.take() == busy
    rig.written(*busy, quiet)

    assert rig.take() == [quiet]
    rig.now_s += 100 / READS_PER_S + 0.001
    assert set(rig.take()) == set(busy)


def test_what_gathers_is_read_once_however_often_it_is_written(rig: Rig) -> None:
    file = File()
    rig.written(file)
    rig.take()
    for _ in range(5):
        rig.written(file)

    assert rig.take() == []
    rig.now_s += ROUND_S
    assert rig.take() == [file]
    rig.now_s += ROUND_S
    assert rig.take() == []


@pytest.mark.parametrize(
    ("files", "period_s"), [(1, ROUND_S), (400, 400 / READS_PER_S), (10_000, MAX_GATHER_S)]
)
def test_the_more_files_are_busy_the_longer_they_gather_up_to_a_bound(
    rig: Rig, files: int, period_s: float
) -> None:
    busy = [File() for _ in range(files)]
    rig.written(*busy)
    rig.take()
    rig.written(*busy)

    rig.now_s += period_s - 0.001
    assert rig.take() == []
    rig.now_s += 0.002
    assert len(rig.take()) == files


def test_what_must_be_seen_to_does_not_gather(rig: Rig) -> None:
    file = File()
    rig.written(file)
    rig.take()
    rig.written(file)
    rig.wake(file)

    assert rig.take() == [file]


def test_a_file_that_is_let_go_is_not_read(rig: Rig) -> None:
    one, two = File(), File()
    rig.written(one)
    rig.take()
    rig.written(one, two)
    rig.feeder.release(one)  # type: ignore[arg-type]
    rig.feeder.release(two)  # type: ignore[arg-type]

    rig.now_s += 1.0
    assert rig.take() == []


def test_the_greenlet_reads_what_has_gathered_when_its_time_has_come(rig: Rig) -> None:
    file = File()
    rig.written(file)
    until(lambda: rig.reader.read == [file])
    settle()  # it waits for something to happen
    rig.written(file)
    settle()
    assert rig.reader.read == [file]
    rig.now_s += 1.0

    until(lambda: rig.reader.read == [file, file])


def test_what_an_unforeseen_failure_left_over_is_read_afterwards(rig: Rig) -> None:
    bad, good = File(), File()
    rig.reader.fails_at = bad
    rig.written(bad, good)

    until(lambda: rig.reader.read == [good])
    assert [type(error) for error in rig.failures] == [ValueError]


# -- reads in passing ------------------------------------------------------------------------------------------------


FIRST = b"the first line is longer than a tail of thirty-two bytes"


@pytest.mark.parametrize(
    ("written", "lines", "in_passing"),
    [
        (b"one\ntwo\n", [b"one", b"two"], True),
        (b"one\r\ntwo\n", [b"one", b"two"], False),
        (b"one\n\ntwo\n", [b"one", b"two"], False),
        (b"\none\n", [b"one"], False),
        (b" \t\none\n", [b"one"], False),
        (b"one\npart", [b"one"], False),
        (b"one\0two\n", [b"one\0two"], False),
        (b"one\n" + bytes(64) + b"two\n", [b"one", b"two"], False),
        (b"x" * 5000 + b"\nend\n", [b"x" * 5000, b"end"], False),
        ((b"x" * 31 + b"\n") * 200, [b"x" * 31] * 200, False),  # one ends where the page does
        (b"\xff\xfe\xe4\n", [b"\xff\xfe\xe4"], True),
    ],
)
def test_a_read_in_passing_gives_the_lines_that_any_read_gives(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    written: bytes, lines: list[bytes], in_passing: bool,
) -> None:  # fmt: skip
    log = tmp_path / "a.log"
    log.write_bytes(FIRST + b"\n")
    bench.read(log)
    bench.until_lines(FIRST)
    bench.until_idle()
    careful: list[bytes] = []
    sip = Tailer._sip

    def spied(tailer: Tailer, file: Any) -> bool:
        careful.append(file.path)
        return sip(tailer, file)

    monkeypatch.setattr(Tailer, "_sip", spied)

    with log.open("ab") as file:
        file.write(written)

    bench.until_lines(FIRST, *lines)
    bench.until_idle()
    assert bool(careful) is not in_passing
    tailed = bench.file(bytes(log))
    end = len(FIRST) + 1 + written.rfind(b"\n") + 1
    assert (tailed.read_offset, tailed.acks.acked_offset) == (end, end)
    assert tailed.counts.lines_read == 1 + len(lines)
    assert sum(fact["lines"] for fact in bench.told.of("lines_read")) == 1 + len(lines)


def test_a_file_that_was_emptied_and_grew_again_is_not_read_in_passing(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(FIRST + b"\n")
    bench.read(log)
    bench.until_lines(FIRST)
    bench.until_idle()

    with log.open("r+b") as file:
        file.truncate(0)
        file.write(b"other\n" * 20)

    bench.until_lines(FIRST, *[b"other"] * 20)
