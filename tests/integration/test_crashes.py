# SPDX-License-Identifier: Apache-2.0
"""SIGKILL: nothing is lost; with at_least_once only the last moments are sent twice, else nothing is."""

import random
import re
import time
from collections.abc import Callable
from pathlib import Path

from tests.integration.proofs import put_lines, stored_offsets
from tests.support.agent import AgentProcess
from tests.support.checker import check
from tests.support.consumer import consume
from tests.support.kafka import KafkaNode
from tests.support.waiting import wait_until
from tests.support.writer import Habits, Writer

KILLS = 5
LINES_PER_S = 2000
LINE_BYTES = 200
BATCH_BYTES = 20_000
LABELS = ("a", "b")
SEED = 3


def test_after_kills_at_any_moment_no_line_is_lost_and_few_are_doubled(
    kafka_39: KafkaNode,
    agent: Callable[..., AgentProcess],
    writer: Callable[..., Writer],
    topic: str,
    tmp_path: Path,
) -> None:
    """Case 74, at least once."""
    moments = random.Random(SEED)
    shipper = agent(
        kafka_addr=kafka_39.address,
        services={"s": {"log_path": tmp_path / "*.log", "topic": topic}},
        kafka={"batch_bytes": BATCH_BYTES, "delivery": "at_least_once"},
    )
    habits = Habits(
        rate_lines_per_s=LINES_PER_S, size_bytes=LINE_BYTES, burst_lines=5, torn=True, rotate_every_lines=4000
    )
    load = writer({label: tmp_path / f"{label}.log" for label in LABELS}, habits)
    backlog_lines, killed_at_lines = 0, 0
    for _ in range(KILLS):
        shipper.wait_for(lambda: shipper.metric("logagent_lines_acked_total") > 0, what="lines flow again")
        backlog_lines += load.lines_so_far() - killed_at_lines
        time.sleep(moments.uniform(0, 1.2))  # the random moment, not a wait for anything
        shipper.kill9()
        killed_at_lines = load.lines_so_far()
        shipper.start()
    ledger = load.stop()
    shipper.wait_acked()
    shipper.stop()

    lines = sum(one.count for one in ledger)
    records = consume(kafka_39.address, topic, tmp_path, expect=lines)
    found = check(ledger, records, faults=KILLS)
    print(f"seed {SEED}: {found}")
    assert not [*found.lost, *found.corrupt, *found.foreign], str(found)
    assert lines > KILLS * LINES_PER_S // 2
    # Doubled can be what was on its way, what was acknowledged in the second before the kill, and what had piled up
    # before the start and was sent within that second.
    in_flight = KILLS * len(LABELS) * BATCH_BYTES // LINE_BYTES
    assert len(found.doubled) <= in_flight + KILLS * LINES_PER_S + backlog_lines, str(found)


def test_after_a_kill_reading_goes_on_where_it_was_acknowledged_a_second_before(
    kafka_39: KafkaNode,
    agent: Callable[..., AgentProcess],
    writer: Callable[..., Writer],
    topic: str,
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.log"
    put_lines(path, "old", 20_000)
    shipper = agent(kafka_addr=kafka_39.address, services={"s": {"log_path": path, "topic": topic}})
    shipper.wait_acked()
    load = writer({"a": path}, Habits(rate_lines_per_s=LINES_PER_S))
    seen: list[tuple[float, int]] = []

    def watched() -> bool:
        acked = shipper.fetch_status()["files"][0]["acked_offset_bytes"]
        seen.append((time.monotonic(), acked))
        return seen[-1][0] - seen[0][0] > 2.5

    wait_until(watched, 10, "positions were watched for a while")
    killed_s = time.monotonic()
    shipper.kill9()
    stored = stored_offsets(shipper)[bytes(path)]
    second_before = max(acked for moment_s, acked in seen if moment_s < killed_s - 1)
    assert second_before <= stored <= path.stat().st_size
    assert stored > seen[0][1], "positions move while the agent runs"

    shipper.start()
    resumed = re.compile(rf"Reading {re.escape(str(path))} for service s from byte (\d+) ")
    shipper.wait_for(lambda: len(resumed.findall(shipper.said())) == 2, what="it resumes")
    # The journal may know of more than the database.
    assert int(resumed.findall(shipper.said())[1]) >= stored
    ledger = load.stop()
    shipper.wait_acked()
    records = consume(kafka_39.address, topic, tmp_path, expect=20_000 + ledger[0].count)
    found = check(ledger, (one for one in records if not (one.value or b"").startswith(b"old ")))
    assert not [*found.lost, *found.doubled, *found.corrupt, *found.foreign], str(found)
