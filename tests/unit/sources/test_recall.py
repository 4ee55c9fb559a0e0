# SPDX-License-Identifier: Apache-2.0
"""Files of which an earlier process may have sent lines: held, built again, and read on."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from crc32c import crc32c

from logagent.pipeline.batch import Segment
from logagent.pipeline.render_row import RenderRow
from logagent.sources.identity import digest, inode_identity
from logagent.sources.opening import open_log
from logagent.sources.recall import Built, rows_of
from logagent.state.changes import STARTED_OVER
from logagent.state.intents import EarlierCut, IntentRecord, SegmentNote
from logagent.state.positions import Position
from tests.unit.sources.test_rebuilding import note_of
from tests.unit.sources.twins import Bench, settle, until

MakeBench = Callable[..., Bench]
STAMP = 1_700_000_000_123


def intent(
    notes: Iterable[SegmentNote], earlier: Sequence[Iterable[SegmentNote]] = (), partition: int = 0
) -> IntentRecord:
    cuts = tuple(EarlierCut(tuple(cut)) for cut in earlier)
    return IntentRecord("cluster", "logs", partition, 9, 7, 0, 0, STAMP, tuple(notes), cuts)


def values(segments: Iterable[Segment]) -> list[bytes]:
    return [value for segment in segments for value in segment.values]


class Crash:
    """An agent that read files and was killed; nothing that it did not save is known of them."""

    def __init__(self, make_bench: MakeBench) -> None:
        self._make = make_bench
        self.first = make_bench()
        self.first.outlet.holding = True
        self.notes: list[SegmentNote] = []
        self.rows: dict[bytes, RenderRow] = {}
        self._bench: Bench | None = None

    def append(self, path: Path, data: bytes) -> SegmentNote:
        """Written, read by the first agent, and on its way."""
        before = list(self.first.outlet.open)
        with path.open("ab") as file:
            file.write(data)
        if not any(state.entry.log_path == str(path) for state in self.first.collector.entries.values()):
            self.first.read(path)
        until(lambda: len(self.first.outlet.open) > len(before))
        (segment,) = [one for one in self.first.outlet.open if one not in before]
        assert segment.render is not None
        self.rows[segment.render.id] = segment.render.row
        self.notes.append(note_of(segment))
        return self.notes[-1]

    def acknowledged(self, lines: int) -> None:
        """So many segments are, and it was saved."""
        self.first.outlet.acknowledge(self.first.outlet.open[:lines])
        assert self.first.book.save()

    def kill(self) -> list[Position]:
        self.first.kill()
        return list(self.first.saved.values())

    def bench(self, **options: object) -> Bench:
        """The next agent; nothing of it reads before it is told to."""
        self._bench = self._make(self.kill(), **options)
        self._bench.outlet.holding = True
        return self._bench

    def build(self, record: IntentRecord, rows: dict[bytes, RenderRow] | None = None) -> Built:
        assert self._bench is not None
        recall = self._bench.collector.recall
        assert recall.ready(record)
        return recall.build(record, self.rows if rows is None else rows)


@pytest.fixture
def crash(make_bench: MakeBench) -> Crash:
    return Crash(make_bench)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "a.log"


def deliver(bench: Bench, segments: Iterable[Segment]) -> None:
    """The batch that was built again is acknowledged."""
    for segment in segments:
        segment.done = True
        segment.source.acks.advance()
        segment.source.acked(len(segment.values))


def saved(bench: Bench, note: SegmentNote) -> Position:
    assert bench.book.save()
    return bench.saved[note.service, note.identity]


# -- intents that are open --------------------------------------------------------------------------------------------


def test_a_file_is_held_until_its_lines_are_built_and_then_read_on(crash: Crash, log: Path) -> None:
    note = crash.append(log, b"one\ntwo\n")
    bench = crash.bench()
    record = intent([note])
    bench.collector.recall.hold([record], crash.rows)
    bench.read(log)
    with log.open("ab") as file:
        file.write(b"three\n")
    settle()
    assert bench.outlet.lines() == []

    built = crash.build(record)

    assert values(built.segments) == [b"one", b"two"]
    assert (built.vanished, built.beyond, built.reached) == ((), [], ())
    bench.until_lines(b"three")
    again = built.segments[0]
    assert note_of(again) == note
    assert again.render is not None
    assert again.render.row == crash.rows[note.render_id]


def test_positions_move_when_what_was_built_is_acknowledged_and_not_before(crash: Crash, log: Path) -> None:
    note = crash.append(log, b"one\ntwo\n")
    bench = crash.bench()
    record = intent([note])
    bench.collector.recall.hold([record], crash.rows)
    bench.read(log)
    with log.open("ab") as file:
        file.write(b"three\n")
    built = crash.build(record)
    bench.until_lines(b"three")
    bench.outlet.acknowledge()
    assert saved(bench, note).offset == 0

    deliver(bench, built.segments)

    position = saved(bench, note)
    assert (position.offset, bool(position.marker_digest)) == (14, True)


def test_other_files_are_read_at_once(crash: Crash, log: Path, tmp_path: Path) -> None:
    record = intent([crash.append(log, b"one\n")])
    bench = crash.bench()
    bench.collector.recall.hold([record], crash.rows)
    (tmp_path / "b.log").write_bytes(b"else\n")
    bench.read(tmp_path / "*.log")

    bench.until_lines(b"else")
    settle()
    assert bench.outlet.lines(log) == []


def test_a_file_that_nobody_had_saved_a_position_of_does_not_begin_at_its_end(
    make_bench: MakeBench, log: Path
) -> None:
    crash = Crash(make_bench)
    record = intent([crash.append(log, b"one\n")])
    assert crash.first.saved == {}
    bench = crash.bench(start_at="end")
    bench.collector.recall.hold([record], crash.rows)
    bench.read(log)

    assert values(crash.build(record).segments) == [b"one"]


def test_what_was_rotated_while_no_agent_ran_is_built_too(crash: Crash, log: Path) -> None:
    record = intent([crash.append(log, b"one\n")])
    bench = crash.bench()
    with log.open("ab") as file:
        file.write(b"late\n")
    log.rename(log.with_suffix(".log.1"))
    log.write_bytes(b"next\n")
    bench.collector.recall.hold([record], crash.rows)
    bench.read(log)
    settle()
    assert bench.outlet.lines() == []

    assert values(crash.build(record).segments) == [b"one"]
    bench.until_lines(b"late", b"next")


def test_lines_of_two_partitions_lie_behind_each_other_in_one_file(crash: Crash, log: Path) -> None:
    first, second = crash.append(log, b"one\n"), crash.append(log, b"two\n")
    bench = crash.bench()
    records = [intent([first], partition=1), intent([second], partition=2)]
    bench.collector.recall.hold(records, crash.rows)
    bench.read(log)
    with log.open("ab") as file:
        file.write(b"three\n")

    assert values(crash.build(records[1]).segments) == [b"two"]
    settle()
    assert bench.outlet.lines() == []
    assert values(crash.build(records[0]).segments) == [b"one"]
    bench.until_lines(b"three")


def test_what_the_position_is_behind_is_not_built(crash: Crash, log: Path) -> None:
    first, second = crash.append(log, b"one\n"), crash.append(log, b"two\n")
    crash.acknowledged(1)
    bench = crash.bench()
    record = intent([first, second])
    bench.collector.recall.hold([record], crash.rows)
    bench.read(log)

    built = crash.build(record)

    assert (built.reached, values(built.segments), built.vanished) == ((first,), [b"two"], ())


def test_a_file_whose_lines_are_all_behind_its_position_is_not_held(crash: Crash, log: Path) -> None:
    note = crash.append(log, b"one\n")
    crash.acknowledged(1)
    bench = crash.bench()
    record = intent([note])
    bench.collector.recall.hold([record], crash.rows)
    assert bench.collector.recall.ready(record)
    bench.read(log)
    with log.open("ab") as file:
        file.write(b"two\n")

    bench.until_lines(b"two")
    assert crash.build(record).reached == (note,)


def test_a_position_within_a_segment_gives_way_to_the_journal(crash: Crash, log: Path) -> None:
    note = crash.append(log, b"one\ntwo\n")
    bench = crash.bench()
    bench.book.note(saved_position(log, 4))
    record = intent([note])
    bench.collector.recall.hold([record], crash.rows)
    bench.read(log)

    built = crash.build(record)

    assert values(built.segments) == [b"one", b"two"]
    deliver(bench, built.segments)
    assert saved(bench, note).offset == 8


def saved_position(log: Path, offset: int) -> Position:
    opened = open_log(bytes(log), lambda _: None)
    os.close(opened.descriptor)
    return Position("web", opened.identity, str(log), bytes(log), offset, 0, digest(b""))


def test_lines_of_earlier_cuts_are_built_as_well(crash: Crash, log: Path, tmp_path: Path) -> None:
    both, other = crash.append(log, b"one\ntwo\n"), crash.append(tmp_path / "b.log", b"b\n")
    half = replace(both, end_offset=4, records=1, hashed_bytes=4, source_crc=crc(b"one\n"))
    bench = crash.bench()
    record = intent([half], [[both, other]])
    bench.collector.recall.hold([record], crash.rows)
    bench.read(tmp_path / "*.log")
    settle()
    assert bench.outlet.lines() == []

    built = crash.build(record)

    assert values(built.segments) == [b"one"]
    assert values(built.beyond) == [b"two", b"b"]
    beyond = built.beyond[0]
    assert (beyond.start_offset, beyond.end_offset) == (4, 8)
    assert note_of(beyond).source_crc == crc(b"two\n")


def crc(data: bytes) -> int:
    return crc32c(data)


def test_the_generation_after_a_held_one_waits(crash: Crash, log: Path) -> None:
    record = intent([crash.append(log, b"one\n")])
    bench = crash.bench()
    bench.collector.recall.hold([record], crash.rows)
    bench.read(log)
    log.rename(log.with_suffix(".log.1"))
    log.write_bytes(b"two\n")
    bench.collector.start_entry(replace(bench.read(log.with_name("c.log")), service="x"))
    settle(60)
    assert bench.outlet.lines() == []

    crash.build(record)

    bench.until_lines(b"two")


def test_a_copy_has_the_lines_of_a_file_that_was_emptied(crash: Crash, log: Path) -> None:
    note = crash.append(log, b"one" * 20 + b"\n")
    crash.acknowledged(1)
    second = crash.append(log, b"two\n")
    bench = crash.bench()
    log.with_suffix(".log.1").write_bytes(log.read_bytes())
    log.write_bytes(b"")
    record = intent([second])
    bench.collector.recall.hold([record], crash.rows)
    bench.read(log)

    built = crash.build(record)

    assert values(built.segments) == [b"two"]
    assert built.sources[note.service, note.identity] is built.segments[0].source
    assert built.segments[0].source.identity != note.identity


def test_an_entry_that_is_stopped_takes_its_held_files_along(crash: Crash, log: Path) -> None:
    note = crash.append(log, b"one\n")
    bench = crash.bench()
    record = intent([note])
    bench.collector.recall.hold([record], crash.rows)
    entry = bench.read(log)
    bench.collector.stop_entry(entry.id)

    assert crash.build(record).vanished == (note,)


def test_a_position_that_came_behind_a_note_meanwhile_counts(crash: Crash, log: Path) -> None:
    note = crash.append(log, b"one\n")
    bench = crash.bench()
    record = intent([note])
    bench.collector.recall.hold([record], crash.rows)
    bench.book.note(saved_position(log, 4))
    bench.read(log)

    assert crash.build(record).reached == (note,)


def test_no_line_is_built_twice(crash: Crash, log: Path) -> None:
    note = crash.append(log, b"one\n")
    bench = crash.bench()
    records = [intent([note], partition=1), intent([note], partition=2)]
    bench.collector.recall.hold(records, crash.rows)
    bench.read(log)

    built = [crash.build(record) for record in records]

    assert [values(one.segments) for one in built] == [[b"one"], []]
    assert built[1].vanished == (note,)


def test_what_is_built_stays_so_when_its_entry_is_started_again(crash: Crash, log: Path) -> None:
    record = intent([crash.append(log, b"one\n")])
    bench = crash.bench()
    bench.collector.recall.hold([record], crash.rows)
    entry = bench.read(log)
    built = crash.build(record)
    bench.collector.stop_entry(entry.id)
    with log.open("ab") as file:
        file.write(b"two\n")
    bench.collector.start_entry(entry)

    bench.until_lines(b"two")
    assert values(built.segments) == [b"one"]


# -- when it is time --------------------------------------------------------------------------------------------------


def test_an_intent_is_ready_when_its_files_are_open_or_everything_was_looked_for(
    crash: Crash, log: Path, tmp_path: Path
) -> None:
    other = tmp_path / "b.log"
    notes = [crash.append(log, b"one\n"), crash.append(other, b"b\n")]
    bench = crash.bench()
    recall = bench.collector.recall
    record = intent(notes)
    news: list[bool] = []
    recall.on_news = lambda: news.append(recall.ready(record))
    recall.hold([record], crash.rows)
    bench.read(log)
    assert not recall.ready(record)

    bench.read(other)
    assert recall.ready(record)
    assert news == [False, True]

    gone = intent([replace(notes[0], identity="handle:1:2:00")], partition=3)
    recall.hold([gone], crash.rows)
    assert not recall.ready(gone)
    recall.scan_over()
    assert recall.ready(gone)
    assert crash.build(gone).vanished == gone.segments


# -- what cannot be built ---------------------------------------------------------------------------------------------


def test_other_bytes_are_read_as_they_are(crash: Crash, log: Path) -> None:
    note = crash.append(log, b"one\ntwo\n")
    bench = crash.bench()
    with log.open("r+b") as file:
        file.write(b"new")
    record = intent([note])
    bench.collector.recall.hold([record], crash.rows)
    bench.read(log)

    assert crash.build(record).vanished == (note,)
    bench.until_lines(b"new", b"two")
    bench.collector.recall.advance(note)
    settle()
    assert bench.outlet.lines() == [b"new", b"two"]


def without_rows(crash: Crash, log: Path) -> tuple[Bench, IntentRecord]:
    """Two lines: the first cannot be built again although it is there."""
    record = intent([crash.append(log, b"one\n")])
    bench = crash.bench()
    bench.collector.recall.hold([record], crash.rows)
    bench.read(log)
    with log.open("ab") as file:
        file.write(b"two\n")
    assert crash.build(record, {}).vanished == record.segments
    settle()
    assert bench.outlet.lines() == []
    return bench, record


def test_lines_that_were_delivered_although_they_cannot_be_built_are_not_read_again(
    crash: Crash, log: Path
) -> None:
    bench, record = without_rows(crash, log)

    bench.collector.recall.advance(record.segments[0])

    assert saved(bench, record.segments[0]).offset == 4
    bench.until_lines(b"two")
    bench.outlet.acknowledge()
    assert saved(bench, record.segments[0]).offset == 8


def test_lines_of_which_nobody_will_know_are_read_again(crash: Crash, log: Path) -> None:
    bench, record = without_rows(crash, log)

    bench.collector.recall.release(record.segments)

    bench.until_lines(b"one", b"two")
    bench.outlet.acknowledge()
    assert saved(bench, record.segments[0]).offset == 8


def test_what_cannot_be_built_is_read_between_what_can(crash: Crash, log: Path) -> None:
    first, second = crash.append(log, b"one\ntwo\n"), crash.append(log, b"three\n")
    bench = crash.bench()
    records = [intent([replace(first, records=3)], partition=1), intent([second], partition=2)]
    bench.collector.recall.hold(records, crash.rows)
    bench.read(log)
    with log.open("ab") as file:
        file.write(b"four\n")
    assert crash.build(records[0]).vanished == records[0].segments
    built = crash.build(records[1])
    assert values(built.segments) == [b"three"]

    bench.collector.recall.release([first])

    bench.until_lines(b"one", b"two", b"four")
    deliver(bench, built.segments)
    assert saved(bench, first).offset == 0
    bench.outlet.acknowledge()
    assert saved(bench, first).offset == 19


def test_an_intent_that_is_given_up_before_it_was_built_lets_its_files_go(crash: Crash, log: Path) -> None:
    first, second = crash.append(log, b"one\n"), crash.append(log, b"two\n")
    bench = crash.bench()
    records = [intent([first], partition=1), intent([second], partition=2)]
    bench.collector.recall.hold(records, crash.rows)
    bench.read(log)
    built = crash.build(records[1])
    settle()
    assert bench.outlet.lines() == []

    bench.collector.recall.release([first])

    bench.until_lines(b"one")
    assert values(built.segments) == [b"two"]
    deliver(bench, built.segments)
    bench.outlet.acknowledge()
    assert saved(bench, first).offset == 8


def test_an_intent_that_was_settled_before_it_was_built_is_not_read_again(crash: Crash, log: Path) -> None:
    note = crash.append(log, b"one\n")
    bench = crash.bench()
    bench.collector.recall.hold([intent([note])], crash.rows)
    bench.read(log)
    with log.open("ab") as file:
        file.write(b"two\n")

    bench.collector.recall.advance(note)

    bench.until_lines(b"two")


def test_a_file_that_is_gone_has_its_position_moved_when_its_lines_were_delivered(
    crash: Crash, log: Path
) -> None:
    crash.append(log, b"one\n")
    crash.acknowledged(1)
    note = crash.append(log, b"two\n")
    bench = crash.bench()
    elsewhere = log.parent / "far" / "a.log"
    elsewhere.parent.mkdir()
    log.rename(elsewhere)
    record = intent([note])
    recall = bench.collector.recall
    recall.hold([record], crash.rows)
    recall.scan_over()
    assert crash.build(record).vanished == (note,)

    recall.advance(note)

    position = saved(bench, note)
    assert (position.offset, position.delivered_offset) == (4, 8)
    with elsewhere.open("ab") as file:
        file.write(b"three\n")
    elsewhere.rename(log)
    bench.read(log)
    bench.until_lines(b"three")


# -- what was settled -------------------------------------------------------------------------------------------------


def test_positions_go_behind_what_the_journal_says_was_delivered(crash: Crash, log: Path) -> None:
    notes = [crash.append(log, b"one\n"), crash.append(log, b"two\n")]
    crash.append(log, b"three\n")
    bench = crash.bench()

    bench.collector.recall.settle(notes, crash.rows)

    position = saved(bench, notes[0])
    assert (position.offset, position.path, position.log_path) == (8, bytes(log), str(log))
    assert position.marker_digest
    assert position.head_bytes
    bench.read(log)
    bench.until_lines(b"three")


def test_a_renamed_file_goes_on_behind_what_was_delivered(crash: Crash, log: Path) -> None:
    note = crash.append(log, b"one\n")
    crash.acknowledged(1)
    second = crash.append(log, b"two\n")
    crash.append(log, b"three\n")
    bench = crash.bench()
    log.rename(log.with_suffix(".log.1"))
    log.write_bytes(b"four\n")

    bench.collector.recall.settle([note, second], crash.rows)

    assert (saved(bench, note).offset, saved(bench, note).delivered_offset) == (4, 8)
    bench.read(log)
    bench.until_lines(b"three", b"four")


def test_a_renamed_file_that_nobody_knows_goes_on_there_too(crash: Crash, log: Path) -> None:
    note = crash.append(log, b"one\n")
    if not note.identity.startswith("handle"):
        pytest.skip("this file system has no handles")
    crash.append(log, b"two\n")
    bench = crash.bench()
    log.rename(log.with_suffix(".log.1"))
    log.write_bytes(b"three\n")

    bench.collector.recall.settle([note], crash.rows)

    bench.read(log)
    bench.until_lines(b"two", b"three")


def test_by_a_number_that_may_be_used_again_no_file_is_taken_for_another(crash: Crash, log: Path) -> None:
    note = replace(crash.append(log, b"one\n"), identity=inode_identity(1, 2))
    bench = crash.bench()
    log.unlink()

    bench.collector.recall.settle([note], crash.rows)
    bench.collector.recall.hold([intent([note])], crash.rows)

    assert bench.book.all() == []


def test_what_was_written_anew_since_was_not_delivered(crash: Crash, log: Path) -> None:
    note = crash.append(log, b"one\n")
    bench = crash.bench()
    with log.open("r+b") as file:
        file.write(b"new\n")

    bench.collector.recall.settle([note], crash.rows)

    bench.read(log)
    bench.until_lines(b"new")


def test_what_lies_before_something_delivered_and_may_not_have_been_is_read_and_nothing_else(
    crash: Crash, log: Path
) -> None:
    crash.append(log, b"dead\n")
    second = crash.append(log, b"two\n")
    crash.append(log, b"three\n")
    fourth = crash.append(log, b"four\n")
    crash.first.book.save()
    bench = crash.bench()
    record = intent([fourth])
    bench.collector.recall.settle([second], crash.rows)
    bench.collector.recall.hold([record], crash.rows)
    bench.read(log)
    with log.open("ab") as file:
        file.write(b"five\n")

    built = crash.build(record)

    assert values(built.segments) == [b"four"]
    bench.until_lines(b"dead", b"three", b"five")
    deliver(bench, built.segments)
    bench.outlet.acknowledge()
    assert saved(bench, second).offset == log.stat().st_size


def test_the_same_without_an_open_intent(crash: Crash, log: Path) -> None:
    crash.append(log, b"dead\n")
    second = crash.append(log, b"two\n")
    crash.first.book.save()
    bench = crash.bench()
    bench.collector.recall.settle([second], crash.rows)
    bench.read(log)

    bench.until_lines(b"dead")
    with log.open("ab") as file:
        file.write(b"three\n")
    bench.until_lines(b"dead", b"three")
    assert bench.file(log).tails.newest == (15, b"dead\ntwo\nthree\n")
    assert saved(bench, second).offset == 0
    bench.outlet.acknowledge()
    assert saved(bench, second).offset == 15


def test_a_held_file_is_not_read_in_passing_and_a_gap_not_read_over(crash: Crash, log: Path) -> None:
    first = crash.append(log, b"long enough for the quick way\n" * 3)
    crash.acknowledged(1)
    dead, third = crash.append(log, b"dead\n"), crash.append(log, b"three\n")
    bench = crash.bench()
    record = intent([third])
    bench.collector.recall.settle([first], crash.rows)
    bench.collector.recall.hold([record], crash.rows)
    bench.read(log)
    with log.open("ab") as file:
        file.write(b"four\n")
    settle()
    assert bench.outlet.lines() == []

    built = crash.build(record)

    assert bench.file(log).tails.newest[0] == dead.start_offset
    bench.until_lines(b"dead", b"four")
    assert values(built.segments) == [b"three"]


def test_lines_in_a_gap_are_not_taken_back(crash: Crash, log: Path) -> None:
    crash.append(log, b"dead\n")
    second = crash.append(log, b"two\n")
    crash.first.book.save()
    bench = crash.bench()
    bench.collector.recall.settle([second], crash.rows)
    bench.read(log)
    bench.until_lines(b"dead")

    bench.outlet.take_back(1)

    bench.until_lines(b"dead")


def test_what_an_operator_wants_once_more_is_read_once_more(crash: Crash, log: Path) -> None:
    note = crash.append(log, b"one\n")
    crash.first.book.save()
    bench = crash.bench()
    position = bench.book.find(note.service, note.identity)
    assert position is not None
    bench.book.note(replace(position, offset=0, marker_digest=b"", delivered_offset=STARTED_OVER))

    bench.collector.recall.settle([note], crash.rows)

    bench.read(log)
    bench.until_lines(b"one")


def test_without_its_row_nothing_is_known_of_a_file_that_nobody_knows(crash: Crash, log: Path) -> None:
    note = crash.append(log, b"one\n")
    bench = crash.bench()

    bench.collector.recall.settle([note], {})

    assert bench.book.all() == []


def test_of_a_file_that_was_begun_at_its_end_nothing_before_is_read(crash: Crash, log: Path) -> None:
    crash.append(log, b"long before\n")
    second = crash.append(log, b"two\n")
    bench = crash.bench()

    bench.collector.recall.settle([second], crash.rows)

    with log.open("ab") as file:
        file.write(b"three\n")
    bench.read(log)
    bench.until_lines(b"three")


@pytest.mark.parametrize("how", ["settle", "hold"])
def test_a_file_that_nobody_knows_and_that_was_written_anew_is_read_as_a_whole(
    crash: Crash, log: Path, how: str
) -> None:
    crash.append(log, b"one\n")
    second = crash.append(log, b"two\n")
    bench = crash.bench()
    log.write_bytes(b"new\nnew\n")
    recall = bench.collector.recall
    if how == "settle":
        recall.settle([second], crash.rows)
    else:
        recall.hold([intent([second])], crash.rows)
    bench.read(log)
    if how == "hold":
        assert crash.build(intent([second])).vanished == (second,)

    bench.until_lines(b"new", b"new")


def emptied(log: Path, data: bytes) -> None:
    """As copytruncate does it, and the writer writes on."""
    log.with_suffix(".log.1").write_bytes(log.read_bytes())
    log.write_bytes(data)


def test_what_was_delivered_before_and_after_a_file_was_emptied_is_known_of_both(
    crash: Crash, log: Path
) -> None:
    first, second = crash.append(log, b"one\n"), crash.append(log, b"two\n")
    crash.append(log, b"three\n")
    crash.first.book.save()
    anew = replace(first, hashed_bytes=9, end_offset=9, source_crc=crc(b"one more\n"))
    bench = crash.bench()
    emptied(log, b"one more\nlast\n")

    bench.collector.recall.settle([first, second, anew], crash.rows)

    bench.read(log)
    bench.until_lines(b"three", b"last")


def test_lines_after_a_file_was_emptied_are_built_though_its_position_is_behind_them(
    crash: Crash, log: Path
) -> None:
    crash.append(log, b"one two three\n")
    crash.acknowledged(1)
    note = crash.append(log, b"four\n")
    anew = replace(note, start_offset=0, end_offset=4, hashed_bytes=4, source_crc=crc(b"new\n"))
    bench = crash.bench()
    emptied(log, b"new\nlast\n")
    record = intent([anew])
    bench.collector.recall.hold([record], crash.rows)
    bench.read(log)

    built = crash.build(record)

    assert (values(built.segments), built.reached) == ([b"new"], ())
    bench.until_lines(b"four", b"last")


def test_where_nothing_was_hashed_a_file_that_begins_otherwise_is_another_one(
    crash: Crash, log: Path
) -> None:
    crash.append(log, b"one\n")
    crash.acknowledged(1)
    second = replace(crash.append(log, b"two\n"), hashed_bytes=0, source_crc=0)
    bench = crash.bench()
    log.write_bytes(b"new\nnew\n")

    bench.collector.recall.settle([second], crash.rows)

    bench.read(log)
    bench.until_lines(b"new", b"new")


def test_where_nothing_was_hashed_and_the_file_is_the_same_it_was_delivered(crash: Crash, log: Path) -> None:
    crash.append(log, b"one\n")
    crash.acknowledged(1)
    second = replace(crash.append(log, b"two\n"), hashed_bytes=0, source_crc=0)
    crash.append(log, b"three\n")
    bench = crash.bench()

    bench.collector.recall.settle([second], crash.rows)

    bench.read(log)
    bench.until_lines(b"three")


def test_a_position_is_not_moved_over_what_may_not_have_been_delivered(crash: Crash, log: Path) -> None:
    crash.append(log, b"one\n")
    crash.acknowledged(1)
    crash.append(log, b"two\n")
    third = crash.append(log, b"three\n")
    bench = crash.bench()
    log.unlink()

    bench.collector.recall.advance(third)

    assert bench.book.find(third.service, third.identity).delivered_offset == 0  # type: ignore[union-attr]


# -- renders ----------------------------------------------------------------------------------------------------------


def test_rows_of_another_release_are_left_out(crash: Crash, log: Path) -> None:
    crash.append(log, b"one\n")
    (row,) = crash.rows.values()

    assert rows_of({row.id: row.document(), b"x" * 16: b"{}"}, {}) == crash.rows


def test_renders_that_intents_or_files_need_are_kept_and_others_forgotten(crash: Crash, log: Path) -> None:
    record = intent([crash.append(log, b"one\n")])
    bench = crash.bench()
    (row,) = crash.rows.values()
    known, unknown = replace(row, format="json"), replace(row, path=b"/elsewhere")

    bench.collector.recall.hold([record], {one.id: one for one in (row, known, unknown)})

    assert bench.book.renders() == {row.id: row.document()}
    assert bench.book._changes.renders_forgotten == {unknown.id}
