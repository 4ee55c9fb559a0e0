# SPDX-License-Identifier: Apache-2.0
"""Collector and tailer on a real directory, with a sender in memory."""

import gc
import os
from collections.abc import Callable
from pathlib import Path

import gevent
import pytest
from gevent import Greenlet

from logagent.backoff import Backoff
from logagent.config.services import Entry
from logagent.pacing.limiter import Limiter
from logagent.sources import reader
from logagent.sources.line_reader import LONGEST_MARK_BYTES
from tests.unit.sources.twins import Bench, settle, until

MakeBench = Callable[..., Bench]


def append(path: Path, data: bytes) -> None:
    with path.open("ab", buffering=0) as file:
        file.write(data)


# -- one file -----------------------------------------------------------------------------------------------------


def test_lines_of_a_file_that_is_there_are_delivered(bench: Bench, tmp_path: Path) -> None:
    """Case 1."""
    log = tmp_path / "a.log"
    append(log, b"one\ntwo\n")

    bench.read(log)

    bench.until_lines(b"one", b"two", label=log)


def test_lines_that_are_added_are_delivered(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, b"one\n")
    bench.read(log)
    bench.until_lines(b"one")
    bench.until_idle()

    append(log, b"two\n")

    bench.until_lines(b"one", b"two")


