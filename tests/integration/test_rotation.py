# SPDX-License-Identifier: Apache-2.0
"""Rotation of every kind while lines flow: nothing that is in a file or in a copy is lost, nothing comes twice."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.proofs import prove
from tests.support.agent import AgentProcess
from tests.support.checker import check
from tests.support.consumer import consume
from tests.support.kafka import KafkaNode
from tests.support.lines import Line, parse_line
from tests.support.writer import Habits, Writer

ROTATIONS = 20


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    place = tmp_path / "logs"
    place.mkdir()
    return place


@pytest.mark.parametrize("pattern", ["app.log", "app.log*"])
def test_renamed_twenty_times_under_20_000_lines_per_second(
    kafka_39: KafkaNode,
    agent: Callable[..., AgentProcess],
    writer: Callable[..., Writer],
    topic: str,
    logs: Path,
    pattern: str,
) -> None:
    """Cases 40, 41, 44, 45 and 49."""
    shipper = agent(
        kafka_addr=kafka_39.address, services={"app": {"log_path": logs / pattern, "topic": topic}}
    )
    shipper.wait_ready()
    habits = Habits(
        lines=64_500,
        rate_lines_per_s=20_000,
        burst_lines=100,
        torn=True,
        rotate_every_lines=3_000,
        late_lines=300,
    )
    ledger = writer({"app": logs / "app.log"}, habits).wait()
    shipper.wait_acked()

    prove(kafka_39, topic, logs, ledger, min_lines=64_500, min_rotations=ROTATIONS)


def lines_in(path: Path) -> set[Line]:
    return {line for one in path.read_bytes().splitlines() if (line := parse_line(one)) is not None}


def copytruncate(log: Path, keep: int) -> None:
    """As logrotate does it: rename the copies, copy, empty."""
    for number in range(keep, 0, -1):
        old = log.with_name(f"{log.name}.{number}")
        if old.exists():
            old.rename(log.with_name(f"{log.name}.{number + 1}"))
    shutil.copyfile(log, log.with_name(f"{log.name}.1"))
    os.truncate(log, 0)


@pytest.mark.parametrize("pattern", ["app.log", "app.log*"])
@pytest.mark.parametrize(
    ("send_rate", "rotations", "lines"),
    [("unlimited", ROTATIONS, 400), (1200, 3, 2400)],
    ids=["fast", "behind"],
)
def test_copied_and_emptied_under_2_000_lines_per_second(
    kafka_39: KafkaNode,
    agent: Callable[..., AgentProcess],
    writer: Callable[..., Writer],
    topic: str,
    logs: Path,
    pattern: str,
    send_rate: object,
    rotations: int,
    lines: int,
) -> None:
    """Case 46. What is written between copy and truncation is logrotate's loss: it may come, if it was read in time."""
    service = {"log_path": logs / pattern, "topic": topic, "send_rate": send_rate}
    shipper = agent(kafka_addr=kafka_39.address, services={"app": service}, files={"rotate_wait_s": 1})
    shipper.wait_ready()
    log = logs / "app.log"
    load = writer({"app": log}, Habits(rate_lines_per_s=2_000, burst_lines=2))
    for turn in range(1, rotations + 1):
        wanted = turn * lines
        shipper.wait_for(lambda wanted=wanted: load.lines_so_far() >= wanted, what="more lines are written")
        copytruncate(log, keep=turn)
    ledger = load.stop()
    kept = set().union(*(lines_in(path) for path in logs.iterdir()))
    shipper.wait_for(
        lambda: shipper.metric("logagent_lines_acked_total") >= len(kept), what="all that is kept is sent"
    )
    shipper.wait_acked()

    records = consume(kafka_39.address, topic, logs, expect=len(kept), quiet_s=1.0)
    # A copy that is made in mid-write ends with half a line; the other half was emptied away.
    torn = {path.read_bytes().rpartition(b"\n")[2] for path in logs.iterdir()}
    found = check(ledger, records, faults=rotations, torn=torn)
    assert not [*found.doubled, *found.out_of_order, *found.corrupt, *found.foreign], str(found)
    assert not set(found.lost) & kept, str(found)
    assert len(kept) > rotations * lines * 0.9, "most lines are in a copy"
    # Two of them between two looks at the file are one to the agent.
    assert 0.9 * rotations <= shipper.metric("logagent_truncations_total") <= rotations
