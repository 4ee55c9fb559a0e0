# SPDX-License-Identifier: Apache-2.0
"""The settings that intents name stand in the journal until the database has them."""

import os

import pytest

from logagent.state import intents
from logagent.state.intents import IntentRefused
from logagent.state.journal import NAMES, Degraded, Journal
from tests.unit.state.test_intents import intent
from tests.unit.state.test_journal import fail, keep_going, opened, put, settle

ID = bytes(range(16))
OTHER_ID = bytes(16)
DOCUMENT = b'{"host":"10.0.0.7"}'


def end(journal: Journal) -> int:
    return journal._files[journal._current].end


def test_a_render_is_found_by_the_next_process(tmp_path):
    journal = opened(tmp_path)
    journal.render(ID, DOCUMENT)
    put(journal, intent(1))
    found = opened(tmp_path).found
    assert (found.renders, found.open, found.refused) == ({ID: DOCUMENT}, (intent(1),), ())


def test_a_render_is_written_once(tmp_path):
    journal = opened(tmp_path)
    journal.render(ID, DOCUMENT)
    before = end(journal)
    journal.render(ID, DOCUMENT)
    assert end(journal) == before
    journal.render(OTHER_ID, DOCUMENT)
    assert end(journal) > before


def test_a_render_stays_until_positions_are_saved_whatever_is_written_after_it(tmp_path):
    journal = opened(tmp_path)
    journal.render(ID, DOCUMENT)
    for number in range(60):
        put(journal, intent(number))
        journal = opened(tmp_path) if number % 20 == 19 else journal
    assert opened(tmp_path).found.renders == {ID: DOCUMENT}


def test_a_render_that_was_saved_goes_when_the_files_are_begun_anew(tmp_path):
    journal = opened(tmp_path)
    journal.render(ID, DOCUMENT)
    keep_going(journal, 200)
    assert opened(tmp_path).found.renders == {}


def test_a_mark_from_before_a_render_does_not_save_it(tmp_path):
    journal = opened(tmp_path)
    put(journal, intent(1))
    settle(journal, intent(1))
    mark = journal.mark()
    journal.render(ID, DOCUMENT)
    for number in range(60):
        put(journal, intent(number))
        journal.saved(mark)
    assert opened(tmp_path).found.renders == {ID: DOCUMENT}


def test_a_saved_render_that_is_in_use_is_not_written_again(tmp_path):
    journal = opened(tmp_path)
    journal.render(ID, DOCUMENT)
    for number in range(200):
        journal.render(ID, DOCUMENT)
        put(journal, intent(number))
        settle(journal, intent(number))
        journal.saved(journal.mark())
    assert opened(tmp_path).found.renders == {}


def test_a_saved_render_that_nobody_used_for_long_is_forgotten_and_written_again(tmp_path):
    journal = opened(tmp_path)
    journal.render(ID, DOCUMENT)
    keep_going(journal, 200)
    assert not journal._renders
    journal.render(ID, DOCUMENT)
    assert opened(tmp_path).found.renders == {ID: DOCUMENT}


def test_what_an_earlier_process_did_not_save_stays_until_this_one_does(tmp_path):
    opened(tmp_path).render(ID, DOCUMENT)
    journal = opened(tmp_path)
    for number in range(60):
        put(journal, intent(number))
    assert opened(tmp_path).found.renders == {ID: DOCUMENT}
    journal = opened(tmp_path)
    keep_going(journal, 200)
    assert opened(tmp_path).found.renders == {}


def test_a_render_that_cannot_be_written_shows_in_the_write_after_it(tmp_path, monkeypatch):
    journal = opened(tmp_path)
    monkeypatch.setattr(os, "pwrite", fail)
    journal.render(ID, DOCUMENT)
    monkeypatch.undo()
    assert isinstance(journal.write(intent(1)), Degraded)
    journal.render(ID, DOCUMENT)
    assert opened(tmp_path).found.renders == {}
    assert journal.repair()
    journal.render(ID, DOCUMENT)
    assert opened(tmp_path).found.renders == {ID: DOCUMENT}


def test_a_repaired_journal_writes_its_renders_again(tmp_path, monkeypatch):
    journal = opened(tmp_path)
    journal.render(ID, DOCUMENT)
    monkeypatch.setattr(os, "pwrite", fail)
    journal.write(intent(1))
    monkeypatch.undo()
    assert journal.repair()
    journal.render(ID, DOCUMENT)
    assert opened(tmp_path).found.renders == {ID: DOCUMENT}


def test_a_damaged_render_is_refused_and_the_rest_is_used(tmp_path):
    journal = opened(tmp_path)
    journal.render(ID, DOCUMENT)
    journal.render(OTHER_ID, DOCUMENT)
    put(journal, intent(1))
    path = tmp_path / NAMES[0]
    path.write_bytes(path.read_bytes().replace(DOCUMENT, DOCUMENT.upper(), 1))
    found = opened(tmp_path).found
    assert (found.renders, found.open) == ({OTHER_ID: DOCUMENT}, (intent(1),))
    assert [one.reason for one in found.refused] == ["the checksum of a record is wrong"]


def test_a_render_without_a_document_makes_no_sense():
    with pytest.raises(IntentRefused):
        intents.decode_render(ID)


def test_a_render_id_has_sixteen_bytes():
    with pytest.raises(ValueError, match="16 bytes"):
        intents.encode_render(b"short", DOCUMENT)


def test_a_render_alone_does_not_wait_for_the_disk(tmp_path, monkeypatch):
    journal = opened(tmp_path, sync="full")
    monkeypatch.setattr(os, "fdatasync", fail)
    journal.render(ID, DOCUMENT)
    assert journal.degraded is None
    assert isinstance(journal.write(intent(1)), Degraded)
