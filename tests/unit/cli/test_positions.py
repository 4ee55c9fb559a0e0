# SPDX-License-Identifier: Apache-2.0
import base64
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest

from logagent.cli import explain as explain_module
from logagent.errors import AgentNotRunning
from logagent.sources.explain import look
from logagent.state.changes import STARTED_OVER, Changes, Mark, Position
from logagent.state.data_dir import DataDir
from logagent.state.intents import EarlierCut, IntentRecord, SegmentNote
from logagent.state.journal import NAMES, Journal
from logagent.state.keeper import Keeper

NOW_S = 1_700_000_000.0


def stored(data_dir: Path) -> dict[str, Position]:
    keeper = Keeper(data_dir, lambda: NOW_S)
    try:
        return {position.identity: position for position in keeper.open()}
    finally:
        keeper.close()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "now.log"
    path.write_text("line\n")
    return path


@pytest.fixture
def data_dir(ini_path: Path, log: Path) -> Path:
    """A state of three files: one of db, two of web, one of which has another name by now."""
    directory = ini_path.parent / "state"
    directory.mkdir()
    here = look(os.fsencode(log), lambda _path: None).identity
    known = [
        Position("web", here, "/l/*.log", b"/l/first.log", 5, 5, b"h", b"m", 6),
        Position("web", "inode:1:2", "/l/*.log", b"/l/\xff\n.log", 7, 0, b"", gone_since_s=int(NOW_S)),
        Position("db", "inode:1:3", "/var/log/db.log", b"/var/log/db.log", 9, 0, b""),
    ]
    keeper = Keeper(directory, lambda: NOW_S)
    keeper.open()
    changes = Changes({position.id: position for position in known})
    changes.mark(Mark("web", here, 5, 1, b"m"))
    keeper.save(changes)
    keeper.close()
    return directory


def test_the_list_shows_every_file_with_its_offset(
    logagent: Callable[..., Any], ini_path: Path, data_dir: Path
) -> None:
    ended = logagent("positions", "list", "-c", ini_path)
    assert ended.code == 0
    rows = [line.split()[:3] for line in ended.out.splitlines()]
    assert ["db", "/var/log/db.log", "9"] in rows
    assert ["web", "/l/\\xff\\n.log", "7"] in rows
    assert "2023-11-14T22:13:20+00:00" in ended.out


def test_one_service_or_one_file_can_be_chosen_also_by_the_name_that_it_has_now(
    logagent: Callable[..., Any], ini_path: Path, data_dir: Path, log: Path
) -> None:
    of_db = logagent("positions", "list", "-c", ini_path, "--service", "db").out
    assert "/var/log/db.log" in of_db
    assert "/l/" not in of_db
    for name in (log, "/l/first.log"):
        chosen = logagent("positions", "list", "-c", ini_path, "--path", name).out
        assert "/l/first.log" in chosen
        assert "db.log" not in chosen
    assert logagent("positions", "list", "-c", ini_path, "--service", "none").out == "no positions\n"


def test_the_export_is_json_with_the_bytes_of_every_path(
    logagent: Callable[..., Any], ini_path: Path, data_dir: Path
) -> None:
    document = json.loads(logagent("positions", "export", "-c", ini_path, "--service", "web").out)
    assert document["schema"] == 1
    paths = {base64.b64decode(one["path_base64"]): one["offset_bytes"] for one in document["positions"]}
    assert paths == {b"/l/first.log": 5, b"/l/\xff\n.log": 7}


def test_before_the_first_start_there_is_nothing(logagent: Callable[..., Any], ini_path: Path) -> None:
    for command in (("list",), ("reset", "--yes")):
        ended = logagent("positions", *command, "-c", ini_path)
        assert (ended.code, ended.out) == (0, "no positions\n")
    assert not (ini_path.parent / "state").exists()


def test_reset_begins_the_chosen_files_anew_and_no_other(
    logagent: Callable[..., Any], ini_path: Path, data_dir: Path, log: Path
) -> None:
    ended = logagent("positions", "reset", "-c", ini_path, "--path", log, "--yes")

    assert (ended.code, ended.out) == (0, "1 files will be read from their beginning\n")
    here = look(os.fsencode(log), lambda _path: None).identity
    now = stored(data_dir)
    begun = Position("web", here, "/l/*.log", b"/l/first.log", 0, 5, b"h", b"", 6)
    assert now[here] == replace(begun, delivered_offset=STARTED_OVER)
    assert (now["inode:1:2"].offset, now["inode:1:3"].offset) == (7, 9)
    keeper = Keeper(data_dir, lambda: NOW_S)
    keeper.open()
    assert keeper.load_marks("web", here) == []
    keeper.close()


