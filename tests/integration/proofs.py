# SPDX-License-Identifier: Apache-2.0
"""What the tests of the whole agent share: lines put into a file by the test itself, and the proof that they came."""

import os
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

from tests.support.agent import AgentProcess
from tests.support.checker import Report, check
from tests.support.consumer import consume
from tests.support.kafka import KafkaNode
from tests.support.lines import Written, make_line

Services = dict[str, dict[str, object]]

MIB = 1024 * 1024


def put_lines(
    path: Path | bytes, label: str, lines: int, *, first: int = 0, size_bytes: int = 200
) -> Written:
    """Append lines that prove themselves; what was written."""
    rows = (make_line(label, number, size_bytes) + b"\n" for number in range(first, first + lines))
    with open(path, "ab") as file:
        file.write(b"".join(rows))  # at once, so that nobody reads a part
    return Written(label, first, first + lines - 1)


def report(
    node: KafkaNode, topics: Iterable[str], directory: Path, written: Iterable[Written], *, faults: int = 0
) -> Report:
    """What an independent reader finds in all the topics together, against what was written."""
    ledger = list(written)
    records = []
    for shift, topic in enumerate(topics):
        # Partitions of different topics must not look like one to the checker.
        found = consume(node.address, topic, directory, quiet_s=0.3)
        records += [one._replace(partition=one.partition + 1000 * shift) for one in found]
    return check(ledger, records, faults=faults)


def prove(
    node: KafkaNode,
    topic: str,
    directory: Path,
    written: Iterable[Written],
    *,
    faults: int = 0,
    min_lines: int = 1,
    min_faults: int = 0,
    min_rotations: int = 0,
) -> Report:
    """AssertionError unless the topic holds exactly what was written, in order."""
    ledger = list(written)
    records = consume(node.address, topic, directory, expect=sum(one.count for one in ledger), quiet_s=0.3)
    found = check(ledger, records, faults=faults)
    found.require_exact(min_lines=min_lines, min_faults=min_faults, min_rotations=min_rotations)
    return found


def sentences(agent: AgentProcess, *needles: str) -> list[str]:
    """The lines of the agent's log that contain all the needles."""
    return [line for line in agent.said().splitlines() if all(needle in line for needle in needles)]


def stored_offsets(agent: AgentProcess) -> dict[bytes, int]:
    """The positions on disk: path -> everything before this offset is acknowledged."""
    with closing(sqlite3.connect(agent.data_dir / "state.db")) as database:
        rows = database.execute("SELECT path, offset FROM positions").fetchall()
    return {bytes(path): int(offset) for path, offset in rows}


def file_state(agent: AgentProcess, path: Path | str) -> Mapping[str, object]:
    """The row of one file in /status; empty while there is none."""
    rows = [row for row in agent.fetch_status()["files"] if row["path"] == str(path)]
    return rows[0] if rows else {}


def entry_states(agent: AgentProcess) -> dict[str, Mapping[str, object]]:
    """The entries in /status by log_path."""
    return {
        entry["log_path"]: entry
        for service in agent.fetch_status()["services"]
        for entry in service["entries"]
    }


def descriptor_of(agent: AgentProcess, path: Path) -> tuple[int, int]:
    """(descriptor number, inode) under which the agent has the file open."""
    found = {
        (int(number), os.stat(f"/proc/{agent.pid}/fd/{number}").st_ino)
        for number in os.listdir(f"/proc/{agent.pid}/fd")
        if os.readlink(f"/proc/{agent.pid}/fd/{number}") == str(path)
    }
    assert len(found) == 1, f"{path} is open as {found or 'nothing'}"
    return found.pop()
