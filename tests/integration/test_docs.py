# SPDX-License-Identifier: Apache-2.0
"""What the documents show is what the tests run."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.integration.proofs import prove, put_lines
from tests.support import ROOT
from tests.support.agent import AgentProcess
from tests.support.kafka import KafkaNode
from tests.support.lines import Line, parse_line
from tests.support.missing import skip_or_fail

CONSUMER = re.compile(r"^```python\n(# sample consumer.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^<!-- tested: ([\w-]+) -->\n+```(?:\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _document(name: str) -> str:
    """Its text; a document that is not there yet is a failure under CI=true."""
    path = ROOT / name
    if not path.exists():
        skip_or_fail(f"{name} is missing.")
    return path.read_text()


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


def _block(name: str) -> str:
    """The block of README.md below `<!-- tested: NAME -->`."""
    blocks = dict(COMMAND.findall(_document("README.md")))
    assert name in blocks, f"README.md has no block below <!-- tested: {name} -->, only {sorted(blocks)}"
    return blocks[name]


def test_no_marked_block_of_the_readme_is_left_untested() -> None:
    assert {name for name, _ in COMMAND.findall(_document("README.md"))} == {"ini", "commands", "make"}


def test_the_commands_of_the_readme_ship_with_the_ini_of_the_readme(
    kafka_39: KafkaNode, agent: Callable[..., AgentProcess], topic: str, tmp_path: Path
) -> None:
    text = _block("ini")
    for shown, here in (
        ("localhost:9092", kafka_39.address),
        ("/var/log/nginx", str(tmp_path)),
        ("nginx_log", topic),
    ):
        assert shown in text
        text = text.replace(shown, here)
    written = put_lines(tmp_path / "access.log", "a", 300)
    shipper = agent(kafka_addr="unused:1", services={}, start=False)
    shipper.ini.write_text(text)

    commands = [shlex.split(line) for line in _block("commands").splitlines()]
    assert all(command[0] == "logagent" for command in commands)
    assert ["logagent", "run", "-c", shipper.ini.name] in commands, (
        "that is how `agent` starts it, in its directory"
    )
    for command in commands:
        if command[1] == "run":
            shipper.start()
            shipper.wait_acked()
            continue
        done = shipper.run_cli(*command[1:])
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        assert str(tmp_path) in done.stdout
    shipper.stop()
    prove(kafka_39, topic, tmp_path, [written], min_lines=300)


def test_the_make_targets_of_the_readme_exist() -> None:
    for line in _block("make").splitlines():
        command = shlex.split(line)
        assert command[0] == "make"
        done = subprocess.run(
            ["make", "--dry-run", *command[1:]], capture_output=True, text=True, cwd=ROOT, check=False
        )
        assert done.returncode == 0, done.stderr