def test_batches_on_their_way_of_reset_files_alone_are_forgotten(
    logagent: Callable[..., Any], ini_path: Path, data_dir: Path
) -> None:
    """Asked about, they would be found in Kafka, and their lines would not go again."""

    def batch(
        partition: int, *files: tuple[str, str], earlier: tuple[str, str] | None = None
    ) -> IntentRecord:
        notes = [SegmentNote(*file, 0, 5, 1, bytes(16), 0, 0) for file in files]
        cuts = () if earlier is None else (EarlierCut((SegmentNote(*earlier, 0, 9, 2, bytes(16), 0, 0),)),)
        return IntentRecord("c", "logs", partition, 6, 1, 0, 0, 0, tuple(notes), cuts)

    web, db = ("web", "inode:1:2"), ("db", "inode:1:3")
    batches = [
        batch(0, web),
        batch(1, web, db),
        batch(2, db),
        batch(3, web, earlier=db),
        batch(4, web, earlier=web),
    ]
    journal = Journal(data_dir)
    for one in batches:
        journal.write(one)
    journal.close()

    assert logagent("positions", "reset", "-c", ini_path, "--service", "web", "--yes").code == 0
    assert set(Journal(data_dir).found.open) == {batches[1], batches[2], batches[3]}


def test_reset_makes_no_journal(logagent: Callable[..., Any], ini_path: Path, data_dir: Path) -> None:
    assert logagent("positions", "reset", "-c", ini_path, "--yes").code == 0
    assert not [name for name in NAMES if (data_dir / name).exists()]


def test_what_was_reset_stays_so_when_the_state_is_damaged(
    logagent: Callable[..., Any], ini_path: Path, data_dir: Path
) -> None:
    logagent("positions", "reset", "-c", ini_path, "--yes")
    (data_dir / "state.db").write_bytes(b"garbage" * 1000)

    assert {position.offset for position in stored(data_dir).values()} == {0}


def test_reset_is_refused_while_an_agent_runs(
    logagent: Callable[..., Any], ini_path: Path, data_dir: Path
) -> None:
    agent = DataDir(data_dir)
    ended = logagent("positions", "reset", "-c", ini_path, "--yes")
    agent.release()

    assert ended.code == 4
    assert "in use by another agent" in ended.err
    assert {position.offset for position in stored(data_dir).values()} == {5, 7, 9}


def test_reset_does_nothing_unless_somebody_says_yes(
    logagent: Callable[..., Any], ini_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = logagent("positions", "reset", "-c", ini_path)
    assert nobody.code == 2
    assert "--yes" in nobody.err

    def refuse(_text: str, *, abort: bool) -> None:
        assert abort
        raise click.Abort

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr(click, "confirm", refuse)
    assert logagent("positions", "reset", "-c", ini_path).code == 130
    assert {position.offset for position in stored(data_dir).values()} == {5, 7, 9}


def test_a_damaged_state_is_one_sentence_and_stays_as_it_is(
    logagent: Callable[..., Any], ini_path: Path, data_dir: Path
) -> None:
    (data_dir / "state.db").write_bytes(b"garbage" * 1000)
    ended = logagent("positions", "list", "-c", ini_path)

    assert ended.code == 1
    assert ended.err.count("\n") == 1
    assert "not a database" in ended.err
    assert (data_dir / "state.db").read_bytes() == b"garbage" * 1000


# -- explain -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, bytes]]:
    """What the agent was asked; it does not run."""
    questions: list[tuple[Path, bytes]] = []

    def fetch(data_dir: Path, path: bytes) -> dict[str, Any]:
        questions.append((data_dir, path))
        raise AgentNotRunning("no agent works here")

    monkeypatch.setattr(explain_module, "fetch_explanation", fetch)
    return questions


def test_explain_without_an_agent_answers_from_configuration_and_state(
    logagent: Callable[..., Any], ini_path: Path, data_dir: Path, log: Path, asked: list[tuple[Path, bytes]]
) -> None:
    ini_path.write_text(ini_path.read_text().replace("/var/log/db.log", str(log)))

    ended = logagent("explain", log, "-c", ini_path)

    assert ended.code == 0
    assert asked == [(data_dir, os.fsencode(log))]
    assert f"{log} (configuration and stored positions)" in ended.out
    assert "would be read" in ended.out
    assert "/var/log/web.err" in ended.out
    assert "does not lie below /var/log" in ended.out


def test_explain_of_a_file_that_nobody_reads_ends_with_1(
    logagent: Callable[..., Any], ini_path: Path, asked: list[tuple[Path, bytes]], tmp_path: Path
) -> None:
    ended = logagent("explain", tmp_path / "none.log", "-c", ini_path)
    assert ended.code == 1
    assert "nothing is there" in ended.out
    assert "no entry names it" in ended.out
    document = json.loads(logagent("explain", tmp_path / "none.log", "-c", ini_path, "--json").out)
    assert {entry["verdict"] for entry in document["entries"]} == {"not named"}
