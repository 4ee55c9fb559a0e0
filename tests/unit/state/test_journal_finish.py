# SPDX-License-Identifier: Apache-2.0
"""After a stop at which nothing was on its way any more, the next process has nothing to ask about."""

import pytest

from tests.unit.state.test_intents import intent
from tests.unit.state.test_journal import opened, put, settle


@pytest.mark.parametrize("sync", ["normal", "full"])
def test_what_is_settled_is_not_open_any_more_and_the_rest_is(tmp_path, sync):
    journal = opened(tmp_path, sync=sync)
    for partition in range(4):
        put(journal, intent(1, partition))
        if partition != 2:
            settle(journal, intent(1, partition))
    journal.finish()
    journal.close()
    found = opened(tmp_path).found
    assert (found.open, found.settled, found.refused) == ((intent(1, 2),), (), ())


def test_without_finishing_everything_is_asked_about(tmp_path):
    journal = opened(tmp_path)
    put(journal, intent(1))
    settle(journal, intent(1))
    journal.close()
    assert opened(tmp_path).found.open == (intent(1),)


def test_a_journal_that_cannot_be_written_finishes_quietly(tmp_path, monkeypatch):
    journal = opened(tmp_path)
    for partition in range(3):
        put(journal, intent(1, partition))
        settle(journal, intent(1, partition))
    monkeypatch.setattr("os.pwrite", lambda *_args: 0)
    journal.finish()
    assert journal.degraded is not None
    monkeypatch.undo()
    assert opened(tmp_path).found.open == ()
