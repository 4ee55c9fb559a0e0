# SPDX-License-Identifier: Apache-2.0

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logagent.state.changes import (
    MARKS_PER_FILE,
    NEWEST_MARKS,
    STARTED_OVER,
    Changes,
    Mark,
    Position,
    surplus,
)

ONE = Position("web", "inode:1:2", "/l/*.log", b"/l/a.log", 10, 4, b"d")


def mark(offset: int, identity: str = "inode:1:2") -> Mark:
    return Mark("web", identity, offset, offset, b"m")


def test_few_marks_all_stay() -> None:
    assert surplus([mark(n) for n in range(MARKS_PER_FILE)]) == []


@given(st.integers(MARKS_PER_FILE + 1, 2000))
def test_of_many_marks_the_first_and_the_newest_stay_and_the_older_are_sparser(count: int) -> None:
    marks = [mark(n) for n in range(count)]

    kept = sorted(set(marks) - set(surplus(marks)), key=lambda m: m.offset)

    assert MARKS_PER_FILE // 2 <= len(kept) <= MARKS_PER_FILE
    assert kept[0] == marks[0]
    assert kept[-NEWEST_MARKS:] == marks[-NEWEST_MARKS:]


def test_marks_that_cannot_be_written_do_not_pile_up() -> None:
    changes = Changes()
    for offset in range(10_000):
        changes.mark(mark(offset))

    assert len(changes.marks[ONE.id]) <= MARKS_PER_FILE
    assert changes.marks[ONE.id][-1] == mark(9_999)


def test_what_is_forgotten_is_not_written() -> None:
    changes = Changes()
    changes.note(ONE)
    changes.mark(mark(1))

    changes.forget(ONE.id)

    assert changes == Changes(forgotten={ONE.id})
    assert changes
    assert not Changes()


def test_later_changes_win_over_earlier_ones_that_could_not_be_written() -> None:
    earlier, later = Changes(), Changes()
    other = ("web", "inode:9:9")
    earlier.note(ONE)
    earlier.mark(mark(1))
    earlier.mark(mark(1, "inode:9:9"))
    later.forget(ONE.id)
    later.unmark(other)
    later.mark(mark(2, "inode:9:9"))

    earlier.follow(later)

    assert earlier == Changes(marks={other: [mark(2, "inode:9:9")]}, forgotten={ONE.id}, unmarked={other})


def test_a_move_follows_a_move_and_what_is_void_stays_void() -> None:
    changes = Changes()
    a, b, c = ("web", "a"), ("web", "b"), ("web", "c")
    changes.move(a, b)
    changes.move(b, c)
    changes.unmark(c)

    assert changes.moved == {a: c, b: c}
    assert changes.unmarked == {a, b, c}


@pytest.mark.parametrize(
    ("offset", "delivered_offset", "size_bytes", "begins"),
    [(10, 0, 99, 10), (10, 50, 50, 50), (10, 50, 49, 10), (60, 50, 99, 60), (0, STARTED_OVER, 99, 0)],
)
def test_a_file_that_reaches_so_far_is_read_from_where_it_was_delivered(
    offset: int, delivered_offset: int, size_bytes: int, begins: int
) -> None:
    position = Position("web", "i", "/l", b"/l", offset, 0, b"", delivered_offset=delivered_offset)

    assert position.offset_in(size_bytes) == begins


def test_a_render_that_was_forgotten_later_is_not_written() -> None:
    changes = Changes(renders={b"a": b"1", b"b": b"2"})

    changes.follow(Changes(renders={b"c": b"3"}, renders_forgotten={b"a"}))

    assert changes.renders == {b"b": b"2", b"c": b"3"}
    assert changes.renders_forgotten == {b"a"}
