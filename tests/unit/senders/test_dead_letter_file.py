# SPDX-License-Identifier: Apache-2.0
"""The dead-letter file has a bound, survives half a line, and shrinks while somebody adds to it."""

import errno
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from logagent.senders.dead_letter import DeadRecord, Letter, append, letters, remove
from tests.unit.senders.test_dead_letter import RECORD

LINE = RECORD.to_json()


def offsets(path: Path) -> list[int | None]:
    return [letter.record and letter.record.offset for letter in letters(path)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "dead-letter.jsonl"


def ids_of(path: Path, *wanted: int) -> set[str]:
    return {letter.id for letter in letters(path) if letter.record and letter.record.offset in wanted}


def test_a_record_that_would_not_fit_is_not_written(path: Path) -> None:
    assert append(path, RECORD, len(LINE) * 2)
    assert append(path, RECORD, len(LINE) * 2)
    assert not append(path, RECORD, len(LINE) * 3 - 1)
    assert path.read_bytes() == LINE * 2
    assert append(path, RECORD, len(LINE) * 3)


@pytest.mark.parametrize(
    "record",
    [
        RECORD,
        replace(RECORD, line_bytes=5000, key=b"", header_block=b"\x02\x02a\x01"),
        replace(RECORD, key=b"\xff", value=b"", offset=0),
    ],
)
def test_what_was_written_is_read_back(path: Path, record: DeadRecord) -> None:
    append(path, record)
    (letter,) = letters(path)
    assert letter.time == "2023-11-14T22:13:20.123+00:00"
    assert letter.record == replace(record, path=rb"/l\xff" + b"\n.log", time_s=1_700_000_000.123)


def test_without_a_file_there_are_no_letters(path: Path) -> None:
    assert list(letters(path)) == []


@pytest.mark.parametrize("torn", [b"", LINE[:40], b"\xff\xfe", b"[]", b'{"time": "now"}', b"1"])
def test_what_nobody_can_read_is_shown_and_the_next_record_stands_alone(path: Path, torn: bytes) -> None:
    path.write_bytes(LINE + torn)
    append(path, replace(RECORD, offset=5))
    assert offsets(path) == [77, *([None] if torn else []), 5]
    remove(path, {letter.id for letter in letters(path) if letter.record is None}.__contains__)
    assert offsets(path) == [77, 5]


def test_a_write_that_fails_half_way_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append(path, RECORD)
    write, sizes = os.write, iter([10, 0])

    def fill(descriptor: int, data: bytes) -> int:
        size = next(sizes)
        if not size:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[:size])

    monkeypatch.setattr(os, "write", fill)
    with pytest.raises(OSError, match="No space left"):
        append(path, RECORD)
    assert path.read_bytes() == LINE


def test_chosen_lines_are_taken_out_and_the_others_stay_as_they_are(path: Path) -> None:
    for offset in range(5):
        append(path, replace(RECORD, offset=offset))
    before = path.read_bytes().splitlines(keepends=True)
    assert remove(path, ids_of(path, 1, 3).__contains__) == 2
    assert path.read_bytes() == b"".join(before[::2])
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_the_owner_of_the_file_stays_who_he_is(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append(path, RECORD)
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    monkeypatch.setattr(os, "fchown", lambda _descriptor, user, group: given.append((user, group)))
    remove(path, lambda _id: True)
    assert given == [(path.stat().st_uid, path.stat().st_gid)]


def test_nothing_is_lost_while_one_adds_and_another_takes_out(path: Path) -> None:
    def add() -> None:
        for offset in range(300):
            assert append(path, replace(RECORD, offset=offset))

    adder = threading.Thread(target=add)
    append(path, replace(RECORD, offset=-1))
    adder.start()
    removed: list[int] = []
    while adder.is_alive():
        chosen = [letter for letter in letters(path) if letter.record and letter.record.offset % 2]
        assert remove(path, {letter.id for letter in chosen}.__contains__) == len(chosen)
        removed += [letter.record.offset for letter in chosen if letter.record]
    adder.join()
    left = [offset for offset in offsets(path) if offset is not None]
    assert sorted(removed + left) == list(range(-1, 300))
    assert len(removed) > 1


def test_ids_stay_when_other_lines_go(path: Path) -> None:
    for offset in range(3):
        append(path, replace(RECORD, offset=offset))
    (wanted,) = ids_of(path, 2)
    remove(path, ids_of(path, 0, 1).__contains__)
    assert [letter.id for letter in letters(path)] == [wanted] == [Letter.parse(path.read_bytes()).id]


def test_a_link_stays_and_its_file_is_used(path: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere" / "letters"
    path.symlink_to(target)
    for offset in (1, 2):
        append(path, replace(RECORD, offset=offset))
    remove(path, ids_of(path, 1).__contains__)
    assert path.is_symlink()
    assert offsets(path) == offsets(target) == [2]
