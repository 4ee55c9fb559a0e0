# SPDX-License-Identifier: Apache-2.0
import errno
import os
import random
import time
from dataclasses import replace
from pathlib import Path

import gevent
import pytest

from logagent.state.intents import EarlierCut, IntentRecord, PartitionKey
from logagent.state.journal import CAPACITY_BYTES, NAMES, Degraded, Journal, Written
from tests.unit.state.test_intents import intent, note

SMALL_BYTES = 2048


def opened(place: Path, **options) -> Journal:
    return Journal(place, **({"capacity_bytes": SMALL_BYTES} | options))


def put(journal: Journal, record: IntentRecord) -> None:
    assert isinstance(journal.write(record), Written)


def settle(journal: Journal, record: IntentRecord) -> None:
    journal.settled(record.key, record.records)


def keep_going(journal: Journal, count: int, partition: int = 0) -> IntentRecord:
    """So many batches, each acknowledged, with positions saved at once."""
    record = intent(0, partition)
    for number in range(count):
        record = intent(number, partition)
        put(journal, record)
        settle(journal, record)
        journal.saved(journal.mark())
    return record


def test_an_open_intent_is_found_by_the_next_process(tmp_path):
    put(opened(tmp_path), intent(3))
    found = opened(tmp_path).found
    assert (found.open, found.settled, found.refused) == ((intent(3),), (), ())


def test_the_next_intent_says_that_the_one_before_it_is_settled(tmp_path):
    journal = opened(tmp_path)
    for number in range(3):
        put(journal, intent(number))
        settle(journal, intent(number))
    put(journal, intent(3))
    found = opened(tmp_path).found
    assert found.open == (intent(3),)
    assert found.settled == (note(0), note(1), note(2))


def test_an_intent_that_takes_the_place_of_another_settles_nothing(tmp_path):
    journal = opened(tmp_path)
    put(journal, intent(0))
    anew = replace(intent(0), segments=(note(0, 2),), earlier_cuts=(EarlierCut((note(0),)),))
    put(journal, anew)
    found = opened(tmp_path).found
    assert (found.open, found.settled) == ((anew,), ())


def test_an_intent_can_be_settled_by_an_earlier_cut(tmp_path):
    journal = opened(tmp_path)
    anew = replace(intent(0), segments=(note(0, 2),), earlier_cuts=(EarlierCut((note(7, 9),)),))
    put(journal, anew)
    journal.settled(anew.key, 9)
    put(journal, intent(1))
    assert opened(tmp_path).found.settled == (note(7, 9),)


def test_a_released_partition_has_no_open_intent(tmp_path):
    journal = opened(tmp_path)
    put(journal, intent(1, partition=0))
    put(journal, intent(2, partition=1))
    assert isinstance(journal.release(intent(1, partition=0).key), Written)
    assert opened(tmp_path).found.open == (intent(2, partition=1),)
    last = keep_going(journal, 60, partition=2)
    found = opened(tmp_path).found
    assert (set(found.open), found.refused) == ({intent(2, partition=1), last}, ())


def test_open_intents_survive_any_number_of_changes_of_files(tmp_path):
    journal = opened(tmp_path)
    quiet = intent(7, partition=5)
    put(journal, quiet)
    last = keep_going(journal, 200)
    found = opened(tmp_path).found
    assert set(found.open) == {quiet, last}
    assert found.refused == ()
    assert all((tmp_path / name).stat().st_size < 3 * SMALL_BYTES for name in NAMES)


def test_an_intent_that_was_written_again_for_a_change_of_files_can_be_settled(tmp_path):
    journal = opened(tmp_path)
    put(journal, intent(7, partition=5))
    keep_going(journal, 60)
    settle(journal, intent(7, partition=5))
    put(journal, intent(8, partition=5))
    assert note(7) in opened(tmp_path).found.settled


def test_open_intents_survive_changes_of_files_over_many_processes(tmp_path):
    put(opened(tmp_path), intent(7, partition=5))
    for _ in range(20):
        journal = opened(tmp_path)
        keep_going(journal, 9)
        journal.close()
    assert intent(7, partition=5) in opened(tmp_path).found.open


def test_a_file_whose_positions_are_not_saved_is_not_begun_anew(tmp_path):
    journal = opened(tmp_path)
    for number in range(40):
        put(journal, intent(number))
        settle(journal, intent(number))
    put(journal, intent(40))
    found = opened(tmp_path).found
    assert found.settled == tuple(note(number) for number in range(40))


def test_what_an_earlier_process_settled_is_kept_until_positions_are_saved(tmp_path):
    journal = opened(tmp_path)
    for number in range(10):
        put(journal, intent(number))
        settle(journal, intent(number))
    journal.close()
    journal = opened(tmp_path)
    for number in range(10, 60):
        put(journal, intent(number))
    assert note(0) in opened(tmp_path).found.settled


