# SPDX-License-Identifier: Apache-2.0
"""copytruncate: collector and tailer on real files that are copied and emptied."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from logagent.sources.copies import original_names
from logagent.sources.identity import starts, starts_alike
from logagent.sources.missed import rotated_name
from logagent.sources.rotation import CopyFate, Kinship, copy_fate, kinship
from tests.unit.sources.twins import Bench, settle, until

MakeBench = Callable[..., Bench]


def append(path: Path, data: bytes) -> None:
    with path.open("ab", buffering=0) as file:
        file.write(data)


def numbered(first: int, last: int) -> list[bytes]:
    return [b"line %d of the log" % number for number in range(first, last)]


def text(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def held(bench: Bench) -> list[str]:
    return [os.path.basename(os.fsdecode(f.path)) for f in bench.collector.files.values() if f.may_be_copy]


@pytest.mark.parametrize(
    ("name", "original"),
    [(b"app.log.1", b"app.log"), (b"app.log-20261122", b"app.log"), (b"app-20261122.log", b"app.log")],
)
def test_a_copy_is_named_after_its_original(name: bytes, original: bytes) -> None:
    assert original in original_names(name)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, CopyFate.HELD),
        ({"waited_s": 60.0}, CopyFate.OWN),
        ({"same": False}, CopyFate.OWN),
        ({"original_intact": False}, CopyFate.COMPLETE),
        ({"original_intact": False, "same": False, "waited_s": 99.0}, CopyFate.COMPLETE),
    ],
)
def test_the_fate_of_a_copy(facts: dict[str, bool], expected: CopyFate) -> None:
    known = {"same": True, "original_intact": True, "waited_s": 0.0, "copy_wait_s": 60.0}

    assert copy_fate(**(known | facts)) is expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("begins_alike", "reaches", "marker_fits", "expected"),
    [
        (True, True, True, Kinship.REST),
        (True, False, False, Kinship.DONE),
        (True, True, False, Kinship.OTHER),
        (False, True, True, Kinship.OTHER),
        (False, False, False, Kinship.OTHER),
    ],
)
def test_what_a_file_beside_an_emptied_one_is(
    begins_alike: bool, reaches: bool, marker_fits: bool, expected: Kinship
) -> None:
    assert kinship(begins_alike=begins_alike, reaches=reaches, marker_fits=marker_fits) is expected


def test_a_short_copy_begins_like_its_original() -> None:
    known = starts(b"one of the lines of the log" * 40)

    assert starts_alike(known, b"one of the lines of the log" * 2)
    assert not starts_alike(known, b"one of the lines of the log, but another one")
    assert not starts_alike(known, b"one")  # too few to tell


@pytest.mark.parametrize(
    ("name", "original", "expected"),
    [
        (b"a.log.1", b"a.log", True),
        (b"a.log.10", b"a.log.1", False),
        (b"app12.log", b"app1.log", False),
        (b"app1-20261122.log", b"app1.log", True),
        (b"a.log.1", b"b.log", False),
    ],
)
def test_the_name_of_a_generation(name: bytes, original: bytes, expected: bool) -> None:
    assert rotated_name(name, original) is expected


@pytest.mark.parametrize("pattern", ["a.log", "a.log*", "*"])
def test_what_was_not_read_when_a_file_was_emptied_is_read_in_its_copy(
    bench: Bench, tmp_path: Path, pattern: str
) -> None:
    """Cases 46 and 67: the rest of the copy comes before the new lines."""
    log = tmp_path / "a.log"
    append(log, text(numbered(0, 10)))
    bench.read(tmp_path / pattern)
    bench.until_lines(*numbered(0, 10))
    bench.until_idle()
    bench.outlet.block()
    append(log, text(numbered(10, 500)))
    settle()

    shutil.copyfile(log, tmp_path / "a.log.1")
    settle()
    os.truncate(log, 0)
    settle()
    append(log, text(numbered(500, 520)))
    settle()
    bench.outlet.unblock()

    bench.until_lines(*numbered(0, 520), label=os.fsencode(log))
    settle()
    assert len(bench.outlet.delivered) == 520
    assert bench.told.of("file_copied")
    assert not bench.told.of("bytes_lost")


def test_lines_given_up_after_a_copytruncate_are_read_again_in_the_copy(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    bench.outlet.holding = True
    bench.read(log)
    expected = []
    for number in range(5):
        expected += numbered(number, number + 1)
        append(log, text(expected[-1:]))
        bench.until_lines(*expected)

    shutil.copyfile(log, tmp_path / "a.log.1")
    os.truncate(log, 0)
    until(lambda: bench.told.of("file_copied"))
    bench.outlet.take_back(3)
    append(log, text(numbered(5, 6)))

    bench.until_lines(*numbered(0, 6))
    bench.outlet.acknowledge()
    offsets = {position.identity: position.offset for position in bench.book.all()}
    assert sorted(offsets.values()) == [len(text(numbered(5, 6))), len(text(numbered(0, 5)))]


def test_a_copy_with_everything_read_is_not_read_again(bench: Bench, tmp_path: Path) -> None:
    """Case 46: the copies match the glob."""
    log = tmp_path / "a.log"
    bench.read(tmp_path / "*")
    expected: list[bytes] = []
    for turn in range(20):
        lines = numbered(100 * turn, 100 * turn + 50)
        append(log, text(lines))
        expected += lines
        bench.until_lines(*expected)
        shutil.copyfile(log, tmp_path / f"a.log.{turn}")
        settle(2)
        os.truncate(log, 0)
        settle(2)
        if turn % 3 == 0:
            bench.collector._sweeper.sweep()

    settle()
    bench.until_lines(*expected)


def test_lines_read_after_the_copy_was_made_are_not_read_again(bench: Bench, tmp_path: Path) -> None:
    """What is written between copy and truncation is in no copy, but it may have been read in time."""
    log = tmp_path / "a.log"
    append(log, text(numbered(0, 10)))
    bench.read(tmp_path / "*")
    bench.until_lines(*numbered(0, 10))
    shutil.copyfile(log, tmp_path / "a.log.1")
    settle()
    append(log, text(numbered(10, 20)))
    bench.until_lines(*numbered(0, 20))

    os.truncate(log, 0)
    append(log, text(numbered(20, 30)))

    bench.until_lines(*numbered(0, 30))
    bench.skip(100)
    settle()
    assert held(bench) == []
    assert len(bench.outlet.lines()) == 30


def test_a_copy_is_held_back_while_it_is_being_made(bench: Bench, tmp_path: Path) -> None:
    """Case 138: in pieces, with the sweep looking at every one."""
    log, copy = tmp_path / "a.log", tmp_path / "a.log.1"
    lines = numbered(0, 5000)
    append(log, text(lines))
    bench.read(tmp_path / "a.log*")
    bench.until_lines(*lines)
    data = log.read_bytes()
    for begin in range(0, len(data), 20_000):
        append(copy, data[begin : begin + 20_000])
        bench.skip(50)
        bench.collector._sweeper.sweep()
        settle(3)
        assert held(bench) == ["a.log.1"]

    os.truncate(log, 0)
    append(log, b"new\n")

    bench.until_lines(*lines, b"new")
    assert held(bench) == []


def test_a_copy_that_differs_is_a_file_of_its_own(bench: Bench, tmp_path: Path) -> None:
    """Case 83."""
    log, copy = tmp_path / "a.log", tmp_path / "a.log.1"
    append(log, text(numbered(0, 100)))
    bench.read(tmp_path / "a.log*")
    bench.until_lines(*numbered(0, 100))
    append(copy, text(numbered(0, 50)))
    settle()
    assert held(bench) == ["a.log.1"]

    append(copy, b"another line\n")

    until(lambda: len(bench.outlet.lines()) == 151)
    assert bench.outlet.lines(os.fsencode(copy)) == [*numbered(0, 50), b"another line"]


def test_a_copy_of_a_file_that_goes_on_is_read_after_copy_wait_s(bench: Bench, tmp_path: Path) -> None:
    log, copy = tmp_path / "a.log", tmp_path / "b.log"
    append(log, text(numbered(0, 100)))
    bench.read(tmp_path / "*.log")
    bench.until_lines(*numbered(0, 100))
    shutil.copyfile(log, copy)
    settle()
    bench.skip(59)
    settle()
    assert held(bench) == ["b.log"]

    bench.skip(2)

    until(lambda: len(bench.outlet.lines(os.fsencode(copy))) == 100)


def test_what_is_lost_without_a_copy_is_counted(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, text(numbered(0, 10)))
    bench.read(log)
    bench.until_lines(*numbered(0, 10))
    bench.until_idle()
    bench.outlet.block()
    append(log, text(numbered(10, 20)))
    settle()
    bench.collector._feeder.look(bench.collector.files.values())
    settle()

    os.truncate(log, 0)
    until(lambda: bench.told.of("bytes_lost"))

    assert [(fact["lost_bytes"], fact["reason"]) for fact in bench.told.of("bytes_lost")] == [
        (len(text(numbered(10, 20))), "truncated")
    ]
    assert bench.told.of("bytes_lost")[0]["path"] == os.fsencode(log)


def test_a_file_that_nobody_could_read_before_it_was_copied_and_emptied_is_read_in_its_copy(
    bench: Bench, tmp_path: Path
) -> None:
    """Case 67: the outlet was blocked from the start."""
    log = tmp_path / "a.log"
    bench.outlet.block()
    bench.read(log)
    append(log, text(numbered(0, 200)))
    settle()
    shutil.copyfile(log, tmp_path / "a.log.1")
    os.truncate(log, 0)
    append(log, text(numbered(200, 210)))
    settle()

    bench.outlet.unblock()

    bench.until_lines(*numbered(0, 210))


def test_a_writer_without_append_mode_gives_no_zeros(bench: Bench, tmp_path: Path) -> None:
    """Case 47."""
    log = tmp_path / "a.log"
    with log.open("wb", buffering=0) as writer:
        writer.write(text(numbered(0, 100)))
        bench.read(tmp_path / "a.log*")
        bench.until_lines(*numbered(0, 100))
        shutil.copyfile(log, tmp_path / "a.log.1")
        os.truncate(log, 0)
        settle()
        writer.write(text(numbered(100, 200)))  # behind a hole

        bench.until_lines(*numbered(0, 200))


def test_a_copy_of_ten_gigabytes_costs_two_small_reads(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case 138: not all of it is compared."""
    log, copy = tmp_path / "a.log", tmp_path / "a.log.1"
    for path in (log, copy):
        append(path, text(numbered(0, 100)))
        os.truncate(path, 10 * 1024**3)
    bench.collector.settings = replace(bench.collector.settings, copy_wait_s=1000.0)
    bench.read(log)
    bench.until_lines(*numbered(0, 100))
    read: list[int] = []
    real = os.pread

    def pread(descriptor: int, count: int, offset: int) -> bytes:
        read.append(count)
        return real(descriptor, count, offset)

    monkeypatch.setattr(os, "pread", pread)
    bench.read(tmp_path / "*")
    settle()

    assert held(bench) == ["a.log.1"]
    assert sum(read) < 1024**2
