# SPDX-License-Identifier: Apache-2.0
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from logagent.cli import status
from logagent.errors import LogagentError

DOCUMENT: dict[str, Any] = {
    "schema": 1,
    "version": "0.1.0",
    "host_id": "h1",
    "state": "running",
    "reasons": [],
    "uptime_s": 3661.5,
    "pid": 42,
    "services": [
        {
            "service": "web",
            "entries": [
                {
                    "log_path": "/var/log/[red]/*.log",
                    "topic": "web_log",
                    "source": "ini",
                    "files": 1,
                    "state": "reading",
                    "reason": "",
                }
            ],
            "send_rate_lines_per_s": None,
            "lines_read": 10,
            "lines_acked": 9,
        }
    ],
    "files": [
        {
            "service": "web",
            "path": "/var/log/[red]/a\nb.log",
            "size_bytes": 1000,
            "acked_offset_bytes": 900,
            "lag_bytes": 100,
            "state": "throttled",
            "reason": "send_rate",
        }
    ],
    "brokers": [{"id": 1, "address": "k1:9092", "state": "up", "reason": ""}],
}


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The document that the agent answers with; change it at will."""
    document = dict(DOCUMENT)
    monkeypatch.setattr(status, "fetch_status", lambda data_dir: document)
    return document


def test_the_tables_show_services_entries_files_and_brokers(
    logagent: Callable[..., Any], ini_path: Path, answered: dict[str, Any]
) -> None:
    ended = logagent("status", "-c", ini_path)
    assert ended.code == 0
    words = [line.split() for line in ended.out.splitlines()]
    assert words[0] == [
        "logagent",
        "0.1.0",
        "on",
        "host",
        "h1:",
        "running,",
        "up",
        "1:01:01,",
        "process",
        "42",
    ]
    assert ["web", "unlimited", "10", "9"] in words
    assert ["web", "/var/log/[red]/*.log", "web_log", "ini", "1", "reading", "-"] in words
    assert ["web", r"/var/log/[red]/a\nb.log", "1000", "900", "100", "throttled", "send_rate"] in words
    assert ["1", "k1:9092", "up", "-"] in words


def test_json_is_the_document_of_the_agent(
    logagent: Callable[..., Any], ini_path: Path, answered: dict[str, Any]
) -> None:
    ended = logagent("status", "-c", ini_path, "--json")
    assert (ended.code, json.loads(ended.out)) == (0, DOCUMENT)


@pytest.mark.parametrize(
    "change", [{"reasons": ["topic web_log is parked"]}, {"state": "degraded"}], ids=["reasons", "degraded"]
)
@pytest.mark.parametrize("option", [[], ["--json"]])
def test_an_agent_that_is_not_well_is_5(
    logagent: Callable[..., Any],
    ini_path: Path,
    answered: dict[str, Any],
    change: dict[str, Any],
    option: list[str],
) -> None:
    answered.update(change)
    ended = logagent("status", "-c", ini_path, *option)
    assert ended.code == 5
    if not option and "reasons" in change:
        assert "not well: topic web_log is parked\n" in ended.out


def test_a_document_of_another_version_is_shown_as_far_as_it_is_understood(
    logagent: Callable[..., Any], ini_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "fetch_status", lambda data_dir: {"schema": 2, "files": [{"path": "/a"}]})
    ended = logagent("status", "-c", ini_path)
    assert ended.code == 0
    assert "/a" in ended.out


def test_no_agent_is_3_and_names_the_next_step(logagent: Callable[..., Any], ini_path: Path) -> None:
    ended = logagent("status", "-c", ini_path)
    assert (ended.code, ended.out) == (3, "")
    assert ended.err == (
        f"no agent works on {ini_path.parent}/state; start one with: logagent run -c {ini_path}\n"
    )


def test_a_stale_socket_is_no_agent(logagent: Callable[..., Any], ini_path: Path) -> None:
    (ini_path.parent / "state").mkdir()
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(ini_path.parent / "state" / "admin.sock"))
    assert logagent("status", "-c", ini_path).code == 3


def test_an_agent_that_does_not_answer_is_1(
    logagent: Callable[..., Any], ini_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(data_dir: Path) -> None:
        raise LogagentError("the agent did not answer within 10 s")

    monkeypatch.setattr(status, "fetch_status", fail)
    ended = logagent("status", "-c", ini_path)
    assert (ended.code, ended.err) == (1, "the agent did not answer within 10 s\n")
