# SPDX-License-Identifier: Apache-2.0

import base64
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from logagent.senders.dead_letter import DeadRecord, append

RECORD = DeadRecord(
    time_s=1_700_000_000.1234,
    service="web",
    topic="logs",
    path=b"/l\xff\n.log",
    offset=77,
    value=b"\x00\xff line",
    reason="the broker refuses it",
    code=87,
)


def test_a_record_is_one_line_of_json_that_holds_its_exact_bytes() -> None:
    line = RECORD.to_json()

    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    document = json.loads(line)
    assert base64.b64decode(document.pop("bytes_b64")) == RECORD.value
    assert document == {
        "time": "2023-11-14T22:13:20.123+00:00",
        "service": "web",
        "topic": "logs",
        "path": "/l\\xff\n.log",
        "offset": 77,
        "reason": "the broker refuses it",
        "code": 87,
    }


def test_records_are_added_to_a_file_that_only_the_owner_may_read(tmp_path: Path) -> None:
    path = tmp_path / "dead-letter.jsonl"

    append(path, RECORD)
    append(path, RECORD)

    assert path.read_bytes() == RECORD.to_json() * 2
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_record_is_on_disk_before_anybody_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "dead-letter.jsonl"
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))

    append(path, RECORD)

    assert synced == [len(RECORD.to_json())]


def test_what_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        append(tmp_path / "missing" / "dead-letter.jsonl", RECORD)


def test_a_full_disk_is_an_error() -> None:
    with pytest.raises(OSError, match="No space left"):
        append(Path("/dev/full"), RECORD)


def test_the_beginning_of_a_line_tells_how_long_the_line_is() -> None:
    record = replace(RECORD, line_bytes=5_000_000)

    assert json.loads(record.to_json())["line_bytes"] == 5_000_000
    assert "line_bytes" not in json.loads(RECORD.to_json())
