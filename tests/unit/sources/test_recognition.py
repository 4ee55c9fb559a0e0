# SPDX-License-Identifier: Apache-2.0
"""The same file, another file, or the same file emptied and written again: collector and tailer on real files."""

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from logagent.sources import opening, reader
from logagent.sources.identity import Tails, digest, handle_identity, handle_parts, without_place
from logagent.sources.rotation import Known, known
from logagent.state.positions import Position
from tests.unit.sources.twins import Bench, settle, until

MakeBench = Callable[..., Bench]


def append(path: Path, data: bytes) -> None:
    with path.open("ab", buffering=0) as file:
        file.write(data)


def overwrite(path: Path, data: bytes) -> None:
    """Emptied and written again before anybody looks."""
    with path.open("wb", buffering=0) as file:
        file.write(data)


@pytest.fixture(params=["with handles", "without handles"])
def handles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    with_handles = request.param == "with handles"
    if not with_handles:
        monkeypatch.setattr(opening, "handle_of", lambda _descriptor: None)
    return with_handles


def stop_after(make_bench: MakeBench, log: Path, *lines: bytes) -> list[Position]:
    """The positions of an agent that delivered the lines."""
    bench = make_bench()
    bench.read(log)
    bench.until_lines(*lines)
    return bench.stop()


# -- pure ---------------------------------------------------------------------------------------------------------


def test_a_handle_can_be_read_back_from_an_identity() -> None:
    assert handle_parts(handle_identity(0xABC, 1, b"\x01\xff")) == (0xABC, 1, b"\x01\xff")
    assert handle_parts("inode:1:2") is None


def test_without_its_place_a_file_is_the_same_on_every_device() -> None:
    assert without_place("inode:1:2") == without_place("inode:9:2") != without_place("inode:1:3")
    assert without_place(handle_identity(1, 1, b"x")) == without_place(handle_identity(2, 1, b"x"))


FACTS = {"by_handle": True, "head_fits": True, "reaches": True, "marker_fits": True, "same_boot": True}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, Known.SAME),
        ({"same_boot": False}, Known.SAME),
        ({"marker_fits": None}, Known.SAME),
        ({"marker_fits": False}, Known.TRUNCATED),
        ({"reaches": False}, Known.TRUNCATED),
        ({"head_fits": False}, Known.TRUNCATED),
        ({"head_fits": False, "by_handle": False}, Known.REPLACED),
        ({"reaches": False, "same_boot": False}, Known.SHRUNK),
        ({"marker_fits": False, "same_boot": False}, Known.SHRUNK),
        ({"head_fits": False, "same_boot": False}, Known.TRUNCATED),
    ],
)
def test_what_a_file_is_follows_from_its_head_its_marker_and_the_boot(
    change: dict[str, bool], expected: Known
) -> None:
    assert known(**(FACTS | change)) is expected


def test_tails_are_sparse_and_the_one_at_the_position_stays() -> None:
    tails = Tails(0, b"")
    for number in range(1, 2001):
        tails.add(number * 1000, b"%032d" % number, acked_offset=0)

    assert tails.newest == (2_000_000, b"%032d" % 2000)
    assert tails.at(0) == b""
    assert len(tails._older or ()) < 2_000_000 // 16_000 + 3
    tails.add(2_001_000, b"x" * 32, acked_offset=1_990_000)
    assert len(tails._older or ()) <= 2
    tails.back_to(1_995_000)
    assert tails.newest[0] <= 1_995_000


def test_of_a_file_that_is_done_only_the_newest_tail_is_kept() -> None:
    tails = Tails(0, b"")
    tails.add(100, b"a" * 32, acked_offset=0)
    tails.add(200, b"b" * 32, acked_offset=0)
    tails.settle(100)
    assert tails.at(0) == b""  # what is behind 100 may be read again

    tails.settle(200)

    assert tails._older is None
    assert tails.at(200) == b"b" * 32
    tails.add(300, b"c" * 32, acked_offset=200)
    tails.back_to(200)
    assert tails.newest == (200, b"b" * 32)


# -- while the agent runs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", [b"a new beginning of the file %d\n", b"%d\n"])
def test_a_file_emptied_and_grown_past_the_position_between_two_looks_is_read_from_its_start(
    bench: Bench, tmp_path: Path, line: bytes
) -> None:
    """Case 64."""
    log = tmp_path / "a.log"
    append(log, b"one\ntwo\n")
    bench.read(log)
    bench.until_lines(b"one", b"two")
    bench.until_idle()
    new = [line % number for number in range(100)]

    overwrite(log, b"".join(new))

    bench.until_lines(b"one", b"two", *(one.rstrip() for one in new))
    assert [fact["position"] for fact in bench.told.of("file_truncated")] == [8]


