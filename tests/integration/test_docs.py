# SPDX-License-Identifier: Apache-2.0
"""What the documents show is what the tests run."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.proofs import put_lines
from tests.support import ROOT
from tests.support.agent import AgentProcess
from tests.support.kafka import KafkaNode
from tests.support.lines import Line, parse_line

CONSUMER = re.compile(r"^```python\n(# sample consumer\n.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^<!-- tested: ([\w-]+) -->\n+```(?:\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _document(name: str) -> str:
    """Its text; a document that is not there yet is a failure under CI=true."""
    path = ROOT / name
    if path.exists():
        return path.read_text()
    if os.environ.get("CI") == "true":
        pytest.fail(f"{name} is missing.")
    return pytest.skip(f"{name} is missing.")


def test_the_sample_consumer_reads_what_the_agent_sent(
    kafka_39: KafkaNode, agent: Callable[..., AgentProcess], topic: str, tmp_path: Path
) -> None:
    found = CONSUMER.findall(_document("docs/messages.md"))
    assert len(found) == 1, "docs/messages.md has one block of python that begins with # sample consumer"
    assert len(found[0].splitlines()) <= 25, "the sample is short"
    path = tmp_path / "a.log"
    put_lines(path, "a", 50)
    shipper = agent(
        kafka_addr=kafka_39.address,
        services={"s": {"log_path": path, "topic": topic, "format": "json", "headers": "origin"}},
    )
    shipper.wait_acked()

    sample = tmp_path / "sample.py"
    sample.write_text(found[0])
    reader = subprocess.Popen(
        [sys.executable, "-u", str(sample), kafka_39.address, topic], stdout=subprocess.PIPE, text=True
    )
    try:
        assert reader.stdout is not None
        rows = [json.loads(reader.stdout.readline()) for _ in range(50)]
    finally:
        reader.kill()
        reader.communicate()
    assert [_line_in(row) for row in rows] == [Line("a", number) for number in range(50)]


def _line_in(row: object) -> Line | None:
    """The line of the test, wherever the sample puts it."""
    for value in row.values() if isinstance(row, dict) else ():
        line = parse_line(value.encode()) if isinstance(value, str) else _line_in(value)
        if line:
            return line
    return None


def _commands() -> list[tuple[str, str]]:
    readme = ROOT / "README.md"
    return COMMAND.findall(readme.read_text()) if readme.exists() else []


def test_the_readme_has_commands_that_are_tested() -> None:
    _document("README.md")
    assert _commands(), "README.md marks blocks with <!-- tested: NAME -->"


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("name", "script"), _commands(), ids=[name for name, _ in _commands()])
def test_a_command_of_the_readme_works(
    kafka_39: KafkaNode, agent: Callable[..., AgentProcess], topic: str, tmp_path: Path, name: str, script: str
) -> None:
    """In an empty directory with the README's own INI, a log file and a broker; `$ ` before a command is dropped."""
    commands = "".join(f"{line.removeprefix('$ ')}\n" for line in script.splitlines())
    (tmp_path / "bin").mkdir()
    tool = tmp_path / "bin" / "logagent"
    tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m logagent "$@"\n')
    tool.chmod(0o755)
    path = tmp_path / "access.log"
    put_lines(path, "a", 50)
    shipper = agent(kafka_addr=kafka_39.address, services={"nginx": {"log_path": path, "topic": topic}})
    shipper.wait_acked()
    env = os.environ | {
        "PATH": f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "LOGAGENT_CONFIG": str(shipper.ini),
        "KAFKA": kafka_39.address,
        "TOPIC": topic,
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        capture_output=True,
        text=True,
        timeout=100,
        cwd=shipper.directory,
        env=env,
        check=False,
    )
    assert done.returncode == 0, f"{name}:\n{commands}\n{done.stdout}{done.stderr}"
