# SPDX-License-Identifier: Apache-2.0
"""A send_rate is kept: over the whole backlog and in every single second."""

from collections.abc import Callable
from pathlib import Path

from tests.integration.proofs import prove, put_lines
from tests.support.agent import AgentProcess
from tests.support.consumer import read_messages
from tests.support.kafka import KafkaNode

RATE = 500
LINES = 2000


def test_a_backlog_in_two_files_leaves_at_the_rate_of_its_service(
    kafka_39: KafkaNode, agent: Callable[..., AgentProcess], topic: str, tmp_path: Path
) -> None:
    kafka_39.create_topic(topic, config={"message.timestamp.type": "LogAppendTime"})
    written = [put_lines(tmp_path / f"{name}.log", name, LINES // 2) for name in "ab"]
    shipper = agent(
        kafka_addr=kafka_39.address,
        services={"slow": {"log_path": tmp_path / "*.log", "topic": topic, "send_rate": RATE}},
    )
    shipper.wait_acked()
    cpu_s = shipper.cpu_seconds()

    prove(kafka_39, topic, tmp_path, written, min_lines=LINES)
    arrived_s = sorted(
        message.timestamp()[1] / 1000 for message in read_messages(kafka_39.address, topic, expect=LINES)
    )
    took_s = arrived_s[-1] - arrived_s[0]
    assert 0.85 * LINES / RATE < took_s < 1.15 * LINES / RATE
    first = 0
    for last, end_s in enumerate(arrived_s):
        while arrived_s[first] <= end_s - 1:
            first += 1
        assert last - first + 1 <= RATE * 1.1 + 20, f"{last - first + 1} lines in the second before {end_s}"
    assert cpu_s < 2.5, f"waiting for a rate took {cpu_s} s of CPU"
