# SPDX-License-Identifier: Apache-2.0

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import gevent
import pytest

from logagent.backoff import Backoff
from logagent.errors import StateAnew, StateError
from logagent.state import positions as positions_module
from logagent.state.changes import Changes, Mark, Position
from logagent.state.positions import PositionBook
from tests.unit.sources.twins import Told, until


def position(
    offset: int, identity: str = "inode:1:2", log_path: str = "/l/*.log", service: str = "web"
) -> Position:
    return Position(service, identity, log_path, b"/l/a.log", offset, 4, b"d")


class Disk:
    """Takes what is saved; fails as often as told."""

    def __init__(self) -> None:
        self.saved: list[list[Position]] = []
        self.failures = 0
        self.before: Callable[[], None] = lambda: None
        self.threads: set[int] = set()

    def __call__(self, changes: Changes) -> None:
        self.threads.add(threading.get_ident())
        self.before()
        if self.failures:
            self.failures -= 1
            raise StateError("state.db: cannot be written: disk full")
        self.saved.append(list(changes.positions.values()))


class Rig:
    def __init__(self, *known: Position) -> None:
        self.disk = Disk()
        self.told = Told()
        self.book = PositionBook(list(known), self.disk, self.told)  # type: ignore[arg-type]


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.fixture
def running(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.setattr(positions_module, "SAVE_EVERY_S", 0.005)
    monkeypatch.setattr(positions_module, "AGAIN", Backoff(first_s=0.005, limit_s=0.01))
    greenlet = gevent.spawn(rig.book.run)
    yield rig
    assert not greenlet.dead
    greenlet.kill()


def test_known_positions_are_found_by_service_and_identity() -> None:
    book = Rig(position(7)).book

    assert book.find("web", "inode:1:2") == position(7)
    assert book.find("web", "inode:1:3") is None
    assert book.find("audit", "inode:1:2") is None


def test_an_entry_is_known_once_a_file_was_found_through_it() -> None:
    book = Rig(position(7)).book
    assert book.knows_entry("web", "/l/*.log")
    assert not book.knows_entry("web", "/l/a.log")

    book.note(position(0, "inode:1:9", "/l/a.log"))

    assert book.knows_entry("web", "/l/a.log")
    assert book.of_entry("web", "/l/a.log") == [position(0, "inode:1:9", "/l/a.log")]


def test_only_what_changed_is_written_and_only_its_last_state(rig: Rig) -> None:
    rig.book.note(position(1))
    rig.book.note(position(2))
    assert rig.book.save()
    assert rig.book.save()

    assert rig.disk.saved == [[position(2)]]
    assert [fact["rows"] for fact in rig.told.of("positions_saved")] == [1]


def test_writing_happens_in_another_thread(rig: Rig) -> None:
    rig.book.note(position(1))
    rig.book.save()

    assert rig.disk.threads
    assert threading.get_ident() not in rig.disk.threads


def test_changes_are_kept_when_writing_fails_and_written_later(rig: Rig) -> None:
    rig.disk.failures = 1
    rig.book.note(position(1))
    rig.book.note(position(5, "inode:1:3"))

    assert not rig.book.save()
    assert rig.book.failure == "state.db: cannot be written: disk full"
    rig.book.note(position(2))
    assert rig.book.save()

    assert sorted(rig.disk.saved[0], key=lambda p: p.identity) == [position(2), position(5, "inode:1:3")]
    assert rig.book.failure == ""
    assert [name for name, _ in rig.told.facts] == ["positions_failed", "positions_back", "positions_saved"]


def test_a_failure_is_told_as_an_event_and_leaves_no_traceback_on_the_terminal(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    rig.disk.failures = 1
    rig.book.note(position(1))

    rig.book.save()

    assert rig.told.of("positions_failed") == [{"error": "state.db: cannot be written: disk full"}]
    assert capsys.readouterr().err == ""


def test_a_change_while_writing_fails_is_not_overwritten_by_the_older_one(rig: Rig) -> None:
    rig.disk.failures = 1
    rig.book.note(position(1))
    rig.disk.before = lambda: rig.book._changes.note(position(9))
    rig.book.save()
    rig.disk.before = lambda: None

    rig.book.save()

    assert rig.disk.saved == [[position(9)]]


def test_a_change_while_writing_is_written_next(rig: Rig) -> None:
    rig.book.note(position(1))
    rig.disk.before = lambda: rig.book._changes.note(position(9))
    rig.book.save()
    rig.disk.before = lambda: None
    rig.book.save()

    assert rig.disk.saved == [[position(1)], [position(9)]]


def test_two_saves_never_overlap(rig: Rig) -> None:
    """The last save at stop meets the one of the greenlet: there is one connection to the database."""
    inside, release = threading.Event(), threading.Event()
    overlaps = []

    def slow() -> None:
        overlaps.append(inside.is_set())
        inside.set()
        release.wait(2)
        inside.clear()

    rig.disk.before = slow
    rig.book.note(position(1))
    first = gevent.spawn(rig.book.save)
    until(inside.is_set)
    rig.book.note(position(2))
    second = gevent.spawn(rig.book.save)
    gevent.sleep(0.01)
    release.set()
    gevent.joinall([first, second], timeout=2)

    assert overlaps == [False, False]
    assert rig.disk.saved == [[position(1)], [position(2)]]


def test_changes_reach_the_disk_by_themselves(running: Rig) -> None:
    running.book.note(position(1))
    until(lambda: running.disk.saved == [[position(1)]])
    running.book.note(position(2))

    until(lambda: running.disk.saved == [[position(1)], [position(2)]])


def test_the_greenlet_tries_again_until_it_succeeds(running: Rig) -> None:
    running.disk.failures = 3
    running.book.note(position(1))

    until(lambda: running.told.of("positions_back"))
    assert running.disk.saved == [[position(1)]]
    assert len(running.told.of("positions_failed")) == 3


def test_a_position_is_on_disk_within_a_second() -> None:
    assert positions_module.SAVE_EVERY_S <= 0.5


def test_marks_not_written_yet_are_found_with_those_that_are() -> None:
    written = [Mark("web", "inode:1:2", 1, 1, b"a"), Mark("web", "inode:1:2", 2, 2, b"b")]
    new = Mark("web", "inode:1:2", 9, 9, b"c")
    rig = Rig()
    rig.book = PositionBook([], rig.disk, rig.told, load_marks=lambda *_: written)  # type: ignore[arg-type]
    rig.book.mark(new)

    assert rig.book.marks_of("web", "inode:1:2") == [*written, new]
    rig.book.forget_marks("web", "inode:1:2")
    assert rig.book.marks_of("web", "inode:1:2") == []


def test_a_forgotten_file_is_not_found_and_not_written(rig: Rig) -> None:
    rig.book.note(position(1))

    rig.book.forget("web", "inode:1:2")

    assert rig.book.find("web", "inode:1:2") is None
    assert rig.book.save()
    assert rig.disk.saved == [[]]


def test_a_file_of_another_identity_takes_position_and_marks_along() -> None:
    old, new = ("web", "inode:1:2"), ("web", "handle:a")
    written = {old: [Mark(*old, 1, 1, b"a")]}
    rig = Rig(position(7))
    rig.book = PositionBook(
        [position(7)],
        rig.disk,
        rig.told,  # type: ignore[arg-type]
        load_marks=lambda *file_id: written.get(file_id, []),
    )
    rig.book.mark(Mark(*old, 9, 9, b"c"))

    rig.book.move(old, new)

    assert rig.book.find(*old) is None
    assert rig.book.find(*new) == position(7, "handle:a")
    assert rig.book.marks_of(*new) == [Mark(*new, 1, 1, b"a"), Mark(*new, 9, 9, b"c")]
    rig.book.forget_marks(*new)
    assert rig.book.marks_of(*new) == []


def test_a_database_opened_anew_is_given_everything(rig: Rig) -> None:
    rig = Rig(position(7))
    rig.book.note(position(1, "inode:1:3"))

    def anew() -> None:
        rig.disk.before = lambda: None
        raise StateAnew("state.db: garbage", "state.db.bad", "its copy")

    rig.disk.before = anew
    assert rig.book.save()

    assert sorted(rig.disk.saved[0], key=lambda p: p.identity) == [position(7), position(1, "inode:1:3")]
    assert rig.told.of("state_recovered") == [
        {"error": "state.db: garbage", "kept_as": "state.db.bad", "source": "its copy"}
    ]


def test_a_state_that_cannot_be_written_at_the_start_is_tried_without_any_change() -> None:
    rig = Rig()
    rig.book = PositionBook([], rig.disk, rig.told, failure="read-only")  # type: ignore[arg-type]

    assert rig.book.save()

    assert rig.disk.saved == [[]]
    assert rig.book.failure == ""
    assert rig.told.of("positions_back") == [{}]


def test_where_positions_were_lost_no_entry_is_new() -> None:
    rig = Rig()
    book = PositionBook([], rig.disk, rig.told, incomplete=True)  # type: ignore[arg-type]

    assert book.knows_entry("web", "/l/*.log")


class Moving:
    """A file whose position moves; its marker is known."""

    service, log_path = "web", "/l/*.log"

    def __init__(self, offset: int = 0) -> None:
        self.offset = offset

    def position(self) -> Position:
        return replace(position(self.offset), marker_digest=b"%d" % self.offset if self.offset else b"")


def test_marks_are_kept_a_mebibyte_or_a_minute_apart() -> None:
    """Case 140 stands on them."""
    now_s = 1000.0
    book = PositionBook([position(3_000_000)], Disk(), Told(), wall=lambda: now_s)  # type: ignore[arg-type]
    file = Moving(3_000_000)

    def due(offset: int, passed_s: float) -> list[int]:
        nonlocal now_s
        now_s, file.offset = now_s + passed_s, offset
        book.touch(file)
        book.all()
        return [mark.offset for mark in book.marks_of("web", "inode:1:2")]

    assert due(3_000_000, 100) == []
    assert due(3_000_100, 1) == []
    assert due(4_048_575, 1) == []
    assert due(4_048_576, 1) == [4_048_576]
    assert due(4_048_600, 59) == [4_048_576]
    assert due(4_048_700, 1) == [4_048_576, 4_048_700]
    assert due(4_048_700, 100) == [4_048_576, 4_048_700]
    book.forget_marks("web", "inode:1:2")
    assert due(100, 1) == []
    assert due(200, 60) == [200]
    book.forget_marks("web", "inode:1:2")
    assert due(4_048_700, 1) == [4_048_700]
    book.forget_marks("web", "inode:1:2")
    assert due(100, 1) == []
    assert due(1_048_600, 1) == [1_048_600]


def test_there_is_no_mark_where_nobody_could_look() -> None:
    book = PositionBook([], Disk(), Told(), wall=lambda: 1.0)  # type: ignore[arg-type]

    class Blind(Moving):
        def position(self) -> Position:
            return position(5_000_000)

    book.touch(Blind())
    book.all()

    assert book.marks_of("web", "inode:1:2") == []


@pytest.mark.parametrize("took_s", [0.0, 0.004, 0.01, 0.1, 0.2, 5.0])
def test_saves_that_take_longer_come_less_often_but_within_a_second(took_s: float) -> None:
    pause_s = positions_module.pause_s(took_s)

    assert pause_s >= 0.5
    assert pause_s == 0.5 or pause_s + took_s < 1
    assert (pause_s > 0.6) == (0.005 <= took_s < 0.15)