def test_a_file_may_appear_later(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    bench.read(log)
    assert bench.told.of("file_missing") == [{"service": "web", "log_path": str(log)}]

    append(log, b"one\n")

    bench.until_lines(b"one")


def test_directories_may_appear_later(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "x" / "y" / "a.log"
    bench.read(log)
    settle(3)

    log.parent.mkdir(parents=True)
    append(log, b"one\n")

    bench.until_lines(b"one")


def test_directories_may_appear_one_after_the_other(bench: Bench, tmp_path: Path) -> None:
    bench.read(tmp_path / "*" / "**" / "*.log")
    place = tmp_path
    for name in "xyz":
        settle(5)
        place /= name
        place.mkdir()
    settle(5)

    append(place / "a.log", b"one\n")

    bench.until_lines(b"one")


def test_a_directory_may_go_and_come_back(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "x" / "a.log"
    log.parent.mkdir()
    append(log, b"one\n")
    bench.read(log)
    bench.until_lines(b"one")

    log.unlink()
    log.parent.rmdir()
    settle()
    log.parent.mkdir()
    append(log, b"two\n")

    bench.until_lines(b"one", b"two")


def test_a_directory_below_a_wildcard_may_go_and_come_back_while_its_file_is_open(
    bench: Bench, tmp_path: Path
) -> None:
    log = tmp_path / "x" / "a.log"
    log.parent.mkdir()
    append(log, b"one\n")
    bench.read(tmp_path / "*" / "*.log")
    bench.until_lines(b"one")

    log.unlink()
    log.parent.rmdir()
    settle()
    log.parent.mkdir()
    settle()  # it is found empty, and has to be watched from now on
    append(log, b"two\n")

    bench.until_lines(b"one", b"two")


def test_half_a_line_waits_for_its_end(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, b"one\ntw")
    bench.read(log)
    bench.until_lines(b"one")
    bench.until_idle()
    assert bench.outlet.lines() == [b"one"]

    append(log, b"o\nthree\n")

    bench.until_lines(b"one", b"two", b"three")
    assert [offset for _, _, offset, _ in bench.outlet.delivered] == [0, 4, 8]


@pytest.mark.parametrize("read_bytes", [LONGEST_MARK_BYTES + 1, 7, 64])
def test_lines_are_the_same_however_small_the_reads_are(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_bytes: int
) -> None:
    """As much as a byte order mark is read again, so a read must bring more than that."""
    monkeypatch.setattr(reader, "READ_BYTES", read_bytes)
    log = tmp_path / "a.log"
    append(log, b"one\r\n\n  \nsomewhat longer than one read\nlast\n")

    bench.read(log)

    bench.until_lines(b"one", b"somewhat longer than one read", b"last")
    assert [offset for _, _, offset, _ in bench.outlet.delivered] == [0, 9, 39]
    until(lambda: bench.file(log.as_posix().encode()).acks.acked_offset == log.stat().st_size)


@pytest.mark.parametrize("read_bytes", [LONGEST_MARK_BYTES + 1, 1000])
def test_a_line_over_the_limit_is_cut_told_and_the_file_goes_on(
    make_bench: MakeBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_bytes: int
) -> None:
    monkeypatch.setattr(reader, "READ_BYTES", read_bytes)
    bench = make_bench(max_line_bytes=10)
    log = tmp_path / "a.log"
    append(log, b"before\n" + b"x" * 25 + b"\nafter\n")

    bench.read(log)

    bench.until_lines(b"before", b"x" * 10, b"after")
    assert [(fact["lines"], fact["cut_bytes"]) for fact in bench.told.of("lines_cut")] == [(1, 15)]


def test_blank_lines_are_not_delivered_and_do_not_hold_the_position_back(
    bench: Bench, tmp_path: Path
) -> None:
    log = tmp_path / "a.log"
    append(log, b"one\n\n \t\n")
    bench.read(log)

    until(lambda: bench.file(os.fsencode(log)).acks.acked_offset == 8)
    append(log, b"\n\n")
    until(lambda: bench.file(os.fsencode(log)).acks.acked_offset == 10)

    assert bench.outlet.lines() == [b"one"]
    assert bench.counts["web"].lines_read == 1


def test_a_file_that_is_read_to_its_end_costs_no_greenlet(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, b"one\n")
    bench.read(log)

    bench.until_idle()

    greenlet = bench.file(os.fsencode(log)).greenlet
    assert greenlet is None or greenlet.dead


def test_nothing_is_read_while_the_outlet_has_no_room(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, b"one\n")
    bench.outlet.block("Kafka is away")

    bench.read(log)
    settle()
    assert bench.outlet.lines() == []
    assert bench.file(os.fsencode(log)).reason == "Kafka is away"

    bench.outlet.unblock()
    bench.until_lines(b"one")


def test_what_is_taken_back_is_read_again(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    bench.outlet.holding = True
    bench.read(log)
    for line in (b"one\n", b"two\n", b"three\n"):
        append(log, line)
        bench.until_idle()
        settle(5)
    bench.until_lines(b"one", b"two", b"three")

    bench.outlet.take_back(2)
    bench.until_lines(b"one", b"two", b"three")
    bench.outlet.acknowledge()

    assert bench.file(os.fsencode(log)).acks.acked_offset == 14


def test_positions_are_noted_up_to_what_is_acknowledged_and_no_further(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    bench.outlet.holding = True
    bench.read(log)
    for line in (b"one\n", b"two\n", b"three\n"):
        append(log, line)
        bench.until_lines(*(log.read_bytes().splitlines()))

    first, second, third = bench.outlet.open
    bench.outlet.acknowledge([second])
    assert [p.offset for p in bench.book.of_entry("web", str(log))] == [0]
    bench.outlet.acknowledge([first])
    assert [p.offset for p in bench.book.of_entry("web", str(log))] == [8]
    bench.outlet.acknowledge([third])
    assert [p.offset for p in bench.book.of_entry("web", str(log))] == [14]


def test_a_rate_limit_holds_the_lines_of_a_file_in_order(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, b"".join(b"%d\n" % n for n in range(60)))
    bench.limiters["web"] = Limiter(1000.0)

    bench.read(log)

    bench.until_lines(*(b"%d" % n for n in range(60)))
    assert len(bench.outlet.delivered) == bench.counts["web"].lines_read == 60


# -- rotation -----------------------------------------------------------------------------------------------------


def test_a_renamed_file_is_read_to_its_end_before_the_new_one(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, b"old 1\n")
    bench.read(log)
    bench.until_lines(b"old 1")
    bench.outlet.block()
    append(log, b"old 2\n")

    log.rename(tmp_path / "a.log.1")
    append(log, b"new 1\n")
    settle()
    append(tmp_path / "a.log.1", b"old 3\n")
    settle()
    bench.outlet.unblock()

    bench.until_lines(b"old 1", b"old 2", b"old 3", b"new 1", label=os.fsencode(log))


def test_late_writes_to_a_renamed_file_are_delivered(make_bench: MakeBench, tmp_path: Path) -> None:
    bench = make_bench(rotate_wait_s=10)
    log, old = tmp_path / "a.log", tmp_path / "a.log.1"
    append(log, b"one\n")
    bench.read(log)
    bench.until_lines(b"one")

    log.rename(old)
    append(log, b"new\n")
    bench.until_lines(b"one", b"new")
    bench.skip(9)
    append(old, b"late\n")
    bench.until_lines(b"one", b"new", b"late")
    bench.skip(9)  # the late write began the wait anew
    settle()
    append(old, b"later\n")

    bench.until_lines(b"one", b"new", b"late", b"later")


def test_a_renamed_file_is_let_go_after_the_wait(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, b"one\n")
    bench.read(log)
    bench.until_lines(b"one")
    descriptor = bench.file(os.fsencode(log)).descriptor

    log.rename(tmp_path / "a.log.1")
    settle()
    assert not bench.told.of("file_closed")
    bench.skip(11)

    until(lambda: bench.told.of("file_closed"))
    assert bench.collector.files == {}
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_renamed_file_is_not_let_go_before_it_is_acknowledged(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, b"one\n")
    bench.outlet.holding = True
    bench.read(log)
    bench.until_lines(b"one")

    log.rename(tmp_path / "a.log.1")
    bench.skip(100)
    settle()
    bench.skip(100)
    settle()
    assert len(bench.collector.files) == 1

    bench.outlet.acknowledge()
    until(lambda: not bench.collector.files)


def test_the_last_line_of_a_renamed_file_needs_no_newline(bench: Bench, tmp_path: Path) -> None:
    """Case 145."""
    log = tmp_path / "a.log"
    append(log, b"one\nlast")
    bench.read(log)
    bench.until_lines(b"one")

    log.rename(tmp_path / "a.log.1")
    settle()
    assert bench.outlet.lines() == [b"one"]
    bench.skip(11)

    bench.until_lines(b"one", b"last")
    bench.skip(11)
    until(lambda: not bench.collector.files)
    assert [p.offset for p in bench.book.of_entry("web", str(log))] == [8]


def test_the_last_line_of_a_renamed_file_is_cut_at_the_limit(make_bench: MakeBench, tmp_path: Path) -> None:
    bench = make_bench(max_line_bytes=10)
    log = tmp_path / "a.log"
    append(log, b"x" * 25)
    bench.read(log)
    bench.until_idle()

    log.rename(tmp_path / "a.log.1")
    settle()
    bench.skip(11)

    bench.until_lines(b"x" * 10)
    assert [(fact["lines"], fact["cut_bytes"]) for fact in bench.told.of("lines_cut")] == [(1, 15)]
    bench.skip(11)
    until(lambda: not bench.collector.files)


def test_a_last_line_without_newline_waits_while_the_file_is_at_its_path(
    bench: Bench, tmp_path: Path
) -> None:
    log = tmp_path / "a.log"
    append(log, b"one\nlast")
    bench.read(log)
    bench.until_lines(b"one")

    bench.skip(1000)
    settle()

    assert bench.outlet.lines() == [b"one"]


def test_three_generations_come_in_order(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, b"g0\n")
    bench.read(log)
    bench.until_lines(b"g0")
    bench.outlet.block()
    for generation in range(1, 4):
        append(log, b"g%d end\n" % (generation - 1))
        log.rename(tmp_path / f"a.log.{generation}")
        append(log, b"g%d\n" % generation)
        settle()

    bench.outlet.unblock()

    bench.until_lines(b"g0", b"g0 end", b"g1", b"g1 end", b"g2", b"g2 end", b"g3")


def test_a_rename_within_the_glob_delivers_nothing_twice(bench: Bench, tmp_path: Path) -> None:
    log, old = tmp_path / "a.log", tmp_path / "a.log.1"
    append(log, b"one\n")
    bench.read(tmp_path / "a.log*")
    bench.until_lines(b"one")

    log.rename(old)
    append(log, b"new\n")
    bench.until_lines(b"one", b"new")
    append(old, b"late\n")

    bench.until_lines(b"one", b"new", b"late")
    assert bench.outlet.lines(os.fsencode(log)) == [b"one", b"new", b"late"]


def test_a_chain_of_renames_within_the_glob_delivers_everything_once(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    bench.read(tmp_path / "a.log*")
    expected = []
    for generation in range(5):
        line = b"line %d" % generation
        expected.append(line)
        append(log, line + b"\n")
        bench.until_lines(*expected)
        for number in range(generation, 0, -1):
            (tmp_path / f"a.log.{number}").rename(tmp_path / f"a.log.{number + 1}")
        log.rename(tmp_path / "a.log.1")
        settle(5)

    append(tmp_path / "a.log.5", b"late to the oldest\n")
    append(tmp_path / "a.log.1", b"late to the newest\n")

    until(lambda: len(bench.outlet.lines()) == 7)
    assert sorted(bench.outlet.lines()) == sorted([*expected, b"late to the oldest", b"late to the newest"])


def test_within_the_glob_too_the_old_file_is_read_before_the_new_one(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, b"old 1\n")
    bench.read(tmp_path / "a.log*")
    bench.until_lines(b"old 1")
    bench.until_idle()
    bench.outlet.block()
    append(log, b"old 2\n" * 100_000)

    log.rename(tmp_path / "a.log.1")
    append(log, b"new\n")
    settle()
    bench.outlet.unblock()

    until(lambda: len(bench.outlet.lines()) == 100_002)
    assert bench.outlet.lines()[-1] == b"new"


def test_a_rename_within_the_glob_that_a_sweep_sees_first_blocks_nobody(bench: Bench, tmp_path: Path) -> None:
    log, old = tmp_path / "a.log", tmp_path / "a.log.1"
    append(log, b"one\n")
    bench.read(tmp_path / "a.log*")
    bench.until_lines(b"one")
    bench.until_idle()

    log.rename(old)
    append(log, b"new\n")
    bench.collector._sweeper.sweep()

    bench.until_lines(b"one", b"new")


def test_a_file_deleted_and_created_anew_is_two_files(bench: Bench, tmp_path: Path) -> None:
    """Case 53."""
    log = tmp_path / "a.log"
    append(log, b"one\nend of the old one\n")
    bench.read(log)
    bench.until_lines(b"one", b"end of the old one")

    log.unlink()
    append(log, b"new\n")

    bench.until_lines(b"one", b"end of the old one", b"new")


def test_a_deleted_file_is_read_to_its_end(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, b"one\n")
    bench.read(log)
    bench.until_lines(b"one")
    bench.outlet.block()
    append(log, b"two\n")
    log.unlink()
    settle()

    bench.outlet.unblock()

    bench.until_lines(b"one", b"two")
    bench.skip(11)
    until(lambda: not bench.collector.files)


def test_a_file_put_in_place_by_a_rename_is_read_from_its_beginning(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, b"one\n")
    bench.read(log)
    bench.until_lines(b"one")

    append(tmp_path / "fresh", b"new 1\nnew 2\n")
    (tmp_path / "fresh").replace(log)

    bench.until_lines(b"one", b"new 1", b"new 2")


def test_a_file_moved_away_and_back_goes_on_where_it_was(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, b"one\n")
    bench.read(log)
    bench.until_lines(b"one")

    log.rename(tmp_path / "aside")
    settle()
    (tmp_path / "aside").rename(log)
    append(log, b"two\n")

    bench.until_lines(b"one", b"two")
    bench.skip(100)
    settle()
    append(log, b"three\n")
    bench.until_lines(b"one", b"two", b"three")
    assert not bench.told.of("file_closed")


# -- truncation ---------------------------------------------------------------------------------------------------


def test_a_truncated_file_is_read_from_its_beginning(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, b"one\ntwo\n")
    bench.read(log)
    bench.until_lines(b"one", b"two")
    bench.until_idle()

    os.truncate(log, 0)
    settle()
    append(log, b"new\n")

    bench.until_lines(b"one", b"two", b"new")
    told = bench.told.of("file_truncated")
    assert [(fact["position"], fact["size"]) for fact in told] == [(8, 0)]
    assert [p.offset for p in bench.book.of_entry("web", str(log))] == [4]


def test_late_acknowledgements_of_truncated_bytes_do_not_move_the_new_position(
    bench: Bench, tmp_path: Path
) -> None:
    """Case 68."""
    log = tmp_path / "a.log"
    append(log, b"one\ntwo\n")
    bench.outlet.holding = True
    bench.read(log)
    bench.until_lines(b"one", b"two")
    bench.until_idle()

    os.truncate(log, 0)
    append(log, b"new\n")
    bench.until_lines(b"one", b"two", b"new")
    old, new = bench.outlet.open
    bench.outlet.acknowledge([old])
    assert [p.offset for p in bench.book.of_entry("web", str(log))] == [0]
    bench.outlet.acknowledge([new])

    assert [p.offset for p in bench.book.of_entry("web", str(log))] == [4]


def test_lines_read_before_a_truncation_are_not_given_up_by_the_sender(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, b"one\ntwo\n")
    bench.outlet.holding = True
    bench.read(log)
    bench.until_lines(b"one", b"two")
    bench.until_idle()
    assert all(segment.source.readable_again for segment in bench.outlet.open)

    os.truncate(log, 0)
    until(lambda: bench.told.of("file_truncated"))

    assert not any(segment.source.readable_again for segment in bench.outlet.open)


def test_a_rotated_file_that_is_truncated_does_not_block_the_next_one(bench: Bench, tmp_path: Path) -> None:
    log, old = tmp_path / "a.log", tmp_path / "a.log.1"
    append(log, b"one\ntwo\n")
    bench.read(log)
    bench.until_lines(b"one", b"two")
    bench.until_idle()

    log.rename(old)
    os.truncate(old, 0)
    append(log, b"new\n")

    bench.until_lines(b"one", b"two", b"new")


def test_a_file_truncated_and_rotated_while_nobody_looked_does_not_block_the_next_one(
    bench: Bench, tmp_path: Path
) -> None:
    log, old = tmp_path / "a.log", tmp_path / "a.log.1"
    append(log, b"one\ntwo\n")
    bench.read(log)
    bench.until_lines(b"one", b"two")
    bench.until_idle()

    log.rename(old)
    settle()
    os.truncate(old, 0)
    until(lambda: bench.told.of("file_truncated"))
    append(log, b"new\n")

    bench.until_lines(b"one", b"two", b"new")


# -- several names, entries and services --------------------------------------------------------------------------


def test_a_symbolic_link_beside_its_file_delivers_lines_once(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, b"one\n")
    (tmp_path / "current.log").symlink_to(log)
    bench.read(tmp_path / "*.log")
    bench.until_lines(b"one")

    append(log, b"two\n")
    bench.until_lines(b"one", b"two")
    settle()

    assert bench.outlet.lines() == [b"one", b"two"]


def test_a_hard_link_beside_its_file_delivers_lines_once(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, b"one\n")
    os.link(log, tmp_path / "b.log")
    bench.read(tmp_path / "*.log")
    bench.until_lines(b"one")
    append(log, b"two\n")
    bench.until_lines(b"one", b"two")
    settle()

    assert len(bench.outlet.lines()) == 2


def test_lines_behind_a_symbolic_link_to_another_directory_come_at_once(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "logs").mkdir()
    real = tmp_path / "real" / "a.txt"
    append(real, b"one\n")
    (tmp_path / "logs" / "a.log").symlink_to(real)
    bench.read(tmp_path / "logs" / "*.log")
    bench.until_lines(b"one")
    bench.until_idle()

    append(real, b"two\n")

    bench.until_lines(b"one", b"two", label=os.fsencode(tmp_path / "logs" / "a.log"))


def test_a_link_that_is_pointed_elsewhere_is_a_rotation(bench: Bench, tmp_path: Path) -> None:
    for day in "12":
        append(tmp_path / f"day{day}", b"day %s\n" % day.encode())
    link = tmp_path / "current.log"
    link.symlink_to(tmp_path / "day1")
    bench.read(link)
    bench.until_lines(b"day 1")

    (tmp_path / "next").symlink_to(tmp_path / "day2")
    (tmp_path / "next").replace(link)

    bench.until_lines(b"day 1", b"day 2")
    append(tmp_path / "day2", b"more\n")
    bench.until_lines(b"day 1", b"day 2", b"more")


def test_two_services_read_one_file_each_for_itself(bench: Bench, tmp_path: Path) -> None:
    """Case 15."""
    log = tmp_path / "a.log"
    append(log, b"one\n")

    bench.read(log, "web")
    bench.read(tmp_path / "*.log", "audit")

    bench.until_lines(b"one", service="web")
    bench.until_lines(b"one", service="audit")
    assert bench.book.of_entry("web", str(log))
    assert bench.book.of_entry("audit", str(tmp_path / "*.log"))


def test_a_file_that_two_entries_of_a_service_name_belongs_to_the_first(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, b"one\n")

    bench.read(log, topic="first")
    bench.read(tmp_path / "*.log", topic="second")
    bench.until_lines(b"one")
    append(log, b"two\n")
    bench.until_lines(b"one", b"two")
    settle()

    assert bench.outlet.topics == ["first", "first"]


def test_the_end_of_one_service_does_not_slow_another_that_follows_the_same_link(
    bench: Bench, tmp_path: Path
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "logs").mkdir()
    real, link = tmp_path / "real" / "a.txt", tmp_path / "logs" / "a.log"
    append(real, b"one\n")
    link.symlink_to(real)
    first = bench.read(link, "web")
    bench.read(link, "audit")
    bench.until_lines(b"one", service="audit")
    bench.until_idle()

    bench.collector.stop_entry(first.id)
    append(real, b"two\n")

    bench.until_lines(b"one", b"two", service="audit")


# -- entries come, change and go ----------------------------------------------------------------------------------


def test_a_stopped_entry_closes_its_files_and_leaves_others_alone(bench: Bench, tmp_path: Path) -> None:
    one, two = tmp_path / "one.log", tmp_path / "two.log"
    append(one, b"1\n")
    append(two, b"2\n")
    entry = bench.read(one)
    bench.read(two)
    bench.until_lines(b"1", label=os.fsencode(one))
    bench.until_lines(b"2", label=os.fsencode(two))
    descriptor = bench.file(os.fsencode(one)).descriptor

    bench.collector.stop_entry(entry.id)
    append(one, b"not read\n")
    append(two, b"read\n")

    bench.until_lines(b"2", b"read", label=os.fsencode(two))
    assert bench.outlet.lines(os.fsencode(one)) == [b"1"]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_acknowledgements_after_the_entry_stopped_still_move_its_positions(
    bench: Bench, tmp_path: Path
) -> None:
    log = tmp_path / "a.log"
    append(log, b"one\n")
    bench.outlet.holding = True
    entry = bench.read(log)
    bench.until_lines(b"one")

    bench.collector.stop_entry(entry.id)
    bench.outlet.acknowledge()

    assert [p.offset for p in bench.book.of_entry("web", str(log))] == [4]


def test_an_entry_that_is_started_again_goes_on_where_it_was(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, b"one\n")
    entry = bench.read(log)
    bench.until_lines(b"one")
    bench.collector.stop_entry(entry.id)
    append(log, b"two\n")

    bench.read(log)

    bench.until_lines(b"one", b"two")


def test_a_file_that_appears_while_its_entry_is_being_stopped_is_not_read(
    bench: Bench, tmp_path: Path
) -> None:
    append(tmp_path / "a.log", b"one\n" * 10)
    bench.outlet.block()  # so that there is a greenlet to be ended, for which the others get a turn
    entry = bench.read(tmp_path / "*.log")
    settle(3)

    append(tmp_path / "b.log", b"two\n")
    bench.collector.stop_entry(entry.id)
    bench.outlet.unblock()
    settle()

    assert bench.collector.files == {}
    assert bench.outlet.lines() == []


def test_a_new_topic_holds_from_the_next_line_on_and_reads_nothing_again(
    bench: Bench, tmp_path: Path
) -> None:
    log = tmp_path / "a.log"
    append(log, b"one\n")
    entry = bench.read(log, topic="old")
    bench.until_lines(b"one")
    file = bench.file(os.fsencode(log))

    bench.collector.change_entry(Entry("web", entry.log_path, "new", format="json"))
    append(log, b"two\n")

    until(lambda: len(bench.outlet.lines()) == 2)
    assert bench.outlet.topics == ["old", "new"]
    assert b'"message":"two"' in bench.outlet.lines()[1]
    assert bench.file(os.fsencode(log)) is file


def test_a_new_topic_holds_for_files_that_are_found_later_too(bench: Bench, tmp_path: Path) -> None:
    entry = bench.read(tmp_path / "*.log", topic="old")
    bench.collector.change_entry(Entry("web", entry.log_path, "new"))

    append(tmp_path / "a.log", b"one\n")

    bench.until_lines(b"one")
    assert bench.outlet.topics == ["new"]


def test_a_thousand_starts_and_stops_leave_no_descriptor_and_no_greenlet(
    bench: Bench, tmp_path: Path
) -> None:
    for name in ("a.log", "b.log"):
        append(tmp_path / name, b"one\n")
    settle()
    gc.collect()

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    def greenlets() -> int:
        gc.collect()
        return sum(isinstance(one, Greenlet) and not one.dead for one in gc.get_objects())

    before = descriptors(), greenlets()
    watched = bench.collector._watches._watcher.watched
    for _ in range(1000):
        entry = bench.read(tmp_path / "*.log")
        bench.collector.stop_entry(entry.id)
    settle()

    assert (descriptors(), greenlets()) == before
    assert bench.collector._watches._watcher.watched == watched
    assert bench.collector._watches._users == {}
    assert bench.collector._watches._names == {}


# -- after a restart ----------------------------------------------------------------------------------------------


def test_after_a_restart_reading_resumes_at_the_acknowledged_position(
    make_bench: MakeBench, tmp_path: Path
) -> None:
    """Cases 71 and 72: what was written while the agent was off, and what was sent and not acknowledged."""
    log = tmp_path / "a.log"
    before = make_bench()
    before.outlet.holding = True
    before.read(log)
    for line in (b"one\n", b"two\n"):
        append(log, line)
        before.until_lines(*log.read_bytes().splitlines())
    before.outlet.acknowledge(before.outlet.open[:1])
    positions = before.stop()
    append(log, b"three\n")

    after = make_bench(positions)
    after.read(log)

    after.until_lines(b"two", b"three")


def test_a_file_renamed_while_the_agent_was_off_is_read_to_its_end_first(
    make_bench: MakeBench, tmp_path: Path
) -> None:
    log = tmp_path / "a.log"
    append(log, b"one\n")
    before = make_bench()
    before.read(log)
    before.until_lines(b"one")
    positions = before.stop()
    append(log, b"two\n")
    log.rename(tmp_path / "a.log.1")
    append(log, b"new\n")

    after = make_bench(positions)
    after.read(log)

    after.until_lines(b"two", b"new", label=os.fsencode(log))
    after.skip(11)
    until(lambda: len(after.collector.files) == 1)


def test_a_file_that_was_read_to_its_end_and_renamed_while_the_agent_was_off_is_not_opened(
    make_bench: MakeBench, tmp_path: Path
) -> None:
    log = tmp_path / "a.log"
    append(log, b"one\n")
    before = make_bench()
    before.read(log)
    before.until_lines(b"one")
    positions = before.stop()
    log.rename(tmp_path / "a.log.1")
    append(log, b"new\n")

    after = make_bench(positions)
    after.read(log)

    assert [file.path for file in after.collector.files.values()] == [os.fsencode(log)]
    after.until_lines(b"new")


def test_two_generations_renamed_while_the_agent_was_off_come_in_order(
    make_bench: MakeBench, tmp_path: Path
) -> None:
    log = tmp_path / "a.log"
    append(log, b"old\n")
    before = make_bench()
    before.read(log)
    before.until_lines(b"old")
    before.outlet.block()
    append(log, b"old, unread\n")
    log.rename(tmp_path / "a.log.1")
    os.utime(tmp_path / "a.log.1", (1, 1))
    append(log, b"newer\n")
    until(lambda: len(before.collector.files) == 2)
    positions = before.stop()
    log.rename(tmp_path / "a.log.2")
    os.utime(tmp_path / "a.log.2", (2, 2))
    append(log, b"newest\n")

    after = make_bench(positions)
    after.read(log)

    after.until_lines(b"old, unread", b"newer", b"newest")


def test_a_file_renamed_within_the_glob_while_the_agent_was_off_is_not_read_again(
    make_bench: MakeBench, tmp_path: Path
) -> None:
    log = tmp_path / "a.log"
    append(log, b"one\n")
    before = make_bench()
    before.read(tmp_path / "a.log*")
    before.until_lines(b"one")
    positions = before.stop()
    append(log, b"two\n")
    log.rename(tmp_path / "a.log.1")
    append(log, b"new\n")

    after = make_bench(positions)
    after.read(tmp_path / "a.log*")

    until(lambda: len(after.outlet.lines()) == 2)
    settle()
    assert sorted(after.outlet.lines()) == [b"new", b"two"]


def reuse_inode(log: Path, content: bytes) -> bool:
    """Delete the file and try to get its inode for a new one."""
    inode = log.stat().st_ino
    log.unlink()
    for number in range(50):
        other = log.with_name(f"try{number}")
        append(other, content)
        if other.stat().st_ino == inode:
            other.rename(log)
            return True
    append(log, content)
    return False


def test_another_file_under_a_known_inode_is_read_from_its_beginning(
    make_bench: MakeBench, tmp_path: Path
) -> None:
    log = tmp_path / "a.log"
    append(log, b"one\n")
    before = make_bench()
    before.read(log)
    before.until_lines(b"one")
    positions = before.stop()
    if not reuse_inode(log, b"new 1\nnew 2\n"):
        pytest.skip("this file system does not use inodes again at once")

    after = make_bench(positions)
    after.read(log)

    after.until_lines(b"new 1", b"new 2")


def test_another_file_under_a_known_inode_is_recognised_after_a_run_that_read_nothing(
    make_bench: MakeBench, tmp_path: Path
) -> None:
    log = tmp_path / "a.log"
    append(log, b"one\n")
    positions = []
    for _ in range(2):
        before = make_bench(positions)
        before.read(log)
        before.until_idle()
        positions = before.stop()
    if not reuse_inode(log, b"new 1\nnew 2\n"):
        pytest.skip("this file system does not use inodes again at once")

    after = make_bench(positions)
    after.read(log)

    after.until_lines(b"new 1", b"new 2")


def test_another_file_under_the_inode_of_one_that_is_still_on_its_way_is_read_from_its_beginning(
    bench: Bench, tmp_path: Path
) -> None:
    log = tmp_path / "a.log"
    append(log, b"on its way\n")
    bench.outlet.holding = True
    entry = bench.read(log)
    bench.until_lines(b"on its way")
    bench.collector.stop_entry(entry.id)
    if not reuse_inode(log, b"another file that begins with another line\nand goes on\n"):
        pytest.skip("this file system does not use inodes again at once")

    bench.read(log)

    bench.until_lines(b"on its way", b"another file that begins with another line", b"and goes on")


def test_an_entry_that_is_started_again_goes_on_behind_what_is_on_its_way(
    bench: Bench, tmp_path: Path
) -> None:
    log = tmp_path / "a.log"
    append(log, b"one\ntwo\n")
    bench.outlet.holding = True
    entry = bench.read(log)
    bench.until_lines(b"one", b"two")
    bench.collector.stop_entry(entry.id)
    append(log, b"three\n")

    bench.read(log)

    bench.until_lines(b"one", b"two", b"three")
    before, after = bench.outlet.open
    bench.outlet.acknowledge([after])
    assert [p.offset for p in bench.book.of_entry("web", str(log))] == [0]
    bench.outlet.acknowledge([before])
    assert [p.offset for p in bench.book.of_entry("web", str(log))] == [14]


def test_what_an_entry_had_on_its_way_is_read_again_by_the_next_one_if_it_is_given_up(
    bench: Bench, tmp_path: Path
) -> None:
    log = tmp_path / "a.log"
    append(log, b"one\ntwo\n")
    bench.outlet.holding = True
    entry = bench.read(log)
    bench.until_lines(b"one", b"two")
    bench.collector.stop_entry(entry.id)
    bench.read(log)
    bench.until_idle()

    bench.outlet.take_back(1)

    bench.until_lines(b"one", b"two")
    bench.outlet.acknowledge()
    assert [p.offset for p in bench.book.of_entry("web", str(log))] == [8]


def test_a_file_truncated_while_the_agent_was_off_is_read_from_its_beginning(
    make_bench: MakeBench, tmp_path: Path
) -> None:
    log = tmp_path / "a.log"
    append(log, b"one\ntwo\n")
    before = make_bench()
    before.read(log)
    before.until_lines(b"one", b"two")
    positions = before.stop()
    os.truncate(log, 0)
    append(log, b"new\n")

    after = make_bench(positions)
    after.read(log)

    after.until_lines(b"new")


# -- start_at -----------------------------------------------------------------------------------------------------


def test_start_at_end_skips_what_is_there_and_takes_what_comes(make_bench: MakeBench, tmp_path: Path) -> None:
    bench = make_bench(start_at="end")
    log = tmp_path / "a.log"
    append(log, b"before\nhalf a ")
    bench.read(log)
    bench.until_idle()
    assert [fact["offset"] for fact in bench.told.of("file_found")] == [7]

    append(log, b"line\nafter\n")

    bench.until_lines(b"half a line", b"after")


def test_start_at_end_reads_files_that_appear_later_from_their_beginning(
    make_bench: MakeBench, tmp_path: Path
) -> None:
    """Case 3."""
    bench = make_bench(start_at="end")
    append(tmp_path / "a.log", b"before\n")
    bench.read(tmp_path / "*.log")
    bench.until_idle()

    append(tmp_path / "b.log", b"one\ntwo\n")

    bench.until_lines(b"one", b"two")


def test_start_at_end_of_an_entry_beats_that_of_all_files(bench: Bench, tmp_path: Path) -> None:
    append(tmp_path / "a.log", b"before\n")
    append(tmp_path / "b.log", b"before\n")

    bench.read(tmp_path / "a.log", start_at="end")
    bench.read(tmp_path / "b.log")

    bench.until_lines(b"before", label=os.fsencode(tmp_path / "b.log"))
    bench.until_idle()
    assert bench.outlet.lines(os.fsencode(tmp_path / "a.log")) == []


def test_start_at_end_skips_nothing_of_an_entry_that_was_read_before(
    make_bench: MakeBench, tmp_path: Path
) -> None:
    """Case 5."""
    append(tmp_path / "a.log", b"before\n")
    first = make_bench(start_at="end")
    first.read(tmp_path / "*.log")
    first.until_idle()
    positions = first.stop()
    append(tmp_path / "a.log", b"while off\n")
    append(tmp_path / "b.log", b"new while off\n")

    second = make_bench(positions, start_at="end")
    second.read(tmp_path / "*.log")

    second.until_lines(b"while off", label=os.fsencode(tmp_path / "a.log"))
    second.until_lines(b"new while off", label=os.fsencode(tmp_path / "b.log"))


# -- what cannot be read ------------------------------------------------------------------------------------------


def test_a_refused_file_is_told_once_and_read_when_it_may_be(make_bench: MakeBench, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    os.mkfifo(log)
    bench = make_bench()
    bench.read(log)
    bench.collector._sweeper.sweep()
    assert [fact["path"] for fact in bench.told.of("file_refused")] == [os.fsencode(log)]

    log.unlink()
    append(log, b"one\n")

    bench.until_lines(b"one")
    assert len(bench.told.of("file_readable_again")) == 1


def test_a_refused_file_that_is_gone_is_forgotten(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    os.mkfifo(log)
    bench.read(tmp_path / "*.log")
    (state,) = bench.collector.entries.values()
    assert state.refused

    log.unlink()

    until(lambda: not state.refused)


def test_a_file_that_cannot_be_read_does_not_hinder_the_others(bench: Bench, tmp_path: Path) -> None:
    """Reading /proc/self/mem at 0 is an input/output error."""
    append(tmp_path / "a.log", b"one\n")
    (tmp_path / "b.log").symlink_to("/proc/self/mem")
    append(tmp_path / "c.log", b"three\n")

    bench.read(tmp_path / "*.log")

    until(lambda: sorted(bench.outlet.lines()) == [b"one", b"three"])


@pytest.mark.parametrize("failing", ["pread", "fstat"])
def test_a_disk_that_fails_while_lines_are_acknowledged_does_not_harm_the_sender(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    log = tmp_path / "a.log"
    append(log, b"one\n")
    bench.outlet.holding = True
    bench.read(log)
    bench.until_lines(b"one")
    bench.until_idle()

    def fail(*_args: object) -> bytes:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(os, failing, fail)
        bench.outlet.acknowledge()

    assert [p.offset for p in bench.book.of_entry("web", str(log))] == [4]


def test_a_read_error_is_told_and_tried_again(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "a.log"
    append(log, b"one\n")
    real, failures = os.pread, [OSError(5, "Input/output error")] * 2
    monkeypatch.setattr("logagent.sources.tailer.READ_ERROR", Backoff(first_s=0.001, limit_s=0.001))

    def pread(descriptor: int, count: int, offset: int) -> bytes:
        if failures and count > 2000:
            raise failures.pop()
        return real(descriptor, count, offset)

    monkeypatch.setattr("logagent.sources.tailed_file.os.pread", pread)
    bench.read(log)

    bench.until_lines(b"one")
    assert len(bench.told.of("read_failed")) == 2


def test_what_events_did_not_tell_the_sweep_repairs(make_bench: MakeBench, tmp_path: Path) -> None:
    bench = make_bench()
    log = tmp_path / "a.log"
    append(log, b"one\n")
    bench.read(log)
    bench.until_lines(b"one")
    bench.until_idle()
    bench.collector._greenlets[0].kill()  # the one that hears of changes
    append(log, b"two\n")
    append(tmp_path / "b.log", b"other\n")
    settle()
    assert len(bench.outlet.lines()) == 1

    bench.collector._sweeper.overflow()

    bench.until_lines(b"one", b"two")
    assert bench.told.of("inotify_overflow") == [{}]


def test_writes_to_a_thousand_files_are_all_delivered(bench: Bench, tmp_path: Path) -> None:
    for number in range(1000):
        append(tmp_path / f"{number}.log", b"%d\n" % number)
    bench.read(tmp_path / "*.log")
    until(lambda: len(bench.outlet.lines()) == 1000)
    for number in range(1000):
        append(tmp_path / f"{number}.log", b"more %d\n" % number)
        if number % 100 == 0:
            gevent.sleep(1e-6)

    until(lambda: len(bench.outlet.lines()) == 2000)
    assert len(set(bench.outlet.lines())) == 2000


def test_late_writes_to_the_old_file_come_before_the_new_one(bench: Bench, tmp_path: Path) -> None:
    """The old file's new name is not watched; what is in the new file was written after it."""
    log, old = tmp_path / "a.log", tmp_path / "a.log.1"
    append(log, b"old 0\n")
    bench.read(log)
    bench.until_lines(b"old 0")

    log.rename(old)
    append(log, b"")
    settle()
    for number in range(1, 20):
        append(old, b"old %d\n" % number)
        gevent.sleep(0.001)
    for number in range(20):
        append(log, b"new %d\n" % number)

    bench.until_lines(*[b"old %d" % n for n in range(20)], *[b"new %d" % n for n in range(20)])


def test_behind_an_empty_generation_the_one_before_it_still_comes_first(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, b"old 0\n")
    bench.read(log)
    bench.until_lines(b"old 0")
    bench.outlet.block()
    append(log, b"".join(b"old %d\n" % n for n in range(1, 500)))

    log.rename(tmp_path / "a.log.2")
    append(log, b"")
    settle()
    log.rename(tmp_path / "a.log.1")
    append(log, b"new\n")
    settle()
    bench.outlet.unblock()

    bench.until_lines(*[b"old %d" % n for n in range(500)], b"new")


def test_a_writer_that_never_lets_go_of_the_old_file_does_not_starve_the_new_one(
    bench: Bench, tmp_path: Path
) -> None:
    log, old = tmp_path / "a.log", tmp_path / "a.log.1"
    append(log, b"old\n")
    bench.read(log)
    bench.until_lines(b"old")
    log.rename(old)
    append(log, b"new\n")
    bench.skip(11)

    def write_on() -> None:
        while True:
            append(old, b"more\n" * 100)
            gevent.sleep(0.0005)

    writer = gevent.spawn(write_on)
    try:
        until(lambda: b"new" in bench.outlet.lines())
    finally:
        writer.kill()


def test_a_position_is_kept_through_several_removals_while_nothing_is_acknowledged(
    bench: Bench, tmp_path: Path
) -> None:
    log = tmp_path / "a.log"
    append(log, b"one\n")
    bench.outlet.holding = True
    entry = bench.read(log)
    bench.until_lines(b"one")
    for _ in range(2):
        bench.collector.stop_entry(entry.id)
        bench.collector.start_entry(entry)
        settle(5)
    bench.outlet.acknowledge()

    assert [position.offset for position in bench.stop()] == [4]
    assert bench.outlet.lines() == [b"one"]


def test_a_file_whose_name_looks_like_a_glob_is_read(bench: Bench, tmp_path: Path) -> None:
    append(tmp_path / "x[1].log", b"one\n")
    bench.read(tmp_path / "x[1].log")
    bench.until_lines(b"one")
