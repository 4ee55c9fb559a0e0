# SPDX-License-Identifier: Apache-2.0
import base64
import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest

from logagent.cli import dead_letter as command
from logagent.errors import BrokerUnavailable
from logagent.senders.dead_letter import DeadRecord, append, letters
from logagent.senders.redelivery import Posted
from tests.unit.senders.test_dead_letter import RECORD


@pytest.fixture
def path(ini_path: Path) -> Path:
    """Three records: one of db, two of web, one of which is only a beginning; and a line nobody can read."""
    path = ini_path.parent / "state" / "dead-letter.jsonl"
    path.parent.mkdir()
    append(path, replace(RECORD, service="db", topic="db_log", offset=1))
    append(path, replace(RECORD, service="web", topic="web_log", offset=2))
    append(path, replace(RECORD, service="web", topic="web_log", offset=3, line_bytes=5_000_000))
    with path.open("ab") as file:
        file.write(b"nonsense\n")
    return path


def ids(path: Path) -> list[str]:
    return [letter.id for letter in letters(path)]


class FakePost:
    """Stands for `Redelivery`."""

    refusals: dict[int, str]
    breaks_after: int | None
    asked: list[int]

    def __init__(self, _cluster: object, **_options: object) -> None:
        pass

    def send(self, records: Iterable[tuple[str, DeadRecord]]) -> Iterator[Posted]:
        for number, (name, record) in enumerate(records):
            if self.breaks_after == number:
                raise BrokerUnavailable("k:9092", "timed out")
            self.asked.append(record.offset)
            yield Posted(name, self.refusals.get(record.offset, ""))

    def close(self) -> None:
        pass


@pytest.fixture
def post(monkeypatch: pytest.MonkeyPatch) -> type[FakePost]:
    FakePost.refusals, FakePost.breaks_after, FakePost.asked = {}, None, []
    monkeypatch.setattr(command, "Redelivery", FakePost)
    return FakePost


def test_the_list_shows_what_was_refused_where_and_why(
    logagent: Callable[..., Any], ini_path: Path, path: Path
) -> None:
    ended = logagent("dead-letter", "list", "-c", ini_path)
    assert (ended.code, ended.err) == (0, "")
    for piece in (*ids(path), "db_log", "/l\\xff\\n.log", "2023-11-14T22:13:20.123+00:00", "7 of 5000000"):
        assert piece in ended.out
    assert "nobody can read this line" in ended.out
    assert ended.out.endswith(f"4 records; the file has {path.stat().st_size} of 268435456 bytes\n")


@pytest.mark.parametrize(
    ("options", "offsets"),
    [
        ((), [1, 2, 3, None]),
        (("--service", "web"), [2, 3]),
        (("--topic", "db_log"), [1]),
        (("--topic", "db_log", "--service", "web"), []),
    ],
)
def test_records_are_chosen_by_service_and_topic(
    logagent: Callable[..., Any],
    ini_path: Path,
    path: Path,
    options: tuple[str, ...],
    offsets: list[int | None],
) -> None:
    ended = logagent("dead-letter", "list", "-c", ini_path, "--json", *options)
    document = json.loads(ended.out)
    assert [one.get("offset") for one in document["letters"]] == offsets
    assert (document["schema"], document["size_bytes"]) == (1, path.stat().st_size)
    assert [one["readable"] for one in document["letters"]] == [offset is not None for offset in offsets]
    if offsets[:1] == [1]:
        assert base64.b64decode(document["letters"][0]["bytes_b64"]) == RECORD.value


def test_records_are_chosen_by_the_beginning_of_their_id(
    logagent: Callable[..., Any], ini_path: Path, path: Path
) -> None:
    for length in (16, 8):
        ended = logagent("dead-letter", "list", "-c", ini_path, "--json", ids(path)[1][:length])
        assert [one["offset"] for one in json.loads(ended.out)["letters"]] == [2]


@pytest.mark.parametrize(("wanted", "said"), [("zz", "no record has an id"), ("", "4 records have an id")])
def test_an_id_that_fits_none_or_several_is_a_wrong_usage(
    logagent: Callable[..., Any], ini_path: Path, path: Path, wanted: str, said: str
) -> None:
    for verb in (["list"], ["resend"], ["drop", "--yes"]):
        ended = logagent("dead-letter", *verb, "-c", ini_path, wanted)
        assert ended.code == 2
        assert said in ended.err
    assert len(ids(path)) == 4