def test_a_file_overwritten_with_as_many_bytes_is_noticed(bench: Bench, tmp_path: Path) -> None:
    """Case 69."""
    log = tmp_path / "a.log"
    append(log, b"one\ntwo\n")
    bench.read(log)
    bench.until_lines(b"one", b"two")
    bench.until_idle()

    overwrite(log, b"six\nten\n")

    bench.until_lines(b"one", b"two", b"six", b"ten")


def test_a_file_emptied_fifty_times_delivers_every_line_once(bench: Bench, tmp_path: Path) -> None:
    """Case 65."""
    log = tmp_path / "a.log"
    append(log, b"line 0\n")
    bench.read(log)
    expected = [b"line 0"]
    for number in range(1, 51):
        bench.until_lines(*expected)
        bench.until_idle()
        overwrite(log, b"line %d\n" % number * (number % 3 + 1))
        expected += [b"line %d" % number] * (number % 3 + 1)

    bench.until_lines(*expected)
    assert len(bench.told.of("file_truncated")) == 50


def test_a_file_regrown_while_lines_are_given_up_is_read_from_its_start(bench: Bench, tmp_path: Path) -> None:
    """Case 67: what was read before and is not sent is never read from the new bytes."""
    log = tmp_path / "a.log"
    bench.outlet.holding = True
    bench.read(log)
    for number in range(5):
        append(log, b"old %d\n" % number)
        bench.until_idle()
        settle(5)
    bench.outlet.take_back(3)
    overwrite(log, b"".join(b"new %d\n" % number for number in range(50)))

    until(lambda: bench.outlet.lines()[-1:] == [b"new 49"])
    assert [line for line in bench.outlet.lines() if line.startswith(b"new")] == [
        b"new %d" % n for n in range(50)
    ]


@pytest.fixture
def small_reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(reader, "READ_BYTES", 60)
    return iter([None])


