# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from logagent.cli import run
from logagent.config.settings import Settings


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings that an agent was started with."""
    seen: list[Settings] = []

    def fake(settings: Settings, say: Callable[[str], None]) -> int:
        seen.append(settings)
        say("reads /a")
        return 0

    monkeypatch.setattr(run.agent, "run", fake)
    return seen


def test_the_agent_is_run_and_off_a_terminal_nothing_is_said(
    logagent: Callable[..., Any], ini_path: Path, started: list[Settings]
) -> None:
    ended = logagent("run", "-c", ini_path)
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert [entry.service for entry in started[0].entries] == ["web", "web", "db"]


def test_on_a_terminal_it_says_what_it_does(
    logagent: Callable[..., Any], ini_path: Path, started: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert logagent("run", "-c", ini_path).out == "reads /a\n"


def test_the_exit_code_is_that_of_the_agent(
    logagent: Callable[..., Any], ini_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run.agent, "run", lambda settings, say: 1)
    assert logagent("run", "-c", ini_path).code == 1


def test_without_services_nothing_is_started(
    logagent: Callable[..., Any], tmp_path: Path, started: list[Settings]
) -> None:
    path = tmp_path / "empty.ini"
    path.write_text("kafka_addr = localhost:9092\n[agent]\ndata_dir = state\n")
    ended = logagent("run", "-c", path)
    assert (ended.code, started) == (2, [])
    assert ended.err == (
        f"{path}: [services]: it names no service; expected at least one [[name]] with log_path and topic"
        " (logagent init --output FILE proposes some)\n"
    )


def test_with_etcd_no_service_in_the_file_is_needed(
    logagent: Callable[..., Any], tmp_path: Path, started: list[Settings]
) -> None:
    path = tmp_path / "etcd.ini"
    path.write_text("etcd_addr = localhost:2379\nkafka_addr = localhost:9092\n[agent]\ndata_dir = state\n")
    ended = logagent("run", "-c", path)
    assert (ended.code, len(started), ended.err) == (0, 1, "")


def test_warnings_are_on_standard_error_when_the_log_is_a_file(
    logagent: Callable[..., Any], ini_path: Path, started: list[Settings]
) -> None:
    password = "[etcd]\nuser = a\npassword_file = p\n"
    ini_path.write_text("etcd_addr = etcd1\nlog = agent.log\n" + ini_path.read_text() + password)
    ended = logagent("run", "-c", ini_path)
    assert (ended.code, len(started)) == (0, 1)
    assert ended.err.startswith("warning: [etcd] user is set")