@pytest.mark.parametrize("verb", [["list"], ["resend"], ["drop"]])
def test_without_a_file_there_is_nothing_to_do(
    logagent: Callable[..., Any], ini_path: Path, verb: list[str]
) -> None:
    ended = logagent("dead-letter", *verb, "-c", ini_path)
    assert (ended.code, ended.out, ended.err) == (0, "no dead letters\n", "")
    assert not (ini_path.parent / "state").exists(), "asking makes no directory"


def test_what_arrived_is_out_of_the_file_and_the_rest_stays(
    logagent: Callable[..., Any], ini_path: Path, path: Path, post: type[FakePost]
) -> None:
    before = ids(path)
    ended = logagent("dead-letter", "resend", "-c", ini_path)
    assert (ended.code, ended.out) == (1, "2 records arrived\n")
    assert post.asked == [1, 2]
    assert ids(path) == before[2:]
    assert f"{before[2]}: only 7 of 5000000 bytes are here; the line begins at byte 3" in ended.err
    assert f"{before[3]}: nobody can read this line" in ended.err
    assert "2 records could not be sent and stay in the file" in ended.err


def test_all_chosen_that_arrive_are_a_success(
    logagent: Callable[..., Any], ini_path: Path, path: Path, post: type[FakePost]
) -> None:
    ended = logagent("dead-letter", "resend", "-c", ini_path, "--service", "db")
    assert (ended.code, ended.out, ended.err) == (0, "1 record arrived\n", "")
    assert len(ids(path)) == 3


def test_what_is_refused_again_stays_with_the_reason_told(
    logagent: Callable[..., Any], ini_path: Path, path: Path, post: type[FakePost]
) -> None:
    post.refusals = {1: "the batch is larger"}
    before = ids(path)
    ended = logagent("dead-letter", "resend", "-c", ini_path, *before[:2])
    assert (ended.code, ended.out) == (1, "1 record arrived\n")
    assert f"warning: {before[0]}: the batch is larger\n" in ended.err
    assert ids(path) == [before[0], *before[2:]]


def test_what_arrived_before_kafka_went_away_is_out_of_the_file(
    logagent: Callable[..., Any], ini_path: Path, path: Path, post: type[FakePost]
) -> None:
    post.breaks_after = 1
    before = ids(path)
    ended = logagent("dead-letter", "resend", "-c", ini_path)
    assert (ended.code, ended.out) == (1, "")
    assert "timed out" in ended.err
    assert ids(path) == before[1:]


def test_equal_lines_are_one_record(
    logagent: Callable[..., Any], ini_path: Path, path: Path, post: type[FakePost]
) -> None:
    path.write_bytes(RECORD.to_json() * 3)
    assert logagent("dead-letter", "resend", "-c", ini_path).code == 0
    assert post.asked == [RECORD.offset]
    assert ids(path) == []


def test_chosen_records_are_dropped(logagent: Callable[..., Any], ini_path: Path, path: Path) -> None:
    before = ids(path)
    ended = logagent("dead-letter", "drop", "-c", ini_path, "--yes", before[3], before[0])
    assert (ended.code, ended.out) == (0, "2 records dropped\n")
    assert ids(path) == before[1:3]


def test_nothing_is_dropped_unless_somebody_means_it(
    logagent: Callable[..., Any], ini_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = logagent("dead-letter", "drop", "-c", ini_path)
    assert (ended.code, len(ids(path))) == (2, 4)
    assert "say --yes if you mean it" in ended.err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr(click, "confirm", lambda *_args, **_options: (_ for _ in ()).throw(click.Abort))
    ended = logagent("dead-letter", "drop", "-c", ini_path)
    assert (ended.code, len(ids(path))) == (130, 4)
    assert "db_log" in ended.out


@pytest.mark.parametrize("verb", [["resend"], ["drop", "--yes"]])
def test_two_at_once_do_not_get_in_each_others_way(
    logagent: Callable[..., Any], ini_path: Path, path: Path, post: type[FakePost], verb: list[str]
) -> None:
    other = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    ended = logagent("dead-letter", *verb, "-c", ini_path)
    os.close(other)
    assert ended.code == 1
    assert "another dead-letter command is at work" in ended.err
    assert (post.asked, len(ids(path))) == ([], 4)


def test_a_file_that_cannot_be_read_is_one_sentence(
    logagent: Callable[..., Any], ini_path: Path, path: Path
) -> None:
    path.unlink()
    path.mkdir()
    for verb in ("list", "resend", "drop"):
        ended = logagent("dead-letter", verb, "-c", ini_path)
        assert (ended.code, ended.err) == (1, f"{path} cannot be read: Is a directory\n")
