# SPDX-License-Identifier: Apache-2.0
"""What the book of positions does for the journal of intents: it tells what is on disk, and keeps renders."""

from collections.abc import Callable

import pytest

from logagent.errors import StateAnew, StateError
from logagent.state.changes import Changes, Position
from logagent.state.positions import PositionBook
from tests.unit.sources.twins import Told

HERE = Position("web", "inode:1:2", "/l/*.log", b"/l/a.log", 7, 4, b"d")


class Marks:
    """`SaveMarks`: counts how often it was asked, and remembers what is on disk."""

    def __init__(self) -> None:
        self.settled = 0
        self.sequence = 0
        self.on_disk: list[int] = []

    def mark(self) -> int:
        return self.settled

    def saved(self, mark: int) -> None:
        self.on_disk.append(mark)


class Moving:
    """`Positioned`: looking at it moves the journal on."""

    service, log_path = "web", "/l/*.log"

    def __init__(self, marks: Marks) -> None:
        self._marks = marks

    def position(self) -> Position:
        self._marks.settled += 1
        return HERE


class Rig:
    def __init__(self) -> None:
        self.written: list[Changes] = []
        self.error: Exception | None = None
        self.meanwhile: Callable[[], None] = lambda: None
        self.marks = Marks()
        self.stored: dict[bytes, bytes] = {}
        self.book = PositionBook(
            [],
            self._write,
            Told(),  # type: ignore[arg-type]
            load_renders=lambda: self.stored,
            journal=self.marks,
        )

    def _write(self, changes: Changes) -> None:
        error, self.error = self.error, None
        if error is not None:
            raise error
        self.meanwhile()
        self.written.append(changes)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_the_journal_hears_what_is_on_disk_once_it_is(rig: Rig) -> None:
    rig.marks.settled = 3
    rig.meanwhile = lambda: pytest.fail("told too early") if rig.marks.on_disk else None
    rig.book.note(HERE)

    assert rig.book.save()

    assert rig.marks.on_disk == [3]


def test_what_moves_while_positions_are_collected_or_written_is_not_said_to_be_on_disk(rig: Rig) -> None:
    rig.book.touch(Moving(rig.marks))

    def more() -> None:
        rig.marks.settled += 10

    rig.meanwhile = more
    assert rig.book.save()

    assert rig.marks.on_disk == [0]


def test_nothing_is_on_disk_when_it_could_not_be_written(rig: Rig) -> None:
    rig.error = StateError("disk full")
    rig.book.note(HERE)

    assert not rig.book.save()

    assert rig.marks.on_disk == []


def test_where_nothing_changed_all_is_on_disk(rig: Rig) -> None:
    rig.marks.settled = 2

    assert rig.book.save()

    assert (rig.marks.on_disk, rig.written) == ([2], [])


def test_a_render_is_written_once_with_the_next_positions(rig: Rig) -> None:
    rig.book.render(b"a", b"{}")
    rig.book.render(b"a", b"{}")
    rig.book.save()
    rig.book.render(b"a", b"{}")
    rig.book.save()

    assert [changes.renders for changes in rig.written] == [{b"a": b"{}"}]


def test_renders_are_those_of_the_database_and_those_not_written_yet(rig: Rig) -> None:
    rig.stored = {b"a": b"{}"}
    rig.book.render(b"b", b"[]")

    assert rig.book.renders() == {b"a": b"{}", b"b": b"[]"}
    rig.book.render(b"a", b"{}")
    rig.book.save()

    assert rig.written[0].renders == {b"b": b"[]"}


def test_a_render_that_nobody_needs_goes(rig: Rig) -> None:
    rig.stored = {b"a": b"{}", b"b": b"[]"}
    rig.book.renders()
    rig.book.render(b"c", b"1")

    rig.book.forget_renders([b"a", b"c"])
    rig.book.save()

    assert (rig.written[0].renders, rig.written[0].renders_forgotten) == ({}, {b"a", b"c"})
    assert b"c" not in rig.book.renders()


def test_a_state_that_was_made_anew_gets_all_renders(rig: Rig) -> None:
    rig.book.render(b"a", b"{}")
    rig.book.save()
    rig.error = StateAnew()
    rig.book.note(HERE)

    assert rig.book.save()

    assert rig.written[-1].renders == {b"a": b"{}"}
