# SPDX-License-Identifier: Apache-2.0
"""The machine went down and files lost what had been written last: they are read from where their bytes are proved."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from logagent.sources.resume import proved
from logagent.state.positions import Mark, Position
from tests.unit.sources.twins import Bench, settle, until

MakeBench = Callable[..., Bench]
Marks = dict[tuple[str, str], list[Mark]]

LINE_BYTES = 1024
MIB_LINES = 1024


def lines(first: int, last: int, mark: bytes = b"x") -> list[bytes]:
    return [(b"%d " % number).ljust(LINE_BYTES - 1, mark) for number in range(first, last)]


def append(path: Path, data: bytes) -> None:
    with path.open("ab", buffering=0) as file:
        file.write(data)


def put(path: Path, written: list[bytes]) -> None:
    append(path, b"".join(line + b"\n" for line in written))


@pytest.mark.parametrize(
    ("marks", "expected"),
    [
        ([], 500),
        ([(1000, True)], 1000),
        ([(1000, True), (2000, True)], 2000),
        ([(1000, True), (2000, False)], 1000),
        ([(1000, True), (2000, False), (3000, True)], 1000),
        ([(1000, False), (2000, True)], 0),
    ],
)
def test_proved_is_what_stands_before_the_last_mark_in_a_row_that_fits(
    marks: list[tuple[int, bool]], expected: int
) -> None:
    assert proved(marks, head_bytes=500) == expected


@pytest.fixture
def before(make_bench: MakeBench, tmp_path: Path) -> tuple[list[Position], Marks]:
    """An agent that delivered four MiB of a.log, and the machine that it ran on went down."""
    log = tmp_path / "a.log"
    bench = make_bench()
    bench.read(log)
    for number in range(4):
        put(log, lines(number * MIB_LINES, (number + 1) * MIB_LINES))
        until(lambda number=number: len(bench.outlet.lines()) == (number + 1) * MIB_LINES)  # type: ignore[misc]
        bench.book.save()
    positions = bench.stop()
    assert [mark.offset for marks in bench.marks.values() for mark in marks] == [
        n << 20 for n in (1, 2, 3, 4)
    ]
    return [replace(one, boot_id="the boot before") for one in positions], bench.marks


def start(make_bench: MakeBench, before: tuple[list[Position], Marks], log: Path) -> Bench:
    positions, marks = before
    bench = make_bench(positions)
    bench.marks.update({file_id: list(known) for file_id, known in marks.items()})
    bench.read(log)
    return bench


@pytest.mark.parametrize("lost", ["its end", "what its end held"])
def test_a_file_that_lost_its_end_goes_on_behind_what_is_proved(
    make_bench: MakeBench, before: tuple[list[Position], Marks], tmp_path: Path, lost: str
) -> None:
    """Case 140: what was written anew since then comes, and no more of what came before than is not proved."""
    log = tmp_path / "a.log"
    survived = int(2.5 * MIB_LINES) * LINE_BYTES
    os.truncate(log, survived)
    if lost == "what its end held":
        os.truncate(log, 4 << 20)  # zeros, as a journal that had only the size leaves them
    new = lines(9000, 9000 + 100)
    put(log, new)

    after = start(make_bench, before, log)

    expected = [*lines(2 * MIB_LINES, int(2.5 * MIB_LINES)), *new]
    until(lambda: len(after.outlet.lines()) >= len(expected))
    settle()
    assert after.outlet.lines() == expected
    assert [(fact["position"], fact["offset"]) for fact in after.told.of("file_shrunk")] == [
        (4 << 20, 2 << 20)
    ]
    assert not after.told.of("file_truncated")
    after.stop()
    assert [mark.offset for marks in after.marks.values() for mark in marks][:2] == [1 << 20, 2 << 20]


def test_a_file_that_lost_its_end_and_grew_past_the_position_again_loses_nothing(
    make_bench: MakeBench, before: tuple[list[Position], Marks], tmp_path: Path
) -> None:
    """Case 140."""
    log = tmp_path / "a.log"
    os.truncate(log, int(3.5 * MIB_LINES) * LINE_BYTES)
    new = lines(9000, 9000 + 2 * MIB_LINES, b"n")
    put(log, new)

    after = start(make_bench, before, log)

    expected = [*lines(3 * MIB_LINES, int(3.5 * MIB_LINES)), *new]
    until(lambda: len(after.outlet.lines()) >= len(expected))
    assert after.outlet.lines() == expected


@pytest.mark.parametrize("pattern", ["a.log*", "a.log"])
def test_a_file_that_lost_its_end_and_was_renamed_goes_on_behind_what_is_proved(
    make_bench: MakeBench, before: tuple[list[Position], Marks], tmp_path: Path, pattern: str
) -> None:
    """Case 140: logrotate ran after the boot and before the agent; the file had been written to once more."""
    log = tmp_path / "a.log"
    os.truncate(log, int(3.5 * MIB_LINES) * LINE_BYTES)
    late, new = lines(9000, 9000 + MIB_LINES, b"l"), lines(0, 10, b"n")
    put(log, late)
    log.rename(tmp_path / "a.log.1")
    put(log, new)

    positions, _ = before
    before = [replace(one, log_path=str(tmp_path / pattern)) for one in positions], before[1]
    after = start(make_bench, before, tmp_path / pattern)

    expected = [*lines(3 * MIB_LINES, int(3.5 * MIB_LINES)), *late, *new]
    until(lambda: len(after.outlet.lines()) >= len(expected))
    settle()
    assert after.outlet.lines() == expected


@pytest.mark.parametrize("disagrees", ["the head", "a mark", "the boot"])
def test_a_file_with_other_bytes_is_read_from_its_start(
    make_bench: MakeBench, before: tuple[list[Position], Marks], tmp_path: Path, disagrees: str
) -> None:
    """Case 140, the other way round: the machine went down after the file had been emptied."""
    log = tmp_path / "a.log"
    kept = 0 if disagrees == "the head" else 2
    os.truncate(log, kept * LINE_BYTES)
    put(log, lines(9000, 9000 + 1500, b"n"))
    if disagrees == "the boot":
        positions, marks = before
        before = [replace(one, boot_id="") for one in positions], marks

    after = start(make_bench, before, log)

    expected = [*lines(0, kept), *lines(9000, 9000 + 1500, b"n")]
    until(lambda: len(after.outlet.lines()) >= len(expected))
    assert after.outlet.lines() == expected
    assert after.told.of("file_truncated")
    assert not after.told.of("file_shrunk")


def test_a_short_file_that_lost_its_end_goes_on_within_its_head(
    make_bench: MakeBench, tmp_path: Path
) -> None:
    """Case 140: nothing but the head is known of it."""
    log = tmp_path / "a.log"
    append(log, b"one\ntwo\n")
    bench = make_bench()
    bench.read(log)
    bench.until_lines(b"one", b"two")
    bench.book.save()
    append(log, b"three\n" + b"." * 2000 + b"\n")
    bench.until_lines(b"one", b"two", b"three", b"." * 2000)
    positions = [replace(one, boot_id="the boot before") for one in bench.stop()]
    os.truncate(log, 1030)
    append(log, b"\nnew\n")

    after = start(make_bench, (positions, {}), log)

    after.until_lines(b"." * (1030 - 14), b"new")


def test_a_file_that_is_found_twice_while_its_marks_are_looked_up_is_read_once(
    make_bench: MakeBench, before: tuple[list[Position], Marks], tmp_path: Path
) -> None:
    log = tmp_path / "a.log"
    os.truncate(log, 3 << 20)
    positions, marks = before
    bench = make_bench(positions)
    bench.marks.update(marks)
    find = bench.book.marks_of
    again: list[bool] = []

    def found_meanwhile(service: str, identity: str) -> list[Mark]:
        if not again:
            again.append(True)
            (state,) = bench.collector.entries.values()
            bench.collector._check(state, os.fsencode(log))
        return find(service, identity)

    bench.book.marks_of = found_meanwhile  # type: ignore[method-assign]
    bench.read(log)
    put(log, lines(9000, 9001))

    bench.until_lines(*lines(9000, 9001))
    assert len(bench.told.of("file_found")) == 1