def test_a_journal_in_which_nothing_may_be_overwritten_degrades(tmp_path):
    journal = opened(tmp_path)
    outcome: Written | Degraded = Written(0)
    for number in range(1000):
        outcome = journal.write(intent(number))
        settle(journal, intent(number))
        if isinstance(outcome, Degraded):
            break
    assert isinstance(outcome, Degraded)
    assert "positions cannot be saved" in outcome.reason
    assert opened(tmp_path).found.open == ()


def fail(*_args):
    raise OSError(errno.EIO, "Input/output error")


def test_an_unwritable_journal_degrades_and_its_old_records_are_gone(tmp_path, monkeypatch):
    journal = opened(tmp_path)
    put(journal, intent(1))
    monkeypatch.setattr(os, "pwrite", fail)
    outcome = journal.write(intent(2))
    assert isinstance(outcome, Degraded)
    assert outcome.invalidated
    assert "cannot be written: [Errno 5] Input/output error" in outcome.reason
    monkeypatch.undo()
    assert journal.write(intent(3)) is outcome
    assert opened(tmp_path).found.open == ()


def test_a_write_in_part_degrades(tmp_path, monkeypatch):
    journal = opened(tmp_path)
    monkeypatch.setattr(os, "pwrite", lambda _descriptor, data, _at: len(data) - 1)
    assert isinstance(journal.write(intent(1)), Degraded)


def test_old_records_that_cannot_be_invalidated_are_said_to_be_there(tmp_path, monkeypatch):
    journal = opened(tmp_path)
    put(journal, intent(1))
    for place, name in ((os, "pwrite"), (os, "truncate"), (Path, "unlink")):
        monkeypatch.setattr(place, name, fail)
    outcome = journal.write(intent(2))
    assert isinstance(outcome, Degraded)
    assert not outcome.invalidated
    monkeypatch.undo()
    assert opened(tmp_path).found.open == (intent(1),)
    assert journal.repair()
    assert opened(tmp_path).found.open == ()


def test_records_that_cannot_be_emptied_are_removed(tmp_path, monkeypatch):
    journal = opened(tmp_path)
    put(journal, intent(1))
    for name in ("pwrite", "truncate"):
        monkeypatch.setattr(os, name, fail)
    outcome = journal.write(intent(2))
    assert isinstance(outcome, Degraded)
    assert outcome.invalidated
    assert not any((tmp_path / name).exists() for name in NAMES)


def test_a_journal_that_cannot_be_opened_degrades_from_the_start(tmp_path):
    (tmp_path / NAMES[0]).mkdir()
    journal = opened(tmp_path)
    assert journal.degraded is not None
    assert "cannot be opened" in journal.degraded.reason
    assert journal.write(intent(1)) is journal.degraded
    assert not journal.repair()


def test_a_repaired_journal_begins_anew(tmp_path, monkeypatch):
    journal = opened(tmp_path)
    put(journal, intent(1, partition=1))
    monkeypatch.setattr(os, "pwrite", fail)
    journal.write(intent(2))
    assert not journal.repair()
    monkeypatch.undo()
    assert journal.repair()
    assert journal.degraded is None
    put(journal, intent(3))
    assert opened(tmp_path).found.open == (intent(3),)
    keep_going(journal, 50)


def test_files_are_of_their_full_size_from_the_start(tmp_path):
    Journal(tmp_path)
    assert [(tmp_path / name).stat().st_size for name in NAMES] == [CAPACITY_BYTES] * 2
    assert all((tmp_path / name).stat().st_blocks * 512 >= CAPACITY_BYTES for name in NAMES)
    assert (tmp_path / NAMES[0]).stat().st_mode & 0o777 == 0o600


def test_a_damaged_record_is_refused_with_its_place_and_the_others_are_used(tmp_path):
    journal = opened(tmp_path)
    for partition in range(4):
        put(journal, intent(1, partition))
    path = tmp_path / NAMES[0]
    data = bytearray(path.read_bytes())
    at = data.index(b"logs", data.index(b"logs") + 1)
    data[at] ^= 1
    path.write_bytes(data)
    journal = opened(tmp_path)
    assert [record.partition for record in journal.found.open] == [0, 2, 3]
    (refused,) = journal.found.refused
    assert str(refused).startswith(f"{path}: bytes ")
    assert refused.reason == "the checksum of a record is wrong"
    put(journal, intent(2, 1))
    assert len(opened(tmp_path).found.open) == 4


def test_a_record_that_makes_no_sense_is_refused_and_the_others_are_used(tmp_path):
    journal = opened(tmp_path)
    put(journal, intent(1))
    journal._put(77, PartitionKey("", "", 0), b"")
    journal._put(1, PartitionKey("", "", 0), b"\xff")
    put(journal, intent(2, 1))
    found = opened(tmp_path).found
    assert len(found.open) == 2
    assert ["unknown kind 77" in found.refused[0].reason, "ends too early" in found.refused[1].reason] == [
        True,
        True,
    ]


