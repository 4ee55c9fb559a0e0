# SPDX-License-Identifier: Apache-2.0

from hypothesis import given
from hypothesis import strategies as st

from logagent.state.changes import MARKS_PER_FILE, NEWEST_MARKS, Changes, Mark, Position, surplus

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
