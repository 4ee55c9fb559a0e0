# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from logagent.cli import check
from logagent.cli.main import COMMANDS as ALL
from logagent.errors import DataDirLocked, LogagentError

CONFIGURED = ("run", "check", "status")


def test_the_version_is_one_line(logagent: Callable[..., Any]) -> None:
    ended = logagent("--version")
    assert (ended.code, ended.out, ended.err) == (0, "logagent 0.1.0\n", "")


@pytest.mark.parametrize("command", ALL)
def test_every_command_has_help_with_an_example(logagent: Callable[..., Any], command: str) -> None:
    ended = logagent(command, "--help")
    assert ended.code == 0
    assert "Example: " in ended.out
    assert f"logagent {command} " in ended.out.partition("Example: ")[2]
    assert f"  {command} " in logagent("--help").out


def test_the_program_has_help_with_an_example(logagent: Callable[..., Any]) -> None:
    ended = logagent("--help")
    assert "Example: logagent init " in ended.out


@pytest.mark.parametrize("command", CONFIGURED)
def test_commands_on_a_configuration_tell_their_exit_codes(
    logagent: Callable[..., Any], command: str
) -> None:
    assert "Exit codes: 0 " in logagent(command, "--help").out


def test_without_any_configuration_init_is_the_next_step(
    logagent: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOGAGENT_CONFIG", raising=False)
    monkeypatch.setattr("logagent.config.ini.SYSTEM_PATH", tmp_path / "none.ini")
    ended = logagent("check")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "logagent init writes one" in ended.err


@pytest.mark.parametrize(
    "args", [("bogus",), ("--bogus",), ("check", "--bogus"), ("status", "extra"), ("run", "-c")]
)
def test_wrong_usage_is_2(logagent: Callable[..., Any], args: tuple[str, ...]) -> None:
    assert logagent(*args).code == 2


@pytest.mark.parametrize("command", CONFIGURED)
def test_each_fault_of_the_configuration_is_a_line_and_the_code_2(
    logagent: Callable[..., Any], tmp_path: Path, command: str
) -> None:
    path = tmp_path / "bad.ini"
    path.write_text("kafka_addr = localhost:9092\nthread_num = many\nlevle = info\n")
    ended = logagent(command, "-c", path)
    assert ended.code == 2
    assert ended.out == ""
    faults = ended.err.splitlines()
    assert len(faults) == 2
    assert all(fault.startswith(str(path)) for fault in faults)


@pytest.mark.parametrize("command", CONFIGURED)
def test_a_missing_configuration_is_one_line_and_2(
    logagent: Callable[..., Any], tmp_path: Path, command: str
) -> None:
    ended = logagent(command, "-c", tmp_path / "missing.ini")
    assert (ended.code, ended.err.count("\n")) == (2, 1)


def test_the_configuration_may_be_named_by_the_environment(
    logagent: Callable[..., Any], ini_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGAGENT_CONFIG", str(ini_path))
    assert logagent("check").code == 0


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DataDirLocked("another agent works on /d"), 4),
        (LogagentError("it\nfailed"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_are_sentences_with_codes(
    logagent: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    def fail(config: str | None) -> None:
        raise error

    monkeypatch.setattr(check, "load", fail)
    ended = logagent("check")
    assert ended.code == code
    if isinstance(error, LogagentError):
        assert ended.err == str(error).replace("\n", "\\n") + "\n"
    else:
        assert ended.err == "\n"  # behind the ^C that the terminal shows
