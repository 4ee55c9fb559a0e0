# SPDX-License-Identifier: Apache-2.0
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from logagent.cli.completion import SHELLS
from logagent.cli.main import COMMANDS

ROOT = Path(__file__).parents[3]


def bash(script: str, place: Path) -> str:
    """What a bash prints that finds our command on its path."""
    (place / "bin").mkdir(exist_ok=True)
    program = place / "bin" / "logagent"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m logagent "$@"\n')
    program.chmod(0o755)
    path = f"{place / 'bin'}:{os.environ['PATH']}"
    ended = subprocess.run(
        ["bash", "--norc", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        cwd=place,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
    )
    assert ended.stderr == ""
    return ended.stdout


def asked(words: str, number: int, place: Path) -> list[str]:
    return bash(
        f'COMP_WORDS="{words}" COMP_CWORD={number} _LOGAGENT_COMPLETE=bash_complete logagent', place
    ).split()


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_asks_logagent_itself(logagent: Callable[..., Any], shell: str) -> None:
    ended = logagent("completion", shell)
    assert (ended.code, ended.err) == (0, "")
    assert "logagent" in ended.out
    assert f"_LOGAGENT_COMPLETE={shell}_complete" in ended.out


def test_the_script_needs_no_shell_on_this_machine(
    logagent: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    assert logagent("completion", "bash").err == ""


@pytest.mark.parametrize("shell", [None, "csh"])
def test_another_shell_is_wrong_usage_that_names_the_three(
    logagent: Callable[..., Any], shell: str | None
) -> None:
    ended = logagent("completion", *([shell] if shell else []))
    assert ended.code == 2
    assert all(name in ended.err for name in SHELLS)


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
class TestInBash:
    def test_the_commands_are_completed(self, tmp_path: Path) -> None:
        assert asked("logagent ", 1, tmp_path) == [f"plain,{name}" for name in COMMANDS]

    def test_options_and_shells_are_completed(self, tmp_path: Path) -> None:
        assert {"plain,--kafka", "plain,--output", "plain,--yes"} <= set(
            asked("logagent init --", 2, tmp_path)
        )
        assert "plain,--root" not in asked("logagent init --", 2, tmp_path)
        assert asked("logagent completion ", 2, tmp_path) == [f"plain,{name}" for name in SHELLS]

    def test_the_commands_below_services_are_completed(self, tmp_path: Path) -> None:
        assert asked("logagent services ro", 2, tmp_path) == ["plain,rollback"]
        assert asked("logagent services set --mode s", 4, tmp_path) == ["plain,seed"]
        assert asked("logagent services diff --file lo", 4, tmp_path) == ["file,lo"]

    def test_a_configuration_is_a_file(self, tmp_path: Path) -> None:
        assert asked("logagent check -c lo", 3, tmp_path) == ["file,lo"]

    def test_the_script_works_when_it_is_evaluated(self, tmp_path: Path) -> None:
        script = """
eval "$(logagent completion bash)"
complete -p logagent
COMP_WORDS=(logagent st) COMP_CWORD=1
_logagent_completion logagent
echo "${COMPREPLY[@]}"
"""
        setup, completed = bash(script, tmp_path).splitlines()
        assert setup.endswith("-F _logagent_completion logagent")
        assert completed == "status"