@pytest.mark.parametrize("seed", range(400))
def test_no_foreign_byte_is_delivered_when_a_file_is_emptied_between_check_and_read(
    make_bench: MakeBench, tmp_path: Path, small_reads: None, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Case 146: before any read or look the file may be another one."""
    chance = random.Random(seed)
    log = tmp_path / "a.log"
    generation, budget = 0, 6

    def line(number: int) -> bytes:
        filler = (b"%d.%d " % (generation, number)) * 25
        return b"generation %d line %d %s.\n" % (
            generation,
            number,
            filler[: (generation * 7 + number * 13) % 90],
        )

    def write() -> None:
        nonlocal generation
        generation += 1
        overwrite(log, b"".join(line(number) for number in range(chance.choice([1, 5, 20]))))

    def disturb() -> None:
        nonlocal budget
        if budget and chance.random() < 0.2:
            budget -= 1
            write()

    real_pread, real_fstat = os.pread, os.fstat

    def pread(descriptor: int, count: int, offset: int) -> bytes:
        disturb()
        data = real_pread(descriptor, count, offset)
        disturb()
        return data

    def fstat(descriptor: int) -> os.stat_result:
        disturb()
        return real_fstat(descriptor)

    write()
    bench = make_bench()
    with monkeypatch.context() as unsteady:
        unsteady.setattr(os, "pread", pread)
        unsteady.setattr(os, "fstat", fstat)
        bench.read(log)
        until(lambda: not budget or b"generation %d" % generation in b"".join(bench.outlet.lines()[-1:]))
        budget = 0
    until(lambda: bench.outlet.lines()[-1:] == log.read_bytes().splitlines()[-1:])
    bench.until_idle()

    delivered = bench.outlet.lines()
    last = [one for one in delivered if one.startswith(b"generation %d " % generation)]
    assert last == log.read_bytes().splitlines(), "the last generation is complete, once"
    for one in delivered:
        words = one.split(b" ")
        generation = int(words[1])
        assert one + b"\n" == line(int(words[3])), "a line of two generations"


# -- after a restart ----------------------------------------------------------------------------------------------


def test_another_larger_file_under_a_known_inode_is_read_from_its_beginning(
    make_bench: MakeBench, tmp_path: Path, handles: bool
) -> None:
    """Case 54."""
    log = tmp_path / "a.log"
    append(log, b"one\n")
    positions = stop_after(make_bench, log, b"one")
    inode = log.stat().st_ino
    log.unlink()
    append(log, b"another and longer first line\ntwo\n")
    if log.stat().st_ino != inode:
        pytest.skip("this file system does not use inodes again at once")

    after = make_bench(positions)
    after.read(log)

    after.until_lines(b"another and longer first line", b"two")
    assert bool(after.told.of("file_replaced")) is not handles


def test_a_file_regrown_past_the_position_while_the_agent_was_off_is_read_from_its_start(
    make_bench: MakeBench, tmp_path: Path, handles: bool
) -> None:
    """Cases 63 and 64: the same first line, so that only the marker tells."""
    log = tmp_path / "a.log"
    append(log, b"# first line\none\n")
    positions = stop_after(make_bench, log, b"# first line", b"one")
    overwrite(log, b"# first line\nnew 1\nnew 2\n")
    positions = [replace(p, head_bytes=13, head_digest=digest(b"# first line\n")) for p in positions]

    after = make_bench(positions)
    after.read(log)

    after.until_lines(b"# first line", b"new 1", b"new 2")
    assert after.told.of("file_truncated")


def test_a_file_that_outgrows_its_head_keeps_its_position(
    make_bench: MakeBench, tmp_path: Path, handles: bool
) -> None:
    """Case 82."""
    log = tmp_path / "a.log"
    append(log, b"one\n")
    positions = stop_after(make_bench, log, b"one")
    append(log, b"x" * 3000 + b"\n")

    middle = make_bench(positions)
    middle.read(log)
    middle.until_lines(b"x" * 3000)
    positions = middle.stop()
    append(log, b"end\n")

    after = make_bench(positions)
    after.read(log)
    after.until_lines(b"end")


def test_files_with_the_same_first_kilobyte_are_all_delivered(
    make_bench: MakeBench, tmp_path: Path, handles: bool
) -> None:
    """Case 83, across a restart."""
    same = b"the same line in all files\n" * 100
    for name in "abc":
        append(tmp_path / f"{name}.log", same)
    first = make_bench(rotate_wait_s=0.0)
    first.collector.settings = replace(first.collector.settings, copy_wait_s=0.0)
    first.read(tmp_path / "*.log")
    until(lambda: len(first.outlet.lines()) == 300)
    positions = first.stop()
    for name in "abc":
        append(tmp_path / f"{name}.log", b"end of %s\n" % name.encode())

    after = make_bench(positions)
    after.read(tmp_path / "*.log")

    until(lambda: len(after.outlet.lines()) == 3)
    assert sorted(after.outlet.lines()) == [b"end of a", b"end of b", b"end of c"]


def elsewhere(position: Position) -> Position:
    """As it would be stored if the file system had had another number then."""
    kind, place, rest = position.identity.split(":", 2)
    return replace(position, identity=f"{kind}:{int(place, 16) + 1:d}:{rest}")


def test_a_file_whose_device_has_another_number_goes_on_where_it_was(
    make_bench: MakeBench, tmp_path: Path, handles: bool
) -> None:
    """Case 141."""
    log = tmp_path / "a.log"
    append(log, b"one\n")
    (before,) = stop_after(make_bench, log, b"one")
    append(log, b"two\n")

    after = make_bench([elsewhere(before)])
    after.read(log)
    after.until_lines(b"two")

    (position,) = after.book.all()
    assert (position.identity, position.offset) == (before.identity, 8)


@pytest.mark.parametrize("content", [b"another first line\n" * 9, b"one\ntow\n"])
def test_a_file_on_another_device_is_adopted_only_if_its_bytes_prove_it(
    make_bench: MakeBench, tmp_path: Path, handles: bool, content: bytes
) -> None:
    """Case 141, the other way round: head or marker differ."""
    log = tmp_path / "a.log"
    append(log, b"one\ntwo\n")
    (before,) = stop_after(make_bench, log, b"one", b"two")
    overwrite(log, content)

    after = make_bench([replace(elsewhere(before), head_bytes=4, head_digest=digest(b"one\n"))])
    after.read(log)

    after.until_lines(*content.splitlines())


def test_a_position_of_an_older_release_is_adopted_and_stored_anew(
    make_bench: MakeBench, tmp_path: Path
) -> None:
    log = tmp_path / "a.log"
    append(log, b"one\n")
    (before,) = stop_after(make_bench, log, b"one")
    if before.identity.startswith("inode"):
        pytest.skip("this file system has no handles")
    append(log, b"two\n")
    status = log.stat()
    old = replace(before, identity=f"inode:{status.st_dev}:{status.st_ino}", marker_digest=b"", boot_id="")

    after = make_bench([old])
    after.read(log)
    after.until_lines(b"two")

    assert [position.identity for position in after.book.all()] == [before.identity]
