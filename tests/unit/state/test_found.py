# SPDX-License-Identifier: Apache-2.0
"""What the journal says was settled counts only as long as the database may not know it."""

from pathlib import Path

import pytest

from logagent.state.changes import Changes
from logagent.state.database import Database
from logagent.state.journal import NAMES
from logagent.state.keeper import Keeper
from tests.unit.state.test_intents import intent, note
from tests.unit.state.test_journal import opened, put, settle
from tests.unit.state.test_positions_journal import HERE, Rig


def test_what_was_saved_before_the_next_intent_is_not_told_by_it(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    put(journal, intent(0))
    settle(journal, intent(0))
    journal.saved(journal.mark())
    put(journal, intent(1))

    found = opened(tmp_path).found

    assert (found.open, found.settled) == ((intent(1),), ())


def test_what_was_told_before_positions_were_saved_the_last_time_is_known(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    sequences = []
    for number in range(3):
        put(journal, intent(number))
        sequences.append(journal.sequence)
        settle(journal, intent(number))
    put(journal, intent(3))

    found = opened(tmp_path).found

    assert found.settled == (note(0), note(1), note(2))
    assert found.settled_after(0) == found.settled
    assert found.settled_after(sequences[1]) == (note(1), note(2))
    assert found.settled_after(journal.sequence) == ()


@pytest.mark.parametrize("lost", [False, True])
def test_sequences_only_grow(tmp_path: Path, lost: bool) -> None:
    journal = opened(tmp_path)
    put(journal, intent(0))
    saved = journal.sequence
    if lost:
        for name in NAMES:
            (tmp_path / name).unlink()
    journal = opened(tmp_path)
    journal.go_on_after(saved)
    put(journal, intent(1))
    settle(journal, intent(1))
    put(journal, intent(2))

    assert opened(tmp_path).found.settled_after(saved) == (note(1),)


def test_the_sequence_is_saved_with_the_positions_that_were_collected_then() -> None:
    rig = Rig()
    rig.marks.sequence = 7

    def more() -> None:
        rig.marks.sequence = 8

    rig.meanwhile = more
    rig.book.note(HERE)
    rig.book.save()

    assert [changes.journal_sequence for changes in rig.written] == [7]


def test_the_sequence_comes_back_with_the_positions(tmp_path: Path) -> None:
    database = Database(tmp_path / "state.db")
    assert database.load_journal_sequence() == 0
    database.save(Changes(journal_sequence=7))
    database.save(Changes({HERE.id: HERE}))
    database.close()
    keeper = Keeper(tmp_path, lambda: 0.0)
    keeper.open()

    assert keeper.journal_sequence == 7
    keeper.close()


def test_changes_that_come_later_know_a_later_sequence() -> None:
    changes = Changes(journal_sequence=3)

    changes.follow(Changes(journal_sequence=5))

    assert (changes.journal_sequence, bool(changes)) == (5, False)