@pytest.mark.parametrize("cut", range(0, 140, 7))
def test_a_torn_last_write_leaves_what_was_there_before(tmp_path, cut):
    journal = opened(tmp_path)
    put(journal, intent(1))
    settle(journal, intent(1))
    end = journal._files[0].end
    put(journal, intent(2))
    path = tmp_path / NAMES[0]
    data = bytearray(path.read_bytes())
    whole = end + cut >= journal._files[0].end
    data[end + cut : journal._files[0].end] = bytes(max(0, journal._files[0].end - end - cut))
    path.write_bytes(data)
    found = opened(tmp_path).found
    assert found.open == ((intent(2),) if whole else (intent(1),))
    assert bool(found.refused) == (not whole and cut > 0)


@pytest.mark.parametrize("seed", range(20))
def test_any_life_leaves_the_newest_intents_open(tmp_path, seed):
    chance = random.Random(seed)
    journal = opened(tmp_path)
    expected: dict[PartitionKey, IntentRecord] = {}
    settled: set[PartitionKey] = set()
    numbers = [0] * 6
    for _ in range(400):
        partition = chance.randrange(6)
        key = intent(0, partition).key
        what = chance.random()
        if what < 0.6 and (key not in expected or key in settled):
            numbers[partition] += 1
            expected[key] = intent(numbers[partition], partition)
            put(journal, expected[key])
            settled.discard(key)
        elif what < 0.9 and key in expected:
            settle(journal, expected[key])
            settled.add(key)
        elif what < 0.93:
            journal.saved(journal.mark())
        elif what < 0.95 and key in expected:
            journal.release(key)
            del expected[key]
        elif what < 0.97:
            journal = opened(tmp_path)
            found = journal.found
            assert {record.key: record for record in found.open if record.key not in settled} == {
                key: record for key, record in expected.items() if key not in settled
            }
            assert found.refused == ()
            for record in found.open:
                if record.key in settled:
                    settle(journal, record)
    assert journal.degraded is None


# -- full: on disk before it counts -----------------------------------------------------------------------------------


class Disk:
    """Counts fdatasync and takes its time."""

    def __init__(self, monkeypatch) -> None:
        self.calls = 0
        self.done = 0
        self.real = os.fdatasync
        monkeypatch.setattr(os, "fdatasync", self.sync)

    def sync(self, descriptor: int) -> None:
        self.calls += 1
        time.sleep(0.02)  # in a thread of the pool
        self.real(descriptor)
        self.done += 1


def test_full_waits_for_the_disk_and_normal_does_not(tmp_path, monkeypatch):
    disk = Disk(monkeypatch)
    (tmp_path / "n").mkdir()
    put(opened(tmp_path / "n"), intent(1))
    assert disk.calls == 0
    put(opened(tmp_path, sync="full"), intent(1))
    assert disk.done == 1


def test_one_sync_serves_all_who_wait(tmp_path, monkeypatch):
    journal = opened(tmp_path, sync="full", capacity_bytes=CAPACITY_BYTES)
    disk = Disk(monkeypatch)
    writers = [gevent.spawn(put, journal, intent(1, partition % 6)) for partition in range(50)]
    gevent.joinall(writers, raise_error=True)
    assert 1 <= disk.calls <= 3
    assert disk.done == disk.calls


def test_nobody_waits_for_what_others_write_meanwhile(tmp_path, monkeypatch):
    journal = opened(tmp_path, sync="full", capacity_bytes=CAPACITY_BYTES)
    disk = Disk(monkeypatch)

    def write_five(partition: int) -> None:
        for number in range(5):
            put(journal, intent(number, partition % 6))

    gevent.joinall([gevent.spawn(write_five, number) for number in range(20)], raise_error=True)
    assert disk.calls <= 12


def test_a_disk_that_fails_degrades_all_who_wait(tmp_path, monkeypatch):
    journal = opened(tmp_path, sync="full")
    monkeypatch.setattr(os, "fdatasync", fail)
    writers = [gevent.spawn(journal.write, intent(1, partition)) for partition in range(5)]
    gevent.joinall(writers, raise_error=True)
    assert all(isinstance(writer.value, Degraded) for writer in writers)


def test_full_has_carried_intents_on_disk_before_the_other_file_is_begun_anew(tmp_path, monkeypatch):
    journal = opened(tmp_path, sync="full")
    put(journal, intent(7, partition=5))
    begun: list[bool] = []
    begin = Journal._begin
    monkeypatch.setattr(
        Journal,
        "_begin",
        lambda self, *rest: (begun.append(self._files[self._current].synced), begin(self, *rest)),
    )
    keep_going(journal, 60)
    assert begun
    assert all(begun)
    assert intent(7, partition=5) in opened(tmp_path).found.open
