# SPDX-License-Identifier: Apache-2.0

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from logagent.config.services import Entry
from logagent.sources.discovery import Pattern
from logagent.sources.explain import explain, look, why_excluded, why_not_named
from logagent.state.changes import Position
from tests.unit.sources.twins import Bench, until


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.stop()


def told(bench: Bench, path: Path) -> dict[str, Any]:
    running = list(bench.collector.entries.values())
    place = look(os.fsencode(path), bench.collector.settings.refusal)
    return explain(place, [state.entry for state in running], bench.book.all(), running)


def verdicts(document: dict[str, Any]) -> list[tuple[str, str]]:
    return [(entry["verdict"], entry["reason"]) for entry in document["entries"]]


@pytest.mark.parametrize(
    ("log_path", "path", "reason"),
    [
        ("/var/log/*.log", "/var/log/a.log", ""),
        ("/var/log/*.log", "/srv/a.log", "it does not lie below /var/log"),
        ("/var/log/*.log", "/var/logs/a.log", "it does not lie below /var/log"),
        ("/var/log/*.log", "/var/log/a.log.1", "a.log.1 does not match *.log"),
        (
            "/var/log/*",
            "/var/log/.a",
            ".a does not match * (hidden names only match a pattern that begins with a dot)",
        ),
        ("/var/log/*/a.log", "/var/log/a.log", "it lies less deep than /var/log/*/a.log"),
        ("/var/log/*", "/var/log/x/a.log", "it lies deeper than /var/log/*"),
        ("/var/log/a.log", "/var/log/b.log", "b.log does not match a.log"),
        ("/var/log/**/*.log", "/var/log/x/y/a.log", ""),
        ("/var/log/**/*.log", "/var/log/x/.a.log", "its path does not match /var/log/**/*.log"),
        ("/var/log/**/*.log", "/var/log/x/a.txt", "its path does not match /var/log/**/*.log"),
        ("/**/*.log", "/" + "d/" * 30 + "a.log", "** goes 16 directories deep, and it lies deeper"),
        ("/*.log", "/a.log", ""),
    ],
)
def test_why_a_pattern_does_not_name_a_path(log_path: str, path: str, reason: str) -> None:
    assert why_not_named(Pattern(os.fsencode(log_path)), os.fsencode(path)) == reason


@pytest.mark.parametrize(
    ("exclude", "path", "reason"),
    [
        ("*.gz", "/l/a.gz", "*.gz is in exclude"),
        ("*.gz", "/l/a.log", ""),
        ("old", "/l/old/a.log", "old is in exclude"),
        ("/l/old", "/l/old/a.log", "/l/old is in exclude"),
        ("/l/*.1", "/l/a.1", "/l/*.1 is in exclude"),
        ("/l/*.1", "/m/a.1", ""),
    ],
)
def test_why_a_path_is_excluded(exclude: str, path: str, reason: str) -> None:
    assert why_excluded(Entry("web", "/l/*", "logs", exclude=(exclude,)), os.fsencode(path)) == reason


def test_a_file_that_is_read_shows_how_far(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"one\ntwo\npart")
    bench.read("/srv/*.log", service="other")
    bench.read(tmp_path / "*.log")
    bench.until_lines(b"one", b"two")
    bench.until_idle()
    until(lambda: bench.file(os.fsencode(log)).reason)  # what stands behind the lines takes another look

    document = told(bench, log)

    assert document["from"] == "the running agent"
    assert verdicts(document) == [
        ("read", "the last line has no end yet"),
        ("not named", "it does not lie below /srv"),
    ]
    [file] = document["entries"][0]["files"]
    assert (file["size_bytes"], file["read_offset_bytes"], file["acked_offset_bytes"]) == (12, 8, 8)
    assert file["reason"] == "the last line has no end yet"
    [position] = document["positions"]
    assert position["is_file_at_path"]
    assert position["offset_bytes"] == 8


def test_a_rotated_file_is_shown_with_its_successor_and_what_waits_for_it(
    bench: Bench, tmp_path: Path
) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"one\n")
    bench.read(log)
    bench.until_lines(b"one")
    bench.outlet.block("no room")
    with log.open("ab") as file:
        file.write(b"two\n")
    log.rename(tmp_path / "a.log.1")
    log.write_bytes(b"three\n")
    until(lambda: len(bench.collector.files) == 2)

    document = told(bench, log)

    assert [(f["at_its_path"], f["waits_for"]) for f in document["entries"][0]["files"]] == [
        (False, None),
        (True, str(log)),
    ]
    [rotated] = told(bench, tmp_path / "a.log.1")["entries"]
    assert (rotated["verdict"], len(rotated["files"])) == ("rotated", 1)
    bench.outlet.unblock()


def test_a_refused_file_a_missing_one_and_a_directory_tell_why(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "dir.log").mkdir()
    (tmp_path / "link.log").symlink_to("nowhere")
    bench.read(tmp_path / "*.log")

    assert verdicts(told(bench, tmp_path / "dir.log")) == [
        ("refused", "it is a directory; only regular files are read")
    ]
    assert verdicts(told(bench, tmp_path / "none.log")) == [("waits", "nothing is there")]
    assert verdicts(told(bench, tmp_path / "link.log")) == [("refused", "it is a link to nothing")]


def test_a_second_name_of_a_file_says_under_which_it_is_read(bench: Bench, tmp_path: Path) -> None:
    log, other = tmp_path / "a.log", tmp_path / "b.log"
    log.write_bytes(b"one\n")
    bench.read(log)
    bench.read(other)
    bench.until_lines(b"one")
    other.hardlink_to(log)

    entries = {entry["log_path"]: entry for entry in told(bench, other)["entries"]}
    assert entries[str(other)]["verdict"] == "read"
    assert entries[str(other)]["reason"] == f"another entry of the service reads it: {log}"


def test_an_entry_that_only_the_file_of_configuration_has_needs_a_reload(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"one\n")
    entry = Entry("web", str(log), "logs")
    place = look(os.fsencode(log), lambda _path: None)

    assert verdicts(explain(place, [entry], [], [])) == [
        ("not read", "the running agent does not have this entry: it needs SIGHUP")
    ]


def test_without_an_agent_the_stored_position_says_where_reading_would_begin(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"one\n")
    entry = Entry("web", str(log), "logs", exclude=("*.gz",))
    place = look(os.fsencode(log), lambda _path: None)
    position = Position("web", place.identity, str(log), b"/old/name", 4, 0, b"")

    document = explain(place, [entry], [position])

    assert document["from"] == "configuration and stored positions"
    assert verdicts(document) == [("would be read", "from byte 4, up to where it is acknowledged")]
    assert verdicts(explain(place, [entry], [])) == [("would be read", "nothing of it is acknowledged")]
    gz = look(os.fsencode(tmp_path / "a.gz"), lambda _path: None)
    excluding = Entry("web", str(tmp_path / "*"), "logs", exclude=("*.gz",))
    assert verdicts(explain(gz, [excluding], [])) == [("excluded", "*.gz is in exclude")]


def test_a_file_that_is_too_old_says_so(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"one\n")
    os.utime(log, (1_000_000_000, 1_000_000_000))
    bench.read(log, ignore_older_s=60.0)

    assert verdicts(told(bench, log)) == [
        ("ignored", "it was not written to for 60 s when it was found (ignore_older_s)")
    ]
